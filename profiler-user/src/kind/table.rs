//! A profile of any kind that is a table, by the kind's name and a request's parameters.

use super::difference::difference;
use super::parameters::Parameters;
use super::profile::Profile;
use super::profiler::Profiler;
use super::subject::Subject;
use super::viewer::Viewer;
use super::{Answer, Kind, KindError, cpu, thread_create, threads, waits, wall};
use std::time::Duration;

/// Makes the profile of what the viewer may see of its subject. Dropping the future gives everything back.
pub async fn collect(
    profiler: &Profiler,
    viewer: Viewer,
    subject: Subject,
    kind: &Kind,
    parameters: &Parameters,
) -> Result<Profile, KindError> {
    if kind.answer == Answer::Cpu {
        let request = cpu::Request::parse(parameters, profiler.max_seconds)?;
        return cpu::collect_for(profiler, viewer, subject, request).await;
    }
    if let Answer::Waits(what) = kind.answer {
        let request = waits::Request::parse(what, parameters, profiler.max_seconds)?;
        return waits::collect_for(profiler, viewer, subject, request).await;
    }
    if kind.answer == Answer::Wall {
        let request = wall::Request::parse(parameters, profiler.max_seconds)?;
        return wall::collect_for(profiler, viewer, subject, request).await;
    }
    let Some(seconds) = parameters.difference(profiler.max_seconds)? else {
        return named(profiler, viewer, subject, kind, parameters).await;
    };
    let before = named(profiler, viewer, subject, kind, parameters).await?;
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let after = named(profiler, viewer, subject, kind, parameters).await?;
    Ok(difference(&before, after))
}

/// One of the kinds that Go calls named, as it is now.
async fn named(
    profiler: &Profiler,
    viewer: Viewer,
    subject: Subject,
    kind: &Kind,
    parameters: &Parameters,
) -> Result<Profile, KindError> {
    match kind.answer {
        Answer::Threads => {
            let request = threads::Request::parse(parameters)?;
            threads::collect_for(profiler, viewer, subject, request).await
        }
        Answer::ThreadCreate => {
            let request = thread_create::Request::parse(parameters)?;
            thread_create::collect_for(profiler, viewer, subject, request).await
        }
        Answer::Cpu
        | Answer::Waits(_)
        | Answer::Wall
        | Answer::Cmdline
        | Answer::Symbol
        | Answer::NoTrace
        | Answer::NoProfile => {
            Err(KindError::NotImplemented(format!("there is no {} profile in this version", kind.name)))
        }
    }
}
