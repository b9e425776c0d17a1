//! A report as a table for people.

use super::features::{Allowed, Offer};
use super::report::{Check, Report, Verdict};

const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";
const GREY: &str = "90";

impl Report {
    /// A table for people.
    pub fn table(&self, colors: bool) -> String {
        let mut lines = Vec::new();
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        for check in &self.checks {
            lines.push(format!("{}  {:width$}  {}", check.mark(colors), check.name, check.finding));
            if !check.remedy.is_empty() {
                lines.push(format!("      {:width$}  -> {}", "", check.remedy));
            }
        }
        offers(&mut lines, "Profiles", &self.kinds, colors);
        offers(&mut lines, "What they show", &self.features, colors);
        let can = if self.can_run { "can" } else { "cannot" };
        lines.push(format!("\npprofd {can} run here.\n"));
        lines.join("\n")
    }
}

impl Check {
    fn mark(&self, colors: bool) -> String {
        match self.verdict {
            Verdict::Ok => mark("ok", GREEN, colors),
            Verdict::Warn => mark("warn", YELLOW, colors),
            Verdict::Fail(_) => mark("FAIL", RED, colors),
        }
    }
}

/// What checks say stands above already: here only their names are repeated.
fn offers(lines: &mut Vec<String>, title: &str, offers: &[Offer], colors: bool) {
    lines.push(format!("\n{title}:"));
    for offer in offers {
        let (mark, note) = match offer.allowed {
            Allowed::Yes => (mark("yes", GREEN, colors), String::new()),
            Allowed::InPart => (mark("part", YELLOW, colors), because(offer)),
            Allowed::No => (mark("NO", RED, colors), because(offer)),
            Allowed::NotInThisVersion => (mark("-", GREY, colors), " (not in this version)".to_owned()),
        };
        lines.push(format!("{mark}  {}{note}", offer.name));
    }
}

fn because(offer: &Offer) -> String {
    let names = offer.why.iter().filter_map(|why| why.split_once(": ").map(|(name, _)| name));
    format!(" (see {})", names.collect::<Vec<_>>().join(", "))
}

fn mark(word: &str, color: &str, colors: bool) -> String {
    if colors { format!("\x1b[{color}m{word:4}\x1b[0m") } else { format!("{word:4}") }
}
