//! The binary `pprofd`: hands the command line to the library.
use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(command) if command == "symbol-worker" => profiler_user::worker::server::run(),
        _ => ExitCode::from(64),
    }
}
