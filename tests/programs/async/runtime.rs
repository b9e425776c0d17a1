//! A program on tokio's runtime with several threads: tasks that compute and yield, and blocking work on threads of its own.

use std::hint::black_box;

#[inline(never)]
fn compute(rounds: u64) -> u64 {
    (0..rounds).fold(1, |sum: u64, n| black_box(sum.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(n)))
}

#[inline(never)]
fn block(rounds: u64) -> u64 {
    // Not a call in tail position, which would leave no frame.
    black_box(compute(rounds))
}

async fn step(rounds: u64) -> u64 {
    let sum = compute(rounds);
    tokio::task::yield_now().await;
    sum
}

async fn cooperate() {
    loop {
        black_box(step(200_000).await);
    }
}

async fn hand_over() {
    loop {
        black_box(tokio::task::spawn_blocking(|| block(200_000)).await.unwrap_or_default());
    }
}

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    runtime.block_on(async {
        let tasks = [tokio::spawn(cooperate()), tokio::spawn(cooperate()), tokio::spawn(hand_over())];
        for task in tasks {
            task.await.map_err(std::io::Error::other)?;
        }
        Ok(())
    })
}
