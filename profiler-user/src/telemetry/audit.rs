//! The audit: one JSON object a line, on standard output, which holds nothing else. Always on, whatever the log's filter.

use serde::{Serialize, Serializer};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Lines that wait for a slow reader; more are lost and counted.
const QUEUE: usize = 1024;
/// How long the end of the agent waits for the last lines.
const END: Duration = Duration::from_secs(1);

/// A profile that was taken, or not.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// User id of the client, by the Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its group id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<i32>,
    /// Its address, by the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Name of the token that let it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Plain<'a>>,
    /// `PID@START`, or `host`; `PID` of one that was not looked for.
    pub process: Plain<'a>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm: Option<Plain<'a>>,
    /// Kind of profile.
    pub kind: &'static str,
    /// Length of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// Seconds since its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ago: Option<u32>,
    /// Samples a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hz: Option<u32>,
    /// Status of the answer; 499 if the client went away before there was one.
    pub status: u16,
    /// Bytes of the answer.
    pub bytes: u64,
    /// From the request to the answer.
    pub ms: u64,
}

/// A text without control characters. JSON keeps a line whole by itself; a terminal that shows it is to be safe, too.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a>(pub &'a str);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let clean = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
        to.serialize_str(&self.0.chars().map(clean).collect::<String>())
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    record: &'a Record<'a>,
}

/// Where lines are written; cheap to clone. Writing never waits.
#[derive(Clone, Debug)]
pub struct Audit {
    lines: SyncSender<String>,
    lost: Arc<AtomicU64>,
}

/// Ends when the last [`Audit`] is gone and what was written is out.
#[derive(Debug)]
pub struct AuditEnd(Receiver<()>);

impl Audit {
    /// Starts the thread that writes.
    pub fn to(writer: impl Write + Send + 'static) -> io::Result<(Audit, AuditEnd)> {
        let (lines, receiver) = sync_channel(QUEUE);
        let (ending, end) = sync_channel(0);
        std::thread::Builder::new().name("audit".into()).spawn(move || {
            carry(&receiver, writer);
            drop(ending);
        })?;
        Ok((Audit { lines, lost: Arc::default() }, AuditEnd(end)))
    }

    /// Writes a line.
    pub fn write(&self, record: &Record<'_>) {
        let mut time = String::new();
        // Writing to a String does not fail.
        _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let Ok(mut line) = serde_json::to_string(&Line { time, record }) else { return };
        line.push('\n');
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.lines.try_send(line) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads how many lines found no room. Does not keep the audit from its end.
    pub fn lost_lines(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let lost = Arc::clone(&self.lost);
        move || lost.load(Ordering::Relaxed)
    }
}

impl AuditEnd {
    /// Waits for the last lines, not for a reader that is stuck.
    pub fn wait(self) {
        if self.0.recv_timeout(END) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the last lines of the audit could not be written");
        }
    }
}

fn carry(lines: &Receiver<String>, mut writer: impl Write) {
    let mut is_broken = false;
    for line in lines {
        let done = writer.write_all(line.as_bytes()).and_then(|()| writer.flush());
        if let Err(error) = done
            && !is_broken
        {
            tracing::warn!(%error, "cannot write the audit to standard output");
            is_broken = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics with it").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn record<'a>(comm: &'a str, token: &'a str) -> Record<'a> {
        Record {
            uid: Some(1000),
            gid: Some(100),
            client: Some(7),
            address: None,
            token: Some(Plain(token)),
            process: Plain("4711@12345"),
            comm: Some(Plain(comm)),
            kind: "profile",
            seconds: Some(30),
            ago: None,
            hz: Some(99),
            status: 200,
            bytes: 1234,
            ms: 30_001,
        }
    }

    #[test]
    fn a_line_is_one_json_object_whatever_the_names_hold() {
        let shared = Shared::default();
        let (audit, end) = Audit::to(shared.clone()).expect("a thread");
        audit.write(&record("a\nb\"\\\u{1b}[31m\u{9b}x\r", "ops\u{7f}"));
        audit.write(&record("plain", "ops"));
        drop(audit);
        end.wait();
        let text = String::from_utf8(shared.0.lock().expect("no test panics with it").clone()).expect("UTF-8");
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text:?}");
        let line: serde_json::Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        assert_eq!(line["comm"], "a\u{fffd}b\"\\\u{fffd}[31m\u{fffd}x\u{fffd}");
        assert_eq!(line["token"], "ops\u{fffd}");
        assert_eq!((&line["uid"], &line["hz"], &line["status"]), (&1000.into(), &99.into(), &200.into()));
        assert!(line["time"].as_str().expect("text").ends_with('Z') && line.get("ago").is_none(), "{line}");
    }

    /// Takes nothing until it is let go.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // An error is the release.
            let _released = self.0.recv().is_err();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_is_stuck_costs_lines_and_nobodys_time() {
        let (release, stuck) = sync_channel(0);
        let (audit, end) = Audit::to(Stuck(stuck)).expect("a thread");
        for _ in 0..QUEUE + 10 {
            audit.write(&record("a", "b"));
        }
        let lost = audit.lost_lines()();
        assert!((9..=10).contains(&lost), "one line may be with the writer: {lost}");
        drop((audit, release));
        end.wait();
    }
}
