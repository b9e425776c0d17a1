//! Texts of targets made fit for a terminal: names of programs and functions are whatever somebody chose, and a terminal takes
//! commands from what it is given to show.

use unicode_width::UnicodeWidthChar;

/// Shown in place of what is not.
const INSTEAD: char = '\u{fffd}';

/// True if a letter is shown as it is: neither a control character (C0, DEL, C1) nor one that changes the direction of
/// text, hides itself or ends a line.
fn is_harmless(letter: char) -> bool {
    !letter.is_control()
        && !matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The text without anything that a terminal would take for more than letters.
pub fn clean(text: &str) -> String {
    text.chars().map(|letter| if is_harmless(letter) { letter } else { INSTEAD }).collect()
}

/// As [`clean`], line by line.
pub fn clean_lines(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

/// As [`clean`], at most so many columns of a terminal wide; what was cut is marked.
pub fn fit(text: &str, columns: usize) -> String {
    let mut fitting = String::new();
    let mut used = 0;
    let mut letters = text.chars().map(|letter| if is_harmless(letter) { letter } else { INSTEAD }).peekable();
    while let Some(letter) = letters.next() {
        let width = letter.width().unwrap_or(1);
        let more = letters.peek().is_some();
        // The last column is for the mark, unless all that is left fits.
        if used + width + usize::from(more) > columns {
            if columns > used {
                fitting.push('…');
            }
            break;
        }
        used += width;
        fitting.push(letter);
    }
    fitting
}

/// As [`fit`], filled with blanks to exactly so many columns.
pub fn padded(text: &str, columns: usize) -> String {
    let mut fitting = fit(text, columns);
    let used: usize = fitting.chars().map(|letter| letter.width().unwrap_or(1)).sum();
    fitting.extend(std::iter::repeat_n(' ', columns.saturating_sub(used)));
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    #[test]
    fn commands_to_a_terminal_are_replaced() {
        assert_eq!(clean("\x1b]0;owned\x07\x1b[2Jx"), "\u{fffd}]0;owned\u{fffd}\u{fffd}[2Jx");
        assert_eq!(clean("a\nb\rc\td\x7f\u{9b}31m"), "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}\u{fffd}31m");
        assert_eq!(clean("exe\u{202e}gpj.txt\u{2066}\u{200b}"), "exe\u{fffd}gpj.txt\u{fffd}\u{fffd}");
        assert_eq!(clean("std::vec<T>::größe 関数"), "std::vec<T>::größe 関数");
    }

    #[test]
    fn what_does_not_fit_is_cut_and_marked() {
        for (text, columns, wanted) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("関数名", 6, "関数名"),
            ("関数名", 5, "関数…"),
            ("関数名", 4, "関…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
            ("", 0, ""),
        ] {
            assert_eq!(fit(text, columns), wanted, "{text} in {columns}");
        }
        assert_eq!(padded("関", 4), "関  ");
    }

    proptest! {
        #[test]
        fn never_wider_and_never_a_command(text in ".*", columns in 0_usize..40) {
            let shown = padded(&text, columns);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert!(fit(&text, columns).width() <= columns, "{shown:?}");
        }
    }
}
