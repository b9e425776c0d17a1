//! Logs, the audit and metrics. Every loss has a counter with a reason from the house's one list; nothing is logged per sample above
//! trace.

pub mod audit;
pub mod logging;
pub mod metrics;
pub mod recent;
pub mod rooms;
