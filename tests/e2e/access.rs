//! Who may ask, and what he sees: real users by the Unix socket, tokens by the network, and the audit of both.

use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tests::harness::http::{self, Answer};
use tests::harness::user::{Asker, Commons, set_capabilities, start};
use tests::harness::{Agent, Profile, Target, agent, programs, target, tools, wait};

const ALICE: u32 = 61_001;
const BOB: u32 = 61_002;
/// The group whose members see all.
const ADMINS: u32 = 61_100;
const SOON: Duration = Duration::from_secs(10);

fn profile(answer: &Answer) -> Profile {
    assert_eq!(answer.status, 200, "{}", answer.text());
    Profile::parse(&answer.body)
}

/// 403 in the form that pprof clients show, with a sentence that says what to do.
#[track_caller]
fn assert_shut(answer: &Answer) {
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.header("x-go-pprof") == Some("1") && answer.text().contains("ask as root"), "{}", answer.text());
}

fn of(pid: u32, rest: &str) -> String {
    format!("/pid/{pid}/debug/pprof/{rest}")
}

/// Pids in a list of processes, without the one that asks.
fn pids(asker: &Asker, path: &str) -> Vec<u64> {
    let list: serde_json::Value = serde_json::from_slice(&asker.get(path).ok().body).unwrap();
    let others = list.as_array().unwrap().iter().filter(|one| one["comm"] != "curl");
    others.map(|one| one["pid"].as_u64().unwrap()).collect()
}

#[test]
fn users_see_what_is_theirs_by_the_socket() {
    let commons = Commons::new();
    let (socket, audit) = (commons.path("s.sock"), commons.path("audit"));
    let burner = commons.copy(&programs::c("burner.c", &[]), "burner", 0o755);
    let arguments = ["--socket", &socket.display().to_string(), "--socket-group", &ADMINS.to_string()];
    let agent = Agent::start_audited(&arguments, &audit);
    let (mut hers, his, roots) = (start(ALICE, &burner, &[]), start(BOB, &burner, &[]), start(0, &burner, &[]));
    let (alice, bob, root) = (Asker::new(ALICE, &socket), Asker::new(BOB, &socket), Asker::new(0, &socket));

    let own = profile(&alice.get(&of(hers.pid(), "profile?seconds=1&hz=997")));
    assert!(own.share_of("burn_outer") > 0.9, "{}", own.summary());
    for rest in [
        "",
        "profile?seconds=1",
        "profile?seconds=1&ago=0",
        "profile?children=1&seconds=1",
        "cmdline",
        "symbol?0x1",
        "heap",
    ] {
        assert_shut(&alice.get(&of(his.pid(), rest)));
        assert_shut(&alice.get(&of(roots.pid(), rest)));
    }
    assert_shut(&alice.get(&format!("/debug/pprof/profile?seconds=1&pid={}", his.pid())));
    assert_eq!(alice.get(&of(hers.pid(), "cmdline")).ok().text(), burner.display().to_string());

    let listed = pids(&alice, "/api/v1/processes");
    assert_eq!(listed, [u64::from(hers.pid())], "of all processes of this host");
    assert!(pids(&root, "/api/v1/processes").len() > 3);
    let page = alice.get("/").ok().text();
    assert!(page.contains(&format!("pid/{}/", hers.pid())) && !page.contains(&format!("pid/{}/", his.pid())));

    let host = profile(&alice.get("/debug/pprof/profile?seconds=1&hz=997"));
    let said = host.comments().join("\n");
    assert!(said.contains(&format!("all processes of user {ALICE} (1 with samples)")), "{said}");
    assert!(said.contains("CPU time by the scheduler's account"), "{said}");
    assert!(host.count() > 0 && host.samples.iter().all(|s| s.label("pid") == hers.pid().to_string()), "{said}");

    // The primary group and the supplementary ones are as good, and other groups are not.
    let member = Asker::new(BOB, &socket).with_groups(&format!("7,{ADMINS}"));
    member.get(&of(hers.pid(), "cmdline")).ok();
    Asker::new(ADMINS, &socket).get(&of(hers.pid(), "cmdline")).ok();
    assert_shut(&Asker::new(BOB, &socket).with_groups("7").get(&of(hers.pid(), "cmdline")));
    // Whoever is root in a user namespace of his own is who he was outside of it.
    let inside = alice.get_by(&["unshare", "-r", "--"], "/api/v1/processes").ok().text();
    assert!(
        inside.contains(&format!("\"pid\":{}", hers.pid())) && !inside.contains(&format!("\"pid\":{}", his.pid())),
        "{inside}"
    );
    let unnamed = Asker::new(65_534, &socket);
    assert_eq!((unnamed.get("/").status, unnamed.get("/healthz").status), (403, 200));
    assert_eq!(bob.get("/metrics").status, 200);

    hers.kill();
    let past = of(hers.pid(), "profile?seconds=60&ago=0");
    wait::until_true("its end to be recorded", SOON, || {
        pids(&alice, "/api/v1/processes?exited=1").contains(&hers.pid().into())
    });
    assert!(profile(&alice.get(&past)).share_of("burn_outer") > 0.9);
    assert_shut(&bob.get(&past));
    assert!(!pids(&bob, "/api/v1/processes?exited=1").contains(&hers.pid().into()));

    assert_eq!(agent.end(Signal::TERM).code(), Some(0));
    let lines: Vec<serde_json::Value> =
        fs::read_to_string(&audit).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = &lines[0];
    assert_eq!(
        (&first["uid"], &first["status"], &first["kind"]),
        (&ALICE.into(), &200.into(), &"profile".into()),
        "{first}"
    );
    assert!(
        first["process"].as_str().unwrap().starts_with(&format!("{}@", hers.pid())) && first["comm"] == "burner",
        "{first}"
    );
    assert!(first["bytes"].as_u64().unwrap() > 100 && first["ms"].as_u64().unwrap() >= 1000, "{first}");
    let refused = lines.iter().filter(|line| line["status"] == 403).count();
    assert!(refused >= 15 && lines.iter().all(|line| line["client"].as_i64() > Some(0)), "{refused} refused");
}

