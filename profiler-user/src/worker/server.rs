//! The worker process: confines itself, then answers requests until the agent hangs up. One request at a time.

use super::api::{Symbolized, UnwindTable};
use super::check::text;
use super::parts::{given_key, part_message};
use super::protocol::{
    Answer, Facts, FrameMessage, GivenMessage, Hello, LinkMessage, MAX_GIVEN, MAX_OFFSETS, MAX_WANTED, Names, Place,
    Question, Ready, Reply, Request, SegmentMessage, VERSION, Verb, Wait, Wanted, receive, send,
};
use super::sandbox::{self, Sandbox};
use super::{survey, table};
use crate::event::FileOffset;
use crate::parse::ParseError;
use crate::parse::jit_dump;
use crate::parse::names::ParsedFile;
use crate::parse::perf_map;
use crate::parse::source::FILE_BUDGET;
use crate::parse::symbols::MAX_NAME;
use prost::Message;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::fstat;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::thread;

/// addr2line recurses once per level of inlined calls; this holds tens of thousands.
const STACK: usize = 64 << 20;
/// Parsed files that are kept.
const MAX_FILES: usize = 8;
/// Bytes of names after which a reply is sent although more were asked for.
const FULL_REPLY: usize = 4 << 20;

/// What `pprofd symbol-worker` does; the socket to the agent is descriptor 3.
pub fn run() -> ExitCode {
    // Nobody reads what a worker could print: its end is its message.
    if start().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start() -> io::Result<()> {
    let socket = sandbox::take_socket()?;
    let (hello, _) = receive::<Hello>(socket.as_fd(), &Forever(socket.as_fd()))?;
    if hello.version != VERSION {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let confined = sandbox::confine(hello.memory, table::MAX_TABLE)?;
    // The thread must exist before the filter that refuses to make threads.
    let serve = move || serve(&socket, sandbox::filter(confined), hello.memory);
    thread::Builder::new().stack_size(STACK).spawn(serve)?.join().unwrap_or(Err(io::ErrorKind::Other.into()))
}

struct Forever<'s>(BorrowedFd<'s>);

impl Wait for Forever<'_> {
    fn wait(&self, writable: bool) -> io::Result<()> {
        let flags = if writable { PollFlags::OUT } else { PollFlags::IN };
        poll(&mut [PollFd::new(&self.0, flags)], None)
            .map(drop)
            .or_else(|e| if e == rustix::io::Errno::INTR { Ok(()) } else { Err(e.into()) })
    }
}

