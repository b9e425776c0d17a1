//! Go programs: named by their symbol table, with inlined calls, unwound without frame pointers in C code.

use tests::harness::published::Published;
use tests::harness::{Agent, Target, judge, programs};

/// The split and its names, in a build with these flags.
fn check(flags: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let target = Target::start(&programs::go("split.go", flags), &[clock.to_str().unwrap()]);
    let published = Published::at(&clock);
    published.wait();
    let agent = Agent::start(&[]);
    let profile = agent.cpu(target.pid(), 8, 997);
    let paths = ["main.first", "main.second"];
    let measured = paths.map(|path| profile.cpu_of(|sample| sample.has(path)));
    judge::assert_shares(&paths, &measured, &published.in_window_of(&profile), profile.count());
    let deep = profile.only(|sample| sample.has("main.second"));
    let four = ["main.second", "main.second", "main.second", "main.second", "main.main", "runtime.main"];
    let whole = deep.share(|sample| sample.has_chain(&four));
    assert!(whole >= 0.99, "{:.1} % of main.second have all four levels\n{}", whole * 100.0, deep.summary());
    // Goroutines of the runtime (scavenger, collector) have no main.
    let rooted = |sample: &tests::harness::profile::Sample| {
        sample.stack.iter().any(|name| {
            [
                "runtime.goexit",
                "runtime.goexit.abi0",
                "runtime.main",
                "runtime.mstart",
                "runtime.rt0_go.abi0",
                "runtime.mstart.abi0",
            ]
            .contains(&name.as_str())
        })
    };
    assert!(profile.complete_share(rooted) >= 0.99, "{}", profile.only(|sample| !rooted(sample)).summary());
}

#[test]
fn a_go_program_is_told_truly() {
    check(&[]);
}

#[test]
fn a_go_program_as_position_independent_executable() {
    check(&["-buildmode=pie"]);
}
