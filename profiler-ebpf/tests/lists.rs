//! The closed lists, reasons and counters: numbers, texts, and that each is told by somebody.
#![allow(clippy::expect_used, reason = "a test may fail")]

use profiler_ebpf::abi::counters::Counter;
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
fn numbers_of_counters_rise_and_none_is_a_reason() {
    let numbers: Vec<u32> = Counter::ALL.iter().map(|counter| *counter as u32).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(numbers.iter().all(|number| Reason::from_code(*number).is_none()), "{numbers:?}");
}

#[test]
fn each_counter_has_a_name_of_its_own_and_a_help() {
    let names: BTreeSet<&str> = Counter::ALL.iter().map(|counter| counter.name()).collect();
    assert_eq!(names.len(), Counter::ALL.len());
    for counter in Counter::ALL {
        let is_metric = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(counter.name().starts_with("kernel_") && counter.name().chars().all(is_metric), "{}", counter.name());
        assert!(counter.help().starts_with(char::is_uppercase) && !counter.help().ends_with('.'), "{}", counter.help());
    }
}

#[test]
fn each_is_told_by_the_kernel_side_or_the_agent() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut code = String::new();
    append(&root.join("profiler-ebpf/src"), &mut code);
    let counters = Counter::ALL.iter().map(|counter| format!("Counter::{counter:?}"));
    assert_eq!(untold(&code, counters), [""; 0]);
    append(&root.join("profiler-user/src"), &mut code);
    let reasons = Reason::ALL.iter().map(|reason| format!("Reason::{reason:?}"));
    assert_eq!(untold(&code, reasons), [""; 0]);
}

/// The names that the code does not hold as words.
fn untold(code: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let told = |name: &String| code.match_indices(name).any(|(at, _)| !code[at + name.len()..].starts_with(is_word));
    names.filter(|name| !told(name)).collect()
}

/// The code of a folder, without tests and without the table itself.
fn append(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).expect("the checkout is readable") {
        let path = entry.expect("the checkout is readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            append(&path, code);
        } else if !name.ends_with("tests.rs") && !["reasons.rs", "counters.rs", "fakes.rs"].contains(&name) {
            let text = fs::read_to_string(&path).expect("the checkout is readable");
            code.push_str(text.split("#[cfg(test)]\nmod ").next().unwrap_or_default());
        }
    }
}
