//! What the programs of late stacks map, asked for while they live: many are gone before their tables are there.

use super::Targets;
use super::walk::{Found, Maps};
use crate::event::{FileNumber, FileOffset, ImageId, MappingSeen};
use crate::tables::TableRule;
use profiler_ebpf::reasons::Reason;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A program is asked again after this time, if it was sampled since, or if an address lies in no mapping.
const AGE: Duration = Duration::from_millis(100);

/// Programs of samples that are held.
pub(super) struct Programs {
    targets: Arc<dyn Targets>,
    known: HashMap<ImageId, Known>,
}

struct Known {
    asked: Instant,
    /// It could not say any more.
    gone: bool,
    mappings: Vec<MappingSeen>,
}

impl Known {
    fn nothing() -> Known {
        Known { asked: Instant::now(), gone: true, mappings: Vec::new() }
    }

    fn ask(&mut self, targets: &dyn Targets, image: ImageId) {
        self.asked = Instant::now();
        let mappings = targets.mappings(image);
        // What a program mapped that is gone now serves its samples still.
        self.gone = mappings.is_empty();
        if !self.gone {
            self.mappings = mappings;
        }
    }

    fn find(&self, address: u64) -> Option<MappingSeen> {
        self.mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&address)).copied()
    }
}

impl Programs {
    pub(super) fn new(targets: Arc<dyn Targets>) -> Programs {
        Programs { targets, known: HashMap::new() }
    }

    /// Asks for the mappings of these programs, each with the time at which a sample of it came, and forgets all others.
    pub(super) fn look(&mut self, samples: impl Iterator<Item = (ImageId, Instant)>) {
        let mut newest: HashMap<ImageId, Instant> = HashMap::new();
        for (image, came) in samples {
            let known = newest.entry(image).or_insert(came);
            *known = came.max(*known);
        }
        self.known.retain(|image, _| newest.contains_key(image));
        for (image, came) in newest {
            let known = self.known.get(&image);
            if known.is_none_or(|known| came.saturating_duration_since(known.asked) >= AGE) {
                self.known.entry(image).or_insert_with(Known::nothing).ask(self.targets.as_ref(), image);
            }
        }
    }
}

impl Maps for Programs {
    fn find(&mut self, image: ImageId, address: u64) -> Found {
        let Some(known) = self.known.get_mut(&image) else { return Found::Unknown };
        if known.find(address).is_none() && known.asked.elapsed() >= AGE {
            known.ask(self.targets.as_ref(), image);
        }
        match known.find(address) {
            Some(mapping) => Found::In(mapping),
            None if known.gone => Found::Unknown,
            None => Found::Nowhere,
        }
    }

    fn rule(&self, file: FileNumber, offset: FileOffset) -> Option<Result<TableRule, Reason>> {
        self.targets.rule(file, offset)
    }
}
