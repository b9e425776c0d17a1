//! Inner maps of the pool of unwind rows.
//!
//! Kernels 5.15 to 6.1 demand that an inner map carries the same BTF as the template in the object; maps that aya makes
//! at run time carry none, so they are made here, with the BTF of a map of the inner type that the object declares. Getting at
//! that BTF again takes CAP_SYS_ADMIN; without it maps are made without, which later kernels take.

use super::KernelError;
use super::syscall::{Attributes, Command, bpf, bpf_fd, put_u64, raw};
use aya::maps::MapData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Words of `struct bpf_map_info` in use: type, key size, value size, flags, btf id, key and value type ids.
const INFO_TYPE: usize = 0;
const INFO_KEY_SIZE: usize = 2;
const INFO_VALUE_SIZE: usize = 3;
const INFO_FLAGS: usize = 5;
const INFO_BTF: usize = 16;
const INFO_KEY_TYPE: usize = 17;
const INFO_VALUE_TYPE: usize = 18;

/// How inner maps are to be made.
pub(super) struct InnerTemplate {
    info: [u32; 32],
    /// `None`: we may not have it.
    btf: Option<OwnedFd>,
}

impl InnerTemplate {
    /// From a map of the inner type.
    pub(super) fn of(map: &MapData) -> Result<InnerTemplate, KernelError> {
        let mut info = [0u32; 32];
        let mut attributes: Attributes = [0; 32];
        attributes[0] = map.fd().as_fd().as_raw_fd().cast_unsigned();
        attributes[1] = 128;
        put_u64(&mut attributes, 2, info.as_mut_ptr() as u64);
        // SAFETY: the buffer has the 128 bytes that the attributes state.
        unsafe { bpf(Command::ObjectInfo, &mut attributes, 16) }
            .map_err(KernelError::system("read the description of a BPF map"))?;
        let mut attributes: Attributes = [0; 32];
        attributes[0] = info[INFO_BTF];
        // SAFETY: no pointers.
        let btf = match unsafe { bpf_fd(Command::BtfById, &mut attributes, 4) } {
            Ok(btf) => Some(btf),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => None,
            Err(error) => return Err(KernelError::system("open the BTF of the BPF object")(error)),
        };
        Ok(InnerTemplate { info, btf })
    }

    /// Its maps are what the object declares, so every kernel takes them.
    pub(super) fn is_exact(&self) -> bool {
        self.btf.is_some()
    }

    /// A new inner map of `entries` chunks.
    pub(super) fn create(&self, entries: u32) -> Result<MapData, KernelError> {
        let mut attributes: Attributes = [0; 32];
        attributes[0] = self.info[INFO_TYPE];
        attributes[1] = self.info[INFO_KEY_SIZE];
        attributes[2] = self.info[INFO_VALUE_SIZE];
        attributes[3] = entries;
        attributes[4] = self.info[INFO_FLAGS];
        // inner_map_fd 5, numa_node 6, name 7..=10, ifindex 11
        if let Some(btf) = &self.btf {
            attributes[12] = raw(btf.as_fd());
            attributes[13] = self.info[INFO_KEY_TYPE];
            attributes[14] = self.info[INFO_VALUE_TYPE];
        }
        // SAFETY: no pointers.
        let fd = unsafe { bpf_fd(Command::MapCreate, &mut attributes, 60) }
            .map_err(KernelError::system("create memory for unwind tables"))?;
        MapData::from_fd(fd).map_err(KernelError::map("open", "POOL"))
    }
}
