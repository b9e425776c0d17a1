//! `/proc/PID/cgroup`: one line a hierarchy, `0::/path` for version 2. The kernel allows no line end in a cgroup's name.

/// Path in the v2 hierarchy. The path is the rest of the line: it may hold colons and spaces.
pub(super) fn unified(text: &[u8]) -> Option<&[u8]> {
    text.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"0::"))
}