#[test]
fn programs_with_rights_of_their_own_are_shut_to_those_who_started_them() {
    let commons = Commons::new();
    let socket = commons.path("s.sock");
    let _agent = Agent::start(&["--socket", &socket.display().to_string()]);
    let program = programs::c("risen.c", &[]);
    let risen = commons.copy(&program, "risen", 0o4755);
    let capable = commons.copy(&program, "capable", 0o755);
    set_capabilities(&capable, 1 << 13);
    let group_of_root = commons.copy(&program, "group-of-root", 0o2755);
    let plain = commons.copy(&program, "plain", 0o755);
    let alice = Asker::new(ALICE, &socket);

    let mut up = start(ALICE, &risen, &[]);
    let mut down = start(ALICE, &risen, &["drop"]);
    let root = Asker::new(0, &socket);
    let has = |target: &Target, function: &str| {
        profile(&root.get(&of(target.pid(), "profile?seconds=1&hz=199"))).share_of(function) > 0.5
    };
    assert!(has(&up, "risen_up") && has(&down, "fallen_down"), "the targets are what they are to be");
    let others = [start(ALICE, &capable, &[]), start(ALICE, &group_of_root, &[])];
    for target in [&up, &down].into_iter().chain(&others) {
        assert_shut(&alice.get(&of(target.pid(), "profile?seconds=1")));
        assert_shut(&alice.get(&of(target.pid(), "profile?seconds=10&ago=0")));
    }
    let ordinary = start(ALICE, &plain, &[]);
    // What it was before, root's setpriv, is shut to her, and its exec has to be heard of first.
    wait::until_true("the ordinary program to be recorded", SOON, || {
        let listed = pids(&alice, "/api/v1/processes");
        assert!(listed.iter().all(|pid| *pid == u64::from(ordinary.pid())), "{listed:?}");
        !listed.is_empty()
    });
    let host = profile(&alice.get("/debug/pprof/profile?seconds=1&hz=199"));
    assert!(host.share_of("never_rose") > 0.9, "{}", host.summary());
    for target in [&mut up, &mut down] {
        target.kill();
        wait::until_true("its end to be recorded", SOON, || {
            pids(&root, "/api/v1/processes?exited=1").contains(&target.pid().into())
        });
        assert_shut(&alice.get(&of(target.pid(), "profile?seconds=60&ago=0")));
    }
}

