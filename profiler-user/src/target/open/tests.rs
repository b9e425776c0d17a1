//! Real files, mounts and processes; the kernel's naming is stood in for by fstat, which tells THESE files apart.

use super::*;
use crate::event::{FileNumber, FileOffset, Pid};
use crate::target::testing::{Child, ProcRoot, compile, eventually};
use rustix::fs::{CWD, FileType, Mode, fstat, major, makedev, minor, mknodat};
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// Names files by fstat.
struct ByStat;

impl KeyOf for ByStat {
    fn key_of(&self, file: BorrowedFd<'_>) -> Option<FileKey> {
        let stat = fstat(file).ok()?;
        let time = u64::try_from(stat.st_ctime).ok()? << 32 | stat.st_ctime_nsec;
        Some(FileKey { ino: stat.st_ino, dev: device(stat.st_dev), generation: 0, ctime: time, inode: 0 })
    }
}

fn device(dev: u64) -> u32 {
    major(dev) << 20 | minor(dev)
}

fn key(path: &Path) -> FileKey {
    ByStat.key_of(fs::File::open(path).expect("open").as_fd()).expect("key")
}

/// The announcement of a file that process 7 of a written `/proc` maps, on a file system whose device is made up.
fn announced(path: &[u8], key: FileKey) -> FileSeen {
    FileSeen {
        number: FileNumber(5),
        key,
        pid: Pid(7),
        start: 0x1000,
        end: 0x2000,
        offset: FileOffset(0),
        path_dev: 98 << 20 | 5,
        path: path.to_vec(),
        sampled: true,
    }
}

/// A written `/proc` whose process 7 has its root in `target/`, with one mount of the announced file system at `/mnt`.
struct Scene {
    root: ProcRoot,
}

const MOUNT: &str = "36 35 98:5 / /mnt rw - ext4 none rw\n";

impl Scene {
    fn new() -> Scene {
        let root = ProcRoot::new();
        root.write("target/mnt/lib/a.so", "the mapped file");
        root.link("7/root", root.path().join("target"));
        root.write("7/mountinfo", MOUNT);
        root.write("self/mountinfo", "");
        root.link("7/ns/mnt", "mnt:[77]");
        Scene { root }
    }

    fn file(&self) -> std::path::PathBuf {
        self.root.path().join("target/mnt/lib/a.so")
    }

    fn open(&self, seen: &FileSeen) -> Result<Opened, OpenError> {
        open(&self.root.proc(), seen, &ByStat, MAX_FILE_SIZE)
    }

    /// Why the ways failed, in order.
    fn refusals(&self, seen: &FileSeen) -> Vec<Refusal> {
        match self.open(seen) {
            Err(OpenError::Refused { attempts, .. }) => attempts.iter().map(|attempt| attempt.refusal).collect(),
            other => panic!("not refused: {other:?}"),
        }
    }
}

const NO_ENTRY: Refusal = Refusal::Failed(rustix::io::Errno::NOENT);

#[test]
fn a_file_is_found_by_the_mounts_of_its_process() {
    let scene = Scene::new();
    let opened = scene.open(&announced(b"/lib/a.so", key(&scene.file()))).expect("open");
    assert_eq!(
        fs::read_to_string(format!("/proc/self/fd/{}", opened.file.as_raw_fd())).expect("read"),
        "the mapped file"
    );
    assert_eq!((opened.path.as_str(), opened.mount_namespace, opened.size), ("/mnt/lib/a.so", 77, 15));
    assert_eq!(opened.owner, rustix::process::getuid().as_raw());
    assert!(opened.is_still(&key(&scene.file()), &ByStat));
}

#[test]
fn the_mapping_itself_comes_first() {
    let scene = Scene::new();
    scene.root.link("7/map_files/1000-2000", scene.file());
    let opened = scene.open(&announced(b"/elsewhere", key(&scene.file()))).expect("open");
    assert_eq!(opened.path, scene.file().to_string_lossy());
}

