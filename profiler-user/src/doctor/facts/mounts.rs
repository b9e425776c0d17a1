//! The agent's own mount table, as far as the checks ask: `/proc`, control groups, tracefs. Pure.

use super::{CgroupMode, ProcMount};

/// A mount.
struct Mount<'t> {
    at: &'t str,
    kind: &'t str,
    /// Options of the file system.
    options: &'t str,
}

/// `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
fn mounts(text: &str) -> impl DoubleEndedIterator<Item = Mount<'_>> {
    text.lines().filter_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let mut system = system.split(' ');
        let kind = system.next()?;
        Some(Mount { at: mount.split(' ').nth(4)?, kind, options: system.nth(1).unwrap_or("") })
    })
}

/// How `/proc` is mounted: by the last mount there, which covers the others.
pub(super) fn proc_mount(text: &str) -> Option<ProcMount> {
    let mount = mounts(text).rfind(|mount| mount.at == "/proc")?;
    let option = |name: &str| mount.options.split(',').find_map(|option| option.strip_prefix(name));
    let hidden = option("hidepid=").filter(|value| !matches!(*value, "0" | "off"));
    Some(ProcMount { hidepid: hidden.map(ToOwned::to_owned), only_processes: option("subset=") == Some("pid") })
}

/// Which control groups there are.
pub(super) fn cgroups(text: &str) -> CgroupMode {
    let has = |kind: &str| mounts(text).any(|mount| mount.kind == kind);
    match (has("cgroup"), has("cgroup2")) {
        (true, true) => CgroupMode::Hybrid,
        (true, false) => CgroupMode::First,
        (false, true) => CgroupMode::Second,
        (false, false) => CgroupMode::None,
    }
}

/// Where tracefs is mounted.
pub(super) fn tracefs(text: &str) -> Option<String> {
    mounts(text).find(|mount| mount.kind == "tracefs").map(|mount| mount.at.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
        31 27 0:21 / /proc rw,relatime shared:5 - proc proc rw,gid=5,hidepid=invisible\n\
        23 27 0:22 / /sys/kernel/tracing rw - tracefs tracefs rw\n\
        24 27 0:23 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup rw,nsdelegate\n";

    #[test]
    fn the_last_mount_counts_with_its_options() {
        let hidden = ProcMount { hidepid: Some("invisible".into()), only_processes: false };
        assert_eq!(proc_mount(TABLE), Some(hidden));
        let first = TABLE.lines().next().expect("a line");
        assert_eq!(proc_mount(first), Some(ProcMount { hidepid: None, only_processes: false }));
        let subset = "22 27 0:21 / /proc rw - proc proc rw,hidepid=0,subset=pid";
        assert_eq!(proc_mount(subset), Some(ProcMount { hidepid: None, only_processes: true }));
        assert_eq!(proc_mount("nothing of the kind"), None);
    }

    #[test]
    fn control_groups_and_tracefs() {
        assert_eq!((cgroups(TABLE), tracefs(TABLE).as_deref()), (CgroupMode::Second, Some("/sys/kernel/tracing")));
        let old = "30 27 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        assert_eq!((cgroups(old), cgroups(&format!("{old}{TABLE}"))), (CgroupMode::First, CgroupMode::Hybrid));
        assert_eq!((cgroups(""), tracefs("")), (CgroupMode::None, None));
    }
}
