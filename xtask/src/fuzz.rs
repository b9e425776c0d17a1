//! `fuzz`: gives the parsers of foreign bytes random inputs (profiler-user/fuzz), and says how many, how many of them were
//! accepted, and how much of the code they reached.

mod build;
mod output;
mod programs;

use anyhow::{Context, Result, bail, ensure};
use build::Targets;
use output::Output;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// Targets that run at a time.
const AT_A_TIME: usize = 2;
/// Of so many inputs at least one must be accepted: else a target tests nothing but refusals.
const ACCEPTED: u64 = 2_000;
/// What one input may take: seconds, and memory in MiB. Files may take 64 MiB there (`BUDGET` of the targets).
const SLOW: u32 = 10;
const MEMORY: u32 = 768;
/// Bytes of an input.
const LONGEST: u32 = 64 << 10;
/// Stack as workers have it, KiB.
const STACK: u32 = 64 << 10;
/// How long the planted bug may take to be found.
const PLANTED: Duration = Duration::from_mins(5);

const TITLE: [&str; 6] = ["target", "inputs", "accepted", "cov: at start", "at end", "corpus"];
const PLANTED_TITLE: [&str; 6] = ["target", "seconds", "inputs", "met by", "", ""];

/// What is asked for.
pub(crate) struct Options {
    /// Time of each target.
    pub(crate) seconds: u32,
    /// Their names; none: all.
    pub(crate) targets: Vec<String>,
    /// Prove that a bug would be found.
    pub(crate) planted: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { seconds: 30, targets: Vec::new(), planted: false }
    }
}

/// Builds the targets and runs them.
pub(crate) fn run(options: &Options) -> Result<()> {
    let targets = Targets::build()?;
    let names = chosen(&targets.names, &options.targets)?;
    programs::build(&targets.folder("programs")?)?;
    let job =
        |name: &str| if options.planted { find_planted(&targets, name) } else { fuzz(&targets, name, options.seconds) };
    println!("{}", row(if options.planted { &PLANTED_TITLE } else { &TITLE }));
    let failed = two_at_a_time(&names, job);
    ensure!(failed.is_empty(), "\n{}", failed.join("\n"));
    Ok(())
}

fn chosen(all: &[String], asked: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = asked.iter().find(|name| !all.contains(name)) {
        bail!("there is no target {unknown}: they are {}", all.join(" "));
    }
    Ok(if asked.is_empty() { all.to_vec() } else { asked.to_vec() })
}

/// Runs a job for each name, prints its row, and returns what failed.
fn two_at_a_time(names: &[String], job: impl Fn(&str) -> Result<String> + Sync) -> Vec<String> {
    let (next, failed) = (Mutex::new(names.iter()), Mutex::new(Vec::new()));
    let take = || next.lock().ok()?.next();
    let work = || {
        while let Some(name) = take() {
            match job(name) {
                Ok(row) => println!("{row}"),
                Err(error) => {
                    println!("{name:12} FAILED");
                    failed.lock().into_iter().for_each(|mut failed| failed.push(format!("{name}: {error:#}")));
                }
            }
        }
    };
    thread::scope(|scope| (0..AT_A_TIME).for_each(|_| drop(scope.spawn(work))));
    failed.into_inner().unwrap_or_default()
}

/// Runs a target for a time.
fn fuzz(targets: &Targets, name: &str, seconds: u32) -> Result<String> {
    let run = Run::prepare(targets, name, "corpus")?;
    let status = run.start(seconds, |_| {})?;
    let output = run.output()?;
    if !status.success() {
        bail!("{}", run.failure(&output));
    }
    let Output { inputs, accepted, cov, last_cov, corpus, .. } = output;
    ensure!(inputs > 0 && accepted > 0, "no input was accepted; see {}", run.log.display());
    ensure!(
        accepted >= inputs / ACCEPTED,
        "only {accepted} of {inputs} inputs were accepted: the target tests little but refusals (less than 1 in {ACCEPTED})"
    );
    Ok(row(&[
        name,
        &inputs.to_string(),
        &accepted.to_string(),
        &cov.to_string(),
        &last_cov.to_string(),
        &corpus.to_string(),
    ]))
}

