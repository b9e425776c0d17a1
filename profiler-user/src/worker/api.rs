//! Plain data that the worker's verbs return, checked as hostile before it is handed out.

use crate::event::FileOffset;
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::rule::{FIXED, Rule};

/// An executable segment of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Offset in the file, bytes.
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Its address as linked (ELF virtual address).
    pub address: u64,
}

/// Facts of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// GNU build ID in hex, or empty. The file's own claim.
    pub build_id: String,
    /// Executable PT_LOAD segments, by offset.
    pub segments: Vec<Segment>,
    /// Holds Go code.
    pub go: bool,
    /// Has functions and lines of its own.
    pub has_debug_info: bool,
    /// Where they are, if they are elsewhere.
    pub debug_link: Option<DebugLink>,
}

/// What `.gnu_debuglink` says of a debug file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugLink {
    /// Its name, without a folder.
    pub name: String,
    /// CRC-32 of its bytes.
    pub crc: u32,
}

/// Whether a file is the debug file of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fit {
    /// It is.
    Fits = 1,
    /// It belongs to another build, or does not say to which.
    BuildIdDiffers = 2,
    /// Its checksum is another one.
    CrcDiffers = 3,
    /// Neither debug information nor a symbol table is in it.
    Empty = 4,
}

impl Fit {
    /// The one with this code.
    pub fn from_code(code: u32) -> Option<Fit> {
        [Fit::Fits, Fit::BuildIdDiffers, Fit::CrcDiffers, Fit::Empty].into_iter().find(|fit| *fit as u32 == code)
    }
}

/// A file that holds a part of the debug information of another one, as that one names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What dwz moved into a file for several others (`.gnu_debugaltlink`).
    Shared(SharedLink),
    /// All split units together (`.dwp`).
    Package,
    /// A split unit (`.dwo`).
    Unit {
        /// The number that the unit and its skeleton carry.
        id: u64,
        /// The folder in which the compiler ran, or empty.
        folder: String,
        /// Path, most often below that folder.
        name: String,
    },
}

impl Part {
    /// Which one it is.
    pub fn key(&self) -> PartKey {
        match self {
            Part::Shared(_) => PartKey::Shared,
            Part::Package => PartKey::Package,
            Part::Unit { id, .. } => PartKey::Unit(*id),
        }
    }
}

/// Tells the parts of a file from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartKey {
    /// As [`Part::Shared`].
    Shared,
    /// As [`Part::Package`].
    Package,
    /// As [`Part::Unit`], by its number.
    Unit(u64),
}

/// What `.gnu_debugaltlink` says of the file that dwz made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedLink {
    /// Its path, perhaps from the folder of the file that says so.
    pub name: String,
    /// Its build ID in hex.
    pub build_id: String,
    /// The debug file says so, not the file itself.
    pub of_debug_file: bool,
}

/// What came of a file that may be a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PartFit {
    /// It is.
    Used = 1,
    /// Another one was used before.
    Unneeded = 2,
    /// It belongs to another build.
    OtherBuild = 3,
    /// It cannot be read, or there is no room for it.
    Damaged = 4,
}

impl PartFit {
    /// The one with this code.
    pub fn from_code(code: u32) -> Option<PartFit> {
        let all = [PartFit::Used, PartFit::Unneeded, PartFit::OtherBuild, PartFit::Damaged];
        all.into_iter().find(|fit| *fit as u32 == code)
    }
}

/// Unwind rows of a file, addressed by FILE OFFSET.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnwindTable {
    /// Dictionary rules; code `0x8000 | i` in `rows` means `rules[i]`. The first are `rule::FIXED`.
    pub rules: Vec<Rule>,
    /// Number (file offset >> PAGE_BITS) of the first page.
    pub first_page: u64,
    /// Per page: index of its first row, number of rows (at least 1). Rows of a page are consecutive.
    pub pages: Vec<(u32, u16)>,
    /// (offset inside the page, code), ascending in a page; the first of a page has offset 0.
    pub rows: Vec<(u16, u16)>,
    /// False if the file has no unwind information at all: then frame pointers are followed and there are no rows but
    /// those for known roots.
    pub has_unwind_info: bool,
    /// Frame-pointer steps may change stacks (Go).
    pub any_stack: bool,
    /// The file is no program file: what is mapped from it is code that a process made (a JIT compiler's, in a memory file or
    /// shared memory). There are no rows.
    pub made_code: bool,
    /// Rules that are not evaluated, by kind, with how many rows have them.
    pub unsupported: Vec<(String, u64)>,
}

impl UnwindTable {
    /// Of a file that is no program file.
    pub fn of_made_code() -> UnwindTable {
        UnwindTable { rules: FIXED.to_vec(), made_code: true, ..UnwindTable::default() }
    }
}

/// What a file is and has, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSurvey {
    /// What kind of file it is, in words.
    pub form: String,
    /// Names of the tables and sections from which functions and lines are named.
    pub names_from: Vec<String>,
    /// Functions that the symbol tables name.
    pub symbols: u64,
    /// Functions that `.eh_frame` describes.
    pub eh_frame: u64,
    /// Functions that only `.debug_frame` describes.
    pub debug_frame: u64,
    /// Functions that only Go's own table describes.
    pub go_functions: u64,
    /// Functions that reach into the next one.
    pub overlapping: u64,
    /// Bytes of code, 0 if the file does not say where its code is.
    pub code: u64,
    /// Bytes of code in all holes.
    pub uncovered: u64,
    /// Pieces of code that nothing describes.
    pub holes: u64,
    /// The largest of them.
    pub largest: Vec<Hole>,
    /// What is not evaluated, by kind.
    pub refused: Vec<RefusedRules>,
}

/// Code that no unwind information covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hole {
    /// Address as linked.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// The first function in it, or empty.
    pub name: String,
}

/// Rules of one kind that are not evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedRules {
    /// Of what kind they are.
    pub kind: String,
    /// Rows that have one.
    pub rows: u64,
    /// Some functions with such rows.
    pub functions: Vec<String>,
}

/// One function at an address: inlined calls come innermost first, the real function last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolFrame {
    /// Demangled name.
    pub name: String,
    /// Name as in the file.
    pub system_name: String,
    /// Source file or empty.
    pub file: String,
    /// Line or 0.
    pub line: u32,
    /// Column or 0.
    pub column: u32,
    /// First line of the function or 0.
    pub start_line: u32,
}

/// Names of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Symbolized {
    /// At least one frame.
    Frames(Vec<SymbolFrame>),
    /// No name, but the function's first byte in the file is known, which is not behind what was asked for.
    Nameless {
        /// Where the function begins.
        start: FileOffset,
    },
    /// No name, and why.
    Missing(Reason),
}
