//! Programs whose files have no unwind table yet when the first samples meet them.

use std::path::Path;
use std::time::Duration;
use tests::harness::{Agent, Target, programs, wait};

/// Each copy is a file of its own, whose 6 MB of code nobody has seen before; most of its short life passes without a table.
#[test]
fn the_first_samples_of_a_new_program_are_complete() {
    const COPIES: usize = 6;
    let folder = tempfile::tempdir().unwrap();
    let python = Path::new("/usr/bin/python3").canonicalize().unwrap();
    let agent = Agent::start(&["--hz", "999"]);
    let walked = || agent.metric("pprofd_late_stacks_total").expect("a metric");
    wait::until("the programs of the host to have tables", Duration::from_mins(1), || {
        (agent.metric("pprofd_late_stacks_held") == Some(0.0)).then_some(())
    });
    let before = walked();
    let mut pids = Vec::new();
    for copy in 0..COPIES {
        let path = folder.path().join(format!("python-{copy}"));
        programs::copy_to(&python, &path);
        let mut target = Target::spawn_unchecked(&path, &["-c", "sum(x * x for x in range(4_000_000))"]);
        wait::until_true("the program to end", Duration::from_mins(1), || target.ended().is_some());
        pids.push(target.pid());
    }
    let (mut all, mut complete, mut said) = (0, 0, Vec::new());
    for pid in pids {
        let profile = agent.profile(&format!("pid/{pid}/debug/pprof/profile?seconds=60&ago=0"));
        // Before and behind all user code: the kernel's part of exec and exit.
        let own = profile.only(|sample| !["exiting", "in exec"].contains(&sample.label("reason")));
        let whole = own.only(|sample| sample.label("reason").is_empty() && sample.has("_start"));
        (all, complete) = (all + own.count(), complete + whole.count());
        said.push(format!("{:?}", profile.comments()));
    }
    assert!(all >= 300 && complete * 100 >= all * 98, "{complete} of {all} lead to the start\n{}", said.join("\n"));
    let late = walked() - before;
    // A table of such a file is not there within the first milliseconds.
    assert!(late >= 10.0, "{late} stacks were walked late");
}
