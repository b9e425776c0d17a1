//! The agent under a churn of short-lived programs, part of them from files that nobody has seen: what it takes meanwhile, beside
//! the sum that its `--help` states.

use super::{Agent, Target, agent, programs, wait};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Before this the agent fills what it may: no slope is taken. At 200 programs a second the recorder's 4 MiB are full after nine
/// minutes.
const SETTLED: f64 = 600.0;
/// One of so many programs is a fresh file.
const FRESH: u32 = 10;
/// Budgets that are full within minutes, so that it shows whether they hold; and by how many bytes less than the defaults they are.
const BUDGETS: [&str; 6] = ["--recorder-memory", "4MiB", "--tables-memory", "16MiB", "--names-memory", "4MiB"];
const LESS: u64 = (64 - 4 + 128 - 16 + 32 - 4) << 20;

/// What was seen at one time.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Seconds since the start.
    pub at: f64,
    /// Resident bytes of the agent.
    pub agent: u64,
    /// Of its workers, together.
    pub workers: u64,
    /// Locked by its BPF maps.
    pub maps: u64,
}

impl Look {
    /// The agent's. The pages of rings count twice: as the maps' and as mapped ones.
    pub fn own(&self) -> u64 {
        self.agent + self.maps
    }
}

/// What a run showed.
#[derive(Debug)]
pub struct Soak {
    /// In their order.
    pub looks: Vec<Look>,
    /// What `--help` states for the agent, with the budgets that it was given, bytes.
    pub stated: u64,
    /// And for its workers.
    pub stated_workers: u64,
    /// Programs that were started, and how many of them were fresh files.
    pub started: (u64, u64),
    /// How long, seconds.
    pub seconds: f64,
    /// Profiles that were taken meanwhile.
    pub profiles: u64,
    /// Counts of the agent at the end, by name.
    pub counts: BTreeMap<&'static str, f64>,
}

/// What is shown of the agent's own counts.
const COUNTS: [&str; 10] = [
    "pprofd_kernel_new_files_total",
    "pprofd_files_held",
    "pprofd_file_records",
    "pprofd_file_record_bytes",
    "pprofd_table_bytes",
    "pprofd_table_evictions_total",
    "pprofd_table_waits_total",
    "pprofd_name_cache_bytes",
    "pprofd_recorder_bytes",
    "pprofd_recorder_known_processes",
];

/// Starts `rate` programs a second for so long.
pub fn run(seconds: u32, rate: u32) -> Soak {
    let folder = tempfile::tempdir().unwrap();
    let churn = programs::c("budgets/churn_files.c", &[]);
    let (stated, stated_workers) = stated();
    let agent = Agent::start(&BUDGETS);
    let words = [rate, seconds, FRESH].map(|number| number.to_string());
    let path = folder.path().display().to_string();
    let churn = churn.display().to_string();
    let start = Instant::now();
    let mut running = Target::start_unseen("nice", &["-n", "5", &churn, &words[0], &words[1], &words[2], &path]);
    let (mut looks, mut profiles) = (Vec::new(), 0);
    while running.ended().is_none() {
        looks.push(look(agent.pid(), start));
        let answer = agent.get("/debug/pprof/profile?seconds=2");
        assert_eq!(answer.status, 200, "{}", answer.text());
        profiles += 1;
        let next = LOOK * u32::try_from(looks.len()).unwrap();
        wait::until_true("the next look", LOOK * 10, || start.elapsed() >= next || running.ended().is_some());
    }
    looks.push(look(agent.pid(), start));
    let seconds = start.elapsed().as_secs_f64();
    let counts = COUNTS.iter().map(|name| (*name, agent.metric(name).unwrap_or(f64::NAN))).collect();
    let output = running.output();
    let started: Vec<u64> = output.split_whitespace().map(|word| word.parse().unwrap()).collect();
    Soak { looks, stated, stated_workers, started: (started[0], started[1]), seconds, profiles, counts }
}

