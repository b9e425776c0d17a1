//! (watch: to be filled)
