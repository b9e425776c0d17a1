//! The capabilities that the agent uses. This is the one list: the checks, `doctor --json` and the files in `deploy/` follow it.

use rustix::thread::CapabilitySet;
use serde::Serialize;

/// Whether the agent can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Needed {
    /// Without it the agent does not start.
    Vital,
    /// Without it something is lost, as is said.
    Optional,
}

/// A capability, whether the agent can do without it, and what then is lost.
#[derive(Debug)]
pub struct Capability {
    /// As the kernel calls it.
    pub name: &'static str,
    /// It, or one that includes it.
    pub any: CapabilitySet,
    /// Whether the agent starts without.
    pub needed: Needed,
    /// What is lost without.
    pub lost: &'static str,
}

/// All that the agent uses.
pub const CAPABILITIES: &[Capability] = &[
    Capability {
        name: "CAP_BPF",
        any: CapabilitySet::BPF.union(CapabilitySet::SYS_ADMIN),
        needed: Needed::Vital,
        lost: "BPF programs cannot be loaded",
    },
    Capability {
        name: "CAP_PERFMON",
        any: CapabilitySet::PERFMON.union(CapabilitySet::SYS_ADMIN),
        needed: Needed::Vital,
        lost: "the CPUs cannot be sampled",
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        any: CapabilitySet::SYS_PTRACE,
        needed: Needed::Vital,
        lost: "programs of other processes cannot be opened: their stacks end early and have no names",
    },
    Capability {
        name: "CAP_DAC_READ_SEARCH",
        any: CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::DAC_OVERRIDE),
        needed: Needed::Optional,
        lost: "files that only their owner may read have neither unwind tables nor names, nor have deleted programs of other \
               users than pprofd's",
    },
    Capability {
        name: "CAP_CHECKPOINT_RESTORE",
        any: CapabilitySet::CHECKPOINT_RESTORE.union(CapabilitySet::SYS_ADMIN),
        needed: Needed::Optional,
        lost: "deleted and replaced programs, and some in containers, cannot be opened: their stacks end early",
    },
    Capability {
        name: "CAP_SYSLOG",
        any: CapabilitySet::SYSLOG,
        needed: Needed::Optional,
        lost: "kernel functions have no names",
    },
];

/// A capability as `--json` states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stated {
    /// As the kernel calls it.
    pub name: &'static str,
    /// Whether the agent starts without.
    pub needed: Needed,
    /// The agent has it, or one that includes it.
    pub held: bool,
    /// What is lost without.
    pub lost: &'static str,
}

/// The list for an agent that holds these.
pub(super) fn stated(held: CapabilitySet) -> Vec<Stated> {
    let one = |Capability { name, any, needed, lost }: &Capability| {
        let held = held.intersects(*any);
        Stated { name, needed: *needed, held, lost }
    };
    CAPABILITIES.iter().map(one).collect()
}
