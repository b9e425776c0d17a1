//! Forms of programs: linked statically, stripped, with inlines, templates, PLT stubs, handlers, libraries that come and go.

use std::path::Path;
use tests::harness::profile::Sample;
use tests::harness::published::Published;
use tests::harness::{Agent, Chain, Profile, Target, judge, programs, tools};

const HZ: u32 = 997;

/// A program with arguments, profiled for 4 s.
fn profiled(program: &Path, arguments: &[&str]) -> Profile {
    let target = Target::start(program, arguments);
    let agent = Agent::start(&[]);
    agent.cpu(target.pid(), 4, HZ)
}

/// Panics unless `wanted` holds for at least `least` of all samples, lost ones included.
#[track_caller]
fn assert_most(profile: &Profile, least: f64, wanted: impl Fn(&Sample) -> bool) {
    let share = profile.complete_share(&wanted);
    let others = profile.only(|sample| !wanted(sample));
    assert!(share >= least, "{:.2} % only; the others:\n{}", share * 100.0, others.summary());
}

#[test]
fn a_static_program() {
    let chain = Chain::start(&programs::c("chain.c", &["-static"]));
    let agent = Agent::start(&[]);
    chain.assert_true(&agent.cpu(chain.pid(), 8, HZ));
}

#[test]
fn a_static_pie_program() {
    let chain = Chain::start_in_thread(&programs::c("chain.c", &["-static-pie"]));
    let agent = Agent::start(&[]);
    chain.assert_true(&agent.cpu(chain.pid(), 8, HZ));
}

#[test]
fn a_program_with_frame_pointers_and_no_tables() {
    let flags = ["-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
    let chain = Chain::start(&programs::c("chain.c", &flags));
    let agent = Agent::start(&[]);
    let profile = agent.cpu(chain.pid(), 4, HZ);
    // A leaf function need not set up a frame, so its caller may be missing; no more than that.
    assert_most(&profile, 0.99, |sample| sample.has("main"));
}

#[test]
fn cpp_templates_and_exceptions() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let target = Target::start(&programs::cpp("templates.cpp", &[]), &[clock.to_str().unwrap()]);
    let published = Published::at(&clock);
    published.wait();
    let agent = Agent::start(&[]);
    let profile = agent.cpu(target.pid(), 8, HZ);
    let paths = ["shop::sorted", "shop::Circle::draw", "shop::catcher"];
    let of = |path: &str| profile.cpu_of(|sample| sample.stack.iter().any(|name| name.contains(path)));
    let measured: Vec<f64> = paths.iter().map(|path| of(path)).collect();
    judge::assert_shares(&paths, &measured, &published.in_window_of(&profile), profile.count());
    // While libgcc installs a handler's context it overwrites its own frame, the return address included: no unwinder can
    // find the way then, and the profile must say so of each such stack.
    let lost = profile.only(|sample| !sample.has("main"));
    assert!(profile.complete_share(|sample| sample.has("main")) >= 0.995, "{}", lost.summary());
    assert!(lost.count() <= profile.doubtful(), "{} stacks without main\n{}", lost.count(), lost.summary());
    let instance = "shop::Burner<double, 20000>::spin";
    assert!(
        profile.share(|sample| sample.stack.iter().any(|name| name.contains(instance))) > 0.4,
        "{}",
        profile.summary()
    );
    let unwinder = |name: &String| name.contains("_Unwind_RaiseException");
    assert!(profile.share(|sample| sample.stack.iter().any(unwinder)) > 0.05, "{}", profile.summary());
    let mangled =
        |function: &tests::harness::message::Function| profile.text(function.system_name).starts_with("_ZN4shop");
    assert!(profile.message.function.iter().any(mangled), "no function keeps its mangled name as system name");
}

