//! `pprofd completions`: a script that completes the command line in a shell.

use super::{CommandError, write_out};
use clap::Args;
use clap_complete::{Shell, generate};

/// What is asked.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub fn run(arguments: &Arguments, mut program: clap::Command) -> Result<(), CommandError> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut program, "pprofd", &mut script);
    write_out(&script).map(drop)
}
