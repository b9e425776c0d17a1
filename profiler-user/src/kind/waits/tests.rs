//! Waits as somebody asks for them, over the fakes of the border.

use super::*;
use crate::event::{Call, Class, Event, Sample, Tid, UserIds, WaitEnd};
use crate::kind::fakes::World;
use crate::kind::subject::Known;
use crate::symbolize::fakes::{PID, comm, image, usual_stack};
use profiler_ebpf::reasons::Reason;

const FUTEX: Call = Call(202);
const READ: Call = Call(0);

fn asked(what: What, parameters: &str) -> Result<Request, KindError> {
    let pairs = parameters.split('&').filter_map(|pair| pair.split_once('='));
    let parameters = Parameters(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
    Request::parse(what, &parameters, 300)
}

fn sample(class: Class, time: MonoTime, value: u64) -> Event {
    Event::Sample(Sample {
        class,
        status: Reason::Complete,
        kernel_mode: true,
        kernel_thread: false,
        cpu: 0,
        image: image(),
        tid: Tid(PID),
        time,
        value,
        late_ticks: 0,
        uids: UserIds { real: 1000, effective: 1000, saved: 1000 },
        thread: comm("demo"),
        comm: comm("demo"),
        bad_pc: 0,
        frames: usual_stack().into_iter().map(Into::into).collect(),
    })
}

/// A wait of `length` ns that began at `since`, of which the last `queued` ns were for a CPU.
fn wait(call: Call, since: u64, (length, queued): (u64, u64), (weight, looked): (u32, bool)) -> [Event; 2] {
    let end = WaitEnd {
        tid: Tid(PID),
        pid: image().process.pid,
        since: MonoTime(since),
        end: MonoTime(since + length),
        queued,
        call,
        looked,
    };
    [sample(Class::Wait { call, weight }, MonoTime(since), 0), Event::WaitEnd(end)]
}

fn about() -> About {
    About { subject: Subject::Process(Known { id: image().process, alive: true }), viewer: Viewer::All }
}

fn now(world: &World, what: What, parameters: &str) -> Profile {
    let request = asked(what, parameters).expect("valid");
    let watched = Watched { since: MonoTime(1), is_new: false };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let counted = runtime.block_on(counted_now(&world.profiler, about(), request, watched)).expect("counted");
    profile(&world.profiler, about(), request, counted)
}

fn values(profile: &Profile) -> Vec<Vec<i64>> {
    let mut values: Vec<_> = profile.samples.iter().map(|sample| sample.values.clone()).collect();
    values.sort();
    values
}

#[test]
fn parameters_are_read_strictly() {
    let wanted = |what, text: &str| asked(what, text).map(Request::wanted).ok();
    assert_eq!(wanted(What::Block, ""), Some(Wanted { sync: true, ..Wanted::default() }));
    let all = Wanted { sync: true, all: true, exact: true, ..Wanted::default() };
    assert_eq!(wanted(What::OffCpu, "mode=exact"), Some(all));
    assert_eq!(wanted(What::Block, "kernel=1"), wanted(What::Block, ""), "none of these is on a lock of the kernel");
    let kernel = Wanted { wakers: true, kernel: true, ..Wanted::default() };
    assert_eq!(wanted(What::Mutex, "kernel=1"), Some(kernel));
    assert_eq!(wanted(What::Mutex, "wait=all"), Some(Wanted { wakers: true, ..Wanted::default() }));
    for bad in ["wait=none", "mode=fast", "kernel=yes", "ago=x", "seconds=0", "seconds=301"] {
        assert!(wanted(What::Block, bad).is_none(), "{bad}");
    }
    assert!(wanted(What::DeltaBlock, "seconds=1").is_none());
}

#[test]
fn a_short_wait_counts_for_those_that_were_not_kept_and_a_looked_at_one_once() {
    let world = World::new();
    let push = |events: [Event; 2]| assert!(world.profiler.recorder.try_push(events.into()));
    push(wait(FUTEX, 1_000, (300, 100), (8, false)));
    push(wait(FUTEX, 5_000, (500_000_000, 0), (8, true)));
    push(wait(READ, 900_000_000, (77, 0), (1, false)));
    // The end may come before its beginning, whose stack was walked late.
    let [begin, end] = wait(FUTEX, 990_000_000, (1_000, 0), (2, false));
    push([end, begin]);
    assert_eq!(values(&now(&world, What::Block, "")), [[11, 8 * 200 + 500_000_000 + 2 * 1_000]]);
    let all = now(&world, What::OffCpu, "");
    assert_eq!(values(&all), [[1, 77], [8, 800], [11, 500_003_600]], "run queue, read, futex");
    let reasons: Vec<_> = all.samples.iter().map(|sample| sample.labels.clone()).collect();
    for reason in ["run queue", "io", "futex"] {
        let label = Label::Text("reason", reason.to_owned());
        assert!(reasons.iter().any(|labels| labels.contains(&label)), "{reason}: {reasons:?}");
    }
}

#[test]
fn a_wait_that_goes_on_counts_up_to_now_and_never_less_later() {
    let world = World::new();
    let (time, _) = world.profiler.processes.now();
    let since = time.0 - 700_000_000;
    let [begin, mut end] = wait(FUTEX, since, (0, 0), (0, true));
    assert!(world.profiler.recorder.try_push(vec![begin]));
    let shown = values(&now(&world, What::Block, ""));
    assert!(shown[0][0] == 1 && shown[0][1] >= 700_000_000, "{shown:?}");
    let Event::WaitEnd(ended) = &mut end else { panic!("an end") };
    // It was woken before that question, and has had no CPU since.
    (ended.end, ended.queued) = (MonoTime(since + 900_000_000), 300_000_000);
    assert!(world.profiler.recorder.try_push(vec![end]));
    let later = values(&now(&world, What::Block, ""));
    assert!(later[0][0] == 1 && later[0][1] >= shown[0][1], "{later:?} after {shown:?}");
}

#[test]
fn the_difference_of_two_questions_is_what_came_between() {
    let world = World::new();
    let push = |since, length| {
        assert!(world.profiler.recorder.try_push(wait(FUTEX, since, (length, 0), (1, false)).into()));
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let ask = || {
        let request = asked(What::DeltaBlock, "").expect("valid");
        runtime.block_on(collect_for(&world.profiler, Viewer::All, about().subject, request)).expect("a profile")
    };
    push(1_000, 50);
    assert_eq!(values(&ask()), [[1, 50]], "of all that was watched");
    push(2_000, 70);
    push(3_000, 7);
    assert_eq!(values(&ask()), [[2, 77]]);
    assert!(values(&ask()).is_empty());
}

#[test]
fn wakes_are_scaled_and_ends_of_threads_kept_apart() {
    let world = World::new();
    let (time, _) = world.profiler.processes.now();
    let wake = |call, count, value| sample(Class::Wake { call, count }, time, value);
    let events = vec![wake(FUTEX, 3 << 16, 1_000), wake(FUTEX, 1 << 16, 50_000), wake(Call(60), 1 << 16, 9_000)];
    assert!(world.profiler.recorder.try_push(events));
    let held = now(&world, What::Mutex, "");
    assert_eq!(values(&held), [[4, 53_000]]);
    assert!(held.comments.iter().any(|line| line.starts_with("1 waits (0.000 s) ended by")), "{:?}", held.comments);
    assert_eq!(values(&now(&world, What::Mutex, "wait=all")), [[1, 9_000], [4, 53_000]]);
}

#[test]
fn the_past_is_told_where_it_is_recorded() {
    let world = World::new();
    let (time, _) = world.profiler.processes.now();
    let request = asked(What::Block, "ago=0&seconds=60").expect("valid");
    let ask = || past(&world.profiler, about(), request, 0, 60);
    assert!(matches!(ask(), Err(KindError::NotFound(_))));
    let wait = wait(FUTEX, time.0 - 5_000_000_000, (1_000_000, 0), (4, false));
    assert!(world.profiler.recorder.try_push(wait.into()));
    let told = profile(&world.profiler, about(), request, ask().expect("recorded"));
    assert_eq!(values(&told), [[4, 4_000_000]]);
    assert!(told.duration_nanos > 0);
}
