//! A profile as text for people: what it says of itself, and its functions. Pure.

use super::functions::{self, text};
use super::printable::{clean, fit};
use crate::encode::pprof::message::Profile;

/// Columns where the width of the reader's terminal is not known.
pub(super) const WIDTH: usize = 400;
/// Columns before a function's name.
const BEFORE_NAME: usize = 37;

/// What a profile says of itself, a line each.
pub(super) fn comments(profile: &Profile) -> String {
    profile.comment.iter().map(|index| format!("{}\n", clean(text(profile, *index)))).collect()
}

/// The functions with the most of their own, at most so many: a heading and a line each.
pub(super) fn functions(profile: &Profile, most: usize, columns: usize) -> Vec<String> {
    let functions = functions::of(profile);
    let unit = profile.sample_type.last().map_or("", |column| text(profile, column.unit));
    let percent = |part: u64| part as f64 * 100.0 / functions.total.max(1) as f64;
    let mut lines = vec![format!("{:>7} {:>10} {:>8} {:>7}  function", "self", "", "total", "samples")];
    for row in functions.rows.iter().take(most) {
        let usage = row.usage;
        lines.push(format!(
            "{:>6.2}% {:>10} {:>7.2}% {:>7}  {}",
            percent(usage.own),
            value(usage.own, unit),
            percent(usage.cumulative),
            usage.samples,
            fit(&row.name, columns.saturating_sub(BEFORE_NAME))
        ));
    }
    lines
}

/// A value in its unit.
fn value(value: u64, unit: &str) -> String {
    match unit {
        "nanoseconds" => format!("{:.2} s", value as f64 / 1e9),
        "bytes" => format!("{:.1} kB", value as f64 / 1e3),
        _ => value.to_string(),
    }
}
