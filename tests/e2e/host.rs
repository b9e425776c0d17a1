//! The whole host in one profile, and what stands beside the trees.

use std::time::Duration;
use tests::harness::{Agent, Chain, Target, http, judge, programs, wait};

#[test]
fn samples_of_the_host_say_whose_they_are() {
    let chain = Chain::start(&programs::c("chain.c", &[]));
    let burner = Target::start(&programs::c("burner.c", &[]), &[]);
    let agent = Agent::start(&[]);
    let profile = agent.host(6, 997);
    for (pid, function) in [(chain.pid(), "descend_40"), (burner.pid(), "burn_leaf")] {
        let pid = pid.to_string();
        let own = profile.only(|sample| sample.label("pid") == pid);
        assert!(own.share_of(function) > 0.2, "{pid}: {}", own.summary());
        assert!(
            own.samples.iter().all(|sample| !sample.label("comm").is_empty() && !sample.label("thread").is_empty())
        );
        // Another process of the same program may run on this host.
        let name = own.samples.first().map_or("", |sample| sample.label("comm"));
        let foreign = profile.only(|sample| sample.label("pid") != pid && sample.label("comm") != name);
        assert_eq!(
            foreign.count_of(|sample| sample.has(function)),
            0,
            "{function} is also charged to others\n{}",
            foreign.summary()
        );
    }
    let own = profile.only(|sample| sample.label("pid") == burner.pid().to_string());
    assert!(own.share_of("main") > 0.99, "{}", own.summary());
    // What the scheduler accounts for the host is what was sampled of it.
    let comment =
        profile.comments().into_iter().find(|comment| comment.starts_with("CPU time by the scheduler's account"));
    let expected = comment.and_then(|text| text.split_once(" so ")?.1.split(' ').next()?.parse::<f64>().ok());
    let expected = expected.unwrap_or_else(|| panic!("{:?}", profile.comments()));
    judge::assert_near("samples of the host", (profile.count() + profile.lost()) as f64, expected, 0.1, 100.0);
}

#[test]
fn the_host_with_a_pid_is_that_processs_tree() {
    let chain = Chain::start(&programs::c("chain.c", &[]));
    let agent = Agent::start(&[]);
    let profile = agent.profile(&format!("debug/pprof/profile?seconds=5&hz=997&pid={}", chain.pid()));
    chain.assert_true(&profile);
    let answer = agent.get(&format!("/debug/pprof/cmdline?pid={}", chain.pid())).ok();
    assert_eq!(
        answer.body,
        std::fs::read(format!("/proc/{}/cmdline", chain.pid())).unwrap().strip_suffix(&[0]).unwrap()
    );
}

#[test]
fn the_agent_does_not_profile_itself_unless_it_is_asked_to() {
    let quiet = Agent::start(&[]);
    let own = quiet.pid().to_string();
    assert_eq!(quiet.host(2, 997).count_of(|sample| sample.label("pid") == own), 0);
    drop(quiet);
    let asked = Agent::start(&["--profile-self"]);
    let own = asked.pid().to_string();
    // Its own work is small, so some is made for it.
    let profile = std::thread::scope(|scope| {
        let request = scope.spawn(|| asked.host(3, 997));
        let end = std::time::Instant::now() + Duration::from_secs(2);
        while std::time::Instant::now() < end {
            drop(asked.get("/metrics"));
        }
        request.join().unwrap()
    });
    assert!(profile.count_of(|sample| sample.label("pid") == own) > 0, "{}", profile.summary());
}

#[test]
fn kernel_threads_have_kernel_stacks() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(&[]);
    let profile = std::thread::scope(|scope| {
        let request = scope.spawn(|| agent.host(4, 997));
        let end = std::time::Instant::now() + Duration::from_secs(3);
        while std::time::Instant::now() < end {
            // Dirty pages and their writeback are work for kworker threads; unlinked files for others.
            std::fs::write(folder.path().join("file"), vec![1_u8; 8 << 20]).unwrap();
            std::fs::File::open(folder.path().join("file")).unwrap().sync_all().unwrap();
        }
        request.join().unwrap()
    });
    // A process without a command line is a kernel thread.
    let is_kernel_thread = |sample: &tests::harness::profile::Sample| {
        std::fs::read(format!("/proc/{}/cmdline", sample.label("pid"))).is_ok_and(|line| line.is_empty())
    };
    let threads = profile.only(is_kernel_thread);
    assert!(threads.count() > 0, "no kernel thread was sampled\n{}", profile.summary());
    let places: Vec<&str> = profile.files();
    assert!(places.contains(&"[kernel.kallsyms]"), "{places:?}");
    let named =
        threads.share(|sample| sample.stack.iter().any(|name| name == "kthread" || name.contains("ret_from_fork")));
    assert!(named > 0.9, "{}", threads.summary());
}

