//! `pprofd doctor --bundle`: what this host allows, and what a running agent says of itself, in one file for a bug report.

use super::flags::Reach;
use super::{CommandError, runtime};
use crate::client::{Agent, ClientError};
use crate::config::Config;
use crate::doctor::{self, Said, StartupError};
use std::path::Path;
use std::time::Duration;

/// Writes the bundle and returns what is inside, for who asked. `config` is what an agent would run with that is started now.
pub fn write(path: &Path, reach: &Reach, config: &Config) -> Result<String, CommandError> {
    let said = runtime()?.block_on(ask(&reach.agent()));
    let said = said.map_err(|error| format!("{:#}", anyhow::Error::from(error)));
    Ok(doctor::bundle(path, &doctor::examine(), config, said).map_err(StartupError::from)?)
}

async fn ask(agent: &Agent) -> Result<Said, ClientError> {
    let diagnostics = agent.get("/api/v1/diagnostics", Duration::ZERO).await?;
    Ok(Said { diagnostics, metrics: agent.get("/metrics", Duration::ZERO).await? })
}
