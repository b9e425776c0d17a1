//! `record`: what is recorded of all processes all the time.

use serde::Serialize;

/// Kinds that are recorded always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// CPU time.
    pub cpu: bool,
    /// Waits on synchronisation.
    pub block: bool,
    /// Who ends the waits of others.
    pub mutex: bool,
}

impl Default for Recorded {
    fn default() -> Recorded {
        Recorded { cpu: true, block: false, mutex: false }
    }
}

impl Recorded {
    /// Names with commas between them; `None` if one is no kind that can be recorded always.
    pub(super) fn parse(text: &str) -> Option<Recorded> {
        let mut recorded = Recorded { cpu: false, block: false, mutex: false };
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "cpu" => recorded.cpu = true,
                "block" => recorded.block = true,
                "mutex" => recorded.mutex = true,
                _ => return None,
            }
        }
        Some(recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_kinds() {
        assert_eq!(Recorded::parse("cpu"), Some(Recorded::default()));
        let all = Recorded { cpu: true, block: true, mutex: true };
        assert_eq!(Recorded::parse("mutex, cpu,block"), Some(all));
        assert_eq!(Recorded::parse(""), Some(Recorded { cpu: false, block: false, mutex: false }));
        assert_eq!(Recorded::parse("cpu,heap"), None);
    }
}
