//! Reads what a target publishes of its own clock (`programs/published.h`): CPU time per path in any window.

use super::{Profile, wait};
use std::path::{Path, PathBuf};
use std::time::Duration;

const ENTRIES: u64 = 1 << 16;

/// A target's published clock.
#[derive(Debug)]
pub struct Published {
    file: PathBuf,
}

/// One entry: the wall clock, and ns of CPU per path until then.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    wall: f64,
    paths: Vec<f64>,
}

impl Published {
    /// The file that a target was told to publish to.
    pub fn at(file: &Path) -> Published {
        Published { file: file.to_path_buf() }
    }

    /// Waits until the target has been through all of its paths at least once.
    pub fn wait(&self) {
        wait::until_true("the target to publish all paths", Duration::from_secs(20), || {
            self.entries().last().is_some_and(|entry| entry.paths.iter().all(|ns| *ns > 0.0))
        });
    }

    /// CPU seconds per path between two wall clock times (ns since the epoch).
    pub fn between(&self, from: f64, to: f64) -> Vec<f64> {
        wait::until_true("the target to publish past the window", Duration::from_secs(20), || {
            self.entries().last().is_some_and(|entry| entry.wall >= to)
        });
        let entries = self.entries();
        let (start, end) = (at(&entries, from), at(&entries, to));
        start.iter().zip(&end).map(|(start, end)| (end - start) / 1e9).collect()
    }

    /// CPU seconds per path in the window that a profile says it covers.
    pub fn in_window_of(&self, profile: &Profile) -> Vec<f64> {
        let from = profile.message.time_nanos as f64;
        self.between(from, from + profile.message.duration_nanos as f64)
    }

    fn entries(&self) -> Vec<Entry> {
        let bytes = std::fs::read(&self.file).unwrap_or_default();
        let words: Vec<u64> =
            bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes"))).collect();
        let [count, paths, ring @ ..] = words.as_slice() else { return Vec::new() };
        let size = usize::try_from(*paths).expect("few paths") + 1;
        // The writer may be filling the entry behind the last; the oldest is left out for that.
        let numbers = count.saturating_sub(ENTRIES - 1)..*count;
        let entry = |number: u64| {
            let at = usize::try_from(number % ENTRIES).expect("small") * size;
            let words = ring.get(at..at + size)?;
            let (wall, paths) = words.split_first()?;
            Some(Entry { wall: *wall as f64, paths: paths.iter().map(|ns| *ns as f64).collect() })
        };
        numbers.filter_map(entry).collect()
    }
}

/// The totals at a wall clock time: between two entries, in proportion.
fn at(entries: &[Entry], wall: f64) -> Vec<f64> {
    let after = entries.partition_point(|entry| entry.wall < wall);
    let (Some(before), Some(next)) = (entries.get(after.saturating_sub(1)), entries.get(after)) else {
        panic!("the target's published history does not reach {wall}");
    };
    let span = (next.wall - before.wall).max(1.0);
    let part = ((wall - before.wall) / span).clamp(0.0, 1.0);
    before.paths.iter().zip(&next.paths).map(|(a, b)| a + (b - a) * part).collect()
}