/// The sums that `--help` states: `... add up to 312MiB by default ... Each of the 2 symbol workers may map 1GiB ...`.
fn stated() -> (u64, u64) {
    let output = Command::new(agent::binary()).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let after = |marker: &str| {
        let rest = help.split_once(marker).unwrap_or_else(|| panic!("help does not say `{marker}`:\n{help}")).1;
        rest.split_whitespace().next().unwrap().trim_end_matches(['.', ',']).to_owned()
    };
    let workers: u64 = after("Each of the ").parse().unwrap();
    (size(&after("add up to ")) - LESS, workers * size(&after("may map ")))
}

fn size(text: &str) -> u64 {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[digits.len()..] {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => panic!("{text}: a unit {other}"),
    };
    digits.parse::<u64>().unwrap() * unit
}

fn look(agent: u32, start: Instant) -> Look {
    let workers = children(agent).into_iter().map(resident).sum();
    Look { at: start.elapsed().as_secs_f64(), agent: resident(agent), workers, maps: locked(agent) }
}

fn resident(pid: u32) -> u64 {
    field(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default(), "VmRSS:") << 10
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Memory of the BPF maps that the process holds, each once.
fn locked(pid: u32) -> u64 {
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts = infos.map(|info: fs::DirEntry| fs::read_to_string(info.path()).unwrap_or_default());
    let maps = texts.filter(|text| text.contains("map_id:"));
    maps.map(|text| (field(&text, "map_id:"), field(&text, "memlock:"))).collect::<BTreeMap<_, _>>().values().sum()
}

fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

impl Soak {
    /// The look that shows the most of something.
    pub fn most(&self, of: impl Fn(&Look) -> u64) -> u64 {
        self.looks.iter().map(of).max().unwrap_or(0)
    }

    /// By how much the agent's memory grows a minute once it has settled, as a share of its mean; `None` if that is too short.
    /// What workers take comes and goes with the file that they read.
    pub fn slope(&self) -> Option<f64> {
        let settled: Vec<(f64, f64)> = self
            .looks
            .iter()
            .filter(|look| look.at >= SETTLED)
            .map(|look| (look.at / 60.0, look.own() as f64))
            .collect();
        if settled.last()?.0 - settled.first()?.0 < 2.0 {
            return None;
        }
        let count = settled.len() as f64;
        let (x, y) = settled.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
        let (above, below) = settled.iter().fold((0.0, 0.0), |(above, below), point| {
            (above + (point.0 - x) * (point.1 - y), below + (point.0 - x).powi(2))
        });
        Some(above / below / y)
    }

    /// Every `part`-th look in a table, and what came of it.
    pub fn table(&self, part: usize) -> String {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let mut text =
            String::from("| s | agent RSS | locked maps | both, MiB | workers RSS |\n|---|---|---|---|---|\n");
        for look in self.looks.iter().step_by(part).chain(self.looks.last()) {
            let Look { at, agent, workers, maps } = *look;
            let row = [agent, maps, look.own(), workers].map(|bytes| format!("{:.1}", mib(bytes)));
            writeln!(text, "| {at:.0} | {} |", row.join(" | ")).unwrap();
        }
        let (started, fresh) = self.started;
        let rate = started as f64 / self.seconds;
        writeln!(
            text,
            "{started} programs in {:.0} s, {rate:.0} a second, {fresh} of them fresh files; {} profiles",
            self.seconds, self.profiles
        )
        .unwrap();
        let (most, workers) = (self.most(Look::own), self.most(|look| look.workers));
        writeln!(text, "agent and maps: {:.1} MiB at most, {:.0} MiB stated", mib(most), mib(self.stated)).unwrap();
        writeln!(text, "workers: {:.1} MiB at most, {:.0} MiB stated", mib(workers), mib(self.stated_workers)).unwrap();
        if let Some(slope) = self.slope() {
            writeln!(text, "slope of both from second {SETTLED} on: {:.2} % a minute", slope * 100.0).unwrap();
        }
        self.counts.iter().for_each(|(name, value)| writeln!(text, "{name} {value}").unwrap());
        text
    }

    /// Panics unless what was taken is below what is stated, and, if that was long enough, does not grow.
    pub fn judge(&self) {
        let table = self.table(1);
        assert!(self.most(Look::own) <= self.stated, "more than stated:\n{table}");
        assert!(self.most(|look| look.workers) <= self.stated_workers, "workers take more than stated:\n{table}");
        assert!(self.slope().is_none_or(|slope| slope < 0.01), "it grows:\n{table}");
    }
}
