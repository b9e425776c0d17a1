//! A file that claims to be another one.

use super::loader::{self, Part};
use std::path::Path;
use tests::harness::craft::{Craft, NOTE};
use tests::harness::{Agent, Target, programs, tools};

/// A note that says the build ID.
fn build_id_note(hex: &str) -> Vec<u8> {
    let id: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let sizes = [4_u32, u32::try_from(id.len()).unwrap(), 3];
    [&sizes.map(u32::to_le_bytes).concat()[..], b"GNU\0", &id].concat()
}

/// `memfrob` of libc, by its own user, and the same numbers in a file that another one made.
#[test]
fn a_forged_build_id_of_libc_changes_nobody_elses_names_or_rows() {
    let folder = tempfile::tempdir().unwrap();
    let libc = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    let notes = tools::output("readelf", &["-n", &libc.display().to_string()]);
    let id = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).expect("a build ID");
    // It names all of libc's code, and has no table, so frame pointers would be followed.
    let size = std::fs::metadata(libc).unwrap().len();
    let code = usize::try_from(size).unwrap();
    let forged = Craft::with_code(code).symbols(&[("forged", 0, size)]).section(".note", NOTE, build_id_note(id));
    let path = loader::foreign(&folder.path().join("libc.so.6"), &forged.build());
    let agent = Agent::start(&[]);
    let forger = loader::load(&[Part::of_craft(path.clone())]);
    let of_forger = agent.cpu(forger.pid(), 2, 997);
    let own = loader::in_file(&of_forger, &path);
    assert!(own.count() >= 20 && own.share_of("forged") > 0.9, "{}", of_forger.summary());
    let mapping =
        of_forger.message.mapping.iter().find(|mapping| of_forger.text(mapping.filename) == path.to_str().unwrap());
    assert_eq!(mapping.map(|mapping| of_forger.text(mapping.build_id)), Some(id), "the forger's own claim");

    let honest = Target::start(&programs::c("hostile/libc_user.c", &[]), &[]);
    let pid = honest.pid().to_string();
    // In a profile of both the two are two files.
    for profile in [agent.cpu(honest.pid(), 2, 997), agent.host(2, 997).only(|sample| sample.label("pid") == pid)] {
        assert_eq!(profile.count_of(|sample| sample.has("forged")), 0, "{}", profile.summary());
        let whole = profile.share(|sample| sample.has_chain(&["memfrob", "use_libc", "main"]));
        assert!(whole >= 0.95 && profile.count() >= 20, "{:.1} % are whole\n{}", whole * 100.0, profile.summary());
    }
}
