//! Names of code without a file: what the process itself tells, and of what that does not name, the file whose text it is,
//! if the process has moved its text into anonymous memory.

use super::exact;
use super::made_code::MadeNames;
use super::sources::Sources;
use crate::event::{FileOffset, ImageId};
use crate::symbolize::builder::nameless_in;
use crate::symbolize::sources::MadeCode;
use crate::target::open::{MovedText, TextSegment};
use crate::worker::api::{Segment, Symbolized};
use crate::worker::{Subject, TrustDomain};
use profiler_ebpf::reasons::Reason;
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// How long opening the files may take (a file system may block).
const OPEN_DEADLINE: Duration = Duration::from_secs(2);

/// Names of made code and of moved text.
pub(super) struct CodeWithoutFile {
    pub(super) made: MadeNames,
    pub(super) sources: Arc<Sources>,
}

impl MadeCode for CodeWithoutFile {
    fn symbolize(&self, image: ImageId, addresses: &[u64]) -> Result<Vec<Symbolized>, Reason> {
        let made = self.made.symbolize(image, addresses);
        let answers = match made {
            Err(Reason::ProcessGone) => return made,
            Ok(answers) => answers,
            Err(reason) => vec![Symbolized::Missing(reason); addresses.len()],
        };
        let nameless = addresses.iter().zip(&answers).filter(|(_, name)| matches!(name, Symbolized::Missing(_)));
        let mut moved = self.moved(image, &nameless.map(|(address, _)| *address).collect::<Vec<_>>());
        let named = |(address, answer)| moved.remove(address).unwrap_or(answer);
        Ok(addresses.iter().zip(answers).map(named).collect())
    }
}

impl CodeWithoutFile {
    /// Names of those addresses that lie in text that the process moved.
    fn moved(&self, image: ImageId, addresses: &[u64]) -> HashMap<u64, Symbolized> {
        let mut names = HashMap::new();
        if addresses.is_empty() {
            return names;
        }
        let texts = self.sources.perf_maps.moved_text(image.process, addresses.to_vec(), OPEN_DEADLINE).unwrap_or_else(
            |error| {
                tracing::debug!(%error, pid = %image.process.pid, "cannot look for moved text");
                Vec::new()
            },
        );
        // The memory is that of the program that runs now.
        let (start, exec_id) = (image.process.start, image.exec_id);
        if !texts.is_empty() && exact(&self.sources.inventory, image.process.pid) == Some((start, exec_id)) {
            for text in &texts {
                names.extend(self.names_in(image, text, addresses));
            }
        }
        names
    }

    fn names_in(&self, image: ImageId, text: &MovedText, addresses: &[u64]) -> Vec<(u64, Symbolized)> {
        let domain = TrustDomain { owner: text.file.owner, mount_namespace: text.file.mount_namespace };
        let subject = Subject::moved_text(domain, image.process, text.file.file.as_fd());
        let names = self.sources.worker.facts_of(subject).and_then(|facts| {
            let segments: Vec<TextSegment> = facts.segments.iter().map(text_segment).collect();
            let place = |address: &u64| Some((*address, text.offset_of(*address, &segments)?));
            let (addresses, offsets): (Vec<u64>, Vec<FileOffset>) = addresses.iter().filter_map(place).unzip();
            let names = self.sources.worker.symbolize(subject, &offsets, None)?;
            let or_place = |(name, offset)| named_by_place(name, &text.file.path, offset);
            Ok((addresses, names.into_iter().zip(offsets).map(or_place).collect::<Vec<_>>()))
        });
        match names {
            Ok((addresses, names)) => addresses.into_iter().zip(names).collect(),
            Err(error) => {
                tracing::debug!(%error, pid = %image.process.pid, "a file whose text was moved has no names");
                Vec::new()
            }
        }
    }
}

fn text_segment(segment: &Segment) -> TextSegment {
    TextSegment { offset: segment.offset, size: segment.size, address: segment.address }
}

/// The file is known, so a frame without a name says where in it its function begins, or where it lies.
fn named_by_place(name: Symbolized, path: &str, offset: FileOffset) -> Symbolized {
    match name {
        Symbolized::Nameless { start } => Symbolized::Frames(vec![nameless_in(path, start)]),
        Symbolized::Missing(_) => Symbolized::Frames(vec![nameless_in(path, offset)]),
        named @ Symbolized::Frames(_) => named,
    }
}
