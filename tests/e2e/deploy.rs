//! Where the agent runs: as a service of systemd, in a container, in a pod. What the files in `deploy/` say is taken from
//! them, not repeated here.

mod manifest;
mod unit;

use manifest::Manifest;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use tests::harness::container::{Container, Storage};
use tests::harness::http::{self, Answer};
use tests::harness::profile::Sample;
use tests::harness::{Profile, agent, programs, strict, tools, wait};

/// What a kubelet or scraper calls the pod by.
const POD: &str = "10.20.30.40:7060";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// The static agent, and the image of it in a storage, by the command that people use.
fn image(storage: Option<&Storage>) -> PathBuf {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(programs::root()).args(["xtask", "image"]);
    match storage {
        Some(storage) => command.arg("--storage").arg(storage.path()),
        None => command.arg("--binary"),
    };
    let made = command.output().expect("cargo can be started");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    programs::root().join("target/image/pprofd")
}

/// The agent's pod, as a kubelet would have its container made.
struct Pod<'a> {
    container: Container<'a>,
}

impl Pod<'_> {
    fn start<'a>(storage: &'a Storage, manifest: &Manifest, tokens: &Path) -> Pod<'a> {
        let arguments = manifest.podman(None, tokens);
        let words: Vec<&str> = arguments.iter().map(String::as_str).chain(manifest.program()).collect();
        let mut pod = Pod { container: storage.start("agent", &words) };
        wait::until_true("the readiness probe to pass", Duration::from_mins(1), || {
            pod.container.assert_runs();
            let ready = pod.try_get(manifest.probe("readinessProbe"), &[]);
            ready.is_ok_and(|answer| answer.status == 200)
        });
        pod
    }

    /// Asks by the pod's address, as what comes from outside does.
    fn try_get(&self, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Answer> {
        let inside: SocketAddr = "127.0.0.1:7060".parse().unwrap();
        let headers = [&[("Host", POD)], headers].concat();
        self.container.in_its_network(|| http::try_request(inside, "GET", path, &headers, b""))
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.try_get(path, headers).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    fn profile(&self, path: &str) -> Profile {
        let bearer = format!("Bearer {TOKEN}");
        let answer = self.get(path, &[("Authorization", &bearer)]).ok();
        let profile = Profile::parse(&answer.body);
        strict::assert_strict(&profile);
        profile
    }
}

/// The manifest's secret as a kubelet lays it out: links, so that a new version comes all at once.
fn secret(manifest: &Manifest) -> tempfile::TempDir {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let version = folder.path().join("..2026_01_01");
    std::fs::create_dir(&version).unwrap();
    std::fs::write(version.join("tokens"), format!("tests all {TOKEN}\n")).unwrap();
    std::fs::set_permissions(version.join("tokens"), PermissionsExt::from_mode(manifest.mode_of_secrets())).unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("..2026_01_01", folder.path().join("..data")).unwrap();
    symlink("..data/tokens", folder.path().join("tokens")).unwrap();
    folder
}

#[test]
fn a_pod_profiles_a_process_of_another_container() {
    let storage = Storage::default();
    image(Some(&storage));
    let manifest = Manifest::read();
    let secret = secret(&manifest);
    storage.image("burner", &programs::c("burner.c", &["-static"]), "/app/burn");
    let target = storage.start("target", &["--network", "none", "localhost/burner"]);
    for namespace in ["mnt", "pid"] {
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        assert_ne!(of("self"), of(&target.pid().to_string()), "{namespace}");
    }
    let pod = Pod::start(&storage, &manifest, secret.path());
    assert_eq!(held(pod.container.pid()), manifest.capabilities());

    let profile = pod.profile(&format!("/pid/{}/debug/pprof/profile?seconds=2&hz=997", target.pid()));
    let what = || format!("{:?}\n{}", profile.comments(), profile.summary());
    assert!(profile.count() > 50, "{}", what());
    let whole = |sample: &Sample| sample.has_chain(&["burn_outer", "main"]) && sample.label("reason").is_empty();
    assert!(profile.complete_share(whole) >= 0.97, "{}", what());
    assert_eq!(profile.main_binary(), "/app/burn", "{}", what());

    // The files of processes that are gone lie where the agent has no mount.
    let profile = while_processes_end(|| pod.profile("/debug/pprof/profile?seconds=3&hz=997"));
    let gone = profile.only(|sample| sample.label("comm") == "gone");
    let unopened = gone.count_of(|sample| sample.label("reason") == "no table");
    assert!(gone.count() > 20 && unopened * 20 <= gone.count(), "{unopened} of {}\n{}", gone.count(), gone.summary());

    // Probes bring no token; nothing else is told without one.
    for probe in ["startupProbe", "livenessProbe"] {
        pod.get(manifest.probe(probe), &[]).ok();
    }
    for path in ["/debug/pprof/", "/metrics", "/api/v1/processes"] {
        assert_eq!(pod.get(path, &[]).status, 401, "{path}");
    }
    assert_eq!(pod.container.stop(), Some(0));
}

/// Meanwhile runs programs on the host that nobody has seen before, each for some milliseconds.
fn while_processes_end<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let folder = tempfile::tempdir().unwrap();
    let program = programs::c("burner.c", &[]);
    std::thread::scope(|scope| {
        let work = scope.spawn(work);
        for number in 0.. {
            if work.is_finished() {
                break;
            }
            // Its folder makes it another file, and all have one name.
            let own = folder.path().join(number.to_string());
            std::fs::create_dir(&own).unwrap();
            programs::copy_to(&program, &own.join("gone"));
            assert!(Command::new(own.join("gone")).arg("5").status().unwrap().success());
        }
        work.join().unwrap()
    })
}

