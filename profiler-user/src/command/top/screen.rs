//! Tables on a terminal: the alternate screen, the keys, and a thread that asks for the next table meanwhile.

use super::fetch::Fetcher;
use super::view::{self, Table};
use crate::command::{CommandError, runtime};
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};
use std::io::{self, Write, stdout};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long a new table may wait to be seen.
const LOOK: Duration = Duration::from_millis(100);

/// What the asking thread tells.
enum Told {
    Table(Result<Table, CommandError>),
    /// The end was asked for by a signal.
    End,
}

/// The terminal as it was, once this is dropped.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Screen> {
        enable_raw_mode()?;
        // From here on it is given back whatever happens.
        let screen = Screen;
        execute!(stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        drop(execute!(stdout(), Show, LeaveAlternateScreen));
        drop(disable_raw_mode());
    }
}

/// Shows tables until q, Escape or Ctrl-C is pressed, or a signal asks for the end.
pub(super) fn run(fetcher: Fetcher, interval: Duration) -> Result<(), CommandError> {
    let runtime = runtime()?;
    let (tell, told) = sync_channel(1);
    runtime.spawn(ask(fetcher, interval, tell));
    let screen = Screen::enter().map_err(CommandError::Terminal)?;
    let shown = show(&told);
    // Before an error is told, so that it stays to be read.
    drop(screen);
    // A question that is open is given up.
    runtime.shutdown_background();
    shown
}

/// Asks again and again until nobody listens.
async fn ask(mut fetcher: Fetcher, interval: Duration, tell: SyncSender<Told>) {
    let signals = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal);
    let [Ok(mut term), Ok(mut hangup), Ok(mut interrupt)] = signals else { return };
    let mut pause = Duration::ZERO;
    loop {
        let wait = std::mem::replace(&mut pause, interval);
        // A pause after each answer, however long it took: an agent that is busy is not made busier.
        let next = async {
            tokio::time::sleep(wait).await;
            fetcher.table().await
        };
        let message = tokio::select! {
            table = next => Told::Table(table),
            _ = term.recv() => Told::End,
            _ = hangup.recv() => Told::End,
            _ = interrupt.recv() => Told::End,
        };
        // The screen looks ten times a second: this waits for that long at most.
        let ends = matches!(message, Told::End);
        if tell.send(message).is_err() || ends {
            return;
        }
    }
}

fn show(told: &Receiver<Told>) -> Result<(), CommandError> {
    let mut table: Option<Table> = None;
    loop {
        draw(table.as_ref()).map_err(CommandError::Terminal)?;
        match next(told).map_err(CommandError::Terminal)? {
            Next::Told(Told::Table(Ok(newer))) => table = Some(newer),
            Next::Told(Told::Table(Err(error))) => match &mut table {
                Some(table) => table.note = Some(format!("not newer: {:#}", anyhow::Error::from(error))),
                None => return Err(error),
            },
            Next::Resized => {}
            Next::Told(Told::End) | Next::Quit => return Ok(()),
        }
    }
}

/// Something to draw anew for, or to end for.
enum Next {
    Told(Told),
    Resized,
    Quit,
}

fn next(told: &Receiver<Told>) -> io::Result<Next> {
    loop {
        // Without the asking thread there is nothing new, but the keys still count.
        if let Ok(told) = told.try_recv() {
            return Ok(Next::Told(told));
        }
        if !event::poll(LOOK)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if is_end(key) => return Ok(Next::Quit),
            Event::Resize(..) => return Ok(Next::Resized),
            _ => {}
        }
    }
}

fn is_end(key: KeyEvent) -> bool {
    let ends = matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc)
        || (key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL));
    key.kind != KeyEventKind::Release && ends
}

fn draw(table: Option<&Table>) -> io::Result<()> {
    let (columns, rows) = size()?;
    let mut out = stdout().lock();
    queue!(out, BeginSynchronizedUpdate)?;
    let asking = || vec!["asking the agent; q ends".to_owned()];
    let lines = table.map_or_else(asking, |table| view::lines(table, columns.into(), rows.into()));
    for (row, line) in (0..rows).zip(&lines) {
        let look = if usize::from(row) == view::HEAD - 1 { Attribute::Reverse } else { Attribute::Reset };
        // Cleared before: behind a line that fills the screen's width the last letter would be cleared.
        queue!(out, MoveTo(0, row), Clear(ClearType::CurrentLine), SetAttribute(look), Print(line))?;
        queue!(out, SetAttribute(Attribute::Reset))?;
    }
    if let Some(next) = u16::try_from(lines.len()).ok().filter(|next| *next < rows) {
        queue!(out, MoveTo(0, next), Clear(ClearType::FromCursorDown))?;
    }
    queue!(out, EndSynchronizedUpdate)?;
    out.flush()
}
