//! Asks the agent for what a table shows.

use super::usage::{self, Process};
use super::view::{Rows, Table};
use crate::client::{self, Agent};
use crate::command::question::{Question, Who};
use crate::command::{CommandError, functions};
use crate::encode::pprof::decode::decode;
use crate::encode::pprof::message::Profile;
use crate::kind::subject::Asked;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Between two looks at the list of processes, which costs the agent more than their samples.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// Bytes read of the list of users.
const MAX_USERS: u64 = 1 << 20;

/// Makes tables.
pub(super) struct Fetcher {
    agent: Agent,
    who: Option<Who>,
    seconds: u32,
    children: bool,
    /// Names of users by their ids, as far as the host's list has them.
    users: HashMap<u32, String>,
    listed: Vec<client::Process>,
    listed_at: Option<Instant>,
}

impl Fetcher {
    pub(super) fn new(agent: Agent, who: Option<Who>, seconds: u32, children: bool) -> Self {
        Fetcher { agent, who, seconds, children, users: users(), listed: Vec::new(), listed_at: None }
    }

    /// A table of now.
    pub(super) async fn table(&mut self) -> Result<Table, CommandError> {
        match self.who {
            Some(Who::Process(asked)) => self.functions(asked).await,
            Some(Who::Host) | None => self.processes().await,
        }
    }

    async fn functions(&mut self, asked: Asked) -> Result<Table, CommandError> {
        let profile = self.profile(Who::Process(asked), self.children).await?;
        self.list(|listed| listed.iter().any(|process| process.pid == asked.pid.0)).await?;
        let listed = self.listed.iter().find(|process| process.pid == asked.pid.0);
        let subject = match listed {
            Some(process) => format!("process {asked}, {}", process.comm),
            None => format!("process {asked}"),
        };
        Ok(self.of(&subject, &profile, Rows::Functions(functions::of(&profile))))
    }

    async fn processes(&mut self) -> Result<Table, CommandError> {
        let profile = self.profile(Who::Host, false).await?;
        let processes = usage::processes(&profile);
        let known = |listed: &[client::Process]| {
            processes.iter().all(|process| listed.iter().any(|listed| listed.pid == process.pid))
        };
        self.list(known).await?;
        let rows = self.with_users(processes);
        // All, or of an ordinary user his own.
        Ok(self.of("processes", &profile, rows))
    }

    async fn profile(&self, who: Who, children: bool) -> Result<Profile, CommandError> {
        let question = Question { children, ..Question::cpu(who, self.seconds).past(self.seconds) };
        let bytes = self.agent.get(&question.path()?, Duration::ZERO).await?;
        Ok(decode(&bytes)?)
    }

    /// Reads the list of processes anew if something is not in it, but not all the time.
    async fn list(&mut self, is_enough: impl Fn(&[client::Process]) -> bool) -> Result<(), CommandError> {
        let is_old = self.listed_at.is_none_or(|at| at.elapsed() >= LIST_EVERY);
        if is_old && !is_enough(&self.listed) {
            self.listed = self.agent.processes().await?;
            self.listed_at = Some(Instant::now());
        }
        Ok(())
    }

    fn with_users(&self, processes: Vec<Process>) -> Rows {
        let user = |process: &Process| {
            let uid = self.listed.iter().find(|listed| listed.pid == process.pid)?.uid;
            Some(self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string()))
        };
        let named = |process: Process| (user(&process).unwrap_or_else(|| "-".to_owned()), process);
        Rows::Processes(processes.into_iter().map(named).collect())
    }

    fn of(&self, subject: &str, profile: &Profile, rows: Rows) -> Table {
        let place = self.agent.place().to_string();
        Table { subject: subject.to_owned(), place, seconds: profile.duration_nanos as f64 / 1e9, rows, note: None }
    }
}

/// The users of this host. Those that are known elsewhere only are shown by their numbers.
fn users() -> HashMap<u32, String> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open("/etc/passwd").and_then(|file| file.take(MAX_USERS).read_to_string(&mut text));
    if read.is_err() {
        return HashMap::new();
    }
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    text.lines().rev().filter_map(user).collect()
}
