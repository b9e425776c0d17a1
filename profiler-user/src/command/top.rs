//! `pprofd top`: which processes use the CPUs, or which functions of one process, again and again. What is shown comes out of the
//! recorder of a running agent, which samples no more than it does anyway.

mod fetch;
mod screen;
mod usage;
mod view;

use super::flags::Reach;
use super::question::Who;
use super::{CommandError, runtime, write_out};
use clap::Args;
use fetch::Fetcher;
use std::io::IsTerminal;
use std::time::Duration;

/// Rows of a table that is not on a terminal.
const ROWS: usize = 50;
/// Its columns: names are not cut short where nobody counts.
const COLUMNS: usize = 400;

/// What is asked.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Show the functions of this process
    #[arg(value_name = "PID")]
    who: Option<Who>,
    /// Seconds from one table to the next
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3600))]
    interval: u32,
    /// Length of the window that a table is about, which ends now
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// With all that descend from the process
    #[arg(long, requires = "who")]
    children: bool,
    /// Print so many tables and end; without it, and with no terminal, print for ever
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    number: Option<u32>,
    /// Print one table and end
    #[arg(long, conflicts_with = "number")]
    once: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Shows tables until it is told to stop.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let fetcher = Fetcher::new(arguments.reach.agent(), arguments.who, arguments.seconds, arguments.children);
    let interval = Duration::from_secs(arguments.interval.into());
    let number = if arguments.once { Some(1) } else { arguments.number };
    if number.is_none() && std::io::stdout().is_terminal() {
        return screen::run(fetcher, interval);
    }
    runtime()?.block_on(print(fetcher, interval, number))
}

/// Prints tables one below the other.
async fn print(mut fetcher: Fetcher, interval: Duration, number: Option<u32>) -> Result<(), CommandError> {
    for count in 1_u64.. {
        let table = fetcher.table().await?;
        let between = if count > 1 { "\n" } else { "" };
        let text = view::lines(&table, COLUMNS, ROWS + view::HEAD).join("\n");
        if !write_out(format!("{between}{text}\n").as_bytes())? || number.is_some_and(|number| count >= number.into()) {
            break;
        }
        tokio::time::sleep(interval).await;
    }
    Ok(())
}
