//! Confines the worker process: no identity, no capability, no file system, no network, only the system calls that parsing
//! needs. What the kernel does not have is not an error but a value ([`Sandbox`]) that the agent can show, and each wall is
//! tried once from the inside.
#![allow(unsafe_code, reason = "seccomp, landlock and what happens between fork and exec have no safe interface")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "system call numbers, flags and filter lengths are small and not negative"
)]

use libc::{sock_filter, sock_fprog};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::ptr;

/// Descriptor of the worker's socket.
pub(super) const SOCKET: RawFd = 3;
/// Descriptors that a worker may hold: those of a few files with their debug files and packages, and those of a request.
const MAX_DESCRIPTORS: u64 = 96;
/// "nobody": owns nothing.
const NOBODY: u32 = 65_534;

/// What confines a worker, as the worker found out by trying.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// ABI version of landlock in force; 0 if the kernel has none (before 5.13, or not enabled).
    pub landlock: u32,
    /// The system call filter is in force.
    pub seccomp: bool,
    /// The process holds no capability.
    pub no_capabilities: bool,
    /// Acts that were tried and refused before the filter was there: open, connect, kill.
    pub refused_without_filter: Vec<String>,
    /// Acts that were tried and refused: open, /proc, connect, fork, exec, ptrace, kill.
    pub refused: Vec<String>,
}

impl Sandbox {
    /// Nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.landlock > 0 && self.seccomp && self.no_capabilities && self.refused.len() == TRIALS.len()
    }

    /// What is missing, for people.
    pub fn missing(&self) -> String {
        let walls = [
            (self.landlock > 0, "no Landlock"),
            (self.seccomp, "no filter of system calls (seccomp)"),
            (self.no_capabilities, "capabilities are held"),
        ];
        let acts = TRIALS.iter().filter(|trial| !self.refused.iter().any(|refused| refused == trial.act));
        let acts: Vec<&str> = acts.map(|trial| trial.act).collect();
        let acts = if acts.is_empty() { None } else { Some(format!("not refused: {}", acts.join(", "))) };
        let walls = walls.iter().filter(|(there, _)| !there).map(|(_, missing)| (*missing).to_owned());
        walls.chain(acts).collect::<Vec<_>>().join("; ")
    }
}

/// The command that starts a worker with `socket` as its descriptor 3, in a session of its own, with an empty environment.
/// Its standard streams are ends of pipes whose other ends are closed: a root without `/dev` has no `/dev/null`.
pub(super) fn command(executable: &Path, socket: OwnedFd) -> io::Result<Command> {
    let mut command = Command::new(executable);
    command.arg("symbol-worker").env_clear().current_dir("/");
    let ((nothing, _), (_, nowhere)) = (io::pipe()?, io::pipe()?);
    command.stdin(Stdio::from(nothing)).stdout(Stdio::from(nowhere.try_clone()?)).stderr(Stdio::from(nowhere));
    let prepare = move || -> io::Result<()> {
        keep_only(socket.as_raw_fd())?;
        rustix::process::setsid()?;
        // Before exec, so that capabilities of the binary's file are not gained.
        rustix::thread::set_no_new_privs(true)?;
        Ok(())
    };
    // SAFETY: between fork and exec `prepare` only makes system calls: it does not allocate and takes no lock.
    unsafe { command.pre_exec(prepare) };
    Ok(command)
}