#[test]
fn the_agents_mounts_serve_a_process_that_is_gone() {
    let scene = Scene::new();
    fs::remove_dir_all(scene.root.path().join("7")).expect("remove");
    let at = scene.root.path().join("target/mnt");
    scene.root.write("self/mountinfo", format!("36 35 98:5 / {} rw - ext4 none rw\n", at.display()));
    let opened = scene.open(&announced(b"/lib/a.so", key(&scene.file()))).expect("open");
    assert_eq!(opened.path, scene.file().to_string_lossy());
    assert_eq!(opened.mount_namespace, 1 << 63 | 5, "no namespace is known, so it shares none");
}

#[test]
fn the_mounts_of_another_process_serve_one_that_is_gone() {
    let scene = Scene::new();
    let seen = announced(b"/lib/a.so", key(&scene.file()));
    fs::rename(scene.root.path().join("7"), scene.root.path().join("9")).expect("rename");
    scene.root.link("8/ns/mnt", "mnt:[66]");
    scene.root.write("8/mountinfo", "");
    scene.root.link("8/root", scene.root.path());
    assert_eq!(scene.open(&seen).expect("open").path, "/mnt/lib/a.so");
    // Of its own namespace all mounts were tried.
    scene.root.link("7/ns/mnt", "mnt:[55]");
    assert_eq!(scene.refusals(&seen).len(), 3);
}

#[test]
fn mounts_of_a_folder_and_of_the_file_itself_lead_to_it() {
    let scene = Scene::new();
    let seen = announced(b"/disk/lib/a.so", key(&scene.file()));
    for line in ["36 35 98:5 /disk /mnt rw - ext4 n rw\n", "36 35 98:5 /disk/lib/a.so /mnt/lib/a.so rw - ext4 n rw\n"] {
        scene.root.write("7/mountinfo", line);
        assert_eq!(scene.open(&seen).expect(line).path, "/mnt/lib/a.so");
    }
    scene.root.write("7/mountinfo", "36 35 98:5 /dis /mnt rw - ext4 n rw\n36 35 98:6 / /mnt rw - ext4 n rw\n");
    assert_eq!(scene.refusals(&seen), [NO_ENTRY, Refusal::NotMounted, Refusal::NotMounted]);
}

#[test]
fn a_replaced_file_is_refused() {
    let scene = Scene::new();
    let seen = announced(b"/lib/a.so", key(&scene.file()));
    let other = scene.root.path().join("other");
    fs::write(&other, "the mapped file").expect("write");
    fs::rename(other, scene.file()).expect("rename");
    assert_eq!(scene.refusals(&seen), [NO_ENTRY, Refusal::OtherFile, Refusal::NotMounted]);
    fs::remove_file(scene.file()).expect("remove");
    assert_eq!(scene.refusals(&seen), [NO_ENTRY, NO_ENTRY, Refusal::NotMounted]);
}

#[test]
fn a_file_written_after_it_was_opened_is_not_still_the_same() {
    let scene = Scene::new();
    let announced_key = key(&scene.file());
    let opened = scene.open(&announced(b"/lib/a.so", announced_key)).expect("open");
    // The change time moves with the kernel's clock tick.
    eventually("the change time has moved", || {
        fs::write(scene.file(), "other").expect("write");
        !opened.is_still(&announced_key, &ByStat)
    });
}

#[test]
fn what_is_no_regular_file_is_not_opened() {
    let scene = Scene::new();
    let seen = announced(b"/lib/a.so", key(&scene.file()));
    fs::remove_file(scene.file()).expect("remove");
    // Opening a FIFO for reading would wait for a writer.
    mknodat(CWD, scene.file(), FileType::Fifo, Mode::RWXU, 0).expect("fifo");
    assert_eq!(scene.refusals(&seen), [NO_ENTRY, Refusal::NotRegular, Refusal::NotMounted]);
    fs::remove_file(scene.file()).expect("remove");
    fs::create_dir(scene.file()).expect("folder");
    assert_eq!(scene.refusals(&seen), [NO_ENTRY, Refusal::NotRegular, Refusal::NotMounted]);
    fs::remove_dir(scene.file()).expect("remove");
    if mknodat(CWD, scene.file(), FileType::CharacterDevice, Mode::RWXU, makedev(1, 5)).is_ok() {
        assert_eq!(scene.refusals(&seen), [NO_ENTRY, Refusal::NotRegular, Refusal::NotMounted]);
    }
}

