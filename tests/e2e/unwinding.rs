//! Stacks that take more than the common unwind rules: jumps and contexts, stacks that are realigned, split or end on their own,
//! rules that only people write, the assembly of the C library and of OpenSSL.

use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::harness::profile::Sample;
use tests::harness::{Agent, Profile, Target, judge, programs, wait};

const HZ: u32 = 997;
/// Stacks that may be other than the true ones, of all samples, lost ones included; one may be in any case.
const MOST_WRONG: f64 = 0.005;
/// Programs that run at the same time.
const TOGETHER: usize = 4;
const SECONDS: u32 = 2;

type Judge = fn(&Sample) -> bool;

/// A program, and which of its stacks are whole.
struct Case {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
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
        let variables = self.variables.iter().map(|(name, value)| format!("{name}={value}"));
        let program = self.program.display().to_string();
        let launched: Vec<String> = variables.chain([program]).chain(self.arguments.iter().cloned()).collect();
        let launched: Vec<&str> = launched.iter().map(String::as_str).collect();
        // `openssl speed` says on standard error what it does.
        let shell = ["-c", "exec env \"$@\" 2>/dev/null", "sh"];
        let target = Target::spawn_unchecked(Path::new("sh"), &[&shell, launched.as_slice()].concat());
        let file = self.program.canonicalize().unwrap();
        // All that it needs is mapped once it computes.
        wait::until_true("the program to run", Duration::from_secs(20), || {
            target.exe().is_some_and(|exe| exe == file) && judge::cpu_seconds(target.pid()) > 0.03
        });
        target
    }
}

/// Profiles them, some at a time, and gives back what is wrong.
fn failures(cases: &[Case]) -> Vec<String> {
    let agent = Agent::start(&[]);
    let mut failures = Vec::new();
    for cases in cases.chunks(TOGETHER) {
        let targets: Vec<Target> = cases.iter().map(Case::start).collect();
        let profiles: Vec<Profile> = std::thread::scope(|scope| {
            let agent = &agent;
            let requests: Vec<_> = targets.iter().map(|target| scope.spawn(move || settled(agent, target))).collect();
            requests.into_iter().map(|request| request.join().unwrap()).collect()
        });
        failures.extend(cases.iter().zip(&profiles).filter_map(|(case, profile)| failure(case, profile)));
    }
    failures
}

/// A profile of a target whose files all have their tables: a request waits for them only so long, and this host may be busy.
fn settled(agent: &Agent, target: &Target) -> Profile {
    wait::until_true("all tables", Duration::from_mins(1), || {
        !agent.cpu(target.pid(), 1, HZ).comments().iter().any(|comment| comment.contains("table pending"))
    });
    agent.cpu(target.pid(), SECONDS, HZ)
}

fn failure(case: &Case, profile: &Profile) -> Option<String> {
    let share = profile.complete_share(case.is_whole);
    let others = profile.only(|sample| !(case.is_whole)(sample));
    let few = 1.0 - share <= MOST_WRONG || others.count() + profile.lost() <= 1;
    let missing: Vec<_> = case.met.iter().filter(|name| profile.count_of(|sample| sample.has(name)) == 0).collect();
    if few && missing.is_empty() && profile.count() > 0 {
        return None;
    }
    let (name, share) = (case.name, share * 100.0);
    Some(format!("{name}: {share:.2} % whole, not met: {missing:?}; the others:\n{}", others.summary()))
}

fn program(name: &str, more: &[&str]) -> PathBuf {
    programs::c(&format!("unwinding/{name}"), more)
}

const HANDMADE: [&str; 7] =
    ["indexed", "in_structure", "rbp_elsewhere", "address_elsewhere", "inner", "called", "called_by_convention"];

/// Each function of handmade.S is called by one that is called like it, and that by main().
fn is_called_by_its_caller(sample: &Sample) -> bool {
    let calls = |name: &&str| match *name {
        "called" => sample.has_chain(&["called", "by_call", "call_by_call", "main"]),
        "called_by_convention" => {
            sample.has_chain(&["called_by_convention", "by_convention", "call_by_convention", "main"])
        }
        name => sample.has_chain(&[name, &format!("call_{name}"), "main"]),
    };
    sample.has("main") && HANDMADE.iter().filter(|name| sample.has(name)).all(calls)
}

fn handmade() -> PathBuf {
    let assembly = programs::source("unwinding/handmade.S").display().to_string();
    // The linker does not sort functions that overlap.
    program("handmade.c", &["-Wl,--no-eh-frame-hdr", &assembly])
}

