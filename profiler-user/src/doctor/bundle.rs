//! `pprofd doctor --bundle`: one file with what a bug report needs. Nothing of other processes is in it.

use super::report::Report;
use crate::config::Config;
use crate::event::Pid;
use crate::target::Proc;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Settings whose names have one of these in them are not told.
const SECRET: [&str; 3] = ["token", "secret", "password"];
/// Settings that only say where a secret is.
const PLACES: [&str; 2] = ["file", "path"];

const NOTHING_ELSE: &str =
    "No command line, environment or profile of any process is in it. Log lines may name files of programs.\n";

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It cannot be written.
    #[error("cannot write {path}{}", if source.kind() == io::ErrorKind::AlreadyExists { ": choose another name" } else { "" })]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A bug.
    #[error("cannot write the report as JSON")]
    Json(#[from] serde_json::Error),
}

/// What a running agent says of itself.
pub struct Said {
    /// Its answer to `/api/v1/diagnostics`.
    pub diagnostics: Vec<u8>,
    /// Its answer to `/metrics`.
    pub metrics: Vec<u8>,
}

/// A file in the bundle.
struct Part {
    name: &'static str,
    /// What it is, for who reads the list.
    what: String,
    content: Vec<u8>,
}

impl Part {
    fn new(name: &'static str, what: impl Into<String>, content: impl Into<Vec<u8>>) -> Part {
        Part { name, what: what.into(), content: content.into() }
    }
}

/// Writes the bundle and says what is inside. `config` is what an agent would run with that is started now; `said` is what a
/// running one says, or why nothing is told of it.
pub fn bundle(
    path: &Path,
    report: &Report,
    config: &Config,
    said: Result<Said, String>,
) -> Result<String, BundleError> {
    let mut parts = vec![
        Part::new("doctor.txt", "what this host allows", report.table(false)),
        Part::new("doctor.json", "the same for programs", report.json()?),
        Part::new("host.txt", "version of pprofd, kernel and distribution", host(report.version)),
    ];
    parts.extend(of_agent(config, said)?);
    write(path, &parts).map_err(|source| BundleError::Write { path: path.to_owned(), source })?;
    let mut said = vec![format!("{} holds, and nothing else:", path.display())];
    said.extend(parts.iter().map(|part| format!("  {:18} {}", part.name, part.what)));
    said.push(NOTHING_ELSE.to_owned());
    Ok(said.join("\n"))
}

fn host(version: &str) -> String {
    let kernel = rustix::system::uname();
    let words =
        [kernel.sysname(), kernel.release(), kernel.version(), kernel.machine()].map(|word| word.to_string_lossy());
    let distribution =
        std::fs::read_to_string("/etc/os-release").unwrap_or_else(|error| format!("/etc/os-release: {error}\n"));
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!("pprofd {version}\n{}\n{cpus} CPUs\n{distribution}", words.join(" "))
}

/// What a running agent says; without one, the configuration that it would have.
fn of_agent(config: &Config, said: Result<Said, String>) -> Result<Vec<Part>, BundleError> {
    let Said { diagnostics, metrics } = match said {
        Ok(said) => said,
        Err(why) => return without_agent(config, &why),
    };
    let mut about = serde_json::from_slice::<Value>(&diagnostics)?;
    redact(&mut about);
    let mut part = |name: &str| about.as_object_mut().and_then(|about| about.remove(name)).unwrap_or_default();
    let (settings, log) = (part("config"), part("log"));
    let mut parts = vec![
        Part::new("config.json", "settings of the running agent, without secrets", pretty(&settings)?),
        Part::new("log.txt", "the last lines of its log", lines(&log)),
        Part::new("metrics.txt", "its metrics", metrics),
    ];
    let pid = about.get("pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok());
    if let Some(status) = pid.and_then(|pid| Proc::default().status_text(Pid(pid)).ok()) {
        parts.push(Part::new("status.txt", "its own /proc/PID/status", status));
    }
    parts.push(Part::new("agent.json", "its version, and its BPF programs with their running times", pretty(&about)?));
    Ok(parts)
}

fn without_agent(config: &Config, why: &str) -> Result<Vec<Part>, BundleError> {
    let mut would_be = serde_json::to_value(config)?;
    redact(&mut would_be);
    let what = format!("why nothing is told of a running agent: {why}");
    let settings = "settings of an agent that is started now, without secrets";
    Ok(vec![Part::new("agent.txt", what, format!("{why}\n")), Part::new("config.json", settings, pretty(&would_be)?)])
}

fn pretty(value: &Value) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(value).map(|text| text + "\n")
}

fn lines(log: &Value) -> String {
    let lines = log.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_str);
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Takes the values of secrets away.
fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                let name = name.to_lowercase();
                let secret = SECRET.iter().any(|word| name.contains(word));
                if secret && !PLACES.iter().any(|word| name.ends_with(word)) && !member.is_null() {
                    *member = Value::from("(not told)");
                }
                redact(member);
            }
        }
        Value::Array(members) => members.iter_mut().for_each(redact),
        _ => {}
    }
}

/// A packed archive that only its owner may read.
fn write(path: &Path, parts: &[Part]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for part in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(part.content.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, Path::new("pprofd-bundle").join(part.name), part.content.as_slice())?;
    }
    archive.into_inner()?.finish()?.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_not_told_but_where_they_are() {
        let mut value = json!({
            "config": { "token_file": "/etc/t", "tokens": [{ "value": "abc" }], "password": "x", "token": null, "hz": 19 },
            "list": [{ "client_secret": 7 }],
        });
        redact(&mut value);
        let config = json!({
            "token_file": "/etc/t", "tokens": "(not told)", "password": "(not told)", "token": null, "hz": 19,
        });
        assert_eq!(value, json!({ "config": config, "list": [{ "client_secret": "(not told)" }] }));
    }

    #[test]
    fn a_bundle_without_an_agent_says_so_and_is_not_written_over() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("b.tar.gz");
        let nobody = || Err("nobody is there".to_owned());
        let report = Report::new(Vec::new(), Vec::new());
        let said = bundle(&path, &report, &Config::default(), nobody()).expect("a bundle");
        assert!(said.contains("why nothing is told of a running agent"), "{said}");
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(&path).expect("open")));
        let names = archive.entries().expect("entries").map(|entry| {
            let entry = entry.expect("an entry");
            entry.path().expect("a path").display().to_string()
        });
        let names: Vec<String> = names.collect();
        assert_eq!(names.len(), said.lines().filter(|line| line.starts_with("  ")).count(), "{said}");
        assert!(names.iter().all(|name| said.contains(name.trim_start_matches("pprofd-bundle/"))), "{names:?}");
        let again = bundle(&path, &report, &Config::default(), nobody()).expect_err("it is there already");
        assert!(again.to_string().contains("choose another name"), "{again}");
    }
}
