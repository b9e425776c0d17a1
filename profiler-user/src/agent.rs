//! (agent: to be filled)
