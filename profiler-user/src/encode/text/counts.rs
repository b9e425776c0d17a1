//! `debug=1` of profiles that count (goroutine, threadcreate): a record for each stack, readable by `go tool pprof`.

use super::columns::align;
use super::frames::{frames_at, locations};
use super::quote::quote;
use super::{CONTENT_TYPE, one_line};
use crate::encode::EncodeProfile;
use crate::kind::profile::{Label, Profile, ProfileSample};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The format. Counts are the profile's first column; Go's rule that hides leading frames of its runtime is left out,
/// because the leaf of a thread is what says why it waits.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Name of the profile, one word: the first one of the page.
    pub name: &'static str,
}

impl EncodeProfile for Counts {
    fn content_type(&self) -> &'static str {
        CONTENT_TYPE
    }

    fn encode(&self, profile: &Profile) -> Vec<u8> {
        let records = records(profile);
        let total = records.iter().fold(0_i64, |total, record| total.saturating_add(record.count));
        let mut text = format!("{} profile: total {total}\n", self.name);
        text.extend(records.iter().map(|record| record_text(profile, record)));
        text.into_bytes()
    }
}

fn record_text(profile: &Profile, record: &Record<'_>) -> String {
    format!("{} {}\n{}\n", record.count, record.key, frame_lines(profile, record.locations))
}

/// A stack with one set of text labels.
struct Record<'a> {
    count: i64,
    /// Addresses and labels as they are written, which is also what Go sorts by.
    key: String,
    locations: &'a [usize],
}

/// Highest count first. Numeric labels (a thread's id) do not keep samples apart: Go shows text labels only.
fn records(profile: &Profile) -> Vec<Record<'_>> {
    let mut counts = BTreeMap::<(&[usize], String), i64>::new();
    for sample in &profile.samples {
        let count = counts.entry((sample.locations.as_slice(), labels(sample))).or_default();
        *count = count.saturating_add(sample.values.first().copied().unwrap_or(0));
    }
    // Readers take digits only, and a stack that counts nothing is none.
    let counted = counts.into_iter().filter(|(_, count)| *count > 0);
    let mut records: Vec<_> = counted
        .map(|((locations, labels), count)| {
            let labels = if labels.is_empty() { labels } else { format!("\n# labels: {{{labels}}}") };
            Record { count, key: format!("@{}{labels}", addresses(profile, locations)), locations }
        })
        .collect();
    records.sort_by(|a, b| (Reverse(a.count), &a.key, a.locations).cmp(&(Reverse(b.count), &b.key, b.locations)));
    records
}

fn labels(sample: &ProfileSample) -> String {
    let mut pairs: Vec<_> = sample
        .labels
        .iter()
        .filter_map(|label| match label {
            Label::Text(key, text) => Some(format!("{}:{}", quote(key), quote(text))),
            Label::Number(..) => None,
        })
        .collect();
    pairs.sort_unstable();
    pairs.join(", ")
}

/// Return addresses: readers take one off each to land on the call, the leaf included. A record without an address
/// makes readers refuse the whole page, so a stack without frames has the address 0.
pub(super) fn addresses(profile: &Profile, indexes: &[usize]) -> String {
    let mut addresses = locations(profile, indexes).map(|location| location.address.saturating_add(1)).peekable();
    if addresses.peek().is_none() {
        return " 0x1".to_owned();
    }
    addresses.fold(String::new(), |text, address| text + &format!(" {address:#x}"))
}

pub(super) fn frame_lines(profile: &Profile, indexes: &[usize]) -> String {
    let rows: Vec<_> = locations(profile, indexes)
        .flat_map(|location| frames_at(profile, location))
        .map(|frame| {
            let (file, line) = frame.place();
            // Go adds the offset in the function, of which a profile does not tell where it begins.
            let function = one_line(&frame.function.name);
            vec!["#".to_owned(), format!("{:#x}", frame.address), function, format!("{}:{line}", one_line(file))]
        })
        .collect();
    if rows.is_empty() { "#\t0x0\n".to_owned() } else { align(&rows) }
}
