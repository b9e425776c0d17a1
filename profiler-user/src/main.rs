//! The binary `pprofd`: hands the command line to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    profiler_user::cli::main()
}
