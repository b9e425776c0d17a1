//! Files that were made to overflow, to blow up, to end too soon.

use super::bystander;
use super::loader::{self, Part};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::ScopedJoinHandle;
use std::time::Duration;
use tests::harness::craft::{Craft, PROGBITS, SPIN, doubling_name, nested_inlines, packed_zeros};
use tests::harness::profile::Sample;
use tests::harness::{Agent, Profile, Target};

const SECONDS: u32 = 5;
const HZ: u32 = 997;
/// The file that is cut while it is read.
const TRUNCATED: &str = "truncated";
/// What `--help` says that the agent and its workers take together, bytes.
const MOST_MEMORY: u64 = (64 + 128 + 32 + 8) * (1 << 20) + 2 * (1 << 30);

fn spin() -> Craft {
    Craft::new().symbols(&[("spin", 0, SPIN.len() as u64)])
}

fn deep(levels: usize) -> Vec<u8> {
    let add = |craft: Craft, (name, bytes): (&str, Vec<u8>)| craft.section(name, PROGBITS, bytes);
    nested_inlines(levels).into_iter().fold(spin(), add).build()
}

/// 1 MB that unpacks to 1 GiB.
fn bomb() -> Vec<u8> {
    let packed = packed_zeros(1 << 10);
    assert!((900_000..1_200_000).contains(&packed.len()), "{} bytes", packed.len());
    spin().packed(".debug_info", 1, 1 << 30, &packed).build()
}

/// A name of 245 letters that stands for megabytes.
fn name_bomb() -> (Vec<u8>, String) {
    let name = doubling_name(23);
    assert!((230..250).contains(&name.len()), "{} letters", name.len());
    (Craft::new().symbols(&[(&name, 0, SPIN.len() as u64)]).build(), name)
}

