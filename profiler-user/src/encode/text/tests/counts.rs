//! Tests of `encode/text/counts.rs`.

use super::super::counts::Counts;
use super::{hostile, named, profile, sample, text};
use crate::encode::EncodeProfile;
use crate::kind::profile::{Label, Profile};
use proptest::prelude::*;

const GOROUTINE: Counts = Counts { name: "goroutine" };

fn encoded(profile: &Profile) -> String {
    String::from_utf8(GOROUTINE.encode(profile)).expect("UTF-8")
}

/// Count and addresses.
type Record = (i64, Vec<u64>);

/// What pprof's reader of this format makes of it: the total of the first line, and each record.
fn read(page: &str) -> Result<(i64, Vec<Record>), String> {
    let mut lines = page.lines();
    let first = lines.next().ok_or("no line")?;
    let total = first.strip_prefix("goroutine profile: total ").and_then(|total| total.parse().ok()).ok_or(first)?;
    let records = lines.filter(|line| !matches!(line.trim().chars().next(), None | Some('#'))).map(|line| {
        let (count, addresses) = line.split_once(" @ ").ok_or(line)?;
        let addresses = addresses.split(' ').map(|address| {
            let digits =
                address.strip_prefix("0x").filter(|digits| !digits.contains(char::is_uppercase)).ok_or(line)?;
            u64::from_str_radix(digits, 16).map_err(|_error| line)
        });
        Ok((count.parse().map_err(|_error| line)?, addresses.collect::<Result<_, &str>>()?))
    });
    Ok((total, records.collect::<Result<_, &str>>()?))
}

#[test]
fn a_page_looks_like_gos() {
    let functions = vec![named("inner", "/src/inner.c"), named("wait_for_it", ""), named("main", "/src/main.c")];
    let samples = vec![
        sample(&[0, 2], 1, vec![text("thread", "b")]),
        sample(&[1, 2], 2, vec![text("thread", "a\"\n"), text("state", "running"), Label::Number("tid", 7)]),
        sample(&[1, 2], 3, vec![text("thread", "a\"\n"), text("state", "running"), Label::Number("tid", 8)]),
        sample(&[0, 2], 1, vec![text("thread", "a")]),
    ];
    assert_eq!(GOROUTINE.content_type(), "text/plain; charset=utf-8");
    assert_eq!(
        encoded(&profile(functions, samples)),
        "goroutine profile: total 7\n\
         5 @ 0x1011 0x1021\n\
         # labels: {\"state\":\"running\", \"thread\":\"a\\\"\\n\"}\n\
         #\t0x1010\twait_for_it\t/usr/bin/made up:0\n\
         #\t0x1020\tinner\t\t/src/inner.c:10\n\
         #\t0x1020\tmain\t\t/src/main.c:12\n\n\
         1 @ 0x1001 0x1021\n\
         # labels: {\"thread\":\"a\"}\n\
         #\t0x1000\tinner\t/src/inner.c:10\n\
         #\t0x1020\tinner\t/src/inner.c:10\n\
         #\t0x1020\tmain\t/src/main.c:12\n\n\
         1 @ 0x1001 0x1021\n\
         # labels: {\"thread\":\"b\"}\n\
         #\t0x1000\tinner\t/src/inner.c:10\n\
         #\t0x1020\tinner\t/src/inner.c:10\n\
         #\t0x1020\tmain\t/src/main.c:12\n\n"
    );
}

#[test]
fn every_record_has_an_address_and_counts_something() {
    let samples = vec![sample(&[], 2, vec![]), sample(&[0], 0, vec![]), sample(&[0, 0], -3, vec![])];
    let page = encoded(&profile(vec![named("main", "")], samples));
    assert_eq!(page, "goroutine profile: total 2\n2 @ 0x1\n#\t0x0\n\n");
    assert_eq!(encoded(&profile(vec![named("main", "")], vec![])), "goroutine profile: total 0\n");
}

proptest! {
    #[test]
    fn names_never_become_records(name in hostile(), file in hostile(), label in hostile(), count in 1_i64..9) {
        let samples = vec![sample(&[0, 1], count, vec![text("thread", &label)]), sample(&[], 1, vec![])];
        let page = encoded(&profile(vec![named(&name, &file), named(&file, &name)], samples));
        let (total, mut records) = read(&page).map_err(TestCaseError::fail)?;
        records.sort_unstable();
        let mut wanted = vec![(count, vec![0x1001, 0x1011]), (1, vec![1])];
        wanted.sort_unstable();
        prop_assert_eq!(total, count + 1);
        prop_assert_eq!(records, wanted);
    }
}
