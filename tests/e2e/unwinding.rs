//! Stacks that take more than the common unwind rules: jumps and contexts, stacks that are realigned, split or end on their own,
//! rules that only people write, the assembly of the C library and of OpenSSL.

use std::path::{Path, PathBuf};
use std::process::Command;
use tests::harness::profile::Sample;
use tests::harness::{Agent, Profile, Target, programs};

const HZ: u32 = 997;
/// Stacks that must be the true ones, of all samples, lost ones included.
const LEAST: f64 = 0.995;

type Judge = fn(&Sample) -> bool;

/// A program, and which of its stacks are whole.
struct Case {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<&'static str>,
    variables: Vec<(&'static str, &'static str)>,
    is_whole: Judge,
    /// Functions that must be met for the test to say anything.
    met: &'static [&'static str],
}

impl Case {
    fn new(name: &'static str, program: PathBuf, met: &'static [&'static str], is_whole: Judge) -> Case {
        Case { name, program, arguments: Vec::new(), variables: Vec::new(), is_whole, met }
    }

    fn start(&self) -> Target {
        // A target inherits the environment of the test.
        let mut launcher = vec!["-u", "GLIBC_TUNABLES"];
        let variables: Vec<String> = self.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        launcher.extend(variables.iter().map(String::as_str));
        let program = self.program.display().to_string();
        launcher.push(&program);
        launcher.extend(&self.arguments);
        let target = Target::spawn_unchecked(Path::new("env"), &launcher);
        let file = self.program.canonicalize().unwrap();
        tests::harness::wait::until_true("the program to run", std::time::Duration::from_secs(10), || {
            target.exe().is_some_and(|exe| exe == file)
        });
        target
    }
}

/// Profiles all of them at the same time, and gives back what is wrong.
fn failures(cases: &[Case]) -> Vec<String> {
    let agent = Agent::start(&[]);
    let targets: Vec<Target> = cases.iter().map(Case::start).collect();
    let profiles: Vec<Profile> = std::thread::scope(|scope| {
        let requests: Vec<_> = targets.iter().map(|target| scope.spawn(|| agent.cpu(target.pid(), 4, HZ))).collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    cases.iter().zip(&profiles).filter_map(|(case, profile)| failure(case, profile)).collect()
}

fn failure(case: &Case, profile: &Profile) -> Option<String> {
    let share = profile.complete_share(case.is_whole);
    let missing: Vec<_> = case.met.iter().filter(|name| profile.count_of(|sample| sample.has(name)) == 0).collect();
    if share >= LEAST && missing.is_empty() && profile.count() > 200 {
        return None;
    }
    let others = profile.only(|sample| !(case.is_whole)(sample));
    let (name, share) = (case.name, share * 100.0);
    Some(format!("{name}: {share:.2} % whole, not met: {missing:?}; the others:\n{}", others.summary()))
}

fn program(name: &str, more: &[&str]) -> PathBuf {
    programs::c(&format!("unwinding/{name}"), more)
}

/// `leaf` is called by `call_leaf`, which `main` calls.
fn is_called_by_its_caller(sample: &Sample) -> bool {
    const FUNCTIONS: [&str; 6] = ["indexed", "in_structure", "rbp_elsewhere", "address_elsewhere", "inner", "by_call"];
    let calls = |name: &str| !sample.has(name) || sample.has_chain(&[name, &format!("call_{name}"), "main"]);
    sample.has("main") && FUNCTIONS.iter().all(|name| calls(name)) && (!sample.has("called") || sample.has("by_call"))
}

fn handmade() -> PathBuf {
    let assembly = programs::source("unwinding/handmade.S").display().to_string();
    // The linker does not sort functions that overlap.
    program("handmade.c", &["-Wl,--no-eh-frame-hdr", &assembly])
}

#[test]
fn jumps_contexts_and_stacks_of_every_kind_are_whole() {
    let copies = |name, variables| Case {
        variables,
        ..Case::new(name, program("copies.c", &[]), &["copier"], |sample| {
            sample.has_chain(&["copier", "main"]) || sample.stack.last().is_some_and(|leaf| leaf == "main")
        })
    };
    let failures = failures(&[
        Case::new("jumps", program("jumps.c", &[]), &["hop_leaf", "bounce"], |sample| {
            sample.has("main") && (!sample.has("hop_leaf") || sample.depth_of("hop") == 20)
        }),
        Case::new("contexts", program("contexts.c", &[]), &["fiber_leaf", "again"], |sample| {
            // The fiber's stack is its own.
            if sample.has("fiber_leaf") {
                sample.depth_of("fiber_down") == 8 && sample.has("fiber_main") && !sample.has("main")
            } else {
                sample.has("main") || sample.has("fiber_main") || sample.has("__start_context")
            }
        }),
        Case::new("realigned", program("realigned.c", &[]), &["leaf"], |sample| {
            sample.has("main")
                && (!sample.has("leaf")
                    || sample.has_chain(&["leaf", "nested", "with_vector", "with_alloca", "forced", "main"]))
        }),
        Case::new(
            "all realigned",
            program("realigned.c", &["-mstackrealign", "-mincoming-stack-boundary=3"]),
            &["leaf"],
            |sample| {
                sample.has("main")
                    && (!sample.has("leaf")
                        || sample.has_chain(&["leaf", "nested", "with_vector", "with_alloca", "forced", "main"]))
            },
        ),
        Case::new("split", program("split.c", &["-fsplit-stack"]), &["leaf"], |sample| {
            sample.has("main") && (!sample.has("leaf") || sample.depth_of("down") == 40)
        }),
        Case::new(
            "handmade",
            handmade(),
            &["indexed", "in_structure", "rbp_elsewhere", "address_elsewhere", "inner", "called"],
            is_called_by_its_caller,
        ),
        copies("copies", Vec::new()),
        copies(
            "copies without AVX",
            vec![("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX2_Usable,-AVX512F_Usable,-ERMS")],
        ),
    ]);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
