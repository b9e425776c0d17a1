//! The door for fuzzing: the query of a request, as each handler reads it.

use super::query;
use crate::fuzzing::Look;
use crate::kind::subject::Asked;
use crate::kind::{cpu, symbol};

/// Largest `seconds`, as the flag's default has it.
const MAX_SECONDS: u32 = 300;

pub(crate) fn run(input: &[u8], look: Look) {
    let Ok(raw) = str::from_utf8(input) else { return };
    let parameters = query::parse(raw);
    assert!(parameters.0.len() <= raw.len());
    let asked = parameters.given("pid").map(Asked::parse);
    let named = parameters.check_named();
    let listed = parameters.switch("exited", false);
    let addresses = symbol::addresses(input);
    assert!(addresses.len() <= input.len());
    let path = query::decode(raw, false);
    if let (Ok(request), None | Some(Ok(_))) = (cpu::Request::parse(&parameters, MAX_SECONDS), &asked) {
        assert!((1..=MAX_SECONDS).contains(&request.seconds));
        look(&(request, asked, named, listed, addresses, path));
    }
}