#[test]
fn rust_with_inlines() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let target = Target::start(&programs::rust("inlines.rs", &[]), &[clock.to_str().unwrap()]);
    let published = Published::at(&clock);
    published.wait();
    let agent = Agent::start(&[]);
    let profile = agent.cpu(target.pid(), 8, HZ);
    let work = |sample: &Sample| sample.stack.iter().any(|name| name.ends_with("::work"));
    let generic = |sample: &Sample| sample.stack.iter().any(|name| name.contains("::generic"));
    let measured = [profile.cpu_of(work), profile.cpu_of(generic)];
    judge::assert_shares(&["work", "generic"], &measured, &published.in_window_of(&profile), profile.count());
    let ends = |name: &str, end: &str| name == end || name.ends_with(&format!("::{end}"));
    let inlined = |sample: &Sample| {
        sample.stack.windows(3).any(|part| ends(&part[0], "work") && ends(&part[1], "middle") && ends(&part[2], "leaf"))
    };
    let share = profile.cpu_of(inlined) / profile.cpu_of(work);
    assert!(share >= 0.9, "{:.1} % of work shows its inlined calls\n{}", share * 100.0, profile.summary());
    assert_most(&profile, 0.998, |sample| sample.stack.iter().any(|name| name.ends_with("::main")));
}

#[test]
fn rust_stripped_is_unwound_and_its_functions_say_where_they_begin() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let whole = programs::rust("inlines.rs", &[]);
    let stripped = programs::stripped(&whole);
    let target = Target::start(&stripped, &[clock.to_str().unwrap()]);
    let published = Published::at(&clock);
    published.wait();
    let agent = Agent::start(&[]);
    let profile = agent.cpu(target.pid(), 8, HZ);
    assert_most(&profile, 0.998, |sample| sample.stack.iter().any(|name| name.starts_with("__libc_start_main")));
    // Addresses of the stripped copy are judged by the symbols of the whole one.
    let work = tools::offsets_of(&whole, "::work::");
    let in_work = |sample: &tests::harness::message::Sample| {
        sample.location_id.iter().any(|id| profile.file_offset(*id).is_some_and(|offset| work.contains(&offset)))
    };
    let nanos = |in_it: bool| {
        profile
            .message
            .sample
            .iter()
            .filter(|sample| in_work(sample) == in_it)
            .map(|sample| sample.value[1])
            .sum::<i64>()
    };
    let measured = [nanos(true) as f64, nanos(false) as f64];
    judge::assert_shares(&["work", "the rest"], &measured, &published.in_window_of(&profile), profile.count());
    // Whatever address of it was met, it is one function.
    let name = format!("{}+{:#x}", stripped.file_name().unwrap().display(), work.start);
    let met = profile.lines_by_offset();
    let met: Vec<&Vec<(String, String)>> = met.range(work).map(|(_, lines)| lines).collect();
    assert!(met.len() > 3, "{} addresses of it", met.len());
    for lines in met {
        assert!(matches!(lines.as_slice(), [(function, _)] if *function == name), "{lines:?}, not {name}");
    }
}

#[test]
fn stacks_of_32_and_1000_levels_are_whole() {
    for levels in [32, 1000] {
        let profile = profiled(&programs::c("deep.c", &[]), &[&levels.to_string()]);
        assert_most(&profile, 0.998, |sample| {
            sample.has("main") && (!sample.has("deep_leaf") || sample.depth_of("deep") == levels)
        });
    }
}

#[test]
fn a_stack_that_is_too_deep_is_kept_and_marked() {
    let profile = profiled(&programs::c("deep.c", &[]), &["3000"]);
    assert_most(&profile, 0.98, |sample| sample.has("deep_leaf") && sample.depth_of("deep") >= 900);
    assert!(profile.comments().iter().any(|comment| comment.contains("truncated")), "{:?}", profile.comments());
}

#[test]
fn code_in_one_of_5000_executable_mappings() {
    let target = Target::start_ready(&programs::c("many_mappings.c", &[]), &[]);
    let agent = Agent::start(&[]);
    let profile = agent.cpu(target.pid(), 4, HZ);
    assert_most(&profile, 0.998, |sample| sample.has("main"));
    assert!(
        profile.share(|sample| sample.has_chain(&["pure_leaf", "call_alias", "main"])) > 0.95,
        "{}",
        profile.summary()
    );
}