/// Moves the socket to descriptor 3; every other one above it is closed at exec.
fn keep_only(socket: RawFd) -> io::Result<()> {
    if socket == SOCKET {
        // SAFETY: changes a flag of a descriptor that this process owns.
        check(unsafe { libc::fcntl(socket, libc::F_SETFD, 0) }.into())?;
    } else {
        // SAFETY: descriptor 3 of the child belongs to nobody after exec; std's own pipe is not missed by a handshake.
        check(unsafe { libc::dup2(socket, SOCKET) }.into())?;
    }
    // SAFETY: only sets the close-on-exec flag. Every descriptor of ours is close-on-exec anyway, so a refusal is no harm.
    unsafe { libc::syscall(libc::SYS_close_range, SOCKET + 1, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Ok(())
}

/// The socket that the agent gave to this process.
pub(super) fn take_socket() -> io::Result<OwnedFd> {
    // SAFETY: asks for flags only; a descriptor that is not open is an error.
    check(unsafe { libc::fcntl(SOCKET, libc::F_SETFD, libc::FD_CLOEXEC) }.into())?;
    // SAFETY: descriptor 3 is open and, in a process started by `command`, nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(SOCKET) })
}

/// Gives everything up but the system calls, which [`filter`] takes. For a process that has one thread only.
pub(super) fn confine(memory: u64, file_size: u64) -> io::Result<Sandbox> {
    let limit =
        |resource, value| rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) });
    limit(Resource::As, memory)?;
    limit(Resource::Fsize, file_size)?;
    limit(Resource::Nofile, MAX_DESCRIPTORS)?;
    limit(Resource::Core, 0)?;
    become_nobody();
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    rustix::thread::set_no_new_privs(true)?;
    // After the change of identity, which resets both.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let held = rustix::thread::capabilities(None)?;
    let no_capabilities = held.permitted.is_empty() && held.effective.is_empty();
    let landlock = landlock().unwrap_or(0);
    Ok(Sandbox { landlock, no_capabilities, refused_without_filter: try_without_filter(), ..Sandbox::default() })
}

/// What Landlock and the lack of an identity refuse on their own. Without them each of these acts would do no harm.
fn try_without_filter() -> Vec<String> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    use rustix::net::{AddressFamily, Ipv4Addr, SocketAddrV4, SocketType, connect, socket};
    let opened = openat(CWD, c"/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map(drop);
    // Nobody listens at the port of "discard".
    let discard = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
    let connected = socket(AddressFamily::INET, SocketType::STREAM, None).and_then(|socket| connect(&socket, &discard));
    let parent = rustix::process::getppid();
    let killed = parent.map_or(Ok(()), rustix::process::test_kill_process);
    let acts = [("open", opened), ("connect", connected), ("kill", killed)];
    let refused = |result: &rustix::io::Result<()>| matches!(result, Err(Errno::ACCESS | Errno::PERM));
    acts.iter().filter(|(_, result)| refused(result)).map(|(act, _)| (*act).to_owned()).collect()
}

/// An agent that is not root, or a pod without CAP_SETUID, keeps its identity: landlock and seccomp carry the weight then.
fn become_nobody() {
    use rustix::process::{Gid, Uid};
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    let _kept = rustix::thread::set_thread_groups(&[]).is_err()
        || rustix::thread::set_thread_res_gid(gid, gid, gid).is_err()
        || rustix::thread::set_thread_res_uid(uid, uid, uid).is_err();
}

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct Ruleset {
    fs: u64,
    net: u64,
    scoped: u64,
}

/// Refuses every act that this kernel's landlock knows, without a single exception. Returns the ABI version.
fn landlock() -> io::Result<u32> {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the call only answers a number.
    let abi = check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<Ruleset>(), 0, VERSION) })?;
    let fs = match abi {
        1 => (1 << 13) - 1,
        2 => (1 << 14) - 1,
        3 | 4 => (1 << 15) - 1,
        _ => (1 << 16) - 1,
    };
    // Fields that the kernel does not know may not be sent: net came with 4, scopes with 6.
    let size = match abi {
        1..=3 => 8,
        4 | 5 => 16,
        _ => size_of::<Ruleset>(),
    };
    let ruleset = Ruleset { fs, net: 3, scoped: 3 };
    // SAFETY: the kernel reads `size` bytes of a struct that is at least as long and lives through the call.
    let fd = check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size, 0) })?;
    // SAFETY: the call above made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    // SAFETY: takes a descriptor and flags, no memory.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, fd.as_raw_fd(), 0) })?;
    Ok(abi as u32)
}

