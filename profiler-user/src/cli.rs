//! The command line: flags and their environment variables, what each command does, and the exit codes.

use crate::command::flags::Reach;
use crate::command::printable::clean_lines;
use crate::command::{CommandError, bundle, completions, dump, man, pprof, record as recording, top};
use crate::config::{Config, ConfigError, Settings, Size};
use crate::doctor::{self, StartupError};
use crate::exit::Exit;
use crate::{kernel, late, record, tables};
use clap::builder::BoolishValueParser;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Code, threads, the kernel's symbols, HTTP, a table that is being built, and what allocators hold back.
const PROGRAM: u64 = 64 << 20;

/// Profiles every process of a Linux host with eBPF and serves the profiles as Go's pprof does.
///
/// Start it as root, then: go tool pprof http://127.0.0.1:7060/pid/PID/debug/pprof/profile?seconds=10
#[derive(Debug, Parser)]
#[command(name = "pprofd", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; without one: serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of `serve`.
    #[command(flatten)]
    pub serve: Flags,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sample and serve (the default).
    Serve(Box<Flags>),
    /// Say what this host allows, what it does not, and what to do about it.
    Doctor {
        /// Say of this program or library instead what a profile can show of it: names, lines, and how its stacks are unwound
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
        /// Say it as JSON
        #[arg(long, conflicts_with = "file")]
        json: bool,
        /// Write what a bug report needs into one file: this report, versions, and settings, metrics and last log lines of an
        /// agent that runs. It says what is inside
        #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "json"], num_args = 0..=1,
              default_missing_value = "pprofd-bundle.tar.gz")]
        bundle: Option<PathBuf>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Record one profile of a process or a command, by a running agent or without one, and show what used most.
    Record(Box<recording::Arguments>),
    /// Show which processes use the CPUs now, or which functions of one process.
    Top(Box<top::Arguments>),
    /// Take a profile from a running agent and open it with `go tool pprof`.
    Pprof(Box<pprof::Arguments>),
    /// Print the stacks of all threads of a process as they stand, without stopping it.
    Dump(dump::Arguments),
    /// Print a script that completes this command line in a shell.
    Completions(completions::Arguments),
    /// Print the manual.
    Man(man::Arguments),
    /// Load each program of a BPF object into this kernel and print its name, the instructions that the verifier walked, and
    /// those after translation.
    #[command(hide = true)]
    EbpfInfo {
        /// The object.
        #[arg(value_name = "OBJECT")]
        object: PathBuf,
    },
    /// A worker that reads what targets control; the agent starts it.
    #[command(hide = true)]
    SymbolWorker,
}

