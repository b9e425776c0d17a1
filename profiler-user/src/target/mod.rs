//! (target: to be filled)
