//! Flags that several commands share: where the agent is, and which window is asked for.

use super::Question;
use super::question::{CPU, DEFAULT_HZ, Who};
use crate::client::{Agent, Place};
use crate::config::DEFAULT_SOCKET;
use clap::Args;
use std::path::PathBuf;

/// Length of a window unless told otherwise.
const SECONDS: u32 = 10;

/// Where the agent is.
#[derive(Clone, Debug, Default, Args)]
pub struct Reach {
    /// The agent's socket [default: /run/pprofd/pprofd.sock]
    #[arg(long, env = "PPROFD_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The agent's address in place of its socket, such as http://127.0.0.1:7060 or http://:TOKEN@HOST:7060
    #[arg(long, env = "PPROFD_URL", value_name = "URL")]
    url: Option<Place>,
}

impl Reach {
    /// The agent that is meant: an address counts before a socket.
    pub(super) fn agent(&self) -> Agent {
        let socket = || Place::Socket(self.socket.clone().unwrap_or_else(|| DEFAULT_SOCKET.into()));
        Agent::new(self.url.clone().unwrap_or_else(socket))
    }

    /// True if it was said which one.
    pub(super) fn is_said(&self) -> bool {
        self.socket.is_some() || self.url.is_some()
    }
}

/// A window, and what is kept of it.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Window {
    /// Length of the window [default: 10]
    #[arg(long, value_name = "N")]
    seconds: Option<u32>,
    /// Samples a second of CPU time; 99 to 999 [default: 99]
    #[arg(long, value_name = "N")]
    hz: Option<u32>,
    /// With all that descend from the process (all processes are sampled at this rate meanwhile)
    #[arg(long)]
    children: bool,
    /// Without kernel frames
    #[arg(long)]
    no_kernel: bool,
}

impl Window {
    /// Descendants are asked for.
    pub(super) fn children(&self) -> bool {
        self.children
    }

    /// The rate.
    pub(super) fn hz(&self) -> u32 {
        self.hz.unwrap_or(DEFAULT_HZ)
    }

    /// The question for this window; `seconds` is its length unless another was said.
    pub(super) fn question(&self, who: Who, kind: &str, seconds: Option<u32>) -> Question {
        // Only CPU time is what happens in a window; of other kinds, its length asks for a difference.
        let usual = if kind == CPU { Some(seconds.unwrap_or(SECONDS)) } else { None };
        Question {
            who,
            kind: kind.to_owned(),
            seconds: self.seconds.or(usual),
            hz: self.hz,
            ago: None,
            children: self.children,
            no_kernel: self.no_kernel,
            stacks: None,
        }
    }
}