#[test]
fn what_a_process_does_with_more_rights_within_a_window_is_left_out() {
    let commons = Commons::new();
    let socket = commons.path("s.sock");
    let agent = Agent::start(&["--socket", &socket.display().to_string()]);
    let burner = commons.copy(&programs::c("burner.c", &[]), "burner", 0o755);
    let risen = commons.copy(&programs::c("risen.c", &[]), "risen", 0o4755);
    let alice = Asker::new(ALICE, &socket);

    // A shell with a child of each sort.
    let script = format!("{} & {} fork & wait", burner.display(), risen.display());
    let shell = Family(start(ALICE, &fs::canonicalize("/bin/sh").unwrap(), &["-c", &script]));
    wait::until_true("both children to run", SOON, || {
        let of_root = Asker::new(0, &socket).get("/api/v1/processes").ok().text();
        of_root.contains("\"comm\":\"risen\"") && of_root.contains("\"comm\":\"burner\"")
    });
    let family = profile(&alice.get(&of(shell.0.pid(), "profile?seconds=1&hz=199&children=1")));
    let said = family.comments().join("\n");
    assert!(said.contains(&format!("1 of its descendants are not user {ALICE}'s alone and are left out.")), "{said}");
    assert!(said.contains("samples were left out: "), "{said}");
    assert!(family.share_of("burn_outer") > 0.9 && family.share_of("risen_up") == 0.0, "{said}\n{}", family.summary());
    drop(shell);

    // A shell that computes, and becomes such a program while it is watched; that gives its rights up at once.
    let script = format!("while [ ! -e {} ]; do :; done; exec {} drop", commons.path("go").display(), risen.display());
    let turning = start(ALICE, &fs::canonicalize("/bin/sh").unwrap(), &["-c", &script]);
    let asking = {
        let (alice, path) = (alice.clone(), of(turning.pid(), "profile?seconds=3&hz=199"));
        std::thread::spawn(move || alice.get(&path))
    };
    let before = Instant::now();
    wait::until_true("a second of the window to be over", SOON, || {
        let watched = agent.metric("pprofd_watched_processes") == Some(1.0);
        watched && before.elapsed() > Duration::from_secs(1)
    });
    fs::write(commons.path("go"), "").unwrap();
    let profile = profile(&asking.join().unwrap());
    let said = profile.comments().join("\n");
    assert!(
        said.contains(&format!(
            "samples were left out: the process was not user {ALICE}'s alone when they were taken."
        )),
        "{said}"
    );
    assert!(
        profile.count() > 5 && profile.share_of("fallen_down") + profile.share_of("risen_up") == 0.0,
        "{said}\n{}",
        profile.summary()
    );
}

/// A target with children, which end with it.
struct Family(Target);

impl Drop for Family {
    fn drop(&mut self) {
        let pid = self.0.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| rustix::process::Pid::from_raw(child.parse().ok()?))
        {
            // It may have ended by itself.
            let _gone = rustix::process::kill_process(child, Signal::KILL).is_err();
        }
    }
}

/// With `Authorization` or without.
fn ask(agent: &Agent, path: &str, token: Option<&str>) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
    http::request(agent.address, "GET", path, &headers, b"")
}

fn write_secret(path: &Path, text: &str, mode: u32) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).unwrap();
    fs::set_permissions(&fresh, Permissions::from_mode(mode)).unwrap();
    fs::rename(&fresh, path).unwrap();
}

