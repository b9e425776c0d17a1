//! More of what public reports were about: stacks that end on their own, code without tables, files that are gone, have no
//! path, no sections or odd names, programs that a loader runs.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::harness::profile::Sample;
use tests::harness::{Agent, Profile, Target, programs, strict, tools};

const HZ: u32 = 997;

fn case(name: &str, more: &[&str]) -> PathBuf {
    programs::c(&format!("cases/{name}"), more)
}

fn profiled(program: &Path, arguments: &[&str]) -> Profile {
    let target = Target::start(program, arguments);
    Agent::start(&[]).cpu(target.pid(), 4, HZ)
}

#[track_caller]
fn assert_share(profile: &Profile, what: &str, wanted: std::ops::RangeInclusive<f64>, of: impl Fn(&Sample) -> bool) {
    let share = profile.share(of);
    assert!(wanted.contains(&share), "{what}: {:.1} %\n{}", share * 100.0, profile.summary());
}

/// At least so much of the samples of `leaf` goes on as the chain says, leaf first.
#[track_caller]
fn assert_goes_on(profile: &Profile, leaf: &str, chain: &[&str], least: f64) {
    let own = profile.only(|sample| sample.has(leaf));
    assert!(own.count() > 100, "{leaf}\n{}", profile.summary());
    assert_share(&own, leaf, least..=1.0, |sample| sample.has_chain(chain));
}

/// What `go tool pprof -top` prints of a profile.
fn top(profile: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profile").display().to_string();
    std::fs::write(&file, profile).unwrap();
    tools::pprof_ok(&["-top", &file])
}

fn fetch(agent: &Agent, pid: u32) -> Vec<u8> {
    agent.get(&format!("/pid/{pid}/debug/pprof/profile?seconds=3&hz={HZ}")).ok().body
}

/// 03: what lies above the bottom of a fiber is no caller.
#[test]
fn fibers_end_where_they_end() {
    let profile = profiled(&case("fibers.c", &[]), &[]);
    for (leaf, root, share) in [("a_leaf", "fiber_a", 0.5), ("b_leaf", "fiber_b", 0.3), ("c_leaf", "fiber_c", 0.2)] {
        let own = profile.only(|sample| sample.has(leaf));
        assert_share(&own, leaf, 0.98..=1.0, |sample| sample.has(root));
        assert_share(&profile, leaf, share - 0.06..=share + 0.06, |sample| sample.has(leaf));
    }
    assert_eq!(profile.count_of(|sample| sample.has("never_called")), 0, "{}", profile.summary());
    assert_eq!(profile.count_of(|sample| sample.stack.len() > 24 && sample.has("a_leaf")), 0, "{}", profile.summary());
    assert!(
        profile.complete_share(|_| true) > 0.99 && profile.incomplete() * 50 < profile.count(),
        "{}",
        profile.summary()
    );
}

/// 04: frame pointers where code has no table, tables where it has one, in one file.
#[test]
fn rust_with_frame_pointers_and_without_tables() {
    let flags = ["-C", "panic=abort", "-C", "force-unwind-tables=no", "-C", "force-frame-pointers=yes"];
    let profile = profiled(&programs::rust("cases/no_tables.rs", &flags), &[]);
    let ends = |end: &'static str| move |sample: &Sample| sample.stack.iter().any(|name| name.ends_with(end));
    assert_share(&profile, "heavy", 0.66..=0.74, ends("::heavy"));
    assert_share(&profile, "light", 0.26..=0.34, ends("::light"));
    assert_share(&profile, "middle and main", 0.97..=1.0, |sample| ends("::middle")(sample) && ends("::main")(sample));
    assert_share(&profile, "rooted", 0.97..=1.0, |sample| sample.stack.first().is_some_and(|root| root == "_start"));
}

/// 10: the old process runs the old file, whatever lies at its path now.
#[test]
fn a_program_whose_file_was_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("upgraded");
    programs::copy_to(&case("replaced.c", &["-DHOT=old_hot"]), &place);
    let old = Target::start(&place, &[]);
    // As package managers do: another file, moved to that name.
    let next = folder.path().join("upgraded.new");
    programs::copy_to(&case("replaced.c", &["-DHOT=new_hot"]), &next);
    std::fs::rename(&next, &place).unwrap();
    let new = Target::spawn_unchecked(&place, &[]);
    let agent = Agent::start(&[]);
    for (target, own, other) in [(&old, "old_hot", "new_hot"), (&new, "new_hot", "old_hot")] {
        let body = fetch(&agent, target.pid());
        let profile = Profile::parse(&body);
        assert_share(&profile, own, 0.95..=1.0, |sample| sample.has(own));
        assert_eq!(profile.count_of(|sample| sample.has(other)), 0, "{}", profile.summary());
        assert!(profile.files().iter().all(|file| !file.ends_with("(deleted)")), "{:?}", profile.files());
        assert!(!top(&body).contains("(deleted)"));
    }
}

