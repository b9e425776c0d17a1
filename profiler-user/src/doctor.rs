//! (doctor: to be filled)
