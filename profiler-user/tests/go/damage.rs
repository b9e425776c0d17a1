//! Damaged Go programs cost what they say, never the worker.

use crate::program::{DOMAIN, Program, worker};
use profiler_user::event::{FileNumber, FileOffset};
use profiler_user::worker::api::Symbolized;
use profiler_user::worker::{Subject, WorkerError};
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;

/// Rounds of damage for each form of a program.
const ROUNDS: u32 = 60;
/// Addresses whose names are asked for, evenly in the text.
const QUESTIONS: u64 = 200;

#[test]
fn damage_costs_rows_and_names_only() {
    let worker = worker();
    let (mut random, mut number, mut named) = (Random(0x9e37_79b9_7f4a_7c15), 1000, 0);
    for (mode, parts) in [
        ("-buildmode=exe", &[".gopclntab", ".go.module", ".noptrdata"][..]),
        ("-buildmode=pie", &[".gopclntab", ".data.rel.ro.gopclntab", ".rela", ".go.module"][..]),
    ] {
        let program = Program::build(crate::names::SOURCE, &[mode, "-ldflags=-s -w -checklinkname=0"]);
        let (good, text) = (fs::read(program.path()).unwrap(), program.section(".text").unwrap());
        // What a version of Go does not have is left out.
        let parts: Vec<_> = parts.iter().filter_map(|name| program.section(name)).collect();
        assert!(parts.len() >= 2, "{parts:?}");
        let step = text.len() as u64 / QUESTIONS;
        let offsets: Vec<_> = (0..QUESTIONS).map(|i| FileOffset(text.start as u64 + i * step)).collect();
        for _ in 0..ROUNDS {
            let mut bytes = good.clone();
            for _ in 0..=random.below(1000) {
                let part = &parts[random.below(parts.len())];
                // Some of the damage goes to the header.
                let limit = if random.below(200) == 0 { 80 } else { part.len() };
                bytes[part.start + random.below(limit.min(part.len()))] = u8::try_from(random.below(256)).unwrap();
            }
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            number += 1;
            let refused = |error| assert!(matches!(error, WorkerError::Refused(_)), "{mode} {number}: {error}");
            worker.unwind_table(DOMAIN, FileNumber(number), file.as_fd()).map_or_else(refused, drop);
            match worker.symbolize(Subject::new(DOMAIN, FileNumber(number), file.as_fd()), &offsets, None) {
                Ok(names) => named += names.iter().filter(|n| matches!(n, Symbolized::Frames(_))).count(),
                Err(error) => refused(error),
            }
        }
    }
    // The test would be worth nothing if most damage made a file unreadable.
    assert!(named > 1000, "{named} names");
    assert_eq!((worker.counts().died, worker.counts().spawned), (0, 1));
}

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}