#[test]
fn a_sparse_giant_is_refused_by_its_size() {
    let scene = Scene::new();
    let file = fs::OpenOptions::new().write(true).open(scene.file()).expect("open");
    file.set_len(100 << 30).expect("sparse");
    let seen = announced(b"/lib/a.so", key(&scene.file()));
    assert_eq!(scene.refusals(&seen), [NO_ENTRY, Refusal::TooLarge(100 << 30), Refusal::NotMounted]);
}

#[test]
fn a_link_does_not_lead_out_of_the_targets_root() {
    let scene = Scene::new();
    let outside = scene.root.path().join("outside");
    fs::write(&outside, "the agent's secret").expect("write");
    let seen = announced(b"/lib/a.so", key(&outside));
    for target in [outside.clone(), Path::new("../../../outside").to_owned(), Path::new("/proc/self/exe").to_owned()] {
        fs::remove_file(scene.file()).expect("remove");
        std::os::unix::fs::symlink(&target, scene.file()).expect("link");
        assert_eq!(scene.refusals(&seen), [NO_ENTRY, NO_ENTRY, Refusal::NotMounted], "{}", target.display());
    }
    // A folder that became a link, and a mount point that lies.
    fs::remove_dir_all(scene.root.path().join("target/mnt")).expect("remove");
    std::os::unix::fs::symlink(scene.root.path(), scene.root.path().join("target/mnt")).expect("link");
    assert_eq!(scene.refusals(&announced(b"/outside", key(&outside))), [NO_ENTRY, NO_ENTRY, Refusal::NotMounted]);
    scene.root.write("7/mountinfo", "36 35 98:5 / /mnt/../.. rw - ext4 none rw\n");
    assert_eq!(scene.refusals(&announced(b"/outside", key(&outside))), [NO_ENTRY, NO_ENTRY, Refusal::NotMounted]);
}

#[test]
fn thousands_of_mounts_are_not_all_tried() {
    let scene = Scene::new();
    let seen = announced(b"/lib/a.so", key(&scene.file()));
    let wrong = |n| format!("36 35 98:5 / /wrong{n} rw - ext4 none rw\n");
    scene.root.write("7/mountinfo", (0..63).map(wrong).collect::<String>() + &wrong(1).repeat(200) + MOUNT);
    assert!(scene.open(&seen).is_ok(), "the same place is tried once");
    scene.root.write("7/mountinfo", (0..64).map(wrong).collect::<String>() + MOUNT);
    assert_eq!(scene.refusals(&seen), [NO_ENTRY, NO_ENTRY, Refusal::TooManyMounts, Refusal::NotMounted]);
}

#[test]
fn a_cut_name_is_said_to_be_cut() {
    let scene = Scene::new();
    let name = "n".repeat(200);
    fs::rename(scene.file(), scene.file().with_file_name(&name)).expect("rename");
    let path = format!("/lib/{}", "n".repeat(127));
    let error = scene.open(&announced(path.as_bytes(), key(&scene.file().with_file_name(&name)))).expect_err("cut");
    assert!(error.to_string().contains("its path is longer than what was kept"), "{error}");
    assert_eq!(error.reason(), Reason::NotOpened);
}

#[test]
fn the_vdso_is_no_file() {
    let nothing = FileKey { ino: 0, dev: 0, generation: 0, ctime: 0, inode: 0 };
    assert!(matches!(Scene::new().open(&announced(b"", nothing)), Err(OpenError::NoFile)));
}

/// What a debug file of `/bin/tool` is looked for by, in the scene's process 7.
fn debug_wanted() -> DebugWanted {
    DebugWanted {
        pid: Pid(7),
        mount_namespace: 77,
        owner: rustix::process::getuid().as_raw(),
        path: "/bin/tool".into(),
        build_id: "ab12cd".into(),
        link: Some("tool.debug".into()),
    }
}

const BUILD_ID_PLACE: &str = "usr/lib/debug/.build-id/ab/12cd.debug";
const LINK_PLACES: [&str; 3] = ["bin/tool.debug", "bin/.debug/tool.debug", "usr/lib/debug/bin/tool.debug"];

