//! `pprofd record`: one profile of a process, or of a command while it runs, by a running agent or by the agent's parts in this
//! process; shows the functions that used most.

mod child;
mod choice;

use super::file::{Named, write_to};
use super::flags::{Reach, Window};
use super::printable::clean;
use super::question::{CPU, Question, Who};
use super::source::Source;
use super::{CommandError, program, progress, report, runtime, say, write_out};
use crate::client::ClientError;
use crate::encode::pprof::decode::decode;
use crate::encode::pprof::message::Profile;
use crate::kind::KindError;
use child::Child;
use clap::{ArgGroup, Args};
use std::ffi::OsString;
use std::fmt::Write;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Functions that are shown.
const SHOWN: usize = 20;
/// Length of a command's window at most, unless it was said.
const COMMAND_SECONDS: u32 = 300;
/// A past window reaches back so much further than what is to be in it.
const MARGIN: Duration = Duration::from_millis(100);

/// What is asked.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("whom").required(true).args(["pid", "comm", "command"])),
    override_usage = "pprofd record [OPTIONS] <--pid <PID>|--comm <NAME>> [KIND]\n       pprofd record [OPTIONS] -- <COMMAND>...",
    after_help = "Of a command, --seconds is the most that is recorded [default: 300]; pprofd then ends with the command's own \
        exit code. Ctrl-C ends a window early and keeps what came."
)]
pub struct Arguments {
    /// The profile
    #[arg(value_name = "KIND", default_value = CPU)]
    kind: String,
    /// A process's number, or `host` for all processes
    #[arg(long, value_name = "PID")]
    pid: Option<Who>,
    /// The process of this name; if others of the name descend from it, with them
    #[arg(long, value_name = "NAME")]
    comm: Option<String>,
    #[command(flatten)]
    window: Window,
    /// File to write; - is standard output [default: ./pprofd.NAME.PID.KIND.NUMBER.pb.gz]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Sample by this process, also where an agent runs; needs what the agent needs
    #[arg(long, conflicts_with_all = ["socket", "url"])]
    no_agent: bool,
    #[command(flatten)]
    reach: Reach,
    /// Start this command and record it and all that it starts, from its start to its end
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Records. Ends as the command that was recorded, if there was one.
pub fn run(arguments: &Arguments) -> Result<ExitCode, CommandError> {
    if is_standard(arguments.output.as_deref()) && std::io::stdout().is_terminal() {
        let text = "a profile is not written to a terminal: send standard output to a file or another program";
        return Err(CommandError::Usage(text.to_owned()));
    }
    if let Some(word) = arguments.command.first() {
        Child::check(word)?;
    }
    let runtime = runtime()?;
    let source = source(arguments, &runtime)?;
    let recorded = runtime.block_on(record(&source, arguments));
    source.stop();
    recorded
}

/// The agent; without one, its parts in this process.
fn source(arguments: &Arguments, runtime: &Runtime) -> Result<Source, CommandError> {
    // Of a command, and of children that are forked meanwhile, nobody knows the numbers beforehand.
    let base = if arguments.window.children() || !arguments.command.is_empty() { arguments.window.hz() } else { 0 };
    if arguments.no_agent {
        return Source::here(base);
    }
    Source::of(&arguments.reach, base, runtime)
}

async fn record(source: &Source, arguments: &Arguments) -> Result<ExitCode, CommandError> {
    if arguments.command.is_empty() {
        let (question, comm) = chosen(source, arguments).await?;
        let what = comm.clone().map_or_else(|| question.who.to_string(), |comm| format!("{comm} ({})", question.who));
        let taken = wait(source, &question, &what, None).await?;
        // One that had just started may have become another program since.
        let comm = source.comm(question.who).await.or(comm);
        finish(arguments, &question, comm.as_deref(), &taken)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut child = Child::start_stopped(&arguments.command)?;
    let who = Who::Process(child.asked());
    let question = arguments.window.question(who, &arguments.kind, Some(COMMAND_SECONDS));
    let question = Question { children: true, ..question };
    check(source, &question).await?;
    let name = child.name().to_owned();
    let taken = wait(source, &question, &name, Some(&mut child)).await?;
    finish(arguments, &question, Some(&name), &taken)?;
    Ok(child.end().await?.into())
}

/// Fails if the question will be refused: before a command does anything, the same is asked of its past, which it does not have.
async fn check(source: &Source, question: &Question) -> Result<(), CommandError> {
    match source.profile(&question.past(question.seconds.unwrap_or(1))).await {
        Ok(_)
        | Err(
            CommandError::Client(ClientError::Refused { status: 404, .. }) | CommandError::Kind(KindError::NotFound(_)),
        ) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Who is meant, and the name.
async fn chosen(source: &Source, arguments: &Arguments) -> Result<(Question, Option<String>), CommandError> {
    let question = |who| arguments.window.question(who, &arguments.kind, None);
    let Some(name) = &arguments.comm else {
        let who = arguments.pid.unwrap_or(Who::Host);
        return Ok((question(who), source.comm(who).await));
    };
    let choice = choice::by_name(&source.processes().await?, name)?;
    if choice.others > 0 {
        say(&format!(
            "pprofd: {} processes are called {}; all descend from {}, which is recorded with all its descendants",
            choice.others + 1,
            clean(name),
            choice.process.pid
        ));
    }
    let mut question = question(Who::Process(choice.process.asked()));
    question.children |= choice.others > 0;
    Ok((question, Some(choice.process.comm)))
}

/// A profile that was taken.
struct Taken {
    bytes: Vec<u8>,
    /// What ended the window before its time.
    early: Option<&'static str>,
}

/// Waits for the window's end; or for what ends it before its time (Ctrl-C, the end of the command), and then takes what the
/// recorder has of it.
async fn wait(
    source: &Source,
    question: &Question,
    what: &str,
    child: Option<&mut Child>,
) -> Result<Taken, CommandError> {
    let began = Instant::now();
    let length = if child.is_some() { None } else { Some(question.waits()) };
    let live = async {
        tokio::select! {
            // Asked for before the command goes on.
            biased;
            bytes = source.profile(question) => bytes.map(Ok),
            () = interrupted() => Ok(Err("Ctrl-C")),
            () = Child::ended(child) => Ok(Err("the end of the command")),
        }
    };
    match progress::during(what, length, live).await? {
        Ok(bytes) => Ok(Taken { bytes, early: None }),
        Err(early) if question.kind == CPU => {
            let past = question.past(whole_seconds(began.elapsed() + MARGIN));
            let bytes = tokio::select! {
                bytes = source.profile(&past) => bytes?,
                () = interrupted() => return Err(given_up()),
            };
            Ok(Taken { bytes, early: Some(early) })
        }
        Err(_) => Err(given_up()),
    }
}

fn given_up() -> CommandError {
    CommandError::Unavailable("given up; nothing is written".to_owned())
}

fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).saturating_add(u32::from(time.subsec_nanos() > 0))
}

/// Ends at Ctrl-C.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Shows what was taken and writes it.
fn finish(arguments: &Arguments, question: &Question, comm: Option<&str>, taken: &Taken) -> Result<(), CommandError> {
    let profile = decode(&taken.bytes)?;
    let output = arguments.output.as_deref();
    let named = Named { comm, who: question.who, kind: &question.kind };
    let path = match output {
        Some(_) if is_standard(output) => {
            write_out(&taken.bytes)?;
            None
        }
        Some(path) => {
            write_to(path, &taken.bytes)?;
            Some(path.to_owned())
        }
        None => Some(named.write_into(Path::new(""), &taken.bytes)?),
    };
    // Standard output is the command's, or the profile's.
    let is_free = arguments.command.is_empty() && path.is_some();
    let on_terminal = if is_free { std::io::stdout().is_terminal() } else { std::io::stderr().is_terminal() };
    let text = text(&profile, taken, on_terminal);
    if is_free {
        write_out(text.as_bytes())?;
    } else {
        say(text.trim_end());
    }
    if let Some(path) = path {
        let words = ["go", "tool", "pprof"].map(OsString::from).into_iter().chain([path.into_os_string()]);
        say(&format!("\npprofd: more by: {}", program::line(&words.collect::<Vec<_>>())));
    }
    Ok(())
}

/// What a profile says of itself, and its functions.
fn text(profile: &Profile, taken: &Taken, on_terminal: bool) -> String {
    let mut text = report::comments(profile);
    if let Some(early) = taken.early {
        _ = writeln!(text, "Ended by {early}: the window is of the whole seconds before that.");
    }
    let size = on_terminal.then(|| crossterm::terminal::size().ok()).flatten();
    let width = size.map_or(report::WIDTH, |(columns, _)| columns.into());
    _ = writeln!(text, "\n{}", report::functions(profile, SHOWN, width).join("\n"));
    text
}

fn is_standard(output: Option<&Path>) -> bool {
    output.is_some_and(|path| path.as_os_str() == "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_whole_seconds() {
        for (millis, seconds) in [(0, 0), (1, 1), (1000, 1), (1001, 2), (59_100, 60)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis}");
        }
    }
}