/// Runs a target with a bug behind its parser until it is found.
fn find_planted(targets: &Targets, name: &str) -> Result<String> {
    let run = Run::prepare(targets, name, "planted")?;
    let start = Instant::now();
    let known = [&run.seeds, &run.regressions].map(|folder| folder.display().to_string()).join(":");
    let status = run.start(u32::try_from(PLANTED.as_secs())?, |command| {
        command.env("PPROFD_FUZZ_PLANTED", known);
    })?;
    let output = run.output()?;
    ensure!(!status.success(), "the planted bug was not found in {} s", PLANTED.as_secs());
    ensure!(output.panic.contains("the planted bug"), "something else was found: {}", run.failure(&output));
    let input = output.input.unwrap_or_default();
    let file = Path::new(&input).file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(row(&[name, &start.elapsed().as_secs().to_string(), &output.inputs.to_string(), &file, "", ""]))
}

fn row(cells: &[&str; 6]) -> String {
    let [name, first, second, third, fourth, fifth] = cells;
    format!("{name:12} {first:>10} {second:>10} {third:>14} {fourth:>8} {fifth:>8}").trim_end().to_owned()
}

/// One run of a target, and its folders.
struct Run {
    binary: PathBuf,
    seeds: PathBuf,
    regressions: PathBuf,
    programs: PathBuf,
    corpus: PathBuf,
    artifacts: PathBuf,
    log: PathBuf,
}

impl Run {
    /// `corpus` is the folder in which interesting inputs are kept from run to run, or that for the planted bug, which is emptied.
    fn prepare(targets: &Targets, name: &str, corpus: &str) -> Result<Run> {
        let folder = |kind: &str| targets.folder(&format!("{kind}/{name}"));
        let run = Run {
            binary: targets.binary(name),
            seeds: folder("seeds")?,
            regressions: targets.committed("regressions", name),
            programs: targets.folder("programs")?,
            corpus: folder(corpus)?,
            artifacts: folder(if corpus == "planted" { "planted-found" } else { "found" })?,
            log: targets.folder("logs")?.join(format!("{corpus}-{name}.txt")),
        };
        if corpus == "planted" {
            fs::remove_dir_all(&run.corpus)
                .and_then(|()| fs::create_dir(&run.corpus))
                .context("cannot empty a corpus")?;
        }
        copy(&targets.committed("seeds", name), &run.seeds)?;
        Ok(run)
    }

    fn start(&self, seconds: u32, more: impl FnOnce(&mut Command)) -> Result<ExitStatus> {
        let log = File::create(&self.log).with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -s {STACK} && exec \"$@\""), "sh"]).arg(&self.binary);
        command.args([
            format!("-max_total_time={seconds}"),
            format!("-timeout={SLOW}"),
            format!("-rss_limit_mb={MEMORY}"),
            format!("-max_len={LONGEST}"),
            format!("-artifact_prefix={}/", self.artifacts.display()),
            "-print_final_stats=1".to_owned(),
        ]);
        command.arg(&self.corpus).arg(&self.seeds).args(Some(&self.regressions).filter(|folder| folder.is_dir()));
        command.env("PPROFD_FUZZ_SEEDS", &self.seeds).env("PPROFD_FUZZ_PROGRAMS", &self.programs);
        more(&mut command);
        command.stdout(log.try_clone()?).stderr(log);
        command.status().with_context(|| format!("cannot start {}", self.binary.display()))
    }

    fn output(&self) -> Result<Output> {
        let text = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(Output::parse(&String::from_utf8_lossy(&text)))
    }

    /// What to do with what was found.
    fn failure(&self, output: &Output) -> String {
        let Some(input) = &output.input else {
            return format!("it ended without saying why; see {}", self.log.display());
        };
        format!(
            "{}\n  input:   {input}\n  again:   {} {input}\n  mended:  copy it to {}/ under a name that says what it is",
            output.panic,
            self.binary.display(),
            self.regressions.display()
        )
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let entries = fs::read_dir(from).into_iter().flatten();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", from.display()))?;
        fs::copy(entry.path(), to.join(entry.file_name()))
            .with_context(|| format!("cannot copy to {}", to.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_chosen_by_name() {
        let all = ["elf".to_owned(), "proc".to_owned()];
        assert_eq!(chosen(&all, &[]).ok(), Some(all.to_vec()));
        assert_eq!(chosen(&all, &all[1..]).ok(), Some(vec!["proc".to_owned()]));
        assert!(chosen(&all, &["else".to_owned()]).is_err());
    }

    #[test]
    fn every_job_is_done_and_failures_are_kept() {
        let names: Vec<String> = (0..9).map(|number| number.to_string()).collect();
        let failed = two_at_a_time(&names, |name| if name == "7" { bail!("no") } else { Ok(String::new()) });
        assert_eq!(failed, ["7: no"]);
    }
}
