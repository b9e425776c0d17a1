//! postgres and nginx: the number that people type is that of a master that does nothing itself.

use super::{HZ, assert_ends_as_gdb_shows, assert_passes, assert_whole, debian, family, is_whole};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tests::harness::server::User;
use tests::harness::tools::{Perf, described_functions};
use tests::harness::{Agent, Profile, Server, judge, target, wait};

/// Where Debian puts postgres' programs that are not for PATH.
const POSTGRES: &str = "/usr/lib/postgresql/15/bin";

/// A postgres with a data directory of its own, reached by a socket in it.
struct Postgres {
    server: Server,
    user: User,
    folder: TempDir,
}

impl Postgres {
    fn start() -> Postgres {
        let (user, folder) = (User::named("postgres"), tempfile::tempdir().unwrap());
        chown(folder.path(), Some(user.uid), None).unwrap();
        let data = folder.path().join("data").display().to_string();
        succeed(tool(&user, "initdb").args(["-D", &data, "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8"]));
        let mut command = user.command("QUIT", &tool_path("postgres"));
        command.args(["-D", &data, "-F", "-c", "listen_addresses=", "-c"]);
        command.arg(format!("unix_socket_directories={}", folder.path().display()));
        // The signal for an end at once; after SIGKILL its shared memory would stay.
        let server = Server::start(command, Signal::QUIT);
        let postgres = Postgres { server, user, folder };
        wait::until_true("postgres to answer", Duration::from_secs(30), || {
            postgres.client("pg_isready").arg("-q").status().unwrap().success()
        });
        succeed(postgres.client("pgbench").args(["-i", "-q", "-s", "1", "postgres"]));
        postgres
    }

    /// A client program, told where the server is.
    fn client(&self, program: &str) -> Command {
        let mut command = tool(&self.user, program);
        command.arg("-h").arg(self.folder.path());
        command
    }

    /// Clients that ask until they are dropped.
    fn load(&self, more: &[&str]) -> Server {
        let mut command = self.client("pgbench");
        command.args(["-n", "-T", "600"]).args(more).arg("postgres");
        Server::start(command, Signal::TERM)
    }
}

fn tool_path(program: &str) -> PathBuf {
    debian(&format!("{POSTGRES}/{program}")).to_path_buf()
}

