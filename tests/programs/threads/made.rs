//! Four threads that wait, each made by make_one.
#[inline(never)]
fn make_one() -> std::thread::JoinHandle<()> {
    std::thread::spawn(|| loop {
        std::thread::park();
    })
}

fn main() {
    let all: Vec<_> = (0..4).map(|_| make_one()).collect();
    println!("ready");
    for thread in all {
        thread.join().unwrap();
    }
}
