//! The profile kinds: one file a kind, one line each in [`KINDS`]. A kind turns a request into a [`profile::Profile`] (a
//! table) or a text; it knows the recorder, the watch and the target, never HTTP or the bytes of a format. Routes, the
//! index and help come from the list.

pub mod books;
mod chosen;
mod clocks;
pub mod cmdline;
mod comments;
pub mod cpu;
pub mod difference;
#[cfg(test)]
pub(crate) mod fakes;
mod missing_parts;
pub mod parameters;
pub mod processes;
pub mod profile;
pub mod profiler;
mod runtimes;
mod snapshot;
pub mod subject;
pub mod symbol;
pub mod table;
pub mod thread_create;
pub mod threads;
pub mod viewer;
mod wait;
pub mod waits;
pub mod wall;

use profile::ValueType;

/// What answers a kind's requests, and by which rules its parameters are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A CPU profile ([`cpu`]).
    Cpu,
    /// Threads as they stand ([`threads`]).
    Threads,
    /// What created threads ([`thread_create`]).
    ThreadCreate,
    /// The command line ([`cmdline`]).
    Cmdline,
    /// Names of addresses ([`symbol`]).
    Symbol,
    /// Waits and what ended them ([`waits`]).
    Waits(waits::What),
    /// The time of each thread ([`wall`]).
    Wall,
    /// This version has no such trace; `seconds` may be anything, as in Go.
    NoTrace,
    /// This version has no such profile; `seconds` asks for the difference of two, as in Go.
    NoProfile,
}

/// A kind of profile.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Its name in routes.
    pub name: &'static str,
    /// One sentence or two for the index.
    pub description: &'static str,
    /// Columns; empty if it is no table.
    pub sample_types: &'static [ValueType],
    /// What its period measures, if it is a table.
    pub period_type: Option<ValueType>,
    /// What answers.
    pub answer: Answer,
}

impl Kind {
    /// True if this version answers with data.
    pub fn works(&self) -> bool {
        !matches!(self.answer, Answer::NoTrace | Answer::NoProfile)
    }

    /// The kind with this name.
    pub fn find(name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name == name)
    }
}

const fn unit(kind: &'static str, unit: &'static str) -> ValueType {
    ValueType { kind, unit }
}

const HEAP: &[ValueType] = &[
    unit("alloc_objects", "count"),
    unit("alloc_space", "bytes"),
    unit("inuse_objects", "count"),
    unit("inuse_space", "bytes"),
];
const CONTENTION: &[ValueType] = &[unit("contentions", "count"), unit("delay", "nanoseconds")];

