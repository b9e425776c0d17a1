//! (http: to be filled)
