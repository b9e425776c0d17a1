//! (config: to be filled)