fn tool(user: &User, program: &str) -> Command {
    let mut command = user.command("TERM", &tool_path(program));
    command.current_dir("/").stdin(Stdio::null());
    command
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn postgres_is_asked_by_its_master() {
    let postgres = Postgres::start();
    let agent = Agent::start(&[]);
    let master = postgres.server.pid();
    // One client keeps its connection, one makes a new one for each transaction: the master forks in the window.
    let _steady = postgres.load(&["-S"]);
    let steady = wait::until("a backend at work", Duration::from_secs(20), || {
        postgres.server.children().into_iter().find(|pid| judge::cpu_seconds(*pid) > 0.2)
    });
    let hasty = postgres.load(&["-S", "-C"]);
    drop(agent.profile(&format!("pid/{master}/debug/pprof/profile?seconds=1&children=1")));
    let folder = tempfile::tempdir().unwrap();
    let perf = Perf::start_host(HZ, 3, folder.path());
    let (profile, stacks) = family(&agent, master, &[steady], 3);
    let own = profile.only(|sample| sample.label("pid") == steady.to_string());
    assert_whole(&own);
    stacks.of(steady).assert_agree(&own, "postgres");
    assert_ends_as_gdb_shows(&own, steady, 4);
    assert_nearly_whole(&profile);
    assert_is_all(&profile, perf);
    assert_passes(&profile, 0.3, "PostgresMain");
    drop(hasty);
    assert_says_what_children_used(&agent, master);
}

/// Of clients that all change the same few rows: where their backends wait for each other, asked by the master's number.
#[test]
fn what_postgres_waits_for_is_asked_by_its_master() {
    let postgres = Postgres::start();
    let agent = Agent::start(&[]);
    let master = postgres.server.pid();
    let _load = postgres.load(&["-c", "12", "-j", "2"]);
    let ask = |what: &str| agent.profile(&format!("pid/{master}/debug/pprof/{what}"));
    drop(ask("offcpu?children=1"));
    let (block, all) = (ask("block?children=1&seconds=4"), ask("offcpu?children=1&seconds=4"));
    let summary = || format!("{:?}\n{}", block.comments(), block.summary());
    let named = block.cpu_of(|sample| sample.has_chain(&["PGSemaphoreLock", "LWLockAcquire"]));
    assert!(named > 0.0 && named > 0.8 * block.cpu_seconds(), "{named} s\n{}", summary());
    let backends = all.cpu_of(|sample| sample.has("PostgresMain"));
    // Twelve backends on fewer CPUs do little else.
    assert!(backends > 6.0 * all.seconds() && backends < 12.5 * all.seconds(), "{backends} s\n{}", all.summary());
    let heavy = all.cpu_of(|sample| sample.has_chain(&["WaitLatch", "ProcSleep"]));
    assert!(heavy > 0.1 * backends, "{heavy} s for rows of {backends} s\n{}", all.summary());
    let pids: BTreeSet<&str> = all.samples.iter().map(|sample| sample.label("pid")).collect();
    assert!(pids.len() > 12, "the backends and others: {pids:?}");
    assert!(block.comments().iter().any(|line| line.contains("all that descend from it")), "{}", summary());
}

/// Panics unless the family has the samples, and the members, that perf has of all processes of that name on all CPUs.
fn assert_is_all(profile: &Profile, perf: Perf) {
    let mut theirs = perf.processes();
    theirs.retain(|(comm, _)| comm == "postgres");
    let kept = profile.count() as f64 / theirs.len() as f64;
    assert!((0.85..=1.15).contains(&kept), "{kept:.3} of perf's {} samples\n{}", theirs.len(), profile.summary());
    let members: BTreeSet<&str> = profile.samples.iter().map(|sample| sample.label("pid")).collect();
    let by_perf: BTreeSet<&str> = theirs.iter().map(|(_, pid)| pid.as_str()).collect();
    assert!(by_perf.len() > 20, "the master forked {} times only", by_perf.len());
    assert!(members.len() * 100 >= by_perf.len() * 85, "{} processes, {} by perf", members.len(), by_perf.len());
}

/// Processes that begin and end all the time: each binds its symbols anew, in the loader's `_dl_runtime_resolve`, whose frame
/// is found by a register that the kernel's walk does not follow, and runs the ends of forty libraries, code of the C
/// runtime that has no tables. The profile says so of each such stack.
fn assert_nearly_whole(profile: &Profile) {
    let broken = profile.only(|sample| !is_whole(sample));
    let by_frame_pointer = profile.count_of(|sample| !is_whole(sample) && sample.label("reason").is_empty());
    assert!(broken.count() * 20 <= profile.count(), "{} are not whole\n{}", broken.count(), broken.summary());
    let declared = profile.comments().iter().any(|comment| comment.contains("walked by frame pointers"));
    assert!(by_frame_pointer == 0 || declared, "{by_frame_pointer} are said to be whole\n{}", broken.summary());
}

/// The idle master's own profile says in a sentence where the time is.
fn assert_says_what_children_used(agent: &Agent, master: u32) {
    // Now and then postgres forks to clean up: then the master is not idle, and what that child used is not known.
    let used = wait::until("a second in which the master is idle", Duration::from_mins(1), || {
        let own = agent.cpu(master, 1, HZ);
        let used = own.comments().into_iter().find_map(|comment| {
            let (_, rest) = comment.split_once(" descendants used ")?;
            rest.strip_suffix(" s of CPU time in the window: children=1 shows it.")?.parse::<f64>().ok()
        });
        used.filter(|_| own.count() == 0)
    });
    assert!(used > 0.02, "{used} s used by children under load");
}

/// Panics unless functions without a name of a library were met, and are called by where they begin.
fn assert_names_whole_functions(profile: &Profile, library: &str) {
    let path = profile.files().into_iter().find(|file| file.contains(library)).expect("the library was met");
    let file = path.rsplit('/').next().unwrap();
    let names = profile.samples.iter().flat_map(|sample| &sample.stack);
    let place = |name: &String| u64::from_str_radix(name.strip_prefix(file)?.strip_prefix("+0x")?, 16).ok();
    let met: BTreeSet<u64> = names.filter_map(place).collect();
    let functions = described_functions(Path::new(path));
    assert!(!met.is_empty() && met.is_subset(&functions), "{met:x?} of {functions:x?}");
}

/// An nginx with two workers that compresses what it sends.
fn nginx(folder: &Path) -> (Server, PathBuf) {
    let socket = folder.join("socket");
    let pages = folder.join("pages");
    std::fs::create_dir(&pages).unwrap();
    let page = (0..40_000).map(|n| (n * 7_919 % 10_007).to_string()).collect::<Vec<_>>().join("\n");
    std::fs::write(pages.join("page.txt"), page).unwrap();
    let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|what| format!("{what}_temp_path {what};"));
    let text = format!(
        "daemon off; worker_processes 2; pid pid; error_log stderr; events {{ worker_connections 64; }}
         http {{ access_log off; keepalive_requests 1000000; gzip on; gzip_types *; {}
                 server {{ listen unix:{}; root pages; }} }}",
        places.join(" "),
        socket.display()
    );
    std::fs::write(folder.join("nginx.conf"), text).unwrap();
    // Workers are nobody's processes.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = target::ending_with_us("TERM", &[], debian("/usr/sbin/nginx"));
    command.arg("-p").arg(folder).args(["-c", "nginx.conf"]);
    let server = Server::start(command, Signal::TERM);
    wait::until_true("nginx to listen", Duration::from_secs(20), || socket.exists() && server.children().len() == 2);
    (server, socket)
}

#[test]
fn nginx_is_asked_by_its_master() {
    let folder = tempfile::tempdir().unwrap();
    let (server, socket) = nginx(folder.path());
    let agent = Agent::start(&[]);
    let _clients = [(); 2].map(|()| super::requests(&socket, "page.txt"));
    drop(agent.profile(&format!("pid/{}/debug/pprof/profile?seconds=1&children=1", server.pid())));
    let (profile, perf) = family(&agent, server.pid(), &server.children(), 3);
    assert_whole(&profile);
    perf.assert_agree(&profile, "nginx");
    assert_passes(&profile, 0.98, "ngx_process_events_and_timers");
    assert_passes(&profile, 0.5, "deflate");
    assert_names_whole_functions(&profile, "/libz.so");
    assert_says_what_children_used(&agent, server.pid());
}
