//! Loading the object, attaching its programs, handing out its maps: each part to the one who owns it.

use super::btf::Btf;
use super::counters::cost;
use super::inventory::Inventory;
use super::offsets::offsets;
use super::perf::Timer;
use super::pool::InnerTemplate;
use super::rates::Control;
use super::waits::{WaitMaps, Waits};
use super::{Counters, KernelError, Losses, ProgramCost, Rates, Ring, TableMaps, Threads};
use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{HashMap, Map, MapData, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::{BtfTracePoint, Iter, PerfEvent, Program, ProgramError, ProgramFd, RawTracePoint};
use aya::{Btf as AyaBtf, Ebpf, EbpfLoader, VerifierLogLevel};
use profiler_ebpf::abi::maps::RateConfig;
use serde::Serialize;
use std::borrow::Cow;

/// How to load.
pub struct LoadConfig {
    /// The BPF object.
    pub object: Cow<'static, [u8]>,
    /// Bytes of the ring of samples, a power of two.
    pub ring_bytes: u32,
    /// Period of the timer at start, ns.
    pub timer_period_ns: u64,
    /// Base period at start, ns; 0 = nobody is sampled.
    pub base_period_ns: u64,
    /// Process that is not sampled unless it is watched: the agent.
    pub agent: Option<u32>,
}

/// What the kernel said of a loaded program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramFacts {
    /// Its name.
    pub name: &'static str,
    /// Instructions that the verifier walked (kernel 5.16 and later).
    pub verified: Option<u32>,
    /// Instructions after translation.
    pub translated: Option<u32>,
}

/// The parts of the kernel side.
pub struct Parts {
    /// Sets rates.
    pub rates: Rates,
    /// Publishes tables.
    pub tables: TableMaps,
    /// Samples.
    pub events: Ring,
    /// New files.
    pub control: Ring,
    /// Forks, execs, exits.
    pub processes: Ring,
    /// Mappings and keys on demand.
    pub inventory: Inventory,
    /// Threads on demand.
    pub threads: Threads,
    /// Follows waits on demand.
    pub waits: Waits,
    /// Counters.
    pub counters: Counters,
    /// Losses of processes.
    pub losses: Losses,
    /// Keeps programs attached; drop it to stop.
    pub attached: Attached,
}

/// Loaded and attached programs.
pub struct Attached {
    _object: Ebpf,
    /// The kernel empties a program array when user space drops it.
    _tail_calls: ProgramArray<MapData>,
    programs: Vec<(&'static str, ProgramFd)>,
    facts: Vec<ProgramFacts>,
}

impl Attached {
    /// Running time of each program.
    pub fn costs(&self) -> Vec<ProgramCost> {
        self.programs.iter().filter_map(|(name, fd)| cost(name, fd).ok()).collect()
    }

    /// What the verifier said.
    pub fn facts(&self) -> &[ProgramFacts] {
        &self.facts
    }
}

/// BTF tracepoints: program, tracepoint.
const TRACEPOINTS: [(&str, &str); 4] = [
    ("process_fork", "sched_process_fork"),
    ("process_exec", "sched_process_exec"),
    ("process_exit", "sched_process_exit"),
    ("new_thread", "task_newtask"),
];

/// The same for programs that are attached while somebody asks for what they tell.
const ON_DEMAND: [(&str, &str); 4] = [
    ("switch", "sched_switch"),
    ("wake", "sched_waking"),
    ("contended", "contention_begin"),
    ("acquired", "contention_end"),
];

/// Loads and starts everything.
pub fn load(config: &LoadConfig) -> Result<Parts, KernelError> {
    let mut object = open_object(&config.object, Some(config.ring_bytes))?;
    #[cfg(feature = "bpf-log")]
    super::messages::show(&mut object)?;
    let mut maps = Maps(&mut object);
    let start = RateConfig {
        timer_period: config.timer_period_ns,
        base_period: config.base_period_ns,
        epoch: 1,
        agent: config.agent.map_or(u64::MAX, u64::from),
    };
    let settings = Control::publish(maps.take("RATE")?, start)?;
    let watched = maps.take::<HashMap<MapData, u32, u64>>("WATCH")?;
    let tables = table_maps(&mut maps, settings.clone())?;
    let events = Ring::new("samples", maps.take::<RingBuf<MapData>>("EVENTS")?);
    let control = Ring::new("files", maps.take::<RingBuf<MapData>>("CONTROL")?);
    let processes = Ring::new("processes", maps.take::<RingBuf<MapData>>("PROCESSES")?);
    let counters = Counters { map: maps.take::<PerCpuArray<MapData, u64>>("COUNTERS_MAP")? };
    let losses = Losses::new(maps.take("LOST")?);
    let answer = maps.take("KEY_OF")?;
    let maps_of_waits = WaitMaps {
        watched: maps.take("WAITS")?,
        places: maps.take("WAIT_PLACES_MAP")?,
        crowded: maps.take("CROWDED")?,
        any_crowded: maps.take("ANY_CROWDED")?,
        config: maps.take("WAIT_CONFIG")?,
    };
    let mut tail_calls: ProgramArray<MapData> = maps.take("PROGRAMS")?;

    let mut programs = load_programs(&mut object)?;
    tail_calls.set(0, &programs.fd("cont")?, 0).map_err(KernelError::map("write", "PROGRAMS"))?;
    let mut fd = |name| programs.fd(name);
    let inventory = Inventory::new(fd("inventory")?, fd("key_of")?, answer);
    let threads = Threads::new(fd("threads")?, fd("look")?);
    let waits = Waits::new(&mut fd, maps_of_waits)?;
    let sampler = fd("sample")?;
    attach_tracepoints(&mut object)?;
    let timer = Timer::start(std::os::fd::AsFd::as_fd(&sampler), config.timer_period_ns)?;
    let rates = Rates::new(timer, settings, watched);
    let attached = Attached { _object: object, _tail_calls: tail_calls, programs: programs.fds, facts: programs.facts };
    Ok(Parts { rates, tables, events, control, processes, inventory, threads, waits, counters, losses, attached })
}

/// Loads the programs of an object, attaches nothing, and says what the kernel said of each.
pub fn inspect(object: &[u8]) -> Result<Vec<ProgramFacts>, KernelError> {
    Ok(load_programs(&mut open_object(object, None)?)?.facts)
}

/// The maps are made, with rings of the object's own size if no other is told; the programs are not loaded yet.
fn open_object(object: &[u8], ring_bytes: Option<u32>) -> Result<Ebpf, KernelError> {
    let offsets = offsets(&Btf::of_this_kernel()?)?;
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS);
    if let Some(bytes) = ring_bytes {
        loader.map_max_entries("EVENTS", bytes);
    }
    for (name, offset) in &offsets {
        loader.override_global(name, offset, true);
    }
    loader.load(object).map_err(|e| KernelError::Load(Box::new(e)))
}

