//! An unwind table in a memory file: the worker writes it, the agent seals and checks it. The layout is said at
//! [`super::protocol::Rows`].

use super::api::UnwindTable;
use super::protocol::{Rows, Unsupported};
use crate::parse::source::ReadAt;
use profiler_ebpf::unwind::rule::{
    DICTIONARY, FIXED, KIND_INDEXED, PAGE_BITS, RA_AT_BASE, RA_IN_REGISTER, RBP_IN_REGISTER, REGISTER_BP, Rule,
};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use zerocopy::{FromBytes, IntoBytes};

/// Rules of one file: codes have 15 bits for them.
const MAX_RULES: u64 = DICTIONARY as u64;
/// Pages of one file: 8 GiB of code.
const MAX_PAGES: u64 = 4 << 20;
/// Rows of one file, with one for each page.
const MAX_ROWS: u64 = 20 << 20;
/// Bytes of a table: what a worker may write.
pub(super) const MAX_TABLE: u64 = MAX_RULES * 16 + MAX_PAGES * 2 + MAX_ROWS * 4;
/// Kinds of rules that are not evaluated.
pub(super) const MAX_KINDS: usize = 32;
/// Largest number of a page: offsets have 40 bits.
const LAST_PAGE: u64 = 1 << (40 - PAGE_BITS);

/// A memory file for a worker to write a table to.
pub(super) fn memory_file() -> io::Result<OwnedFd> {
    Ok(memfd_create("unwind-table", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| memfd_create("unwind-table", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING))?)
}

/// Writes a table and tells what was written.
pub(super) fn write(table: &UnwindTable, memory: OwnedFd) -> io::Result<Rows> {
    let mut out = BufWriter::with_capacity(256 << 10, File::from(memory));
    for rule in &table.rules {
        out.write_all(rule.as_bytes())?;
    }
    for page in &table.pages {
        out.write_all(&page.1.to_le_bytes())?;
    }
    if table.pages.len() % 2 == 1 {
        out.write_all(&[0, 0])?;
    }
    for (offset, code) in &table.rows {
        out.write_all(&(u32::from(*offset) | u32::from(*code) << 16).to_le_bytes())?;
    }
    out.flush()?;
    let unsupported = table.unsupported.iter().map(|(kind, rows)| Unsupported { kind: kind.clone(), rows: *rows });
    Ok(Rows {
        first_page: table.first_page,
        rules: table.rules.len() as u64,
        pages: table.pages.len() as u64,
        count: table.rows.len() as u64,
        has_unwind_info: table.has_unwind_info,
        any_stack: table.any_stack,
        unsupported: unsupported.collect(),
        made_code: table.made_code,
    })
}

/// Seals the memory file, so that it can no longer change, and reads it. The error says what is wrong with it.
pub(super) fn read(reply: Rows, memory: OwnedFd) -> Result<UnwindTable, &'static str> {
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&memory, seals).or(Err("the table cannot be sealed"))?;
    parse(reply, &File::from(memory))
}

fn parse(reply: Rows, memory: &File) -> Result<UnwindTable, &'static str> {
    if reply.rules > MAX_RULES || reply.pages > MAX_PAGES || reply.count > MAX_ROWS {
        return Err("a table is too large");
    }
    if reply.made_code && reply.count > 0 {
        return Err("a file that is no program file has rows");
    }
    if reply.first_page > LAST_PAGE || reply.unsupported.len() > MAX_KINDS {
        return Err("a table's head makes no sense");
    }
    let counts_at = reply.rules * 16;
    let rows_at = counts_at + (reply.pages + reply.pages % 2) * 2;
    if memory.size() != rows_at + reply.count * 4 {
        return Err("a table is not as long as it says");
    }
    let read = |offset, length| {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        ReadAt::read_exact_at(memory, &mut bytes, offset).map(|()| bytes).or(Err("a table cannot be read"))
    };
    let rules = rules(&read(0, counts_at)?)?;
    let rows = rows(&read(rows_at, reply.count * 4)?);
    let pages = pages(&read(counts_at, reply.pages * 2)?, &rows, rules.len())?;
    Ok(UnwindTable {
        rules,
        first_page: reply.first_page,
        pages,
        rows,
        has_unwind_info: reply.has_unwind_info,
        any_stack: reply.any_stack,
        made_code: reply.made_code,
        unsupported: reply.unsupported.into_iter().map(|u| (super::check::text(&u.kind, 64), u.rows)).collect(),
    })
}

fn rules(bytes: &[u8]) -> Result<Vec<Rule>, &'static str> {
    let rules: Vec<Rule> = bytes.chunks_exact(16).filter_map(|b| Rule::read_from_bytes(b).ok()).collect();
    if !rules.starts_with(&FIXED) {
        return Err("a table's first rules are not the fixed ones");
    }
    if rules.iter().all(is_possible) { Ok(rules) } else { Err("a table holds an impossible rule") }
}

