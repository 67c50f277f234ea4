//! At the end of its time, a guest is asked where it stands: Linux writes the call traces of its processors to the
//! serial port when a break and a key come there, if SysRq is enabled (`sysrq_always_enabled`).

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::control::Control;
use super::serial::SerialPort;
use crate::journal::Journal;
use crate::signals::EndingSignals;

/// What is asked: show messages of all levels; then the call traces of all processors, and of the tasks that wait
/// and cannot be interrupted.
const KEYS: [u8; 3] = *b"9lw";

/// How long the whole may take.
const WHOLE: Duration = Duration::from_secs(4);

/// How long one answer may take.
const ANSWER: Duration = Duration::from_millis(1500);

/// A guest that has said nothing for so long says nothing.
const SILENCE: Duration = Duration::from_secs(1);

/// An answer has ended when nothing came for so long.
const PAUSE: Duration = Duration::from_millis(250);

/// How often the guest's output is looked at.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// Asks the guest, whose answer goes to `journal`. Ends early when the guest says nothing, when the run ends, and
/// when a signal asks stickler to end.
pub(super) fn ask(
    port: &SerialPort,
    journal: &Journal,
    control: &Control,
    signals: &EndingSignals,
) {
    journal.ask();
    let end = Instant::now() + WHOLE;
    for key in KEYS {
        let before = port.written();
        if !port.send_break(key) || !answered(port, before, end, control, signals) {
            return;
        }
    }
}

/// Waits for an answer to end. Returns whether there was one and the next question can be put.
fn answered(
    port: &SerialPort,
    before: u64,
    end: Instant,
    control: &Control,
    signals: &EndingSignals,
) -> bool {
    let asked = Instant::now();
    let (mut seen, mut since) = (before, asked);
    loop {
        let mut fds = [
            PollFd::new(control.wake(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.received(), PollFlags::IN),
        ];
        match poll(&mut fds, Some(&LOOK)) {
            // The caller looks why.
            Ok(1..) | Err(_) => return false,
            Ok(0) => {}
        }
        let now = Instant::now();
        let written = port.written();
        if written != seen {
            (seen, since) = (written, now);
        }
        let quiet = now - since;
        let has_answered = seen != before;
        if now >= end || !has_answered && quiet >= SILENCE {
            return false;
        }
        if has_answered && quiet >= PAUSE || now - asked >= ANSWER {
            // What is not taken by now is not taken.
            return !port.break_waits();
        }
    }
}