/// A scene whose target and whose host have a debug file at each place.
fn debug_scene() -> Scene {
    let scene = Scene::new();
    for (root, pid) in [("target", "7"), ("host", "1")] {
        for place in [&[BUILD_ID_PLACE], &LINK_PLACES[..]].concat() {
            scene.root.write(&format!("{root}/{place}"), "a debug file");
        }
        if pid != "7" {
            scene.root.link(&format!("{pid}/root"), scene.root.path().join(root));
        }
    }
    scene.root.link("1/ns/mnt", "mnt:[1]");
    scene
}

/// (namespace, how found, path) of what is found, and how many were refused.
fn debug_found(scene: &Scene, wanted: &DebugWanted) -> (Vec<(u64, FoundBy, String)>, u64) {
    let found = debug::find(&scene.root.proc(), wanted, MAX_FILE_SIZE);
    let shown = |(by, opened): &(FoundBy, Opened)| (opened.mount_namespace, *by, opened.path.clone());
    (found.candidates.iter().map(shown).collect(), found.refused)
}

fn by_link_in(namespace: u64) -> impl Iterator<Item = (u64, FoundBy, String)> {
    LINK_PLACES.iter().map(move |place| (namespace, FoundBy::Link, format!("/{place}")))
}

fn by_build_id_in(namespace: u64) -> impl Iterator<Item = (u64, FoundBy, String)> {
    std::iter::once((namespace, FoundBy::BuildId, format!("/{BUILD_ID_PLACE}")))
}

#[test]
fn debug_files_are_the_targets_own_then_the_hosts() {
    let scene = debug_scene();
    let own = by_build_id_in(77).chain(by_link_in(77));
    // A path of another namespace means nothing on the host.
    let all: Vec<_> = own.chain(by_build_id_in(1)).collect();
    assert_eq!(debug_found(&scene, &debug_wanted()), (all, 0));
    let none = DebugWanted { build_id: String::new(), link: None, ..debug_wanted() };
    assert_eq!(debug_found(&scene, &none), (vec![], 0));
}

#[test]
fn a_debug_file_that_two_places_show_is_tried_once() {
    let scene = debug_scene();
    // The process is the host's own.
    scene.root.link("8/root", scene.root.path().join("host"));
    scene.root.link("8/ns/mnt", "mnt:[1]");
    let wanted = DebugWanted { pid: Pid(8), mount_namespace: 1, ..debug_wanted() };
    let all: Vec<_> = by_build_id_in(1).chain(by_link_in(1)).collect();
    assert_eq!(debug_found(&scene, &wanted), (all.clone(), 0));
    // It is gone: the host shows them.
    fs::remove_dir_all(scene.root.path().join("8")).expect("remove");
    assert_eq!(debug_found(&scene, &wanted), (all, 0));
}

#[test]
fn debug_files_of_a_process_that_is_gone_are_looked_for_in_its_namespace_only() {
    let scene = debug_scene();
    // Its number is another process's by now.
    fs::remove_file(scene.root.path().join("7/ns/mnt")).expect("remove");
    scene.root.link("7/ns/mnt", "mnt:[78]");
    assert_eq!(debug_found(&scene, &debug_wanted()), (by_build_id_in(1).collect(), 0));
    scene.root.link("9/ns/mnt", "mnt:[77]");
    scene.root.link("9/root", scene.root.path().join("target"));
    assert_eq!(debug_found(&scene, &debug_wanted()).0.len(), 5);
}

