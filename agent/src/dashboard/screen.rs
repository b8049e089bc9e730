//! Owns the terminal while the view is on it.

use std::io;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use muster_mesh::clock::unix_ms;
use ratatui::DefaultTerminal;
use ratatui::backend::Backend as _;
use tokio::sync::mpsc;

use super::feed::Feed;
use super::view::render;

/// How soon the reader of keys notices that the view is over.
const KEY_POLL: Duration = Duration::from_millis(100);

/// Keys that wait to be handled; nobody types faster than the view is drawn.
const KEYS_QUEUED_MAX: usize = 64;

/// Why the view ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The user pressed a key for it.
    Quit,
    /// What `stop` waited for has come.
    Stopped,
}

/// Shows the feed until the user quits or `stop` completes. The terminal is as before afterwards, after a panic too.
///
/// # Errors
/// When the terminal can't be used.
pub async fn run(feed: &mut Feed<'_>, stop: impl Future<Output = ()>) -> io::Result<Ended> {
    // Also installs a hook that gives the terminal back before a panic is reported.
    let mut screen = Screen(ManuallyDrop::new(ratatui::try_init()?));
    let terminal = &mut *screen.0;
    // Whoever had the alternate screen before may have left something on it, by being killed for example. The backend
    // is asked, because the terminal's own `clear` waits for a cursor position, which not every terminal tells.
    terminal.backend_mut().clear()?;
    let mut keys = Keys::read();
    tokio::pin!(stop);
    loop {
        let snapshot = feed.snapshot();
        terminal.draw(|frame| render(frame, snapshot, unix_ms()))?;
        tokio::select! {
            () = &mut stop => return Ok(Ended::Stopped),
            event = keys.next() => match event {
                Some(event) if is_quit(&event) => return Ok(Ended::Quit),
                // Another size, or a key without meaning: drawing again is right or harmless.
                Some(_) => {}
                // The terminal is gone.
                None => return Ok(Ended::Stopped),
            },
            _ = feed.next() => {}
        }
    }
}

/// `q`, Escape, and Ctrl-C, which arrives as a key because the terminal is in raw mode.
fn is_quit(event: &Event) -> bool {
    let Event::Key(KeyEvent {
        code,
        modifiers,
        kind,
        ..
    }) = event
    else {
        return false;
    };
    *kind != KeyEventKind::Release
        && match code {
            KeyCode::Char('c' | 'd') => modifiers.contains(KeyModifiers::CONTROL),
            KeyCode::Char('q') | KeyCode::Esc => true,
            _ => false,
        }
}

/// The terminal, given back when the view ends, on whichever way.
///
/// What is owned here is not dropped: where the terminal is gone its own end would print that, and panic where nobody reads.
struct Screen(ManuallyDrop<DefaultTerminal>);

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// Keys and changes of size, read on a thread of their own: reading a terminal blocks.
struct Keys {
    events: mpsc::Receiver<Event>,
    over: Arc<AtomicBool>,
}

impl Keys {
    fn read() -> Self {
        let (tx, events) = mpsc::channel(KEYS_QUEUED_MAX);
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                let read = match crossterm::event::poll(KEY_POLL) {
                    Ok(false) => continue,
                    Ok(true) => crossterm::event::read(),
                    Err(error) => Err(error),
                };
                let Ok(event) = read else { break };
                if tx.blocking_send(event).is_err() {
                    break;
                }
            }
        });
        Self { events, over }
    }

    async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_keys_quit_and_others_do_not() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        assert!(is_quit(&key(KeyCode::Char('q'), KeyModifiers::NONE)));
        assert!(is_quit(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(is_quit(&key(KeyCode::Esc, KeyModifiers::NONE)));
        assert!(!is_quit(&key(KeyCode::Char('c'), KeyModifiers::NONE)));
        assert!(!is_quit(&Event::Resize(80, 24)));
    }
}
