//! What agent and worker say to each other: protobuf messages with a length before them. Each side treats the other as
//! hostile: lengths are capped before anything is allocated, descriptors that were not asked for are closed.
//!
//! A request brings one descriptor, the file; a request for rows a second one, the memory file for the rows; a request about a
//! debug file, or for names with one, that file; a request for names then those that may be parts of the debug information.

use prost::Message;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Both sides must speak the same.
pub(super) const VERSION: u32 = 5;
/// Bytes of one message.
pub(super) const MAX_MESSAGE: usize = 8 << 20;
/// Offsets in one request for names.
pub(super) const MAX_OFFSETS: usize = 4_096;
/// Parts of debug information that a worker may ask for at a time.
pub(super) const MAX_WANTED: usize = 16;
/// Files that are given as parts in one message.
pub(super) const MAX_GIVEN: usize = 32;
/// Descriptors in one message.
const MAX_DESCRIPTORS: usize = 2 + MAX_GIVEN;
const HEADER: usize = 4;

/// First message to a new worker.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Hello {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    /// Address space, bytes.
    #[prost(uint64, tag = "2")]
    pub(super) memory: u64,
}

/// First message of a new worker: what confines it, as it found out by trying.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Ready {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    #[prost(uint32, tag = "2")]
    pub(super) landlock: u32,
    #[prost(bool, tag = "3")]
    pub(super) seccomp: bool,
    #[prost(bool, tag = "4")]
    pub(super) no_capabilities: bool,
    #[prost(string, repeated, tag = "5")]
    pub(super) refused: Vec<String>,
    #[prost(string, repeated, tag = "6")]
    pub(super) refused_without_filter: Vec<String>,
}

/// A question about one file.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    #[prost(uint64, tag = "2")]
    pub(super) id: u64,
    /// Under which number the worker keeps the parsed file.
    #[prost(uint32, tag = "3")]
    pub(super) file: u32,
    #[prost(oneof = "Verb", tags = "4, 5, 6, 7, 8, 9, 10")]
    pub(super) verb: Option<Verb>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Verb {
    #[prost(message, tag = "4")]
    Facts(Empty),
    #[prost(message, tag = "5")]
    Rows(Empty),
    #[prost(message, tag = "6")]
    Symbolize(Question),
    #[prost(message, tag = "7")]
    Fit(Checksum),
    /// The file is a perf map, and the offsets are addresses.
    #[prost(message, tag = "8")]
    PerfMap(Offsets),
    /// What the file is and has, with a debug file or without.
    #[prost(message, tag = "9")]
    Survey(Empty),
    /// The file is a jitdump, and the offsets are addresses.
    #[prost(message, tag = "10")]
    JitDump(Offsets),
}

/// What the debug file must have, if it was found by a debug link.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Checksum {
    #[prost(uint32, optional, tag = "1")]
    pub(super) crc: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Offsets {
    #[prost(uint64, repeated, tag = "1")]
    pub(super) offsets: Vec<u64>,
}

/// A question for names in a file.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Question {
    #[prost(uint64, repeated, tag = "1")]
    pub(super) offsets: Vec<u64>,
    /// Parts of the debug information may be asked for.
    #[prost(bool, tag = "2")]
    pub(super) parts: bool,
    /// Those that were asked for last, in order of preference.
    #[prost(message, repeated, tag = "3")]
    pub(super) given: Vec<GivenMessage>,
    /// No more will be given.
    #[prost(bool, tag = "4")]
    pub(super) last: bool,
}

/// A part of the debug information: the next descriptor, or what was not found.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct GivenMessage {
    /// [`SHARED`], [`PACKAGE`] or [`UNIT`].
    #[prost(uint32, tag = "1")]
    pub(super) kind: u32,
    #[prost(uint64, tag = "2")]
    pub(super) id: u64,
    #[prost(bool, tag = "3")]
    pub(super) file: bool,
}

/// Kinds of parts.
pub(super) const SHARED: u32 = 1;
pub(super) const PACKAGE: u32 = 2;
pub(super) const UNIT: u32 = 3;