#[test]
fn no_raw_kernel_address_leaves_the_agent_and_kernel_0_drops_kernel_frames() {
    let target = Target::start(&programs::c("cases/four_parts.c", &[]), &[]);
    let agent = Agent::start(&[]);
    let with = agent.cpu(target.pid(), 2, 997);
    let in_kernel = |mapping: &&tests::harness::message::Mapping| with.text(mapping.filename) == "[kernel.kallsyms]";
    let mapping = with.message.mapping.iter().find(in_kernel).expect("the program is often in the kernel");
    // Where every x86-64 kernel is linked to, whatever address this one was moved to at boot.
    assert_eq!(mapping.start, 0xffff_ffff_8100_0000, "not the place that all kernels are linked to");
    for location in with.message.location.iter().filter(|location| location.mapping_id == mapping.id) {
        assert!((mapping.start..mapping.limit).contains(&location.address), "{:#x}", location.address);
    }
    let without = agent.profile(&format!("pid/{}/debug/pprof/profile?seconds=2&hz=997&kernel=0", target.pid()));
    assert!(!without.files().contains(&"[kernel.kallsyms]"), "{:?}", without.files());
    assert!(without.share(|sample| sample.has("kernel_part")) > 0.02, "the time in the kernel stays with its caller");
}

#[test]
fn the_list_of_processes_says_what_proc_says() {
    let target = Target::start(&programs::c("burner.c", &[]), &[]);
    let agent = Agent::start(&[]);
    wait::window(Duration::from_secs(3));
    let answer = agent.get("/api/v1/processes").ok();
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let list: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let entries = list.as_array().or_else(|| list.get("processes").and_then(serde_json::Value::as_array)).unwrap();
    let entry = entries.iter().find(|entry| entry["pid"] == target.pid()).unwrap_or_else(|| panic!("{list}"));
    assert_eq!(entry["exe"].as_str().map(std::path::PathBuf::from), target.exe());
    assert_eq!(entry["parent"], std::process::id());
    assert_eq!(entry["uid"], 0);
    assert!(entry["cpu_share"].as_f64().unwrap() > 0.01, "{entry}");
    assert!(entry["cmdline"].as_str().unwrap().contains("burner"), "{entry}");
    // PID@START names it for good; another start is another process.
    let start = entry["start"].as_u64().unwrap();
    assert_eq!(agent.get(&format!("/pid/{}@{start}/debug/pprof/cmdline", target.pid())).status, 200);
    assert_eq!(agent.get(&format!("/pid/{}@{}/debug/pprof/cmdline", target.pid(), start + 1)).status, 404);
}

#[test]
fn metrics_count_samples_and_losses_by_reason() {
    let chain = Chain::start(&programs::c("chain.c", &[]));
    let agent = Agent::start(&[]);
    let before = agent.metric("pprofd_samples_total").unwrap();
    let profile = agent.cpu(chain.pid(), 3, 997);
    let after = agent.metric("pprofd_samples_total").unwrap();
    assert!(after - before >= profile.count() as f64, "{before} to {after}, {} served", profile.count());
    let text = agent.get("/metrics").ok().text();
    assert!(text.contains("reason=\""), "no metric has a reason\n{text}");
}

#[test]
fn a_foreign_host_name_is_refused_on_the_loopback() {
    let agent = Agent::start(&[]);
    let ask = |host: &str| http::request(agent.address, "GET", "/debug/pprof/", &[("Host", host)], b"").status;
    assert_eq!(ask("evil.example:7060"), 403);
    assert_eq!(ask(&agent.address.to_string()), 200);
    assert_eq!(ask(&format!("localhost:{}", agent.address.port())), 200);
}

#[test]
fn health_and_readiness() {
    let agent = Agent::start(&[]);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(agent.get(path).status, 200, "{path}");
    }
    assert!(judge::cpu_seconds(agent.pid()) > 0.0);
}
