//! Tests of `encode/text/stacks.rs`.

use super::super::stacks::Stacks;
use super::judge::{Block, blocks};
use super::{hostile, named, profile, sample, text};
use crate::encode::EncodeProfile;
use crate::kind::profile::{Function, Label, Profile};
use proptest::prelude::*;

fn encoded(profile: &Profile) -> String {
    String::from_utf8(Stacks.encode(profile)).expect("UTF-8")
}

fn judged(profile: &Profile) -> Vec<Block> {
    blocks(&encoded(profile)).expect("readers accept it")
}

#[test]
fn a_page_looks_like_gos() {
    let functions = vec![named("inner", "/src/inner.c"), named("wait_for_it", ""), named("main.main", "/src/main.go")];
    let samples = vec![
        sample(&[0, 2], 1, vec![text("state", "running"), text("thread", "worker"), Label::Number("tid", 7)]),
        sample(
            &[1],
            1,
            vec![
                text("reason", "no table"),
                text("state", "sleeping"),
                text("wait", "futex"),
                Label::Number("minutes", 3),
                Label::Number("tid", 8),
            ],
        ),
        sample(&[1], 1, vec![text("state", "disk wait"), Label::Number("minutes", 0), Label::Number("tid", 9)]),
    ];
    let page = encoded(&profile(functions, samples));
    assert_eq!(Stacks.content_type(), "text/plain; charset=utf-8");
    assert_eq!(
        page,
        "goroutine 7 [running]:\n\
         inner(...)\n\t/src/inner.c:10 +0x400\n\
         inner(...)\n\t/src/inner.c:10 +0x420\n\
         main.main(...)\n\t/src/main.go:12 +0x420\n\
         \n\
         goroutine 8 [futex wait, 3 minutes]:\n\
         wait_for_it(...)\n\t/usr/bin/made%20up:0 +0x410\n\
         [no table](...)\n\t??:0 +0x0\n\
         \n\
         goroutine 9 [disk wait]:\n\
         wait_for_it(...)\n\t/usr/bin/made%20up:0 +0x410\n"
    );
    assert_eq!(blocks(&page).expect("readers accept it").len(), 3);
}

#[test]
fn a_block_always_has_a_frame_and_says_a_reason_once() {
    let last = |locations: &[usize], labels| {
        let profile = profile(vec![named("f", ""), named("[truncated]", "")], vec![sample(locations, 1, labels)]);
        judged(&profile).remove(0).frames.into_iter().map(|frame| frame.0).collect::<Vec<_>>()
    };
    assert_eq!(last(&[], vec![]), ["[no frames]"]);
    assert_eq!(last(&[], vec![text("reason", "exiting")]), ["[exiting]"]);
    assert_eq!(last(&[0], vec![text("reason", "exiting")]), ["f", "[exiting]"]);
    assert_eq!(last(&[1], vec![text("reason", "truncated")]), ["f", "[truncated]"]);
    assert_eq!(encoded(&profile(vec![named("f", "")], vec![])), "");
}

#[test]
fn names_stay_readable() {
    let shown = |name: &str, system_name: &str| {
        let function = Function { system_name: system_name.to_owned(), ..named(name, "") };
        judged(&profile(vec![function], vec![sample(&[0], 1, vec![])])).remove(0).frames.remove(0).0
    };
    let check = |name: &str, wanted: &str| assert_eq!(shown(name, name), wanted, "{name:?}");
    check("net/http.(*Server).Serve", "net/http.(*Server).Serve");
    check("gopkg.in/yaml%2ev2.Unmarshal", "gopkg.in/yaml%2ev2.Unmarshal");
    check("operator%", "operator％");
    check("a%2eb", "a％2eb");
    check("operator/", "operator／");
    check("libc.so.6+0x1234", "libc.so.6+0x1234");
    check("<fn((A, B)) as T>::call", "<fn（(A, B)） as T>::call");
    check("f)(", "f）（");
    check("created by main.main", "created_by main.main");
    check("\ngoroutine 1 [running]:", "goroutine_1 [running]:");
    check("a\nb\tc", "a\u{fffd}b\u{fffd}c");
    check(" \t", "??");
    let cpp = |name: &str, wanted: &str| assert_eq!(shown(name, "_Z1x"), wanted, "{name:?}");
    cpp("std::vector<int>::push_back(int const&)", "std::vector<int>::push_back");
    cpp("f(void (*)(int)) const", "f");
    cpp("f() const volatile &&", "f");
    cpp("Call::operator()(int)", "Call::operator()");
    cpp("Call::operator()", "Call::operator()");
    cpp("(anonymous namespace)::f()", "(anonymous namespace)::f");
    cpp("main::{lambda(int)#1}", "main::{lambda(int)#1}");
}

proptest! {
    #[test]
    fn readers_accept_every_block(
        names in prop::collection::vec((hostile(), hostile(), any::<bool>()), 1..4),
        (state, wait, reason) in (hostile(), prop::option::of(hostile()), prop::option::of(hostile())),
        (tid, minutes) in (any::<i64>(), any::<i64>()),
    ) {
        let functions: Vec<_> = names.iter().map(|(name, file, mangled)| {
            let system_name = if *mangled { "_Z1x".to_owned() } else { name.clone() };
            Function { system_name, ..named(name, file) }
        }).collect();
        let mut labels = vec![text("state", &state), Label::Number("tid", tid), Label::Number("minutes", minutes)];
        labels.extend(wait.iter().map(|wait| text("wait", wait)));
        labels.extend(reason.iter().map(|reason| text("reason", reason)));
        let all: Vec<_> = (0..functions.len()).collect();
        let least = functions.len() + 1;
        let samples = vec![sample(&all, 1, labels.clone()), sample(&[0], 1, labels), sample(&[], 1, vec![])];
        // By number, and those without one first.
        let blocks = blocks(&encoded(&profile(functions, samples))).map_err(TestCaseError::fail)?;
        prop_assert_eq!(blocks.len(), 3);
        let first = &blocks[1];
        prop_assert!(first.frames.len() >= least);
        prop_assert_eq!(first.id, u64::try_from(tid).unwrap_or(0));
        prop_assert_eq!(first.minutes, u64::try_from(minutes).ok().filter(|minutes| *minutes >= 1));
    }
}
