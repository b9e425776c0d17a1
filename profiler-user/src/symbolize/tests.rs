//! Tests of `symbolize`.

use super::fakes::{LIBC, PROGRAM, UNREADABLE, image, kernel, native, symbolizer};
use super::*;
use std::sync::atomic::Ordering;

fn first_name(names: &Names, frame: Frame) -> Option<String> {
    match names.get(&frame.into())?.as_ref() {
        Symbolized::Frames(frames) => frames.first().map(|frame| frame.name.clone()),
        _ => None,
    }
}

#[test]
fn a_file_is_asked_once_and_its_answers_are_kept() {
    let (symbolizer, files) = symbolizer();
    let frames = [native(PROGRAM, 0x1010), native(PROGRAM, 0x1410), native(PROGRAM, 0x1410), native(LIBC, 0x2_8010)];
    let names = symbolizer.names(frames.map(CodePoint::from));
    assert_eq!(first_name(&names, native(PROGRAM, 0x1410)).as_deref(), Some("main"));
    assert_eq!(files.calls.load(Ordering::SeqCst), 2);
    assert_eq!(symbolizer.names(frames.map(CodePoint::from)), names);
    assert_eq!(files.calls.load(Ordering::SeqCst), 2);
    assert_eq!(symbolizer.stats().entries, 3);
}

#[test]
fn many_addresses_are_asked_in_chunks() {
    let (symbolizer, files) = symbolizer();
    let frames = (0..=CHUNK as u64 * 2).map(|offset| native(PROGRAM, offset));
    assert_eq!(symbolizer.names(frames.map(CodePoint::from)).len(), CHUNK * 2 + 1);
    assert_eq!(files.calls.load(Ordering::SeqCst), 3);
}

#[test]
fn what_has_no_name_is_remembered_too() {
    let (symbolizer, files) = symbolizer();
    for _ in 0..2 {
        let names = symbolizer.names([native(PROGRAM, 0x4000).into()]);
        assert_eq!(*names[&native(PROGRAM, 0x4000).into()], Symbolized::Missing(Reason::NoSymbol));
    }
    assert_eq!(files.calls.load(Ordering::SeqCst), 1);
}

#[test]
fn a_file_that_fails_is_asked_once_and_costs_only_its_own_names() {
    let (symbolizer, files) = symbolizer();
    let frames = || (0..CHUNK as u64 + 9).map(|offset| native(UNREADABLE, offset)).chain([native(PROGRAM, 0x1410)]);
    for _ in 0..2 {
        let names = symbolizer.names(frames().map(CodePoint::from));
        assert_eq!(names.len(), CHUNK + 10);
        assert_eq!(*names[&native(UNREADABLE, 7).into()], Symbolized::Missing(Reason::NotOpened));
        assert_eq!(first_name(&names, native(PROGRAM, 0x1410)).as_deref(), Some("main"));
    }
    assert_eq!(files.calls.load(Ordering::SeqCst), 2);
}

#[test]
fn files_for_which_no_time_is_left_are_not_asked_and_may_be_later() {
    let (symbolizer, files) = symbolizer();
    let unknown = HashMap::from([(PROGRAM, vec![FileOffset(0x1410)])]);
    let mut names = Names::new();
    symbolizer.ask_files(unknown.clone(), Instant::now(), &mut names);
    assert_eq!(*names[&native(PROGRAM, 0x1410).into()], Symbolized::Missing(Reason::NotAsked));
    assert_eq!(files.calls.load(Ordering::SeqCst), 0);
    symbolizer.ask_files(unknown, Instant::now() + FILES_PATIENCE, &mut names);
    assert_eq!(first_name(&names, native(PROGRAM, 0x1410)).as_deref(), Some("main"));
}

#[test]
fn frames_outside_of_files_never_reach_the_worker() {
    let (symbolizer, files) = symbolizer();
    let pseudo = Frame::Pseudo { reason: Reason::InExec };
    let names =
        symbolizer.names([kernel(0x5010), kernel(0x9999), Frame::Jit { address: 0x7000 }, pseudo].map(CodePoint::from));
    assert_eq!(first_name(&names, kernel(0x5010)).as_deref(), Some("do_syscall_64"));
    assert_eq!(*names[&kernel(0x9999).into()], Symbolized::Missing(Reason::NoSymbol));
    assert_eq!(*names[&pseudo.into()], Symbolized::Missing(Reason::InExec));
    assert_eq!((names.len(), files.calls.load(Ordering::SeqCst)), (4, 0));
}

#[test]
fn names_of_made_code_belong_to_one_image() {
    let (symbolizer, _) = symbolizer();
    let frame = Frame::Jit { address: 0x7fff_f000_8010 };
    let mut other = image();
    other.process.pid.0 += 1;
    let (own, foreign) = (CodePoint::new(frame, image()), CodePoint::new(frame, other));
    let names = symbolizer.names([own, foreign]);
    assert!(matches!(&*names[&own], Symbolized::Frames(frames) if frames[0].name == "hot"));
    assert_eq!(*names[&foreign], Symbolized::Missing(Reason::ProcessGone));
    assert_eq!(symbolizer.stats().entries, 0, "another moment's code may lie there");
}
