//! The vDSO's image: the agent's own is every 64-bit process's.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// Bytes that a vDSO may have.
const MAX: u64 = 1 << 20;

/// The image in a memory file that nobody can change.
pub fn image() -> io::Result<OwnedFd> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let missing = || io::Error::new(io::ErrorKind::NotFound, "this process maps no vDSO");
    let line = maps.lines().find(|line| line.ends_with(" [vdso]")).ok_or_else(missing)?;
    let range = line.split(' ').next().and_then(|range| range.split_once('-')).ok_or_else(missing)?;
    let number = |text| u64::from_str_radix(text, 16).map_err(io::Error::other);
    let (start, end) = (number(range.0)?, number(range.1)?);
    let size = end.saturating_sub(start).min(MAX);
    let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    File::open("/proc/self/mem")?.read_exact_at(&mut bytes, start)?;
    let mut file = File::from(memfd_create("vdso", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(&bytes)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_elf_file_that_cannot_be_written() {
        let file = File::from(image().expect("an image"));
        let mut head = [0; 4];
        file.read_exact_at(&mut head, 0).expect("four bytes");
        assert_eq!(&head, b"\x7fELF");
        assert_eq!(file.write_at(b"x", 0).map_err(|e| e.kind()), Err(io::ErrorKind::PermissionDenied));
    }
}
