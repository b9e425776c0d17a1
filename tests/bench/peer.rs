//! The peer: `perf record -g -a` over the same time, and what it knows of the target.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::harness::{tools, wait};

/// A recording under way.
pub(crate) struct Perf {
    child: Child,
    file: PathBuf,
    before: f64,
}

/// What it gave of the target.
pub(crate) struct Outcome {
    pub(crate) samples: usize,
    complete: usize,
    pub(crate) cpu_seconds: f64,
}

impl Outcome {
    /// Share of samples whose stack reaches `main`.
    pub(crate) fn complete_share(&self) -> f64 {
        self.complete as f64 / self.samples.max(1) as f64
    }
}

impl Perf {
    /// Starts it for so many seconds.
    pub(crate) fn start(hz: u32, seconds: u32, folder: &Path) -> Result<Perf> {
        let before = children_cpu();
        let file = folder.join("perf.data");
        let mut command = Command::new("perf");
        command.args(["record", "-q", "-e", "cpu-clock", "-g", "-a", "-F", &hz.to_string(), "-o"]).arg(&file);
        command.args(["--", "sleep", &seconds.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Perf { child: command.spawn().context("cannot start perf")?, file, before })
    }

    /// Waits for it, and reads its samples of the target.
    pub(crate) fn finish(mut self, pid: u32, limit: Duration) -> Result<Outcome> {
        let status = wait::until("perf to end", limit, || self.child.try_wait().ok().flatten());
        ensure!(status.success(), "perf record: {status}");
        let cpu_seconds = children_cpu() - self.before;
        let file = self.file.display().to_string();
        let text = tools::output(
            "perf",
            &["script", "-i", &file, "--pid", &pid.to_string(), "-F", "pid,ip,sym", "--max-stack", "1024"],
        );
        // Samples are divided by empty lines; each frame is a line with an address.
        let samples: Vec<&str> = text.split("\n\n").filter(|sample| !sample.trim().is_empty()).collect();
        let complete =
            samples.iter().filter(|sample| sample.lines().any(|line| line.trim_end().ends_with(" main"))).count();
        Ok(Outcome { samples: samples.len(), complete, cpu_seconds })
    }
}

/// CPU seconds of our ended children, from `/proc/self/stat` (fields 16 and 17, in ticks of 10 ms).
fn children_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(13) + ticks(14)) / 100.0
}
