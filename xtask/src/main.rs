//! Project automation: a clap switch, one file a job.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program talks on its streams")]

mod ebpf;
mod manifest;
mod sh;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// What is done for pprofd beside `cargo build`.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Build the BPF object, or prove the committed one
    #[command(subcommand)]
    Ebpf(Ebpf),
}

#[derive(Subcommand)]
enum Ebpf {
    /// Build it and write profiler-ebpf/prebuilt
    Build {
        /// An object whose programs log; it stays in target/bpf and is not committed
        #[arg(long, value_name = "FEATURE", value_parser = ["bpf-log"])]
        features: Option<String>,
    },
    /// Rebuild it from nothing, compare with the committed one, print the fresh one's path
    Verify,
}

fn main() -> Result<()> {
    match Cli::parse().job {
        Job::Ebpf(Ebpf::Build { features }) => ebpf::build(features.is_some()),
        Job::Ebpf(Ebpf::Verify) => {
            println!("{}", ebpf::verify()?.display());
            Ok(())
        }
    }
}