#[test]
fn calls_through_plt_stubs() {
    let tiny = programs::library("libtiny.c", &["-Wl,-soname,libtiny.so"]);
    let folder = tempfile::tempdir().unwrap();
    programs::copy_to(&tiny, &folder.path().join("libtiny.so"));
    let search = format!("-L{}", folder.path().display());
    let found = format!("-Wl,-rpath,{}", folder.path().display());
    let target = Target::start(&programs::c("plt.c", &[&search, &found, "-Wl,-z,lazy", "-ltiny"]), &[]);
    let agent = Agent::start(&[]);
    drop(agent.cpu(target.pid(), 1, HZ));
    let perf = tools::Perf::start(target.pid(), HZ, 4, folder.path());
    let profile = agent.cpu(target.pid(), 4, HZ);
    assert_most(&profile, 0.998, |sample| sample.has_chain(&["plt_caller", "main"]));
    // Samples in the stub itself: behind plt_caller there is neither the callee nor nothing.
    let stub = |sample: &Sample| {
        sample.has("plt_caller") && !sample.has("tiny") && sample.stack.last().is_some_and(|leaf| leaf != "plt_caller")
    };
    // Whether a timer ever stops a program in a stub depends on the CPU.
    let leaves = perf.leaves();
    let (own, all) = (["plt_caller", "tiny"].map(|name| leaves.get(name).copied().unwrap_or(0)), leaves.values().sum());
    let truth = 1.0 - own.iter().sum::<i64>() as f64 / all as f64;
    let allowed = 1.5 * judge::tolerance(truth, profile.count().min(all));
    let found = profile.share(stub);
    assert!((found - truth).abs() <= allowed, "{found:.3} in stubs, {truth:.3} by perf\n{}", profile.summary());
}

#[test]
fn a_signal_handler_on_the_ordinary_stack() {
    let profile = profiled(&programs::c("handler.c", &[]), &[]);
    let handled = profile.only(|sample| sample.has("on_timer"));
    assert!(handled.count() > 200, "{}", profile.summary());
    let through = handled.share(|sample| sample.has("main") && (sample.has("interrupted") || sample.stack.len() > 3));
    assert!(through >= 0.97, "{:.1} % of the handler reach main\n{}", through * 100.0, handled.summary());
    assert_most(&profile, 0.998, |sample| sample.has("main"));
}

#[test]
fn a_handler_that_the_kernel_is_about_to_enter_or_leave() {
    let profile = profiled(&programs::c("raiser.c", &["-fno-optimize-sibling-calls"]), &[]);
    assert_most(&profile, 0.995, |sample| sample.has("main"));
}

#[test]
fn libraries_that_are_opened_and_closed_in_turn() {
    let a = programs::library("libpart.c", &["-DPART=burn_in_a"]);
    let b = programs::library("libpart.c", &["-DPART=burn_in_b"]);
    let target = Target::start(&programs::c("reopen.c", &["-ldl"]), &[a.to_str().unwrap(), b.to_str().unwrap()]);
    let agent = Agent::start(&[]);
    // What meets a library before its table is built must be declared; later on all is known, however often it is opened anew.
    let first = agent.cpu(target.pid(), 2, HZ);
    let lost = first.only(|sample| !sample.has("main"));
    assert!(lost.count() <= first.incomplete(), "{}", lost.summary());
    let profile = agent.cpu(target.pid(), 4, HZ);
    assert_most(&profile, 0.998, |sample| sample.has("main"));
    for part in ["burn_in_a", "burn_in_b"] {
        let share = profile.share(|sample| sample.has_chain(&[part, "part", "run_part", "main"]));
        assert!((0.4..0.6).contains(&share), "{part}: {:.1} %\n{}", share * 100.0, profile.summary());
    }
}

#[test]
fn a_32_bit_program_is_kept_with_its_reason() {
    let program = programs::bare("compat32.c", &["-m32", "-static", "-nostdlib", "-fno-pic", "-no-pie"]);
    let target = Target::start(&program, &[]);
    let agent = Agent::start(&[]);
    let profile = judge::accounted(target.pid(), 0.1, || agent.cpu(target.pid(), 3, HZ));
    assert!(profile.comments().iter().any(|comment| comment.contains("32-bit")), "{:?}", profile.comments());
}

#[test]
fn a_program_in_the_vdso() {
    let profile = profiled(&programs::c("vdso.c", &[]), &[]);
    assert_most(&profile, 0.998, |sample| sample.has_chain(&["vdso_caller", "main"]));
    // The C library's function has the same name; the vDSO's is below it.
    let in_vdso = profile.share(|sample| sample.is_in("[vdso]"));
    assert!(in_vdso > 0.3, "{:.1} % in the vDSO\n{}", in_vdso * 100.0, profile.summary());
    assert!(profile.files().contains(&"[vdso]"), "{:?}", profile.files());
}
