//! The path that the kernel side announced: components below the root of a file system, each possibly cut.

use profiler_ebpf::abi::event::{COMPONENT_LENGTH, MAX_COMPONENTS};

/// A path below the root of its file system.
pub(super) struct FilePath<'a> {
    components: Vec<&'a [u8]>,
}

impl<'a> FilePath<'a> {
    pub(super) fn new(path: &'a [u8]) -> FilePath<'a> {
        FilePath { components: components(path).take(MAX_COMPONENTS).collect() }
    }

    /// The path below a mount of its file system's folder `root`; `None` if it does not lie in it. Compares whole
    /// components: `/a/bc` is not below `/a/b`. Empty if the file itself is mounted.
    pub(super) fn below(&self, root: &[u8]) -> Option<Vec<u8>> {
        if self.components.is_empty() || self.has_dots() {
            return None;
        }
        let mut rest = self.components.iter();
        for component in components(root) {
            if rest.next() != Some(&component) {
                return None;
            }
        }
        Some(rest.as_slice().join(&b'/'))
    }

    /// A component is as long as what is kept of one, or there are as many as are kept.
    pub(super) fn may_be_cut(&self) -> bool {
        self.components.len() >= MAX_COMPONENTS || self.components.iter().any(|name| name.len() >= COMPONENT_LENGTH - 1)
    }

    pub(super) fn display(&self) -> String {
        format!("/{}", String::from_utf8_lossy(&self.components.join(&b'/')))
    }

    /// No name in a kernel's tree is `.` or `..`, so such a path is none.
    fn has_dots(&self) -> bool {
        self.components.iter().any(|name| matches!(*name, b"." | b".."))
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|component| !component.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &[u8], root: &[u8], want: Option<&[u8]>) {
        let got = FilePath::new(path).below(root);
        assert_eq!(got.as_deref(), want, "{} below {}", path.escape_ascii(), root.escape_ascii());
    }

    #[test]
    fn a_root_is_compared_by_components() {
        check(b"/usr/bin/a", b"/", Some(b"usr/bin/a"));
        check(b"/usr/bin/a", b"/usr", Some(b"bin/a"));
        check(b"/usr/bin/a", b"/usr/bin/a", Some(b""));
        check(b"/usr/bin/a", b"/us", None);
        check(b"/usr/bin/a", b"/usr/bin/a/b", None);
        check(b"usr/b\nin/\xff", b"/usr", Some(b"b\nin/\xff"));
    }

    #[test]
    fn what_is_no_path_leads_nowhere() {
        check(b"", b"/", None);
        check(b"/", b"/", None);
        check(b"/usr/../etc/shadow", b"/", None);
        check(b"/usr/../etc/shadow", b"/usr", None);
    }

    #[test]
    fn long_names_may_be_cut() {
        let cut = |length: usize| FilePath::new(&[b'a'].repeat(length)).may_be_cut();
        assert!(!cut(126) && cut(127) && cut(200));
        assert!(!FilePath::new(&b"/a".repeat(23)).may_be_cut());
        assert!(FilePath::new(&b"/a".repeat(24)).may_be_cut());
    }
}
