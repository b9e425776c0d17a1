//! The messages of pprof's `profile.proto`, by hand: the schema has been stable for years, and so no compiler of schemas
//! is needed to build. Field numbers are the format's; names are `profile.proto`'s.

/// A profile.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Profile {
    /// Columns.
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    /// Samples.
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    /// Address ranges; the first is the main binary's.
    #[prost(message, repeated, tag = "3")]
    pub mapping: Vec<Mapping>,
    /// Locations.
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    /// Functions.
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    /// All texts; the first is empty.
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    /// Index of a regular expression of frames to drop.
    #[prost(int64, tag = "7")]
    pub drop_frames: i64,
    /// Index of a regular expression of frames to keep.
    #[prost(int64, tag = "8")]
    pub keep_frames: i64,
    /// Start of the window, ns since the epoch.
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    /// Its length, ns.
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    /// What a period measures.
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    /// The period.
    #[prost(int64, tag = "12")]
    pub period: i64,
    /// Indexes of comments.
    #[prost(int64, repeated, tag = "13")]
    pub comment: Vec<i64>,
    /// Index of the kind of the column that is shown unless asked otherwise; 0: the last.
    #[prost(int64, tag = "14")]
    pub default_sample_type: i64,
    /// Index of a URL.
    #[prost(int64, tag = "15")]
    pub doc_url: i64,
}

/// Kind and unit of a column.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ValueType {
    /// Index of the kind.
    #[prost(int64, tag = "1")]
    pub r#type: i64,
    /// Index of the unit.
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

/// A stack with its values.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Sample {
    /// Ids of locations, leaf first.
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    /// One value per column.
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
    /// Labels.
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

/// A label of a sample: a text or a number.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Label {
    /// Index of the key.
    #[prost(int64, tag = "1")]
    pub key: i64,
    /// Index of the text, or 0.
    #[prost(int64, tag = "2")]
    pub str: i64,
    /// The number, if there is no text.
    #[prost(int64, tag = "3")]
    pub num: i64,
    /// Index of the number's unit, or 0.
    #[prost(int64, tag = "4")]
    pub num_unit: i64,
}

/// An address range.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Mapping {
    /// 1 for the first, and so on.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// First address.
    #[prost(uint64, tag = "2")]
    pub memory_start: u64,
    /// First address behind it.
    #[prost(uint64, tag = "3")]
    pub memory_limit: u64,
    /// Offset in the file of the first address.
    #[prost(uint64, tag = "4")]
    pub file_offset: u64,
    /// Index of the file's name.
    #[prost(int64, tag = "5")]
    pub filename: i64,
    /// Index of the build ID.
    #[prost(int64, tag = "6")]
    pub build_id: i64,
    /// Its locations have functions.
    #[prost(bool, tag = "7")]
    pub has_functions: bool,
    /// They have source files.
    #[prost(bool, tag = "8")]
    pub has_filenames: bool,
    /// They have lines.
    #[prost(bool, tag = "9")]
    pub has_line_numbers: bool,
    /// They have inlined frames.
    #[prost(bool, tag = "10")]
    pub has_inline_frames: bool,
}

/// An address with its lines.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Location {
    /// 1 for the first, and so on.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its mapping.
    #[prost(uint64, tag = "2")]
    pub mapping_id: u64,
    /// The address.
    #[prost(uint64, tag = "3")]
    pub address: u64,
    /// Innermost inlined call first.
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
    /// Several addresses were folded into this one.
    #[prost(bool, tag = "5")]
    pub is_folded: bool,
}

/// A line of a function.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Line {
    /// The function.
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
    /// Line, or 0.
    #[prost(int64, tag = "2")]
    pub line: i64,
    /// Column, or 0.
    #[prost(int64, tag = "3")]
    pub column: i64,
}

/// A function.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Function {
    /// 1 for the first, and so on.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Index of its name.
    #[prost(int64, tag = "2")]
    pub name: i64,
    /// Index of its name in the symbol table.
    #[prost(int64, tag = "3")]
    pub system_name: i64,
    /// Index of its source file.
    #[prost(int64, tag = "4")]
    pub filename: i64,
    /// Its first line, or 0.
    #[prost(int64, tag = "5")]
    pub start_line: i64,
}
