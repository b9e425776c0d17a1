//! Builds the parts, owns the threads and the order of shutdown.

mod about;
mod looks;
mod made_code;
mod metrics;
mod moved_text;
mod notify;
mod pumps;
mod socket;
mod sources;
mod threads;

use crate::config::{Config, DEFAULT_SOCKET, SocketPath, TokenFile};
use crate::doctor::{self, StartupError};
use crate::event::Pid;
use crate::http::{About, App, HttpConfig, Listeners, Local, router, serve};
use crate::kernel::{self, Inventory, KernelSymbols, LoadConfig, Parts};
use crate::kind::profiler::Profiler;
use crate::late::Late;
use crate::record::{Recorder, RecorderConfig};
use crate::symbolize::Symbolizer;
use crate::tables::{Tables, TablesConfig};
use crate::target::open::{KeyOf, Opener, OpenerConfig};
use crate::target::{Proc, clock, limits, vdso};
use crate::telemetry::audit::Audit;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::{logging, rooms};
use crate::watch::waits::{WaitWatches, Wanted};
use crate::watch::{Watch, WatchConfig};
use crate::worker::{self, Worker, WorkerConfig};
use anyhow::Context;
use looks::Looks;
use made_code::MadeNames;
use moved_text::CodeWithoutFile;
use profiler_ebpf::abi::event::FileKey;
use pumps::{Orders, Pumps, RingClocks};
use socket::SocketFile;
use sources::{LateTargets, Sources};
use std::net::TcpListener;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use socket::SocketError;

/// How long a worker may take over one question.
const WORKER_DEADLINE: Duration = Duration::from_secs(20);

/// What is said of an address without tokens.
const OPEN_TO_ALL: &str =
    "this address is open to every local user, who sees all processes by it: --token-file closes it";

/// Runs the agent until it is told to stop.
#[expect(clippy::needless_pass_by_value, reason = "the agent owns its configuration for its whole life")]
pub fn run(config: Config) -> Result<(), StartupError> {
    let report = doctor::check();
    doctor::require(&report)?;
    logging::init(config.log_json).map_err(|e| StartupError::Bug(e.into()))?;
    for warning in report.warnings() {
        tracing::warn!("{warning}");
    }
    let tokens = config.token_file.as_deref().map(TokenFile::open).transpose()?.map(Arc::new);
    let network = TcpListener::bind(config.listen).map_err(|e| StartupError::of_bind(config.listen, e))?;
    let (listener, _removed_at_the_end) = local_socket(&config.socket)?.unzip();
    let local = listener.map(|listener| Local { listener, groups: kernel::peer_groups });
    limits::raise_open_files();
    serve_until_stopped(&config, Listeners { network, local }, tokens).map_err(StartupError::of_start)
}

/// The Unix socket. Where it was not asked for the agent goes on without one.
fn local_socket(path: &SocketPath) -> Result<Option<(UnixListener, SocketFile)>, SocketError> {
    let bound = match path {
        SocketPath::Off => return Ok(None),
        SocketPath::At(path) => socket::bind(path)?,
        SocketPath::Default => match socket::bind(Path::new(DEFAULT_SOCKET)) {
            Ok(bound) => bound,
            Err(error) => {
                tracing::warn!("{:#}", anyhow::Error::from(error));
                return Ok(None);
            }
        },
    };
    tracing::info!("listening on the socket {}", path);
    Ok(Some(bound))
}

/// Starts the parts for a command that asks them itself. Only warnings are logged.
pub fn start_quietly(config: &Config) -> Result<Running, StartupError> {
    doctor::require(&doctor::check())?;
    logging::init_for_command().map_err(|e| StartupError::Bug(e.into()))?;
    limits::raise_open_files();
    start(config).map_err(StartupError::of_start)
}

/// Runs a symbol worker.
pub fn symbol_worker() -> ExitCode {
    worker::server::run()
}

/// What this kernel's verifier says of an object's programs: a line `name verified translated` for each.
pub fn ebpf_info(path: &Path) -> Result<String, StartupError> {
    doctor::require(&doctor::check())?;
    let facts = std::fs::read(path)
        .with_context(|| format!("cannot read {}", path.display()))
        .and_then(|object| Ok(kernel::inspect(&object)?))
        .map_err(StartupError::of_start)?;
    let count = |count: Option<u32>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
    let line =
        |fact: &kernel::ProgramFacts| format!("{} {} {}\n", fact.name, count(fact.verified), count(fact.translated));
    Ok(facts.iter().map(line).collect())
}

