//! The table of file forms: however a program was compiled, linked, stripped, packed and put somewhere, its profile shows the
//! functions, lines and inlined calls that its file tells of, below complete stacks; where it cannot, it says why.

mod form;
mod workshop;

use form::{Form, Names, Program, Stacks};
use std::time::Duration;
use tests::harness::{Agent, Profile, Target, programs, wait};
use workshop::{Folder, burn, halves, usual};

const HZ: u32 = 997;
/// Forms that run at once: they share the CPUs.
const AT_ONCE: usize = 12;
/// The reason of a stack that met a file before its table was built.
const PENDING: &str = "table pending";
/// Until a busy host has given each form some time.
const PATIENCE: Duration = Duration::from_mins(2);
/// Samples of each form that are enough to judge by.
const ENOUGH: i64 = 50;

const BURN: Program = Program {
    chains: &[(&["leaf", "middle", "outer", "main"], 1.0)],
    inlined: Some("inlined_leaf"),
    never: &[],
    source: "burn.c",
};

const HALVES: Program = Program {
    chains: &[(&["own_hot", "own_caller", "main"], 0.5), (&["half_hot", "half_entry", "main"], 0.5)],
    inlined: None,
    never: &["decoy_before", "decoy_after"],
    source: "half_main.c",
};

const FOLDED: Program = Program {
    chains: &[(&["twin_1|twin_2", "first", "main"], 0.5), (&["twin_1|twin_2", "second", "main"], 0.5)],
    inlined: None,
    never: &[],
    source: "folded.c",
};

const COLD: Program = Program {
    chains: &[(&["do_work|do_work.cold", "driver", "main"], 1.0)],
    inlined: None,
    never: &["neighbour.cold"],
    source: "cold_part.c",
};

const REMAPPED: Program = Program { inlined: None, source: "remapped.c", ..BURN };

/// With frame pointers, in the leaf too.
const FRAMES: &[&str] = &["-O2", "-g", "-fno-omit-frame-pointer", "-DFRAMES"];

/// The usual form, from which each row differs in something.
const ROW: Form = Form {
    name: "gcc",
    make: |_| usual(),
    run: workshop::plain,
    program: &BURN,
    names: Names::Inlines,
    stacks: Stacks::Complete,
};

