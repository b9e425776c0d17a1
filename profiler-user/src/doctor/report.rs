//! The list of checks and what follows from it for each kind and feature.

use super::capabilities::Stated;
use super::features::Offer;
use crate::exit::Exit;
use serde::{Serialize, Serializer};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// The agent runs, but something is lost.
    Warn,
    /// The agent cannot run; ends with this code.
    Fail(Exit),
}

impl Verdict {
    /// A word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail(_) => "fail",
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, and what that means.
    pub finding: String,
    /// What to do; empty if nothing.
    pub remedy: &'static str,
}

/// All checks, and what they mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Of the agent that looked.
    pub version: &'static str,
    /// The agent can run here.
    pub can_run: bool,
    /// With which code it would end otherwise.
    pub exit: u8,
    /// In the order of their importance.
    pub checks: Vec<Check>,
    /// What the agent uses of the capabilities.
    pub capabilities: Vec<Stated>,
    /// The profile kinds.
    pub kinds: Vec<Offer>,
    /// What profiles show, and how they can be had.
    pub features: Vec<Offer>,
}

impl Report {
    /// What follows from checks.
    pub(super) fn new(checks: Vec<Check>, capabilities: Vec<Stated>) -> Report {
        let exit = worst(&checks);
        let (kinds, features) = (super::features::kinds(&checks), super::features::features(&checks));
        let version = env!("CARGO_PKG_VERSION");
        Report { version, can_run: exit == Exit::Done, exit: exit as u8, checks, capabilities, kinds, features }
    }

    /// Exit code of the worst: a missing permission comes before what the host lacks, since it hides the rest.
    pub fn exit(&self) -> Exit {
        worst(&self.checks)
    }

    /// What stops the agent, a line each.
    pub fn failures(&self) -> String {
        let failed = self.checks.iter().filter(|check| matches!(check.verdict, Verdict::Fail(_)));
        failed.map(Check::sentence).collect::<Vec<_>>().join("\n")
    }

    /// What is lost on this host, for the log.
    pub fn warnings(&self) -> Vec<String> {
        self.checks.iter().filter(|check| check.verdict == Verdict::Warn).map(Check::sentence).collect()
    }

    /// As JSON, for programs.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}

fn worst(checks: &[Check]) -> Exit {
    let failed = checks.iter().filter_map(|check| match check.verdict {
        Verdict::Fail(exit) => Some(exit),
        Verdict::Ok | Verdict::Warn => None,
    });
    failed.max().unwrap_or(Exit::Done)
}

impl Check {
    /// In a line.
    pub(super) fn sentence(&self) -> String {
        let remedy = if self.remedy.is_empty() { String::new() } else { format!("; {}", self.remedy) };
        format!("{}: {}{remedy}", self.name, self.finding)
    }
}
