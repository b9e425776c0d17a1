//! Tests of `target/proc`.

use super::*;
use crate::event::UserIds;
use crate::target::testing::{Child, ProcRoot};

#[test]
fn names_of_processes_are_hostile() {
    for comm in ["sh", "a b", ") S 1 (", "x) R 9 9 9", "(((", ")))", "\n7 (y) R 1", "", "\u{fffd}"] {
        let root = ProcRoot::new();
        root.process(7, comm, 3, 987_654_321_012);
        let stat = root.proc().stat(Pid(7)).expect(comm);
        assert_eq!(stat.comm, comm.as_bytes());
        let want = (b'S', Pid(3), 11, 22, 3, 987_654_321_012);
        let got = (stat.state, stat.parent, stat.user_ticks, stat.system_ticks, stat.threads, stat.start_ticks);
        assert_eq!(got, want, "{comm:?}");
        assert_eq!(stat.reaped_ticks, 11, "{comm:?}");
    }
}

#[test]
fn what_is_no_stat_line_is_malformed() {
    for text in ["", "7", "7 (sh", "7 sh) S", "7 (sh)", "7 (sh) S", "7 (sh) SS 1", ")(", "7 (sh) S x 1 1 1 1 1 1"] {
        let root = ProcRoot::new();
        root.write("7/stat", text);
        let error = root.proc().stat(Pid(7)).expect_err(text);
        assert!(matches!(error, ProcError::Malformed { .. }) && !error.is_gone(), "{text:?}");
    }
    assert!(ProcRoot::new().proc().stat(Pid(7)).expect_err("no such process").is_gone());
}

#[test]
fn a_name_cannot_stand_for_a_line_of_status() {
    let root = ProcRoot::new();
    // As the kernel writes it, and as it would look if it did not escape line ends.
    for name in ["x\\nUid:\\t0", "x\nUid:\t0\t0\t0\t0\nTgid:\t1\nNSpid:\t1"] {
        root.write("7/status", format!("Name:\t{name}\nTgid:\t7\nPPid:\t3\nUid:\t10\t20\t30\t40\nNSpid:\t7\t5\t2\n"));
        let status = root.proc().status(Pid(7)).expect("status");
        assert_eq!(status.uids, UserIds { real: 10, effective: 20, saved: 30 });
        assert_eq!((status.tgid, status.parent, status.namespace_pid()), (Pid(7), Pid(3), Pid(2)));
    }
}

#[test]
fn a_status_without_its_lines_is_malformed() {
    let root = ProcRoot::new();
    for text in
        ["", "Tgid:\t7\nPPid:\t3\n", "Tgid:\t7\nPPid:\t3\nUid:\t1\t2\n", "Tgid:\t-7\nPPid:\t3\nUid:\t1\t2\t3\t4\n"]
    {
        root.write("7/status", text);
        assert!(matches!(root.proc().status(Pid(7)), Err(ProcError::Malformed { .. })), "{text:?}");
    }
}

#[test]
fn only_numbers_are_processes() {
    let root = ProcRoot::new();
    for name in ["7", "12", "self", "1x", "+3", "99999999999999999999", "sys"] {
        root.write(&format!("{name}/comm"), "");
    }
    assert_eq!(root.proc().pids().expect("list"), [Pid(7), Pid(12)]);
}

#[test]
fn a_command_line_is_raw_and_capped() {
    let root = ProcRoot::new();
    root.write("7/cmdline", b"a\0\xff b\0\n\0");
    assert_eq!(root.proc().cmdline(Pid(7), 100).expect("read"), b"a\0\xff b\0\n\0");
    root.write("7/cmdline", vec![b'x'; 105]);
    assert_eq!(root.proc().cmdline(Pid(7), 100).expect("read").len(), 100);
}

#[test]
fn a_comm_loses_its_line_end_only() {
    let root = ProcRoot::new();
    root.write("7/comm", b"a\nb \xff\n\n");
    assert_eq!(root.proc().comm(Pid(7)).expect("read"), b"a\nb \xff\n");
}

#[test]
fn the_cgroup_is_the_v2_line() {
    let root = ProcRoot::new();
    root.write("7/cgroup", "5:cpu:/v1\n1:name=systemd:/x\n0::/a b/c:d\n");
    assert_eq!(root.proc().cgroup(Pid(7)).expect("read").as_deref(), Some(&b"/a b/c:d"[..]));
    root.write("7/cgroup", "5:cpu:/v1\n");
    assert_eq!(root.proc().cgroup(Pid(7)).expect("read"), None);
}

