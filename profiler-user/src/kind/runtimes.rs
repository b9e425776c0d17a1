//! What a profile says of programs whose functions it cannot show, because a runtime interprets them or makes their code: how
//! many samples are concerned, and how that runtime is told to name them.

use super::comments::percent;
use crate::event::{Frame, ImageId, MappingSeen};
use crate::record::window::Row;
use crate::symbolize::sources::Files;
use profiler_ebpf::reasons::Reason;
use std::collections::{BTreeMap, HashMap};

/// A runtime that is known by its executable or its library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Runtime {
    Node,
    Java,
    Python,
    Other,
}

impl Runtime {
    /// The runtime that a file belongs to.
    fn of(path: &str) -> Option<Runtime> {
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        match path.rsplit('/').next()? {
            "libjvm.so" | "java" => Some(Runtime::Java),
            "node" | "nodejs" => Some(Runtime::Node),
            name if name.starts_with("libnode.so") => Some(Runtime::Node),
            name if name.starts_with("libpython") || name.starts_with("python") => Some(Runtime::Python),
            _ => None,
        }
    }

    /// How it is told to write a perf map.
    fn perf_map(self) -> &'static str {
        match self {
            Runtime::Node => "run node with --perf-basic-prof",
            Runtime::Java => {
                "run java with -XX:+PreserveFramePointer and have it write its perf map (jcmd PID Compiler.perfmap, or a \
                 perf map agent)"
            }
            Runtime::Python => "run python3 (3.12 or newer) with -X perf",
            Runtime::Other => "the program makes code at run time and writes no perf map (/tmp/perf-PID.map)",
        }
    }

    /// How it is told to keep frame pointers.
    fn frame_pointers(self) -> &'static str {
        match self {
            Runtime::Java => "run java with -XX:+PreserveFramePointer",
            _ => "whatever makes that code does not keep them",
        }
    }
}

/// What the sentences are made of.
pub(super) struct Samples<'a> {
    pub(super) rows: &'a [Row],
    /// Samples that lack functions, by program and why.
    pub(super) native_only: &'a BTreeMap<(ImageId, Reason), u64>,
    /// Of the process, if it is one.
    pub(super) mappings: &'a [MappingSeen],
    pub(super) files: &'a dyn Files,
    /// Path of an image's executable.
    pub(super) exe: &'a dyn Fn(ImageId) -> Option<String>,
}

/// One sentence a runtime and reason.
pub(super) fn sentences(samples: &Samples<'_>) -> Vec<String> {
    let all: u64 = samples.rows.iter().map(|row| row.count).sum();
    let runtimes = runtimes(samples);
    let runtime_of = |image: &ImageId| runtimes.get(image).copied().unwrap_or(Runtime::Other);
    let mut nameless: BTreeMap<(Runtime, Reason), u64> = BTreeMap::new();
    for ((image, reason), count) in samples.native_only {
        *nameless.entry((runtime_of(image), *reason)).or_default() += count;
    }
    let mut cut: BTreeMap<Runtime, u64> = BTreeMap::new();
    for row in samples.rows.iter().filter(|row| row.status == Reason::JitCodeWithoutFramePointer) {
        *cut.entry(runtime_of(&row.image)).or_default() += row.count;
    }
    let nameless = nameless.into_iter().map(|((runtime, reason), count)| {
        format!("Functions are missing in {} of samples: {}.", percent(count, all), remedy(runtime, reason))
    });
    let cut = cut.into_iter().map(|(runtime, count)| {
        let share = percent(count, all);
        format!("Stacks of {share} of samples end in code without frame pointers: {}.", runtime.frame_pointers())
    });
    nameless.chain(cut).collect()
}

fn remedy(runtime: Runtime, reason: Reason) -> String {
    match reason {
        Reason::AnonymousCode => runtime.perf_map().to_owned(),
        Reason::NoSymbol => "neither its perf map (/tmp/perf-PID.map) nor its jitdump names that code".to_owned(),
        Reason::NotOpened => {
            "its perf map (/tmp/perf-PID.map) or jitdump must be a regular file of the process's user or root, not older than \
             the process, at most 64 MiB (a jitdump: 1 GiB)"
                .to_owned()
        }
        other => format!("{} ({})", other.name(), other.sentence().trim_end_matches('.')),
    }
}

