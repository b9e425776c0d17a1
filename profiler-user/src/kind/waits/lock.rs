//! What was released when a thread let another one go on: by the names of the functions that did it.

use crate::kind::profile::{Profile, ProfileSample};

/// A kind of thing that threads wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    /// Its name.
    pub(super) name: &'static str,
    /// Somebody held it, so that others had to wait: what Go's mutex profile is about. Of others it is the wait that was wanted.
    pub(super) is_held: bool,
}

const fn held(name: &'static str) -> Lock {
    Lock { name, is_held: true }
}

const fn signalled(name: &'static str) -> Lock {
    Lock { name, is_held: false }
}

/// The end of a thread, for which another one waits.
pub(super) const JOIN: Lock = signalled("join");
/// No name tells.
const UNKNOWN: Lock = held("futex");

/// Frames of a stack, from the leaf on, in which names are looked for.
const DEPTH: usize = 24;

/// Parts of names of runtimes and languages, which build their locks out of others' condition variables and semaphores. They count
/// before [`PRIMITIVES`], wherever in the stack they are.
const RUNTIMES: &[(&str, Lock)] = &[
    ("drop_gil", held("gil")),
    // It takes the GIL, and tells who dropped it so.
    ("take_gil", signalled("condition")),
    ("PyThread_release_lock", held("lock")),
    ("ObjectMonitor::exit", held("monitor")),
    ("ObjectMonitor::ExitEpilog", held("monitor")),
    ("ObjectMonitor::notify", signalled("condition")),
    ("Unsafe_Unpark", held("park")),
    ("VMThread::", signalled("condition")),
    ("runtime.unlock2", held("runtime lock")),
    ("runtime.notewakeup", signalled("note")),
    ("std::sync::mpmc::", signalled("channel")),
    ("std::sync::mpsc::", signalled("channel")),
    ("crossbeam_channel::", signalled("channel")),
    ("std::sys::sync::condvar::", signalled("condition")),
    ("std::sys::sync::rwlock::", held("rwlock")),
    ("std::sys::sync::mutex::", held("mutex")),
    // Of inlined ones DWARF has the types of what is dropped.
    ("RwLockWriteGuard<", held("rwlock")),
    ("RwLockReadGuard<", held("rwlock")),
    ("MutexGuard<", held("mutex")),
    ("std::sys::sync::once::", held("once")),
    ("std::sys::sync::thread_parking::", signalled("park")),
    ("parking_lot::condvar::", signalled("condition")),
    ("parking_lot::raw_rwlock::", held("rwlock")),
    ("parking_lot::raw_mutex::", held("mutex")),
    ("std::condition_variable", signalled("condition")),
];

/// Parts of names of the C library, from the leaf on.
const PRIMITIVES: &[(&str, Lock)] = &[
    ("cond_signal", signalled("condition")),
    ("cond_broadcast", signalled("condition")),
    ("cnd_signal", signalled("condition")),
    ("cnd_broadcast", signalled("condition")),
    ("sem_post", signalled("semaphore")),
    ("barrier_wait", signalled("barrier")),
    ("rwlock_unlock", held("rwlock")),
    ("rwlock_", held("rwlock")),
    ("mutex_unlock", held("mutex")),
    ("mtx_unlock", held("mutex")),
    ("pthread_once", held("once")),
    ("lll_lock_wake", held("mutex")),
    ("pthread_exit", JOIN),
];

/// What functions released, leaf first.
fn by_names(names: &[&str]) -> Lock {
    let find = |list: &'static [(&'static str, Lock)]| {
        names.iter().find_map(|name| list.iter().find(|(part, _)| name.contains(part)).map(|(_, lock)| *lock))
    };
    find(RUNTIMES).or_else(|| find(PRIMITIVES)).unwrap_or(UNKNOWN)
}

/// What a stack of a profile released.
pub(super) fn of(profile: &Profile, sample: &ProfileSample) -> Lock {
    let locations = sample.locations.iter().filter_map(|location| profile.locations.get(*location));
    let functions =
        locations.flat_map(|location| &location.lines).filter_map(|line| profile.functions.get(line.function));
    by_names(&functions.take(DEPTH).map(|function| function.name.as_str()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> &'static str {
        by_names(names).name
    }

    #[test]
    fn what_is_released() {
        assert_eq!(of(&["__lll_lock_wake", "___pthread_mutex_unlock", "holder", "main"]), "mutex");
        assert_eq!(of(&["futex_wake", "___pthread_rwlock_unlock", "writer"]), "rwlock");
        assert_eq!(of(&["___pthread_cond_signal", "producer"]), "condition");
        assert_eq!(of(&["__new_sem_post", "producer"]), "semaphore");
        assert_eq!(of(&["syscall", "work"]), "futex");
    }

    #[test]
    fn runtimes_build_locks_out_of_signals() {
        assert_eq!(of(&["___pthread_cond_signal", "drop_gil", "_PyEval_EvalFrameDefault"]), "gil");
        assert_eq!(of(&["___pthread_cond_signal", "PlatformEvent::unpark", "ObjectMonitor::exit_epilog"]), "monitor");
        assert_eq!(of(&["___pthread_cond_signal", "Parker::unpark", "Unsafe_Unpark"]), "park");
        assert_eq!(of(&["__syscall", "std::sys::sync::mutex::futex::Mutex::wake", "unlock_it"]), "mutex");
        let dropped = ["syscall", "unlock", "drop_in_place<std::sync::poison::mutex::MutexGuard<u32>>", "serve"];
        assert_eq!(of(&dropped), "mutex");
        assert!(!by_names(&["std::sys::sync::condvar::futex::Condvar::notify_one"]).is_held);
    }
}
