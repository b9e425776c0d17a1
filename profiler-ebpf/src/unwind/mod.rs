//! Walking a user stack: rules, tables, one step. Pure: memory and tables are traits, so that the BPF programs, late
//! unwinds in the agent and host tests run the same code.

pub mod bits;
pub mod rule;
pub mod table;
pub mod walk;
pub mod window;
