//! `perf record --call-graph dwarf` as a judge: copies of the stack, unwound later by another library with other readers of
//! the same tables, in the window of our profile.

use super::profile::{Profile, Sample, is_named};
use super::{judge, wait};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Bytes of stack that perf copies.
const COPIED: u32 = 16_384;
/// Samples a second.
const HZ: u32 = 499;
/// How many functions are compared.
const FUNCTIONS: usize = 5;
/// Shares that differ by no more are the same: the windows do not begin and end at the same moment.
const FLOOR: f64 = 0.06;
/// What the kernel's own code counts as.
const KERNEL: &str = "[kernel]";
/// The outermost functions of programs and threads.
const ROOTS: [&str; 7] =
    ["_start", "__libc_start_main", "__libc_start_call_main", "main", "start_thread", "__clone3", "clone3"];

/// A recording under way.
#[derive(Debug)]
pub struct Reference {
    child: Child,
    file: PathBuf,
    /// Whose stacks are wanted, if all are recorded.
    pids: Vec<u32>,
}

/// Stacks that perf recorded.
#[derive(Debug)]
pub struct Stacks {
    list: Vec<Stack>,
}

/// A stack of a process.
#[derive(Clone, Debug)]
struct Stack {
    pid: u32,
    /// ROOT FIRST.
    frames: Vec<Frame>,
}

/// A frame as perf names it.
#[derive(Clone, Debug)]
struct Frame {
    function: String,
    file: String,
}

impl Reference {
    /// Records processes and their children that are there, by a clock on each CPU, for so many seconds; returns when perf is at
    /// it. (A clock that runs with a process begins anew at each switch to it, and so meets those that often wait at certain
    /// places only.)
    pub fn start(pids: &[u32], seconds: u32, folder: &Path) -> Reference {
        let families = pids.iter().flat_map(|pid| [vec![*pid], children(*pid)].concat());
        Reference::record(&["-a"], families.collect(), seconds, folder)
    }

    /// Records processes and what they fork from now on, by a clock that runs with each: for what computes without pause.
    pub fn start_forking(pids: &[u32], seconds: u32, folder: &Path) -> Reference {
        let list = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        Reference::record(&["-p", &list], Vec::new(), seconds, folder)
    }

    fn record(whom: &[&str], pids: Vec<u32>, seconds: u32, folder: &Path) -> Reference {
        let file = folder.join("reference.data");
        let mut command = Command::new("perf");
        command.args(["record", "-q", "-e", "cpu-clock", "-F", &HZ.to_string()]).args(whom).arg("--call-graph");
        command.arg(format!("dwarf,{COPIED}")).arg("-o").arg(&file).args(["--", "sleep", &seconds.to_string()]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("perf can be started");
        wait_for_recording(&mut child);
        Reference { child, file, pids }
    }

    /// Waits for its end.
    pub fn wait(&mut self) {
        let status = self.child.wait().expect("perf can be waited for");
        assert!(status.success(), "perf record: {status}");
    }

    /// Waits for its end and unwinds.
    pub fn stacks(mut self) -> Stacks {
        self.wait();
        let file = self.file.display().to_string();
        let text = super::tools::output("perf", &["script", "-i", &file, "--no-inline", "-F", "comm,pid,ip,sym,dso"]);
        let is_wanted = |stack: &Stack| self.pids.is_empty() || self.pids.contains(&stack.pid);
        Stacks { list: text.split("\n\n").filter_map(stack_of).filter(is_wanted).collect() }
    }
}

/// Processes that one has forked and that live.
fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// perf starts the program that times it once its events count.
fn wait_for_recording(perf: &mut Child) {
    wait::until_true("perf to record", Duration::from_secs(20), || {
        let ended = perf.try_wait().expect("our own child can be waited for");
        assert!(ended.is_none(), "perf record ended at once: {ended:?}");
        children(perf.id()).into_iter().any(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == "sleep")
        })
    });
}

/// A line with the process, `name 4711`, and a line a frame, leaf first: `  41f283 name (/usr/bin/file)`.
fn stack_of(text: &str) -> Option<Stack> {
    let mut lines = text.trim_start_matches('\n').lines();
    let pid = lines.next()?.trim().rsplit(' ').next()?.parse().ok()?;
    let mut frames: Vec<Frame> = lines.filter_map(frame_of).collect();
    frames.reverse();
    (!frames.is_empty()).then_some(Stack { pid, frames })
}

