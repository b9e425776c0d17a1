//! Text in quotes as Go's `%q` writes it, so that Go's `strconv.Unquote` reads it back.

use std::fmt::Write;

/// The text in double quotes, on one line.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    text.chars().for_each(|letter| push(&mut quoted, letter));
    quoted.push('"');
    quoted
}

fn push(quoted: &mut String, letter: char) {
    let code = u32::from(letter);
    let written = match letter {
        '"' | '\\' => write!(quoted, "\\{letter}"),
        '\u{7}' => quoted.write_str("\\a"),
        '\u{8}' => quoted.write_str("\\b"),
        '\u{b}' => quoted.write_str("\\v"),
        '\u{c}' => quoted.write_str("\\f"),
        '\n' => quoted.write_str("\\n"),
        '\r' => quoted.write_str("\\r"),
        '\t' => quoted.write_str("\\t"),
        _ if letter.is_ascii_control() => write!(quoted, "\\x{code:02x}"),
        '\'' => quoted.write_char('\''),
        // Rust escapes what cannot be printed, and marks that would join the letter in front of them.
        _ if letter.escape_debug().len() == 1 => quoted.write_char(letter),
        _ if code < 0x1_0000 => write!(quoted, "\\u{code:04x}"),
        _ => write!(quoted, "\\U{code:08x}"),
    };
    // Writing into memory does not fail.
    debug_assert!(written.is_ok());
}