fn serve(socket: &OwnedFd, sandbox: Sandbox, memory: u64) -> io::Result<()> {
    let (socket, wait) = (socket.as_fd(), Forever(socket.as_fd()));
    let Sandbox { landlock, seccomp, no_capabilities, refused_without_filter, refused } = sandbox;
    let ready = Ready { version: VERSION, landlock, seccomp, no_capabilities, refused_without_filter, refused };
    send(socket, &ready, &[], &wait)?;
    let mut server = Server::new(memory);
    loop {
        let (request, descriptors) = match receive::<Request>(socket, &wait) {
            Ok(received) => received,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(e) => return Err(e),
        };
        if request.version != VERSION {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let answer = server.answer(&request, descriptors).unwrap_or_else(|e| Answer::Refused(refusal(&e)));
        send(socket, &Reply { version: VERSION, id: request.id, answer: Some(answer) }, &[], &wait)?;
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error("cannot write the table: {0}")]
    Write(#[source] io::Error),
    #[error("cannot look at the file: {0}")]
    Look(#[source] rustix::io::Errno),
    #[error("malformed request")]
    Malformed,
}

fn refusal(error: &ServerError) -> String {
    text(&error.to_string(), 256)
}

/// What tells whether a number still stands for the same bytes.
type Identity = (u64, u64, i64, i64, u64);

fn identity(fd: &OwnedFd) -> Result<Identity, ServerError> {
    let stat = fstat(fd).map_err(ServerError::Look)?;
    Ok((stat.st_dev, stat.st_ino, stat.st_size, stat.st_ctime, stat.st_ctime_nsec as u64))
}

struct Kept {
    number: u32,
    /// Of the file and of its debug file, and whether parts may be given.
    identity: (Identity, Option<Identity>, bool),
    file: ParsedFile,
}

pub(super) struct Server {
    /// Least recently used first.
    files: Vec<Kept>,
    memory: u64,
}

impl Server {
    /// One that may take so much memory, bytes.
    pub(super) fn new(memory: u64) -> Self {
        Server { files: Vec::new(), memory }
    }

    /// The answer to a request that came with these files.
    pub(super) fn answer(&mut self, request: &Request, descriptors: Vec<OwnedFd>) -> Result<Answer, ServerError> {
        let mut descriptors = descriptors.into_iter();
        let (file, second) = (descriptors.next().ok_or(ServerError::Malformed)?, descriptors.next());
        match (&request.verb, second) {
            (Some(Verb::Symbolize(question)), second) => {
                let others = second.into_iter().chain(descriptors).collect();
                self.symbolize(request.file, question, file, others)
            }
            (Some(Verb::Facts(_)), None) => Ok(Answer::Facts(facts(&self.parse(file)?))),
            (Some(Verb::Rows(_)), Some(memory)) => {
                self.make_room(0);
                let unwind_table = match self.parse(file) {
                    Err(ServerError::Parse(ParseError::NoProgram)) => UnwindTable::of_made_code(),
                    parsed => parsed?.unwind_table()?,
                };
                Ok(Answer::Rows(table::write(&unwind_table, memory).map_err(ServerError::Write)?))
            }
            (Some(Verb::Survey(_)), debug) => {
                self.make_room(0);
                Ok(Answer::Survey(survey::message(self.parse_with(file, debug)?.survey()?)))
            }
            (Some(Verb::Fit(checksum)), Some(debug)) => {
                self.make_room(0);
                Ok(Answer::Fit(self.parse(file)?.fit(File::from(debug), checksum.crc)? as u32))
            }
            (Some(Verb::PerfMap(asked)), None) if asked.offsets.len() <= MAX_OFFSETS => {
                self.make_room(0);
                // Read at each question: it grows.
                let text = perf_map::read(File::from(file))?;
                Ok(Answer::Names(names(perf_map::symbolize(&text, &asked.offsets).into_iter())))
            }
            (Some(Verb::JitDump(asked)), None) if asked.offsets.len() <= MAX_OFFSETS => {
                self.make_room(0);
                Ok(Answer::Names(names(jit_dump::symbolize(File::from(file), &asked.offsets)?.into_iter())))
            }
            _ => Err(ServerError::Malformed),
        }
    }

    fn parse(&self, file: OwnedFd) -> Result<ParsedFile, ServerError> {
        Ok(ParsedFile::parse(File::from(file), FILE_BUDGET.min(self.memory / 2))?)
    }

    fn parse_with(&self, file: OwnedFd, debug: Option<OwnedFd>) -> Result<ParsedFile, ServerError> {
        let file = self.parse(file)?;
        Ok(match debug {
            Some(debug) => file.with_debug_file(File::from(debug))?,
            None => file,
        })
    }

    /// Names of offsets, or which parts of the debug information they need.
    fn symbolize(
        &mut self,
        number: u32,
        question: &Question,
        file: OwnedFd,
        mut others: Vec<OwnedFd>,
    ) -> Result<Answer, ServerError> {
        let given = question.given.iter().filter(|given| given.file).count();
        if question.offsets.len() > MAX_OFFSETS || question.given.len() > MAX_GIVEN {
            return Err(ServerError::Malformed);
        }
        let debug = match others.len().checked_sub(given) {
            Some(0) => None,
            Some(1) => Some(others.remove(0)),
            _ => return Err(ServerError::Malformed),
        };
        let file = self.kept(number, file, debug, question.parts)?;
        let fits = take_parts(file, &question.given, others)?;
        let offsets: Vec<FileOffset> = question.offsets.iter().copied().map(FileOffset).collect();
        let wanted = if question.last { Vec::new() } else { file.wanted(&offsets, MAX_WANTED) };
        if !wanted.is_empty() {
            return Ok(Answer::Wanted(Wanted { parts: wanted.into_iter().map(part_message).collect(), fits }));
        }
        Ok(Answer::Names(Names { fits, ..names(offsets.into_iter().map(|offset| file.symbolize(offset))) }))
    }

    /// The parsed file. One that may have parts is another than the same without.
    fn kept(
        &mut self,
        number: u32,
        fd: OwnedFd,
        debug: Option<OwnedFd>,
        parts: bool,
    ) -> Result<&mut ParsedFile, ServerError> {
        let identity = (identity(&fd)?, debug.as_ref().map(identity).transpose()?, parts);
        let known = self.files.iter().position(|k| k.number == number).map(|i| self.files.remove(i));
        let kept = match known {
            Some(kept) if kept.identity == identity => kept,
            _ => {
                self.make_room(1);
                let file = self.parse_with(fd, debug)?;
                Kept { number, identity, file }
            }
        };
        self.files.push(kept);
        self.files.last_mut().map(|k| &mut k.file).ok_or(ServerError::Malformed)
    }

    /// Forgets the least recently used files until `more` fit in and a quarter of the memory holds the rest.
    fn make_room(&mut self, more: usize) {
        let held = |files: &[Kept]| files.iter().map(|k| k.file.held()).sum::<u64>();
        while !self.files.is_empty() && (self.files.len() + more > MAX_FILES || held(&self.files) > self.memory / 4) {
            self.files.remove(0);
        }
    }
}

/// Gives a file the parts that came; what did not come, or does not fit, is settled.
fn take_parts(file: &mut ParsedFile, given: &[GivenMessage], files: Vec<OwnedFd>) -> Result<Vec<u32>, ServerError> {
    let mut files = files.into_iter();
    let mut fits = Vec::new();
    for given in given {
        let key = given_key(given).ok_or(ServerError::Malformed)?;
        if given.file {
            let part = files.next().ok_or(ServerError::Malformed)?;
            fits.push(file.take_part(key, File::from(part)) as u32);
        }
    }
    for key in given.iter().filter_map(given_key) {
        file.settle_part(key);
    }
    Ok(fits)
}

pub(super) fn facts(file: &ParsedFile) -> Facts {
    let facts = file.facts();
    let segment = |s: &super::api::Segment| SegmentMessage { offset: s.offset, size: s.size, address: s.address };
    Facts {
        build_id: facts.build_id,
        segments: facts.segments.iter().map(segment).collect(),
        go: facts.go,
        has_debug_info: facts.has_debug_info,
        debug_link: facts.debug_link.map(|link| LinkMessage { name: link.name, crc: link.crc }),
    }
}

/// As many of the answers as one reply may hold.
pub(super) fn names(answers: impl Iterator<Item = Symbolized>) -> Names {
    let mut names = Names::default();
    let mut size = 0;
    for answer in answers {
        let place = place(answer);
        size += place.encoded_len();
        names.places.push(place);
        if size > FULL_REPLY {
            break;
        }
    }
    names
}

fn place(symbolized: Symbolized) -> Place {
    match symbolized {
        Symbolized::Missing(reason) => Place { missing: reason as u32, ..Place::default() },
        Symbolized::Nameless { start } => Place { start: Some(start.0), ..Place::default() },
        Symbolized::Frames(frames) => {
            let frame = |f: super::api::SymbolFrame| FrameMessage {
                name: text(&f.name, MAX_NAME),
                system_name: text(&f.system_name, MAX_NAME),
                file: text(&f.file, MAX_NAME),
                line: f.line,
                column: f.column,
                start_line: f.start_line,
            };
            Place { frames: frames.into_iter().map(frame).collect(), ..Place::default() }
        }
    }
}
