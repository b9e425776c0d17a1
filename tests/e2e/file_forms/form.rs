//! A form of a file: how it is made, how it runs, what its profile must show.

use super::workshop::Folder;
use std::path::{Path, PathBuf};
use tests::harness::profile::{Sample, is_named};
use tests::harness::{Profile, Target, judge};

/// Share of a form's samples that must be as expected: of some hundred, one or two may be of the program's first moments.
const MOST: f64 = 0.95;

/// A row of the table.
pub(super) struct Form {
    /// What it is called in messages.
    pub(super) name: &'static str,
    /// Makes the program.
    pub(super) make: fn(&Folder) -> PathBuf,
    /// Starts it.
    pub(super) run: fn(&Folder, &Path) -> Target,
    /// What its time is spent in.
    pub(super) program: &'static Program,
    /// What is known of its functions.
    pub(super) names: Names,
    /// How far its stacks reach.
    pub(super) stacks: Stacks,
}

/// What a program does, whatever its form.
pub(super) struct Program {
    /// Chains of functions, leaf first, and the share of the time that each has. `a|b` is either name.
    pub(super) chains: &'static [(&'static [&'static str], f64)],
    /// A call that is inlined into the leaf of the first chain, if there is one.
    pub(super) inlined: Option<&'static str>,
    /// What is never called.
    pub(super) never: &'static [&'static str],
    /// The end of the source's path.
    pub(super) source: &'static str,
}

/// What is known of a program's functions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Names {
    /// Nothing: frames say file and offset.
    Nothing,
    /// Functions.
    Functions,
    /// Functions, with the source lines of all.
    Lines,
    /// Functions, lines, and calls that were inlined.
    Inlines,
}

/// How far stacks reach.
#[derive(Clone, Copy)]
pub(super) enum Stacks {
    /// To the root.
    Complete,
    /// To `main`, behind which they end with this reason.
    Main(&'static str),
    /// To the leaf, behind which they end with one of these reasons.
    Leaf(&'static [&'static str]),
}

impl Form {
    /// What differs from the expectation, in one line each.
    pub(super) fn faults(&self, profile: &Profile) -> Vec<String> {
        let mut faults = Vec::new();
        let mut expect = |what: String, holds: bool| {
            if !holds {
                faults.push(format!("{}: {what}", self.name));
            }
        };
        let reasons = match &self.stacks {
            Stacks::Complete => &[""],
            Stacks::Main(reason) => std::slice::from_ref(reason),
            Stacks::Leaf(reasons) => *reasons,
        };
        let share = profile.share(|sample| reasons.contains(&sample.label("reason")));
        expect(format!("stacks end as {reasons:?} in {:.1} %", share * 100.0), share >= MOST);
        if self.names == Names::Nothing {
            let place = profile.share(says_where);
            expect(format!("file and offset in {:.1} %", place * 100.0), place >= MOST);
        } else {
            self.chains(profile, &mut expect);
        }
        let known = self.known(profile);
        let most = if self.program.inlined.is_some() { self.names } else { self.names.min(Names::Lines) };
        expect(format!("{known:?}, not {most:?}"), known == most);
        for name in self.program.never {
            expect(format!("{name}, which is never called"), profile.count_of(|sample| sample.has(name)) == 0);
        }
        faults
    }

    fn chains(&self, profile: &Profile, expect: &mut impl FnMut(String, bool)) {
        let whole = !matches!(self.stacks, Stacks::Leaf(_));
        for (chain, truth) in self.program.chains {
            // Where stacks end early their leaf is all that is known.
            let chain = if whole { *chain } else { &chain[..1] };
            let share = profile.share(|sample| has_chain(sample, chain));
            let allowed = judge::tolerance(*truth, profile.count()).max(0.1);
            expect(format!("{} in {:.1} %", chain.join(" <- "), share * 100.0), (share - truth).abs() <= allowed);
        }
        // Few samples are between two chains, or in a function on the way to a leaf.
        let ends = self.program.chains.iter().filter_map(|(chain, _)| if whole { chain.last() } else { chain.first() });
        let ends: Vec<&str> = ends.copied().collect();
        let share = profile.share(|sample| ends.iter().any(|end| has_chain(sample, &[end])));
        expect(format!("{} in {:.1} %", ends.join(" or "), share * 100.0), share >= MOST);
    }

    /// What is known of the first chain's leaf.
    fn known(&self, profile: &Profile) -> Names {
        let leaf = self.program.chains[0].0[0];
        let in_leaf = |sample: &Sample| sample.stack.iter().any(|name| is_one_of(name, leaf));
        let with_line = |sample: &Sample| {
            let of_leaf = sample.stack.iter().zip(&sample.sources).find(|(name, _)| is_one_of(name, leaf));
            of_leaf.is_some_and(|(_, (file, line))| file.ends_with(self.program.source) && *line > 0)
        };
        let inlined = |sample: &Sample| {
            let into = |part: &[String]| is_one_of(&part[0], leaf) && Some(part[1].as_str()) == self.program.inlined;
            sample.stack.windows(2).any(into)
        };
        let own = profile.only(in_leaf);
        if own.count() == 0 {
            Names::Nothing
        } else if own.share(with_line) < MOST {
            Names::Functions
        } else if own.share(inlined) < MOST {
            Names::Lines
        } else {
            Names::Inlines
        }
    }
}

fn says_where(sample: &Sample) -> bool {
    sample.stack.iter().any(|name| name.rsplit_once("+0x").is_some_and(|(file, _)| file.starts_with("burn")))
}

fn is_one_of(name: &str, alternatives: &str) -> bool {
    alternatives.split('|').any(|one| is_named(name, one))
}

/// As [`Sample::has_chain`], with alternatives, and whatever was inlined into the leaf.
fn has_chain(sample: &Sample, leaf_first: &[&str]) -> bool {
    let parts = sample.stack.windows(leaf_first.len());
    parts.into_iter().any(|part| part.iter().rev().zip(leaf_first).all(|(name, wanted)| is_one_of(name, wanted)))
}
