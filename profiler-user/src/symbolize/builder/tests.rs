//! Tests of `symbolize/builder`.

use super::*;
use crate::event::Tid;
use crate::symbolize::fakes::{
    LIBC, PROGRAM, UNREADABLE, image, kernel, mappings, native, row, symbolizer, usual_stack,
};

fn build_rows(rows: &[Row], labels: Labels) -> Built {
    let real = mappings();
    let addresses = if labels == Labels::Threads { Addresses::Real(&real) } else { Addresses::Synthetic };
    let (symbolizer, _) = symbolizer();
    build(&symbolizer, &Input { rows, more: &[], labels, addresses, main: None, kernel: true })
}

fn names(built: &Built, sample: usize) -> Vec<&str> {
    let lines = built.samples[sample].locations.iter().flat_map(|location| &built.locations[*location].lines);
    lines.map(|line| built.functions[line.function].name.as_str()).collect()
}

#[test]
fn a_stack_has_its_names_and_inlined_calls() {
    let built = build_rows(&[row(&usual_stack())], Labels::Threads);
    let wanted =
        "do_syscall_64 memcpy Vec<int>::push(int) work(std::vector<int>&) main __libc_start_main _start".to_owned();
    assert_eq!(names(&built, 0).join(" "), wanted);
    assert_eq!(built.mappings[0].file, "/usr/bin/demo");
    assert_eq!(built.samples[0].values, [1, 10_000_000]);
}

#[test]
fn equal_stacks_of_a_thread_are_one_sample() {
    let mut other = row(&usual_stack());
    other.tid = Tid(4712);
    let built = build_rows(&[row(&usual_stack()), row(&usual_stack()), other], Labels::Threads);
    let counts: Vec<_> = built.samples.iter().map(|sample| sample.values[0]).collect();
    assert_eq!(counts, [2, 1]);
    assert_eq!(built.locations.len(), usual_stack().len());
}

#[test]
fn labels_of_the_host_name_the_process() {
    let mut incomplete = row(&usual_stack());
    incomplete.status = Reason::Truncated;
    let built = build_rows(&[incomplete], Labels::Processes);
    let text = |key, text: &str| Label::Text(key, text.to_owned());
    let wanted = [
        text("comm", "demo"),
        text("pid", "4711"),
        text("reason", "truncated"),
        text("thread", "demo"),
        Label::Number("tid", 4711),
    ];
    assert_eq!(built.samples[0].labels, wanted);
    assert_eq!(built.mappings[0].file, "[kernel.kallsyms]");
}

#[test]
fn frames_without_a_name_say_where_they_are() {
    let hidden = Frame::Pseudo { reason: Reason::KernelHidden };
    let stack = [
        hidden,
        kernel(0x9999),
        Frame::Jit { address: 0x7fff_f000_1234 },
        native(UNREADABLE, 0x99),
        native(LIBC, 0x3_0000),
    ];
    let built = build_rows(&[row(&stack)], Labels::Threads);
    let wanted =
        ["[kernel]", "[kernel.kallsyms]+0x9999", "[anonymous code: no symbol]", "tool+0x99", "libc.so.6+0x30000"];
    assert_eq!(names(&built, 0), wanted);
}

#[test]
fn addresses_of_a_function_without_a_name_are_one_function() {
    let stack = [0x2_b000, 0x2_b010, 0x2_b0ff, 0x2_b100].map(|offset| native(LIBC, offset));
    let built = build_rows(&[row(&stack)], Labels::Threads);
    let (own, other) = ("libc.so.6+0x2b000", "libc.so.6+0x2b100");
    assert_eq!(names(&built, 0), [own, own, own, other]);
    assert_eq!(built.functions.len(), 2);
    let distances: Vec<u64> = built.locations.windows(2).map(|pair| pair[1].address - pair[0].address).collect();
    assert_eq!(distances, [0x10, 0xef, 1], "addresses stay what they are");
}

