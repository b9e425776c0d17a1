//! The profile as a table, before any format: what `encode/` writes. Terms and meanings are pprof's `profile.proto`.

/// Kind and unit of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueType {
    /// e.g. `cpu`.
    pub kind: &'static str,
    /// e.g. `nanoseconds`.
    pub unit: &'static str,
}

/// A range of addresses that a file (or pseudo file) fills.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub limit: u64,
    /// Offset in the file of the first address.
    pub offset: u64,
    /// Path, or a name in brackets.
    pub file: String,
    /// GNU build ID in hex, or empty.
    pub build_id: String,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Function {
    /// Demangled name.
    pub name: String,
    /// Name as in the symbol table (mangled); equal to `name` only if that was not mangled.
    pub system_name: String,
    /// Source file or empty.
    pub file: String,
    /// First line of the function, or 0.
    pub start_line: i64,
}

/// A line of a function; indexes [`Profile::functions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// Index of the function.
    pub function: usize,
    /// Line number or 0.
    pub line: i64,
    /// Column or 0.
    pub column: i64,
}

/// An address with its lines: the innermost inlined call first, the real function last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// Index of the mapping; every location has one.
    pub mapping: usize,
    /// Address inside the mapping's range.
    pub address: u64,
    /// At least one line.
    pub lines: Vec<Line>,
}

/// A label of a sample.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    /// Text.
    Text(&'static str, String),
    /// Number (no unit).
    Number(&'static str, i64),
}

/// A stack with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileSample {
    /// Indexes of [`Profile::locations`], leaf first.
    pub locations: Vec<usize>,
    /// One value per sample type.
    pub values: Vec<i64>,
    /// Sorted labels.
    pub labels: Vec<Label>,
}

/// A profile. Invariants (the builder in `symbolize/` keeps them, `encode/` may rely on them): indexes are in range; no
/// two samples have equal locations and labels; no two locations are equal; `mappings[0]` is the main binary if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Columns.
    pub sample_types: Vec<ValueType>,
    /// What one period measures.
    pub period_type: ValueType,
    /// The period: ns (or units) per sample.
    pub period: i64,
    /// Start of the window, ns since the epoch.
    pub time_nanos: i64,
    /// Length of the window that is covered, ns.
    pub duration_nanos: i64,
    /// Address ranges.
    pub mappings: Vec<Mapping>,
    /// Functions.
    pub functions: Vec<Function>,
    /// Locations.
    pub locations: Vec<Location>,
    /// Samples.
    pub samples: Vec<ProfileSample>,
    /// Sentences shown at the top of each report.
    pub comments: Vec<String>,
}
