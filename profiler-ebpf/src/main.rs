//! The BPF object; on the host an empty stub, so that `cargo build --workspace` needs no eBPF toolchain.
fn main() {}