/// The capabilities that a process can use and can ever get, by the manifest's words: both must be the same.
fn held(pid: u32) -> BTreeSet<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let set = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(set("CapEff:"), set("CapBnd:"));
    assert_eq!(set("NoNewPrivs:"), "1");
    let bits = u64::from_str_radix(&set("CapEff:"), 16).unwrap();
    let known: u64 = CAPABILITIES.iter().map(|(bit, _)| 1 << bit).sum();
    assert_eq!(bits & !known, 0, "{bits:x}");
    CAPABILITIES.iter().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, name)| (*name).to_owned()).collect()
}

/// Numbers of `linux/capability.h`: ours, and some that containers have by default.
const CAPABILITIES: [(u32, &str); 11] = [
    (0, "CHOWN"),
    (1, "DAC_OVERRIDE"),
    (2, "DAC_READ_SEARCH"),
    (6, "SETGID"),
    (7, "SETUID"),
    (19, "SYS_PTRACE"),
    (21, "SYS_ADMIN"),
    (34, "SYSLOG"),
    (38, "PERFMON"),
    (39, "BPF"),
    (40, "CHECKPOINT_RESTORE"),
];

#[test]
fn a_pod_without_one_of_its_capabilities_says_which() {
    let storage = Storage::default();
    image(Some(&storage));
    let manifest = Manifest::read();
    let secret = secret(&manifest);
    for capability in manifest.capabilities() {
        let mut arguments = manifest.podman(Some(&capability), secret.path());
        let is_vital = needed("vital").contains(&format!("CAP_{capability}"));
        // The agent ends without a vital one; of another one it says what is lost.
        arguments.extend(if is_vital {
            manifest.program().map(str::to_owned).collect()
        } else {
            vec!["doctor".to_owned()]
        });
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = storage.run(&words);
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert_eq!(output.status.code(), Some(if is_vital { 77 } else { 0 }), "{capability}: {said}");
        let missing = |line: &str| line.contains(&format!("CAP_{capability}")) && line.contains("missing");
        assert!(said.lines().any(missing), "{capability}: {said}");
    }
}

/// The capabilities that the agent itself names, with this word.
fn needed(word: &str) -> BTreeSet<String> {
    doctor_capabilities().iter().filter(|(_, needed)| needed == word).map(|(name, _)| name.clone()).collect()
}