/// The runtime of each image that matters: by its executable, the files that it maps, or those that its samples are in.
fn runtimes(samples: &Samples<'_>) -> HashMap<ImageId, Runtime> {
    let mut runtimes = HashMap::new();
    let path = |file| samples.files.info(file).map(|info| info.path);
    let concerned = samples.native_only.keys().map(|(image, _)| *image);
    let cut = samples.rows.iter().filter(|row| row.status == Reason::JitCodeWithoutFramePointer).map(|row| row.image);
    for image in concerned.chain(cut) {
        if runtimes.contains_key(&image) {
            continue;
        }
        let mapped =
            samples.mappings.iter().filter(|mapping| mapping.image == image).filter_map(|mapping| mapping.file);
        let rows = samples.rows.iter().filter(|row| row.image == image);
        let sampled = rows.flat_map(|row| row.stack.iter()).filter_map(|word| match word.frame() {
            Some(Frame::Native { file, .. }) => Some(file),
            _ => None,
        });
        let mut paths = (samples.exe)(image).into_iter().chain(mapped.chain(sampled).filter_map(path));
        runtimes.insert(image, paths.find_map(|path| Runtime::of(&path)).unwrap_or(Runtime::Other));
    }
    runtimes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbolize::fakes::{FakeFiles, PROGRAM, image, native, row};

    fn check(exe: &str, native_only: &[(Reason, u64)], wanted: &[&str]) {
        let mut cut = row(&[native(PROGRAM, 0x1410)]);
        cut.status = Reason::JitCodeWithoutFramePointer;
        let mut whole = row(&[native(PROGRAM, 0x1410)]);
        whole.count = 3;
        let native_only: BTreeMap<_, _> =
            native_only.iter().map(|(reason, count)| ((image(), *reason), *count)).collect();
        let rows = if exe == "java" { vec![cut, whole] } else { vec![whole.clone(), whole] };
        let samples = Samples {
            rows: &rows,
            native_only: &native_only,
            mappings: &[],
            files: &FakeFiles::default(),
            exe: &|_| Some(format!("/usr/bin/{exe}")),
        };
        assert_eq!(sentences(&samples), wanted);
    }

    #[test]
    fn each_runtime_has_its_own_remedy() {
        let none = |exe: &str, wanted: &str| {
            let wanted = format!("Functions are missing in 50.00 % of samples: {wanted}.");
            check(exe, &[(Reason::AnonymousCode, 3)], &[&wanted]);
        };
        none("node", "run node with --perf-basic-prof");
        none("nodejs (deleted)", "run node with --perf-basic-prof");
        none("python3.11", "run python3 (3.12 or newer) with -X perf");
        none("demo", "the program makes code at run time and writes no perf map (/tmp/perf-PID.map)");
        check("node", &[], &[]);
    }

    #[test]
    fn java_is_told_about_frame_pointers_too() {
        let wanted = [
            "Functions are missing in 100.00 % of samples: run java with -XX:+PreserveFramePointer and have it write its perf \
             map (jcmd PID Compiler.perfmap, or a perf map agent).",
            "Stacks of 25.00 % of samples end in code without frame pointers: run java with -XX:+PreserveFramePointer.",
        ];
        check("java", &[(Reason::AnonymousCode, 4)], &wanted);
    }

    #[test]
    fn who_has_a_map_is_not_told_to_write_one() {
        let wanted = [
            "Functions are missing in 16.67 % of samples: neither its perf map (/tmp/perf-PID.map) nor its jitdump names that code.",
            "Functions are missing in 33.33 % of samples: process gone (The process had exited, or run another program, before \
             the names of the code that it made were read).",
        ];
        check("node", &[(Reason::ProcessGone, 2), (Reason::NoSymbol, 1)], &wanted);
    }
}
