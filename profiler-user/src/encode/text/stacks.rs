//! `debug=2`: a block a thread, as Go prints goroutines, for people and for the parsers of such traces (gostackparse, panicparse).

use super::{CONTENT_TYPE, frames, in_line, number, text};
use crate::encode::EncodeProfile;
use crate::kind::profile::{Profile, ProfileSample};
use std::fmt::Write;

/// The format. Each sample is a thread: its labels say which (`tid`), what it does (`state`), what it waits for (`wait`) and
/// for how many `minutes`.
#[derive(Clone, Copy, Debug)]
pub struct Stacks;

impl EncodeProfile for Stacks {
    fn content_type(&self) -> &'static str {
        CONTENT_TYPE
    }

    fn encode(&self, profile: &Profile) -> Vec<u8> {
        let mut samples: Vec<&ProfileSample> = profile.samples.iter().collect();
        samples.sort_by_key(|sample| number(sample, "tid"));
        let blocks: Vec<String> = samples.into_iter().map(|sample| block(profile, sample)).collect();
        blocks.join("\n").into_bytes()
    }
}

fn block(profile: &Profile, sample: &ProfileSample) -> String {
    let tid = number(sample, "tid").unwrap_or(0);
    let does = match text(sample, "wait") {
        Some(wait) => format!("{wait} wait"),
        None => text(sample, "state").unwrap_or("unknown").to_owned(),
    };
    let minutes = number(sample, "minutes").map(|minutes| format!(", {minutes} minutes")).unwrap_or_default();
    let mut block = format!("goroutine {tid} [{does}{minutes}]:\n");
    for frame in frames(profile, sample) {
        // Parsers take the first colon for the end of the file's name.
        let file = if frame.file.is_empty() { "?".to_owned() } else { in_line(frame.file).replace(':', "_") };
        _ = write!(block, "{}(...)\n\t{file}:{}\n", plain(frame.name), frame.line);
    }
    block
}

/// A name without its list of parameters, and without parentheses in parentheses, which end a parser's understanding.
fn plain(name: &str) -> String {
    let name = in_line(name).replace("operator()", "operator{}");
    let mut plain = String::new();
    let (mut angles, mut open) = (0_u32, 0_u32);
    let mut before = ' ';
    for letter in name.chars() {
        let shown = match letter {
            '(' if angles == 0 && open == 0 && (before.is_alphanumeric() || matches!(before, '_' | '>' | '}')) => break,
            '(' => {
                open += 1;
                if open == 1 { '(' } else { '{' }
            }
            ')' if open > 0 => {
                open -= 1;
                if open == 0 { ')' } else { '}' }
            }
            ')' => '}',
            letter => letter,
        };
        match letter {
            '<' => angles += 1,
            '>' if before != '-' => angles = angles.saturating_sub(1),
            _ => {}
        }
        plain.push(shown);
        before = letter;
    }
    // What was opened and not closed would swallow the parentheses that follow.
    if open > 0 {
        plain = plain.replace('(', "{").replace(')', "}");
    }
    match plain.strip_prefix("created by") {
        Some(rest) => format!("created_by{rest}"),
        None if plain.is_empty() => "?".to_owned(),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::profile;
    use super::*;
    use crate::kind::profile::Label;
    use proptest::prelude::*;

    fn encode(profile: &Profile) -> String {
        String::from_utf8(Stacks.encode(profile)).expect("text")
    }

    fn labels(tid: i64, state: &str, wait: Option<&str>, minutes: Option<i64>) -> Vec<Label> {
        let wait = wait.map(|wait| Label::Text("wait", wait.into()));
        let minutes = minutes.map(|minutes| Label::Number("minutes", minutes));
        [Label::Text("state", state.into()), Label::Number("tid", tid)].into_iter().chain(wait).chain(minutes).collect()
    }

    #[test]
    fn a_block_a_thread_by_number() {
        let profile = profile(&[
            (&["read", "_start"], 1, &labels(9, "sleeping", Some("socket"), Some(3))),
            (&["spin"], 1, &labels(7, "running", None, None)),
        ]);
        let wanted = "goroutine 7 [running]:\nspin(...)\n\t/src/a_b.c:12\n\n\
            goroutine 9 [socket wait, 3 minutes]:\nread(...)\n\t/src/a_b.c:10\n_start(...)\n\t/bin/demo:11\n";
        assert_eq!(encode(&profile), wanted);
    }

    #[test]
    fn names_lose_their_parameters_and_nothing_else() {
        for (name, wanted) in [
            ("main.(*T).f", "main.(*T).f"),
            ("std::vector<int>::push_back(int const&)", "std::vector<int>::push_back"),
            ("(anonymous namespace)::run(int)", "(anonymous namespace)::run"),
            ("f<void (int)>::operator()(int) const", "f<void (int)>::operator{}"),
            ("<T as core::ops::FnOnce<(A, (B,))>>::call", "<T as core::ops::FnOnce<(A, {B,})>>::call"),
            ("created by me", "created_by me"),
            ("a(b", "a"),
            (" (b", " {b"),
            ("", "?"),
        ] {
            assert_eq!(plain(name), wanted, "{name}");
        }
    }

    /// What gostackparse (parseFunc, parseFile and its header expression) asks of a block.
    fn is_understood(block: &str) -> bool {
        let mut lines = block.lines();
        let head = lines.next().and_then(|head| head.strip_prefix("goroutine ")?.strip_suffix("]:")?.split_once(" ["));
        let Some((number, state)) = head else { return false };
        let rest: Vec<&str> = lines.collect();
        let function = |line: &str| {
            let (mut open, mut close) = (None, None);
            for (at, letter) in line.char_indices() {
                match letter {
                    '(' if open.is_some() && close.is_none() => return false,
                    '(' => (open, close) = (Some(at), None),
                    ')' if open.is_none() || close.is_some() => return false,
                    ')' => close = Some(at),
                    _ => {}
                }
            }
            close.is_some() && open > Some(0) && !line.starts_with("created by")
        };
        let file = |line: &str| {
            line.strip_prefix('\t')
                .and_then(|rest| rest.split_once(':'))
                .is_some_and(|(file, line)| !file.is_empty() && line.parse::<u32>().is_ok())
        };
        number.parse::<u32>().is_ok()
            && !state.is_empty()
            && rest.len().is_multiple_of(2)
            && rest.chunks(2).all(|pair| function(pair[0]) && file(pair[1]))
    }

    proptest! {
        #[test]
        fn whatever_names_hold_blocks_are_understood(
            names in proptest::collection::vec("[a-z()<>{}:~ \\[\\]\n\t\u{1b}*&-]{0,24}|created by [a-z]*|\\PC{0,12}", 1..6),
        ) {
            let stack: Vec<&str> = names.iter().map(String::as_str).collect();
            let text = encode(&profile(&[(&stack, 1, &labels(4, "runnable", None, None))]));
            prop_assert!(is_understood(&text), "{text:?}");
        }
    }
}
