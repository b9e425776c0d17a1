//! The vDSO's image: the agent's own is every 64-bit process's.

use super::Proc;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// Bytes that a vDSO may have.
const MAX: u64 = 1 << 20;

/// The image in a memory file.
pub fn image(_proc: &Proc) -> io::Result<OwnedFd> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let missing = || io::Error::new(io::ErrorKind::NotFound, "this process maps no vDSO");
    let line = maps.lines().find(|line| line.ends_with(" [vdso]")).ok_or_else(missing)?;
    let range = line.split(' ').next().and_then(|range| range.split_once('-')).ok_or_else(missing)?;
    let number = |text| u64::from_str_radix(text, 16).map_err(io::Error::other);
    let (start, end) = (number(range.0)?, number(range.1)?);
    let size = end.saturating_sub(start).min(MAX);
    let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    File::open("/proc/self/mem")?.read_exact_at(&mut bytes, start)?;
    let mut file = File::from(memfd_create("vdso", MemfdFlags::CLOEXEC)?);
    file.write_all(&bytes)?;
    Ok(file.into())
}