/// A part of the debug information that names need.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PartMessage {
    /// As in [`GivenMessage`].
    #[prost(uint32, tag = "1")]
    pub(super) kind: u32,
    #[prost(uint64, tag = "2")]
    pub(super) id: u64,
    #[prost(string, tag = "3")]
    pub(super) folder: String,
    #[prost(string, tag = "4")]
    pub(super) name: String,
    #[prost(string, tag = "5")]
    pub(super) build_id: String,
    #[prost(bool, tag = "6")]
    pub(super) of_debug_file: bool,
}

/// What must be given before there are names.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Wanted {
    #[prost(message, repeated, tag = "1")]
    pub(super) parts: Vec<PartMessage>,
    /// As in [`Names`].
    #[prost(uint32, repeated, tag = "2")]
    pub(super) fits: Vec<u32>,
}

/// The answer to the request with the same id.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Reply {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    #[prost(uint64, tag = "2")]
    pub(super) id: u64,
    #[prost(oneof = "Answer", tags = "3, 4, 5, 6, 7, 8, 9")]
    pub(super) answer: Option<Answer>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Answer {
    #[prost(message, tag = "3")]
    Facts(Facts),
    #[prost(message, tag = "4")]
    Rows(Rows),
    #[prost(message, tag = "5")]
    Names(Names),
    /// The file cannot be used, and why.
    #[prost(string, tag = "6")]
    Refused(String),
    /// Code of a [`super::api::Fit`].
    #[prost(uint32, tag = "7")]
    Fit(u32),
    /// To a question for names.
    #[prost(message, tag = "8")]
    Wanted(Wanted),
    #[prost(message, tag = "9")]
    Survey(Survey),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Facts {
    #[prost(string, tag = "1")]
    pub(super) build_id: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) segments: Vec<SegmentMessage>,
    #[prost(bool, tag = "3")]
    pub(super) go: bool,
    #[prost(bool, tag = "4")]
    pub(super) has_debug_info: bool,
    #[prost(message, optional, tag = "5")]
    pub(super) debug_link: Option<LinkMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LinkMessage {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(uint32, tag = "2")]
    pub(super) crc: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct SegmentMessage {
    #[prost(uint64, tag = "1")]
    pub(super) offset: u64,
    #[prost(uint64, tag = "2")]
    pub(super) size: u64,
    #[prost(uint64, tag = "3")]
    pub(super) address: u64,
}

/// What lies in the memory file: rules (16 bytes each), rows per page (u16, padded to 4 bytes), rows (u16 offset, u16 code).
#[derive(Clone, PartialEq, Message)]
pub(super) struct Rows {
    #[prost(uint64, tag = "1")]
    pub(super) first_page: u64,
    #[prost(uint64, tag = "2")]
    pub(super) rules: u64,
    #[prost(uint64, tag = "3")]
    pub(super) pages: u64,
    #[prost(uint64, tag = "4")]
    pub(super) count: u64,
    #[prost(bool, tag = "5")]
    pub(super) has_unwind_info: bool,
    #[prost(bool, tag = "6")]
    pub(super) any_stack: bool,
    #[prost(message, repeated, tag = "7")]
    pub(super) unsupported: Vec<Unsupported>,
    #[prost(bool, tag = "8")]
    pub(super) made_code: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Unsupported {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(uint64, tag = "2")]
    pub(super) rows: u64,
}

/// What [`super::api::FileSurvey`] says.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Survey {
    #[prost(string, tag = "1")]
    pub(super) form: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) names_from: Vec<String>,
    #[prost(uint64, tag = "3")]
    pub(super) symbols: u64,
    #[prost(uint64, tag = "4")]
    pub(super) eh_frame: u64,
    #[prost(uint64, tag = "5")]
    pub(super) debug_frame: u64,
    #[prost(uint64, tag = "6")]
    pub(super) go_functions: u64,
    #[prost(uint64, tag = "7")]
    pub(super) overlapping: u64,
    #[prost(uint64, tag = "8")]
    pub(super) code: u64,
    #[prost(uint64, tag = "9")]
    pub(super) uncovered: u64,
    #[prost(uint64, tag = "10")]
    pub(super) holes: u64,
    #[prost(message, repeated, tag = "11")]
    pub(super) largest: Vec<HoleMessage>,
    #[prost(message, repeated, tag = "12")]
    pub(super) refused: Vec<RefusedMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HoleMessage {
    #[prost(uint64, tag = "1")]
    pub(super) address: u64,
    #[prost(uint64, tag = "2")]
    pub(super) size: u64,
    #[prost(string, tag = "3")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RefusedMessage {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(uint64, tag = "2")]
    pub(super) rows: u64,
    #[prost(string, repeated, tag = "3")]
    pub(super) functions: Vec<String>,
}

