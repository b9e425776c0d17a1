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
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
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
pub(super) fn run(mut fetcher: Fetcher, interval: Duration) -> Result<(), CommandError> {
    let runtime = runtime()?;
    // What cannot be had at all is an error on the terminal that stays.
    let first = runtime.block_on(fetcher.table())?;
    let (tell, told) = sync_channel(1);
    runtime.spawn(ask(fetcher, interval, tell));
    let shown = Screen::enter().and_then(|screen| {
        let shown = show(first, &told);
        drop(screen);
        shown
    });
    // A question that is open is given up.
    runtime.shutdown_background();
    shown.map_err(CommandError::Terminal)
}

/// Asks again and again until nobody listens.
async fn ask(mut fetcher: Fetcher, interval: Duration, tell: SyncSender<Told>) {
    let signals = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal);
    let [Ok(mut term), Ok(mut hangup), Ok(mut interrupt)] = signals else { return };
    let mut ticks = tokio::time::interval(interval);
    ticks.tick().await;
    loop {
        let next = async {
            ticks.tick().await;
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

fn show(mut table: Table, told: &Receiver<Told>) -> io::Result<()> {
    draw(&table)?;
    loop {
        match told.try_recv() {
            Ok(Told::Table(Ok(newer))) => table = newer,
            Ok(Told::Table(Err(error))) => {
                table.note = Some(format!("not newer: {:#}", anyhow::Error::from(error)));
            }
            Ok(Told::End) => return Ok(()),
            // Without the thread there is nothing new, but the keys still count.
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                if !event::poll(LOOK)? {
                    continue;
                }
                match event::read()? {
                    Event::Key(key) if is_end(key) => return Ok(()),
                    Event::Resize(..) => {}
                    _ => continue,
                }
            }
        }
        draw(&table)?;
    }
}

fn is_end(key: KeyEvent) -> bool {
    let ends = matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc)
        || (key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL));
    key.kind != KeyEventKind::Release && ends
}

fn draw(table: &Table) -> io::Result<()> {
    let (columns, rows) = size()?;
    let mut out = stdout().lock();
    queue!(out, BeginSynchronizedUpdate)?;
    let lines = view::lines(table, columns.into(), rows.into());
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
