//! Tests of `watch` against a kernel side that writes down what it is told.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Base(u64, u64),
    Process(u32, Option<u64>),
}

#[derive(Clone, Default)]
struct Kernel {
    calls: Arc<Mutex<Vec<Call>>>,
    refuses: Arc<Mutex<bool>>,
}

impl Kernel {
    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    fn answer(&self, call: Call) -> io::Result<()> {
        self.calls.lock().unwrap().push(call);
        if *self.refuses.lock().unwrap() { Err(io::Error::other("refused")) } else { Ok(()) }
    }
}

impl RateControl for Kernel {
    fn set_base(&mut self, timer_period_ns: u64, base_period_ns: u64) -> io::Result<()> {
        self.answer(Call::Base(timer_period_ns, base_period_ns))
    }

    fn set_process(&mut self, pid: Pid, period_ns: Option<u64>) -> io::Result<()> {
        self.answer(Call::Process(pid.0, period_ns))
    }
}

const AT_19: u64 = 52_631_579;
const AT_99: u64 = 10_101_010;
const AT_999: u64 = 1_001_001;

fn start(base_hz: u32) -> (Watch, Kernel) {
    let kernel = Kernel::default();
    (Watch::start(WatchConfig { base_hz }, Box::new(kernel.clone())), kernel)
}

fn process(pid: u32) -> Target {
    Target::Process(ProcessId { pid: Pid(pid), start: 1 })
}

#[test]
fn rates_are_between_1_and_999() {
    assert_eq!([0, 1, 999, 1_000, 65_537].map(|hz| Hz::new(hz).map(Hz::get)), [None, Some(1), Some(999), None, None]);
    assert_eq!([0, 1, 999, 1_000, u32::MAX].map(|hz| Hz::from(hz).get()), [1, 1, 999, 999, 999]);
    assert_eq!([1, 19, 99, 999].map(|hz| Hz::from(hz).period_ns()), [IDLE_TIMER, AT_19, AT_99, AT_999]);
}

#[test]
fn a_request_for_a_process_raises_the_timer_first_and_lowers_it_last() {
    let (watch, kernel) = start(19);
    assert_eq!(kernel.take(), [Call::Base(AT_19, AT_19)]);
    let guard = watch.sample(process(7), 99);
    assert_eq!(kernel.take(), [Call::Base(AT_99, AT_19), Call::Process(7, Some(AT_99))]);
    assert_eq!((watch.rate_of(Pid(7)), watch.rate_of(Pid(8))), (99, 19));
    drop(guard);
    assert_eq!(kernel.take(), [Call::Process(7, None), Call::Base(AT_19, AT_19)]);
    assert_eq!(watch.rate_of(Pid(7)), 19);
}

#[test]
fn a_request_for_the_host_raises_all_and_leaves_higher_rates_alone() {
    let (watch, kernel) = start(19);
    let _low = watch.sample(process(7), 50);
    let _high = watch.sample(process(8), 999);
    kernel.take();
    let host = watch.sample(Target::Host, 99);
    assert_eq!(kernel.take(), [Call::Base(AT_999, AT_99), Call::Process(7, Some(AT_99))]);
    assert_eq!([7, 8, 9].map(|pid| watch.rate_of(Pid(pid))), [99, 999, 99]);
    drop(host);
    assert_eq!(kernel.take(), [Call::Process(7, Some(20_000_000)), Call::Base(AT_999, AT_19)]);
}

#[test]
fn with_the_recorder_off_and_nobody_watching_the_timer_idles() {
    let (watch, kernel) = start(0);
    assert_eq!(kernel.take(), [Call::Base(IDLE_TIMER, 0)]);
    assert_eq!(watch.rate_of(Pid(7)), 0);
    let guard = watch.sample(process(7), 99);
    assert_eq!(kernel.take(), [Call::Base(AT_99, 0), Call::Process(7, Some(AT_99))]);
    assert_eq!((watch.rate_of(Pid(7)), watch.rate_of(Pid(8))), (99, 0));
    drop(guard);
    assert_eq!(kernel.take(), [Call::Process(7, None), Call::Base(IDLE_TIMER, 0)]);
    drop(watch.sample(Target::Host, 99));
    assert_eq!(kernel.take(), [Call::Base(AT_99, AT_99), Call::Base(IDLE_TIMER, 0)]);
}

#[test]
fn many_watchers_cost_what_one_costs() {
    let calls_with = |watchers: usize, target: Target| {
        let (watch, kernel) = start(19);
        let guards: Vec<WatchGuard> = (0..watchers).map(|_| watch.sample(target, 99)).collect();
        assert_eq!(watch.counts().requests, watchers as u64);
        drop(guards);
        assert_eq!(watch.counts(), WatchCounts::default());
        kernel.take()
    };
    for target in [Target::Host, process(7)] {
        assert_eq!(calls_with(2, target), calls_with(1, target));
        assert_eq!(calls_with(500, target), calls_with(1, target));
    }
}

#[test]
fn the_highest_of_several_rates_is_in_force_in_whatever_order_they_end() {
    let (watch, kernel) = start(19);
    let slow = watch.sample(process(7), 50);
    let fast = watch.sample(process(7), 999);
    assert_eq!(watch.rate_of(Pid(7)), 999);
    kernel.take();
    drop(slow);
    assert_eq!(kernel.take(), []);
    drop(fast);
    assert_eq!(watch.rate_of(Pid(7)), 19);
}

#[test]
fn a_refused_rate_is_counted_is_not_in_force_and_is_tried_again() {
    let (watch, kernel) = start(19);
    *kernel.refuses.lock().unwrap() = true;
    let first = watch.sample(process(7), 99);
    assert_eq!((watch.counts().refused, watch.rate_of(Pid(7))), (2, 19));
    *kernel.refuses.lock().unwrap() = false;
    kernel.take();
    let _second = watch.sample(process(7), 99);
    assert_eq!(kernel.take(), [Call::Base(AT_99, AT_19), Call::Process(7, Some(AT_99))]);
    drop(first);
    assert_eq!(watch.rate_of(Pid(7)), 99);
}

#[test]
fn a_refused_end_is_made_good_at_the_next_request() {
    let (watch, kernel) = start(19);
    let guard = watch.sample(process(7), 99);
    *kernel.refuses.lock().unwrap() = true;
    drop(guard);
    assert_eq!(watch.rate_of(Pid(7)), 99);
    *kernel.refuses.lock().unwrap() = false;
    drop(watch.sample(process(8), 50));
    assert_eq!((watch.rate_of(Pid(7)), watch.counts().processes), (19, 0));
    assert_eq!(kernel.take().last(), Some(&Call::Base(AT_19, AT_19)));
}
