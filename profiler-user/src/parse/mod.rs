//! Bytes of a target's file -> facts. Pure: no file is opened here, nothing is believed, nothing panics. Runs only inside
//! the symbol worker.
//!
//! | module | gives |
//! | --- | --- |
//! | [`source`] | positioned, capped reads |
//! | [`unpack`] | compressed sections |
//! | [`elf`] | headers, sections, build ID, symbol table |
//! | [`mini`] | the ELF file inside a stripped one |
//! | `headerless` | what stands for the sections of a file that has none |
//! | [`debug_file`] | whether another file describes a file |
//! | [`eh_frame`] | unwind rows by file offset |
//! | `pclntab` | Go's functions, how deep their stacks are, their lines |
//! | `go` | where Go keeps the rest, names of Go code |
//! | [`dwarf`] | functions, lines, inlined calls |
//! | [`demangle`] | names for people |
//! | `given` | what only the agent can open |
//! | [`names`] | all of the above, for one address |
//! | `survey` | what a file is and has, for people |
//! | [`perf_map`] | names of code that a runtime made, from its own map |
//! | [`jit_dump`] | the same, with lines, from its jitdump |

pub mod debug_file;
pub mod demangle;
pub mod dwarf;
pub mod eh_frame;
pub mod elf;
mod given;
mod go;
mod headerless;
pub mod jit_dump;
pub mod mini;
pub mod names;
mod pclntab;
pub mod perf_map;
pub mod source;
mod survey;
pub mod symbols;
pub mod unpack;

/// Why a file could not be parsed. All of it is the file's fault or the file's size.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// The file ends before what its headers promise, or shrank.
    #[error("cannot read {length} bytes at offset {offset}: the file ends before")]
    Short {
        /// Where.
        offset: u64,
        /// How much was wanted.
        length: u64,
    },
    /// The read failed.
    #[error("cannot read the file at offset {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Something is larger than is ever read.
    #[error("{what} is {size} bytes, more than the {cap} that are read")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size, bytes.
        size: u64,
        /// The cap, bytes.
        cap: u64,
    },
    /// Nothing of an ELF file.
    #[error("not an ELF file")]
    NoProgram,
    /// No ELF file of this machine's word size and byte order.
    #[error("not a 64-bit little-endian ELF file")]
    NotElf,
    /// The file contradicts itself.
    #[error("damaged file: {0}")]
    Damaged(&'static str),
    /// The DWARF sections could not be used.
    #[error("damaged debug information")]
    Dwarf(#[from] gimli::Error),
}