/// 11: memory files, of a program and of a library.
#[test]
fn a_program_and_a_library_that_never_had_a_path() {
    let (program, library) = (case("memory_program.c", &["-ldl"]), programs::library("cases/memory_library.c", &[]));
    let arguments = [program.to_str().unwrap(), library.to_str().unwrap()];
    let target = Target::spawn_unchecked(&case("memory_launcher.c", &[]), &arguments);
    let agent = Agent::start(&[]);
    let body = fetch(&agent, target.pid());
    let profile = Profile::parse(&body);
    for function in ["memfd_hot", "memfd_lib_hot"] {
        assert_share(&profile, function, 0.44..=0.56, |sample| sample.has_chain(&[function, "main"]));
    }
    assert!(top(&body).contains("memfd_hot"));
}

/// 15, where the host has the linkers.
#[test]
fn programs_of_other_linkers_and_layouts() {
    for layout in [&[][..], &["-Wl,-z,noseparate-code"], &["-fuse-ld=gold"]] {
        let flags = [&["-falign-functions=64"], layout].concat();
        let profile = profiled(&case("exported.c", &flags), &[]);
        assert_goes_on(&profile, "pub_hot", &["pub_hot", "pub_caller", "main"], 0.97);
        assert_share(&profile, "pub_hot", 0.54..=0.66, |sample| sample.has("pub_hot"));
    }
}

/// 20: one address stands for several source functions.
#[test]
fn functions_that_exist_only_inlined() {
    let source = programs::source("cases/inlined.cc");
    let line_of = |marker: &str| {
        let text = std::fs::read_to_string(&source).unwrap();
        i64::try_from(text.lines().position(|line| line.contains(marker)).unwrap()).unwrap() + 1
    };
    let profile = profiled(&programs::cpp("cases/inlined.cc", &[]), &[]);
    let outie = profile.only(|sample| sample.stack.iter().any(|name| name.starts_with("outie(")));
    let chain = |sample: &Sample| {
        sample
            .stack
            .windows(3)
            .any(|part| part[0] == "main" && part[1].starts_with("outie(") && part[2].starts_with("middle"))
    };
    assert_share(&outie, "middle <- outie <- main", 0.97..=1.0, chain);
    let innie = |sample: &Sample| sample.stack.iter().any(|name| name.starts_with("innie"));
    // How many of the loop's instructions are innie's, and which of them cost, is the compiler's choice: about half.
    assert_share(&outie, "innie", 0.3..=1.0, innie);
    let walk = profile.only(|sample| sample.stack.iter().any(|name| name.starts_with("walk(")));
    assert_share(&walk, "apply<", 0.95..=1.0, |sample| sample.stack.iter().any(|name| name.contains("apply<")));
    for part in ["{lambda(int)", "leaf_op"] {
        assert_share(&walk, part, 0.3..=1.0, |sample| sample.stack.iter().any(|name| name.contains(part)));
    }
    // Of a location with all three: innie's line is its own, middle's and outie's are those of their calls.
    let (call_innie, call_middle) = (line_of("// CALL innie"), line_of("// CALL middle"));
    let name = |id: u64| {
        let function = profile.message.function.iter().find(|function| function.id == id);
        function.map_or("", |function| profile.text(function.name))
    };
    let whole = profile
        .message
        .location
        .iter()
        .find(|location| location.line.len() == 3 && name(location.line[0].function_id).starts_with("innie"));
    let lines: Vec<i64> = whole.expect("a location in innie").line.iter().map(|line| line.line).collect();
    assert_eq!(&lines[1..], [call_innie, call_middle]);
}

