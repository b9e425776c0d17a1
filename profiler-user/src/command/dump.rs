//! `pprofd dump`: the stacks of all threads of a process as they stand, as text, by a running agent or by the agent's parts in
//! this process. Nothing is stopped.

use super::flags::Reach;
use super::printable::clean;
use super::question::{Question, Who};
use super::source::Source;
use super::{CommandError, runtime, write_out};
use clap::Args;

/// What is asked.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A process's number, NUMBER@START, or `host` for all processes
    #[arg(value_name = "PID")]
    who: Who,
    /// With kernel frames
    #[arg(long)]
    kernel: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Prints the stacks.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    let runtime = runtime()?;
    let source = Source::of(&arguments.reach, 0, &runtime)?;
    let text = runtime.block_on(source.profile(&Question::stacks(arguments.who, arguments.kernel)));
    source.stop();
    write_out(shown(&String::from_utf8_lossy(&text?)).as_bytes()).map(drop)
}

/// As it is, but for what a terminal would take for more than letters.
fn shown(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix('\t') {
        Some(rest) => format!("\t{}", clean(rest)),
        None => clean(line),
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_first_tab_is_kept() {
        let text = "goroutine 7 [futex wait]:\nf\x1b[31m(...)\n\t/a\tb.c:5\n";
        assert_eq!(shown(text), "goroutine 7 [futex wait]:\nf\u{fffd}[31m(...)\n\t/a\u{fffd}b.c:5\n");
    }
}
