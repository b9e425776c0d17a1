//! What the kernel side counts beside the reasons: number, metric name, help. One list for both sides.
//!
//! A counter lies in `COUNTERS_MAP` at its number; those below 100 are [`crate::reasons::Reason`] codes. Numbers are never
//! reused.

use super::maps::COUNTERS;

/// Declares [`Counter`] with its number, metric name and help from one list.
macro_rules! counters {
    ($($variant:ident = $number:literal, $name:literal, $help:literal;)*) => {
        /// A counter of the kernel side.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Counter { $(#[doc = $help] $variant = $number,)* }

        impl Counter {
            /// All counters, in the order of their numbers.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)*];

            /// Name of its metric.
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$variant => $name,)* }
            }

            /// What it counts, as a sentence for a person; whoever shows it puts the full stop.
            pub const fn help(self) -> &'static str {
                match self { $(Counter::$variant => $help,)* }
            }

            /// Its place in `COUNTERS_MAP`.
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

counters! {
    Walks = 100, "kernel_mapping_walks", "Walks of a process's tree of mappings";
    WalksRepeated = 101, "kernel_mapping_walks_repeated", "Walks that found nothing and were repeated at once, because a thread may have changed the tree meanwhile";
    NewFiles = 102, "kernel_new_files", "Mapped files that were seen for the first time";
    CachedMappings = 103, "kernel_cached_mappings", "Mappings that an earlier sample on the same CPU had found";
    MemoMisses = 104, "kernel_memo_misses", "Unwind rules that had to be searched in a table because the memo did not know them";
    Frames = 105, "kernel_user_frames", "User frames walked";
    AnnouncementsLost = 106, "kernel_announcements_lost", "New files that found no room in their ring; each is announced again when a sample meets it";
    ProcessRecordsLost = 107, "kernel_process_records_lost", "Forks, execs and exits that found no room in their ring";
    Samples = 108, "kernel_samples", "Samples put into the ring";
    LateElsewhere = 109, "kernel_late_ticks_of_nobody", "Late ticks that nobody lost: the CPU was idle, or it is not known who ran";
    FilesNotForgotten = 110, "kernel_files_not_forgotten", "New files that found no room in their ring and could not be taken back: they get no unwind table";
    LossesNotSplit = 111, "kernel_losses_not_split", "Losses that are missing in the split by process, because its table had no room";
    StackCopies = 112, "kernel_stack_copies", "Stacks that were copied because the walk met a file without a table";
    StackCopiesRefused = 113, "kernel_stack_copies_refused", "Stacks that were not copied because too many were, or the ring is too full";
    FilesOverQuota = 114, "kernel_files_over_quota", "Meetings of new files whose process had brought too many lately; each is announced when it is met later";
    ThreadExitsLost = 115, "kernel_thread_exits_lost", "Exits of threads that found no room in their ring: what created them is remembered until their process ends";
    NewThreads = 116, "kernel_new_threads", "Threads that were made, with the stack of their maker put into the ring";
    NewThreadsLost = 117, "kernel_new_threads_lost", "Threads whose making was not recorded: the ring was full, or the program was at work on that CPU";
    Waits = 118, "kernel_waits_sampled", "Waits of watched threads that were put into the ring with the stack in which they began";
    Wakes = 121, "kernel_wakes_sampled", "Wakes that ended a wait on synchronisation and were put into the ring with the stack of the waker";
    WakesOfNobody = 122, "kernel_wakes_of_nobody", "Ends of waits on synchronisation that no thread of a watched process brought about by releasing something: time-outs, interrupts, signals";
    SwitchesUnseen = 123, "kernel_switches_unseen", "Waits whose threads came back to a CPU by a switch that the kernel did not tell of; when they came is known all the same";
}

const _: () = {
    let mut i = 0;
    while i < Counter::ALL.len() {
        assert!(Counter::ALL[i].index() >= 100 && Counter::ALL[i].index() < COUNTERS as usize);
        i += 1;
    }
};
