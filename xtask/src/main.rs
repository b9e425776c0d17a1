//! Project automation: a clap switch, one file a job.
fn main() {}
