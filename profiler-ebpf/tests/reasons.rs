//! The table of reasons: its numbers, its texts, and that each is told by somebody.
#![allow(clippy::expect_used, reason = "a test may fail")]

use profiler_ebpf::reasons::Reason;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// First codes of the groups: ends of stacks, losses, missing names.
const GROUPS: [u32; 3] = [1, 32, 64];

#[test]
fn codes_rise_so_none_is_given_twice_and_groups_keep_together() {
    let codes: Vec<u32> = Reason::ALL.iter().map(|reason| *reason as u32).collect();
    assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
    for first in GROUPS {
        assert!(codes.contains(&first), "no reason has the code {first}");
    }
    assert!(codes.iter().all(|code| (1..100).contains(code)), "counters of other things begin at 100: {codes:?}");
    assert!(Reason::ALL.iter().filter(|reason| reason.is_complete()).all(|reason| (*reason as u32) < GROUPS[1]));
}

#[test]
fn a_code_leads_back_to_its_reason_and_others_to_none() {
    for reason in Reason::ALL {
        assert_eq!(Reason::from_code(*reason as u32), Some(*reason));
    }
    let known = (0..200).filter_map(Reason::from_code).count();
    assert_eq!(known, Reason::ALL.len());
    assert_eq!(Reason::from_code(u32::MAX), None);
}

#[test]
fn each_has_a_name_of_its_own_and_a_sentence() {
    let names: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    for reason in Reason::ALL {
        let sentence = reason.sentence();
        assert!(sentence.ends_with('.') && sentence.starts_with(char::is_uppercase), "{sentence}");
        assert!(!reason.name().is_empty() && !reason.name().starts_with(char::is_uppercase), "{}", reason.name());
    }
}

#[test]
fn each_is_told_by_the_kernel_side_or_the_agent() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut code = String::new();
    for folder in ["profiler-ebpf/src", "profiler-user/src"] {
        append(&root.join(folder), &mut code);
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let told = |reason: &Reason| {
        let name = format!("Reason::{reason:?}");
        code.match_indices(&name).any(|(at, _)| !code[at + name.len()..].starts_with(is_word))
    };
    let unused: Vec<&Reason> = Reason::ALL.iter().filter(|reason| !told(reason)).collect();
    assert!(unused.is_empty(), "nobody tells: {unused:?}");
}

/// The code of a folder, without tests and without the table itself.
fn append(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).expect("the checkout is readable") {
        let path = entry.expect("the checkout is readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            append(&path, code);
        } else if !name.ends_with("tests.rs") && !["reasons.rs", "fakes.rs"].contains(&name) {
            let text = fs::read_to_string(&path).expect("the checkout is readable");
            code.push_str(text.split("#[cfg(test)]\nmod ").next().unwrap_or_default());
        }
    }
}
