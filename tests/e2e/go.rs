//! Go programs: named by their symbol table, with inlined calls, unwound by Go's function table, stripped or not.

use std::path::Path;
use tests::harness::profile::Sample;
use tests::harness::published::Published;
use tests::harness::{Agent, Profile, Target, judge, programs, tools};

/// The split and its names, in a build with these flags.
fn check(flags: &[&str], seconds: u32) -> Profile {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let target = Target::start(&programs::go("split.go", flags), &[clock.to_str().unwrap()]);
    let published = Published::at(&clock);
    published.wait();
    let agent = Agent::start(&[]);
    // However busy the host is, its tables are built before what is judged.
    agent.cpu(target.pid(), 1, 99);
    let profile = agent.cpu(target.pid(), seconds, 997);
    let paths = ["main.first", "main.second"];
    let measured = paths.map(|path| profile.cpu_of(|sample| sample.has(path)));
    judge::assert_shares(&paths, &measured, &published.in_window_of(&profile), profile.count());
    let deep = profile.only(|sample| sample.has("main.second"));
    let four = ["main.second", "main.second", "main.second", "main.second", "main.main", "runtime.main"];
    let whole = deep.share(|sample| sample.has_chain(&four));
    assert!(whole >= 0.99, "{:.1} % of main.second have all four levels\n{}", whole * 100.0, deep.summary());
    assert!(profile.complete_share(is_rooted) >= 0.99, "{}", profile.only(|sample| !is_rooted(sample)).summary());
    profile
}

/// Reaches a function at which a stack begins. Goroutines of the runtime (scavenger, collector) have no main.
fn is_rooted(sample: &Sample) -> bool {
    let roots = ["goexit", "main", "mstart", "rt0_go", "mcall", "morestack"];
    let is_root = |name: &String| {
        name.strip_prefix("runtime.").is_some_and(|name| roots.contains(&name.strip_suffix(".abi0").unwrap_or(name)))
    };
    sample.stack.iter().any(is_root)
}

/// The program of hot leaves, built with these flags, profiled for 8 s.
fn leaves(flags: &[&str]) -> Profile {
    let target = Target::start(&programs::go("leaf.go", flags), &[]);
    let agent = Agent::start(&[]);
    agent.cpu(target.pid(), 8, 997)
}