/// The kernel's own key of a file, asked through the inventory's program.
struct KernelKey(Arc<Inventory>);

impl KeyOf for KernelKey {
    fn key_of(&self, file: BorrowedFd<'_>) -> Option<FileKey> {
        self.0.key_of(file)
    }
}

#[cfg_attr(not(debug_assertions), expect(unused_variables, reason = "only a debug build loads another object"))]
fn object(config: &Config) -> anyhow::Result<std::borrow::Cow<'static, [u8]>> {
    #[cfg(debug_assertions)]
    if let Some(path) = &config.ebpf_object {
        return Ok(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?.into());
    }
    Ok(profiler_ebpf::OBJECT.into())
}

fn load(config: &Config) -> anyhow::Result<Parts> {
    let hz = u64::from(config.hz);
    kernel::load(&LoadConfig {
        object: object(config)?,
        ring_bytes: u32::try_from(config.ring_memory).context("the ring is larger than 4 GiB")?,
        timer_period_ns: 1_000_000_000 / hz.max(1),
        base_period_ns: 1_000_000_000_u64.checked_div(hz).unwrap_or(0),
        agent: (!config.profile_self).then(std::process::id),
    })
    .context("cannot start the kernel side")
}

/// The parts at work: the kernel side samples, the recorder fills, tables are built. Whoever asks does so by the profiler.
pub struct Running {
    /// Answers questions for profiles.
    pub profiler: Profiler,
    /// What all rooms count.
    pub metrics: Arc<Metrics>,
    /// What it says of itself for a bug report.
    pub about: About,
    tables: Tables,
    pumps: pumps::Running,
    looks: Looks,
}

impl Running {
    /// Ends the threads and takes the programs out of the kernel.
    pub fn stop(self) {
        self.looks.stop();
        self.tables.stop();
        self.pumps.stop();
    }
}

/// Starts the parts, without HTTP.
pub fn start(config: &Config) -> anyhow::Result<Running> {
    let proc = Proc::default();
    let symbols = Arc::new(KernelSymbols::of_this_kernel().context("cannot read /proc/kallsyms")?);
    let Parts { rates, tables, events, control, processes, inventory, threads, waits, counters, losses, attached } =
        load(config)?;
    let inventory = Arc::new(inventory);
    let worker = Worker::start(WorkerConfig {
        executable: "/proc/self/exe".into(),
        workers: config.workers,
        memory: config.worker_memory,
        deadline: WORKER_DEADLINE,
    })?;
    let key_of: Arc<dyn KeyOf> = Arc::new(KernelKey(Arc::clone(&inventory)));
    let opener = Opener::start(proc.clone(), Arc::clone(&key_of), OpenerConfig::default())?;
    // Of its own, so that file systems on which perf maps or debug files hang keep no table waiting.
    let perf_maps = Opener::start(proc.clone(), Arc::clone(&key_of), OpenerConfig::default())?;
    // Of its own, so that memory on which a process lets readers hang keeps no file waiting.
    let stuck = OpenerConfig { max_stuck: 32, ..OpenerConfig::default() };
    let memory = Opener::start(proc.clone(), Arc::clone(&key_of), stuck)?;
    let tables_config = TablesConfig { memory: config.tables_memory };
    let tables = Tables::start(&tables_config, tables, (opener, perf_maps.clone()), key_of, worker.clone())?;
    let recorder = Recorder::start(RecorderConfig { memory: config.recorder_memory, now: clock::mono_now() });
    let watch = Watch::start(WatchConfig { base_hz: config.hz }, Box::new(rates));
    let always = wanted_always(config);
    let wait_watches = WaitWatches::start(config.watch_linger, always, clock::mono_now(), Box::new(waits.clone()));
    let clocks = Arc::new(RingClocks::default());
    let metrics = Arc::new(Metrics::new());

    let targets = LateTargets { tables: tables.clone(), inventory: Arc::clone(&inventory) };
    let late = Late::new(Arc::new(targets));
    let pumps = Pumps {
        recorder: recorder.clone(),
        late: late.clone(),
        tables: tables.clone(),
        symbols: Arc::clone(&symbols),
        inventory: Arc::clone(&inventory),
        proc: proc.clone(),
        clocks: Arc::clone(&clocks),
        samples: Arc::clone(&metrics.samples),
        lost: Arc::clone(&metrics.losses),
        orders: Arc::new(Orders::default()),
    };
    let counters = Arc::new(counters);
    let pumps = pumps.start(events, control, processes, losses, &counters)?;
    if let Err(reason) = vdso::image()
        .map_err(|_gone| "unreadable")
        .and_then(|image| tables.vdso(image).map_err(profiler_ebpf::reasons::Reason::name))
    {
        tracing::warn!(reason, "the vDSO has no unwind table");
    }
    let sources = Arc::new(Sources {
        tables: tables.clone(),
        symbols,
        inventory,
        proc,
        clocks,
        perf_maps: perf_maps.clone(),
        threads,
        waits,
        looking: Mutex::default(),
        memory,
        held_up: threads::HeldUp::default(),
        recorder: recorder.clone(),
        late: late.clone(),
        worker: worker.clone(),
    });
    let made = MadeNames {
        tables: tables.clone(),
        inventory: Arc::clone(&sources.inventory),
        opener: perf_maps,
        worker: worker.clone(),
        perf_maps: sources.clone(),
    };
    let made = Arc::new(CodeWithoutFile { made, sources: sources.clone() });
    let budget = usize::try_from(config.names_memory).unwrap_or(usize::MAX);
    let symbolizer = Symbolizer::new(sources.clone(), sources.clone(), made, budget);

    rooms::watch(&metrics, &watch);
    rooms::waits(&metrics, &wait_watches);
    rooms::symbolizer(&metrics, &symbolizer);
    rooms::worker(&metrics, &worker);
    rooms::late(&metrics, &late);
    rooms::recorder(&metrics, &recorder);
    let attached = Arc::new(attached);
    metrics::kernel(&metrics, &counters, &attached);
    metrics::tables(&metrics, &tables);
    metrics::files(&metrics, &tables);
    let max_seconds = u32::try_from(config.max_window.as_secs()).unwrap_or(u32::MAX);
    let looks = Looks::start(sources.clone(), wait_watches.clone())?;
    let profiler = Profiler::new(recorder, (watch, wait_watches), sources, symbolizer, max_seconds);
    Ok(Running { profiler, metrics, about: about::about(config, &attached), tables, pumps, looks })
}