fn in_copies(sample: &Sample) -> bool {
    sample.has_chain(&["copier", "main"]) || (sample.has("main") && !sample.has("copier"))
}

fn in_realigned(sample: &Sample) -> bool {
    let chain = ["leaf", "nested", "with_vector", "with_alloca", "forced", "main"];
    sample.has("main") && (!sample.has("leaf") || sample.has_chain(&chain))
}

/// The fiber's stack is its own.
fn in_contexts(sample: &Sample) -> bool {
    if sample.has("fiber_leaf") {
        return sample.depth_of("fiber_down") == 8 && sample.has("fiber_main") && !sample.has("main");
    }
    ["main", "fiber_main", "__start_context"].iter().any(|root| sample.has(root))
}

/// Where something is bound, the loader is called by the library, which run_many() calls.
fn in_lazy(sample: &Sample) -> bool {
    sample.has("main") && (!sample.has("many") || sample.has_chain(&["many", "run_many", "main"]))
}

#[test]
fn jumps_contexts_and_stacks_of_every_kind_are_whole() {
    let no_avx = "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX2_Usable,-AVX512F_Usable,-ERMS";
    let all_realigned = ["-mstackrealign", "-mincoming-stack-boundary=3"];
    let failures = failures(&[
        Case::new("jumps", program("jumps.c", &[]), &["hop_leaf", "bounce"], |sample| {
            sample.has("main") && (!sample.has("hop_leaf") || sample.depth_of("hop") == 20)
        }),
        Case::new("contexts", program("contexts.c", &[]), &["fiber_leaf", "again"], in_contexts),
        Case::new("realigned", program("realigned.c", &[]), &["leaf"], in_realigned),
        Case::new("all realigned", program("realigned.c", &all_realigned), &["leaf"], in_realigned),
        Case::new("split", program("split.c", &["-fsplit-stack"]), &["leaf"], |sample| {
            sample.has("main") && (!sample.has("leaf") || sample.depth_of("down") == 40)
        }),
        Case::new("handmade", handmade(), &HANDMADE, is_called_by_its_caller),
        Case::new("copies", program("copies.c", &[]), &["copier"], in_copies),
        Case {
            variables: vec![("GLIBC_TUNABLES", no_avx)],
            ..Case::new("copies without AVX", program("copies.c", &[]), &["copier"], in_copies)
        },
    ]);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// The loader's trampoline keeps the way to its caller in a register only, and calls.
#[test]
fn functions_that_are_bound_when_they_are_called() {
    let library = programs::library("unwinding/libmany.c", &["-Wl,-z,lazy"]).display().to_string();
    let lazy = Case { arguments: vec![library], ..Case::new("lazy", program("lazy.c", &["-ldl"]), &["many"], in_lazy) };
    let agent = Agent::start(&[]);
    let target = lazy.start();
    let profile = settled(&agent, &target);
    assert_eq!(failure(&lazy, &profile), None);
    let binding = |sample: &Sample| sample.has("many") && sample.files.iter().any(|file| file.contains("ld-linux"));
    assert!(profile.share(binding) > 0.2, "{}", profile.summary());
}

/// Assembly that computes with every register: stacks are judged by what the agent says of them, since it has few names.
#[test]
fn the_assembly_of_openssl() {
    // The second run may not use what newer CPUs have, and so takes other functions: ADX, BMI2, AVX2, AVX, SHA.
    let old = ("OPENSSL_ia32cap", "~0x1000000000000000:~0x20080128");
    let speed = |name: &'static str, algorithm: &str, variables| Case {
        arguments: ["speed", "-seconds", "60", "-bytes", "8192"]
            .into_iter()
            .chain(algorithm.split(' '))
            .map(str::to_owned)
            .collect(),
        variables,
        ..Case::new(name, PathBuf::from("/usr/bin/openssl"), &[], |sample| {
            ["__libc_start_main", "__libc_start_main_impl", "__libc_start_call_main"]
                .iter()
                .any(|root| sample.has(root))
        })
    };
    let failures = failures(&[
        speed("sha256", "sha256", Vec::new()),
        speed("older sha256", "sha256", vec![old]),
        speed("aes-128-gcm", "-evp aes-128-gcm", Vec::new()),
        speed("older aes-128-cbc", "aes-128-cbc", vec![old]),
        speed("rsa2048", "rsa2048", Vec::new()),
        speed("older rsa2048", "rsa2048", vec![old]),
        speed("ecdsap256", "ecdsap256", Vec::new()),
        speed("older ghash", "ghash", vec![old]),
    ]);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