/// All kinds, by name: those that Go has, in Go's words where they are true of any program.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "allocs",
        description: "A sampling of all past memory allocations",
        sample_types: HEAP,
        period_type: Some(unit("space", "bytes")),
        answer: Answer::NoProfile,
    },
    Kind {
        name: "block",
        description: "Stack traces that led to blocking on synchronization primitives, since they have been watched. The first \
            question begins to watch and takes five seconds; with wait=all waits of every kind count.",
        sample_types: CONTENTION,
        period_type: Some(unit("contentions", "count")),
        answer: Answer::Waits(waits::What::Block),
    },
    Kind {
        name: "cmdline",
        description: "The command line invocation of the program",
        sample_types: &[],
        period_type: None,
        answer: Answer::Cmdline,
    },
    Kind {
        name: "delta_block",
        description: "What block counted since delta_block was last asked for",
        sample_types: CONTENTION,
        period_type: Some(unit("contentions", "count")),
        answer: Answer::Waits(waits::What::DeltaBlock),
    },
    Kind {
        name: "delta_mutex",
        description: "What mutex counted since delta_mutex was last asked for",
        sample_types: CONTENTION,
        period_type: Some(unit("contentions", "count")),
        answer: Answer::Waits(waits::What::DeltaMutex),
    },
    Kind {
        name: "goroutine",
        description: "Stack traces of all current threads, sleeping or running (a Go program's threads too, not yet its \
            goroutines). Use debug=2 as a query parameter to see each thread with its state.",
        sample_types: threads::SAMPLE_TYPES,
        period_type: Some(threads::PERIOD_TYPE),
        answer: Answer::Threads,
    },
    Kind {
        name: "heap",
        description: "A sampling of memory allocations of live objects",
        sample_types: HEAP,
        period_type: Some(unit("space", "bytes")),
        answer: Answer::NoProfile,
    },
    Kind {
        name: "mutex",
        description: "Stack traces of holders of contended mutexes, where they let others go on, since they have been watched. \
            The first question begins to watch and takes five seconds.",
        sample_types: CONTENTION,
        period_type: Some(unit("contentions", "count")),
        answer: Answer::Waits(waits::What::Mutex),
    },
    Kind {
        name: "offcpu",
        description: "Stack traces at which threads were not on a CPU, for whatever reason: block with wait=all",
        sample_types: CONTENTION,
        period_type: Some(unit("contentions", "count")),
        answer: Answer::Waits(waits::What::OffCpu),
    },
    Kind {
        name: "profile",
        description: "CPU profile. You can specify the duration in the seconds GET parameter, in whole seconds (else it is \
            30); with ago=M the answer \
            comes at once, for the window that ended M seconds ago. After you get the profile file, use the go tool \
            pprof command to investigate the profile.",
        sample_types: cpu::SAMPLE_TYPES,
        period_type: Some(cpu::PERIOD_TYPE),
        answer: Answer::Cpu,
    },
    Kind {
        name: "symbol",
        description: "Maps given program counters to function names. Counters can be specified in a GET raw query or \
            POST body, multiple counters are separated by '+'.",
        sample_types: &[],
        period_type: None,
        answer: Answer::Symbol,
    },
    Kind {
        name: "threadcreate",
        description: "Stack traces that led to the creation of new OS threads",
        sample_types: thread_create::SAMPLE_TYPES,
        period_type: Some(thread_create::PERIOD_TYPE),
        answer: Answer::ThreadCreate,
    },
    Kind {
        name: "trace",
        description: "A trace of execution of the program. You can specify the duration in the seconds GET parameter.",
        sample_types: &[],
        period_type: None,
        answer: Answer::NoTrace,
    },
    Kind {
        name: "wall",
        description: "Where the time of each thread of a process goes, on a CPU and off it; also at /debug/fgprof. You can \
            specify the duration in the seconds GET parameter (else it is 30).",
        sample_types: wall::SAMPLE_TYPES,
        period_type: Some(wall::PERIOD_TYPE),
        answer: Answer::Wall,
    },
];

/// Does work that blocks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, KindError> {
    tokio::task::spawn_blocking(work).await.map_err(KindError::Task)
}

/// Why a kind has no answer. The texts are for the caller; each is a sentence that says what to do or what is missing.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// The caller asked for something that does not make sense.
    #[error("{0}")]
    BadRequest(String),
    /// What was asked about is not there.
    #[error("{0}")]
    NotFound(String),
    /// The caller may not see what was asked about.
    #[error("{0}")]
    Forbidden(String),
    /// This version or this host has no such thing.
    #[error("{0}")]
    NotImplemented(String),
    /// The recorder cannot answer now.
    #[error("the recorder cannot answer now")]
    Recorder(#[source] crate::record::RecordError),
    /// A bug.
    #[error("the profile could not be made")]
    Task(#[source] tokio::task::JoinError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_sorted_and_have_the_names_of_go() {
        let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        assert!(names.is_sorted());
        let ours = ["delta_block", "delta_mutex", "offcpu", "wall"];
        let go = "allocs block cmdline goroutine heap mutex profile symbol threadcreate trace";
        let theirs: Vec<_> = names.into_iter().filter(|name| !ours.contains(name)).collect();
        assert_eq!(theirs.join(" "), go);
        assert!(KINDS.iter().all(|kind| kind.sample_types.is_empty() == kind.period_type.is_none()));
    }
}
