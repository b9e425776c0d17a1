//! What a command asks for: whose profile, of which kind, of which window. The words are those of the agent's trees.

use super::CommandError;
use crate::kind::parameters::Parameters;
use crate::kind::subject::Asked;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The kind that is meant unless another is named.
pub(super) const CPU: &str = "profile";
/// The kind that tells where threads stand.
const THREADS: &str = "goroutine";
/// The rate of a window unless another is said, as agents have it.
pub(super) const DEFAULT_HZ: u32 = 99;

/// Whom a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// All processes.
    Host,
    /// One.
    Process(Asked),
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Who, String> {
        if text == "host" {
            return Ok(Who::Host);
        }
        let wrong = |_| "write a process's number, NUMBER@START, or `host` for all processes".to_owned();
        Asked::parse(text).map(Who::Process).map_err(wrong)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Host => f.write_str("the whole host"),
            Who::Process(asked) => write!(f, "process {asked}"),
        }
    }
}

/// A question for a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whom it is about.
    pub who: Who,
    /// The kind's name.
    pub kind: String,
    /// Length of the window.
    pub seconds: Option<u32>,
    /// Samples a second of CPU time.
    pub hz: Option<u32>,
    /// The window ended that many seconds ago; without it, it begins now.
    pub ago: Option<u32>,
    /// With all that descend from the process.
    pub children: bool,
    /// Without kernel frames.
    pub no_kernel: bool,
    /// The stacks of all threads as text.
    pub stacks: Option<Stacks>,
}

/// How threads are told as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stacks {
    /// With kernel frames.
    pub kernel: bool,
}

impl Question {
    /// A question for CPU time.
    pub fn cpu(who: Who, seconds: u32) -> Self {
        let seconds = Some(seconds);
        Question {
            who,
            kind: CPU.to_owned(),
            seconds,
            hz: None,
            ago: None,
            children: false,
            no_kernel: false,
            stacks: None,
        }
    }

    /// A question for the stacks of all threads, as text.
    pub fn stacks(who: Who, kernel: bool) -> Self {
        Question { kind: THREADS.to_owned(), seconds: None, stacks: Some(Stacks { kernel }), ..Question::cpu(who, 0) }
    }

    /// Its parameters.
    pub fn parameters(&self) -> Parameters {
        let number = |name: &str, value: Option<u32>| value.map(|value| (name.to_owned(), value.to_string()));
        let switch = |name: &str, on: bool, value: &str| on.then(|| (name.to_owned(), value.to_owned()));
        let all = [
            number("seconds", self.seconds),
            number("hz", self.hz),
            number("ago", self.ago),
            switch("children", self.children, "1"),
            switch("kernel", self.no_kernel, "0"),
            switch("kernel", self.stacks.is_some_and(|stacks| stacks.kernel), "1"),
            switch("debug", self.stacks.is_some(), "2"),
        ];
        Parameters(all.into_iter().flatten().collect())
    }

    /// Path and query at an agent.
    pub fn path(&self) -> Result<String, CommandError> {
        let is_name = |kind: &str| !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_name(&self.kind) {
            return Err(CommandError::Usage(format!("{:?} is no name of a profile", self.kind)));
        }
        let tree = match self.who {
            Who::Host => String::new(),
            Who::Process(asked) => format!("/pid/{asked}"),
        };
        let query: Vec<String> = self.parameters().0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let join = if query.is_empty() { "" } else { "?" };
        Ok(format!("{tree}/debug/pprof/{}{join}{}", self.kind, query.join("&")))
    }

    /// How long the answer is waited for: a window that has ended is answered at once.
    pub fn waits(&self) -> Duration {
        let seconds = if self.ago.is_some() { 0 } else { self.seconds.unwrap_or(0) };
        Duration::from_secs(seconds.into())
    }

    /// The same of the window that ends now.
    pub fn past(&self, seconds: u32) -> Question {
        Question { seconds: Some(seconds), ago: Some(0), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_paths_of_the_trees() {
        let host = Question::cpu(Who::Host, 5);
        assert_eq!(host.path().expect("a path"), "/debug/pprof/profile?seconds=5");
        let process = "4711@99".parse::<Who>().expect("a process");
        let all = Question { hz: Some(997), children: true, no_kernel: true, ..Question::cpu(process, 3) };
        let path = "/pid/4711@99/debug/pprof/profile?seconds=3&hz=997&children=1&kernel=0";
        assert_eq!(all.path().expect("a path"), path);
        assert_eq!(all.waits(), Duration::from_secs(3));
        assert_eq!(all.past(2).waits(), Duration::ZERO);
        assert!(all.past(2).path().expect("a path").contains("seconds=2&hz=997&ago=0&"));
        let heap = Question { kind: "heap".to_owned(), seconds: None, ..Question::cpu(Who::Host, 1) };
        assert_eq!(heap.path().expect("a path"), "/debug/pprof/heap");
        for bad in ["", "a/b", "a?b", "a b", "ä"] {
            assert!(Question { kind: bad.to_owned(), ..heap.clone() }.path().is_err(), "{bad}");
        }
    }

    #[test]
    fn whom_it_is_about() {
        assert_eq!("host".parse(), Ok(Who::Host));
        assert!("12".parse::<Who>().is_ok_and(|who| who.to_string() == "process 12"));
        for bad in ["", "Host", "-1", "init", "1 "] {
            assert!(bad.parse::<Who>().is_err(), "{bad}");
        }
    }
}
