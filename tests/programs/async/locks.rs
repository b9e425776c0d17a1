//! Waits for Rust's locks, of the standard library and of `parking_lot`, that somebody else holds, and measures it. One line in: one
//! turn, and a line `kind ns` for each kind.
#![allow(clippy::expect_used, clippy::disallowed_methods, clippy::print_stdout, reason = "it is profiled, not served")]

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const ROUNDS: u32 = 15;

/// Counted behind each call, so that it is none that ends its function.
static SINK: AtomicU32 = AtomicU32::new(0);
static HELD: AtomicBool = AtomicBool::new(false);
static TOLD: Mutex<bool> = Mutex::new(false);
static CONDITION: Condvar = Condvar::new();
static MUTEX: Mutex<u32> = Mutex::new(0);
static RWLOCK: RwLock<u32> = RwLock::new(0);
static PARKING_MUTEX: parking_lot::Mutex<u32> = parking_lot::Mutex::new(0);
static PARKING_RWLOCK: parking_lot::RwLock<u32> = parking_lot::RwLock::new(0);

/// Sleeps without a futex.
fn pause(us: u64) {
    thread::sleep(Duration::from_micros(us));
}

/// Lets the other thread begin to wait, 20 ms long.
fn hold() {
    HELD.store(true, SeqCst);
    pause(20_000);
}

#[inline(never)]
fn wait_mutex() {
    *MUTEX.lock().expect("nobody panics") += 1;
    SINK.fetch_add(1, SeqCst);
}

#[inline(never)]
fn release_mutex(guard: std::sync::MutexGuard<'static, u32>) {
    drop(guard);
    SINK.fetch_add(1, SeqCst);
}

#[inline(never)]
fn wait_rwlock() {
    black_box(*RWLOCK.read().expect("nobody panics"));
    SINK.fetch_add(1, SeqCst);
}

#[inline(never)]
fn release_rwlock(guard: std::sync::RwLockWriteGuard<'static, u32>) {
    drop(guard);
    SINK.fetch_add(1, SeqCst);
}

#[inline(never)]
fn wait_parking_mutex() {
    *PARKING_MUTEX.lock() += 1;
    SINK.fetch_add(1, SeqCst);
}

#[inline(never)]
fn release_parking_mutex(guard: parking_lot::MutexGuard<'static, u32>) {
    drop(guard);
    SINK.fetch_add(1, SeqCst);
}

#[inline(never)]
fn wait_parking_rwlock() {
    black_box(*PARKING_RWLOCK.read());
    SINK.fetch_add(1, SeqCst);
}

#[inline(never)]
fn release_parking_rwlock(guard: parking_lot::RwLockWriteGuard<'static, u32>) {
    drop(guard);
    SINK.fetch_add(1, SeqCst);
}

#[inline(never)]
fn wait_condition() {
    let mut told = TOLD.lock().expect("nobody panics");
    while !*told {
        told = CONDITION.wait(told).expect("nobody panics");
    }
    SINK.fetch_add(1, SeqCst);
}

#[inline(never)]
fn release_condition() {
    *TOLD.lock().expect("nobody panics") = true;
    CONDITION.notify_one();
    SINK.fetch_add(1, SeqCst);
}

#[inline(never)]
fn wait_channel(receiver: &mpsc::Receiver<u32>) {
    black_box(receiver.recv().expect("somebody sends"));
}

#[inline(never)]
fn release_channel(sender: &mpsc::Sender<u32>) {
    sender.send(1).expect("somebody receives");
    SINK.fetch_add(1, SeqCst);
}

/// ns that the waits of one kind took.
fn turn(holder: impl Fn() + Send + Sync + Copy + 'static, wait: impl Fn()) -> u128 {
    let mut sum = Duration::ZERO;
    for _ in 0..ROUNDS {
        HELD.store(false, SeqCst);
        *TOLD.lock().expect("nobody panics") = false;
        let other = thread::spawn(move || {
            holder();
            // Its end is not what is waited for.
            pause(2_000);
        });
        while !HELD.load(SeqCst) {
            pause(200);
        }
        pause(1_000);
        let from = Instant::now();
        wait();
        sum += from.elapsed();
        pause(4_000);
        other.join().expect("nobody panics");
    }
    sum.as_nanos()
}

fn main() {
    println!("ready");
    for _line in std::io::stdin().lock().lines() {
        let mut out = std::io::stdout().lock();
        let mut tell = |name: &str, ns: u128| writeln!(out, "{name} {ns}").expect("somebody reads");
        tell(
            "mutex",
            turn(
                || {
                    let guard = MUTEX.lock().expect("nobody panics");
                    hold();
                    release_mutex(guard);
                },
                wait_mutex,
            ),
        );
        tell(
            "rwlock",
            turn(
                || {
                    let guard = RWLOCK.write().expect("nobody panics");
                    hold();
                    release_rwlock(guard);
                },
                wait_rwlock,
            ),
        );
        tell(
            "parking_mutex",
            turn(
                || {
                    let guard = PARKING_MUTEX.lock();
                    hold();
                    release_parking_mutex(guard);
                },
                wait_parking_mutex,
            ),
        );
        tell(
            "parking_rwlock",
            turn(
                || {
                    let guard = PARKING_RWLOCK.write();
                    hold();
                    release_parking_rwlock(guard);
                },
                wait_parking_rwlock,
            ),
        );
        tell(
            "condition",
            turn(
                || {
                    hold();
                    release_condition();
                },
                wait_condition,
            ),
        );
        let (sender, receiver) = mpsc::channel();
        let sender: &'static mpsc::Sender<u32> = Box::leak(Box::new(sender));
        tell(
            "channel",
            turn(
                move || {
                    hold();
                    release_channel(sender);
                },
                || wait_channel(&receiver),
            ),
        );
        writeln!(out, "done").and_then(|()| out.flush()).expect("somebody reads");
    }
}
