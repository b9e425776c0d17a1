//! redis-server, as Debian ships it, under load: its hottest functions are perf's, and its stacks reach `main`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tests::harness::tools::Perf;
use tests::harness::{Agent, Profile, Target, judge, target, tools, wait};

#[test]
fn redis_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis.sock").display().to_string();
    let arguments = ["--port", "0", "--unixsocket", &socket, "--save", "", "--appendonly", "no"];
    let server = Target::start(Path::new("/usr/bin/redis-server"), &arguments);
    wait::until_true("redis to listen", Duration::from_secs(10), || Path::new(&socket).exists());
    let mut load = target::dying_with_us(Path::new("/usr/bin/redis-benchmark"))
        .args(["-s", &socket, "-l", "-q", "-P", "16", "-t", "set,lpush,lrange_100"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let agent = Agent::start(&[]);
    drop(agent.cpu(server.pid(), 1, 997));
    let perf = Perf::start(server.pid(), 997, 6, folder.path());
    let profile = judge::accounted(server.pid(), 0.08, || agent.cpu(server.pid(), 6, 997));
    let leaves = perf.leaves();
    assert_waits(&agent.profile(&format!("pid/{}/debug/pprof/offcpu?seconds=3", server.pid())));
    load.kill().unwrap();
    load.wait().unwrap();
    let rooted = |sample: &tests::harness::profile::Sample| {
        sample.has("main") || sample.stack.iter().any(|name| name.starts_with("start_thread") || name.contains("clone"))
    };
    assert!(profile.complete_share(rooted) >= 0.99, "{}", profile.only(|sample| !rooted(sample)).summary());
    let mut ours: BTreeMap<&str, i64> = BTreeMap::new();
    for sample in &profile.samples {
        *ours.entry(sample.stack.last().map_or("", String::as_str)).or_default() += sample.count;
    }
    let all: i64 = leaves.values().sum();
    let mut hottest: Vec<(&String, &i64)> = leaves.iter().filter(|(name, _)| symbol_of_redis(name)).collect();
    hottest.sort_by_key(|(_, count)| -**count);
    assert!(hottest.len() >= 5, "perf names {leaves:?}");
    for (name, count) in hottest.into_iter().take(5) {
        let truth = *count as f64 / all as f64;
        let measured = ours.get(name.as_str()).copied().unwrap_or_default() as f64 / profile.count() as f64;
        let allowed = 2.0 * judge::tolerance(truth, profile.count().min(all));
        assert!(
            (measured - truth).abs() <= allowed,
            "{name}: {measured:.3} measured, {truth:.3} by perf\n{}",
            profile.summary()
        );
    }
}

/// Its background threads wait for work all the time, and its main thread for clients now and then.
fn assert_waits(offcpu: &Profile) {
    let summary = || format!("{:?}\n{}", offcpu.comments(), offcpu.summary());
    let seconds =
        |function: &str, reason: &str| offcpu.cpu_of(|sample| sample.has(function) && sample.label("reason") == reason);
    judge::assert_near(
        "threads for work",
        seconds("bioProcessBackgroundJobs", "futex"),
        3.0 * offcpu.seconds(),
        0.02,
        0.0,
    );
    let main = seconds("main", "poll") + seconds("main", "run queue") + seconds("main", "socket");
    assert!(main <= 1.02 * offcpu.seconds() && seconds("aeMain", "poll") > 0.0, "{main} s\n{}", summary());
    let named = offcpu
        .cpu_of(|sample| sample.has("main") || sample.has("bioProcessBackgroundJobs") || sample.has("start_thread"));
    assert!(named > 0.99 * offcpu.cpu_seconds(), "{named} s\n{}", summary());
}

/// A symbol that redis-server exports: the only names that are sure to be the same for perf and for us.
fn symbol_of_redis(name: &str) -> bool {
    static SYMBOLS: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let symbols = SYMBOLS.get_or_init(|| tools::output("nm", &["-D", "--defined-only", "/usr/bin/redis-server"]));
    symbols.lines().any(|line| line.split_whitespace().nth(2) == Some(name))
}
