//! A small host for tests of kinds and of HTTP: the real recorder and watch, over the fakes of the border.

use super::profiler::Profiler;
use crate::event::{Class, Event, Frame, FrameWord, MonoTime, Pid, ProcessFact, ProcessId, Sample, Tid, UserIds};
use crate::record::{Recorder, RecorderConfig};
use crate::symbolize::fakes::{EPOCH_MONO, FakeFiles, FakeProcesses, PID, comm, image, symbolizer, usual_stack};
use crate::symbolize::sources::Processes;
use crate::watch::waits::{Seen, WaitControl, WaitWatches, Wanted};
use crate::watch::{RateControl, Watch, WatchConfig};
use profiler_ebpf::reasons::Reason;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Periods in force, as the kernel side would have them.
#[derive(Clone, Default)]
pub(crate) struct Rates(pub(crate) Arc<Mutex<HashMap<Pid, u64>>>);

impl RateControl for Rates {
    fn set_base(&mut self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_process(&mut self, pid: Pid, period_ns: Option<u64>) -> io::Result<()> {
        let mut rates = self.0.lock().expect("no test panics with it");
        match period_ns {
            Some(period) => _ = rates.insert(pid, period),
            None => _ = rates.remove(&pid),
        }
        Ok(())
    }
}

/// A kernel side that takes all orders.
struct NoWaits;

impl WaitControl for NoWaits {
    fn set(&mut self, _: Option<Pid>, _: Option<Wanted>) -> io::Result<()> {
        Ok(())
    }

    fn attach(&mut self, _: Seen, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
}

impl Rates {
    pub(crate) fn of(&self, pid: u32) -> Option<u64> {
        self.0.lock().expect("no test panics with it").get(&Pid(pid)).copied()
    }
}

pub(crate) struct World {
    pub(crate) profiler: Profiler,
    pub(crate) processes: Arc<FakeProcesses>,
    pub(crate) files: Arc<FakeFiles>,
    pub(crate) rates: Rates,
}

/// When recording began.
const BEGAN: u64 = EPOCH_MONO - 20_000_000_000;

/// Exited long ago; of it two samples are recorded.
pub(crate) const DEAD: u32 = 4000;

impl World {
    pub(crate) fn new() -> Self {
        let recorder = Recorder::start(RecorderConfig { now: MonoTime(BEGAN), ..RecorderConfig::default() });
        let rates = Rates::default();
        let watch = Watch::start(WatchConfig { base_hz: 19 }, Box::new(rates.clone()));
        let (symbolizer, files) = symbolizer();
        let processes = Arc::new(FakeProcesses::default());
        assert!(recorder.try_push(past()));
        recorder.cpu_clocks(clocks());
        let waits = WaitWatches::start(Duration::from_mins(10), None, MonoTime(BEGAN), Box::new(NoWaits));
        let profiler = Profiler::new(recorder, (watch, waits), processes.clone(), symbolizer, 300);
        World { profiler, processes, files, rates }
    }

    /// Records a sample of now.
    pub(crate) fn sample(&self) {
        let now = self.processes.now().0;
        assert!(self.profiler.recorder.try_push(vec![Event::Sample(sample(now, 10_000_000, &usual_stack()))]));
    }
}

/// Ten seconds of the past: the process took a sample each 100 ms, and another one lived and died.
fn past() -> Vec<Event> {
    let fact = fact(PID, image().process.start, BEGAN);
    let dead = ProcessFact { comm: comm("gone"), ..self::fact(DEAD, 77_000_000_000, EPOCH_MONO - 15_000_000_000) };
    let mut events = vec![Event::Fork(fact), Event::Fork(dead.clone())];
    let times = (0..100).map(|i| MonoTime(EPOCH_MONO - 10_000_000_000 + i * 100_000_000));
    events.extend(times.map(|time| Event::Sample(sample(time, 52_631_579, &usual_stack()))));
    for i in 0..2 {
        let time = MonoTime(EPOCH_MONO - 9_000_000_000 + i);
        let mut of_dead = sample(time, 52_631_579, &usual_stack());
        (of_dead.image, of_dead.tid, of_dead.comm) = (dead.image, Tid(DEAD), dead.comm);
        events.push(Event::Sample(of_dead));
    }
    let exit = ProcessFact { time: MonoTime(EPOCH_MONO - 8_000_000_000), ..dead };
    events.push(Event::Exit { fact: exit, cpu_ns: 105_000_000, exit_code: 0 });
    events
}

/// The process used half a CPU in that time.
fn clocks() -> Vec<(ProcessId, MonoTime, u64)> {
    let second = |i: u64| (image().process, MonoTime(EPOCH_MONO - 11_000_000_000 + i * 1_000_000_000), i * 500_000_000);
    (0..=11).map(second).collect()
}

fn fact(pid: u32, start: u64, time: u64) -> ProcessFact {
    let process = ProcessId { pid: Pid(pid), start };
    ProcessFact {
        image: crate::event::ImageId { process, ..image() },
        parent: Pid(1),
        namespace_pid: Pid(pid),
        uids: UserIds { real: 1000, effective: 1000, saved: 1000 },
        time: MonoTime(time),
        cgroup: 42,
        comm: comm("demo"),
    }
}

fn sample(time: MonoTime, value: u64, stack: &[Frame]) -> Sample {
    Sample {
        class: Class::Cpu,
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
        frames: stack.iter().map(|frame| FrameWord::from(*frame)).collect(),
    }
}