/// Flags of `serve`. All are optional, so that the configuration file can say what they do not.
#[derive(Clone, Debug, Default, Args)]
pub struct Flags {
    /// Address and port of HTTP; other than a loopback address only with --allow-remote and --token-file [default: 127.0.0.1:7060]
    #[arg(long, env = "PPROFD_LISTEN", value_name = "ADDR")]
    listen: Option<String>,
    /// Unix socket of HTTP, which knows its callers by their user ids; `none` for none [default: /run/pprofd/pprofd.sock]
    #[arg(long, env = "PPROFD_SOCKET", value_name = "PATH")]
    socket: Option<String>,
    /// Group whose members see all processes by the Unix socket, as root does; others see those that are wholly their own
    #[arg(long, env = "PPROFD_SOCKET_GROUP", value_name = "GROUP")]
    socket_group: Option<String>,
    /// File of tokens, a line each `NAME SCOPE TOKEN` with the scope all, metrics or uid=N: every request to the address must
    /// then bring one, as bearer or as password
    #[arg(long, env = "PPROFD_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Let --listen have an address that other hosts reach
    #[arg(long, env = "PPROFD_ALLOW_REMOTE", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    allow_remote: Option<bool>,
    /// Name by which a proxy calls the loopback address; may be given several times
    #[arg(long, env = "PPROFD_ALLOWED_HOST", value_name = "NAME", value_delimiter = ',')]
    allowed_host: Option<Vec<String>>,
    /// Samples a second of every process, always; 0 to 999, 0 is off [default: 19]
    #[arg(long, env = "PPROFD_HZ", value_name = "N")]
    hz: Option<u64>,
    /// What is recorded of all processes all the time: any of cpu, block, mutex, with commas between them [default: cpu]
    #[arg(long, env = "PPROFD_RECORD", value_name = "KINDS")]
    record: Option<String>,
    /// Memory for recorded samples [default: 64MiB]
    #[arg(long, env = "PPROFD_RECORDER_MEMORY", value_name = "SIZE")]
    recorder_memory: Option<Size>,
    /// Memory for unwind tables in the kernel [default: 128MiB]
    #[arg(long, env = "PPROFD_TABLES_MEMORY", value_name = "SIZE")]
    tables_memory: Option<Size>,
    /// Memory for names of functions [default: 32MiB]
    #[arg(long, env = "PPROFD_NAMES_MEMORY", value_name = "SIZE")]
    names_memory: Option<Size>,
    /// Longest window of a request, seconds [default: 300]
    #[arg(long, env = "PPROFD_MAX_SECONDS", value_name = "N")]
    max_seconds: Option<u64>,
    /// How long the waits of a process are watched behind the last request for them, seconds [default: 600]
    #[arg(long, env = "PPROFD_WATCH_LINGER", value_name = "N")]
    watch_linger: Option<u64>,
    /// Requests served at a time [default: 1024]
    #[arg(long, env = "PPROFD_MAX_REQUESTS", value_name = "N")]
    max_requests: Option<u64>,
    /// Memory for answers that are not fetched yet, and the longest one [default: 64MiB]
    #[arg(long, env = "PPROFD_MAX_RESPONSE", value_name = "SIZE")]
    max_response: Option<Size>,
    /// Memory for samples on their way from the kernel; a power of two [default: 8MiB]
    #[arg(long, env = "PPROFD_RING_MEMORY", value_name = "SIZE")]
    ring_memory: Option<Size>,
    /// Processes that read symbols; 1 to 4 [default: 2]
    #[arg(long, env = "PPROFD_WORKERS", value_name = "N")]
    workers: Option<u64>,
    /// Address space of each of these processes [default: 1GiB]
    #[arg(long, env = "PPROFD_WORKER_MEMORY", value_name = "SIZE")]
    worker_memory: Option<Size>,
    /// Sample pprofd like any other process
    #[arg(long, env = "PPROFD_PROFILE_SELF", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    profile_self: Option<bool>,
    /// Write logs as JSON
    #[arg(long, env = "PPROFD_LOG_JSON", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    log_json: Option<bool>,
    /// TOML file with these settings by the same names; a flag counts first, then the environment, then the file
    #[arg(long, env = "PPROFD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// A freshly built BPF object (debug builds)
    #[cfg(debug_assertions)]
    #[arg(long, env = "PPROFD_EBPF_OBJECT", value_name = "FILE", hide = true)]
    ebpf_object: Option<PathBuf>,
}

impl Flags {
    /// The configuration by flags, environment and file, checked.
    pub fn config(self) -> Result<Config, ConfigError> {
        let file = self.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
        self.settings().or(file).validate()
    }

    fn settings(self) -> Settings {
        Settings {
            listen: self.listen,
            socket: self.socket,
            socket_group: self.socket_group,
            token_file: self.token_file,
            allow_remote: self.allow_remote,
            allowed_host: self.allowed_host,
            hz: self.hz,
            record: self.record,
            recorder_memory: self.recorder_memory,
            tables_memory: self.tables_memory,
            names_memory: self.names_memory,
            max_seconds: self.max_seconds,
            watch_linger: self.watch_linger,
            max_requests: self.max_requests,
            max_response: self.max_response,
            ring_memory: self.ring_memory,
            workers: self.workers,
            worker_memory: self.worker_memory,
            profile_self: self.profile_self,
            log_json: self.log_json,
            #[cfg(debug_assertions)]
            ebpf_object: self.ebpf_object,
            #[cfg(not(debug_assertions))]
            ebpf_object: None,
        }
    }
}