#[test]
fn a_token_file_closes_the_address() {
    const OLD: &str = "0123456789abcdef0123";
    const NEW: &str = "new-0123456789abcdef";
    let commons = Commons::new();
    let (file, audit) = (commons.path("tokens"), commons.path("audit"));
    let refused = |text: &str, mode: u32, word: &str| {
        write_secret(&file, text, mode);
        let mut command = agent::command(&["--socket", "none", "--token-file", &file.display().to_string()]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(64) && said.contains(word) && !said.contains(OLD), "{said}");
    };
    refused(&format!("ops all {OLD}\n"), 0o644, "chmod 600");
    refused("# nobody\n", 0o600, "there is no token in it");

    // Beyond the loopback too, where any name of the host is as good.
    write_secret(
        &file,
        &format!("ops all {OLD}\nalice uid={ALICE} {OLD}-alice\nscraper metrics {OLD}-scraper\n"),
        0o600,
    );
    let arguments =
        ["--listen", "0.0.0.0:0", "--allow-remote", "--socket", "none", "--token-file", &file.display().to_string()];
    let agent = Agent::start_audited(&arguments, &audit);
    let burner = commons.copy(&programs::c("burner.c", &[]), "burner", 0o755);
    let (hers, roots) = (start(ALICE, &burner, &[]), start(0, &burner, &[]));
    let closed = ask(&agent, "/", None);
    assert_eq!((closed.status, closed.header("www-authenticate").map(|w| w.starts_with("Basic "))), (401, Some(true)));
    assert_eq!(ask(&agent, "/healthz", None).status, 200);
    assert_eq!(ask(&agent, "/", Some("0123456789abcdef0124")).status, 401);
    assert_eq!(
        http::request(
            agent.address,
            "GET",
            "/",
            &[("Host", "any.example"), ("Authorization", &format!("Bearer {OLD}"))],
            b""
        )
        .status,
        200
    );
    let with = |name: &str| {
        let token = format!("{OLD}{name}");
        let get = |path: &str| ask(&agent, path, Some(&token)).status;
        [get("/metrics"), get("/api/v1/processes"), get(&of(hers.pid(), "cmdline")), get(&of(roots.pid(), "cmdline"))]
    };
    assert_eq!(with(""), [200, 200, 200, 200]);
    assert_eq!(with("-alice"), [200, 200, 200, 403]);
    assert_eq!(with("-scraper"), [200, 403, 403, 403]);

    // Go's client sends what stands before the host as user and password.
    let port = agent.address.port();
    let url = |token: &str| format!("http://x:{token}@127.0.0.1:{port}{}", of(roots.pid(), "profile?seconds=1&hz=199"));
    let top = tools::pprof_ok(&["-top", &url(OLD)]);
    assert!(top.contains("burn_leaf"), "{top}");
    let shut = tools::pprof(&["-top", &url("x")]);
    let said = String::from_utf8_lossy(&shut.stderr).into_owned();
    assert!(!shut.status.success() && said.contains("401 Unauthorized - This agent wants a token"), "{said}");

    // Read again when it has changed; broken, it changes nothing.
    write_secret(&file, &format!("ops all {NEW}\n"), 0o600);
    wait::until_true("the new token to count", SOON, || ask(&agent, "/", Some(NEW)).status == 200);
    assert_eq!(ask(&agent, "/", Some(OLD)).status, 401);
    write_secret(&file, "nonsense\n", 0o600);
    wait::until_true("the broken file to be seen", SOON, || {
        assert_eq!(ask(&agent, "/", Some(NEW)).status, 200);
        agent.log().contains("the tokens from before still count")
    });
    let log = agent.log();
    assert_eq!(agent.end(Signal::TERM).code(), Some(0));
    let lines = fs::read_to_string(&audit).unwrap();
    assert!(lines.contains("\"token\":\"alice\"") && lines.contains("\"token\":\"ops\""), "{lines}");
    assert!(![OLD, NEW].iter().any(|token| log.contains(token) || lines.contains(token)), "{log}\n{lines}");
}

#[test]
fn the_socket_is_made_replaced_and_removed() {
    let commons = Commons::new();
    let socket = commons.path("made/s.sock");
    let path = socket.display().to_string();
    let agent = Agent::start(&["--socket", &path]);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o666);
    // Another agent does not steal it.
    let mut second = agent::command(&["--socket", &path]);
    let output = second.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(69) && said.contains("another pprofd answers there"), "{said}");
    agent.end(Signal::KILL);
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket(), "left by a killed agent");
    let agent = Agent::start(&["--socket", &path]);
    assert_eq!(Asker::new(ALICE, &socket).get("/healthz").status, 200);
    assert_eq!(agent.end(Signal::TERM).code(), Some(0));
    assert!(!socket.exists());
    symlink("/etc", commons.path("link")).unwrap();
    let mut third = agent::command(&["--socket", &commons.path("link/s.sock").display().to_string()]);
    let output = third.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(69) && said.contains("is a symbolic link"), "{said}");
}

/// In a mount namespace with a `/run` of its own, where no other agent of this host can be.
#[test]
fn the_usual_socket_is_there_unasked_and_a_second_agent_goes_on_without() {
    let mut unshare = target::dying_with_us(Path::new("unshare"));
    unshare.args(["--mount", "--", "sh", "-ec", "mount -t tmpfs none /run; exec \"$0\" \"$@\""]).arg(agent::binary());
    let first = Agent::start_by(unshare, &[]);
    let inside = ["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", first.pid()), "--".to_owned()];
    let curl = || {
        tools::output(
            &inside[0],
            &[&inside[1], "--", "curl", "-sS", "--unix-socket", "/run/pprofd/pprofd.sock", "http://x/healthz"],
        )
    };
    assert_eq!(curl(), "ok\n");
    let mut nsenter = target::dying_with_us(Path::new(&inside[0]));
    nsenter.args(&inside[1..]).arg(agent::binary());
    let second = Agent::start_by(nsenter, &[]);
    assert!(second.log().contains("another pprofd answers there"), "{}", second.log());
    assert_eq!(second.end(Signal::TERM).code(), Some(0));
    assert_eq!(curl(), "ok\n");
}