fn is_possible(rule: &Rule) -> bool {
    rule.kind <= KIND_INDEXED
        && (rule.cfa_register <= REGISTER_BP || (16..32).contains(&rule.cfa_register))
        && rule.rbp_kind <= RBP_IN_REGISTER
        && rule.ra_kind <= RA_AT_BASE
        && (rule.ra_register < 16 || rule.ra_kind != RA_IN_REGISTER)
}

fn rows(bytes: &[u8]) -> Vec<(u16, u16)> {
    let row = |b: &[u8; 4]| (u16::from_le_bytes([b[0], b[1]]), u16::from_le_bytes([b[2], b[3]]));
    bytes.as_chunks::<4>().0.iter().map(row).collect()
}

/// Row counts -> pages, if each page's rows ascend from 0 and name rules that exist.
fn pages(bytes: &[u8], rows: &[(u16, u16)], rules: usize) -> Result<Vec<(u32, u16)>, &'static str> {
    let mut pages = Vec::with_capacity(bytes.len() / 2);
    let mut rest = rows;
    for count in bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)) {
        let (page, behind) =
            rest.split_at_checked(usize::from(count)).ok_or("a page's rows lie outside of the table")?;
        let ascending = page.windows(2).all(|w| matches!(w, [a, b] if a.0 < b.0));
        let first = page.first().is_some_and(|r| r.0 == 0);
        let inside = page.last().is_some_and(|r| u32::from(r.0) < 1 << PAGE_BITS);
        let known = |code: u16| code & DICTIONARY == 0 || usize::from(code & !DICTIONARY) < rules;
        if !(ascending && first && inside && page.iter().all(|r| known(r.1))) {
            return Err("a page's rows make no sense");
        }
        let at = u32::try_from(rows.len() - rest.len()).or(Err("a table is too large"))?;
        pages.push((at, count));
        rest = behind;
    }
    if rest.is_empty() { Ok(pages) } else { Err("a table has rows outside of its pages") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::FileExt;

    fn table() -> UnwindTable {
        UnwindTable {
            made_code: false,
            rules: FIXED.to_vec(),
            first_page: 2,
            pages: vec![(0, 1), (1, 3), (4, 2)],
            rows: vec![(0, 0x8001), (0, 1), (7, 2), (2047, 0x8000), (0, 0x8005), (1, 3)],
            has_unwind_info: true,
            any_stack: false,
            unsupported: vec![("CFA expression".into(), 3)],
        }
    }

    fn written() -> (Rows, OwnedFd) {
        let memory = memory_file().unwrap();
        let rows = write(&table(), memory.try_clone().unwrap()).unwrap();
        (rows, memory)
    }

    #[test]
    fn what_is_read_is_what_was_written_and_cannot_change() {
        let (rows, memory) = written();
        let kept = File::from(memory.try_clone().unwrap());
        assert_eq!(read(rows, memory), Ok(table()));
        assert!(kept.write_all_at(&[1], 100).is_err());
        assert!(kept.set_len(0).is_err());
    }

    #[test]
    fn impossible_heads_are_refused() {
        type Lie = fn(&mut Rows);
        let lies: [Lie; 7] = [
            |r| r.count = u64::MAX,
            |r| r.count -= 1,
            |r| r.pages = u64::MAX,
            |r| r.pages -= 1,
            |r| r.rules = u64::MAX,
            |r| r.rules -= 1,
            |r| r.first_page = u64::MAX,
        ];
        for lie in lies {
            let (mut rows, memory) = written();
            lie(&mut rows);
            assert!(read(rows, memory).is_err());
        }
    }

    proptest! {
        #[test]
        fn whatever_bytes_say_a_table_that_is_taken_is_sound(damage in proptest::collection::vec((0u64..130, any::<u8>()), 1..5)) {
            let (rows, memory) = written();
            let memory = File::from(memory);
            for (at, byte) in damage { memory.write_all_at(&[byte], at).unwrap(); }
            memory.set_len(128).unwrap();
            if let Ok(table) = read(rows, memory.into()) {
                prop_assert!(table.rules.starts_with(&FIXED));
                for (first, count) in &table.pages {
                    let page = &table.rows[*first as usize..][..usize::from(*count)];
                    prop_assert_eq!(page[0].0, 0);
                    prop_assert!(page.windows(2).all(|w| w[0].0 < w[1].0));
                    prop_assert!(page.iter().all(|r| r.0 < 2048 && (r.1 < DICTIONARY || usize::from(r.1 & !DICTIONARY) < table.rules.len())));
                }
            }
        }
    }
}
