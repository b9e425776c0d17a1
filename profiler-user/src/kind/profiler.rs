//! What kinds are made of: the handles of the recorder, the watch, the live processes and the names, and a few limits.

use super::books::Books;
use super::waits::Deltas;
use crate::record::Recorder;
use crate::symbolize::Symbolizer;
use crate::symbolize::sources::Processes;
use crate::watch::Watch;
use crate::watch::waits::WaitWatches;
use std::sync::Arc;

/// Handles and limits; cheap to clone.
#[derive(Clone)]
pub struct Profiler {
    /// What was sampled.
    pub recorder: Recorder,
    /// Who wants what.
    pub watch: Watch,
    /// Whose waits are watched.
    pub waits: WaitWatches,
    /// Live processes.
    pub processes: Arc<dyn Processes>,
    /// Names.
    pub symbolizer: Symbolizer,
    /// Addresses of the profiles that were handed out lately.
    pub books: Arc<Books>,
    /// What was counted when differences were last asked for.
    pub deltas: Arc<Deltas>,
    /// The longest window, seconds.
    pub max_seconds: u32,
}

impl Profiler {
    /// A profiler over these parts.
    pub fn new(
        recorder: Recorder,
        (watch, waits): (Watch, WaitWatches),
        processes: Arc<dyn Processes>,
        symbolizer: Symbolizer,
        max_seconds: u32,
    ) -> Self {
        Profiler {
            recorder,
            watch,
            waits,
            processes,
            symbolizer,
            books: Arc::default(),
            deltas: Arc::default(),
            max_seconds,
        }
    }
}
