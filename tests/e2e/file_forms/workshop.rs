//! Makes programs in their forms, and starts them where the form wants them.

use std::path::{Path, PathBuf};
use tests::harness::{Target, programs, tools};

/// LLVM's programs, by these names.
const LLVM: &str = "/usr/lib/llvm-22/bin";
/// Where gcc finds LLVM's linker.
pub(super) const LLD: &str = "-B/usr/lib/llvm-22/bin";
/// Where gcc finds mold, which older ones do not know by name.
pub(super) const MOLD: &str = "-B/usr/libexec/mold";
/// Where distributions put debug files.
const DEBUG: &str = "/usr/lib/debug";

/// A folder of one form's own.
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    /// An empty one.
    pub(super) fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    /// A path in it.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A copy of a program, here.
    pub(super) fn copy(&self, program: &Path, name: &str) -> PathBuf {
        let place = self.at(name);
        programs::copy_to(program, &place);
        place
    }

    /// [`usual`], changed by a script.
    pub(super) fn usual_after(&self, script: &str) -> PathBuf {
        self.copy(&usual(), "burn");
        self.script(script)
    }

    /// `burn.c`, made by a script.
    pub(super) fn burn_script(&self, script: &str) -> PathBuf {
        self.copy(&programs::source("forms/burn.c"), "burn.c");
        self.script(script)
    }

    /// Runs a script in this folder that must succeed; gives `burn`, which it has to make.
    pub(super) fn script(&self, script: &str) -> PathBuf {
        let script = format!("set -e; PATH={LLVM}:$PATH; cd {}; {script}", self.0.path().display());
        tools::output("sh", &["-c", &script]);
        self.at("burn")
    }
}

/// `burn.c` by a compiler with these flags.
pub(super) fn burn(compiler: &str, flags: &[&str]) -> PathBuf {
    programs::by(compiler, "forms/burn.c", flags)
}

/// The usual build: optimized, with debug information and tables, without frame pointers.
pub(super) fn usual() -> PathBuf {
    burn("gcc", &["-O2", "-g", "-fomit-frame-pointer"])
}

/// A program in two halves, each linked with these flags.
pub(super) fn halves(folder: &Folder, flags: &[&str]) -> PathBuf {
    let common = ["-O2", "-g", "-fomit-frame-pointer", "-falign-functions=64", "-fno-optimize-sibling-calls"];
    let library = programs::by("gcc", "forms/half_library.c", &[&common[..], flags, &["-fPIC", "-shared"]].concat());
    folder.copy(&library, "libhalf.so");
    let program = folder.at("burn");
    let [source, here] = [programs::source("forms/half_main.c"), folder.at("")].map(|path| path.display().to_string());
    let (search, found) = (format!("-L{here}"), format!("-Wl,-rpath,{here}"));
    let output = program.display().to_string();
    tools::output("gcc", &[&common[..], flags, &[&source, &search, "-lhalf", &found, "-o", &output]].concat());
    program
}

/// As it is.
pub(super) fn plain(_folder: &Folder, program: &Path) -> Target {
    Target::start(program, &[])
}

/// In a mount namespace of its own, after a script there that must succeed.
fn apart(script: &str, program: &Path) -> Target {
    let script = format!("set -e; {script}; exec {}", program.display());
    let name = program.file_name().unwrap().to_str().unwrap();
    Target::spawn_until("unshare", &["-m", "sh", "-c", &script], &format!("/{name}"))
}

/// With the debug file `debug` of the folder where its build ID leads.
pub(super) fn beside_its_debug_file(folder: &Folder, program: &Path) -> Target {
    let notes = tools::output("readelf", &["-n", program.to_str().unwrap()]);
    let id = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).expect("a build ID");
    let (first, rest) = id.split_at(2);
    std::fs::create_dir_all(DEBUG).unwrap();
    let place = format!("{DEBUG}/.build-id/{first}");
    let debug = folder.at("debug");
    let script = format!("mount -t tmpfs none {DEBUG}; mkdir -p {place}; cp {} {place}/{rest}.debug", debug.display());
    apart(&script, program)
}

/// In memory, from a file without a path.
pub(super) fn in_memory(_folder: &Folder, program: &Path) -> Target {
    let launcher = programs::c("cases/memory_launcher.c", &[]);
    Target::spawn_until(launcher.to_str().unwrap(), &[program.to_str().unwrap()], "/memfd:prog (deleted)")
}

/// In the lower layer of an overlay that only it sees.
pub(super) fn on_overlay(folder: &Folder, program: &Path) -> Target {
    for part in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(folder.at(part)).unwrap();
    }
    folder.copy(program, "lower/burn");
    let [lower, upper, work, merged] =
        ["lower", "upper", "work", "merged"].map(|part| folder.at(part).display().to_string());
    let layers = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    apart(&format!("mount -t overlay overlay -o {layers} {merged}"), &folder.at("merged/burn"))
}

/// Mounted over an empty file that only it does not see.
pub(super) fn bind_mounted(folder: &Folder, program: &Path) -> Target {
    let place = folder.at("burn-mounted");
    std::fs::write(&place, "").unwrap();
    apart(&format!("mount --bind {} {}", program.display(), place.display()), &place)
}

/// On a file system whose mount is gone but for its use.
pub(super) fn unmounted(folder: &Folder, program: &Path) -> Target {
    let mount = folder.at("mount");
    std::fs::create_dir(&mount).unwrap();
    let place = mount.join("burn");
    let [from, to, at] = [program, &place, &mount].map(|path| path.display().to_string());
    let target = apart(&format!("mount -t tmpfs none {at}; cp {from} {to}"), &place);
    tools::output("nsenter", &["-m", "-t", &target.pid().to_string(), "umount", "-l", &at]);
    target
}

/// A copy that is deleted once it runs.
pub(super) fn deleted(folder: &Folder, program: &Path) -> Target {
    let copy = folder.copy(program, "burn");
    let target = Target::start(&copy, &[]);
    std::fs::remove_file(&copy).unwrap();
    target
}

/// A copy over which another program is put once it runs.
pub(super) fn replaced(folder: &Folder, program: &Path) -> Target {
    let copy = folder.copy(program, "burn");
    let target = Target::start(&copy, &[]);
    let other = folder.copy(&programs::by("gcc", "forms/folded.c", &["-O2", "-g"]), "other");
    std::fs::rename(other, &copy).unwrap();
    target
}

/// With its text moved to anonymous memory: all of it, or all but its first and its last page.
pub(super) fn remapped(_folder: &Folder, program: &Path) -> Target {
    Target::start_ready(program, &["whole"])
}

/// As [`remapped`], all but the first and the last page.
pub(super) fn remapped_in_part(_folder: &Folder, program: &Path) -> Target {
    Target::start_ready(program, &["middle"])
}
