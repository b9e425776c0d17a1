//! The manifests for Kubernetes, rendered and judged by `tests/scripts/k8s-validate.py`, and what a container runtime makes of
//! the agent's pod.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use tests::harness::programs;

/// The documents of a kustomization, and what is wrong with them.
pub(super) fn render(folder: &Path) -> (Vec<Value>, String) {
    let python = programs::root().join("target/tools/bin/python3");
    assert!(python.exists(), "{} is not there: `cargo xtask setup`", python.display());
    let script = programs::root().join("tests/scripts/k8s-validate.py");
    let output = Command::new(python).arg(script).arg(folder).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), complaints.is_empty(), "{complaints}");
    let documents = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {complaints}"));
    (documents, complaints)
}

/// The DaemonSet.
pub(super) struct Manifest {
    set: Value,
}

impl Manifest {
    pub(super) fn read() -> Manifest {
        let (documents, complaints) = render(&programs::root().join("deploy/kubernetes"));
        assert_eq!(complaints, "");
        let set = documents.into_iter().find(|document| document["kind"] == "DaemonSet").unwrap();
        Manifest { set }
    }

    fn pod(&self) -> &Value {
        &self.set["spec"]["template"]["spec"]
    }

    fn container(&self) -> &Value {
        let containers = self.pod()["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        &containers[0]
    }

    pub(super) fn image(&self) -> &str {
        text(&self.container()["image"])
    }

    /// The path of a probe.
    pub(super) fn probe(&self, name: &str) -> &str {
        text(&self.container()[name]["httpGet"]["path"])
    }

    /// What is added, without `CAP_`.
    pub(super) fn capabilities(&self) -> BTreeSet<String> {
        let capabilities = &self.container()["securityContext"]["capabilities"];
        assert_eq!(words(&capabilities["drop"]), ["ALL"]);
        words(&capabilities["add"]).into_iter().map(str::to_owned).collect()
    }

    /// The limit of memory, MiB.
    pub(super) fn memory(&self) -> u64 {
        let limits = self.container()["resources"]["limits"].as_object().unwrap();
        assert_eq!(limits.len(), 1);
        text(&limits["memory"]).strip_suffix("Mi").unwrap().parse().unwrap()
    }

    /// Rights of a secret's files.
    pub(super) fn mode_of_secrets(&self) -> u32 {
        let volumes = self.pod()["volumes"].as_array().unwrap();
        let mode = volumes.iter().find_map(|volume| volume["secret"]["defaultMode"].as_u64());
        u32::try_from(mode.unwrap_or(0o644)).unwrap()
    }

    /// What the agent is started with.
    pub(super) fn program(&self) -> impl Iterator<Item = &str> {
        words(&self.container()["args"]).into_iter()
    }

    /// What podman is told for the agent's container, its image last; with all capabilities of the manifest but one. What it
    /// is not told how to do in podman's words is an error, so that no line of the manifest goes untried.
    pub(super) fn podman(&self, without: Option<&str>, tokens: &Path) -> Vec<String> {
        // A pod has its own network; here one that leads nowhere.
        let mut flags = vec!["--network=none".to_owned()];
        for (key, value) in self.pod().as_object().unwrap() {
            match key.as_str() {
                "hostPID" => flags.push(if value == true { "--pid=host" } else { "--pid=private" }.to_owned()),
                "containers" | "volumes" => {}
                // For the API server, the scheduler and the kubelet.
                "serviceAccountName"
                | "automountServiceAccountToken"
                | "enableServiceLinks"
                | "nodeSelector"
                | "tolerations"
                | "terminationGracePeriodSeconds" => {}
                other => panic!("what is {other} in a container?"),
            }
        }
        flags.extend(self.security(without));
        for mount in self.container()["volumeMounts"].as_array().unwrap() {
            flags.push(self.volume(mount, tokens));
        }
        flags.push(format!("--memory={}m", self.memory()));
        flags.push(self.image().to_owned());
        flags
    }

    fn security(&self, without: Option<&str>) -> Vec<String> {
        let context = self.container()["securityContext"].as_object().unwrap();
        assert!(context.contains_key("capabilities") && context.contains_key("seccompProfile"));
        let mut flags = vec![format!("--user={}:{}", context["runAsUser"], context["runAsGroup"])];
        for (key, value) in context {
            match (key.as_str(), value) {
                ("runAsUser" | "runAsGroup", _) | ("privileged", Value::Bool(false)) => {}
                ("allowPrivilegeEscalation", Value::Bool(false)) => {
                    flags.push("--security-opt=no-new-privileges".into())
                }
                ("readOnlyRootFilesystem", Value::Bool(true)) => {
                    flags.extend(["--read-only".into(), "--read-only-tmpfs=false".into()]);
                }
                ("capabilities", _) => {
                    flags.push("--cap-drop=all".into());
                    let added = self.capabilities();
                    let added = added.iter().filter(|name| Some(name.as_str()) != without);
                    flags.extend(added.map(|name| format!("--cap-add={name}")));
                }
                ("seccompProfile", profile) if profile["type"] == "Unconfined" => {
                    flags.push("--security-opt=seccomp=unconfined".into());
                }
                ("appArmorProfile", profile) if profile["type"] == "Unconfined" => {
                    flags.push("--security-opt=apparmor=unconfined".into());
                }
                other => panic!("what is {other:?} in a container?"),
            }
        }
        flags
    }

    fn volume(&self, mount: &Value, tokens: &Path) -> String {
        let volumes = self.pod()["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        let source = match volume["hostPath"]["path"].as_str() {
            Some(path) => path.to_owned(),
            None => {
                assert!(volume["secret"].is_object(), "{volume}");
                tokens.display().to_string()
            }
        };
        let mode = if mount["readOnly"] == true { "ro" } else { "rw" };
        format!("--volume={source}:{}:{mode}", text(&mount["mountPath"]))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).iter().map(text).collect()
}
