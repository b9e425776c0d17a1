//! Which process a name means. Pure.

use crate::client::Process;
use crate::command::CommandError;
use crate::command::printable::clean;
use crate::event::Pid;
use crate::kind::subject::Asked;
use std::collections::HashMap;

/// Bytes of a name that the kernel keeps.
const COMM: usize = 15;
/// Numbers that an error lists.
const LISTED: usize = 20;

/// The process that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) process: Process,
    /// Others of the name, all of which descend from it.
    pub(super) others: usize,
}

impl Process {
    /// As a question names it.
    pub(super) fn asked(&self) -> Asked {
        Asked { pid: Pid(self.pid), start: None }
    }
}

/// The process of this name: the only one, or the one from which all others of the name descend, as a server's master is.
pub(super) fn by_name(processes: &[Process], name: &str) -> Result<Choice, CommandError> {
    let wanted = kept(name);
    let named: Vec<&Process> = processes.iter().filter(|process| process.comm == wanted).collect();
    let parents: HashMap<u32, u32> = processes.iter().map(|process| (process.pid, process.parent)).collect();
    let heads: Vec<&Process> =
        named.iter().copied().filter(|process| named.iter().all(|other| is_within(other, process, &parents))).collect();
    match (named.as_slice(), heads.as_slice()) {
        ([], _) => {
            Err(CommandError::Unavailable(format!("no process is called {}, or you may not see it", clean(wanted))))
        }
        (_, [head]) => Ok(Choice { process: (*head).clone(), others: named.len() - 1 }),
        _ => {
            let pids: Vec<String> = named.iter().take(LISTED).map(|process| process.pid.to_string()).collect();
            let more =
                named.len().checked_sub(LISTED + 1).map_or(String::new(), |more| format!(" and {} more", more + 1));
            Err(CommandError::Usage(format!(
                "{} processes are called {}, and none of them started the others: say which by --pid ({}{more}), or record \
                 one that started them with --children",
                named.len(),
                clean(wanted),
                pids.join(", ")
            )))
        }
    }
}

/// As much of a name as the kernel keeps.
fn kept(name: &str) -> &str {
    let end = (0..=name.len().min(COMM)).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    name.get(..end).unwrap_or(name)
}

/// True if a process is another one, or descends from it.
fn is_within(process: &Process, head: &Process, parents: &HashMap<u32, u32>) -> bool {
    let mut at = process.pid;
    // A list that was read while processes came and went may go round in a circle.
    for _ in 0..=parents.len() {
        if at == head.pid {
            return true;
        }
        match parents.get(&at) {
            Some(parent) => at = *parent,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(processes: &[(u32, u32, &str)]) -> Vec<Process> {
        let process = |(pid, parent, comm): &(u32, u32, &str)| Process {
            pid: *pid,
            parent: *parent,
            comm: (*comm).to_owned(),
            uid: 0,
        };
        processes.iter().map(process).collect()
    }

    #[test]
    fn one_process_or_the_head_of_a_family() {
        let host = list(&[
            (1, 0, "init"),
            (5, 1, "nginx"),
            (6, 5, "nginx"),
            (7, 6, "sh"),
            (8, 7, "nginx"),
            (9, 1, "redis"),
            (10, 1, "a-name-of-fifte"),
        ]);
        let check = |name: &str, pid: u32, others: usize| {
            let choice = by_name(&host, name).expect(name);
            assert_eq!((choice.process.pid, choice.others), (pid, others), "{name}");
        };
        check("redis", 9, 0);
        check("nginx", 5, 2);
        check("a-name-of-fifteen-and-more", 10, 0);
        assert!(by_name(&host, "redi").is_err());
    }

    #[test]
    fn strangers_of_one_name_are_listed() {
        let host = list(&[(1, 0, "init"), (5, 1, "w"), (6, 1, "w"), (7, 6, "w"), (20, 21, "loop"), (21, 20, "loop")]);
        let error = by_name(&host, "w").expect_err("several").to_string();
        assert!(error.starts_with("3 processes are called w") && error.contains("--pid (5, 6, 7)"), "{error}");
        assert!(by_name(&host, "loop").is_err());
    }
}
