//! `docs/security.md` names a test for each threat; each of them is there.

use std::path::Path;

/// A test that the page names, and the file in which it says that it is.
fn named(page: &str) -> Vec<(&str, &str)> {
    let mut named = Vec::new();
    let mut rest = page;
    while let Some((before, behind)) = rest.split_once("` (") {
        let test = before.rsplit('`').next().unwrap_or_default();
        let (file, behind) = behind.split_once(')').unwrap_or_default();
        if Path::new(file).extension().is_some_and(|extension| extension == "rs") {
            named.push((test, file));
        }
        rest = behind;
    }
    named
}

/// A function of that name follows an attribute that makes it a test.
fn is_test(source: &str, name: &str) -> bool {
    let signature = format!("fn {name}(");
    let Some(at) = source.find(&signature) else { return false };
    // The rest of its own line, and attributes.
    let before = source[..at].trim_end().trim_end_matches("async").trim_end();
    let mut attributes = before.lines().rev().map(str::trim).take_while(|line| line.starts_with("#["));
    attributes.any(|attribute| attribute == "#[test]" || attribute.starts_with("#[tokio::test"))
}

#[test]
fn each_threat_has_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/security.md")).expect("docs/security.md");
    let tests = named(&page);
    assert!(tests.len() >= 40, "{} tests", tests.len());
    for (test, file) in tests {
        let source = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(is_test(&source, test), "{file} has no test {test}");
    }
    // Each row of a table of threats names one.
    let tables = page.split("| threat |").skip(1).flat_map(|table| table.lines().skip(2));
    for row in tables.take_while(|line| !line.starts_with("## What is left")).filter(|line| line.starts_with('|')) {
        assert!(!named(row).is_empty(), "no test in: {row}");
    }
}

#[test]
fn what_is_no_test_is_not_taken_for_one() {
    let source = "#[test]\nfn one() {}\n\nfn helper() {}\n    #[test]\n        fn any(x in 0..3) {}\n";
    assert!(is_test(source, "one") && !is_test(source, "helper") && !is_test(source, "missing"));
    assert_eq!(named("| a | b | `one` (a.rs), `two` (b/c.rs) |"), [("one", "a.rs"), ("two", "b/c.rs")]);
}
