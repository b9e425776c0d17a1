//! Programs that were compiled, then damaged by chance: the same chance in each run.

use super::{Damaged, craft};
use std::fs;
use std::ops::Range;
use std::process::Command;

const SOURCE: &str = "
namespace n { template <class T> __attribute__((noinline)) T leaf(T x) { volatile T y = x; return y * 3; } }
static inline __attribute__((always_inline)) int middle(int x) { return n::leaf(x) + 1; }
__attribute__((noinline)) int outer(int x, int *p) { if (x > 9) throw p; return middle(x) + middle(x + 1); }
int main(int argc, char **argv) { try { return outer(argc, &argc) & 1; } catch (int *) { return 2; } }
";
const GO: &str = "package main\n\nimport \"os\"\n\nfunc main() { os.Exit(len(os.Args) & 1) }\n";

/// Files of each kind.
const BY_BYTES: usize = 220;
const BY_SECTIONS: usize = 120;
const GO_FILES: usize = 12;

/// Numbers that are the same in each run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap() % limit.max(1)
    }
}

fn built(source: &str, name: &str, command: &mut Command) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), source).unwrap();
    let output = command.current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    fs::read(folder.path().join("program")).unwrap()
}

fn compiled(flags: &[&str]) -> Vec<u8> {
    built(SOURCE, "source.cc", Command::new("g++").args(["-O1", "-o", "program", "source.cc"]).args(flags))
}

fn go() -> Vec<u8> {
    let installed = "/usr/local/go/bin/go";
    let mut go = Command::new(if std::path::Path::new(installed).exists() { installed } else { "go" });
    go.env("GO111MODULE", "off").env("GOFLAGS", "").env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
    built(GO, "main.go", go.args(["build", "-ldflags=-s -w", "-o", "program", "main.go"]))
}

/// A program with all that names and rows are made of.
pub(crate) fn whole() -> Vec<u8> {
    compiled(&["-g"])
}

/// Where the sections of a whole file are.
fn sections(file: &[u8]) -> Vec<(String, Range<usize>)> {
    let number = |at: usize, size: usize| {
        let mut word = [0; 8];
        word[..size].copy_from_slice(&file[at..at + size]);
        usize::try_from(u64::from_le_bytes(word)).unwrap()
    };
    let (at, count, names) = (number(craft::E_SHOFF, 8), number(craft::E_SHNUM, 2), number(craft::E_SHSTRNDX, 2));
    let headers = (0..count).map(|index| at + index * craft::SECTION_HEADER);
    let names = number(at + names * craft::SECTION_HEADER + 24, 8);
    let of = |header: usize| {
        let name: Vec<u8> = file[names + number(header, 4)..].iter().copied().take_while(|byte| *byte != 0).collect();
        let (start, size) = (number(header + 24, 8), number(header + 32, 8));
        // What is not in the file (SHT_NOBITS) is not damaged.
        let size = if number(header + 4, 4) == 8 { 0 } else { size };
        (String::from_utf8(name).unwrap(), start..start + size)
    };
    headers.map(of).filter(|(_, range)| !range.is_empty()).collect()
}

/// Files whose bytes, or whole sections, are something else.
pub(crate) fn all(whole: &[u8]) -> Vec<Damaged> {
    let forms = [whole.to_vec(), compiled(&["-g", "-gz"]), compiled(&["-gdwarf-4", "-fno-omit-frame-pointer"])];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut all: Vec<Damaged> =
        (0..BY_BYTES).map(|round| bytes(&forms[round % forms.len()], &mut random, round)).collect();
    all.extend((0..BY_SECTIONS).map(|round| section(&forms[round % forms.len()], &mut random, round)));
    all.extend(of_go(&mut random));
    all
}

/// Some bytes, in one section more than elsewhere, and perhaps no end.
fn bytes(good: &[u8], random: &mut Random, round: usize) -> Damaged {
    let mut file = good.to_vec();
    let sections = sections(good);
    let (name, range) = &sections[random.below(sections.len())];
    for _ in 0..=random.below(60) {
        let at = match random.below(4) {
            0 => random.below(1024),
            1 => file.len() - 1 - random.below(2400),
            _ => range.start + random.below(range.len()),
        };
        file[at] = [0, 0xff, 0x7f, 0x80, u8::try_from(random.below(256)).unwrap()][random.below(5)];
    }
    if round.is_multiple_of(7) {
        file.truncate(file.len() - random.below(file.len() / 2));
    }
    Damaged::bytes(format!("bytes of {name}, round {round}"), file)
}

/// A section that is another one's bytes, noise, or one byte all over.
fn section(good: &[u8], random: &mut Random, round: usize) -> Damaged {
    const MEANT: [&str; 9] =
        [".debug_", ".eh_frame", ".symtab", ".strtab", ".dynsym", ".note", ".shstrtab", ".text", ".dynamic"];
    let mut file = good.to_vec();
    let sections = sections(good);
    let meant: Vec<_> = sections.iter().filter(|(name, _)| MEANT.iter().any(|meant| name.starts_with(meant))).collect();
    let (name, range) = meant[random.below(meant.len())];
    let (other, source) = &sections[random.below(sections.len())];
    let how = random.below(4);
    let seed = random.next();
    let mut noise = Random(seed);
    for (position, at) in range.clone().enumerate() {
        file[at] = match how {
            0 => u8::try_from(noise.below(256)).unwrap(),
            1 => good[source.start + position % source.len()],
            2 => u8::try_from(seed & 0xff).unwrap(),
            // Backwards.
            _ => good[range.end - 1 - position],
        };
    }
    Damaged::bytes(format!("{name} made of {other} ({how}), round {round}"), file)
}

/// Go programs: their function table with bytes that are something else, and with counts and offsets that are wrong.
fn of_go(random: &mut Random) -> Vec<Damaged> {
    let good = go();
    let table = sections(&good).into_iter().find(|(name, _)| name == ".gopclntab").unwrap().1;
    let mut all = Vec::new();
    for round in 0..GO_FILES {
        let mut file = good.clone();
        for _ in 0..=random.below(1000) {
            file[table.start + random.below(table.len())] = u8::try_from(random.below(256)).unwrap();
        }
        all.push(Damaged::bytes(format!("bytes of .gopclntab, round {round}"), file));
    }
    // Behind eight bytes of magic number: functions, files, start of the text, and five offsets.
    for word in 0..8 {
        for value in [0, u64::MAX, table.len() as u64 - 1, 1 << 31] {
            let mut file = good.clone();
            craft::put(&mut file, table.start + 8 + 8 * word, &value.to_le_bytes());
            all.push(Damaged::bytes(format!("word {word} of .gopclntab is {value:#x}"), file));
        }
    }
    all
}
