//! top
use super::CommandError;
use super::flags::Reach;
use clap::Args;
/// What is asked.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    reach: Reach,
}
/// Runs.
pub fn run(_arguments: &Arguments) -> Result<(), CommandError> {
    Ok(())
}
