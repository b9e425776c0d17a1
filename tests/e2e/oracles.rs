//! The judges, judged: what a program publishes of itself agrees with perf and with gdb. If these fail, so may all others.

use std::time::Duration;
use tests::harness::published::Published;
use tests::harness::tools::{Perf, gdb_stack};
use tests::harness::{Target, judge, programs, wait};

const SPINS: [&str; 4] = ["spin_10", "spin_40", "spin_120", "spin_600"];

#[test]
fn the_chain_publishes_what_perf_sees() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let target = Target::start(&programs::c("chain.c", &[]), &[clock.to_str().unwrap()]);
    let published = Published::at(&clock);
    published.wait();
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as f64;
    let from = now();
    let leaves = Perf::start(target.pid(), 997, 4, folder.path()).leaves();
    let truth = published.between(from, now());
    let measured: Vec<f64> = SPINS.iter().map(|spin| leaves.get(*spin).copied().unwrap_or_default() as f64).collect();
    let n: f64 = measured.iter().sum();
    assert!(n > 1000.0, "perf took {n} samples: {leaves:?}");
    judge::assert_shares(&SPINS, &measured, &truth, leaves.values().sum());
}

#[test]
fn the_chain_is_as_deep_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let target = Target::start(&programs::c("chain.c", &[]), &[clock.to_str().unwrap()]);
    Published::at(&clock).wait();
    for depth in [10, 40, 120, 600] {
        let (spin, descend) = (format!("spin_{depth}"), format!("descend_{depth}"));
        wait::until_true(&format!("gdb to meet {spin}"), Duration::from_mins(1), || {
            let stack = gdb_stack(target.pid());
            let found = stack.contains(&spin);
            let levels = stack.iter().filter(|name| **name == descend).count();
            assert!(!found || levels == depth, "{levels} levels of {descend}: {stack:?}");
            found
        });
    }
}

#[test]
fn every_program_runs() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let file = clock.to_str().unwrap();
    let mut programs = vec![
        (programs::c("chain.c", &["-static"]), vec![file, "thread"]),
        (programs::c("chain.c", &["-static-pie"]), vec![file]),
        (programs::cpp("templates.cpp", &[]), vec![file]),
        (programs::rust("inlines.rs", &[]), vec![file]),
        (programs::stripped(&programs::rust("inlines.rs", &[])), vec![file]),
        (programs::go("split.go", &[]), vec![file]),
    ];
    for (program, arguments) in programs.drain(..) {
        let mut target = Target::start(&program, &arguments);
        Published::at(&clock).wait();
        assert!(target.ended().is_none(), "{} ended", program.display());
        drop(target);
        std::fs::remove_file(&clock).unwrap();
    }
    for name in
        ["burner.c", "handler.c", "leaderless.c", "vdso.c", "vforker.c", "many_mappings.c", "cases/four_parts.c"]
    {
        let mut target = Target::start(&programs::c(name, &[]), &[]);
        wait::until_true("half a second of CPU", Duration::from_secs(20), || judge::cpu_seconds(target.pid()) > 0.5);
        assert!(target.ended().is_none(), "{name} ended");
    }
}