/// Name and need of each capability, as `pprofd doctor --json` lists them.
fn doctor_capabilities() -> &'static [(String, String)] {
    static LIST: OnceLock<Vec<(String, String)>> = OnceLock::new();
    LIST.get_or_init(|| {
        let said = tools::output(agent::binary().to_str().unwrap(), &["doctor", "--json"]);
        let report: serde_json::Value = serde_json::from_str(&said).unwrap();
        let text = |capability: &serde_json::Value, key: &str| capability[key].as_str().unwrap().to_owned();
        let list = report["capabilities"].as_array().unwrap();
        list.iter().map(|capability| (text(capability, "name"), text(capability, "needed"))).collect()
    })
}

#[test]
fn unit_manifest_and_doctor_list_the_same_capabilities() {
    let doctor: BTreeSet<String> = doctor_capabilities().iter().map(|(name, _)| name.clone()).collect();
    assert!(doctor.len() > 3, "{doctor:?}");
    let manifest: BTreeSet<String> = Manifest::read().capabilities().iter().map(|name| format!("CAP_{name}")).collect();
    assert_eq!(manifest, doctor);
    for list in ["CapabilityBoundingSet", "AmbientCapabilities"] {
        assert_eq!(unit::capabilities(list), doctor, "{list}");
    }
    let guide = std::fs::read_to_string(programs::root().join("deploy/README.md")).unwrap();
    let row = |line: &str| line.strip_prefix("| `CAP_")?.split_once('`').map(|(name, _)| format!("CAP_{name}"));
    assert_eq!(guide.lines().filter_map(row).collect::<BTreeSet<_>>(), doctor, "deploy/README.md");
}

#[test]
fn the_static_agent_needs_no_library() {
    let binary = image(None);
    let dynamic = tools::output("readelf", &["--dynamic", "--program-headers", "--wide", binary.to_str().unwrap()]);
    for word in ["NEEDED", "INTERP"] {
        assert!(!dynamic.contains(word), "{dynamic}");
    }
    assert!(tools::output(binary.to_str().unwrap(), &["--version"]).starts_with("pprofd "));
}

#[test]
fn the_manifests_are_what_kubernetes_takes() {
    let (documents, complaints) = manifest::render(&programs::root().join("deploy/kubernetes"));
    assert_eq!(complaints, "");
    let kinds: Vec<&str> = documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Namespace", "ServiceAccount", "DaemonSet", "NetworkPolicy"]);
    let image = Manifest::read().image().to_owned();
    assert_eq!(image, format!("localhost/pprofd:{}", env!("CARGO_PKG_VERSION")));
}

/// A judge that finds no fault anywhere would pass all manifests.
#[test]
fn a_fault_in_a_manifest_is_found() {
    for (file, right, wrong, complaint) in [
        ("daemonset.yaml", "hostPID: true", "hostPid: true", "hostPid"),
        ("daemonset.yaml", "containerPort: 7060", "containerPort: \"7060\"", "7060"),
        ("daemonset.yaml", "containerPort: 7060", "containerPort: 7061", "7061"),
        ("daemonset.yaml", "          port: http", "          port: web", "unknown port web"),
        ("daemonset.yaml", "- name: tracefs\n", "- name: traces\n", "has no volume"),
        ("daemonset.yaml", "serviceAccountName: pprofd", "serviceAccountName: other", "service account other"),
        ("networkpolicy.yaml", "port: http", "port: web", "unknown port web"),
        (
            "networkpolicy.yaml",
            "      app.kubernetes.io/name: pprofd\n  policyTypes",
            "      app: x\n  policyTypes",
            "no pod",
        ),
        ("kustomization.yaml", "  - networkpolicy.yaml\n", "", "networkpolicy.yaml is not named"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(programs::root().join("deploy/kubernetes")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        let path = folder.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(right), "{file} has no {right:?}");
        std::fs::write(&path, text.replacen(right, wrong, 1)).unwrap();
        let (_, complaints) = manifest::render(folder.path());
        assert!(complaints.contains(complaint), "{right:?} -> {wrong:?}: {complaints:?}");
    }
}
