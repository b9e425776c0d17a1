//! A C++ compiler below make, packers, sqlite's shell.

use super::{HZ, assert_ends_as_gdb_shows, assert_passes, assert_whole, debian, processes};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use tests::harness::{Agent, Profile, Reference, Server, Target, target, wait};

/// What make is told: nothing before the gate opens, then one compiler after the other.
const MAKEFILE: &str = "\
JOBS := $(addsuffix .o,$(shell seq 200))
all: $(JOBS)
gate-opened:
\t@cat gate > $@
$(JOBS): %.o: gate-opened
\t@g++ -std=c++17 -O1 -c source.cc -o $@
";

/// Some headers, and templates for the compiler to work on.
const SOURCE: &str = "\
#include <map>
#include <string>
#include <vector>
template <int N> struct Level {
  static long work(std::map<int, std::vector<std::string>> &all) {
    auto &own = all[N];
    own.push_back(std::to_string(N));
    auto add = [&](auto x) { return x + long(own.size()); };
    return add(Level<N - 1>::work(all));
  }
};
template <> struct Level<0> { static long work(std::map<int, std::vector<std::string>> &) { return 0; } };
int main() { std::map<int, std::vector<std::string>> all; return int(Level<5>::work(all)); }
";

/// make in a folder, which waits for its gate.
fn make(folder: &Path) -> Server {
    std::fs::write(folder.join("Makefile"), MAKEFILE).unwrap();
    std::fs::write(folder.join("source.cc"), SOURCE).unwrap();
    let gate = folder.join("gate");
    rustix::fs::mkfifoat(rustix::fs::CWD, &gate, rustix::fs::Mode::RWXU).unwrap();
    let mut command = target::ending_with_us("TERM", &[], debian("/usr/bin/make"));
    command.arg("-j2").arg("-C").arg(folder);
    let make = Server::start_group(command);
    wait::until_true("make to wait at its gate", Duration::from_secs(20), || make.children().len() == 1);
    make
}

fn open_gate(folder: &Path) {
    std::fs::write(folder.join("gate"), "open").unwrap();
}

fn family(agent: &Agent, parent: u32, seconds: u32) -> Profile {
    agent.profile(&format!("pid/{parent}/debug/pprof/profile?seconds={seconds}&hz={HZ}&children=1"))
}

/// Lets the agent meet the compiler: its table takes a second to build, and what runs before it is there says so.
fn meet_compiler(agent: &Agent) {
    let folder = tempfile::tempdir().unwrap();
    let make = make(folder.path());
    open_gate(folder.path());
    wait::until_true("the compiler's table", Duration::from_mins(1), || {
        let profile = family(agent, make.pid(), 1);
        profile.count() > 0 && !profile.comments().iter().any(|comment| comment.contains("table pending"))
    });
}

#[test]
fn a_cpp_compiler_is_asked_by_the_number_of_make() {
    let agent = Agent::start(&[]);
    meet_compiler(&agent);
    let folder = tempfile::tempdir().unwrap();
    let make = make(folder.path());
    let pid = make.pid();
    // All that is sampled is forked in the window, and all ends with perf's window: a compiler's phases differ.
    let (profile, perf) = std::thread::scope(|scope| {
        let request = scope.spawn(|| family(&agent, pid, 5));
        wait::until_true("the window to be open", Duration::from_secs(5), || {
            agent.metric("pprofd_http_in_flight_requests").is_some_and(|open| open >= 1.0)
        });
        let mut perf = Reference::start_forking(&[pid], 3, folder.path());
        open_gate(folder.path());
        perf.wait();
        drop(make);
        (request.join().unwrap(), perf)
    });
    let compiler = profile.only(|sample| sample.label("comm") == "cc1plus");
    assert!(compiler.count() * 2 > profile.count(), "{}", profile.summary());
    assert_whole(&profile);
    perf.stacks().assert_agree(&profile, "cc1plus");
    let main = |sample: &tests::harness::profile::Sample| sample.has_chain(&["toplev::main", "main"]);
    assert!(compiler.share(main) >= 0.9, "{}", compiler.summary());
    assert_passes(&compiler, 0.2, "c_common_parse_file");
}

/// A file that packs as text does.
fn text_file(folder: &Path) -> String {
    let mut text = String::new();
    for n in 0_u64..1_200_000 {
        let word = n.wrapping_mul(2_654_435_761) % 100_003;
        writeln!(text, "{n} {word:x} {}", word * word).unwrap();
    }
    let path = folder.join("text");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn packers_are_whole_and_their_nameless_frames_say_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let text = text_file(folder.path());
    let agent = Agent::start(&[]);
    let files = ["gzip", "liblzma.so.5.4.1", "zstd"];
    let packers = [("/usr/bin/gzip", "-9"), ("/usr/bin/xz", "-9"), ("/usr/bin/zstd", "-19")];
    // Again and again, for none may end within the window.
    let start = |(program, level)| {
        Target::start(debian(program), &[&[level, "--stdout", "--quiet"], &[text.as_str(); 50][..]].concat())
    };
    let targets = packers.map(start);
    let profiles = processes(&agent, targets.each_ref().map(Target::pid), 2);
    for ((profile, perf), file) in profiles.iter().zip(files) {
        assert_whole(profile);
        perf.assert_agree(profile, file);
        let own = profile.share(|sample| sample.files.iter().any(|path| path.ends_with(file)));
        assert!(own >= 0.95, "{:.1} % in {file}\n{}", own * 100.0, profile.summary());
    }
}

/// Joins that take longer than any test, by an index.
const QUERY: &str = "\
create table item(id integer primary key, word text, weight integer);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
  insert into item select i, hex(i * 2654435761 % 1000003), i * 7919 % 997 from n;
create index by_weight on item(weight);
select sum(length(a.word)) from item a, item b join item c on c.weight = (a.weight * b.id) % 997
  where c.word like '%3' || substr(a.word, 1, 1) || '%' order by lower(b.word);
";

#[test]
fn sqlite_is_named_by_its_library() {
    let target = Target::start(debian("/usr/bin/sqlite3"), &[":memory:", QUERY]);
    let agent = Agent::start(&[]);
    let [(profile, perf)] = processes(&agent, [target.pid()], 2);
    assert_whole(&profile);
    perf.assert_agree(&profile, "libsqlite3.so.0.8.6");
    assert_ends_as_gdb_shows(&profile, target.pid(), 8);
    for function in ["sqlite3_step", "sqlite3VdbeExec"] {
        assert_passes(&profile, 0.98, function);
    }
}
