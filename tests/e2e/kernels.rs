//! Debian's 6.1 cloud kernel, the oldest that is supported, in an emulator: the object loads there and a known program is
//! sampled. Time in the guest is stretched, so shares are asserted, never counts. Its wall clock can be set without anybody
//! else being disturbed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use tests::harness::{Profile, agent, programs, strict, tools};

#[test]
fn debians_6_1_kernel_loads_the_object_and_samples() {
    let scripts = programs::root().join("tests/scripts");
    let script = |name: &str| scripts.join(name).display().to_string();
    let kernels = programs::root().join("target/kernels").display().to_string();
    let kernel = tools::output(&script("get-kernel.sh"), &["6.1", "cloud", &kernels]);
    let modules = Path::new(kernel.trim()).ancestors().nth(2).unwrap().join("lib/modules");
    let modules = std::fs::read_dir(modules).unwrap().next().unwrap().unwrap().path();
    let burner = programs::c("burner.c", &["-static"]);
    let mut guest = Command::new(script("vm-run.sh"));
    guest.args(["-k", kernel.trim(), "-t", "300", "-M"]).arg(modules);
    guest.args(["-l", "algif_hash", "-l", "sha3_generic"]);
    put(&mut guest, &agent::binary(), "/pprofd");
    put(&mut guest, &burner, "/burner");
    put(&mut guest, &programs::c("digests.c", &["-static"]), "/digests");
    put(&mut guest, &scripts.join("smoke.sh"), "/smoke.sh");
    if let Some(object) = std::env::var_os("PPROFD_EBPF_OBJECT") {
        put(&mut guest, Path::new(&object), "/object");
    }
    let output = guest.args(["--", "sh", "/smoke.sh"]).stdin(Stdio::null()).output().unwrap();
    let console = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}; the guest's console:\n{console}", output.status);
    assert!(console.contains("s, kernel 6.1."), "another kernel was booted:\n{console}");
    let profile = |of: &str| {
        let text = between(&console, &format!("smoke: {of} begins"), &format!("smoke: {of} ends"));
        let profile = Profile::parse(&decode(text));
        strict::assert_strict(&profile);
        assert!(profile.count() > 40, "{}", profile.summary());
        profile
    };
    let digests = profile("digests");
    let named = digests.share(|sample| {
        // A function of the module, below the system call that asked for it.
        sample.is_in("[sha3_generic]") && sample.stack.iter().any(|name| name.contains("sha3_"))
    });
    assert!(named >= 0.5, "{:.1} % in the module\n{:?}\n{}", named * 100.0, digests.files(), digests.summary());
    let profile = profile("burner");
    assert!(console.contains("smoke: the clock was set twice"), "{console}");
    // No duration is taken from the wall clock, which was an hour ahead for a second.
    assert!((3.9..60.0).contains(&profile.seconds()), "{:.3} s\n{}", profile.seconds(), profile.summary());
    let share = profile.share(|sample| sample.has_chain(&["burn_inner", "burn_outer", "main"]));
    assert!(share >= 0.8, "{:.1} % of\n{}", share * 100.0, profile.summary());
}

fn put(guest: &mut Command, file: &Path, place: &str) {
    guest.arg("-f").arg(format!("{}:{place}", file.display()));
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).unwrap_or_else(|| panic!("no {start:?} in\n{text}")).1;
    rest.split_once(end).unwrap_or_else(|| panic!("no {end:?} in\n{text}")).0
}

fn decode(text: &str) -> Vec<u8> {
    let mut child =
        Command::new("base64").args(["-d", "-i"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap().stdout
}
