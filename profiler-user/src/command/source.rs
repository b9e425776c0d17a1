//! Whoever answers a command's questions: a running agent, or the agent's parts in this process.

use super::{CommandError, Question, Who};
use crate::agent::{self, Running};
use crate::client::{Agent, Process};
use crate::config::Settings;
use crate::doctor::StartupError;
use crate::encode::EncodeProfile;
use crate::encode::pprof::Pprof;
use crate::kind::profiler::Profiler;
use crate::kind::subject::{self, Subject};
use crate::kind::viewer::Viewer;
use crate::kind::{Answer, Kind, KindError, cpu, processes};
use tokio::task::spawn_blocking;

/// Whoever answers.
pub(super) enum Source {
    /// A running agent.
    Agent(Agent),
    /// The parts in this process.
    Here(Box<Running>),
}

impl Source {
    /// Starts the parts in this process, with a rate of all processes; whoever is asked for has the question's. Blocking.
    pub(super) fn here(hz: u32) -> Result<Source, CommandError> {
        let settings = Settings { hz: Some(hz.into()), ..Settings::default() };
        let config = settings.validate().map_err(StartupError::from)?;
        Ok(Source::Here(Box::new(agent::start_quietly(&config)?)))
    }

    /// A profile, as pprof's bytes.
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
    if kind.answer != Answer::Cpu {
        return Err(KindError::NotImplemented(format!("there is no {} profile in this version", kind.name)));
    }
    let request = cpu::Request::parse(&question.parameters(), profiler.max_seconds)?;
    let subject = match question.who {
        Who::Host => Subject::Host,
        Who::Process(asked) => {
            let profiler = profiler.clone();
            let found = spawn_blocking(move || subject::find(&profiler, asked)).await;
            Subject::Process(found.map_err(KindError::Task)??)
        }
    };
    let profile = cpu::collect(profiler, subject, request).await?;
    spawn_blocking(move || Pprof.encode(&profile)).await.map_err(KindError::Task)
}
