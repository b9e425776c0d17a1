//! What a sample costs and how much of it is complete, beside `perf record -g` in the same run: the table of
//! `docs/performance.md`. Run by `cargo xtask bench`.
#![allow(clippy::print_stdout, reason = "its output is the table")]

mod bpf;
mod peer;
mod waits;

use anyhow::{Context, Result, ensure};
use std::time::Duration;
use tests::harness::profile::Sample;
use tests::harness::published::Published;
use tests::harness::{Agent, Profile, Target, judge, programs};

/// The rate at which both sample.
const HZ: u32 = 99;
/// The chain's functions and depths.
const DEPTHS: [usize; 4] = [10, 40, 120, 600];

fn main() -> Result<()> {
    let seconds: u32 = std::env::args().nth(1).map_or(Ok(20), |word| word.parse()).context("seconds: a number")?;
    let statistics = bpf::Statistics::on()?;
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let clock = folder.path().join("clock");
    let target = Target::start(&programs::c("chain.c", &[]), &[&clock.display().to_string()]);
    Published::at(&clock).wait();

    let before = bpf::run_times()?;
    let agent = Agent::start(&[]);
    // A first request has the target's tables built, as the second one finds them.
    drop(agent.cpu(target.pid(), 1, HZ));

    let perf = peer::Perf::start(HZ, seconds, folder.path())?;
    let (start, used) = (bpf::run_times()?, judge::cpu_seconds(agent.pid()));
    let profile = agent.cpu(target.pid(), seconds, HZ);
    let (end, used) = (bpf::run_times()?, judge::cpu_seconds(agent.pid()) - used);
    let peer = perf.finish(target.pid(), Duration::from_mins(2))?;
    let ours = bpf::ours(&before, &start, &end);
    ensure!(ours.runs > 0, "no BPF program of the agent ran");
    print(seconds, &profile, &ours, used, &peer);
    drop(agent);
    // It costs something itself.
    drop(statistics);
    waits::run(folder.path())
}

fn print(seconds: u32, profile: &Profile, ours: &bpf::Cost, used: f64, peer: &peer::Outcome) {
    let per_sample = ours.nanos as f64 / profile.count().max(1) as f64;
    println!("`cargo xtask bench --seconds {seconds}`, kernel {}, {}", kernel(), cpus());
    println!("target: tests/programs/chain.c, stacks of 10, 40, 120 and 600 calls, no frame pointers, at {HZ} Hz\n");
    println!("| | pprofd | perf record -g -a |\n|---|---|---|");
    println!("| samples of the target | {} | {} |", profile.count(), peer.samples);
    println!(
        "| complete, of all and lost | {:.2} % | {:.2} % |",
        100.0 * profile.complete_share(complete),
        100.0 * peer.complete_share()
    );
    println!("| BPF time per delivered sample of the target | {:.1} us | - |", per_sample / 1e3);
    println!(
        "| BPF time, all programs, of one CPU | {:.3} % | - |",
        ours.nanos as f64 / 1e9 / profile.seconds() * 100.0
    );
    println!("| runs of BPF programs | {} | - |", ours.runs);
    println!("| CPU time of the tool's process | {used:.2} s | {:.2} s |", peer.cpu_seconds);
    println!("\nBPF time by program, us per run:");
    for program in &ours.programs {
        println!(
            "  {:20} {:8.2} x {}",
            program.name,
            program.nanos as f64 / 1e3 / program.runs.max(1) as f64,
            program.runs
        );
    }
}

/// Every level of the chain is there, from its leaf's caller up to `main`.
fn complete(sample: &Sample) -> bool {
    sample.has("main")
        && DEPTHS.iter().all(|depth| {
            !sample.has(&format!("spin_{depth}")) || sample.depth_of(&format!("descend_{depth}")) == *depth
        })
}

fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn cpus() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']));
    format!("{} x {model}", text.lines().filter(|line| line.starts_with("processor")).count())
}
