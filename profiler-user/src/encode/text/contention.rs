//! `debug=1` of block and mutex: ns and count of each stack, readable by `go tool pprof`.

use super::CONTENT_TYPE;
use super::counts::{addresses, frame_lines};
use crate::encode::EncodeProfile;
use crate::kind::profile::Profile;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The format: Go's `--- contention:` and `--- mutex:` pages (`runtime/pprof`). A cycle is a ns.
#[derive(Clone, Copy, Debug)]
pub struct Contention {
    /// The page of what was held, not of who waited.
    pub of_mutexes: bool,
}

impl EncodeProfile for Contention {
    fn content_type(&self) -> &'static str {
        CONTENT_TYPE
    }

    fn encode(&self, profile: &Profile) -> Vec<u8> {
        let mut sums: BTreeMap<&[usize], (i64, i64)> = BTreeMap::new();
        for sample in &profile.samples {
            let value = |at: usize| sample.values.get(at).copied().unwrap_or(0);
            let sum = sums.entry(&sample.locations).or_default();
            *sum = (sum.0.saturating_add(value(0)), sum.1.saturating_add(value(1)));
        }
        // Readers take digits only, and a stack that counts nothing is none.
        let counted = sums.into_iter().filter(|(_, (count, delay))| *count >= 0 && *delay >= 0 && *count + *delay > 0);
        let mut records: Vec<_> = counted.collect();
        records.sort_by_key(|(locations, (_, delay))| (Reverse(*delay), *locations));
        let mut text = if self.of_mutexes { "--- mutex:\n" } else { "--- contention:\n" }.to_owned();
        text.push_str("cycles/second=1000000000\n");
        if self.of_mutexes {
            text.push_str("sampling period=1\n");
        }
        for (locations, (count, delay)) in records {
            let (at, lines) = (addresses(profile, locations), frame_lines(profile, locations));
            // Writing to a String does not fail.
            _ = writeln!(text, "{delay} {count} @{at}\n{lines}");
        }
        text.into_bytes()
    }
}
