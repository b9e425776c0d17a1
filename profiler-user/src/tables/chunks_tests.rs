//! Tests of who lies where.

use super::*;

fn owner(file: u32, process: u32) -> Owner {
    Owner { file: FileNumber(file), process: Pid(process) }
}

#[test]
fn a_chunk_is_written_again_only_after_it_was_drained() {
    let mut chunks = Chunks::new(2);
    let chunk = chunks.take(1).expect("both are free");
    chunks.fill(owner(1, 1), chunk, 10);
    chunks.fill(owner(2, 1), chunk, 10);
    chunks.close(chunk);
    chunks.remove(FileNumber(1));
    assert_eq!((chunks.left(), chunks.free()), (0, 1), "another file lies in it");
    chunks.remove(FileNumber(2));
    assert_eq!((chunks.left(), chunks.free()), (1, 1), "a walk may be in it");
    chunks.drained();
    assert_eq!((chunks.left(), chunks.free()), (0, 2));
}

#[test]
fn a_chunk_that_is_being_filled_is_not_left_though_its_files_are_gone() {
    let mut chunks = Chunks::new(2);
    let chunk = chunks.take(1).expect("both are free");
    chunks.fill(owner(1, 1), chunk, 10);
    chunks.remove(FileNumber(1));
    assert_eq!(chunks.left(), 0);
    chunks.close(chunk);
    assert_eq!(chunks.left(), 1);
}

#[test]
fn chunks_in_a_row_are_found_where_they_are() {
    let mut chunks = Chunks::new(8);
    let taken: Vec<u32> = (0..8).filter_map(|_| chunks.take(1)).collect();
    assert_eq!(taken, [0, 1, 2, 3, 4, 5, 6, 7]);
    for chunk in [0, 2, 3, 5, 6, 7] {
        chunks.close(chunk);
    }
    chunks.drained();
    assert_eq!((chunks.run(1), chunks.run(2), chunks.run(3), chunks.run(4)), (Some(0), Some(2), Some(5), None));
    assert_eq!(chunks.take(3), Some(5));
    assert_eq!(chunks.run(3), None);
}

#[test]
fn nobody_goes_beyond_what_is_wanted() {
    let (mut chunks, uses) = (Chunks::new(8), Uses::default());
    for file in 0..8 {
        let chunk = chunks.take(1).expect("free");
        chunks.fill(owner(file, file), chunk, CHUNK_WORDS);
        chunks.close(chunk);
        uses.touch(FileNumber(file), (100 - u64::from(file)) * 1_000);
    }
    let victims = chunks.victims(2, &uses, 1_000_000);
    assert_eq!(victims, [(FileNumber(7), Eviction::TableBudget), (FileNumber(6), Eviction::TableBudget)]);
    assert_eq!(chunks.victims(2, &uses, 96_000), [], "all are in use, and none is half empty");
}

#[test]
fn the_vdso_stays() {
    let (mut chunks, uses) = (Chunks::new(2), Uses::default());
    for file in [VDSO_FILE, 1] {
        let chunk = chunks.take(1).expect("free");
        chunks.fill(owner(file, 0), chunk, 10);
        chunks.close(chunk);
    }
    assert_eq!(chunks.victims(2, &uses, 1_000_000), [(FileNumber(1), Eviction::TableBudget)]);
}