#[test]
fn a_debug_file_that_the_target_could_not_read_is_not_read_for_it() {
    use std::os::unix::fs::PermissionsExt;
    let scene = debug_scene();
    let own = rustix::process::getuid().as_raw();
    let mode = |mode| {
        let file = scene.root.path().join("target").join(BUILD_ID_PLACE);
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("chmod");
    };
    let wanted = |owner| DebugWanted { owner, link: None, ..debug_wanted() };
    mode(0o600);
    assert_eq!(debug_found(&scene, &wanted(own)).1, 0);
    // Of another user's file: root's debug files will do if everybody may read them, nobody else's.
    assert_eq!(debug_found(&scene, &wanted(own + 1)).1, if own == 0 { 1 } else { 2 });
    mode(0o604);
    assert_eq!(debug_found(&scene, &wanted(own + 1)).1, if own == 0 { 0 } else { 2 });
    if own == 0 {
        std::os::unix::fs::chown(scene.root.path().join("target").join(BUILD_ID_PLACE), Some(5), None).expect("chown");
        assert_eq!(debug_found(&scene, &wanted(0)).1, 1);
        assert_eq!(debug_found(&scene, &wanted(5)).1, 0);
    }
}

#[test]
fn what_lies_in_wait_for_a_debug_file_is_not_opened() {
    let scene = debug_scene();
    let place = scene.root.path().join("target").join(BUILD_ID_PLACE);
    let wanted = DebugWanted { link: None, ..debug_wanted() };
    let outside = scene.root.path().join("outside");
    fs::write(&outside, "the agent's secret").expect("write");
    for target in [outside.clone(), Path::new("../../../../../../../outside").into(), "/proc/self/exe".into()] {
        fs::remove_file(&place).expect("remove");
        std::os::unix::fs::symlink(&target, &place).expect("link");
        assert_eq!(debug_found(&scene, &wanted), (by_build_id_in(1).collect(), 0), "{}", target.display());
    }
    fs::remove_file(&place).expect("remove");
    mknodat(CWD, &place, FileType::Fifo, Mode::RWXU, 0).expect("fifo");
    assert_eq!(debug_found(&scene, &wanted), (by_build_id_in(1).collect(), 1));
    fs::remove_file(&place).expect("remove");
    fs::File::create(&place).expect("create").set_len(100 << 30).expect("sparse");
    assert_eq!(debug_found(&scene, &wanted), (by_build_id_in(1).collect(), 1));
}

/// An executable mapping of a process: start, end.
fn mapping(pid: Pid, name: &str) -> Option<(u64, u64)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let line = maps.lines().find(|line| line.contains(" r-xp ") && line.contains(name))?;
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

/// The announcement of a running child's own program.
fn announced_of(child: &Child, program: &Path, path_below: &Path) -> FileSeen {
    let name = program.file_name().and_then(|name| name.to_str()).expect("name");
    let mut found = None;
    eventually("the child runs its program", || {
        found = mapping(child.pid(), name);
        found.is_some()
    });
    let (start, end) = found.expect("mapping");
    let path_dev = device(fs::metadata(program).map(|stat| std::os::unix::fs::MetadataExt::dev(&stat)).expect("stat"));
    let path = path_below.as_os_str().as_encoded_bytes().to_vec();
    FileSeen { pid: child.pid(), start, end, path_dev, path, ..announced(b"", key(program)) }
}

const WAITS: &str = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n";

