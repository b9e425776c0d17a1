//! Columns that are aligned by tabs as Go's `text/tabwriter` aligns them with tabs of eight and a padding of one.

const TAB: usize = 8;

/// Rows of cells as lines. A column is a run of rows that have a cell behind it; its widest cell gives its width.
pub(super) fn align(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<Vec<usize>> = rows.iter().map(|row| row.iter().map(|cell| width(cell) + 1).collect()).collect();
    for column in 0..rows.iter().map(Vec::len).max().unwrap_or(0) {
        for run in widths.chunk_by_mut(|row, next| (row.len() > column + 1) == (next.len() > column + 1)) {
            widen(run, column);
        }
    }
    rows.iter().zip(widths).map(|(row, widths)| line(row, &widths)).collect()
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

fn widen(run: &mut [Vec<usize>], column: usize) {
    let widest = run.iter().filter_map(|row| row.get(column)).max().copied().unwrap_or(0).next_multiple_of(TAB);
    run.iter_mut().filter_map(|row| row.get_mut(column)).for_each(|width| *width = widest);
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (index, (cell, &wide)) in row.iter().zip(widths).enumerate() {
        line.push_str(cell);
        // The last cell of a line is in no column.
        if index + 1 < row.len() {
            line.extend(std::iter::repeat_n('\t', wide.saturating_sub(width(cell)).div_ceil(TAB)));
        }
    }
    line.push('\n');
    line
}
