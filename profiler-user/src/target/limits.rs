//! Limits of the agent itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open descriptors taken for granted where no limit is set.
const UNLIMITED: u64 = 1 << 20;

/// Descriptors that the agent needs for itself: programs, maps and rings, workers, what it reads of `/proc`.
const OWN: u64 = 96;

/// Raises the soft limit of open descriptors to the hard one and says how many may be open then. A failure is no error:
/// the agent then lives with what it has.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
    open_files()
}

/// How many descriptors may be open.
pub fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED)
}

/// How many descriptors are left for what comes and goes: half of them are for targets' files, an eighth for debug files.
pub fn spare_open_files() -> u64 {
    open_files().saturating_sub(OWN).max(OWN)
}

/// How many connections of clients may be open at a time: a quarter of the spare descriptors, but not more than `most`.
pub fn connections(most: usize) -> usize {
    usize::try_from(spare_open_files() / 4).map_or(most, |few| few.min(most))
}

/// Bytes that may be locked in memory; `None` without a limit.
pub fn locked_memory() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(UNLIMITED);
        assert_eq!(raise_open_files(), hard);
        assert_eq!(open_files(), hard);
        assert!(spare_open_files() < hard.max(2 * OWN) && connections(7) == 7);
        assert!(connections(usize::MAX) as u64 <= hard.max(4 * OWN) / 4);
    }
}
