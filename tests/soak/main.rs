//! Whether the agent keeps to its budgets under a churn of short-lived programs and new files. Run by `cargo xtask soak`.
#![allow(clippy::print_stdout, reason = "its output is the table")]

use anyhow::{Context, Result};
use tests::harness::soak;

/// Programs started a second, if the host has the time for it.
const RATE: u32 = 200;

fn main() -> Result<()> {
    let seconds: u32 = std::env::args().nth(1).map_or(Ok(900), |word| word.parse()).context("seconds: a number")?;
    let soak = soak::run(seconds, RATE);
    println!("{}", soak.table((soak.looks.len() / 20).max(1)));
    soak.judge();
    println!("within the budgets");
    Ok(())
}
