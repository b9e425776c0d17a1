//! `programs/chain.c` as an instrument: a running chain, and what a profile of it has to be.

use super::profile::Sample;
use super::published::Published;
use super::{Profile, Target, judge};
use std::path::Path;
use tempfile::TempDir;

/// Depths of the four paths.
pub const DEPTHS: [usize; 4] = [10, 40, 120, 600];

/// A chain that runs and publishes its clock.
#[derive(Debug)]
pub struct Chain {
    /// The process.
    pub target: Target,
    /// Its own clock.
    pub published: Published,
    root: &'static str,
    _folder: TempDir,
}

impl Chain {
    /// Starts it with everything below `main`.
    pub fn start(program: &Path) -> Chain {
        Chain::launch(program, &[], "main")
    }

    /// Starts it with everything in a thread, below `thread_main`.
    pub fn start_in_thread(program: &Path) -> Chain {
        Chain::launch(program, &["thread"], "thread_main")
    }

    fn launch(program: &Path, more: &[&str], root: &'static str) -> Chain {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = folder.path().join("clock");
        let file = clock.display().to_string();
        let target = Target::start(program, &[&[file.as_str()], more].concat());
        let published = Published::at(&clock);
        published.wait();
        Chain { target, published, root, _folder: folder }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.target.pid()
    }

    /// Every known level is there: the root, and below a spin all levels of its path.
    pub fn is_complete(&self, sample: &Sample) -> bool {
        sample.has(self.root) && is_whole(sample)
    }

    /// Panics unless the profile tells the truth about the chain: shares, CPU time, complete stacks.
    pub fn assert_true(&self, profile: &Profile) {
        let truth = self.published.in_window_of(profile);
        let names = DEPTHS.map(|depth| format!("spin_{depth}"));
        let measured: Vec<f64> = names.iter().map(|spin| profile.cpu_of(|sample| sample.has(spin))).collect();
        judge::assert_shares(&names.each_ref().map(String::as_str), &measured, &truth, profile.count());
        judge::assert_near(
            "CPU seconds",
            profile.cpu_seconds() + profile.lost_seconds(),
            truth.iter().sum(),
            0.03,
            0.05,
        );
        self.assert_complete(profile);
    }

    /// Panics unless at least 99.8 % of all samples, the lost ones among them, are complete.
    pub fn assert_complete(&self, profile: &Profile) {
        let share = profile.complete_share(|sample| self.is_complete(sample));
        let broken = profile.only(|sample| !self.is_complete(sample));
        assert!(share >= 0.998, "{:.3} % complete; the others:\n{}", share * 100.0, broken.summary());
    }
}

/// Below each spin there are exactly as many levels as the program descended.
pub fn is_whole(sample: &Sample) -> bool {
    DEPTHS
        .iter()
        .all(|depth| !sample.has(&format!("spin_{depth}")) || sample.depth_of(&format!("descend_{depth}")) == *depth)
}
