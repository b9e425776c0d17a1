//! What agent and worker say to each other: bytes that one side sends, read by the other as it reads its socket. Files that go
//! with a message are the pieces behind it.

use super::files::BUDGET;
use super::{honest, made};
use crate::fuzzing::Look;
use crate::fuzzing::bundle::{Piece, pack, program, unpack};
use crate::worker::api::{FileSurvey, Fit, Part, PartFit, Symbolized, UnwindTable};
use crate::worker::protocol::{
    Answer, Checksum, Empty, Facts, FrameMessage, GivenMessage, LinkMessage, MAX_MESSAGE, Names, Offsets, PACKAGE,
    Place, Question, Reply, Request, SegmentMessage, VERSION, Verb, Wait, Wanted, receive,
};
use crate::worker::server::Server;
use crate::worker::{check, parts, survey, table};
use profiler_ebpf::reasons::Reason;
use profiler_ebpf::unwind::rule::FIXED;
use prost::Message;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Bytes that a socket takes at once.
const MAX_STREAM: usize = 64 << 10;
/// Messages that are answered, and files that go with each.
const MESSAGES: usize = 4;
const FILES: usize = 4;
/// What a client asked that gets an answer.
const ASKED: [u64; 4] = [0x1000, 0x2000, 0x3000, 0x4000];

/// Requests, and the worker's answers to them, which its client must take.
pub(crate) fn request(input: &[u8], look: Look) {
    let (stream, pieces) = unpack(input);
    let Ok(socket) = sent(stream) else { return };
    let mut server = Server::new(BUDGET * 2);
    for _ in 0..MESSAGES {
        let Ok((request, _)) = receive::<Request>(socket.as_fd(), &Ended) else { return };
        if request.version != VERSION {
            return;
        }
        let mut files: Vec<OwnedFd> = pieces.iter().take(FILES).filter_map(|piece| file(piece.bytes).ok()).collect();
        let Ok(memory) = table::memory_file() else { return };
        if let (Some(Verb::Rows(_)), Ok(lent)) = (&request.verb, memory.try_clone()) {
            files.truncate(1);
            files.push(lent);
        }
        if let Ok(answer) = server.answer(&request, files) {
            let reply = Reply { version: VERSION, id: request.id, answer: Some(answer.clone()) };
            assert!(reply.encoded_len() <= MAX_MESSAGE);
            take(&request, answer, memory);
            look(&reply);
        }
    }
}

/// What the client does with an answer.
fn take(request: &Request, answer: Answer, memory: OwnedFd) {
    match (answer, &request.verb) {
        (Answer::Facts(facts), _) => drop(honest(check::facts(facts))),
        (Answer::Rows(rows), _) => drop(honest(table::read(rows, memory))),
        (Answer::Survey(found), _) => drop(honest(survey::check(&found))),
        (Answer::Fit(code), _) => assert!(Fit::from_code(code).is_some()),
        (Answer::Wanted(Wanted { parts, fits }), _) => {
            honest(parts::wanted(parts));
            judged(&fits);
        }
        (Answer::Names(names), Some(Verb::Symbolize(question))) if !question.offsets.is_empty() => {
            honest(check::names(&names, &question.offsets));
            judged(&names.fits);
        }
        (Answer::Names(names), Some(Verb::PerfMap(asked) | Verb::JitDump(asked))) if !asked.offsets.is_empty() => {
            honest(check::made_names(&names, &asked.offsets));
        }
        // A client never asks for nothing.
        (Answer::Names(names), _) => assert!(names.places.is_empty()),
        (Answer::Refused(_), _) => {}
    }
}

fn judged(fits: &[u32]) {
    assert!(fits.iter().all(|code| PartFit::from_code(*code).is_some()));
}

/// A reply, and the memory file with a table.
pub(crate) fn reply(input: &[u8], look: Look) {
    let (stream, pieces) = unpack(input);
    let Ok(socket) = sent(stream) else { return };
    let Ok((Reply { version: VERSION, answer: Some(answer), .. }, _)) = receive::<Reply>(socket.as_fd(), &Ended) else {
        return;
    };
    match answer {
        Answer::Facts(facts) => show(check::facts(facts), look),
        Answer::Names(names) => {
            let (found, made) = (check::names(&names, &ASKED), check::made_names(&names, &ASKED));
            if let Ok(found) = &found {
                assert!(found.iter().all(|name| !matches!(name, Symbolized::Frames(frames) if frames.is_empty())));
            }
            show(found.and_then(|found| Ok((found, made, parts::fits(&names.fits, &[])?))), look);
        }
        Answer::Rows(rows) => {
            let Ok(memory) = table::memory_file() else { return };
            let written = memory.try_clone().map(File::from);
            let bytes = pieces.first().map(|piece| piece.bytes).unwrap_or_default();
            if written.and_then(|mut file| file.write_all(bytes)).is_ok() {
                let read = table::read(rows, memory);
                read.iter().for_each(sound);
                show(read, look);
            }
        }
        Answer::Refused(why) => show::<String>(Ok(check::text(&why, 256)), look),
        Answer::Fit(code) => show(Fit::from_code(code).ok_or(""), look),
        Answer::Wanted(wanted) => show(parts::wanted(wanted.parts), look),
        Answer::Survey(found) => show(survey::check(&found), look),
    }
}

