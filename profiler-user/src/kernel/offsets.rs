//! Which kernel structure members the BPF programs use, and under which names they expect their offsets.

use super::KernelError;
use super::btf::Btf;

/// Global's name, structure, member path.
const MEMBERS: &[(&str, &str, &str)] = &[
    ("TASK_MM", "task_struct", "mm"),
    ("TASK_FLAGS", "task_struct", "flags"),
    ("TASK_LEADER", "task_struct", "group_leader"),
    ("TASK_START", "task_struct", "start_boottime"),
    ("TASK_EXEC_ID", "task_struct", "self_exec_id"),
    ("TASK_CRED", "task_struct", "cred"),
    ("TASK_COMM", "task_struct", "comm"),
    ("TASK_TGID", "task_struct", "tgid"),
    ("TASK_PID", "task_struct", "pid"),
    ("TASK_PARENT", "task_struct", "real_parent"),
    ("TASK_SIGNAL", "task_struct", "signal"),
    ("TASK_EXIT_CODE", "task_struct", "exit_code"),
    ("TASK_RUNTIME", "task_struct", "se.sum_exec_runtime"),
    ("TASK_STATE", "task_struct", "__state"),
    ("TASK_ON_CPU", "task_struct", "on_cpu"),
    ("CRED_UID", "cred", "uid"),
    ("CRED_SUID", "cred", "suid"),
    ("CRED_EUID", "cred", "euid"),
    ("SIGNAL_LIVE", "signal_struct", "live"),
    ("SIGNAL_RUNTIME", "signal_struct", "sum_sched_runtime"),
    ("PID_LEVEL", "pid", "level"),
    ("PID_NUMBERS", "pid", "numbers"),
    ("MM_TREE", "mm_struct", "mm_mt"),
    ("VMA_START", "vm_area_struct", "vm_start"),
    ("VMA_END", "vm_area_struct", "vm_end"),
    ("VMA_MM", "vm_area_struct", "vm_mm"),
    ("VMA_FLAGS", "vm_area_struct", "vm_flags"),
    ("VMA_PGOFF", "vm_area_struct", "vm_pgoff"),
    ("VMA_FILE", "vm_area_struct", "vm_file"),
    ("FILE_INODE", "file", "f_inode"),
    ("FILE_DENTRY", "file", "f_path.dentry"),
    ("INODE_NUMBER", "inode", "i_ino"),
    ("INODE_SB", "inode", "i_sb"),
    ("INODE_GENERATION", "inode", "i_generation"),
    ("SB_DEV", "super_block", "s_dev"),
    ("SB_MAGIC", "super_block", "s_magic"),
    ("DENTRY_PARENT", "dentry", "d_parent"),
    ("DENTRY_SB", "dentry", "d_sb"),
    ("BPRM_FILENAME", "linux_binprm", "filename"),
];

/// Members that the programs read out of a copy of this many bytes of a VMA or an inode (`COPY_BYTES` there).
const COPIED: &[&str] = &[
    "VMA_START",
    "VMA_END",
    "VMA_MM",
    "VMA_FLAGS",
    "VMA_PGOFF",
    "VMA_FILE",
    "INODE_NUMBER",
    "INODE_SB",
    "INODE_CTIME_SEC",
    "INODE_CTIME_NSEC",
];
const COPY_BYTES: u32 = 192;
/// `PIDTYPE_TGID` of enum `pid_type`: which pointer of `signal_struct.pids` is the process's.
const PIDTYPE_TGID: u32 = 1;

/// Offsets by the name of the global that holds them.
pub(super) fn offsets(btf: &Btf) -> Result<Vec<(&'static str, u32)>, KernelError> {
    let mut found = Vec::with_capacity(MEMBERS.len() + 8);
    for (global, structure, path) in MEMBERS {
        found.push((*global, btf.offset(structure, path)?));
    }
    found.push(("SIGNAL_TGID_PID", btf.offset("signal_struct", "pids")? + 8 * PIDTYPE_TGID));
    found.push(("MM_VDSO", btf.offset("mm_struct", "context")? + btf.offset("mm_context_t", "vdso")?));
    // CONFIG_SCHED_INFO.
    for (global, member) in [
        ("TASK_ARRIVAL", "sched_info.last_arrival"),
        ("TASK_QUEUED", "sched_info.last_queued"),
        ("TASK_RUN_DELAY", "sched_info.run_delay"),
    ] {
        found.push((global, btf.offset("task_struct", member).unwrap_or(0)));
    }
    // struct qstr: hash and length in 8 bytes, then the pointer.
    found.push(("DENTRY_NAME", btf.offset("dentry", "d_name")? + btf.offset("qstr", "name")?));
    let (seconds, nanoseconds) = change_time(btf)?;
    found.push(("INODE_CTIME_SEC", seconds));
    found.push(("INODE_CTIME_NSEC", nanoseconds));
    // Only as a seqcount is it odd while somebody holds the lock for writing; as a plain int (6.4 to about 6.11) it is not.
    let cacheable = btf.is_structure("mm_struct", "mm_lock_seq");
    found.push(("MM_SEQ", if cacheable { btf.offset("mm_struct", "mm_lock_seq")? } else { 0 }));
    for (name, offset) in &found {
        if COPIED.contains(name) && offset + 8 > COPY_BYTES {
            return Err(KernelError::Btf(format!("{name} within the first {COPY_BYTES} bytes")));
        }
    }
    Ok(found)
}

/// `i_ctime_sec`/`i_ctime_nsec` from 6.11 on, a timespec64 named `__i_ctime` (6.6) or `i_ctime` before.
fn change_time(btf: &Btf) -> Result<(u32, u32), KernelError> {
    if let (Ok(seconds), Ok(nanoseconds)) = (btf.offset("inode", "i_ctime_sec"), btf.offset("inode", "i_ctime_nsec")) {
        return Ok((seconds, nanoseconds));
    }
    let at = btf.offset("inode", "__i_ctime").or_else(|_| btf.offset("inode", "i_ctime"))?;
    Ok((at, at + 8))
}