/// Names of the first offsets of a request; fewer than were asked for if the message would grow too large.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Names {
    #[prost(message, repeated, tag = "1")]
    pub(super) places: Vec<Place>,
    /// Codes of a [`super::api::PartFit`] for each file that was given, in their order.
    #[prost(uint32, repeated, tag = "2")]
    pub(super) fits: Vec<u32>,
}

/// Frames of one offset; none: `start` is where its function begins, or else `missing` is the code of the reason.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Place {
    #[prost(message, repeated, tag = "1")]
    pub(super) frames: Vec<FrameMessage>,
    #[prost(uint32, tag = "2")]
    pub(super) missing: u32,
    #[prost(uint64, optional, tag = "3")]
    pub(super) start: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FrameMessage {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) system_name: String,
    #[prost(string, tag = "3")]
    pub(super) file: String,
    #[prost(uint32, tag = "4")]
    pub(super) line: u32,
    #[prost(uint32, tag = "5")]
    pub(super) column: u32,
    #[prost(uint32, tag = "6")]
    pub(super) start_line: u32,
}

/// Waits until the socket can be written to or read from, or fails.
pub(super) trait Wait {
    /// Waits for room to write (`true`) or for bytes to read.
    fn wait(&self, writable: bool) -> io::Result<()>;
}

/// Sends a message and descriptors with it.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    message: &impl Message,
    descriptors: &[BorrowedFd<'_>],
    wait: &impl Wait,
) -> io::Result<()> {
    let length = message.encoded_len();
    let header = u32::try_from(length).ok().filter(|_| length <= MAX_MESSAGE).ok_or(io::ErrorKind::FileTooLarge)?;
    let mut bytes = Vec::with_capacity(HEADER + length);
    bytes.extend_from_slice(&header.to_le_bytes());
    message.encode(&mut bytes).map_err(io::Error::other)?;
    let mut rest = bytes.as_slice();
    let mut descriptors = descriptors;
    while !rest.is_empty() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match sendmsg(socket, &[IoSlice::new(rest)], &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) => {
                rest = rest.get(sent..).unwrap_or_default();
                descriptors = &[];
            }
            Err(Errno::AGAIN) => wait.wait(true)?,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Receives a message and the descriptors that came with it.
pub(super) fn receive<M: Message + Default>(socket: BorrowedFd<'_>, wait: &impl Wait) -> io::Result<(M, Vec<OwnedFd>)> {
    let mut descriptors = Vec::new();
    let mut header = [0; HEADER];
    fill(socket, &mut header, &mut descriptors, wait)?;
    let length = u32::from_le_bytes(header) as usize;
    if length > MAX_MESSAGE {
        return Err(invalid("a message is too long"));
    }
    let mut bytes = vec![0; length];
    fill(socket, &mut bytes, &mut descriptors, wait)?;
    let message = M::decode(bytes.as_slice()).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok((message, descriptors))
}

fn fill(
    socket: BorrowedFd<'_>,
    mut buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
    wait: &impl Wait,
) -> io::Result<()> {
    while !buffer.is_empty() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            Ok(received) if received.bytes == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(received) => received,
            Err(Errno::AGAIN) => {
                wait.wait(false)?;
                continue;
            }
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                descriptors.extend(more);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > MAX_DESCRIPTORS {
            return Err(invalid("too many descriptors"));
        }
        buffer = buffer.get_mut(received.bytes..).unwrap_or_default();
    }
    Ok(())
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