/// Nothing in a table that is taken leads out of it.
fn sound(table: &UnwindTable) {
    assert!(table.rules.starts_with(&FIXED));
    for (first, count) in &table.pages {
        let rows = table.rows.get(*first as usize..).and_then(|rest| rest.get(..usize::from(*count)));
        assert!(rows.is_some_and(|rows| !rows.is_empty()));
    }
}

fn show<T: std::fmt::Debug>(taken: Result<T, &'static str>, look: Look) {
    if let Ok(taken) = taken {
        look(&taken);
    }
}

/// The other end of a socket to which these bytes were written before it was closed.
fn sent(stream: &[u8]) -> io::Result<UnixStream> {
    let (ours, mut theirs) = UnixStream::pair()?;
    theirs.write_all(stream.get(..MAX_STREAM).unwrap_or(stream))?;
    theirs.shutdown(Shutdown::Both)?;
    Ok(ours)
}

/// Nothing more will come.
struct Ended;

impl Wait for Ended {
    fn wait(&self, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("file", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file.into())
}

fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    [&u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes()[..], &bytes].concat()
}

/// One of each verb.
pub(crate) fn requests() -> Vec<Vec<u8>> {
    let program = program(&[Piece { name: ".text", address: 0x1000, bytes: &[0x90; 64] }]);
    let dump = made::jit_dumps().remove(0);
    let given = vec![GivenMessage { kind: PACKAGE, id: 0, file: false }];
    let asked = |offsets: &[u64]| Offsets { offsets: offsets.to_vec() };
    let question = |last| Question { offsets: vec![200, 1 << 40], parts: true, given: given.clone(), last };
    let verbs: [(Verb, &[u8]); 8] = [
        (Verb::Facts(Empty {}), &program),
        (Verb::Rows(Empty {}), &program),
        (Verb::Symbolize(question(false)), &program),
        (Verb::Symbolize(question(true)), &program),
        (Verb::Fit(Checksum { crc: Some(7) }), &program),
        (Verb::PerfMap(asked(&[0x1000, 7])), b"1000 100 name\n"),
        (Verb::Survey(Empty {}), &program),
        (Verb::JitDump(asked(&[0x7f00_0000_1000])), &dump),
    ];
    let seed = |(verb, bytes): (Verb, &[u8])| {
        let is_fit = matches!(verb, Verb::Fit(_));
        let request = Request { version: VERSION, id: 1, file: 1, verb: Some(verb) };
        let files = vec![Piece { name: "file", address: 0, bytes }; if is_fit { 2 } else { 1 }];
        pack(&framed(&request), &files)
    };
    verbs.into_iter().map(seed).collect()
}

/// One of each answer.
pub(crate) fn replies() -> Vec<Vec<u8>> {
    let frame = FrameMessage { name: "work".into(), file: "/srv/a.c".into(), line: 7, ..FrameMessage::default() };
    let places = vec![
        Place { frames: vec![frame], ..Place::default() },
        Place { missing: Reason::NoSymbol as u32, ..Place::default() },
    ];
    let link = LinkMessage { name: "tool.debug".into(), crc: 7 };
    let segments = vec![SegmentMessage { offset: 0x1000, size: 0x500, address: 0x40_1000 }];
    let facts = Facts { build_id: "0aff".into(), segments, go: true, has_debug_info: true, debug_link: Some(link) };
    let unit = Part::Unit { id: 7, folder: "/build".into(), name: "a.dwo".into() };
    let parts = [Part::Package, unit].map(parts::part_message).to_vec();
    let answers = [
        Answer::Facts(facts),
        Answer::Names(Names { places, fits: Vec::new() }),
        Answer::Refused("not an ELF file".into()),
        Answer::Fit(Fit::Fits as u32),
        Answer::Wanted(Wanted { parts, fits: Vec::new() }),
        Answer::Survey(survey::message(FileSurvey { form: "program".into(), symbols: 3, ..FileSurvey::default() })),
    ];
    let reply = |answer| framed(&Reply { version: VERSION, id: 1, answer: Some(answer) });
    let table = written()
        .map(|(rows, bytes)| pack(&reply(Answer::Rows(rows)), &[Piece { name: "memory", address: 0, bytes: &bytes }]));
    answers.into_iter().map(reply).chain(table).collect()
}

/// A table as a worker writes it.
fn written() -> Option<(crate::worker::protocol::Rows, Vec<u8>)> {
    let table = UnwindTable {
        rules: FIXED.to_vec(),
        first_page: 2,
        pages: vec![(0, 1), (1, 3)],
        rows: vec![(0, 0x8001), (0, 1), (7, 2), (2047, 0x8000)],
        has_unwind_info: true,
        ..UnwindTable::default()
    };
    let memory = table::memory_file().ok()?;
    let rows = table::write(&table, memory.try_clone().ok()?).ok()?;
    let (mut file, mut bytes) = (File::from(memory), Vec::new());
    file.rewind().ok()?;
    file.read_to_end(&mut bytes).ok()?;
    Some((rows, bytes))
}