const FORMS: &[Form] = &[
    // Compilers and frame pointers.
    ROW,
    Form { name: "fp", make: |_| burn("gcc", &["-O2", "-g", "-fno-omit-frame-pointer"]), ..ROW },
    Form {
        name: "nofp-notables",
        make: |_| {
            burn("gcc", &["-O2", "-fomit-frame-pointer", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"])
        },
        names: Names::Functions,
        stacks: Stacks::Leaf(&["bad frame pointer", "no mapping"]),
        ..ROW
    },
    Form { name: "debug_frame", make: |_| burn("gcc", &["-O2", "-g", "-fno-asynchronous-unwind-tables"]), ..ROW },
    Form { name: "clang-nofp", make: |_| burn("clang-22", &["-O2", "-g", "-fomit-frame-pointer"]), ..ROW },
    // Kinds of executables and C libraries.
    Form { name: "nopie", make: |_| burn("gcc", &["-O2", "-g", "-no-pie"]), ..ROW },
    Form { name: "static", make: |_| burn("gcc", &["-O2", "-g", "-static"]), ..ROW },
    Form { name: "static-pie", make: |_| burn("gcc", &["-O2", "-g", "-static-pie"]), ..ROW },
    Form { name: "musl", make: |_| burn("musl-gcc", &["-O2", "-g"]), ..ROW },
    Form { name: "musl-static", make: |_| burn("musl-gcc", &["-O2", "-g", "-static"]), ..ROW },
    // Debug information.
    Form { name: "dwarf4", make: |_| burn("gcc", &["-O2", "-gdwarf-4"]), ..ROW },
    Form { name: "dwarf5-zlib", make: |_| burn("gcc", &["-O2", "-gdwarf-5", "-gz=zlib"]), ..ROW },
    Form {
        name: "dwarf5-zstd",
        make: |here| here.usual_after("llvm-objcopy --compress-debug-sections=zstd burn"),
        ..ROW
    },
    Form {
        name: "split",
        make: |here| {
            here.burn_script(
                "clang -O2 -g -gsplit-dwarf -c -o split.o burn.c; clang -o burn split.o; test -s split.dwo",
            )
        },
        names: Names::Inlines,
        ..ROW
    },
    Form {
        name: "split-dwp",
        make: |here| {
            here.burn_script(
                "clang -O2 -g -gsplit-dwarf -c -o split.o burn.c; clang -o burn split.o; \
                 llvm-dwp split.dwo -o burn.dwp; rm split.dwo; test -s burn.dwp",
            )
        },
        names: Names::Inlines,
        ..ROW
    },
    Form { name: "stripped", make: |here| here.usual_after("strip --strip-all burn"), names: Names::Nothing, ..ROW },
    Form { name: "no-build-id", make: |_| burn("gcc", &["-O2", "-g", "-Wl,--build-id=none"]), ..ROW },
    Form {
        name: "debuglink",
        make: |here| {
            here.usual_after(
                "objcopy --only-keep-debug burn burn.debug; strip --strip-all burn; \
                 objcopy --add-gnu-debuglink=burn.debug burn",
            )
        },
        ..ROW
    },
    Form {
        name: "minidebug",
        make: |here| {
            here.usual_after(
                "objcopy --only-keep-debug burn whole; objcopy --strip-debug --remove-section=.comment whole mini; \
                 xz mini; strip --strip-all burn; objcopy --add-section .gnu_debugdata=mini.xz burn",
            )
        },
        names: Names::Functions,
        ..ROW
    },
    Form {
        name: "dwz",
        make: |here| {
            here.burn_script(
                "gcc -O2 -g -o burn burn.c; cp burn other; dwz -m shared burn other; \
                 readelf -S burn | grep -q gnu_debugaltlink",
            )
        },
        names: Names::Inlines,
        ..ROW
    },
    Form {
        name: "buildid-tree",
        make: |here| here.usual_after("objcopy --only-keep-debug burn debug; strip --strip-all burn"),
        run: workshop::beside_its_debug_file,
        ..ROW
    },
    // Linkers.
    Form { name: "lto", make: |_| burn("clang-22", &["-O2", "-g", "-flto", "-fuse-ld=lld"]), ..ROW },
    Form { name: "lto-thin", make: |_| burn("clang-22", &["-O2", "-g", "-flto=thin", "-fuse-ld=lld"]), ..ROW },
    Form { name: "lto-gcc", make: |_| burn("gcc", &["-O2", "-g", "-flto"]), ..ROW },
    Form {
        name: "relr",
        make: |_| burn("clang-22", &["-O2", "-g", "-fuse-ld=lld", "-Wl,-z,pack-relative-relocs"]),
        ..ROW
    },
    Form {
        name: "no-rosegment",
        make: |_| burn("clang-22", &["-O2", "-g", "-fuse-ld=lld", "-Wl,--no-rosegment"]),
        ..ROW
    },
    Form {
        name: "icf",
        make: |_| {
            let flags = ["-O2", "-g", "-ffunction-sections", "-fuse-ld=lld", "-Wl,--icf=all"];
            programs::by("clang-22", "forms/folded.c", &flags)
        },
        program: &FOLDED,
        names: Names::Lines,
        ..ROW
    },
    Form {
        name: "halves-bfd",
        make: |here| halves(here, &["-fuse-ld=bfd"]),
        program: &HALVES,
        names: Names::Lines,
        ..ROW
    },
    Form {
        name: "halves-bfd-nosep",
        make: |here| halves(here, &["-fuse-ld=bfd", "-Wl,-z,noseparate-code"]),
        program: &HALVES,
        names: Names::Lines,
        ..ROW
    },
    Form {
        name: "halves-lld",
        make: |here| halves(here, &[workshop::LLD, "-fuse-ld=lld"]),
        program: &HALVES,
        names: Names::Lines,
        ..ROW
    },
    Form {
        name: "halves-lld-norosegment",
        make: |here| halves(here, &[workshop::LLD, "-fuse-ld=lld", "-Wl,--no-rosegment"]),
        program: &HALVES,
        names: Names::Lines,
        ..ROW
    },
    Form {
        name: "halves-gold",
        make: |here| halves(here, &["-fuse-ld=gold"]),
        program: &HALVES,
        names: Names::Lines,
        ..ROW
    },
    Form {
        name: "halves-mold",
        make: |here| halves(here, &[workshop::MOLD]),
        program: &HALVES,
        names: Names::Lines,
        ..ROW
    },
    Form {
        name: "cold",
        make: |_| programs::c("cases/cold_part.c", &["-freorder-blocks-and-partition"]),
        program: &COLD,
        names: Names::Lines,
        ..ROW
    },
    // Text that is no longer in its file's mapping.
    Form {
        name: "remapped-fp",
        make: |_| programs::by("gcc", "forms/remapped.c", FRAMES),
        run: workshop::remapped,
        program: &REMAPPED,
        names: Names::Lines,
        stacks: Stacks::Main("jit code without frame pointer"),
    },
    Form {
        name: "remapped-nofp",
        make: |_| programs::by("gcc", "forms/remapped.c", &["-O2", "-g", "-fomit-frame-pointer"]),
        run: workshop::remapped,
        program: &REMAPPED,
        names: Names::Lines,
        stacks: Stacks::Leaf(&["jit code without frame pointer", "no mapping"]),
    },
    Form {
        name: "remapped-stripped",
        make: |here| here.copy(&programs::by("gcc", "forms/remapped.c", &[FRAMES, &["-s"]].concat()), "burn"),
        run: workshop::remapped,
        program: &REMAPPED,
        names: Names::Nothing,
        stacks: Stacks::Main("jit code without frame pointer"),
    },
    Form {
        name: "remapped-in-part",
        make: |_| programs::by("gcc", "forms/remapped.c", &[FRAMES, &["-static"]].concat()),
        run: workshop::remapped_in_part,
        program: &REMAPPED,
        names: Names::Lines,
        stacks: Stacks::Main("jit code without frame pointer"),
    },
    // Places.
    Form { name: "memfd", run: workshop::in_memory, ..ROW },
    Form { name: "overlayfs", run: workshop::on_overlay, ..ROW },
    Form { name: "bind-mounted", run: workshop::bind_mounted, ..ROW },
    Form { name: "unmounted", run: workshop::unmounted, ..ROW },
    Form { name: "deleted", run: workshop::deleted, ..ROW },
    Form { name: "replaced", run: workshop::replaced, ..ROW },
];

/// A form that runs, in a folder that lives as long.
struct Running {
    form: &'static Form,
    target: Target,
    _folder: Folder,
}

impl Running {
    fn start(form: &'static Form) -> Running {
        let folder = Folder::new();
        let program = (form.make)(&folder);
        let target = (form.run)(&folder, &program);
        Running { form, target, _folder: folder }
    }

    /// Its samples but those from before its table was there: it ran before the agent did.
    fn of(&self, host: &Profile) -> Profile {
        let pid = self.target.pid().to_string();
        host.only(|sample| sample.label("pid") == pid && sample.label("reason") != PENDING)
    }
}

#[test]
fn every_form_shows_what_its_file_tells() {
    let mut faults = Vec::new();
    for some in FORMS.chunks(AT_ONCE) {
        let running: Vec<Running> = some.iter().map(Running::start).collect();
        let agent = Agent::start(&[]);
        let enough = |host: &Profile| running.iter().all(|one| one.of(host).count() >= ENOUGH);
        let mut profile = agent.host(3, HZ);
        wait::until_true("enough samples of each form", PATIENCE, || {
            enough(&profile) || {
                profile.samples.extend(agent.host(2, HZ).samples);
                false
            }
        });
        for running in &running {
            let own = running.of(&profile);
            let found = running.form.faults(&own);
            if !found.is_empty() {
                faults.push(format!("{}\n{}", found.join("\n"), own.summary()));
            }
        }
    }
    assert!(faults.is_empty(), "{} of {} forms:\n{}", faults.len(), FORMS.len(), faults.join("\n"));
}
