//! (cli: to be filled)
