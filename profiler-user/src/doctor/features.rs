//! What the checks mean for each profile kind and each thing that profiles show. Pure.

use super::report::{Check, Verdict};
use crate::kind::{KINDS, Kind};
use serde::Serialize;

/// Whether something is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allowed {
    /// All of it.
    Yes,
    /// Not for all programs.
    InPart,
    /// This host does not allow it.
    No,
    /// On no host.
    NotInThisVersion,
}

/// A kind or a feature on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// What.
    pub name: &'static str,
    /// Whether it is to be had.
    pub allowed: Allowed,
    /// Why not, and what to do: a sentence for each check that stands in the way.
    pub why: Vec<String>,
}

/// What a feature is without when a check is not as it should be.
#[derive(Clone, Copy)]
enum Without {
    /// It is not there.
    Nothing(&'static str),
    /// It is there for some programs only.
    Less(&'static str),
}

use Without::{Less, Nothing};

/// Names of the checks that more than one feature depends on.
const RESTORE: &str = "CAP_CHECKPOINT_RESTORE";
const READ: &str = "CAP_DAC_READ_SEARCH";
pub(super) const WORKER: &str = "symbol worker";

/// What profiles show beside the samples themselves, and on which checks it depends. Those that stop the agent stop all.
const FEATURES: &[(&str, &[Without])] = &[
    ("unwinding without frame pointers", &[Nothing(WORKER), Less(READ), Less(RESTORE)]),
    ("names and lines of programs", &[Nothing(WORKER), Less(READ), Less(RESTORE)]),
    ("names of kernel functions", &[Nothing("kernel symbols")]),
    ("programs in containers", &[Nothing(WORKER), Less(READ), Less(RESTORE)]),
    ("deleted and replaced programs", &[Nothing(WORKER), Nothing(RESTORE), Less(READ)]),
    ("programs that only their owner may read", &[Nothing(WORKER), Nothing(READ)]),
    ("names of code that runtimes make (perf maps, jitdumps)", &[Nothing(WORKER), Less(READ)]),
    ("stacks of programs that were never seen before", &[Nothing(WORKER), Less(READ), Less(RESTORE)]),
    ("looking back (ago=)", &[]),
    ("how many samples are to be expected", &[Nothing("CPU clocks")]),
    ("each user's own processes by the Unix socket", &[Less("Unix socket")]),
    ("parsers behind all walls", &[Less("worker's sandbox")]),
];

/// What no host has yet.
const LATER: &[&str] = &["groups of processes (containers, units, pods)", "32-bit programs: stacks and names"];

/// The profile kinds on a host that came out so.
pub(super) fn kinds(checks: &[Check]) -> Vec<Offer> {
    let offer = |kind: &Kind| if kind.works() { judge(checks, kind.name, &[]) } else { later(kind.name) };
    KINDS.iter().map(offer).collect()
}

/// The features on a host that came out so.
pub(super) fn features(checks: &[Check]) -> Vec<Offer> {
    let there = FEATURES.iter().map(|(name, needs)| judge(checks, name, needs));
    there.chain(LATER.iter().map(|name| later(name))).collect()
}

fn later(name: &'static str) -> Offer {
    Offer { name, allowed: Allowed::NotInThisVersion, why: Vec::new() }
}

fn judge(checks: &[Check], name: &'static str, needs: &[Without]) -> Offer {
    let stopped = checks.iter().filter(|check| matches!(check.verdict, Verdict::Fail(_)));
    let mut why: Vec<String> = stopped.map(Check::sentence).collect();
    let mut allowed = if why.is_empty() { Allowed::Yes } else { Allowed::No };
    for need in needs {
        let (Nothing(on) | Less(on)) = need;
        let Some(check) = checks.iter().find(|check| check.name == *on && check.verdict == Verdict::Warn) else {
            continue;
        };
        allowed = match (allowed, need) {
            (Allowed::No, _) | (_, Nothing(_)) => Allowed::No,
            _ => Allowed::InPart,
        };
        why.push(check.sentence());
    }
    Offer { name, allowed, why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::{fail, ok, warn};
    use crate::exit::Exit;

    fn allowed(checks: &[Check], name: &str) -> Allowed {
        let (kinds, features) = (kinds(checks), features(checks));
        kinds.iter().chain(&features).find(|offer| offer.name == name).map(|offer| offer.allowed).expect(name)
    }

    #[test]
    fn a_good_host_has_all_of_this_version() {
        let checks = [ok(RESTORE, ""), ok(READ, "")];
        assert_eq!(allowed(&checks, "profile"), Allowed::Yes);
        assert_eq!(allowed(&checks, "heap"), Allowed::NotInThisVersion);
        assert!(features(&checks).iter().all(|offer| offer.why.is_empty() && offer.allowed != Allowed::No));
    }

    #[test]
    fn what_stops_the_agent_stops_all() {
        let checks = [fail("BTF", Exit::Unavailable, "missing", "boot another kernel")];
        for name in ["profile", "cmdline", "symbol", "looking back (ago=)", "names of kernel functions"] {
            assert_eq!(allowed(&checks, name), Allowed::No, "{name}");
        }
        assert_eq!(features(&checks)[0].why, ["BTF: missing; boot another kernel"]);
    }

    #[test]
    fn a_loss_is_that_of_the_features_that_need_it() {
        let checks = [warn(RESTORE, "missing", "grant it")];
        assert_eq!(allowed(&checks, "profile"), Allowed::Yes);
        assert_eq!(allowed(&checks, "names and lines of programs"), Allowed::InPart);
        assert_eq!(allowed(&checks, "deleted and replaced programs"), Allowed::No);
        let worker = [warn(WORKER, "cannot be started", "say why"), warn(READ, "missing", "grant it")];
        assert_eq!(allowed(&worker, "names and lines of programs"), Allowed::No);
    }

    #[test]
    fn features_name_checks_that_there_are() {
        let names: Vec<&str> = crate::doctor::check().checks.iter().map(|check| check.name).collect();
        for (_, needs) in FEATURES {
            for Nothing(on) | Less(on) in *needs {
                assert!(*on == WORKER || names.contains(on), "{on}");
            }
        }
    }
}