/// The file, line and function of each address of a stripped program are those that Go's tool tells of its twin, which is whole and
/// has the same code. The tool tells the innermost line and the outermost function.
fn assert_lines_of_twin(profile: &Profile, twin: &Path) {
    let (lines, to_offset) = (profile.lines_by_offset(), tools::to_offset(twin));
    let addresses: Vec<u64> = lines.keys().map(|offset| offset + to_offset).collect();
    let mut compared = 0;
    for (frames, (function, line)) in lines.values().zip(tools::go_lines(twin, &addresses)) {
        let (Some((_, innermost)), Some((outermost, _))) = (frames.first(), frames.last()) else { continue };
        // C's functions are unknown to Go; and where a signal handler returns to is named by what lies behind the address.
        if function != "?" && !line.ends_with(":-1") {
            assert_eq!((outermost, innermost), (&function, &line));
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared} locations are Go's\n{}", profile.summary());
}

#[test]
fn a_stripped_go_program_is_named_as_its_twin() {
    for mode in ["-buildmode=exe", "-buildmode=pie"] {
        let profile = check(&[mode, "-ldflags=-s -w"], 3);
        assert_lines_of_twin(&profile, &programs::go("split.go", &[mode]));
        let first = profile.only(|sample| sample.has("main.first"));
        let inlined = first.share(|sample| sample.has_chain(&["main.inlined", "main.first", "main.main"]));
        assert!(inlined > 0.5, "{:.1} % of main.first are in main.inlined\n{}", inlined * 100.0, first.summary());
    }
}

#[test]
fn a_stripped_go_program_with_c_code_and_a_plugin() {
    let plugin = programs::go_with_c("plug.go", &["-buildmode=plugin", "-ldflags=-s -w"]);
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let arguments = [clock.to_str().unwrap(), plugin.to_str().unwrap()];
    let target = Target::start(&programs::go_with_c("host.go", &["-ldflags=-s -w"]), &arguments);
    let published = Published::at(&clock);
    published.wait();
    let agent = Agent::start(&[]);
    agent.cpu(target.pid(), 1, 99);
    let profile = agent.cpu(target.pid(), 3, 997);
    let in_go = |sample: &Sample| sample.has_chain(&["main.generic[...]", "main.inner.Spin"]);
    // The C function has no name any more, but a caller.
    let in_c = |sample: &Sample| sample.has("runtime.asmcgocall") || sample.has("main._Cfunc_in_c");
    let in_plugin = |sample: &Sample| sample.stack.iter().any(|name| name.ends_with(".Run"));
    let measured = [profile.cpu_of(in_go), profile.cpu_of(in_c), profile.cpu_of(in_plugin)];
    judge::assert_shares(&["Go", "C", "plugin"], &measured, &published.in_window_of(&profile), profile.count());
    let inlined = [
        profile.only(in_go).share_of("main.inlined[...]"),
        profile.only(in_plugin).share(|sample| sample.stack.iter().any(|name| name.ends_with(".plugged"))),
    ];
    // Where in a loop a timer stops the program depends on the CPU.
    assert!(inlined.iter().all(|share| *share > 0.005), "{inlined:?}\n{}", profile.summary());
    assert!(
        profile.complete_share(|sample| sample.has("runtime.main") || is_rooted(sample)) >= 0.99,
        "{}",
        profile.summary()
    );
}

#[test]
fn a_go_program_is_told_truly() {
    check(&[], 8);
}

#[test]
fn a_go_program_as_position_independent_executable() {
    check(&["-buildmode=pie"], 8);
}

#[test]
fn a_leaf_without_a_frame_has_its_caller() {
    for flags in [&[][..], &["-buildmode=pie"]] {
        let profile = leaves(flags);
        let chain = ["main.leaf", "main.framed", "main.caller", "main.main", "runtime.main"];
        for skipped in 0..3 {
            let own = profile.only(|sample| sample.has(chain[skipped]));
            assert!(own.count() > 200, "{} of {}\n{}", own.count(), chain[skipped], profile.summary());
            let whole = own.share(|sample| sample.has_chain(&chain[skipped..]));
            assert!(whole >= 0.998, "{:.2} % of {}\n{}", whole * 100.0, chain[skipped], own.summary());
        }
        let short = profile.share(|sample| sample.stack.last().is_some_and(|leaf| leaf == "main.framed"));
        assert!(short > 0.02, "{:.2} % in main.framed itself\n{}", short * 100.0, profile.summary());
    }
}

#[test]
fn a_leaf_of_a_stripped_program_has_its_caller() {
    let whole = programs::go("leaf.go", &[]);
    let profile = leaves(&["-ldflags=-s -w"]);
    // Addresses of the stripped program are judged by the symbols of the whole one, whose code is the same.
    let functions = ["main.leaf", "main.framed", "main.caller", "main.main"];
    let functions = functions.map(|name| tools::offsets_of(&whole, name));
    let (mut in_leaf, mut in_framed, mut missing) = (0, 0, 0);
    for sample in &profile.message.sample {
        let offsets: Vec<u64> = sample.location_id.iter().filter_map(|id| profile.file_offset(*id)).collect();
        // Leaf first.
        let Some(first) = functions.iter().position(|f| offsets.iter().any(|offset| f.contains(offset))) else {
            continue;
        };
        let levels = functions.iter().skip(first).zip(offsets.iter().skip_while(|o| !functions[first].contains(o)));
        let levels = levels.filter(|(function, offset)| function.contains(offset)).count();
        let count = sample.value[0];
        in_leaf += if first == 0 { count } else { 0 };
        in_framed += if first == 1 { count } else { 0 };
        missing += if levels < functions.len() - first { count } else { 0 };
    }
    assert!(in_leaf > 200 && in_framed > 10, "{in_leaf} in leaf, {in_framed} in framed\n{}", profile.summary());
    assert!(missing * 500 <= profile.count(), "{missing} of {} miss a caller", profile.count());
    assert!(profile.incomplete() * 500 <= profile.count(), "{}", profile.summary());
}

#[test]
fn work_on_the_stacks_of_the_runtime_is_complete() {
    let target = Target::start(&programs::go("garbage.go", &[]), &[]);
    let agent = Agent::start(&[]);
    let profile = agent.cpu(target.pid(), 8, 997);
    let on_system_stack =
        profile.share(|sample| sample.has("runtime.systemstack.abi0") || sample.has("runtime.systemstack"));
    assert!(on_system_stack > 0.1, "{:.1} % on the system stack\n{}", on_system_stack * 100.0, profile.summary());
    assert!(profile.complete_share(is_rooted) >= 0.99, "{}", profile.only(|sample| !is_rooted(sample)).summary());
    assert!(profile.incomplete() * 100 <= profile.count(), "{}", profile.summary());
}

#[test]
fn through_a_signal_handler_to_what_it_interrupted() {
    let target = Target::start(&programs::go("signals.go", &[]), &[]);
    let agent = Agent::start(&[]);
    let profile = agent.cpu(target.pid(), 8, 997);
    let handled = profile.only(|sample| sample.stack.iter().any(|name| name.starts_with("runtime.sigtramp")));
    assert!(handled.count() > 200, "{} in the handler\n{}", handled.count(), profile.summary());
    let rooted = handled.share(is_rooted);
    assert!(rooted >= 0.99, "{:.1} % of the handler reach a root\n{}", rooted * 100.0, handled.summary());
    let main = handled.only(|sample| sample.has("main.storm"));
    let chain = ["syscall.RawSyscall", "main.storm", "main.main", "runtime.main"];
    let whole = main.share(|sample| sample.has_chain(&chain));
    assert!(main.count() > 100 && whole >= 0.97, "{:.1} % of {}\n{}", whole * 100.0, main.count(), main.summary());
    assert!(profile.incomplete() * 100 <= profile.count(), "{}", profile.summary());
}
