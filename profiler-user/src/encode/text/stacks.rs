//! `debug=2`: a block for each sample (a thread), as Go prints its goroutines when it panics. A thread's name is not
//! shown: the form has no place for it that all readers accept.

use super::frames::{Frame, UNKNOWN_FILE, frames};
use super::{CONTENT_TYPE, names};
use crate::encode::EncodeProfile;
use crate::kind::profile::{Function, Label, Profile, ProfileSample};

/// The format. It reads the labels `tid`, `state`, `wait`, `minutes` and `reason`; each may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stacks;

impl EncodeProfile for Stacks {
    fn content_type(&self) -> &'static str {
        CONTENT_TYPE
    }

    fn encode(&self, profile: &Profile) -> Vec<u8> {
        let mut samples: Vec<&ProfileSample> = profile.samples.iter().collect();
        samples.sort_by_key(|sample| number(sample, "tid"));
        let blocks: Vec<_> = samples.into_iter().map(|sample| block(profile, sample)).collect();
        blocks.join("\n").into_bytes()
    }
}

fn block(profile: &Profile, sample: &ProfileSample) -> String {
    let mut block = header(sample);
    let mut last = None;
    for frame in frames(profile, sample) {
        block.push_str(&frame_lines(&frame));
        last = Some(frame.function);
    }
    if let Some(pseudo) = ending(sample, last) {
        block.push_str(&lines(&pseudo, UNKNOWN_FILE, 0, 0));
    }
    block
}

fn header(sample: &ProfileSample) -> String {
    let tid = number(sample, "tid").unwrap_or(0).max(0);
    let state = match text(sample, "wait") {
        Some(wait) => names::state(&format!("{wait} wait")),
        None => names::state(text(sample, "state").unwrap_or("")),
    };
    let minutes = number(sample, "minutes").filter(|minutes| *minutes >= 1);
    let minutes = minutes.map_or_else(String::new, |minutes| format!(", {minutes} minutes"));
    format!("goroutine {tid} [{state}{minutes}]:\n")
}

/// The offset is the one in the mapped file: Go's is relative to the function, but a profile does not tell where that
/// begins, and no other number of the block leads back to the address.
fn frame_lines(frame: &Frame<'_>) -> String {
    let (file, line) = frame.place();
    lines(frame.function, file, line, frame.file_offset())
}

fn lines(function: &Function, file: &str, line: i64, offset: u64) -> String {
    let (name, file) = (names::function(function), names::file(file));
    format!("{name}(...)\n\t{file}:{line} +{offset:#x}\n")
}

/// A last frame that says why the stack ends there, unless the last one does; readers refuse a block without any.
fn ending(sample: &ProfileSample, last: Option<&Function>) -> Option<Function> {
    let name = match (text(sample, "reason"), last) {
        (Some(reason), _) => format!("[{reason}]"),
        (None, None) => "[no frames]".to_owned(),
        (None, Some(_)) => return None,
    };
    let said = last.is_some_and(|last| last.name == name);
    (!said).then(|| Function { system_name: String::new(), name, file: String::new(), start_line: 0 })
}

fn text<'a>(sample: &'a ProfileSample, wanted: &str) -> Option<&'a str> {
    sample.labels.iter().find_map(|label| match label {
        Label::Text(key, text) if *key == wanted => Some(text.as_str()),
        _ => None,
    })
}

fn number(sample: &ProfileSample, wanted: &str) -> Option<i64> {
    sample.labels.iter().find_map(|label| match label {
        Label::Number(key, number) if *key == wanted => Some(*number),
        _ => None,
    })
}
