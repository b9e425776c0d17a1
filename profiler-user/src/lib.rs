//! pprofd's user side. One way for the data: kernel event -> decode -> record -> query -> symbolize -> encode -> serve.
//! `docs/architecture.md` draws the rooms; each module's first lines say what it may know and what it must not.
#![deny(unsafe_code)]

pub mod agent;
pub mod cli;
pub mod client;
pub mod command;
pub mod config;
pub mod doctor;
pub mod encode;
pub mod event;
pub mod exit;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod kernel;
pub mod kind;
pub mod late;
pub mod parse;
pub mod record;
pub mod symbolize;
pub mod tables;
pub mod target;
pub mod telemetry;
pub mod watch;
pub mod worker;
