//! What the BPF object's programs cost the verifier of this machine's kernel: the agent loads them and says it.

use crate::manifest::{Cost, Manifest, Verifier};
use crate::sh;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;

/// Asks this kernel. If it does not answer (it takes root), what the committed manifest says of the same bytes is kept.
pub(crate) fn of(root: &Path, object: &Path, hash: &str) -> Option<Verifier> {
    let error = match ask(object) {
        Ok(verifier) => return Some(verifier),
        Err(error) => error,
    };
    let committed = Manifest::load(root).ok().filter(|manifest| manifest.object == hash);
    let kept = committed.and_then(|manifest| manifest.verifier);
    match &kept {
        Some(verifier) => println!("verified instructions are kept as {} counted them: {error:#}", verifier.kernel),
        None => println!("verified instructions are left out; build as root before you commit: {error:#}"),
    }
    kept
}

/// Loads the programs into this kernel and prints what they cost.
pub(crate) fn ask(object: &Path) -> Result<Verifier> {
    ensure!(sh::is_root(), "only root can load programs");
    let mut command = sh::cargo();
    command.args(["run", "--quiet", "-p", "profiler-user", "--bin", "pprofd", "--", "ebpf-info"]).arg(object);
    let text = sh::read(&mut command)?;
    ensure!(!text.is_empty(), "`pprofd ebpf-info` printed nothing");
    let programs: Result<BTreeMap<String, Cost>> =
        text.lines().map(|line| parse(line).with_context(|| format!("unexpected line {line:?}"))).collect();
    let verifier = Verifier { kernel: sh::ask("uname", &["-r"]).context("cannot run uname")?, programs: programs? };
    for (name, cost) in &verifier.programs {
        println!("{name:24} {:>9} verified, {:>7} translated", cost.verified, cost.translated);
    }
    Ok(verifier)
}

fn parse(line: &str) -> Option<(String, Cost)> {
    let mut words = line.split_whitespace();
    let name = words.next()?.to_owned();
    let verified = words.next()?.parse().ok()?;
    let translated = words.next()?.parse().ok()?;
    Some((name, Cost { verified, translated }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ebpf_info_is_read() {
        assert_eq!(parse("sample 12 3"), Some(("sample".into(), Cost { verified: 12, translated: 3 })));
        assert_eq!(parse("sample ? 3"), None);
        assert_eq!(parse("sample 12"), None);
    }
}
