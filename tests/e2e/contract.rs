//! The HTTP contract of Go's net/http/pprof, as its clients and its own tests know it, where it concerns index, profile,
//! cmdline, symbol, errors and methods.

use std::time::Duration;
use tests::harness::http::{self, Answer};
use tests::harness::{Agent, Profile, Target, judge, programs, strict, tools, wait};

/// An agent with a burning target.
struct Fixture {
    agent: Agent,
    target: Target,
}

impl Fixture {
    fn new() -> Fixture {
        let target = Target::start(&programs::c("burner.c", &[]), &[]);
        Fixture { agent: Agent::start(&[]), target }
    }

    /// A path of the target's tree.
    fn path(&self, rest: &str) -> String {
        format!("/pid/{}/debug/pprof/{rest}", self.target.pid())
    }

    fn get(&self, rest: &str) -> Answer {
        self.agent.get(&self.path(rest))
    }

    fn ask(&self, method: &str, rest: &str, body: &[u8]) -> Answer {
        http::request(self.agent.address, method, &self.path(rest), &[], body)
    }

    fn url(&self, rest: &str) -> String {
        self.agent.url(self.path(rest).trim_start_matches('/'))
    }
}

#[track_caller]
fn assert_header(answer: &Answer, name: &str, value: Option<&str>) {
    assert_eq!(answer.header(name), value, "{name} of {}", answer.status);
}

#[track_caller]
fn assert_error(answer: &Answer, status: u16, body: &str) {
    assert_eq!((answer.status, answer.text().as_str()), (status, body));
    assert_header(answer, "content-type", Some("text/plain; charset=utf-8"));
    assert_header(answer, "x-go-pprof", Some("1"));
    assert_header(answer, "x-content-type-options", Some("nosniff"));
    assert_header(answer, "content-disposition", None);
}

#[test]
fn index() {
    let fixture = Fixture::new();
    let answer = fixture.get("");
    assert_eq!(answer.status, 200);
    assert_header(&answer, "content-type", Some("text/html; charset=utf-8"));
    assert_header(&answer, "x-content-type-options", Some("nosniff"));
    let page = answer.text();
    assert!(page.contains("Types of profiles available:"), "{page}");
    for name in ["profile", "cmdline", "symbol"] {
        assert!(page.contains(name), "{name} is missing\n{page}");
    }
    assert!(!page.contains("href=\"/") && !page.contains("href='/"), "an absolute link\n{page}");
}

#[test]
fn the_tree_without_its_slash_redirects() {
    let fixture = Fixture::new();
    let answer = fixture.agent.get(&format!("/pid/{}/debug/pprof", fixture.target.pid()));
    assert!([301, 307, 308].contains(&answer.status), "{}", answer.status);
    assert!(
        answer.header("location").is_some_and(|location| location.ends_with("debug/pprof/")),
        "{:?}",
        answer.headers
    );
    let doubled = fixture.agent.get(&format!("/pid/{}/debug/pprof//profile?seconds=1", fixture.target.pid()));
    assert!([301, 307, 308].contains(&doubled.status), "{}", doubled.status);
}

#[test]
fn unknown_names_are_404_and_not_echoed() {
    let fixture = Fixture::new();
    for path in ["nosuch", "nosuch?seconds=1", "%3Cscript%3E", "profile/", "nosuch/more"] {
        assert_error(&fixture.get(path), 404, "Unknown profile\n");
    }
}

#[test]
fn kinds_of_later_issues_are_501_with_a_sentence() {
    let fixture = Fixture::new();
    for name in ["heap", "allocs", "trace"] {
        let answer = fixture.get(name);
        assert_error(&answer, 501, &answer.text());
        assert!(answer.text().trim_end().len() > 20, "{name}: {}", answer.text());
    }
    assert_error(&fixture.get("heap?seconds=0"), 400, "invalid value for \"seconds\" - must be a positive integer\n");
    assert_error(&fixture.get("heap?seconds=1&debug=1"), 400, "seconds and debug params are incompatible\n");
}

