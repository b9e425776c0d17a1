//! `pprofd pprof`: takes a profile from a running agent, keeps it where pprof keeps its own, and starts `go tool pprof` on it.

use super::file::{Named, pprofs_folder};
use super::flags::{Reach, Window};
use super::question::{CPU, Who};
use super::source::Source;
use super::{CommandError, Question, program, progress, runtime, say, write_out};
use crate::encode::pprof::decode::decode;
use crate::kind::Kind;
use clap::Args;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is asked.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A process's number, NUMBER@START, or `host` for all processes
    #[arg(value_name = "PID")]
    who: Who,
    /// The profile
    #[arg(value_name = "KIND", default_value = CPU)]
    kind: String,
    /// For the window that ended that many seconds ago, at once; of a process that has exited too
    #[arg(long, value_name = "N")]
    ago: Option<u32>,
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    reach: Reach,
    /// Arguments of pprof, such as -top or -http=:8080
    #[arg(last = true, value_name = "ARGS")]
    pprof: Vec<OsString>,
}

/// Fetches the profile and becomes pprof. Comes back if there is none here: then it has printed what to run.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    if Kind::find(&arguments.kind).is_some_and(|kind| kind.works() && kind.sample_types.is_empty()) {
        return Err(CommandError::Usage(format!("{} is a text, which pprof cannot show", arguments.kind)));
    }
    let question = arguments.window.question(arguments.who, &arguments.kind, None);
    let question = Question { ago: arguments.ago, ..question };
    let source = Source::Agent(arguments.reach.agent());
    let file = runtime()?.block_on(fetch(&source, &question))?;
    say(&format!("pprofd: saved as {}", file.display()));
    let more = || arguments.pprof.iter().cloned().chain([file.clone().into_os_string()]);
    for start in [&["go", "tool", "pprof"][..], &["pprof"]] {
        if let [name, first @ ..] = start
            && let Some(path) = program::find(OsStr::new(name))
        {
            return become_program(&path, first.iter().map(OsString::from).chain(more())).map(|never| match never {});
        }
    }
    say("pprofd: neither go nor pprof is on PATH; with one of them, run");
    let line: Vec<OsString> = ["go", "tool", "pprof"].map(OsString::from).into_iter().chain(more()).collect();
    write_out(format!("{}\n", program::line(&line)).as_bytes()).map(drop)
}

async fn fetch(source: &Source, question: &Question) -> Result<PathBuf, CommandError> {
    let what = format!("{} of {}", question.kind, question.who);
    let bytes = progress::during(&what, Some(question.waits()), source.profile(question)).await?;
    decode(&bytes)?;
    let comm = source.comm(question.who).await;
    let named = Named { comm: comm.as_deref(), who: question.who, kind: &question.kind };
    named.write_into(&pprofs_folder()?, &bytes)
}

/// Goes on as another program, which then has the terminal and its signals for itself.
fn become_program(path: &Path, arguments: impl Iterator<Item = OsString>) -> Result<Infallible, CommandError> {
    let source = Command::new(path).args(arguments).exec();
    Err(CommandError::Program { program: path.display().to_string(), source })
}
