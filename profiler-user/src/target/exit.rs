//! The end of a process as a future, by pidfd: no polling, and a reused number cannot be mistaken.
//!
//! A pidfd of a process becomes readable when ALL of its threads have ended, reaped or not. A leader that ends while
//! other threads run, and an exec from another thread, are not the end (tested on 6.18; `thread_group_exited` since 5.3).

use super::proc::{Proc, ProcError};
use crate::event::{Pid, ProcessId};
use crate::kernel::readable::readable;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::OwnedFd;

/// A process that is watched for its end. Holding it keeps no process alive; it costs one descriptor.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Watches whoever has this number now; `None` if nobody has, or only a thread.
    pub fn open(pid: Pid) -> io::Result<Option<PidFd>> {
        let Some(number) = i32::try_from(pid.0).ok().and_then(rustix::process::Pid::from_raw) else {
            return Ok(None);
        };
        match pidfd_open(number, PidfdFlags::NONBLOCK) {
            Ok(descriptor) => Ok(Some(PidFd(descriptor))),
            // EINVAL or, since 6.15, ENOENT: the number is a thread's.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Watches this very process; `None` if it is gone, reaped, or another one has its number.
    pub fn of(proc: &Proc, process: ProcessId) -> io::Result<Option<PidFd>> {
        let Some(watched) = PidFd::open(process.pid)? else { return Ok(None) };
        // The descriptor holds its process whatever becomes of the number. Seen alive AFTER it was opened, the process
        // had the number all the time.
        match proc.stat(process.pid) {
            Ok(stat) if super::same_process(process.start, stat.start_ticks) => Ok(Some(watched)),
            Ok(_) => Ok(None),
            Err(error) if error.is_gone() => Ok(None),
            Err(ProcError::Read { source, .. }) => Err(source),
            Err(malformed @ ProcError::Malformed { .. }) => Err(io::Error::other(malformed)),
        }
    }

    /// True if it has ended. Does not wait.
    pub fn has_exited(&self) -> bool {
        let mut watched = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Resolves when it has ended, at once if it has already. Needs a tokio runtime with I/O; may be dropped any time.
    pub async fn exited(self) -> io::Result<()> {
        readable(self.0).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::proc::start_ns;
    use crate::target::testing::{Child, compile, eventually};
    use std::time::Duration;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let limited = async { tokio::time::timeout(Duration::from_secs(10), future).await };
        runtime.expect("runtime").block_on(limited).expect("within ten seconds")
    }

    #[test]
    fn resolves_at_the_end_of_the_process() {
        let mut child = Child::shell("sleep 60");
        let watched = PidFd::open(child.pid()).expect("open").expect("alive");
        assert!(!watched.has_exited());
        run(async {
            let waiting = tokio::spawn(watched.exited());
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
            child.end();
            waiting.await.expect("join").expect("wait");
        });
    }

    #[test]
    fn a_zombie_has_ended() {
        let mut child = Child::shell("sleep 60");
        child.kill();
        let proc = Proc::default();
        eventually("the child is a zombie", || proc.stat(child.pid()).is_ok_and(|stat| stat.is_zombie()));
        let watched = PidFd::open(child.pid()).expect("open").expect("a zombie has a number");
        assert!(watched.has_exited());
        run(watched.exited()).expect("wait");
    }

    #[test]
    fn who_is_gone_is_nobody() {
        let mut child = Child::shell("sleep 60");
        let pid = child.pid();
        child.end();
        assert!(PidFd::open(pid).expect("open").is_none());
        assert!(PidFd::open(Pid(0)).expect("open").is_none());
        assert!(PidFd::open(Pid(u32::MAX)).expect("open").is_none());
    }

    #[test]
    fn another_process_with_the_number_is_not_watched() {
        let child = Child::shell("sleep 60");
        let proc = Proc::default();
        let start = start_ns(proc.stat(child.pid()).expect("stat").start_ticks);
        let of = |start| PidFd::of(&proc, ProcessId { pid: child.pid(), start }).expect("open").is_some();
        assert!(of(start) && of(start + 9_999_999));
        assert!(!of(start + 10_000_000));
    }

    /// Its leader ends first; a line says so; the last thread ends when the parent kills it.
    const LEADER_ENDS_FIRST: &str = r#"
        #include <pthread.h>
        #include <stdio.h>
        #include <unistd.h>
        static void *thread(void *leader) {
            pthread_join(*(pthread_t *)leader, 0);
            puts("leader ended");
            fflush(stdout);
            for (;;) pause();
        }
        int main(void) {
            static pthread_t leader, other;
            leader = pthread_self();
            pthread_create(&other, 0, thread, &leader);
            pthread_exit(0);
        }
    "#;

    #[test]
    fn a_leader_that_ends_before_its_threads_is_not_the_end() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut child =
            Child::spawn(&mut std::process::Command::new(compile(folder.path(), "leader", LEADER_ENDS_FIRST)));
        assert_eq!(child.line(), "leader ended");
        let proc = Proc::default();
        eventually("the leader is a zombie", || proc.stat(child.pid()).is_ok_and(|stat| stat.is_zombie()));
        let watched = PidFd::open(child.pid()).expect("open").expect("alive");
        assert!(!watched.has_exited(), "its other thread runs");
        child.kill();
        run(watched.exited()).expect("wait");
    }

    /// A thread that is not the leader becomes another program.
    const EXEC_FROM_A_THREAD: &str = r#"
        #include <pthread.h>
        #include <unistd.h>
        static void *thread(void *unused) {
            execl("/bin/sh", "sh", "-c", "echo executed; exec sleep 60", (char *)0);
            return unused;
        }
        int main(void) {
            pthread_t other;
            char go;
            if (read(3, &go, 1) < 0) return 1;
            pthread_create(&other, 0, thread, 0);
            for (;;) pause();
        }
    "#;

    #[test]
    fn an_exec_from_a_thread_is_not_the_end() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let program = compile(folder.path(), "exec", EXEC_FROM_A_THREAD);
        let fifo = folder.path().join("go");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .expect("fifo");
        let script = format!("exec {} 3<>{}", program.display(), fifo.display());
        let mut child = Child::shell(&script);
        let watched = PidFd::open(child.pid()).expect("open").expect("alive");
        std::fs::write(&fifo, "g").expect("go");
        assert_eq!(child.line(), "executed");
        assert!(!watched.has_exited(), "the process runs on as another program");
        child.kill();
        run(watched.exited()).expect("wait");
    }
}
