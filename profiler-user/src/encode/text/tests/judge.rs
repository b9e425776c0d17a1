//! The grammars of gostackparse and panicparse, of all their versions the strictest rule each, as a judge of `debug=2`.

/// A block that both accept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) id: u64,
    pub(super) state: String,
    pub(super) minutes: Option<u64>,
    /// Function, file, line.
    pub(super) frames: Vec<(String, String, u64)>,
}

/// The blocks of a page, or the line that a reader would refuse.
pub(super) fn blocks(page: &str) -> Result<Vec<Block>, String> {
    // Readers split lines by `\n` and take a `\r` in front of it off; no other letter may end a line for an editor.
    if let Some(letter) = page.chars().find(|letter| letter.is_control() && !matches!(letter, '\n' | '\t')) {
        return Err(format!("control character {letter:?}"));
    }
    if page.is_empty() {
        return Ok(Vec::new());
    }
    page.strip_suffix('\n').ok_or("the last line does not end")?.split("\n\n").map(block).collect()
}

fn block(block: &str) -> Result<Block, String> {
    let mut lines = block.split('\n');
    let mut judged = header(lines.next().unwrap_or(""))?;
    while let Some(call) = lines.next() {
        let function = function(call).ok_or_else(|| format!("no function: {call:?}"))?;
        let place = lines.next().unwrap_or("");
        let (file, line) = file(place).ok_or_else(|| format!("no file: {place:?}"))?;
        judged.frames.push((function, file, line));
    }
    if judged.frames.is_empty() { Err("no frame".to_owned()) } else { Ok(judged) }
}

/// `^goroutine (\d+) \[([^,\]]+)(?:, (\d+) minutes)?\]:$`, and the state does not end in ` minutes`.
fn header(line: &str) -> Result<Block, String> {
    let parts = || {
        let (id, rest) = line.strip_prefix("goroutine ")?.split_once(" [")?;
        let bracket = rest.strip_suffix("]:")?;
        let (state, minutes) = match bracket.split_once(", ") {
            Some((state, minutes)) => (state, Some(digits(minutes.strip_suffix(" minutes")?)?)),
            None => (bracket, None),
        };
        let good = !state.is_empty() && !state.contains([',', ']']) && !state.ends_with(" minutes");
        good.then_some(Block { id: digits(id)?, state: state.to_owned(), minutes, frames: Vec::new() })
    };
    parts().ok_or_else(|| format!("no header: {line:?}"))
}

/// Pairs of parentheses that are not nested, the last one `(...)`, and no line of another form.
fn function(line: &str) -> Option<String> {
    let mut open = false;
    for letter in line.chars().filter(|letter| matches!(letter, '(' | ')')) {
        if open == (letter == '(') {
            return None;
        }
        open = letter == '(';
    }
    let name = line.strip_suffix("(...)").filter(|name| !open && !name.is_empty())?;
    let other = line.starts_with([' ', '\t']) || line.starts_with("created by ") || line.starts_with("goroutine ");
    (!other && dotted(name) && unescapes(name)).then(|| name.to_owned())
}

/// panicparse wants a dot behind the last slash.
fn dotted(name: &str) -> bool {
    name.rsplit_once('/').is_none_or(|(_, last)| last.contains('.'))
}

/// panicparse decodes `%xx`, and fails on one outside of the package's path.
fn unescapes(name: &str) -> bool {
    let slash = name.rfind('/');
    let path = slash.map_or(0, |slash| slash + name[slash..].find('.').unwrap_or(0));
    name.match_indices('%').all(|(at, _)| {
        at < path && name.get(at + 1..at + 3).is_some_and(|two| two.chars().all(|digit| digit.is_ascii_hexdigit()))
    })
}

/// A tab, a file without colon and space, `:`, digits, ` +0x` and lower-case hex digits.
fn file(line: &str) -> Option<(String, u64)> {
    let (place, offset) = line.strip_prefix('\t')?.split_once(' ')?;
    let (file, number) = place.split_once(':')?;
    let hex = |letter: char| letter.is_ascii_digit() || matches!(letter, 'a'..='f');
    let good = !file.is_empty()
        && offset.strip_prefix("+0x").is_some_and(|offset| !offset.is_empty() && offset.chars().all(hex));
    good.then_some((file.to_owned(), digits(number)?))
}

fn digits(text: &str) -> Option<u64> {
    text.chars().all(|letter| letter.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[test]
fn the_judge_refuses_what_readers_do() {
    let good = "goroutine 1 [running]:\nmain.f(...)\n\t/f.go:1 +0x1\n";
    assert_eq!(blocks(good).expect("good").len(), 1);
    for (from, to) in [
        ("goroutine 1", "goroutine x"),
        ("[running]", "[]"),
        ("[running]", "[a, b]"),
        ("[running]", "[5 minutes]"),
        ("[running]:", "[running]: labels"),
        ("main.f", ""),
        ("main.f", "f(("),
        ("main.f", "f)"),
        ("main.f", "created by f"),
        ("main.f", "\tf"),
        ("main.f", "operator%"),
        ("main.f", "a/b"),
        ("/f.go", ""),
        ("/f.go", "/f :2"),
        (":1", ":"),
        ("\t/f.go:1 +0x1\n", ""),
        ("main.f(...)\n\t/f.go:1 +0x1\n", ""),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(blocks(&bad).is_err(), "{bad:?} passes");
    }
}
