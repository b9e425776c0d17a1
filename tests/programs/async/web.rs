//! An axum server on the socket that it is told: `/collatz/N` computes.

use axum::Router;
use axum::extract::Path;
use axum::routing::get;

#[inline(never)]
fn longest_chain(below: u64) -> u64 {
    let length = |mut n: u64| {
        let mut steps = 0_u64;
        while n > 1 {
            n = if n.is_multiple_of(2) { n / 2 } else { n.wrapping_mul(3).wrapping_add(1) };
            steps += 1;
        }
        steps
    };
    (1..below).map(length).max().unwrap_or_default()
}

async fn collatz(Path(below): Path<u64>) -> String {
    longest_chain(below).to_string()
}

fn main() -> std::io::Result<()> {
    let socket = std::env::args_os().nth(1).ok_or_else(|| std::io::Error::other("usage: web SOCKET"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_io().build()?;
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::bind(socket)?;
        axum::serve(listener, Router::new().route("/collatz/{below}", get(collatz))).await
    })
}
