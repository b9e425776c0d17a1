//! (parse: to be filled)