/// 23: Rust's two manglings, anonymous namespaces, template arguments.
#[test]
fn names_are_those_of_the_source() {
    let v0 = programs::rust("cases/mangling.rs", &["-C", "symbol-mangling-version=v0"]);
    let usual = programs::rust("cases/mangling.rs", &[]);
    let stripped = |program: &Path| {
        let output = PathBuf::from(format!("{}.nodebug", program.display()));
        assert!(Command::new("strip").arg("-g").arg("-o").arg(&output).arg(program).status().unwrap().success());
        output
    };
    for program in [&v0, &usual, &stripped(&v0), &stripped(&usual)] {
        let profile = profiled(program, &[]);
        let names: Vec<&str> = profile.message.function.iter().map(|function| profile.text(function.name)).collect();
        let raw = |name: &&&str| name.starts_with("_R") || name.starts_with("_Z") || has_hash(name);
        assert_eq!(names.iter().find(raw), None, "{}", program.display());
        assert!(names.iter().any(|name| name.contains("hot_generic")), "{names:?}");
        assert!(names.iter().any(|name| name.contains("{closure")), "{names:?}");
        if *program == v0 {
            for instance in ["hot_generic::<u64>", "hot_generic::<u8>"] {
                assert!(names.iter().any(|name| name.contains(instance)), "{instance}: {names:?}");
            }
        }
    }
    let target = Target::start(&programs::cpp("cases/mangling.cc", &[]), &[]);
    let body = fetch(&Agent::start(&[]), target.pid());
    let profile = Profile::parse(&body);
    let anonymous =
        |sample: &Sample| sample.stack.iter().any(|name| name.starts_with("(anonymous namespace)::single_thread"));
    assert_share(&profile, "(anonymous namespace)::single_thread", 0.3..=0.7, anonymous);
    let shown = top(&body);
    assert!(shown.contains("wrap<std::pair<int, long"), "{shown}");
}

/// Rust's old mangling ends names in `::h` and 16 hex digits.
fn has_hash(name: &str) -> bool {
    name.rsplit_once("::h")
        .is_some_and(|(_, hash)| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// 24: a name that is no text, and one of 60,000 letters.
#[test]
fn names_that_are_not_text_or_endless() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let run = |program: &str, arguments: &[&str]| {
        assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program} {arguments:?}");
    };
    let source = programs::source("cases/odd_names.c").display().to_string();
    run("gcc", &["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-c", "-o", &path("o.o"), &source]);
    let long = "L".repeat(60_000);
    let names = [b"hot_XX_bytes hot_\xff\xfe_bytes\nhot_long ", long.as_bytes(), b"\n"].concat();
    std::fs::write(path("names"), names).unwrap();
    run("objcopy", &[&format!("--redefine-syms={}", path("names")), &path("o.o")]);
    run("gcc", &["-no-pie", "-o", &path("odd"), &path("o.o")]);
    let target = Target::start(Path::new(&path("odd")), &[]);
    let agent = Agent::start(&[]);
    let body = fetch(&agent, target.pid());
    assert!(body.len() < 1 << 20, "{} bytes", body.len());
    let profile = Profile::parse(&body);
    strict::assert_strict(&profile);
    let bytes = |sample: &Sample| sample.stack.iter().any(|name| name.starts_with("hot_") && name.ends_with("_bytes"));
    assert_share(&profile, "hot_.._bytes", 0.4..=0.6, bytes);
    let recognized = |sample: &Sample| sample.stack.iter().any(|name| name.starts_with(&long[..100]));
    assert_share(&profile, "LLL...", 0.4..=0.6, recognized);
    assert!(top(&body).contains("_bytes"));
}

