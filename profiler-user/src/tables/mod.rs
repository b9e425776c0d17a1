//! (tables: to be filled)
