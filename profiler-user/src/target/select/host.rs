//! The whole host: every process.

use super::{Selector, SelectorKind, Subject};

/// No segment: `/debug/pprof/`.
pub(super) const KIND: SelectorKind = SelectorKind { name: "", arguments: 0, parse: |_| Some(Box::new(Host)) };

/// Every process.
#[derive(Debug)]
struct Host;

impl Selector for Host {
    fn selects(&self, _: &Subject<'_>) -> bool {
        true
    }
}
