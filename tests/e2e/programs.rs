//! Programs that people run, as Debian ships them or as their libraries are meant to be used: stacks reach their outermost
//! function, frames without a name say in which file they are, and `perf record --call-graph dwarf` sees the same in the same window.

// Programs that end by themselves: a compiler, packers, a data base without a server.
mod jobs;
// Languages' own ways to switch stacks or to do without tables: async runtimes, coroutines, a static C library.
mod languages;
// A master and its workers: what is asked is the master.
mod servers;

use rustix::process::Signal;
use std::path::Path;
use tests::harness::profile::{Sample, is_named};
use tests::harness::reference::Stacks;
use tests::harness::tools::gdb_stack;
use tests::harness::{Agent, Profile, Reference, Server, target};

/// Samples a second.
const HZ: u32 = 997;

/// The outermost frames of programs and threads that libc starts, whatever was stripped: `_start` calls `__libc_start_main`, which
/// is exported; a thread begins in libc itself, and a program in the dynamic loader.
fn is_rooted(sample: &Sample) -> bool {
    let mut outermost = sample.stack.iter().take(2);
    let program = outermost.any(|name| name.starts_with("__libc_start_main"));
    let library = |file: &String| file.contains("/libc.so") || file.contains("/ld-linux");
    program || sample.files.first().is_some_and(library)
}

/// Processes that exec or exit have no user stack; all others have one that is whole.
fn is_whole(sample: &Sample) -> bool {
    let reason = sample.label("reason");
    (is_rooted(sample) && reason.is_empty()) || reason == "exiting" || reason == "in exec"
}

/// Panics unless at least 99 % of the samples, the lost ones among them, are whole, and each frame of a file is named after
/// a function or that file.
#[track_caller]
fn assert_whole(profile: &Profile) {
    let share = profile.complete_share(is_whole);
    let broken = profile.only(|sample| !is_whole(sample));
    assert!(share >= 0.99, "{:.2} % whole; the others:\n{}", share * 100.0, broken.summary());
    let nameless = profile.only(|sample| sample.stack.iter().any(|name| name.is_empty() || name.contains("[unknown]")));
    assert_eq!(nameless.count(), 0, "{}", nameless.summary());
}

/// Panics unless so much of the samples passes the function.
#[track_caller]
fn assert_passes(profile: &Profile, least: f64, function: &str) {
    let share = profile.share_of(function);
    assert!(share >= least, "{:.1} % pass {function}\n{}", share * 100.0, profile.summary());
}

/// Panics unless stacks end, at the outermost, in so many frames that gdb shows of the process now.
#[track_caller]
fn assert_ends_as_gdb_shows(profile: &Profile, pid: u32, frames: usize) {
    let mut shown = gdb_stack(pid);
    assert!(shown.len() >= frames, "gdb shows {shown:?}");
    let shown = shown.split_off(shown.len() - frames);
    // A frame without a name is `??` to gdb, and `file+0x...` to us.
    let same = |(ours, gdb): (&String, &String)| is_named(ours, gdb) || (gdb == "??" && ours.contains("+0x"));
    // gdb ends at `main`, if it knows where that is.
    let is_outermost = |name: &&String| shown.last().is_some_and(|last| last == "??" || is_named(name, last));
    let ends = |sample: &Sample| {
        let mut ours = sample.stack.iter().skip_while(|name| !is_outermost(name));
        shown.iter().rev().all(|gdb| ours.next().is_some_and(|ours| same((ours, gdb))))
    };
    let share = profile.share(ends);
    assert!(share >= 0.99, "{:.1} % end as gdb shows: {shown:?}\n{}", share * 100.0, profile.summary());
}

/// The profile of a family, and perf's of the same window and these members and all that they fork meanwhile.
fn family(agent: &Agent, parent: u32, others: &[u32], seconds: u32) -> (Profile, Stacks) {
    let folder = tempfile::tempdir().unwrap();
    let reference = Reference::start(&[&[parent], others].concat(), seconds, folder.path());
    let path = format!("pid/{parent}/debug/pprof/profile?seconds={seconds}&hz={HZ}&children=1");
    let profile = agent.profile(&path);
    (profile, reference.stacks())
}

/// The profile of each process, and perf's of the same window.
fn processes<const N: usize>(agent: &Agent, pids: [u32; N], seconds: u32) -> [(Profile, Stacks); N] {
    let all = |seconds| {
        std::thread::scope(|scope| {
            let requests = pids.map(|pid| scope.spawn(move || agent.cpu(pid, seconds, HZ)));
            requests.map(|request| request.join().unwrap())
        })
    };
    // Tables are built by the first requests, so that the window of the others begins at once, as perf's does.
    drop(all(1));
    let folder = tempfile::tempdir().unwrap();
    let reference = Reference::start(&pids, seconds, folder.path());
    let profiles = all(seconds);
    let stacks = reference.stacks();
    let mut pids = pids.into_iter();
    profiles.map(|profile| (profile, stacks.of(pids.next().unwrap())))
}

/// A Debian program.
fn debian(path: &str) -> &Path {
    let path = Path::new(path);
    assert!(path.exists(), "{} is not there: `cargo xtask setup`", path.display());
    path
}

/// A client that asks a server on a socket for the same page again and again.
fn requests(socket: &Path, page: &str) -> Server {
    let mut command = target::dying_with_us(debian("/usr/bin/curl"));
    command.args(["--silent", "--compressed", "--output", "/dev/null", "--unix-socket"]).arg(socket);
    // One process and one connection for all of them.
    command.arg(format!("http://server/{page}?[1-1000000000]"));
    Server::start(command, Signal::TERM)
}
