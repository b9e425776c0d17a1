//! Tests of the records: who is evicted, what a file keeps under a new number, and the budget.
#![allow(clippy::expect_used, reason = "a test that cannot go on has failed")]

use super::*;
use crate::event::FileOffset;

/// File `number` of an inode, brought by a process.
fn seen(number: u32, ino: u64, pid: u32) -> FileSeen {
    let key = FileKey { ino, dev: 1, generation: 0, ctime: 0, inode: 0 };
    let (number, pid, path) = (FileNumber(number), Pid(pid), b"lib/file".to_vec());
    FileSeen { number, key, pid, start: 0, end: 1, offset: FileOffset(0), path_dev: 1, path, sampled: true }
}

/// So many files of a process, from a number on, all met in the millisecond.
fn add(files: &mut Files, uses: &Uses, from: u32, count: u32, pid: u32, time: u64) {
    for number in from..from + count {
        files.add(seen(number, number.into(), pid));
        uses.touch(FileNumber(number), time);
    }
}

#[test]
fn what_is_known_of_a_file_holds_under_its_next_number() {
    let mut files = Files::default();
    files.add(seen(1, 77, 5));
    let domain = TrustDomain { owner: 3, mount_namespace: 4 };
    files.change(FileNumber(1), |record| (record.domain, record.size) = (Some(domain), 99));
    assert_eq!(files.count_failure(&seen(1, 77, 5).key), 1);
    assert!(files.evict(FileNumber(1)).is_some() && files.evict(FileNumber(1)).is_none());
    assert_eq!(files.current(FileNumber(1)).map(|record| record.state), Some(State::Evicted));
    files.add(seen(8, 77, 6));
    let record = files.get(FileNumber(8)).expect("added");
    assert_eq!((record.identity, record.domain, record.size), (FileNumber(1), Some(domain), 99));
    assert_eq!(files.current(FileNumber(1)).map(|record| record.seen.number), Some(FileNumber(8)));
    assert_eq!(files.count_failure(&seen(8, 77, 6).key), 2);
    assert_eq!(files.held(), 1);
}

#[test]
fn the_files_that_a_process_has_beyond_its_part_go_first() {
    let (mut files, uses) = (Files::default(), Uses::default());
    add(&mut files, &uses, 1, 3_000, 1, 10);
    add(&mut files, &uses, 10_000, u32::try_from(CROWDED).expect("small") - 3_000, 2, 20);
    assert!(!files.is_crowded());
    add(&mut files, &uses, 5_000, 1, 3, 5);
    assert!(files.is_crowded());
    let excess = files.excess(&uses);
    assert_eq!(excess.len(), CROWDED + 1 - UNCROWDED);
    assert!(excess.iter().all(|(file, why)| file.0 >= 10_000 && *why == Eviction::Share), "{excess:?}");
    assert!(excess.iter().all(|(file, _)| files.evict(*file).is_some()));
    assert_eq!((files.held(), files.is_crowded()), (UNCROWDED, false));
}

#[test]
fn where_none_has_more_than_its_part_the_longest_unused_go() {
    let (mut files, uses) = (Files::default(), Uses::default());
    for process in 0..16 {
        add(&mut files, &uses, 1 + process * 1_000, 1_000, process, u64::from(100 - process));
    }
    let excess = files.excess(&uses);
    assert!(excess.iter().all(|(_, why)| *why == Eviction::FileTable));
    // 16,000 files, of which 13,312 stay: the last two processes' and a part of the third last's.
    let process = |file: FileNumber| (file.0 - 1) / 1_000;
    assert_eq!(excess.len(), 16_000 - UNCROWDED);
    assert_eq!(excess.iter().filter(|(file, _)| process(*file) >= 14).count(), 2_000);
    assert!(excess.iter().all(|(file, _)| process(*file) >= 13));
}

#[test]
fn records_have_a_budget_and_evicted_ones_go_first() {
    let (mut files, uses) = (Files::default(), Uses::default());
    let path = vec![b'p'; 3_000];
    let mut number = 0;
    while !files.is_crowded() {
        number += 1;
        files.add(FileSeen { path: path.clone(), ..seen(number, number.into(), number) });
        uses.touch(FileNumber(number), number.into());
    }
    assert!(files.bytes() < RECORD_BYTES + 10_000);
    for (file, why) in files.excess(&uses) {
        assert_eq!(why, Eviction::FileTable);
        files.evict(file);
    }
    let forgotten = files.forget(&uses);
    assert!(!files.is_crowded() && files.bytes() <= RECORD_BYTES / 16 * 15, "{} bytes", files.bytes());
    assert_eq!(forgotten.first(), Some(&FileNumber(1)));
    assert_eq!(files.held(), files.len());
    assert_eq!(files.forgotten(), forgotten.len() as u64);
}

#[test]
fn what_found_no_room_is_tried_again_later() {
    let mut files = Files::default();
    for (number, reason) in [(1, Reason::TableBudget), (2, Reason::WorkerFailed), (3, Reason::QueueFull)] {
        files.add(seen(number, number.into(), 1));
        files.fail(FileNumber(number), reason, 100);
    }
    assert_eq!(files.again(100 + AGAIN - 1), []);
    assert_eq!(files.again(100 + AGAIN), [FileNumber(1), FileNumber(3)]);
    assert_eq!(files.again(100 + AGAIN), []);
}

#[test]
fn the_vdso_is_never_among_those_that_go() {
    let (mut files, uses) = (Files::default(), Uses::default());
    files.add(seen(VDSO_FILE, 0, 0));
    add(&mut files, &uses, 1, u32::try_from(CROWDED).expect("small"), 1, 10);
    assert!(files.excess(&uses).iter().all(|(file, _)| file.0 != VDSO_FILE));
}
