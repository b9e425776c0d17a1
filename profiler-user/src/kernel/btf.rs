//! Member offsets from the running kernel's BTF (aya keeps its types private).
//!
//! Format: Documentation/bpf/btf.rst. The bytes are the kernel's own, but are read with checks all the same.

use super::KernelError;

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_TYPEDEF: u32 = 8;
const KIND_RESTRICT: u32 = 11;
/// Nested anonymous structures that are followed.
const MAX_DEPTH: u32 = 8;

/// The kernel's types.
pub(super) struct Btf {
    bytes: Vec<u8>,
    /// Byte position and kind of each type.
    types: Vec<(usize, u32)>,
}

/// A found member.
#[derive(Clone, Copy)]
struct Member {
    offset: u32,
    type_id: u32,
}

impl Btf {
    /// Reads /sys/kernel/btf/vmlinux.
    pub(super) fn of_this_kernel() -> Result<Btf, KernelError> {
        Btf::parse(std::fs::read("/sys/kernel/btf/vmlinux").map_err(KernelError::BtfFile)?)
    }

    fn parse(bytes: Vec<u8>) -> Result<Btf, KernelError> {
        let mut btf = Btf { bytes, types: vec![(0, 0)] };
        let header = btf.word(4) as usize;
        let mut at = header + btf.word(8) as usize;
        let end = at + btf.word(12) as usize;
        if end > btf.bytes.len() {
            return Err(KernelError::Btf("whole type section".into()));
        }
        while at < end {
            let info = btf.word(at + 4);
            let (kind, members) = (info >> 24 & 31, (info & 0xffff) as usize);
            btf.types.push((at, kind));
            at += 12
                + match kind {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    4 | 5 | 15 | 19 => members * 12,
                    6 | 13 => members * 8,
                    _ => 0,
                };
        }
        Ok(btf)
    }

    fn word(&self, at: usize) -> u32 {
        self.bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
    }

    fn name(&self, offset: u32) -> &[u8] {
        let start = (self.word(4) + self.word(16) + offset) as usize;
        let rest = self.bytes.get(start..).unwrap_or_default();
        rest.split(|b| *b == 0).next().unwrap_or_default()
    }

    fn find(&self, kind: u32, name: &str) -> Option<usize> {
        self.types.iter().find(|t| t.1 == kind && self.name(self.word(t.0)) == name.as_bytes()).map(|t| t.0)
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, id: u32) -> Option<(usize, u32)> {
        let mut found = *self.types.get(id as usize)?;
        for _ in 0..MAX_DEPTH {
            if !(KIND_TYPEDEF..=KIND_RESTRICT).contains(&found.1) {
                break;
            }
            found = *self.types.get(self.word(found.0 + 8) as usize)?;
        }
        Some(found)
    }

    fn member(&self, structure: usize, name: &str, depth: u32) -> Option<Member> {
        let info = self.word(structure + 4);
        let has_bitfields = info >> 31 == 1;
        for i in 0..(info & 0xffff) as usize {
            let at = structure + 12 + i * 12;
            let bits = self.word(at + 8);
            let offset = if has_bitfields { bits & 0x00ff_ffff } else { bits } / 8;
            let (own, type_id) = (self.name(self.word(at)), self.word(at + 4));
            if own == name.as_bytes() {
                return Some(Member { offset, type_id });
            }
            if own.is_empty()
                && depth < MAX_DEPTH
                && let Some((inner, KIND_STRUCT | KIND_UNION)) = self.resolve(type_id)
                && let Some(found) = self.member(inner, name, depth + 1)
            {
                return Some(Member { offset: found.offset + offset, ..found });
            }
        }
        None
    }

    fn structure(&self, name: &str) -> Option<usize> {
        self.find(KIND_STRUCT, name).or_else(|| {
            let typedef = self.find(KIND_TYPEDEF, name)?;
            self.resolve(self.word(typedef + 8)).map(|t| t.0)
        })
    }

    /// Byte offset of `structure.path`, where a path goes through nested structures by dots.
    pub(super) fn offset(&self, structure: &str, path: &str) -> Result<u32, KernelError> {
        let missing = || KernelError::Btf(format!("{structure}.{path}"));
        let mut at = self.structure(structure).ok_or_else(missing)?;
        let mut sum = 0;
        for name in path.split('.') {
            let member = self.member(at, name, 0).ok_or_else(missing)?;
            sum += member.offset;
            at = self.resolve(member.type_id).ok_or_else(missing)?.0;
        }
        Ok(sum)
    }

    /// True if that member exists and is a structure.
    pub(super) fn is_structure(&self, structure: &str, member: &str) -> bool {
        self.structure(structure)
            .and_then(|at| self.member(at, member, 0))
            .and_then(|member| self.resolve(member.type_id))
            .is_some_and(|t| t.1 == KIND_STRUCT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_the_running_kernel_are_plausible() {
        let btf = Btf::of_this_kernel().expect("BTF of this kernel");
        assert_eq!(btf.offset("list_head", "prev").expect("list_head.prev"), 8);
        assert_eq!(btf.offset("path", "dentry").expect("path.dentry"), 8);
        assert!(btf.offset("task_struct", "mm").expect("task_struct.mm") > 0);
        assert!(btf.is_structure("file", "f_path"));
        assert!(!btf.is_structure("task_struct", "mm"));
    }

    #[test]
    fn damaged_bytes_are_an_error_and_no_panic() {
        assert!(Btf::parse(vec![]).and_then(|b| b.offset("task_struct", "mm")).is_err());
        assert!(Btf::parse(vec![0xff; 64]).is_err());
    }
}
