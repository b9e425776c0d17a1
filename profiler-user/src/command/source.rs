//! Whoever answers a command's questions: a running agent, or the agent's parts in this process.

use super::flags::Reach;
use super::{CommandError, Question, Who, say};
use crate::agent::{self, Running};
use crate::client::{Agent, ClientError, Process};
use crate::config::Settings;
use crate::doctor::StartupError;
use crate::encode::EncodeProfile;
use crate::encode::pprof::Pprof;
use crate::encode::text::stacks::Stacks;
use crate::kind::profiler::Profiler;
use crate::kind::subject::{self, Subject};
use crate::kind::viewer::Viewer;
use crate::kind::{Kind, KindError, processes, table};
use tokio::runtime::Runtime;
use tokio::task::spawn_blocking;

/// Whoever answers.
pub(super) enum Source {
    /// A running agent.
    Agent(Agent),
    /// The parts in this process.
    Here(Box<Running>),
}

impl Source {
    /// The agent; without one, its parts in this process, with that rate of all processes. Blocking.
    pub(super) fn of(reach: &Reach, hz: u32, runtime: &Runtime) -> Result<Source, CommandError> {
        let agent = reach.agent();
        let nobody = match runtime.block_on(agent.is_there()) {
            Ok(()) => return Ok(Source::Agent(agent)),
            Err(error) if reach.is_said() => return Err(error.into()),
            Err(ClientError::NoAgent { source, .. }) => source,
            Err(error) => return Err(error.into()),
        };
        match Source::here(hz) {
            Ok(here) => {
                say(&format!("pprofd: no agent answers at {}: sampling by this process", agent.place()));
                Ok(here)
            }
            Err(CommandError::Startup(StartupError::Host { exit, text })) => Err(CommandError::Neither {
                place: agent.place().to_string(),
                why: nobody.to_string(),
                cause: text,
                exit,
            }),
            Err(error) => Err(error),
        }
    }

    /// Starts the parts in this process, with a rate of all processes; whoever is asked for has the question's. Blocking.
    pub(super) fn here(hz: u32) -> Result<Source, CommandError> {
        let settings = Settings { hz: Some(hz.into()), ..Settings::default() };
        let config = settings.validate().map_err(StartupError::from)?;
        Ok(Source::Here(Box::new(agent::start_quietly(&config)?)))
    }

    /// A profile, as pprof's bytes, or as text if that is asked for.
    pub(super) async fn profile(&self, question: &Question) -> Result<Vec<u8>, CommandError> {
        match self {
            Source::Agent(agent) => Ok(agent.get(&question.path()?, question.waits()).await?),
            Source::Here(running) => Ok(made_here(&running.profiler, question).await?),
        }
    }

    /// The name of a process that lives, if it is known.
    pub(super) async fn comm(&self, who: Who) -> Option<String> {
        let Who::Process(asked) = who else { return None };
        let processes = self.processes().await.ok()?;
        processes.into_iter().find(|process| process.pid == asked.pid.0).map(|process| process.comm)
    }

    /// The processes that live.
    pub(super) async fn processes(&self) -> Result<Vec<Process>, CommandError> {
        match self {
            Source::Agent(agent) => Ok(agent.processes().await?),
            Source::Here(running) => {
                let profiler = running.profiler.clone();
                let listed = spawn_blocking(move || processes::list(&profiler, Viewer::All, false)).await;
                Ok(listed.map_err(KindError::Task)?.into_iter().map(process).collect())
            }
        }
    }

    /// Ends the parts, if they are ours.
    pub(super) fn stop(self) {
        if let Source::Here(running) = self {
            running.stop();
        }
    }
}

fn process(listed: processes::Listed) -> Process {
    Process { pid: listed.pid, parent: listed.parent, comm: listed.comm, uid: listed.uid }
}

async fn made_here(profiler: &Profiler, question: &Question) -> Result<Vec<u8>, KindError> {
    let kind = Kind::find(&question.kind).ok_or_else(|| KindError::NotFound("Unknown profile".to_owned()))?;
    let subject = match question.who {
        Who::Host => Subject::Host,
        Who::Process(asked) => {
            let profiler = profiler.clone();
            let found = spawn_blocking(move || subject::find(&profiler, asked)).await;
            Subject::Process(found.map_err(KindError::Task)??)
        }
    };
    let profile = table::collect(profiler, Viewer::All, subject, kind, &question.parameters()).await?;
    let stacks = question.stacks.is_some();
    spawn_blocking(move || if stacks { Stacks.encode(&profile) } else { Pprof.encode(&profile) })
        .await
        .map_err(KindError::Task)
}