#[test]
fn the_cgroup_id_is_the_folder_s_inode() {
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::create_dir(folder.path().join("a b")).expect("folder");
    let inode = |path: &Path| std::fs::metadata(path).expect("stat").ino();
    assert_eq!(cgroup_id(folder.path(), b"/a b"), Some(inode(&folder.path().join("a b"))));
    assert_eq!(cgroup_id(folder.path(), b"/"), Some(inode(folder.path())));
    assert_eq!(cgroup_id(folder.path(), b"/../x"), None);
    assert_eq!(cgroup_id(folder.path(), b"/gone"), None);
}

#[test]
fn mounts_are_read_with_their_escapes() {
    let root = ProcRoot::new();
    let text = b"36 35 98:5 /mnt1 /mnt\\0402\\134\\012x rw,noatime master:1 shared:2 - ext3 /dev/root rw\n\
        37 35 8:1048575 / /\xff rw - btrfs none rw\n\
        broken line\n38 35 x:1 / / rw - a b c\n39 35 4096:1 / / rw - a b c\n40 35 1:2 / /\\9x\\04 rw - a b c\n\
        41 35 1:2 / /no-separator rw shared:1 a b c\n";
    root.write("7/mountinfo", text);
    let mounts = root.proc().mountinfo(Whose::Process(Pid(7))).expect("read");
    let points: Vec<&[u8]> = mounts.iter().map(|mount| mount.mount_point.as_slice()).collect();
    assert_eq!(points, [&b"/mnt 2\\\nx"[..], b"/\xff", b"/\\9x\\04"]);
    let devices: Vec<u32> = mounts.iter().map(|mount| mount.dev).collect();
    assert_eq!(devices, [98 << 20 | 5, 8 << 20 | 0xf_ffff, 1 << 20 | 2]);
    assert_eq!(
        mounts.first().map(|mount| (mount.root.as_slice(), mount.fs_type.as_slice())),
        Some((&b"/mnt1"[..], &b"ext3"[..]))
    );
}

#[test]
fn a_cut_table_ends_with_a_whole_line() {
    assert_eq!(read::whole_lines(b"ab\ncd\nef".to_vec(), 8), b"ab\ncd\n");
    assert_eq!(read::whole_lines(b"ab\ncd\nef".to_vec(), 9), b"ab\ncd\nef");
    assert_eq!(read::whole_lines(b"abcdefgh".to_vec(), 8), b"");
}

#[test]
fn a_mount_namespace_is_a_number() {
    let root = ProcRoot::new();
    root.link("7/ns/mnt", "mnt:[4026531841]");
    root.link("8/ns/mnt", "mnt:[x]");
    assert_eq!(root.proc().mount_namespace(Pid(7)).expect("read"), 4_026_531_841);
    assert!(matches!(root.proc().mount_namespace(Pid(8)), Err(ProcError::Malformed { .. })));
}

#[test]
fn ticks_are_start_times_rounded_down() {
    assert_eq!(start_ticks(12_349_999_999), 1_234);
    assert!(same_process(12_340_000_000, 1_234) && !same_process(12_350_000_000, 1_234));
    assert_eq!(start_ns(1_234), 12_340_000_000);
    assert_eq!(start_ns(u64::MAX), u64::MAX);
}

#[test]
fn the_real_proc_of_a_child_with_a_hostile_name() {
    let mut child = Child::shell("printf ') S 1\\n(x' > /proc/$$/comm; echo renamed; kill -STOP $$");
    assert_eq!(child.line(), "renamed");
    let (proc, pid) = (Proc::default(), child.pid());
    let me = Pid(std::process::id());
    let stat = proc.stat(pid).expect("stat");
    assert_eq!((stat.comm.as_slice(), stat.parent, stat.threads), (&b") S 1\n(x"[..], me, 1));
    assert_eq!(proc.comm(pid).expect("comm"), b") S 1\n(x");
    let status = proc.status(pid).expect("status");
    assert_eq!((status.tgid, status.parent), (pid, me));
    assert!(proc.cmdline(pid, 100).expect("cmdline").starts_with(b"sh\0-c\0printf"));
    assert_eq!(proc.mount_namespace(pid).expect("namespace"), proc.mount_namespace(me).expect("namespace"));
    assert!(proc.pids().expect("pids").contains(&pid));
    assert!(proc.is_alive(ProcessId { pid, start: start_ns(stat.start_ticks) }));
    assert!(!proc.is_alive(ProcessId { pid, start: start_ns(stat.start_ticks + 1) }));
    let mounts = proc.mountinfo(Whose::Agent).expect("mounts");
    assert!(mounts.iter().any(|mount| mount.mount_point == b"/proc" && mount.fs_type == b"proc"));
    assert_eq!(proc.boot_id().expect("boot id").len(), 36);
    child.end();
    assert!(proc.stat(pid).expect_err("ended").is_gone());
}