#[test]
fn a_deleted_program_is_opened_by_its_mapping() {
    if !may_open_map_files() {
        return left_out("it takes CAP_CHECKPOINT_RESTORE to open a mapping");
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let program = compile(folder.path(), "deleted", WAITS);
    let held = fs::File::open(&program).expect("open");
    let child = Child::spawn(&mut Command::new(&program));
    let mut seen = announced_of(&child, &program, &program);
    fs::remove_file(&program).expect("remove");
    // Its change time moved when it lost its name.
    seen.key = ByStat.key_of(held.as_fd()).expect("key");
    let opened = open(&Proc::default(), &seen, &ByStat, MAX_FILE_SIZE).expect("open");
    assert_eq!(opened.path, program.to_string_lossy(), "without the kernel's (deleted)");
    assert_eq!(opened.mount_namespace, Proc::default().mount_namespace(Pid(std::process::id())).expect("namespace"));
}

#[test]
fn a_program_in_another_mount_namespace_is_opened_by_its_mounts() {
    // A tmpfs that only the child has: neither the agent's mounts nor a path of the host lead there.
    let folder = tempfile::tempdir().expect("temporary folder");
    let program = compile(folder.path(), "hidden", WAITS);
    let place = folder.path().join("place");
    fs::create_dir(&place).expect("folder");
    let script = format!(
        "mount -t tmpfs none {place} && mkdir {place}/bin && cp {program} {place}/bin/ && echo ready && exec {place}/bin/hidden",
        place = place.display(),
        program = program.display()
    );
    let mut child = Child::spawn(Command::new("unshare").args(["-m", "sh", "-c", &script]));
    if child.line() != "ready" {
        assert!(!rustix::process::getuid().is_root(), "root can make a mount namespace");
        return left_out("it takes root to make a mount namespace");
    }
    let inside =
        Path::new("/proc").join(child.pid().to_string()).join("root").join(place.strip_prefix("/").expect("absolute"));
    let mut seen = announced_of(&child, &inside.join("bin/hidden"), Path::new("/bin/hidden"));
    // No such mapping: only the mount tables are left.
    seen.start += 1;
    let opened = open(&Proc::default(), &seen, &ByStat, MAX_FILE_SIZE).expect("open");
    assert_eq!(opened.path, place.join("bin/hidden").to_string_lossy());
    assert_ne!(opened.mount_namespace, Proc::default().mount_namespace(Pid(std::process::id())).expect("namespace"));
}

/// Past the runner, which would keep it to itself: who reads the result should know.
fn left_out(why: &str) {
    writeln!(std::io::stderr(), "left out: {why}").expect("standard error");
}

/// CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN.
fn may_open_map_files() -> bool {
    use rustix::thread::CapabilitySet;
    let wanted = CapabilitySet::CHECKPOINT_RESTORE | CapabilitySet::SYS_ADMIN;
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.intersects(wanted))
}

/// A kernel that does not answer until it is let go: what a file system that hangs does to a thread.
#[derive(Default)]
struct Hanging {
    hangs: AtomicBool,
    free: Mutex<bool>,
    freed: Condvar,
}

impl Hanging {
    fn release(&self) {
        *self.free.lock().expect("lock") = true;
        self.freed.notify_all();
    }
}

impl KeyOf for Hanging {
    fn key_of(&self, file: BorrowedFd<'_>) -> Option<FileKey> {
        if self.hangs.load(Ordering::SeqCst) {
            let free = self.free.lock().expect("lock");
            drop(self.freed.wait_while(free, |free| !*free).expect("wait"));
        }
        ByStat.key_of(file)
    }
}

#[test]
fn a_hanging_file_system_costs_its_threads_and_no_more() {
    let scene = Scene::new();
    let seen = announced(b"/lib/a.so", key(&scene.file()));
    let hanging = Arc::new(Hanging::default());
    let config = OpenerConfig { threads: 1, max_stuck: 2, max_size: MAX_FILE_SIZE };
    let opener = Opener::start(scene.root.proc(), Arc::clone(&hanging) as Arc<dyn KeyOf>, config).expect("start");
    let (soon, late) = (Duration::from_millis(20), Duration::from_secs(10));
    assert!(opener.open(&seen, late).is_ok());
    // On a busy host a thread may not even begin in time: then the caller gave up, and no thread is stuck.
    let stick = |count| {
        eventually("a thread is stuck", || {
            assert!(matches!(opener.open(&seen, soon), Err(OpenError::Deadline(_))));
            opener.counts().stuck == count
        });
    };

    hanging.hangs.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    stick(1);
    assert!(begun.elapsed() < Duration::from_secs(5));
    hanging.hangs.store(false, Ordering::SeqCst);
    assert!(opener.open(&seen, late).is_ok(), "the stuck thread was replaced");

    hanging.hangs.store(true, Ordering::SeqCst);
    stick(2);
    stick(3);
    assert!(matches!(opener.open(&seen, late), Err(OpenError::Stuck(3))), "refused at once");
    let counts = opener.counts();
    assert_eq!(counts, OpenerCounts { opened: 2, failed: counts.late, late: counts.late, stuck: 3 });
    assert!(counts.late >= 4, "{counts:?}");

    hanging.hangs.store(false, Ordering::SeqCst);
    hanging.release();
    eventually("the threads came back", || opener.counts().stuck == 0);
    assert!(opener.open(&seen, late).is_ok());
}
