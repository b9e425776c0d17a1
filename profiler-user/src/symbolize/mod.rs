//! (symbolize: to be filled)
