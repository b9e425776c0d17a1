//! The one sampling timer: a cpu-clock event per CPU that runs the sampler. Opened here and not by aya, because the
//! descriptors are needed to change the period while it runs.

use super::KernelError;
use super::syscall::raw;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_CPU_CLOCK: u64 = 0;
const PERF_FLAG_FD_CLOEXEC: u64 = 8;
const IOC_ENABLE: libc::c_ulong = 0x2400;
const IOC_PERIOD: libc::c_ulong = 0x4008_2404;
const IOC_SET_BPF: libc::c_ulong = 0x4004_2408;
/// Bit `disabled` of the attributes' flag word.
const FLAG_DISABLED: u64 = 1;

/// The first 64 bytes of `struct perf_event_attr` (PERF_ATTR_SIZE_VER0); the kernel takes the rest as zero.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    config1: u64,
}
const _: () = assert!(size_of::<Attributes>() == 64);

/// The timer's events, one a CPU.
pub(super) struct Timer {
    events: Vec<OwnedFd>,
}

impl Timer {
    /// Opens and starts the timer on every online CPU.
    pub(super) fn start(program: BorrowedFd<'_>, period_ns: u64) -> Result<Timer, KernelError> {
        let cpus = aya::util::online_cpus().map_err(|(_, e)| KernelError::system("list the online CPUs")(e))?;
        let mut events = Vec::with_capacity(cpus.len());
        for cpu in cpus {
            let event = open(cpu, period_ns).map_err(KernelError::system("open the CPU clock event"))?;
            ioctl(&event, IOC_SET_BPF, u64::from(raw(program)))
                .map_err(KernelError::system("attach the sampler to the CPU clock event"))?;
            ioctl(&event, IOC_ENABLE, 0).map_err(KernelError::system("start the CPU clock event"))?;
            events.push(event);
        }
        Ok(Timer { events })
    }

    /// Changes the period of all events at once.
    pub(super) fn set_period(&self, period_ns: u64) -> io::Result<()> {
        for event in &self.events {
            // The kernel reads the period through a pointer.
            ioctl(event, IOC_PERIOD, (&raw const period_ns) as u64)?;
        }
        Ok(())
    }
}

fn open(cpu: u32, period_ns: u64) -> io::Result<OwnedFd> {
    let attributes = Attributes {
        kind: PERF_TYPE_SOFTWARE,
        size: 64,
        config: PERF_COUNT_SW_CPU_CLOCK,
        sample_period: period_ns,
        flags: FLAG_DISABLED,
        ..Attributes::default()
    };
    // SAFETY: `attributes` is a valid perf_event_attr of its stated size; pid -1 and a CPU mean all processes on it.
    let fd =
        unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn ioctl(event: &OwnedFd, request: libc::c_ulong, argument: u64) -> io::Result<()> {
    // SAFETY: a perf event descriptor; the argument is a number, or for IOC_PERIOD the address of a u64 that lives
    // across the call.
    if unsafe { libc::ioctl(event.as_raw_fd(), request, argument) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
