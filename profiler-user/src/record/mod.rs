//! The recorder: events in, windows out. One owner thread holds the stores (the log in issue 1); everything that can
//! happen to it is one closed enum; queries get immutable blocks and sum on the caller's thread.

pub mod window;
