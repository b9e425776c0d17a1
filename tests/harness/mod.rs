//! The harness; each file is one instrument.

pub mod agent;
pub mod chain;
pub mod container;
pub mod craft;
pub mod http;
pub mod judge;
pub mod message;
pub mod profile;
pub mod programs;
pub mod published;
pub mod reference;
pub mod server;
pub mod soak;
pub mod strict;
pub mod target;
pub mod tmux;
pub mod tools;
pub mod user;
pub mod wait;

pub use agent::Agent;
pub use chain::Chain;
pub use profile::Profile;
pub use reference::Reference;
pub use server::Server;
pub use target::Target;
pub use tmux::Tmux;
