//! Paths that lead elsewhere: perf maps that are no files, debug files in other folders.

use super::loader::{self, Part};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::harness::craft::{Craft, NOTE, PROGBITS, SPIN};
use tests::harness::{Agent, Profile, Target, programs, wait};

const SECONDS: u32 = 2;
/// Beyond the window.
const MORE: Duration = Duration::from_secs(8);
/// What nobody may learn from a file that only root may read.
const SECRET: &str = "only_root_knows";

/// A perf map that is something else; removed at the end.
struct Map(PathBuf);

impl Map {
    fn of(target: &Target, make: impl FnOnce(&Path)) -> Map {
        let path = PathBuf::from(format!("/tmp/perf-{}.map", target.pid()));
        std::fs::remove_file(&path).unwrap();
        make(&path);
        Map(path)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// A profile in time, all of whose stacks are there.
fn in_time(agent: &Agent, target: &Target) -> Profile {
    let answer = agent.get(&format!("/pid/{}/debug/pprof/profile?seconds={SECONDS}&hz=997", target.pid())).ok();
    assert!(answer.took <= Duration::from_secs(SECONDS.into()) + MORE, "{:?}", answer.took);
    let profile = Profile::parse(&answer.body);
    let chain = |sample: &tests::harness::profile::Sample| {
        let mut parts = sample.stack.windows(3);
        parts.any(|part| part[0] == "main" && part[1] == "run_jit" && part[2].starts_with("[anonymous code"))
    };
    assert!(profile.count() >= 20 && profile.share(chain) > 0.9, "{}", profile.summary());
    profile
}

#[test]
fn perf_maps_that_are_pipes_giants_and_links() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(&[]);
    let start = || Target::start_ready(&programs::c("cases/made_code.c", &[]), &[]);
    let [pipe, giant, shadow, secret] = [start(), start(), start(), start()];
    let of_secret = PathBuf::from(format!("/tmp/perf-{}.map", secret.pid()));
    let hidden = folder.path().join("secret");
    let text = std::fs::read_to_string(&of_secret).unwrap().replace("jit_hot_kernel", SECRET);
    assert!(text.contains(SECRET), "{text}");
    std::fs::write(&hidden, text).unwrap();
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600)).unwrap();
    let maps = [
        Map::of(&pipe, |path| {
            let mode = rustix::fs::Mode::from_raw_mode(0o644);
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }),
        Map::of(&giant, |path| std::fs::File::create(path).unwrap().set_len(10 << 30).unwrap()),
        Map::of(&shadow, |path| symlink("/etc/shadow", path).unwrap()),
        Map::of(&secret, |path| symlink(&hidden, path).unwrap()),
    ];
    let profiles = std::thread::scope(|scope| {
        let agent = &agent;
        let ask = [&pipe, &giant, &shadow, &secret].map(|target| scope.spawn(move || in_time(agent, target)));
        ask.map(|profile| profile.join().unwrap())
    });
    for (profile, map) in profiles.iter().zip(&maps) {
        let refused = profile.share(|sample| sample.has("[anonymous code: file not opened]"));
        assert!(refused > 0.9, "{}\n{}", map.0.display(), profile.summary());
    }
    assert!(agent.get("/readyz").status == 200, "{}", agent.log());
}

/// What names `spin` in a debug file of a file with that build ID.
fn debug_file(name: &str) -> Vec<u8> {
    Craft::new().section(".note.gnu.build-id", NOTE, note()).symbols(&[(name, 0, SPIN.len() as u64)]).build()
}

fn note() -> Vec<u8> {
    [&[4_u8, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0][..], b"GNU\0", &[0x5e; 20]].concat()
}

/// A file without names whose debug link is this.
fn linked(link: &str, debug: &[u8]) -> Vec<u8> {
    let mut section = link.as_bytes().to_vec();
    section.resize((section.len() + 1).next_multiple_of(4), 0);
    section.extend(crc32(debug).to_le_bytes());
    Craft::new().section(".note.gnu.build-id", NOTE, note()).section(".gnu_debuglink", PROGBITS, section).build()
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn debug_links_that_climb_out_lead_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    let private = folder.path().join("private");
    for made in [&place, &private] {
        std::fs::create_dir(made).unwrap();
    }
    // Passable for all but where only root may look.
    for (path, mode) in [(folder.path(), 0o755), (&place, 0o755), (&private, 0o700)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    chown(&place, Some(65_534), Some(65_534)).unwrap();
    let hidden = debug_file(SECRET);
    std::fs::write(private.join("spin.debug"), &hidden).unwrap();
    symlink(private.join("spin.debug"), place.join("link.debug")).unwrap();
    let public = debug_file("right_name");
    std::fs::write(place.join("right.debug"), &public).unwrap();
    let make = |name: &str, link: &str, debug: &[u8]| loader::foreign(&place.join(name), &linked(link, debug));
    let files = [
        make("climbs", "../private/spin.debug", &hidden),
        make("climbs-far", "../../../../../../../../etc/shadow", &hidden),
        make("rooted", private.join("spin.debug").to_str().unwrap(), &hidden),
        make("through-a-link", "link.debug", &hidden),
        make("right", "right.debug", &public),
    ];
    let parts: Vec<Part> = files.iter().map(|file| Part::of_craft(file.clone())).collect();
    let target = loader::load(&parts);
    let agent = Agent::start(&[]);
    // On a busy host not each file has its time in the first window.
    let profile = wait::until("samples of each file", Duration::from_mins(1), || {
        let profile = agent.cpu(target.pid(), SECONDS, 997);
        files.iter().all(|file| loader::in_file(&profile, file).count() > 0).then_some(profile)
    });
    assert_eq!(profile.count_of(|sample| sample.has(SECRET)), 0, "{}", profile.summary());
    for (file, named) in files.iter().zip([false, false, false, false, true]) {
        let own = loader::in_file(&profile, file);
        let right = own.share_of("right_name");
        assert!((right > 0.9) == named, "{}: {}", file.display(), own.summary());
    }
}
