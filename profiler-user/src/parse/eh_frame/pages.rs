//! Rows in ascending order of their file offset -> pages.

use super::ParseError;
use crate::worker::api::Segment;
use profiler_ebpf::unwind::rule::PAGE_BITS;

/// Pages of one file: 8 GiB of code.
pub(super) const MAX_PAGES: u64 = 4 << 20;
/// Rows of one file.
pub(super) const MAX_ROWS: usize = 16 << 20;

/// Pages: index of the first row, number of rows.
pub(super) type PageList = Vec<(u32, u16)>;
/// Rows: offset in the page, code.
pub(super) type RowList = Vec<(u16, u16)>;

/// Pages under construction. Each page begins with the rule in force, so a lookup never looks at the page before.
pub(super) struct Pages {
    first_page: u64,
    end_page: u64,
    list: PageList,
    rows: RowList,
    in_force: u16,
}

impl Pages {
    /// Pages for all of the segments, where `filler` holds until a row says otherwise.
    pub(super) fn new(segments: &[Segment], filler: u16) -> Result<Self, ParseError> {
        let first = segments.iter().map(|s| s.offset).min().unwrap_or(0);
        let end = segments.iter().map(|s| s.offset.saturating_add(s.size)).max().unwrap_or(0);
        let (first_page, end_page) = (first >> PAGE_BITS, end.div_ceil(1 << PAGE_BITS));
        let size = end_page.saturating_sub(first_page);
        if size > MAX_PAGES {
            return Err(ParseError::TooLarge { what: "the code in pages", size, cap: MAX_PAGES });
        }
        Ok(Pages { first_page, end_page, list: Vec::new(), rows: Vec::new(), in_force: filler })
    }

    /// From `offset` on, `code` holds. What lies before an earlier row is ignored: segments may overlap.
    pub(super) fn push(&mut self, offset: u64, code: u16) -> Result<(), ParseError> {
        let page = offset >> PAGE_BITS;
        if code == self.in_force || page >= self.end_page || page < self.first_page {
            return Ok(());
        }
        if self.rows.len() >= MAX_ROWS {
            let (size, cap) = (self.rows.len() as u64, MAX_ROWS as u64);
            return Err(ParseError::TooLarge { what: "the number of rows", size, cap });
        }
        self.open_to(page);
        let within = u16::try_from(offset & ((1 << PAGE_BITS) - 1)).unwrap_or(0);
        let is_last = page - self.first_page + 1 == self.list.len() as u64;
        match (self.rows.last_mut(), self.list.last_mut()) {
            (Some(row), Some(_)) if is_last && row.0 == within => row.1 = code,
            (Some(row), Some(count)) if is_last && row.0 < within => {
                count.1 += 1;
                self.rows.push((within, code));
            }
            _ => return Ok(()),
        }
        self.in_force = code;
        Ok(())
    }

    /// (first page, pages, rows).
    pub(super) fn finish(mut self) -> (u64, PageList, RowList) {
        if let Some(last) = self.end_page.checked_sub(1).filter(|last| *last >= self.first_page) {
            self.open_to(last);
        }
        (self.first_page, self.list, self.rows)
    }

    fn open_to(&mut self, page: u64) {
        while self.list.len() as u64 <= page - self.first_page {
            // At most MAX_ROWS + MAX_PAGES rows exist, far below 2^32.
            let first = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
            self.list.push((first, 1));
            self.rows.push((0, self.in_force));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the pages say of an offset.
    fn code_at(table: &(u64, PageList, RowList), offset: u64) -> u16 {
        let page = table.1[((offset >> PAGE_BITS) - table.0) as usize];
        let rows = &table.2[page.0 as usize..][..usize::from(page.1)];
        assert_eq!(rows[0].0, 0);
        assert!(rows.windows(2).all(|w| w[0].0 < w[1].0));
        rows[rows.partition_point(|r| u64::from(r.0) <= offset & 2047) - 1].1
    }

    proptest! {
        #[test]
        fn pages_answer_what_was_pushed(
            steps in proptest::collection::vec((0u64..900, 0u16..6), 0..200),
            start in 0u64..5000,
        ) {
            let segment = Segment { offset: start, size: 40_000, address: 0 };
            let mut pages = Pages::new(&[segment], 9).unwrap();
            let mut expected = vec![9u16; 40_000];
            let mut at = 0;
            for (step, code) in steps {
                at += step;
                pages.push(start + at, code).unwrap();
                if let Some(rest) = expected.get_mut(at as usize..) { rest.fill(code); }
            }
            let table = pages.finish();
            for (i, code) in expected.iter().enumerate() {
                prop_assert_eq!(code_at(&table, start + i as u64), *code);
            }
        }

        #[test]
        fn any_order_keeps_the_form(pushes in proptest::collection::vec((0u64..100_000, any::<u16>()), 0..100)) {
            let segment = Segment { offset: 10_000, size: 50_000, address: 0 };
            let mut pages = Pages::new(&[segment], 9).unwrap();
            for (offset, code) in pushes { pages.push(offset, code).unwrap(); }
            let table = pages.finish();
            for offset in (10_000..60_000).step_by(97) { code_at(&table, offset); }
        }
    }
}
