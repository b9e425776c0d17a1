//! Parts of the debug information of a target's file that lie in files of their own (`.dwo`, `.dwp`, what dwz made): what lies
//! at the paths that the debug information names, beside the file, and where distributions put them.

use super::below::{self, FOLDER, Root, Search, folder_of};
use super::{Opened, PartFound, PartName, PartsWanted};
use crate::target::proc::Proc;

/// Files of one part that are opened: it should be the first.
const MAX_FILES: usize = 2;

/// What is found of each part, in their order.
pub(super) fn find(proc: &Proc, wanted: &PartsWanted, max_size: u64) -> Vec<PartFound> {
    let roots = below::roots(proc, wanted.pid, wanted.mount_namespace);
    wanted.parts.iter().map(|part| one(&roots, wanted, part, max_size)).collect()
}

fn one(roots: &[Root], wanted: &PartsWanted, part: &PartName, max_size: u64) -> PartFound {
    let mut search = Search::new(wanted.owner, max_size);
    let mut files: Vec<Opened> = Vec::new();
    for root in roots {
        let named = if root.is_own { by_name(wanted, part) } else { Vec::new() };
        for path in named.into_iter().chain(by_build_id(wanted, part)) {
            if files.len() < MAX_FILES {
                files.extend(search.at(root, path));
            }
        }
    }
    PartFound { files, refused: search.refused > 0 }
}

/// Where the target's own paths lead.
fn by_name(wanted: &PartsWanted, part: &PartName) -> Vec<String> {
    let mut places = match part {
        PartName::Shared { name, by, .. } => beside(by, name).into_iter().collect(),
        PartName::Package => {
            let beside = wanted.paths().map(|path| format!("{path}.dwp"));
            let apart = folder_of(&wanted.path).map(|_| format!("{FOLDER}{}.dwp", wanted.path));
            beside.chain(apart).collect()
        }
        PartName::Unit { folder, name } => unit_places(&wanted.path, folder, name),
    };
    places.retain(|place| place.starts_with('/') && !place.contains('\0'));
    places
}

/// Where a distribution's debug files lie: these places mean the same on each host.
fn by_build_id(wanted: &PartsWanted, part: &PartName) -> Vec<String> {
    match part {
        PartName::Shared { name, build_id, .. } => {
            below::by_build_id(build_id, "debug").into_iter().chain(in_dwz_folder(name)).collect()
        }
        PartName::Package => below::by_build_id(&wanted.build_id, "dwp").into_iter().collect(),
        PartName::Unit { .. } => Vec::new(),
    }
}

/// `/usr/lib/debug/.dwz/` and what follows `.dwz/` in the path, or its last part.
fn in_dwz_folder(name: &str) -> Option<String> {
    let inside = name.rsplit_once("/.dwz/").map_or_else(|| name.rsplit('/').next(), |(_, inside)| Some(inside))?;
    let plain = !inside.is_empty() && inside.split('/').all(|part| !matches!(part, "" | "." | ".."));
    plain.then(|| format!("{FOLDER}/.dwz/{inside}"))
}

/// As the compiler wrote it; from the folder of the file if it ran in a relative one; beside the file, if both were moved.
fn unit_places(path: &str, folder: &str, name: &str) -> Vec<String> {
    if name.is_empty() {
        return Vec::new();
    }
    let from = if folder.starts_with('/') { Some(folder.to_owned()) } else { beside(path, folder) };
    let named = from.and_then(|from| beside(&format!("{from}/"), name));
    let moved =
        name.rsplit('/').next().and_then(|last| beside(path, last)).filter(|moved| Some(moved) != named.as_ref());
    named.into_iter().chain(moved).collect()
}

/// A path from the folder of a file, if it is a relative one.
fn beside(path: &str, name: &str) -> Option<String> {
    if name.starts_with('/') { Some(name.to_owned()) } else { Some(format!("{}/{name}", folder_of(path)?)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_lies_where_the_compiler_ran_or_beside_the_file() {
        let check = |folder: &str, name: &str, wanted: &[&str]| {
            assert_eq!(unit_places("/opt/app/tool", folder, name), wanted, "{name} in {folder}");
        };
        check("/build", "src/a.dwo", &["/build/src/a.dwo", "/opt/app/a.dwo"]);
        check("/build", "/obj/a.dwo", &["/obj/a.dwo", "/opt/app/a.dwo"]);
        check(".", "obj/a.dwo", &["/opt/app/./obj/a.dwo", "/opt/app/a.dwo"]);
        check("/opt/app", "a.dwo", &["/opt/app/a.dwo"]);
        check("/build", "", &[]);
        assert_eq!(unit_places("[vdso]", "", "a.dwo"), Vec::<String>::new());
    }

    #[test]
    fn what_dwz_made_lies_at_its_path_and_in_the_folder_for_it() {
        assert_eq!(
            beside("/usr/lib/debug/.build-id/ab/12.debug", "../../.dwz/x").as_deref(),
            Some("/usr/lib/debug/.build-id/ab/../../.dwz/x")
        );
        let check = |name: &str, wanted: Option<&str>| assert_eq!(in_dwz_folder(name).as_deref(), wanted, "{name}");
        check("/usr/lib/debug/.dwz/x86_64-linux-gnu/x.debug", Some("/usr/lib/debug/.dwz/x86_64-linux-gnu/x.debug"));
        check("../../.dwz/x", Some("/usr/lib/debug/.dwz/x"));
        check("/build/common.debug", Some("/usr/lib/debug/.dwz/common.debug"));
        check("/.dwz/../../etc/shadow", None);
        check("/.dwz/", None);
        check("..", None);
    }

    #[test]
    fn a_package_lies_beside_the_file_or_its_debug_file() {
        let wanted = PartsWanted {
            pid: crate::event::Pid(7),
            mount_namespace: 1,
            owner: 0,
            path: "/usr/bin/tool".into(),
            debug_path: Some("/srv/tool.debug".into()),
            build_id: "ab12".into(),
            parts: vec![PartName::Package],
        };
        let named = by_name(&wanted, &PartName::Package);
        assert_eq!(named, ["/usr/bin/tool.dwp", "/srv/tool.debug.dwp", "/usr/lib/debug/usr/bin/tool.dwp"]);
        assert_eq!(by_build_id(&wanted, &PartName::Package), ["/usr/lib/debug/.build-id/ab/12.dwp"]);
        let vdso = PartsWanted { path: "[vdso]".into(), debug_path: None, ..wanted };
        assert_eq!(by_name(&vdso, &PartName::Package), Vec::<String>::new());
    }
}
