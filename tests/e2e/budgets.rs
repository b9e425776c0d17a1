//! What the agent may take, and what one process may take of it: files, tables, history, memory.

use std::path::Path;
use std::time::Duration;
use tests::harness::profile::Sample;
use tests::harness::target::dying_with_us;
use tests::harness::{Agent, Profile, Target, agent, programs, soak, wait};

/// A library to be copied, all of it in one mapping: code lies in the file where it lies in memory.
fn library(more: &[&str]) -> std::path::PathBuf {
    let flags = ["-nostdlib", "-s", "-Wl,--build-id=none", "-Wl,-z,noseparate-code"];
    programs::library("budgets/spin.c", &[&flags, more].concat())
}

/// Processes that run in so many copies, as far as others leave them time, and their numbers.
fn many_files(library: &Path, folder: &Path, count: u32, processes: u32) -> (Target, Vec<u32>) {
    std::fs::create_dir(folder).unwrap();
    let program = programs::c("budgets/many_files.c", &["-ldl"]);
    let [program, library, folder] = [&program, library, folder].map(|path| path.display().to_string());
    let words = ["-n", "19", &program, &library, &folder, &count.to_string(), &processes.to_string()];
    let mut target = Target::start_unseen("nice", &words);
    let line = target.line();
    (target, line.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}

/// A program that computes whatever else runs, so that there are samples of it.
fn burner() -> Target {
    let path = programs::c("burner.c", &[]).display().to_string();
    Target::spawn_until("nice", &["-n", "-10", &path], &path)
}

/// The agent, before all that: what is shown is what it does, not who gets the CPU.
fn start(arguments: &[&str]) -> Agent {
    let mut command = dying_with_us(Path::new("nice"));
    command.args(["-n", "-15"]).arg(agent::binary());
    Agent::start_by(command, arguments)
}

/// Nearly all samples lead to `main`.
fn assert_whole(profile: &Profile) {
    let whole =
        profile.count_of(|sample| sample.label("reason").is_empty() && sample.has_chain(&["burn_inner", "burn_outer"]));
    assert!(profile.count() >= 50 && whole * 100 >= profile.count() * 99, "{whole} whole\n{}", profile.summary());
}

/// The value of one line of the metrics.
fn metric(agent: &Agent, line: &str) -> f64 {
    let text = agent.get("/metrics").ok().text();
    let found =
        text.lines().find_map(|found| found.strip_prefix(line)).unwrap_or_else(|| panic!("no {line} in\n{text}"));
    found.trim().parse().unwrap()
}

/// One process with more files than the kernel's table has places: it gets a part of them, says so, and others notice nothing.
#[test]
fn a_process_with_twenty_thousand_files_gets_its_part_of_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let burner = burner();
    let agent = start(&["--hz", "499"]);
    assert_whole(&agent.cpu(burner.pid(), 1, 499));
    let (_many, pids) = many_files(&library(&[]), &folder.path().join("copies"), 20_000, 1);
    // A request for it lists all that it maps.
    let theirs = agent.cpu(pids[0], 2, 999);
    let over = metric(&agent, "pprofd_kernel_files_over_quota_total");
    assert!(over >= 10_000.0, "{over} meetings over the quota");
    assert!(theirs.count_of(|sample| sample.label("reason") == "file quota") > 0, "{}", theirs.summary());
    assert_whole(&agent.cpu(burner.pid(), 2, 499));
    assert!(metric(&agent, "pprofd_kernel_files_refused_total") < 1.0, "the table of files was full");
    let share = metric(&agent, "pprofd_files_held");
    assert!(share < 6_000.0, "{share} files are held");
}

/// Many processes that bring more files than there are places, each less than its part: those that nobody meets go.
#[test]
fn files_that_nobody_meets_any_more_make_room() {
    let folder = tempfile::tempdir().unwrap();
    let burner = burner();
    let agent = start(&["--hz", "99"]);
    assert_whole(&agent.cpu(burner.pid(), 1, 499));
    let (_many, pids) = many_files(&library(&[]), &folder.path().join("copies"), 20_000, 20);
    let evicted = || metric(&agent, "pprofd_table_evictions_total{reason=\"file table full\"}");
    // A request lists all that its process maps; what found the ring full is announced at the next one.
    wait::until_true("files to be evicted", Duration::from_mins(1), || {
        std::thread::scope(|scope| {
            for pid in &pids {
                let agent = &agent;
                scope.spawn(move || drop(agent.cpu(*pid, 1, 19)));
            }
        });
        evicted() > 0.0
    });
    assert_whole(&agent.cpu(burner.pid(), 2, 499));
    let held = metric(&agent, "pprofd_files_held");
    assert!(held <= 16_384.0, "{held} files are held");
}