impl Cli {
    /// The command with its complete help, as `--help` shows it.
    pub fn documented() -> clap::Command {
        Cli::command().after_help(budgets()).mut_subcommand("serve", |serve| serve.after_help(budgets()))
    }

    /// Reads a command line.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
        Cli::from_arg_matches(&Cli::documented().try_get_matches_from(arguments)?)
    }
}

/// What the program may take at most.
fn budgets() -> String {
    let config = Config::default();
    let rooms = [
        record::PROCESS_TABLE,
        record::QUEUE_BYTES,
        record::LIVE_BYTES,
        record::TOTALS_BYTES + record::WAITS_BYTES,
        late::MAX_BYTES,
        tables::FILE_RECORDS,
        kernel::OTHER_MAPS,
        PROGRAM,
    ];
    let [processes, queue, live, waits, late, files, maps, program] = rooms.map(Size);
    let sum = Size(config.memory_budget().0 + rooms.iter().sum::<u64>());
    format!(
        "Memory: the budgets above, with {processes} for the table of processes, {queue} for what waits to be recorded, {live} for what created threads, {waits} for waits, {late} for \
         stacks that wait for a table, {files} for records of files, {maps} for other maps in the kernel (and {} for each CPU) and \
         {program} for the program itself, add up to {sum} by default; they bound the agent's resident and locked memory. Profiles \
         that are being made take what they need beside it. Each of the {} symbol workers may map {} while it works.\n\
         Exit codes: 0 done, 64 usage or configuration, 69 the host lacks something, 70 a bug, 77 no permission.",
        Size(kernel::MAPS_OF_A_CPU),
        config.workers,
        Size(config.worker_memory)
    )
}

/// The program: reads the command line, does it, says what went wrong on standard error.
pub fn main() -> ExitCode {
    // The panic hook has printed what happened.
    std::panic::catch_unwind(|| run(std::env::args_os())).unwrap_or(Exit::Bug.into())
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::read(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.command {
        None => serve(cli.serve),
        Some(Command::Serve(flags)) => serve(*flags),
        Some(Command::Doctor { file: Some(path), .. }) => finish(doctor::describe(&path).map(|lines| print(&lines))),
        Some(Command::Record(arguments)) => ended(recording::run(&arguments)),
        Some(Command::Top(arguments)) => ended(top::run(&arguments).map(|()| Exit::Done.into())),
        Some(Command::Pprof(arguments)) => ended(pprof::run(&arguments).map(|()| Exit::Done.into())),
        Some(Command::Dump(arguments)) => ended(dump::run(&arguments).map(|()| Exit::Done.into())),
        Some(Command::Completions(arguments)) => {
            ended(completions::run(&arguments, Cli::documented()).map(|()| Exit::Done.into()))
        }
        Some(Command::Man(arguments)) => ended(man::run(&arguments, Cli::documented()).map(|()| Exit::Done.into())),
        Some(Command::Doctor { bundle: Some(path), reach, .. }) => ended(bundle(&path, &reach)),
        Some(Command::Doctor { json, .. }) => diagnose(json),
        Some(Command::EbpfInfo { object }) => finish(crate::agent::ebpf_info(&object).map(|lines| print(&lines))),
        Some(Command::SymbolWorker) => crate::agent::symbol_worker(),
    }
}

fn serve(flags: Flags) -> ExitCode {
    finish(flags.config().map_err(StartupError::from).and_then(crate::agent::run))
}

fn finish(done: Result<(), StartupError>) -> ExitCode {
    match done {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            let exit = error.exit();
            complain(&format!("pprofd: {:#}", anyhow::Error::from(error)));
            exit.into()
        }
    }
}

fn ended(done: Result<ExitCode, CommandError>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(error) => {
            let exit = error.exit();
            // It may say what a target or somebody who poses as an agent said.
            complain(&clean_lines(&format!("pprofd: {:#}", anyhow::Error::from(error))));
            exit.into()
        }
    }
}

