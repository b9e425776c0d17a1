//! Named and timed stages, and the table of them at the end.

use crate::sh;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Tests that a runner counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Passed.
    pub(crate) passed: u64,
    /// Failed.
    pub(crate) failed: u64,
}

/// The stages of a job so far.
#[derive(Default)]
pub(crate) struct Stages {
    rows: Vec<Row>,
    counts: Counts,
}

struct Row {
    name: &'static str,
    took: Duration,
    failure: Option<String>,
}

impl Stages {
    /// Runs a stage; its failure is kept for the table, and `None` is returned.
    pub(crate) fn run<T>(&mut self, name: &'static str, job: impl FnOnce() -> Result<T>) -> Option<T> {
        println!("==> {name}");
        let start = Instant::now();
        let (value, failure) = match job() {
            Ok(value) => (Some(value), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let took = start.elapsed();
        match &failure {
            None => println!("==> {name}: {:.1} s", took.as_secs_f64()),
            Some(text) => println!("==> {name}: FAILED after {:.1} s: {text}", took.as_secs_f64()),
        }
        self.rows.push(Row { name, took, failure });
        value
    }

    /// Runs a stage of tests, and adds what the runner counted.
    pub(crate) fn test(&mut self, name: &'static str, command: &mut Command) {
        let mut counts = Counts::default();
        self.run(name, || run_tests(command, &mut counts));
        self.counts.passed += counts.passed;
        self.counts.failed += counts.failed;
    }

    /// Prints the table and the count; fails if a stage did.
    pub(crate) fn finish(self) -> Result<()> {
        println!("\n{:36} {:>8}", "stage", "seconds");
        for row in &self.rows {
            let mark = if row.failure.is_some() { "  FAILED" } else { "" };
            println!("{:36} {:>8.1}{mark}", row.name, row.took.as_secs_f64());
        }
        let total: Duration = self.rows.iter().map(|row| row.took).sum();
        println!("{:36} {:>8.1}", "all", total.as_secs_f64());
        let failed: Vec<&str> = self.rows.iter().filter(|row| row.failure.is_some()).map(|row| row.name).collect();
        if self.counts != Counts::default() {
            println!("{} passed, {} failed", self.counts.passed, self.counts.failed);
        }
        ensure!(failed.is_empty(), "failed stages: {}", failed.join(", "));
        Ok(())
    }
}

/// Runs `cargo test ...`, lets its output through and adds up its result lines.
fn run_tests(command: &mut Command, counts: &mut Counts) -> Result<()> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {}", sh::shown(command)))?;
    let output = child.stdout.take().context("the runner's output is a pipe")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read the runner's output")?;
        println!("{line}");
        if let Some(more) = parse(&line) {
            counts.passed += more.passed;
            counts.failed += more.failed;
        }
    }
    let status = child.wait().context("cannot wait for the runner")?;
    ensure!(status.success(), "{}: {status}", sh::shown(command));
    Ok(())
}

/// `test result: ok. 12 passed; 0 failed; ...`
fn parse(line: &str) -> Option<Counts> {
    let (_, rest) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| rest.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok());
    Some(Counts { passed: number(" passed")?, failed: number(" failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s";
        assert_eq!(parse(line), Some(Counts { passed: 12, failed: 3 }));
        assert_eq!(parse("test tests::it ... ok"), None);
    }

    #[test]
    fn a_failed_stage_fails_the_job() {
        let mut stages = Stages::default();
        assert_eq!(stages.run("good", || Ok(1)), Some(1));
        assert_eq!(stages.run("bad", || -> Result<()> { anyhow::bail!("no") }), None);
        assert!(stages.finish().is_err());
    }
}
