//! (encode: to be filled)