/// More tables than fit: they go and come, memory is used again and again, and no stack is wrong for it.
#[test]
fn tables_that_do_not_fit_go_and_come_and_no_stack_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let burner = burner();
    let agent = start(&["--hz", "299", "--tables-memory", "8MiB"]);
    assert_whole(&agent.cpu(burner.pid(), 1, 499));
    let (_many, pids) = many_files(&library(&["-DFUNCTIONS"]), &folder.path().join("copies"), 600, 3);
    let evicted = || agent.metric("pprofd_table_evictions_total").unwrap();
    wait::until_true("memory of tables to be used again", Duration::from_mins(1), || {
        agent.cpu(pids[1], 1, 299);
        metric(&agent, "pprofd_table_waits_total") >= 3.0 && evicted() >= 50.0
    });
    assert_whole(&agent.cpu(burner.pid(), 3, 499));
    // What finds all memory in use is tried again half a minute later: none may ever be wrong, and in the end some are whole.
    wait::until_true("stacks of a third process to be whole", Duration::from_mins(2), || {
        let theirs = agent.cpu(pids[0], 3, 499);
        let leads = |sample: &Sample| sample.has_chain(&["visit", "run", "main"]);
        // Whole, or with a reason: rows of another file's table would lead astray and not to `visit`.
        let wrong = theirs.count_of(|sample| sample.label("reason").is_empty() && !leads(sample));
        assert!(wrong * 100 <= theirs.count(), "{wrong} wrong\n{}", theirs.summary());
        theirs.count_of(leads) > 0
    });
    assert!(metric(&agent, "pprofd_table_bytes") <= f64::from(8 << 20));
}

/// A process whose every sample is a stack of its own fills the recorder; the past of another stays.
#[test]
fn the_past_of_others_outlives_a_process_with_ever_new_stacks() {
    let agent = start(&["--hz", "49", "--recorder-memory", "4MiB"]);
    let burner = burner();
    let live = agent.profile(&format!("pid/{}/debug/pprof/profile?seconds=4", burner.pid()));
    let taken = std::time::Instant::now();
    let path = programs::c("budgets/many_stacks.c", &[]).display().to_string();
    let greedy = Target::spawn_until("nice", &["-n", "-10", &path], &path);
    let crowded = || metric(&agent, "pprofd_recorder_gone_samples_total{reason=\"crowded\"}");
    // The highest rate: no two of its samples are alike.
    wait::until_true("the recorder to be full", Duration::from_mins(1), || {
        agent.cpu(greedy.pid(), 4, 999);
        crowded() >= 500.0
    });
    let stacks = metric(&agent, "pprofd_recorder_held_stacks");
    assert!(stacks >= 1_000.0, "{stacks} stacks are held");
    let ago = taken.elapsed().as_secs() + 1;
    let past = agent.profile(&format!("pid/{}/debug/pprof/profile?seconds=4&ago={ago}", burner.pid()));
    assert!(past.seconds() >= 2.5, "the window is cut to {} s\n{}", past.seconds(), past.summary());
    assert_whole(&past);
    assert!(past.cpu_seconds() >= live.cpu_seconds() * 0.5, "{}\n{}", past.summary(), live.summary());
    assert!(!past.comments().iter().any(|comment| comment.contains("recorder full")), "{:?}", past.comments());
}

/// The ten minutes of `cargo xtask soak` in short: no slope is taken.
#[test]
fn memory_stays_below_what_help_states() {
    let soak = soak::run(35, 200);
    assert!(soak.started.0 >= 200 && soak.profiles >= 3, "{}", soak.table(1));
    assert!(soak.counts["pprofd_files_held"] > 20.0, "{}", soak.table(1));
    soak.judge();
}