/// The settings of an agent that were started now are those of the environment, since no flag is given.
fn bundle(path: &Path, reach: &Reach) -> Result<ExitCode, CommandError> {
    let bare = Cli::read(["pprofd".into()]).map_err(|error| CommandError::Bug(error.into()))?;
    let config = bare.serve.config().map_err(StartupError::from)?;
    print(&bundle::write(path, reach, &config)?);
    Ok(Exit::Done.into())
}

fn diagnose(json: bool) -> ExitCode {
    let report = doctor::examine();
    if json {
        match report.json() {
            Ok(text) => print(&text),
            Err(error) => return finish(Err(StartupError::Bug(error.into()))),
        }
    } else {
        let colors = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        print(&report.table(colors));
    }
    report.exit().into()
}

/// Help and version end well, everything else is wrong usage.
fn usage(error: &clap::Error) -> ExitCode {
    drop(error.print());
    if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() }
}

fn print(text: &str) {
    // A reader that is gone (`| head`) is no error.
    drop(std::io::stdout().write_all(text.as_bytes()));
}

fn complain(sentence: &str) {
    drop(writeln!(std::io::stderr(), "{sentence}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::read(std::iter::once("pprofd").chain(arguments.iter().copied()).map(OsString::from))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::documented().debug_assert();
    }

    #[test]
    fn serve_is_the_default_and_takes_the_same_flags() {
        let flags = |arguments: &[&str]| match read(arguments).expect("valid") {
            Cli { command: None, serve } => serve.config(),
            Cli { command: Some(Command::Serve(serve)), .. } => serve.config(),
            other => panic!("{other:?}"),
        };
        let config = flags(&["--hz", "7", "--log-json"]).expect("valid");
        assert_eq!((config.hz, config.log_json), (7, true));
        assert_eq!(flags(&["serve", "--hz=7", "--log-json=true"]).expect("valid"), config);
        assert_eq!(flags(&[]).expect("valid"), Config::default());
    }

    #[test]
    fn the_defaults_that_help_states_are_those_in_force() {
        let help = Cli::documented().render_help().to_string();
        let default = Config::default();
        let size = |bytes| Size(bytes).to_string();
        for (flag, value) in [
            ("listen", default.listen.to_string()),
            ("socket", default.socket.to_string()),
            ("hz", default.hz.to_string()),
            ("recorder-memory", size(default.recorder_memory)),
            ("tables-memory", size(default.tables_memory)),
            ("names-memory", size(default.names_memory)),
            ("max-seconds", default.max_window.as_secs().to_string()),
            ("watch-linger", default.watch_linger.as_secs().to_string()),
            ("max-requests", default.max_requests.to_string()),
            ("max-response", size(default.max_response)),
            ("ring-memory", size(default.ring_memory)),
            ("workers", default.workers.to_string()),
            ("worker-memory", size(default.worker_memory)),
        ] {
            let after = help.split_once(&format!("--{flag} <")).map_or("", |(_, after)| after);
            let stated = after.split_once("[default: ").and_then(|(_, rest)| rest.split_once(']'));
            assert_eq!(stated.map(|(stated, _)| stated), Some(value.as_str()), "--{flag}");
        }
    }

    #[test]
    fn every_flag_has_a_variable_of_its_name() {
        for argument in Cli::documented().get_arguments().filter(|argument| argument.get_long() != Some("help")) {
            let Some(long) = argument.get_long().filter(|long| *long != "version") else { continue };
            let variable = format!("PPROFD_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env(), Some(variable.as_ref()), "--{long}");
        }
    }

    #[test]
    fn wrong_usage_is_an_error() {
        for arguments in [&["--nonsense"][..], &["--hz"], &["--hz", "many"], &["--ring-memory", "8MB"], &["fly"]] {
            assert!(read(arguments).is_err_and(|error| error.use_stderr()), "{arguments:?}");
        }
    }
}
