//! The query of a request, read as Go reads it: the first value of a name counts, a pair with `;` or with a bad percent
//! escape counts as absent.

use crate::kind::parameters::Parameters;

/// The parameters of a raw query.
pub(super) fn parse(raw: &str) -> Parameters {
    let pairs = raw.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
    let decoded = pairs.filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(key, true)?, decode(value, true)?))
    });
    Parameters(decoded.collect())
}

/// Percent-decodes; none if an escape is malformed. Bytes that are no UTF-8 become replacement characters.
pub(super) fn decode(text: &str, plus_is_blank: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            b'+' if plus_is_blank => b' ',
            byte => byte,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_counts_and_bad_pairs_are_absent() {
        let check = |raw: &str, name: &str, wanted: Option<&str>| assert_eq!(parse(raw).get(name), wanted, "{raw}");
        check("foo=1&seconds=1&seconds=9", "seconds", Some("1"));
        check("seconds=1;debug=1&seconds=2", "seconds", Some("2"));
        check("seconds=%zz", "seconds", None);
        check("seconds=%3", "seconds", None);
        check("s%65conds=%31", "seconds", Some("1"));
        check("seconds", "seconds", Some(""));
        check("seconds=+1", "seconds", Some(" 1"));
        check("seconds=a=b", "seconds", Some("a=b"));
        check("", "", None);
        check("seconds=%ff", "seconds", Some("\u{fffd}"));
    }
}
