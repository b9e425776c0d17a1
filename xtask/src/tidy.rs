//! `tidy`: what `docs/architecture.md` says about files and rooms, held by a test: plain scanning of lines, no parsing.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Top-level folders; hidden ones and `target` aside.
const FOLDERS: [&str; 6] = ["deploy", "docs", "profiler-ebpf", "profiler-user", "tests", "xtask"];

/// A room, and the rooms that its code must not name.
const WALLS: [(&str, &[&str]); 15] = [
    (
        "event",
        &[
            "agent",
            "cli",
            "doctor",
            "encode",
            "http",
            "kernel",
            "kind",
            "parse",
            "record",
            "symbolize",
            "tables",
            "target",
            "telemetry",
            "watch",
            "worker",
        ],
    ),
    (
        "parse",
        &[
            "agent",
            "cli",
            "config",
            "doctor",
            "encode",
            "http",
            "kernel",
            "kind",
            "record",
            "symbolize",
            "tables",
            "target",
            "telemetry",
            "watch",
        ],
    ),
    (
        "config",
        &[
            "agent",
            "doctor",
            "encode",
            "http",
            "kernel",
            "kind",
            "parse",
            "record",
            "symbolize",
            "tables",
            "target",
            "watch",
            "worker",
        ],
    ),
    ("kernel", &["agent", "cli", "encode", "http", "kind", "parse", "record", "symbolize", "tables", "worker"]),
    (
        "target",
        &["agent", "cli", "encode", "http", "kind", "parse", "record", "symbolize", "tables", "watch", "worker"],
    ),
    (
        "watch",
        &["agent", "cli", "encode", "http", "kind", "parse", "record", "symbolize", "tables", "target", "worker"],
    ),
    (
        "record",
        &[
            "agent",
            "cli",
            "encode",
            "http",
            "kernel",
            "kind",
            "parse",
            "symbolize",
            "tables",
            "target",
            "watch",
            "worker",
        ],
    ),
    ("tables", &["agent", "cli", "encode", "http", "kind", "parse", "record", "symbolize"]),
    (
        "late",
        &[
            "agent",
            "cli",
            "encode",
            "http",
            "kernel",
            "kind",
            "parse",
            "record",
            "symbolize",
            "target",
            "watch",
            "worker",
        ],
    ),
    ("kind", &["agent", "cli", "encode", "http", "parse"]),
    ("symbolize", &["agent", "cli", "encode", "http", "kernel", "parse", "tables", "watch"]),
    ("encode", &["agent", "cli", "http", "kernel", "parse", "record", "tables", "target", "watch", "worker"]),
    ("http", &["agent", "cli", "kernel", "parse", "tables", "worker"]),
    (
        "client",
        &[
            "agent",
            "cli",
            "command",
            "doctor",
            "encode",
            "event",
            "http",
            "kernel",
            "kind",
            "parse",
            "record",
            "symbolize",
            "tables",
            "target",
            "watch",
            "worker",
        ],
    ),
    ("command", &["cli", "http", "kernel", "parse", "record", "symbolize", "tables", "target", "watch", "worker"]),
];

/// What may follow `/proc/` outside of `target/`: the host's and our own, never another process's.
const OWN_PROC: [&str; 6] = ["self/", "thread-self/", "sys/", "kallsyms", "modules", "stat\""];

/// A source file without its comments and its tests.
struct Source {
    /// Below the checkout's root.
    path: String,
    first_line: String,
    code: String,
}

/// Fails with every broken rule.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut broken = folders(root)?;
    for source in sources(root)? {
        if !source.first_line.starts_with("//!") {
            broken.push(format!("{}: the first line must begin with `//!` and say what the file is for", source.path));
        }
        rooms(&source, &mut broken);
        privileges(&source, &mut broken);
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

fn folders(root: &Path) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for entry in fs::read_dir(root).context("cannot list the checkout")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let known = name.starts_with('.') || name.starts_with("target") || FOLDERS.contains(&name.as_str());
        if entry.file_type()?.is_dir() && !known {
            broken.push(format!("{name}/: no such top-level folder is planned in docs/architecture.md"));
        }
    }
    broken.extend(FOLDERS.iter().filter(|name| !root.join(name).is_dir()).map(|name| format!("{name}/ is missing")));
    Ok(broken)
}

