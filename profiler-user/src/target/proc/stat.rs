//! `/proc/PID/stat`: one line; the name in parentheses may hold anything, so fields are counted from the LAST `)`.

use super::number;
use crate::event::Pid;

/// What `/proc/PID/stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Name of the leader: any bytes.
    pub comm: Vec<u8>,
    /// State letter (`R`, `S`, `Z`, ...).
    pub state: u8,
    /// Parent's pid; 0 for none.
    pub parent: Pid,
    /// CPU time in user mode, clock ticks.
    pub user_ticks: u64,
    /// CPU time in the kernel, clock ticks.
    pub system_ticks: u64,
    /// CPU time of children that it has waited for, and of those that these had waited for, clock ticks.
    pub reaped_ticks: u64,
    /// Threads.
    pub threads: u32,
    /// Start time since boot, clock ticks (field 22).
    pub start_ticks: u64,
}

impl Stat {
    /// Dead, but not yet waited for by its parent.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Parses the line; `None` if it is not one.
pub(super) fn parse(line: &[u8]) -> Option<Stat> {
    let open = line.iter().position(|b| *b == b'(')?;
    let close = line.iter().rposition(|b| *b == b')')?;
    let comm = line.get(open + 1..close)?.to_vec();
    let fields: Vec<&[u8]> = line.get(close + 1..)?.trim_ascii().split(|b| *b == b' ').collect();
    // man 5 proc counts the pid as 1 and the name as 2, so the state, 3, is the first here.
    let field = |man: usize| fields.get(man - 3).copied();
    let &[state] = field(3)? else { return None };
    Some(Stat {
        comm,
        state,
        parent: Pid(number(field(4)?)?),
        user_ticks: number(field(14)?)?,
        system_ticks: number(field(15)?)?,
        reaped_ticks: number::<u64>(field(16)?)?.checked_add(number(field(17)?)?)?,
        threads: number(field(20)?)?,
        start_ticks: number(field(22)?)?,
    })
}