/// The last wall: system calls. For all threads of the process; no thread can be made after it.
pub(super) fn filter(mut sandbox: Sandbox) -> Sandbox {
    // No further thread or process, for kernels without seccomp too. Root is not bound by it.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _unbound = rustix::process::setrlimit(Resource::Nproc, none).is_err();
    let program = program();
    let filter = sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    let flags = libc::SECCOMP_FILTER_FLAG_TSYNC;
    // SAFETY: `filter` points to `len` instructions that live through the call; the kernel copies and verifies them.
    let set = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter) };
    sandbox.seccomp = set == 0;
    sandbox.refused = TRIALS.iter().filter(|trial| is_refused(trial)).map(|trial| trial.act.to_owned()).collect();
    sandbox
}

/// A system call that a wall refuses; without one it would fail otherwise, or do no harm.
struct Trial {
    act: &'static str,
    call: libc::c_long,
    arguments: [libc::c_long; 2],
}

const fn trial(act: &'static str, call: libc::c_long, arguments: [libc::c_long; 2]) -> Trial {
    Trial { act, call, arguments }
}

/// What every process may read of itself.
const STATUS: &std::ffi::CStr = c"/proc/self/status";

const TRIALS: [Trial; 7] = [
    trial("open", libc::SYS_openat, [0, 0]),
    // The path is put in by who tries: addresses are no constants.
    trial("/proc", libc::SYS_openat, [libc::AT_FDCWD as libc::c_long, 0]),
    trial("connect", libc::SYS_connect, [0, 0]),
    // CLONE_SIGHAND without CLONE_VM is EINVAL.
    trial("fork", libc::SYS_clone, [libc::CLONE_SIGHAND as libc::c_long, 0]),
    trial("exec", libc::SYS_execve, [0, 0]),
    // There is no process 0.
    trial("ptrace", libc::SYS_ptrace, [libc::PTRACE_ATTACH as libc::c_long, 0]),
    // No signal, to the process's own group.
    trial("kill", libc::SYS_kill, [0, 0]),
];

fn is_refused(trial: &Trial) -> bool {
    let [first, second] = trial.arguments;
    let second = if trial.act == "/proc" { STATUS.as_ptr() as libc::c_long } else { second };
    // SAFETY: null pointers are refused (EFAULT, EINVAL, ENOTSOCK) by each of these calls before anything happens; the one
    // that is none is a text that lives forever, and opens a file for reading.
    let done = unsafe { libc::syscall(trial.call, first, second, 0, 0, 0) };
    done < 0 && matches!(io::Error::last_os_error().raw_os_error(), Some(libc::EPERM | libc::EACCES))
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
/// Calls of the x32 ABI have this bit.
const X32: u32 = 0x4000_0000;

/// Calls without conditions: to read, write and wait on what is open, and to manage memory.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// Low half of argument `n`.
const fn argument(n: u32) -> u32 {
    16 + 8 * n
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const ABOVE: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

const fn step(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Skips `yes` instructions if the test holds, else `no`.
const fn branch(code: u32, k: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code: code as u16, jt: yes, jf: no, k }
}

fn program() -> Vec<sock_filter> {
    let mut program = vec![
        step(LOAD, ARCH),
        branch(EQUAL, ARCHITECTURE, 1, 0),
        step(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        step(LOAD, NUMBER),
        branch(ABOVE, X32, 0, 1),
        step(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    for call in ALLOWED {
        program.extend([branch(EQUAL, *call as u32, 0, 1), step(RETURN, libc::SECCOMP_RET_ALLOW)]);
    }
    // Memory is never executable, and never a file: one who maps the rows could change them after the agent's check.
    program.extend([
        branch(EQUAL, libc::SYS_mmap as u32, 0, 6),
        step(LOAD, argument(2)),
        branch(ANY_BIT, libc::PROT_EXEC as u32, 3, 0),
        step(LOAD, argument(4)),
        branch(EQUAL, u32::MAX, 0, 1),
        step(RETURN, libc::SECCOMP_RET_ALLOW),
        step(RETURN, REFUSE),
        branch(EQUAL, libc::SYS_mprotect as u32, 0, 3),
        step(LOAD, argument(2)),
        branch(ANY_BIT, libc::PROT_EXEC as u32, 1, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW),
        step(RETURN, REFUSE),
    ]);
    program
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