/// The room of a file: the first part of its path below `profiler-user/src`.
fn room(path: &str) -> Option<&str> {
    let below = path.strip_prefix("profiler-user/src/")?;
    let first = below.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

fn rooms(source: &Source, broken: &mut Vec<String>) {
    let Some(room) = room(&source.path) else { return };
    let forbidden = WALLS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, forbidden)| forbidden);
    for other in forbidden {
        if names(&source.code, &format!("crate::{other}")) {
            broken.push(format!("{}: `{room}` must not name `{other}`", source.path));
        }
    }
    // One rule for all, so that a new room needs no line for it: what parses a target's bytes is called in the worker only.
    if !["parse", "worker"].contains(&room) && names(&source.code, "crate::parse") && !forbidden.contains(&"parse") {
        broken.push(format!("{}: only `worker` may name `parse`", source.path));
    }
    if room != "kernel" && ["aya", "aya_log", "aya_obj"].iter().any(|name| names(&source.code, &format!("{name}::"))) {
        broken.push(format!("{}: only `kernel` may name aya", source.path));
    }
}

fn privileges(source: &Source, broken: &mut Vec<String>) {
    let Some(room) = room(&source.path) else { return };
    let may_be_unsafe = room == "kernel" || source.path == "profiler-user/src/worker/sandbox.rs";
    if !may_be_unsafe && names(&source.code, "unsafe") {
        broken.push(format!("{}: unsafe code belongs in kernel/ or worker/sandbox.rs", source.path));
    }
    let foreign = |rest: &&str| !OWN_PROC.iter().any(|own| rest.starts_with(own));
    if room != "target" && source.code.split("\"/proc/").skip(1).any(|rest| foreign(&rest)) {
        broken.push(format!("{}: only `target` may read another process's /proc", source.path));
    }
}

/// True if `name` is in the code as a word (`crate::record` is not in `crate::recorder`).
fn names(code: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + name.len()..].chars().next();
        !before.is_some_and(is_word) && (name.ends_with(':') || !after.is_some_and(|c| is_word(c) || c == '-'))
    })
}

fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut files = Vec::new();
    for folder in ["profiler-ebpf", "profiler-user", "tests", "xtask"] {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    files.iter().map(|file| read(root, file)).collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    Ok(())
}

fn read(root: &Path, file: &Path) -> Result<Source> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let path = file.strip_prefix(root).unwrap_or(file).display().to_string();
    // Tests may reach wherever they want: what is checked ends where they begin.
    let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
    let code = if is_test { "" } else { text.split("#[cfg(test)]\nmod ").next().unwrap_or_default() };
    let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    Ok(Source { path, first_line: text.lines().next().unwrap_or_default().to_owned(), code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_is_tidy() {
        if let Err(error) = check(&crate::sh::root()) {
            panic!("{error:#}");
        }
    }

    fn broken(path: &str, code: &str) -> Vec<String> {
        let source = Source { path: path.into(), first_line: "//!".into(), code: code.into() };
        let mut broken = Vec::new();
        rooms(&source, &mut broken);
        privileges(&source, &mut broken);
        broken
    }

    #[test]
    fn walls_are_seen() {
        assert_eq!(broken("profiler-user/src/record/log.rs", "use crate::http::Router;").len(), 1);
        assert_eq!(broken("profiler-user/src/agent.rs", "crate::parse::elf()").len(), 1);
        assert_eq!(broken("profiler-user/src/tables/mod.rs", "use aya::maps::Array;").len(), 1);
        assert_eq!(broken("profiler-user/src/kernel/mod.rs", "use aya::maps::Array;").len(), 0);
        assert_eq!(broken("profiler-user/src/worker/server.rs", "use crate::parse::elf;").len(), 0);
        assert_eq!(broken("profiler-user/src/http/mod.rs", "use crate::kernels;").len(), 0);
    }

    #[test]
    fn privileges_are_seen() {
        assert_eq!(broken("profiler-user/src/http/mod.rs", "unsafe { go() }").len(), 1);
        assert_eq!(broken("profiler-user/src/http/mod.rs", "\"style 'unsafe-inline'\"").len(), 0);
        assert_eq!(broken("profiler-user/src/http/mod.rs", "format!(\"/proc/{pid}/maps\")").len(), 1);
        assert_eq!(broken("profiler-user/src/doctor.rs", "\"/proc/sys/kernel\"").len(), 0);
    }
}
