//! The list of checks and how it is shown.

use crate::exit::Exit;

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

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// All checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// In the order of their importance.
    pub checks: Vec<Check>,
}

impl Report {
    /// Exit code of the worst: a missing permission comes before what the host lacks, since it hides the rest.
    pub fn exit(&self) -> Exit {
        let failed = self.checks.iter().filter_map(|check| match check.verdict {
            Verdict::Fail(exit) => Some(exit),
            Verdict::Ok | Verdict::Warn => None,
        });
        failed.max().unwrap_or(Exit::Done)
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

    /// A table for people.
    pub fn table(&self, colors: bool) -> String {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        let mut lines = Vec::new();
        for check in &self.checks {
            let (word, color) = match check.verdict {
                Verdict::Ok => ("ok  ", "32"),
                Verdict::Warn => ("warn", "33"),
                Verdict::Fail(_) => ("FAIL", "31"),
            };
            let word = if colors { format!("\x1b[{color}m{word}\x1b[0m") } else { word.to_owned() };
            lines.push(format!("{word}  {:width$}  {}", check.name, check.finding));
            if !check.remedy.is_empty() {
                lines.push(format!("      {:width$}  -> {}", "", check.remedy));
            }
        }
        let can = if self.exit() == Exit::Done { "can" } else { "cannot" };
        lines.push(format!("\npprofd {can} run here.\n"));
        lines.join("\n")
    }
}

impl Check {
    fn sentence(&self) -> String {
        let remedy = if self.remedy.is_empty() { String::new() } else { format!("; {}", self.remedy) };
        format!("{}: {}{remedy}", self.name, self.finding)
    }
}