/// Takes maps out of the object by name and type.
struct Maps<'a>(&'a mut Ebpf);

impl Maps<'_> {
    fn raw(&mut self, name: &'static str) -> Result<Map, KernelError> {
        self.0.take_map(name).ok_or(KernelError::Missing(name))
    }

    fn take<T>(&mut self, name: &'static str) -> Result<T, KernelError>
    where
        T: TryFrom<Map, Error = aya::maps::MapError>,
    {
        T::try_from(self.raw(name)?).map_err(KernelError::map("open", name))
    }
}

fn table_maps(maps: &mut Maps<'_>, control: Control) -> Result<TableMaps, KernelError> {
    let Map::Array(inner) = maps.raw("POOL_INNER")? else { return Err(KernelError::Missing("POOL_INNER")) };
    let mut tables = TableMaps {
        template: InnerTemplate::of(&inner)?,
        pool: maps.take::<ArrayOfMaps<MapData, MapData>>("POOL")?,
        inner: Vec::new(),
        first: None,
        dictionary: maps.take("DICTIONARY")?,
        files: maps.take("FILES")?,
        memo: maps.take("MEMO")?,
        control,
    };
    tables.prove()?;
    Ok(tables)
}

/// Descriptors and facts of the loaded programs.
struct Programs {
    fds: Vec<(&'static str, ProgramFd)>,
    facts: Vec<ProgramFacts>,
}

impl Programs {
    fn add(&mut self, name: &'static str, program: &Program) -> Result<(), ProgramError> {
        let info = program.info()?;
        self.facts.push(ProgramFacts {
            name,
            verified: info.verified_instruction_count(),
            translated: info.size_translated().map(|bytes| bytes / 8),
        });
        self.fds.push((name, program.fd()?.try_clone().map_err(ProgramError::IOError)?));
        Ok(())
    }

    fn fd(&mut self, name: &'static str) -> Result<ProgramFd, KernelError> {
        let found = self.fds.iter().find(|p| p.0 == name).ok_or(KernelError::Missing(name))?;
        found.1.try_clone().map_err(KernelError::system("duplicate a program's descriptor"))
    }
}

/// The program of that name as its type.
fn typed<'a, P>(object: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, KernelError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = object.program_mut(name).ok_or(KernelError::Missing(name))?;
    program.try_into().map_err(KernelError::program(name))
}

fn load_programs(object: &mut Ebpf) -> Result<Programs, KernelError> {
    let btf = AyaBtf::from_sys_fs().map_err(|e| KernelError::Btf(e.to_string()))?;
    for name in ["cont", "sample"] {
        typed::<PerfEvent>(object, name)?.load().map_err(KernelError::program(name))?;
    }
    typed::<RawTracePoint>(object, "key_of")?.load().map_err(KernelError::program("key_of"))?;
    for name in ["threads", "look"] {
        typed::<Iter>(object, name)?.load("task", &btf).map_err(KernelError::program(name))?;
    }
    typed::<Iter>(object, "inventory")?.load("task_vma", &btf).map_err(KernelError::program("inventory"))?;
    for (name, tracepoint) in TRACEPOINTS.into_iter().chain(ON_DEMAND) {
        typed::<BtfTracePoint>(object, name)?.load(tracepoint, &btf).map_err(KernelError::program(name))?;
    }
    let mut programs = Programs { fds: Vec::new(), facts: Vec::new() };
    for name in [
        "sample",
        "cont",
        "key_of",
        "inventory",
        "threads",
        "process_fork",
        "process_exec",
        "process_exit",
        "new_thread",
        "switch",
        "wake",
        "contended",
        "acquired",
        "look",
    ] {
        let program = object.program(name).ok_or(KernelError::Missing(name))?;
        programs.add(name, program).map_err(KernelError::program(name))?;
    }
    Ok(programs)
}

fn attach_tracepoints(object: &mut Ebpf) -> Result<(), KernelError> {
    for (name, _) in TRACEPOINTS {
        typed::<BtfTracePoint>(object, name)?.attach().map_err(KernelError::program(name))?;
    }
    Ok(())
}
