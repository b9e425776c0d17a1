//! The binary `pprofd`: hands the command line to the library.
fn main() {}
