//! Go's legacy text formats, for people and for the parsers that read them: what the pages share.

mod columns;
pub mod contention;
pub mod counts;
mod frames;
mod names;
mod quote;
pub mod stacks;

/// Media type of every text page, as Go sends it.
const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// Shown in place of a letter that would break a line.
const INSTEAD: char = '\u{fffd}';

/// The text on one line: names are whatever a target chose, and a line of a format must stay one.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if breaks_a_line(letter) { INSTEAD } else { letter }).collect()
}

fn breaks_a_line(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests;