#[test]
fn profile_by_the_byte() {
    let fixture = Fixture::new();
    let headers = [("Accept-Encoding", "gzip")];
    let answer = http::request(fixture.agent.address, "GET", &fixture.path("profile?seconds=2"), &headers, b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.took >= Duration::from_secs(2), "{:?}", answer.took);
    assert_header(&answer, "content-type", Some("application/octet-stream"));
    assert_header(&answer, "content-disposition", Some("attachment; filename=\"profile\""));
    assert_header(&answer, "content-encoding", None);
    assert_header(&answer, "x-content-type-options", Some("nosniff"));
    assert!(answer.body.starts_with(&[0x1f, 0x8b]));
    let profile = Profile::parse(&answer.body);
    strict::assert_strict(&profile);
    assert_eq!(profile.sample_types(), [("samples", "count"), ("cpu", "nanoseconds")]);
    judge::assert_near("duration", profile.seconds(), 2.0, 0.0, 0.5);
    let period = profile.message.period_type.as_ref().map(|kind| (profile.text(kind.kind), profile.text(kind.unit)));
    assert_eq!(period, Some(("cpu", "nanoseconds")));
    let by_period = profile.count() as f64 * profile.message.period as f64 / 1e9;
    judge::assert_near("samples x period", by_period, profile.cpu_seconds(), 0.02, 0.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    judge::assert_near(
        "time of the window",
        profile.message.time_nanos as f64 / 1e9,
        now - answer.took.as_secs_f64(),
        0.0,
        answer.took.as_secs_f64(),
    );
}

#[test]
fn debug_does_not_change_profile_and_the_first_value_counts() {
    let fixture = Fixture::new();
    assert!(fixture.get("profile?seconds=1&debug=1").ok().body.starts_with(&[0x1f, 0x8b]));
    let answer = fixture.get("profile?foo=1&seconds=1&seconds=9").ok();
    judge::assert_near("duration", Profile::parse(&answer.body).seconds(), 1.0, 0.0, 0.5);
}

#[test]
fn a_bad_seconds_of_profile_lasts_30_s_as_in_go() {
    let fixture = Fixture::new();
    let answer = fixture.get("profile?seconds=0.5").ok();
    judge::assert_near("duration", Profile::parse(&answer.body).seconds(), 30.0, 0.0, 1.0);
}

#[test]
fn head_collects_and_sends_no_body() {
    let fixture = Fixture::new();
    let answer = fixture.ask("HEAD", "profile?seconds=1", b"");
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert!(answer.took >= Duration::from_secs(1), "{:?}", answer.took);
    assert_header(&answer, "content-type", Some("application/octet-stream"));
}

#[test]
fn other_methods_are_405() {
    let fixture = Fixture::new();
    for (method, name, allowed) in [
        ("PUT", "profile", "GET, HEAD"),
        ("DELETE", "profile", "GET, HEAD"),
        ("POST", "heap", "GET, HEAD"),
        ("PUT", "", "GET, HEAD"),
    ] {
        let answer = fixture.ask(method, name, b"");
        assert_eq!(answer.status, 405, "{method} {name}: {}", answer.text());
        assert_header(&answer, "allow", Some(allowed));
    }
}

#[test]
fn two_profiles_at_a_time_are_both_answered() {
    let fixture = Fixture::new();
    let both: Vec<Answer> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..2).map(|_| scope.spawn(|| fixture.get("profile?seconds=2"))).collect();
        asked.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    for answer in both {
        assert!(Profile::parse(&answer.ok().body).count() > 50);
    }
}

#[test]
fn cmdline_is_the_kernels_without_its_last_byte() {
    let fixture = Fixture::new();
    let answer = fixture.get("cmdline").ok();
    let truth = std::fs::read(format!("/proc/{}/cmdline", fixture.target.pid())).unwrap();
    assert_eq!(answer.body, truth.strip_suffix(&[0]).unwrap());
    assert_header(&answer, "content-type", Some("text/plain; charset=utf-8"));
}

#[test]
fn symbol_echoes_addresses_with_names() {
    let fixture = Fixture::new();
    let profile = fixture.agent.cpu(fixture.target.pid(), 1, 499);
    let function = profile.message.function.iter().find(|function| profile.text(function.name) == "burn_leaf").unwrap();
    let in_it = |location: &&tests::harness::message::Location| {
        location.line.iter().any(|line| line.function_id == function.id)
    };
    let address = profile.message.location.iter().find(in_it).unwrap().address;
    assert_eq!(fixture.get("symbol").ok().text(), "num_symbols: 1\n");
    let expected = format!("num_symbols: 1\n{address:#x} burn_leaf\n");
    assert_eq!(fixture.get(&format!("symbol?{address:#x}")).ok().text(), expected);
    assert_eq!(fixture.get(&format!("symbol?{address}")).ok().text(), expected);
    assert_eq!(fixture.get(&format!("symbol?zz+{address:#x}")).ok().text(), expected);
    assert_eq!(fixture.get("symbol?0x1").ok().text(), "num_symbols: 1\n");
    let posted = fixture.ask("POST", "symbol", format!("{address:#x}+{address:#x}").as_bytes()).ok().text();
    assert_eq!(posted.lines().count(), 3, "{posted}");
}

#[test]
fn curl_sees_what_go_serves() {
    let fixture = Fixture::new();
    let text = tools::output("curl", &["-sSi", &fixture.url("profile?seconds=1")]);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    let text = tools::output("curl", &["-sS", "--compressed", &fixture.url("cmdline")]);
    assert!(text.contains("burner"), "{text}");
    let followed = tools::output("curl", &["-sSL", fixture.url("").trim_end_matches('/')]);
    assert!(followed.contains("Types of profiles available:"), "{followed}");
}

