//! One process by its number: `/pid/PID/`, or `/pid/PID@START/` if the number was reused, with the start time in clock
//! ticks as in field 22 of `/proc/PID/stat`.

use super::{Selector, SelectorKind, Subject};
use crate::event::Pid;
use crate::target::same_process;

/// `/pid/PID` and `/pid/PID@START`.
pub(super) const KIND: SelectorKind = SelectorKind { name: "pid", arguments: 1, parse };

/// One process.
#[derive(Debug)]
struct OneProcess {
    pid: Pid,
    start_ticks: Option<u64>,
}

impl Selector for OneProcess {
    fn selects(&self, subject: &Subject<'_>) -> bool {
        let process = subject.process;
        process.pid == self.pid && self.start_ticks.is_none_or(|ticks| same_process(process.start, ticks))
    }

    fn only(&self) -> Option<Pid> {
        Some(self.pid)
    }
}

fn parse(arguments: &[&str]) -> Option<Box<dyn Selector>> {
    let &[text] = arguments else { return None };
    let (pid, start) = text.split_once('@').map_or((text, None), |(pid, start)| (pid, Some(start)));
    let start_ticks = start.map(number).map_or(Some(None), |ticks| ticks.map(Some))?;
    let pid = u32::try_from(number(pid)?).ok().filter(|pid| *pid > 0)?;
    Some(Box::new(OneProcess { pid: Pid(pid), start_ticks }))
}

/// Digits only: `parse` of the standard library would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
