//! The perf map of a process: `/tmp/perf-PID.map` below the process's own root, PID being its number in its own PID
//! namespace. Anybody may write into `/tmp`, so it counts only if the process's user or root owns it, under one name, and
//! if it was written since its program began: a number, and with it a map, may be left from another process, or from what the
//! process was before an exec.

use super::attempt::Refusal;
use super::ways::patiently;
use super::{OpenError, Opened};
use crate::event::ProcessId;
use crate::target::proc::Proc;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Size of the largest map that is opened.
const MAX_SIZE: u64 = 64 << 20;
/// File systems stamp changes by a clock that stands still between two ticks of the kernel, at most 10 ms; twice that.
const COARSE_CLOCK: i128 = 20_000_000;

/// Opens the map, if it is one to believe, on this thread. `began`: when the process's program began, ns after boot.
pub(super) fn open(proc: &Proc, process: ProcessId, began: u64) -> Result<Opened, OpenError> {
    let pid = process.pid;
    let status = proc.status(pid).map_err(|_unreadable| OpenError::Gone)?;
    let mount_namespace = proc.mount_namespace(pid).unwrap_or(1 << 63 | u64::from(pid.0));
    let root = openat(CWD, proc.path(pid, "root"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let root = root.map_err(|_gone| OpenError::Gone)?;
    let path = format!("/tmp/perf-{}.map", status.namespace_pid());
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let place = patiently(root.as_fd(), path.as_bytes(), OFlags::NOFOLLOW, resolve);
    // Looked at last: until now the number could have become another process's.
    if !proc.is_alive(process) {
        return Err(OpenError::Gone);
    }
    let owner = status.uids.effective;
    match place {
        Err(Errno::NOENT | Errno::NOTDIR) => Err(OpenError::NoPerfMap),
        Err(error) => Err(OpenError::PerfMap { path, refusal: error.into() }),
        Ok(place) => match accept(&place, owner, began) {
            Ok((file, stat)) => {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                Ok(Opened { file, path, owner: stat.st_uid, mount_namespace, size })
            }
            Err(refusal) => Err(OpenError::PerfMap { path, refusal }),
        },
    }
}

/// Reads nothing of what is no believable map; what is opened for reading is looked at again.
fn accept(place: &OwnedFd, owner: u32, start: u64) -> Result<(OwnedFd, Stat), Refusal> {
    check(&fstat(place)?, owner, start)?;
    let link = format!("/proc/self/fd/{}", place.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(CWD, link, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    check(&stat, owner, start)?;
    Ok((file, stat))
}

fn check(stat: &Stat, owner: u32, start: u64) -> Result<(), Refusal> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let changed = i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec);
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        Err(Refusal::NotRegular)
    } else if size > MAX_SIZE {
        Err(Refusal::TooLarge(size))
    } else if stat.st_uid != owner && stat.st_uid != 0 {
        Err(Refusal::Foreign(stat.st_uid))
    } else if stat.st_nlink > 1 {
        Err(Refusal::Linked)
    } else if changed + COARSE_CLOCK < began(start) {
        Err(Refusal::Older)
    } else {
        Ok(())
    }
}

/// ns since the epoch at which a process began that started so many ns after boot, by the wall clock as it is set now.
fn began(start: u64) -> i128 {
    let now = |clock| {
        let time = clock_gettime(clock);
        i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
    };
    i128::from(start) + now(ClockId::Realtime) - now(ClockId::Boottime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Pid;
    use crate::target::testing::ProcRoot;
    use profiler_ebpf::reasons::Reason;
    use std::io::Read;
    use std::os::unix::fs::{chown, symlink};
    use std::path::PathBuf;

    /// A process 7, in its PID namespace 1, with effective user 20 and a root of its own.
    struct World {
        proc: ProcRoot,
        root: tempfile::TempDir,
    }

    const SEVEN: ProcessId = ProcessId { pid: Pid(7), start: 12_340_000_000 };

    impl World {
        fn new() -> World {
            let world = World { proc: ProcRoot::new(), root: tempfile::tempdir().expect("temporary folder") };
            world.proc.process(7, "seven", 3, 1234);
            world.proc.link("7/root", world.root.path());
            std::fs::create_dir(world.root.path().join("tmp")).expect("folder");
            world
        }

        fn map(&self) -> PathBuf {
            self.root.path().join("tmp/perf-1.map")
        }

        fn write(&self, owner: u32) {
            std::fs::write(self.map(), "1000 10 hot\n").expect("write");
            chown(self.map(), Some(owner), None).expect("chown needs root, as the agent does");
        }

        fn open(&self) -> Result<Opened, OpenError> {
            open(&self.proc.proc(), SEVEN, SEVEN.start)
        }

        fn refusal(&self) -> Refusal {
            match self.open() {
                Err(OpenError::PerfMap { refusal, .. }) => refusal,
                other => panic!("not refused: {other:?}"),
            }
        }
    }

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn the_map_of_the_processs_own_number_and_user_is_opened() {
        let world = World::new();
        let before = world.open().expect_err("no map yet");
        assert_eq!((before.reason(), before.to_string().as_str()), (Reason::AnonymousCode, "there is no perf map"));
        if !is_root() {
            return;
        }
        for owner in [20, 0] {
            world.write(owner);
            let opened = world.open().expect("opened");
            assert_eq!((opened.path.as_str(), opened.owner, opened.size), ("/tmp/perf-1.map", owner, 12));
            let mut text = String::new();
            std::fs::File::from(opened.file).read_to_string(&mut text).expect("readable");
            assert_eq!(text, "1000 10 hot\n");
        }
    }

    #[test]
    fn what_somebody_else_put_there_is_refused() {
        if !is_root() {
            return;
        }
        let world = World::new();
        world.write(30);
        assert_eq!(world.refusal(), Refusal::Foreign(30));
        world.write(20);
        std::fs::hard_link(world.map(), world.root.path().join("other")).expect("link");
        assert_eq!(world.refusal(), Refusal::Linked);
        std::fs::remove_file(world.map()).expect("remove");
        symlink(world.root.path().join("other"), world.map()).expect("link");
        assert_eq!(world.refusal(), Refusal::NotRegular);
        std::fs::remove_file(world.map()).expect("remove");
        std::fs::create_dir(world.map()).expect("folder");
        assert_eq!(world.refusal(), Refusal::NotRegular);
    }

    #[test]
    fn a_pipe_delays_nobody_and_a_huge_file_is_not_read() {
        let world = World::new();
        rustix::fs::mknodat(CWD, world.map(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("pipe");
        assert_eq!(world.refusal(), Refusal::NotRegular);
        std::fs::remove_file(world.map()).expect("remove");
        let file = std::fs::File::create(world.map()).expect("create");
        file.set_len(MAX_SIZE + 1).expect("sparse");
        assert_eq!(world.refusal(), Refusal::TooLarge(MAX_SIZE + 1));
    }

    #[test]
    fn a_map_that_is_older_than_the_process_is_another_ones() {
        if !is_root() {
            return;
        }
        let world = World::new();
        world.write(20);
        let uptime = clock_gettime(ClockId::Boottime).tv_sec;
        let ticks = u64::try_from(uptime).expect("after boot") * 100 + 500;
        world.proc.process_again(7, "seven", 3, ticks);
        let process = ProcessId { pid: Pid(7), start: ticks * 10_000_000 };
        let refused = open(&world.proc.proc(), process, process.start).expect_err("older");
        assert_eq!(refused.reason(), Reason::NotOpened);
        assert!(refused.to_string().contains("older than the process"), "{refused}");
    }

    #[test]
    fn a_map_of_the_program_before_an_exec_is_another_ones() {
        if !is_root() {
            return;
        }
        let world = World::new();
        world.write(20);
        let uptime = clock_gettime(ClockId::Boottime).tv_sec;
        let later = (u64::try_from(uptime).expect("after boot") + 5) * 1_000_000_000;
        let opened = |began| open(&world.proc.proc(), SEVEN, began);
        // The host may have been up for less than an hour.
        assert!(opened(later.saturating_sub(3600 * 1_000_000_000)).is_ok());
        assert!(opened(later).expect_err("older").to_string().contains("older than the process"));
    }

    #[test]
    fn who_is_gone_has_no_map() {
        let world = World::new();
        let other = ProcessId { pid: Pid(7), start: 99_000_000_000 };
        assert_eq!(open(&world.proc.proc(), other, 0).expect_err("gone").reason(), Reason::ProcessGone);
        let nobody = ProcessId { pid: Pid(8), start: 1 };
        assert_eq!(open(&world.proc.proc(), nobody, 0).expect_err("gone").reason(), Reason::ProcessGone);
    }
}