/// 25: `/proc` is text, and a target writes some of it.
#[test]
fn paths_arguments_and_names_that_confuse_parsers() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("odd \n (deleted)) R 1 (x (deleted)");
    programs::copy_to(&case("odd_task.c", &[]), &place);
    let long = "x".repeat(100_000);
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    let mut command = tests::harness::target::dying_with_us(&place);
    let mut child = command.args(["", "a b", &long]).arg(odd).spawn().unwrap();
    let agent = Agent::start(&[]);
    let body = fetch(&agent, child.id());
    let profile = Profile::parse(&body);
    strict::assert_strict(&profile);
    assert_goes_on(&profile, "odd_hot", &["odd_hot", "main"], 0.97);
    let truth = std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    let served = agent.get(&format!("/pid/{}/debug/pprof/cmdline", child.id())).ok().body;
    assert_eq!(served, truth[..truth.len() - 1]);
    let list: serde_json::Value = serde_json::from_slice(&agent.get("/api/v1/processes").ok().body).unwrap();
    assert!(list.to_string().contains(&format!("\"pid\":{}", child.id())));
    let metrics = agent.get("/metrics").ok().text();
    let is_sample =
        |line: &&str| line.starts_with('#') || line.rsplit_once(' ').is_some_and(|(_, v)| v.parse::<f64>().is_ok());
    assert_eq!(metrics.lines().find(|line| !is_sample(line)), None);
    assert!(top(&body).contains("odd_hot"));
    // A name with blanks, brackets and a line break is one label, as the kernel has it.
    let pid = child.id().to_string();
    let own = agent.host(2, HZ).only(|sample| sample.label("pid") == pid);
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    let name = name.strip_suffix('\n').unwrap();
    assert!(name.contains(' ') && name.contains('\n') && own.count() > 0, "{name:?}");
    assert!(
        own.samples.iter().all(|sample| sample.label("comm") == name && sample.label("thread") == name),
        "{:?}",
        own.samples.first().map(|sample| &sample.labels)
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

/// 27: the kernel says that the loader is what runs.
#[test]
fn a_program_that_was_started_through_the_loader() {
    let program = case("loaded.c", &["-Wl,--build-id=sha1"]);
    let target = Target::spawn_unchecked(Path::new("/lib64/ld-linux-x86-64.so.2"), &[program.to_str().unwrap()]);
    let agent = Agent::start(&[]);
    let body = fetch(&agent, target.pid());
    let profile = Profile::parse(&body);
    assert_goes_on(&profile, "loaded_hot", &["loaded_hot", "main"], 0.97);
    assert_eq!(Path::new(profile.main_binary()), program);
    let notes = tools::output("readelf", &["-n", program.to_str().unwrap()]);
    let build_id = profile.text(profile.message.mapping[0].build_id);
    assert!(!build_id.is_empty() && notes.contains(build_id), "{build_id} is not in\n{notes}");
    let shown = top(&body);
    let name = program.file_name().unwrap().to_str().unwrap();
    assert!(shown.contains(&format!("File: {name}")), "{shown}");
}

/// 35: what cuts off the section headers leaves what the loader needs.
#[test]
fn a_program_without_section_headers() {
    let whole = case("exported.c", &["-rdynamic", "-Wl,--build-id=sha1", "-falign-functions=64"]);
    let mut bytes = std::fs::read(programs::stripped(&whole)).unwrap();
    // e_shoff, then e_shentsize, e_shnum and e_shstrndx of the ELF header.
    let headers = u64::from_le_bytes(bytes[0x28..0x30].try_into().unwrap());
    bytes[0x28..0x30].fill(0);
    bytes[0x3a..0x40].fill(0);
    bytes.truncate(usize::try_from(headers).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("headerless");
    programs::copy_to(&whole, &place);
    std::fs::write(&place, bytes).unwrap();
    let profile = profiled(&place, &[]);
    assert_goes_on(&profile, "pub_hot", &["pub_hot", "pub_caller", "main"], 0.97);
    assert_share(&profile, "pub_hot", 0.54..=0.66, |sample| sample.has("pub_hot"));
    let notes = tools::output("readelf", &["-n", whole.to_str().unwrap()]);
    let build_id = profile.text(profile.message.mapping[0].build_id);
    assert!(!build_id.is_empty() && notes.contains(build_id), "{build_id} is not in\n{notes}");
}

/// 36: the second part of a function lies far from its first.
#[test]
fn a_loop_in_the_cold_part_of_a_function() {
    let profile = profiled(&case("cold_part.c", &["-freorder-blocks-and-partition"]), &[]);
    let is_work = |name: &String| name == "do_work" || name == "do_work.cold";
    let chain = |sample: &Sample| {
        sample.stack.windows(3).any(|part| part[0] == "main" && part[1] == "driver" && is_work(&part[2]))
    };
    assert_share(&profile, "do_work <- driver <- main", 0.97..=1.0, chain);
    assert_eq!(profile.count_of(|sample| sample.has("neighbour.cold")), 0, "{}", profile.summary());
}

/// 38: code that nobody can name is a frame all the same, also where it lies in memory that counts as a file.
#[test]
fn machine_code_without_a_map_is_a_frame() {
    let program = case("machine_code.c", &[]);
    let agent = Agent::start(&[]);
    for kind in ["anonymous", "shared", "memory file"] {
        let target = Target::start(&program, &[kind]);
        let profile = agent.cpu(target.pid(), 3, HZ);
        let own = profile.only(|sample| sample.has("from_jit"));
        let chain = |sample: &Sample| {
            sample.stack.windows(4).any(|part| {
                part[0] == "main"
                    && part[1] == "run_jit"
                    && part[2].starts_with("[anonymous code")
                    && part[3] == "from_jit"
            })
        };
        assert_share(&own, "from_jit <- ? <- run_jit <- main", 0.95..=1.0, chain);
    }
}
