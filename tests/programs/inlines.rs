//! Rust, optimized: `work` holds `middle` and `leaf` inlined, `other` is a closure behind a generic. Splits the CPU 60 : 40 and
//! publishes it (see published.h for the layout).
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

const ENTRIES: u64 = 1 << 16;

struct Published {
    file: File,
    totals: [u64; 2],
    count: u64,
}

impl Published {
    fn add(&mut self, path: usize, ns: u64) {
        self.totals[path] += ns;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let entry: Vec<u8> = [now, self.totals[0], self.totals[1]].iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.file.write_all_at(&entry, 16 + self.count % ENTRIES * 24).unwrap();
        self.count += 1;
        self.file.write_all_at(&self.count.to_ne_bytes(), 0).unwrap();
    }
}

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanos: i64,
}

unsafe extern "C" {
    fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
}

fn cpu_ns() -> u64 {
    let mut time = Timespec { seconds: 0, nanos: 0 };
    // SAFETY: `time` is a valid timespec; 3 is CLOCK_THREAD_CPUTIME_ID.
    unsafe { clock_gettime(3, &mut time) };
    time.seconds as u64 * 1_000_000_000 + time.nanos as u64
}

#[inline(always)]
fn leaf(mut x: u64) -> u64 {
    for i in 0..20_000u64 {
        x = black_box(x.wrapping_mul(31).wrapping_add(i ^ (x >> 7)));
    }
    x
}

#[inline(always)]
fn middle(x: u64) -> u64 {
    leaf(x ^ 0x55)
}

#[inline(never)]
fn work(until: u64) -> u64 {
    let mut x = 1;
    loop {
        x = middle(x);
        if cpu_ns() >= until {
            return x;
        }
    }
}

#[inline(never)]
fn generic<T: Fn(u64) -> u64>(action: T, until: u64) -> u64 {
    let mut x = 2;
    loop {
        x = action(x);
        if cpu_ns() >= until {
            return x;
        }
    }
}

fn main() {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(std::env::args().nth(1).unwrap()).unwrap();
    file.set_len(16 + ENTRIES * 24).unwrap();
    file.write_all_at(&2u64.to_ne_bytes(), 8).unwrap();
    let mut published = Published { file, totals: [0; 2], count: 0 };
    loop {
        let start = cpu_ns();
        black_box(work(start + 6_000_000));
        let between = cpu_ns();
        published.add(0, between - start);
        black_box(generic(|x| leaf(x).rotate_left(9), between + 4_000_000));
        published.add(1, cpu_ns() - between);
    }
}
