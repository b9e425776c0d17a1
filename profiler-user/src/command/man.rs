//! `pprofd man`: the manual, made from the definition of the command line.

use super::{CommandError, write_out};
use clap::Args;
use clap_mangen::Man;
use std::io;
use std::path::PathBuf;

/// What is asked.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Write a page for each command into this folder, which is there; else one page with all commands is printed
    #[arg(long, value_name = "FOLDER")]
    output_dir: Option<PathBuf>,
}

/// Prints or writes the manual.
pub fn run(arguments: &Arguments, program: clap::Command) -> Result<(), CommandError> {
    match &arguments.output_dir {
        Some(folder) => clap_mangen::generate_to(program, folder)
            .map_err(|source| CommandError::File { path: folder.clone(), source }),
        None => write_out(&page(program).map_err(|error| CommandError::Bug(error.into()))?).map(drop),
    }
}

/// One page: the program's, and a section for each command that is shown.
fn page(mut program: clap::Command) -> io::Result<Vec<u8>> {
    program.build();
    let mut page = Vec::new();
    Man::new(program.clone()).render(&mut page)?;
    for command in program.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
        let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_uppercase();
        page.extend_from_slice(format!(".SH \"{name}\"\n").as_bytes());
        page.extend_from_slice(&section(&Man::new(command.clone()))?);
    }
    Ok(page)
}

/// What a page of a command of its own would say, one level deeper.
fn section(man: &Man) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    man.render_description_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_options_section(&mut text)?;
    let text = String::from_utf8_lossy(&text).replace("\n.SH ", "\n.SS ");
    Ok(text.strip_prefix(".SH ").map_or(text.clone(), |rest| format!(".SS {rest}")).into_bytes())
}
