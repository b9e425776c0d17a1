//! Names of a target as the readers of `debug=2` accept them. The readers are gostackparse, which discards a block that
//! it does not understand, and panicparse, which stops. What they would trip over is replaced, so a name stays readable;
//! it is not escaped by `%`, because panicparse fails on a `%` anywhere but in a package's path.

use super::{INSTEAD, breaks_a_line};
use crate::kind::profile::Function;

/// Name of a function that has none.
const NAMELESS: &str = "??";

/// Beginnings of lines that are no function lines.
const OTHER_LINES: [&str; 2] = ["created by ", "goroutine "];

/// The name in front of `(...)`: on one line, without the arguments of C++, its parentheses in plain pairs.
pub(super) fn function(function: &Function) -> String {
    let name = without_arguments(function).trim();
    let path = package_path(name);
    let slashes = path.is_some() || !name.contains('/');
    let mut text = String::with_capacity(name.len());
    for (at, letter) in name.char_indices() {
        let (before, rest) = (name.get(..at).unwrap_or(""), name.get(at..).unwrap_or(""));
        text.push(match letter {
            '(' if !opens_a_pair(rest) => '（',
            ')' if !closes_a_pair(before) => '）',
            '%' if !(at < path.unwrap_or(0) && is_escape(rest)) => '％',
            '/' if !slashes => '／',
            _ if breaks_a_line(letter) => INSTEAD,
            _ => letter,
        });
    }
    if OTHER_LINES.iter().any(|start| text.starts_with(start)) {
        text = text.replacen(' ', "_", 1);
    }
    if text.is_empty() { NAMELESS.to_owned() } else { text }
}

/// The file in front of `:line`: readers end it at the first colon or space.
pub(super) fn file(file: &str) -> String {
    let mut text = String::with_capacity(file.len());
    for letter in file.chars() {
        match letter {
            ' ' => text.push_str("%20"),
            ':' => text.push_str("%3a"),
            _ if breaks_a_line(letter) => text.push(INSTEAD),
            _ => text.push(letter),
        }
    }
    text
}

/// The state in the header's brackets: no comma, no bracket, and nothing that reads as a number of minutes.
pub(super) fn state(state: &str) -> String {
    let clean = |letter| match letter {
        ',' | '[' | ']' => '_',
        _ if breaks_a_line(letter) => INSTEAD,
        _ => letter,
    };
    let text: String = state.trim().chars().map(clean).collect();
    match text.strip_suffix(" minutes") {
        Some(start) => format!("{start}_minutes"),
        None if text.is_empty() => "unknown".to_owned(),
        None => text,
    }
}

/// A demangled C++ name ends with its arguments' types, which Go shows as values if at all.
fn without_arguments(function: &Function) -> &str {
    let name = function.name.as_str();
    if !function.system_name.starts_with("_Z") {
        return name;
    }
    let end = [" &&", " &", " volatile", " const"].iter().fold(name, |name, suffix| name.trim_end_matches(suffix));
    match end.ends_with(')').then(|| opening(end)).flatten().and_then(|at| name.get(..at)) {
        // `operator()`, `(anonymous namespace)` and a name that is nothing but arguments stay.
        Some(start) if !start.is_empty() && !start.ends_with("operator") && !start.ends_with("::") => start,
        _ => name,
    }
}

/// Where the parenthesis opens that the last letter closes.
fn opening(name: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, letter) in name.char_indices().rev() {
        match letter {
            ')' => depth += 1,
            '(' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return (letter == '(').then_some(at);
        }
    }
    None
}

/// Where a package's path ends, if the name has one: at the first dot behind the last slash. panicparse wants that dot.
fn package_path(name: &str) -> Option<usize> {
    let slash = name.rfind('/')?;
    name.get(slash..)?.find('.').map(|dot| slash + dot)
}

fn opens_a_pair(rest: &str) -> bool {
    rest.chars().skip(1).find(|letter| matches!(letter, '(' | ')')) == Some(')')
}

fn closes_a_pair(before: &str) -> bool {
    before.chars().rev().find(|letter| matches!(letter, '(' | ')')) == Some('(')
}

/// Go's own names escape the dots of a package's last path element so.
fn is_escape(rest: &str) -> bool {
    rest.get(1..3).is_some_and(|digits| digits.chars().all(|digit| digit.is_ascii_hexdigit()))
}
