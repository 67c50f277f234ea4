//! The user's terminal: raw mode during a run, and the keys that end the run.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

/// The terminal in raw mode, with its attributes as they were.
static SAVED: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// A terminal in raw mode. It is restored when this is dropped, and when any thread panics.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Switches the terminal that is standard input to raw mode; `None` if it is no terminal.
    pub fn enter() -> io::Result<Option<Self>> {
        RawMode::enter_on(io::stdin().as_fd())
    }

    /// Switches `terminal` to raw mode; `None` if it is no terminal.
    pub fn enter_on(terminal: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        if !isatty(terminal) {
            return Ok(None);
        }
        restore_on_panic();
        let attributes = tcgetattr(terminal)?;
        let mut raw = attributes.clone();
        raw.make_raw();
        let terminal = terminal.try_clone_to_owned()?;
        tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        SAVED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert((terminal, attributes));
        Ok(Some(RawMode(())))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the terminal's attributes, if it is in raw mode.
pub fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((terminal, attributes)) = saved {
        // If the terminal has gone away there is nothing left to restore.
        let _ = tcsetattr(&terminal, OptionalActions::Now, &attributes);
    }
}

/// Restores the terminal before a panic's message, so that the message is readable and the shell is
/// usable.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            next(info);
        }));
    });
}

/// Finds the escape sequence in the user's input: Ctrl-A x ends the run; Ctrl-A a and Ctrl-A Ctrl-A
/// send a Ctrl-A to the guest. All other input passes unchanged.
#[derive(Clone, Copy, Debug, Default)]
pub struct EscapeFilter {
    /// The last byte was a Ctrl-A.
    armed: bool,
}

const CTRL_A: u8 = 1;

impl EscapeFilter {
    /// Appends `typed` to `input`; returns whether the user wants to end the run.
    pub fn feed(&mut self, typed: &[u8], input: &mut VecDeque<u8>) -> bool {
        for &byte in typed {
            let armed = std::mem::take(&mut self.armed);
            match byte {
                b'x' | b'X' if armed => return true,
                CTRL_A | b'a' if armed => input.push_back(CTRL_A),
                CTRL_A => self.armed = true,
                _ if armed => input.extend([CTRL_A, byte]),
                _ => input.push_back(byte),
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut filter = EscapeFilter::default();
        let mut input = VecDeque::new();
        let leave = pieces.iter().any(|p| filter.feed(p, &mut input));
        (input.into(), leave)
    }

    #[test]
    fn ctrl_a_x_leaves_even_when_typed_slowly() {
        assert_eq!(feed(&[b"ls\r\x01x"]), (b"ls\r".to_vec(), true));
        assert_eq!(feed(&[b"\x01", b"x", b"never seen"]), (vec![], true));
    }

    #[test]
    fn ctrl_a_can_be_sent() {
        assert_eq!(feed(&[b"\x01a\x01\x01x"]), (b"\x01\x01x".to_vec(), false));
    }

    #[test]
    fn other_input_passes_unchanged() {
        assert_eq!(feed(&[b"x\x01cxa"]), (b"x\x01cxa".to_vec(), false));
    }
}
