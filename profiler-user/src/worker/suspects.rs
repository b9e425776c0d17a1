//! Whose files have ended workers lately. A user can make such files without number, and each may cost a worker its deadline:
//! after the first one his files go last and have less time, so that others wait for him no longer.

use super::TrustDomain;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long somebody is one.
const SUSPECTED: Duration = Duration::from_mins(1);
/// Those that are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
/// The part of the deadline that a user's files have then.
const SHORTER: u32 = 4;

/// Users, and roots of containers.
pub(super) struct Suspects(Mutex<LruCache<TrustDomain, Instant>>);

impl Default for Suspects {
    fn default() -> Self {
        Suspects(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl Suspects {
    /// A file of that domain ended a worker.
    pub(super) fn add(&self, domain: TrustDomain) {
        self.lock().put(user(domain), Instant::now());
    }

    /// One did lately.
    pub(super) fn has(&self, domain: TrustDomain) -> bool {
        self.lock().peek(&user(domain)).is_some_and(|since| since.elapsed() < SUSPECTED)
    }

    /// Time for a request about a file of that domain. What root owns is not cut short: all of the host's programs are.
    pub(super) fn deadline(&self, domain: TrustDomain, whole: Duration) -> Duration {
        if domain.owner != 0 && self.has(domain) { whole / SHORTER } else { whole }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<TrustDomain, Instant>> {
        // Each change is complete in itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A user is the same wherever he mounts; the roots of containers are not.
fn user(domain: TrustDomain) -> TrustDomain {
    if domain.owner == 0 { domain } else { TrustDomain { mount_namespace: 0, ..domain } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_suspected_in_all_namespaces_and_root_in_its_own() {
        let suspects = Suspects::default();
        let domain = |owner, mount_namespace| TrustDomain { owner, mount_namespace };
        suspects.add(domain(7, 1));
        suspects.add(domain(0, 2));
        let seen =
            [(7, 1), (7, 9), (8, 1), (0, 2), (0, 1)].map(|(owner, namespace)| suspects.has(domain(owner, namespace)));
        assert_eq!(seen, [true, true, false, true, false]);
        let whole = Duration::from_secs(20);
        let time =
            [(7, 9), (8, 1), (0, 2)].map(|(owner, namespace)| suspects.deadline(domain(owner, namespace), whole));
        assert_eq!(time, [whole / SHORTER, whole, whole]);
    }
}
