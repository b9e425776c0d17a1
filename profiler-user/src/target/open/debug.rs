//! Debug files of a target's file: what lies where tools look for them, by build ID and by the name in the debug link.

use super::below::{self, FOLDER, Search};
use super::{DebugFound, DebugWanted, FoundBy};
use crate::target::proc::Proc;

/// All files at those places, the target's own first.
pub(super) fn find(proc: &Proc, wanted: &DebugWanted, max_size: u64) -> DebugFound {
    let mut search = Search::new(wanted.owner, max_size);
    let mut candidates = Vec::new();
    for root in below::roots(proc, wanted.pid, wanted.mount_namespace) {
        let by: &[FoundBy] = if root.is_own { &[FoundBy::BuildId, FoundBy::Link] } else { &[FoundBy::BuildId] };
        for by in by {
            let opened = places(wanted, *by).into_iter().filter_map(|path| search.at(&root, path));
            candidates.extend(opened.map(|opened| (*by, opened)));
        }
    }
    DebugFound { candidates, refused: search.refused }
}

/// Where it may be, as gdb and elfutils look for it.
fn places(wanted: &DebugWanted, by: FoundBy) -> Vec<String> {
    match by {
        FoundBy::BuildId => below::by_build_id(&wanted.build_id, "debug").into_iter().collect(),
        FoundBy::Link => wanted.link.as_deref().map(|link| by_link(&wanted.path, link)).unwrap_or_default(),
    }
}

fn by_link(path: &str, link: &str) -> Vec<String> {
    let name = !link.is_empty() && link != "." && link != ".." && !link.contains(['/', '\0']);
    match below::folder_of(path) {
        Some(folder) if name => {
            vec![format!("{folder}/{link}"), format!("{folder}/.debug/{link}"), format!("{FOLDER}{folder}/{link}")]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_where_others_look() {
        let places = by_link("/usr/bin/tool", "tool.debug");
        assert_eq!(places, ["/usr/bin/tool.debug", "/usr/bin/.debug/tool.debug", "/usr/lib/debug/usr/bin/tool.debug"]);
        assert_eq!(by_link("/init", "x")[0], "/x");
    }

    #[test]
    fn what_is_no_name_leads_nowhere() {
        for link in ["", ".", "..", "../x", "/etc/shadow", "a\0b"] {
            assert!(by_link("/usr/bin/tool", link).is_empty(), "{link}");
        }
        assert!(by_link("[vdso]", "x").is_empty() && by_link("usr/bin/tool", "x").is_empty());
    }
}
