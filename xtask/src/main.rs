//! Project automation: a clap switch, one file a job.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program talks on its streams")]

mod bench;
mod cost;
mod ebpf;
mod fuzz;
mod image;
mod manifest;
mod run;
mod setup;
mod sh;
mod soak;
mod stage;
mod test;
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// What is done for pprofd beside `cargo build`.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Build the agent and start it (with sudo, if you are not root)
    Run {
        /// Flags of pprofd
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Install what is missing and pass all tests
    Test {
        /// Only what an ordinary user can run, with stable Rust alone
        #[arg(long)]
        unprivileged: bool,
    },
    /// Install what the tests use (Debian 12)
    Setup {
        /// The eBPF toolchain alone
        #[arg(long)]
        ebpf: bool,
    },
    /// Build the BPF object, or prove the committed one
    #[command(subcommand)]
    Ebpf(Ebpf),
    /// Build the agent as one static file (target/image/pprofd), and a container image of it
    Image {
        /// Only the file
        #[arg(long)]
        binary: bool,
        /// Folder for images instead of the user's storage (buildah, podman)
        #[arg(long, value_name = "FOLDER")]
        storage: Option<PathBuf>,
    },
    /// Give random inputs to the parsers of foreign bytes (profiler-user/fuzz)
    Fuzz {
        /// These alone
        targets: Vec<String>,
        /// Time of each target; two run at a time
        #[arg(long, default_value_t = 30)]
        seconds: u32,
        /// Plant a bug behind each parser, and require that it is found
        #[arg(long)]
        planted: bool,
    },
    /// Check files and rooms against docs/architecture.md
    Tidy,
    /// Boot Debian's 6.1 kernel in QEMU and sample a program there
    Vm,
    /// Measure the agent beside `perf record -g`
    Bench {
        /// Length of each measurement
        #[arg(long, default_value_t = 20)]
        seconds: u32,
    },
    /// Churn programs and files under the agent, and see whether it keeps to its memory budgets
    Soak {
        /// How long
        #[arg(long, default_value_t = 900)]
        seconds: u32,
    },
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

fn main() -> ExitCode {
    match run(Cli::parse().job) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(job: Job) -> Result<()> {
    match job {
        Job::Run { arguments } => run::run(&arguments),
        Job::Test { unprivileged: true } => test::unprivileged(),
        Job::Test { unprivileged: false } => test::all(),
        Job::Setup { ebpf: true } => setup::ebpf(),
        Job::Setup { ebpf: false } => setup::all(),
        Job::Ebpf(Ebpf::Build { features }) => ebpf::build(features.is_some()),
        Job::Ebpf(Ebpf::Verify) => {
            println!("{}", ebpf::verify()?.object.display());
            Ok(())
        }
        Job::Image { binary, storage } => image::build(binary, storage.as_deref()),
        Job::Fuzz { targets, seconds, planted } => fuzz::run(&fuzz::Options { seconds, targets, planted }),
        Job::Tidy => tidy::check(&sh::root()),
        Job::Vm => test::vm(),
        Job::Bench { seconds } => bench::run(seconds),
        Job::Soak { seconds } => soak::run(seconds),
    }
}