#[test]
fn a_stack_without_frames_says_why() {
    let mut empty = row(&[]);
    empty.status = Reason::InExec;
    let built = build_rows(&[empty], Labels::Threads);
    assert_eq!(names(&built, 0), ["[in exec]"]);
    assert_eq!(built.mappings[built.locations[0].mapping].file, "[pprofd]");
}

#[test]
fn without_kernel_frames_the_time_stays() {
    let (symbolizer, _) = symbolizer();
    let rows = [row(&usual_stack()), row(&usual_stack()[1..])];
    let addresses = Addresses::Synthetic;
    let input = Input { rows: &rows, more: &[], labels: Labels::Threads, addresses, main: None, kernel: false };
    let built = build(&symbolizer, &input);
    assert_eq!(built.samples.len(), 1);
    assert_eq!(built.samples[0].values, [2, 20_000_000]);
    assert_eq!(names(&built, 0)[0], "memcpy");
}

#[test]
fn the_main_binary_is_found_although_no_frame_is_in_it() {
    let (symbolizer, _) = symbolizer();
    let mut of_thread = row(&[native(LIBC, 0x2_8010)]);
    of_thread.tid = Tid(4712);
    let (rows, real) = ([of_thread], mappings());
    let check = |main: Option<&str>, wanted: &str| {
        let addresses = Addresses::Real(&real);
        let input = Input { rows: &rows, more: &[], labels: Labels::Threads, addresses, main, kernel: true };
        assert_eq!(build(&symbolizer, &input).mappings[0].file, wanted, "{main:?}");
    };
    check(Some("/usr/bin/demo"), "/usr/bin/demo");
    check(Some("./demo"), "/usr/bin/demo");
    check(Some("/usr/lib/x86_64-linux-gnu/libc.so.6"), "/usr/lib/x86_64-linux-gnu/libc.so.6");
    check(None, "/usr/bin/demo");
}

#[test]
fn a_python_without_a_perf_map_shows_its_loop_only() {
    let (mut interpreted, mut cut) = (row(&[native(LIBC, 0x2_a010)]), row(&[native(LIBC, 0x2_a010)]));
    interpreted.count = 3;
    cut.status = Reason::TablePending;
    let named = row(&[native(LIBC, 0x2_a010), Frame::Jit { address: 0x7fff_f000_8010 }]);
    let built = build_rows(&[interpreted, cut, named], Labels::Threads);
    assert_eq!(built.native_only, BTreeMap::from([((image(), Reason::AnonymousCode), 3)]));
}

#[test]
fn pprof_is_kept_from_stripping_names() {
    let built = build_rows(&[row(&[native(PROGRAM, 0x1210)])], Labels::Threads);
    let system_names: Vec<_> = built.functions.iter().map(|function| function.system_name.as_str()).collect();
    assert_eq!(system_names, ["", "_Z4workRSt6vectorIiSaIiEE"]);
}

#[test]
fn code_that_a_process_made_has_the_names_of_its_own_map() {
    let hot = Frame::Jit { address: 0x7fff_f000_8010 };
    let mut before = row(&[hot]);
    before.image.exec_id = 0;
    before.tid = Tid(4712);
    let built = build_rows(&[row(&[hot, native(PROGRAM, 0x1410)]), before], Labels::Threads);
    let mut stacks: Vec<String> = (0..built.samples.len()).map(|sample| names(&built, sample).join(" ")).collect();
    stacks.sort();
    assert_eq!(stacks, ["[anonymous code: process gone]", "hot main"]);
    let mut old = image();
    old.exec_id = 0;
    assert_eq!(built.native_only, BTreeMap::from([((old, Reason::ProcessGone), 1)]));
    let function = built.functions.iter().find(|function| function.name == "hot").expect("named");
    assert_eq!((function.file.as_str(), function.start_line), ("/srv/app.js", 7));
    let mapping = built.locations.iter().find(|location| location.address == 0x7fff_f000_8010).expect("real address");
    assert_eq!(built.mappings[mapping.mapping].file, "//anon");
}
