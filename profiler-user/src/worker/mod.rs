//! The symbol worker: a sandboxed process of the same binary that parses what targets control. This file is what the
//! agent sees: [`Worker`] verbs that take an open file and return checked plain data.

pub mod api;