#[test]
fn go_tool_pprof_fetches_and_shows() {
    let fixture = Fixture::new();
    let top = tools::pprof_ok(&["-top", "-seconds", "2", &fixture.url("profile")]);
    for word in ["File: burner", "Type: cpu", "Time: ", "burn_leaf"] {
        assert!(top.contains(word), "{word} is missing\n{top}");
    }
    let host = tools::pprof_ok(&["-top", "-seconds", "2", &fixture.agent.url("")]);
    assert!(host.contains("burn_leaf"), "{host}");
}

#[test]
fn go_tool_pprof_reports_of_all_sorts() {
    let fixture = Fixture::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profile").display().to_string();
    std::fs::write(&file, fixture.get("profile?seconds=2&hz=499").ok().body).unwrap();
    let raw = tools::pprof_ok(&["-raw", &file]);
    let first = raw.lines().skip_while(|line| !line.starts_with("Mappings")).nth(1).unwrap();
    assert!(first.contains("burner") && first.contains("[FN][FL][LN][IN]"), "{first}");
    assert!(
        first.split_whitespace().any(|word| word.len() == 40 && word.chars().all(|c| c.is_ascii_hexdigit())),
        "no build ID: {first}"
    );
    let source = tools::pprof_ok(&["-list", "burn_leaf", &file]);
    assert!(source.contains("sink +="), "{source}");
    assert!(tools::pprof_ok(&["-lines", "-top", &file]).contains("burner.c:"));
    assert!(tools::pprof_ok(&["-peek", "burn_inner", &file]).contains("burn_outer"));
    assert!(tools::pprof_ok(&["-traces", &file]).contains("burn_leaf"));
    assert!(tools::pprof_ok(&["-comments", &file]).contains("pprofd"));
    let difference = tools::pprof_ok(&["-top", "-diff_base", &file, &file]);
    assert!(
        difference.contains("Total samples = ") || difference.contains("Showing nodes accounting for 0"),
        "{difference}"
    );
}

#[test]
fn two_processes_of_one_binary_merge() {
    let fixture = Fixture::new();
    let other = Target::start(&programs::c("burner.c", &[]), &[]);
    let urls = [fixture.url("profile"), fixture.agent.url(&format!("pid/{}/debug/pprof/profile", other.pid()))];
    let raw = tools::pprof_ok(&["-raw", "-seconds", "2", &urls[0], &urls[1]]);
    let binaries =
        raw.lines().skip_while(|line| !line.starts_with("Mappings")).filter(|line| line.contains("/burner")).count();
    assert_eq!(binaries, 1, "the binary's mappings did not merge\n{raw}");
}

#[test]
fn errors_reach_the_user_of_go_tool_pprof() {
    let fixture = Fixture::new();
    let said = |url: &str| String::from_utf8_lossy(&tools::pprof(&["-top", url]).stderr).into_owned();
    let unknown = said(&fixture.url("nosuch"));
    assert!(unknown.contains("404 Not Found") && unknown.contains("Unknown profile"), "{unknown}");
    let dead = said(&fixture.agent.url("pid/4194304/debug/pprof/profile?seconds=1"));
    assert!(dead.contains("404 Not Found") && dead.contains("does not exist"), "{dead}");
}

#[test]
fn names_stay_when_the_client_has_another_file_at_that_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    programs::copy_to(&programs::c("burner.c", &[]), &path);
    let target = Target::start(&path, &[]);
    let agent = Agent::start(&[]);
    let file = folder.path().join("profile").display().to_string();
    std::fs::write(&file, agent.get(&format!("/pid/{}/debug/pprof/profile?seconds=2", target.pid())).ok().body)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    programs::copy_to(&programs::c("sleeper.c", &[]), &path);
    let output = tools::pprof(&["-top", &file]);
    let (top, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(top.contains("burn_leaf"), "{top}\n{said}");
    assert!(!said.to_lowercase().contains("warning"), "{said}");
}

#[test]
fn a_client_that_hangs_up_stops_its_request() {
    let fixture = Fixture::new();
    let open = || fixture.agent.metric("pprofd_http_in_flight_requests").unwrap_or_default();
    let others = open();
    let path = fixture.path("profile?seconds=60&hz=997");
    let stream = http::send(fixture.agent.address, "GET", &path, &[], b"").unwrap();
    wait::until_true("the request to be in flight", Duration::from_secs(10), || open() > others);
    drop(stream);
    wait::until_true("the request to be given up", Duration::from_secs(10), || open() <= others);
    let profile = Profile::parse(&fixture.get("profile?seconds=1").ok().body);
    judge::assert_near("duration", profile.seconds(), 1.0, 0.0, 0.5);
    assert!(
        profile.message.period > 5_000_000,
        "the rate of the request that is gone is still in force: {}",
        profile.message.period
    );
}