/// What is watched of all processes as long as the agent runs.
fn wanted_always(config: &Config) -> Option<Wanted> {
    let wanted = Wanted { sync: config.record.block, wakers: config.record.mutex, ..Wanted::default() };
    (wanted != Wanted::default()).then_some(wanted)
}

/// Runs the parts and answers by HTTP until it is told to stop.
fn serve_until_stopped(config: &Config, listeners: Listeners, tokens: Option<Arc<TokenFile>>) -> anyhow::Result<()> {
    let running = start(config)?;
    let listen = listeners.network.local_addr().context("cannot read the address that was bound")?;
    let (audit, audit_end) = Audit::to(std::io::stdout()).context("cannot start the thread of the audit")?;
    rooms::audit(&running.metrics, &audit);
    let open_to = if tokens.is_some() { "this address wants a token" } else { OPEN_TO_ALL };
    let http = HttpConfig {
        listen,
        allowed_hosts: config.allowed_hosts.clone(),
        tokens,
        socket_group: config.socket_group,
        max_requests: config.max_requests,
        max_response: config.max_response,
    };
    let app = App::new(running.profiler.clone(), Arc::clone(&running.metrics), Arc::new(|| Ok(())), audit, http);
    let app = app.about(Arc::clone(&running.about));
    let mut serving = app.serving();
    serving.most = limits::connections(serving.most);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the HTTP runtime")?;
    tracing::info!("listening on http://{listen}");
    tracing::info!("{open_to}");
    notify::ready();
    let served = runtime.block_on(serve(listeners, router(app), serving, stop_signal()));
    running.stop();
    runtime.shutdown_timeout(Duration::from_secs(2));
    audit_end.wait();
    served.context("cannot serve HTTP")
}

/// Ends at SIGTERM or SIGINT.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    notify::stopping();
}

/// The process as the kernel side identifies it, if it lives and maps code.
fn exact(inventory: &Inventory, pid: Pid) -> Option<(u64, u32)> {
    let mappings = inventory.of(pid).ok()?;
    mappings.first().map(|m| (m.image.process.start, m.image.exec_id))
}