/// A file that is cut to its code, and whole again, as fast as can be, until it is dropped.
struct Cut {
    stop: std::sync::Arc<AtomicBool>,
    cuts: std::sync::Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Cut {
    fn start(path: &Path) -> Cut {
        let whole = std::fs::read(path).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        let (stop, cuts) = (std::sync::Arc::new(AtomicBool::new(false)), std::sync::Arc::new(AtomicU64::new(0)));
        let (ended, counted) = (stop.clone(), cuts.clone());
        let thread = std::thread::spawn(move || {
            use std::os::unix::fs::FileExt;
            // One more page than the code has: both that the loader maps stay.
            const KEPT: usize = 0x3000;
            while !ended.load(Relaxed) {
                file.set_len(KEPT as u64).unwrap();
                file.write_all_at(&whole[KEPT..], KEPT as u64).unwrap();
                counted.fetch_add(1, Relaxed);
            }
        });
        Cut { stop, cuts, thread: Some(thread) }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// An attack, and the process that runs it.
struct Attack {
    what: &'static str,
    path: PathBuf,
    target: Target,
}

impl Attack {
    fn start(folder: &Path, what: &'static str, bytes: &[u8]) -> Attack {
        let path = loader::foreign(&folder.join(what), bytes);
        Attack { what, target: loader::load(&[Part::of_craft(path.clone())]), path }
    }

    /// Its samples are there, with their frames in the file, and stacks that lead on or say why not.
    fn profile(&self, agent: &Agent) -> Profile {
        let profile = agent.cpu(self.target.pid(), SECONDS, HZ);
        let own = loader::in_file(&profile, &self.path);
        assert!(own.count() >= 20, "{}: {}", self.what, profile.summary());
        // Of a file that is being written the kernel's key changes, so it has no table, or none yet, at some times.
        let may_end =
            |sample: &Sample| self.what == TRUNCATED && ["no table", "table pending"].contains(&sample.label("reason"));
        let leads_on = own.share(|sample| sample.has_chain(&["run_part", "main"]) || may_end(sample));
        assert!(leads_on >= 0.9, "{}: {:.1} % lead on\n{}", self.what, leads_on * 100.0, own.summary());
        own
    }
}

/// Share of the leaves that are called so.
fn named(own: &Profile, is: impl Fn(&str) -> bool) -> f64 {
    own.share(|sample| sample.stack.last().is_some_and(|leaf| is(leaf)))
}

/// Resident bytes of the agent and its workers together.
fn memory(agent: &Agent) -> u64 {
    let pid = agent.pid();
    let children = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().flat_map(|task| {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
    });
    std::iter::once(pid).chain(children).map(resident).sum()
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) << 10
}

#[test]
fn files_made_to_harm_cost_their_own_names_only() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(&[]);
    let calm = bystander::start(folder.path(), "calm");
    let calm_took = bystander::assert_unharmed(&agent, &calm, 2);
    drop(calm);

    let (name_bomb, mangled) = name_bomb();
    let start = |what, bytes: &[u8]| Attack::start(folder.path(), what, bytes);
    let nested = start("nested", &deep(10_000));
    let fatal = start("fatal", &deep(1_000_000));
    let unpacked = start("unpacked", &bomb());
    let demangled = start("demangled", &name_bomb);
    let truncated = start(TRUNCATED, &deep(200_000));
    let cut = Cut::start(&truncated.path);
    let beside = bystander::start(folder.path(), "beside");

    let (most, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let [of_nested, of_fatal, of_unpacked, of_demangled] = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                most.fetch_max(memory(&agent), Relaxed);
                std::thread::yield_now();
            }
        });
        let attacks = [&nested, &fatal, &unpacked, &demangled, &truncated];
        let attacks = attacks.map(|attack| scope.spawn(|| attack.profile(&agent)));
        let unharmed = scope.spawn(|| bystander::assert_unharmed(&agent, &beside, SECONDS.into()));
        let results = attacks.map(ScopedJoinHandle::join);
        let unharmed = unharmed.join();
        done.store(true, Relaxed);
        let [nested, fatal, unpacked, demangled, _truncated] = results.map(Result::unwrap);
        let took = unharmed.unwrap();
        // As soon as without the attacks, but for what this host's other load makes of it.
        assert!(took <= calm_took + Duration::from_secs(4), "{took:?}, without attacks {calm_took:?}");
        [nested, fatal, unpacked, demangled]
    });
    assert!(cut.cuts.load(Relaxed) > 10, "the file was not cut");
    drop(cut);

    assert!(named(&of_nested, |leaf| leaf == "deep") > 0.9, "{}", of_nested.summary());
    assert!(of_nested.share_of("spin") > 0.9, "{}", of_nested.summary());
    assert!(named(&of_fatal, |leaf| leaf.starts_with("fatal+0x")) > 0.9, "{}", of_fatal.summary());
    assert!(named(&of_unpacked, |leaf| leaf == "spin") > 0.9, "{}", of_unpacked.summary());
    assert!(named(&of_demangled, |leaf| leaf == mangled) > 0.9, "{}", of_demangled.summary());

    // One died, perhaps a second time; no other did, and nobody overran its time.
    let count = |event: &str| deaths(&agent, event);
    assert!((1.0..=2.0).contains(&count("died")), "{}", agent.get("/metrics").text());
    assert!(count("deadline") < 1.0, "nobody overran his time");
    assert!(most.load(Relaxed) <= MOST_MEMORY, "{} MB", most.load(Relaxed) >> 20);
    // The agent has forgotten nobody.
    bystander::assert_unharmed(&agent, &beside, 1);
}

/// Workers that ended over a question, by reason.
fn deaths(agent: &Agent, reason: &str) -> f64 {
    let text = agent.get("/metrics").ok().text();
    let line = format!("pprofd_worker_deaths_total{{reason=\"{reason}\"}} ");
    let count = text.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok());
    count.unwrap_or_else(|| panic!("no {line} in {text}"))
}
