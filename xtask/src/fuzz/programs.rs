//! Small programs in many forms, from the sources of the end-to-end tests: seeds for the targets that read program files.

use crate::sh;
use crate::test;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Name, compiler, flags and source. What debug information and unwind information can look like, as small as it gets.
const COMPILED: [(&str, &str, &str, &str); 11] = [
    ("dwarf5", "gcc", "-O1 -g", "split_dwarf.c"),
    ("dwarf4", "gcc", "-O1 -gdwarf-4", "split_dwarf.c"),
    ("dwarf3", "gcc", "-O1 -gdwarf-3", "split_dwarf.c"),
    ("packed", "gcc", "-O1 -g -gz=zlib", "split_dwarf.c"),
    ("packed-gnu", "gcc", "-O1 -g -gz=zlib-gnu", "split_dwarf.c"),
    ("debug-frame", "gcc", "-O1 -g -fno-asynchronous-unwind-tables", "split_dwarf.c"),
    ("inlined", "g++", "-O2 -g", "inlined.cc"),
    ("mangled", "g++", "-O2", "mangling.cc"),
    ("clang", "clang-22", "-O2 -g", "split_dwarf.c"),
    ("musl", "musl-gcc", "-static -O1 -g", "split_dwarf.c"),
    ("fixed", "gcc", "-O1 -no-pie -s", "exported.c"),
];

/// Program and arguments: what is made of the programs, in this order.
const MADE: [&str; 9] = [
    "gcc -O1 -g -gsplit-dwarf -c -o split.o split.c",
    "gcc -o split split.o",
    "llvm-objcopy-22 --strip-sections dwarf5 headerless",
    "llvm-objcopy-22 --compress-debug-sections=zstd dwarf5 zstd",
    "objcopy --only-keep-debug dwarf4 debug",
    "xz --force --keep debug",
    "strip -o bare dwarf4",
    "objcopy --add-section .gnu_debugdata=debug.xz bare inner",
    "objcopy --add-gnu-debuglink=debug bare linked",
];

/// Builds them into a folder.
pub(super) fn build(folder: &Path) -> Result<()> {
    let sources = sh::root().join("tests/programs/cases");
    for (name, compiler, flags, source) in COMPILED {
        let mut command = Command::new(compiler);
        command.args(flags.split(' ')).arg("-w").arg("-o").arg(folder.join(name)).arg(sources.join(source));
        run(&mut command)?;
    }
    // Its path is in the file.
    fs::copy(sources.join("split_dwarf.c"), folder.join("split.c")).context("cannot copy a program's source")?;
    for line in MADE {
        let mut words = line.split(' ');
        run(Command::new(words.next().unwrap_or_default()).args(words).current_dir(folder))?;
    }
    let mut go = Command::new("go");
    go.envs([("GO111MODULE", "off"), ("GOFLAGS", ""), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")]);
    run(go.args(["build", "-ldflags=-s -w", "-o"]).arg(folder.join("go")).arg(sources.join("pgo.go")))
}

fn run(command: &mut Command) -> Result<()> {
    sh::run(command.env("PATH", test::path())).context("`cargo xtask setup` installs what is missing")
}