fn frame_of(line: &str) -> Option<Frame> {
    let (_, rest) = line.trim().split_once(' ')?;
    let (function, file) = rest.rsplit_once(" (")?;
    let function = function.split_once("@@").map_or(function, |(name, _)| name).to_owned();
    Some(Frame { function, file: base_name(file.strip_suffix(')')?) })
}

/// The file's own name; all of the kernel is one, whatever it is called.
fn base_name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    if name.starts_with("[k") || file.contains(".ko") { KERNEL.to_owned() } else { name.to_owned() }
}

impl Stacks {
    /// Those of one process.
    pub fn of(&self, pid: u32) -> Stacks {
        Stacks { list: self.list.iter().filter(|stack| stack.pid == pid).cloned().collect() }
    }

    /// Panics unless files at the leaf and the functions of `file` that most stacks pass have the same shares in the profile as
    /// here. What perf does not reach (the outermost frame, at times) is not judged by it.
    #[track_caller]
    pub fn assert_agree(&self, profile: &Profile, file: &str) {
        assert!(self.list.len() >= 30, "perf recorded {} stacks only", self.list.len());
        let (ours, theirs) = (profile.count() as f64, self.list.len() as f64);
        let both = profile.count().min(i64::try_from(self.list.len()).expect("few")) / 2;
        // What lies above the end of perf's copy may be any function's.
        let cut = self.list.iter().filter(|stack| !stack.is_whole()).count() as f64 / theirs;
        let mut rows = Vec::new();
        let mut row = |what: String, truth: f64, measured: f64| {
            let allowed = judge::tolerance(truth, both).max(FLOOR);
            let right = (truth - allowed..=truth + cut + allowed).contains(&measured);
            rows.push((right, what, truth, measured));
        };
        for (name, truth) in self.leaf_files() {
            row(format!("leaf in {name}"), truth, share_of_leaves(profile, name));
        }
        for (function, truth) in self.functions_of(file) {
            let passes = |sample: &Sample| sample.stack.iter().any(|name| is_named(name, function));
            row(function.to_owned(), truth, profile.count_of(passes) as f64 / ours.max(1.0));
        }
        let table = rows.iter().map(|(right, what, truth, measured)| {
            let mark = if *right { ' ' } else { '!' };
            format!("{mark} {what:40} {:6.2} % measured, {:6.2} % by perf", measured * 100.0, truth * 100.0)
        });
        let table = table.collect::<Vec<_>>().join("\n");
        assert!(
            rows.iter().all(|(right, ..)| *right),
            "{theirs} stacks of perf, {:.1} % cut, {ours} of ours:\n{table}\n{}",
            cut * 100.0,
            profile.summary()
        );
    }

    /// Shares of the files of leaves; small ones are left out.
    fn leaf_files(&self) -> Vec<(&str, f64)> {
        let leaves = self.list.iter().filter_map(|stack| stack.frames.last());
        let mut shares = self.shares(leaves.map(|frame| frame.file.as_str()));
        shares.retain(|(_, share)| *share >= 0.05);
        shares
    }

    /// How often each name comes, by the number of stacks.
    fn shares<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<(&'a str, f64)> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for name in names {
            *counts.entry(name).or_default() += 1;
        }
        counts.into_iter().map(|(name, count)| (name, count as f64 / self.list.len() as f64)).collect()
    }

    /// The named functions of a file that most stacks pass, those that nearly all pass aside, and their shares.
    fn functions_of(&self, file: &str) -> Vec<(&str, f64)> {
        let mut shares = self.shares(self.list.iter().flat_map(|stack| stack.functions_of(file)));
        shares.retain(|(_, share)| *share <= 0.95);
        shares.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        shares.truncate(FUNCTIONS);
        shares
    }
}

impl Stack {
    /// True if it reaches the start of a program or thread, or has no frame of a user.
    fn is_whole(&self) -> bool {
        self.frames.first().is_some_and(|root| root.file == KERNEL)
            || self.frames.iter().take(3).any(|frame| ROOTS.contains(&frame.function.as_str()))
    }

    /// Each once. `_start` is the one frame that perf often loses.
    fn functions_of(&self, file: &str) -> BTreeSet<&str> {
        let of_file = self.frames.iter().filter(|frame| frame.file == file).map(|frame| frame.function.as_str());
        of_file.filter(|function| !["[unknown]", "_start"].contains(function)).collect()
    }
}

/// Share of the samples whose leaf lies in a file of this name.
fn share_of_leaves(profile: &Profile, name: &str) -> f64 {
    let is = |sample: &Sample| sample.files.last().is_some_and(|file| base_name(file) == name);
    profile.count_of(is) as f64 / profile.count().max(1) as f64
}
