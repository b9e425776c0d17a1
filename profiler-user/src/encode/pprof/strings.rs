//! The string table: each text once, index 0 is the empty one.

use std::collections::HashMap;

pub(super) struct Strings {
    table: Vec<String>,
    index: HashMap<String, i64>,
}

impl Strings {
    pub(super) fn new() -> Self {
        Strings { table: vec![String::new()], index: HashMap::from([(String::new(), 0)]) }
    }

    /// Index of a text. NUL bytes, which some readers take for the end, become replacement characters.
    pub(super) fn intern(&mut self, text: &str) -> i64 {
        if let Some(index) = self.index.get(text) {
            return *index;
        }
        if text.contains('\0') {
            return self.intern(&text.replace('\0', "\u{fffd}"));
        }
        // A table of 2^63 texts does not fit into memory.
        let index = i64::try_from(self.table.len()).unwrap_or(0);
        self.table.push(text.to_owned());
        self.index.insert(text.to_owned(), index);
        index
    }

    pub(super) fn into_table(self) -> Vec<String> {
        self.table
    }
}
