//! Signals. SIGINT, SIGTERM and their like end the run, not the process: the report is still wanted. SIGXFSZ ends
//! nothing: that a file may not grow is an error of the write.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{SigId, flag, low_level};

const SIGNALS: [c_int; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

/// A signal that comes so long after the first one ends the process at once: all that could be written has been
/// written by then, unless the host hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Whether the signals end the process, as they do by default: while there is no run.
static END_PROCESS: AtomicBool = AtomicBool::new(true);

/// When the first signal of the run came, milliseconds of the monotonic clock; 0 if none has come.
static FIRST: AtomicU64 = AtomicU64::new(0);

/// While this exists, the signals make a file descriptor readable. Otherwise they end the process.
pub struct EndingSignals {
    received: UnixStream,
    actions: Vec<SigId>,
}

impl EndingSignals {
    /// Catches the signals from now on.
    ///
    /// # Errors
    /// The host has no means for it.
    pub fn catch() -> io::Result<Self> {
        let (received, sender) = UnixStream::pair()?;
        let mut signals = EndingSignals {
            received,
            actions: Vec::new(),
        };
        for signal in handled()? {
            let sender = sender.try_clone()?;
            let action = low_level::pipe::register(*signal, sender)?;
            signals.actions.push(action);
        }
        FIRST.store(0, Ordering::SeqCst);
        END_PROCESS.store(false, Ordering::SeqCst);
        Ok(signals)
    }

    /// Readable once one of the signals has arrived.
    pub fn received(&self) -> BorrowedFd<'_> {
        self.received.as_fd()
    }

    /// Whether one of the signals has arrived.
    pub fn have_come(&self) -> bool {
        self.come_within(Duration::ZERO)
    }

    /// Waits for one of the signals, but no longer than `time`. Returns whether one has arrived.
    pub fn come_within(&self, time: Duration) -> bool {
        let time = Timespec::try_from(time).unwrap_or_default();
        let mut fds = [PollFd::from_borrowed_fd(self.received(), PollFlags::IN)];
        matches!(poll(&mut fds, Some(&time)), Ok(1..))
    }
}

impl Drop for EndingSignals {
    fn drop(&mut self) {
        END_PROCESS.store(true, Ordering::SeqCst);
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
    }
}

/// The signals that have a handler from now on. `signal-hook` never takes a handler away, so that one
/// of the handler's actions does what the system's default would, as long as there is no run.
fn handled() -> io::Result<&'static [c_int]> {
    static HANDLED: OnceLock<Vec<c_int>> = OnceLock::new();
    if let Some(handled) = HANDLED.get() {
        return Ok(handled);
    }
    // The first call finds out how to read the clock, which is not for a handler to do, nor for a confined process.
    now_ms();
    // A signal that the parent process ignores for us (nohup) stays ignored.
    let handled: Vec<c_int> = SIGNALS.into_iter().filter(|s| !is_ignored(*s)).collect();
    for signal in &handled {
        flag::register_conditional_default(*signal, &END_PROCESS)?;
        let signal = *signal;
        // SAFETY: This runs in the handler. It reads the clock and an atomic, and has the system do what it does by
        // default, all of which may be done there.
        unsafe { low_level::register(signal, move || end_if_late(signal)) }?;
    }
    Ok(HANDLED.get_or_init(|| handled))
}

/// Runs in the handler of `signal`: ends the process if the first signal came long ago.
fn end_if_late(signal: c_int) {
    let now = now_ms();
    let first = FIRST.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
    if first.is_err_and(|first| is_late(first, now)) {
        // It fails for a signal that does not exist.
        let _ = low_level::emulate_default_handler(signal);
    }
}

/// The monotonic clock, milliseconds.
fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// Whether a signal at `now` comes late after one at `first`, milliseconds.
fn is_late(first: u64, now: u64) -> bool {
    u128::from(now.saturating_sub(first)) >= PATIENCE.as_millis()
}

/// Whether one of the signals has come since they are caught.
pub fn one_has_come() -> bool {
    FIRST.load(Ordering::SeqCst) != 0
}

/// From now on, a write beyond the limit of a file's size (`ulimit -f`) is an error, and does not end the process.
pub fn survive_file_size_limit() {
    // SAFETY: Sets the action to one that runs no code.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Whether the process ignores `signal`. `signal-hook` sets actions and cannot ask for them.
fn is_ignored(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: Asks for the action, with room for one; it sets none.
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: All zeroes is a valid action too, so it is initialized whether the call succeeded or not.
    let action = unsafe { action.assume_init() };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;
    use std::time::Duration;

    use signal_hook::low_level::raise;

    use super::*;

    /// Set in the process that signals may end.
    const CHILD: &str = "STICKLER_TEST_SIGNALS";

    /// The child process: catches the signal twice; the third one ends it.
    fn child(signal: c_int) {
        for _ in 0..2 {
            let signals = EndingSignals::catch().unwrap();
            raise(signal).unwrap();
            assert!(signals.come_within(Duration::from_secs(1)));
        }
        raise(signal).unwrap();
    }

    #[test]
    fn a_signal_long_after_the_first_one_is_late() {
        let late = PATIENCE.as_millis() as u64;
        assert!(!is_late(5, 5) && !is_late(5, late + 4));
        assert!(is_late(5, late + 5));
    }

    #[test]
    fn signals_are_received_during_a_run_and_end_the_process_after_it() {
        if let Ok(signal) = std::env::var(CHILD) {
            return child(signal.parse().unwrap());
        }
        for signal in SIGNALS.into_iter().filter(|s| !is_ignored(*s)) {
            let name = "signals_are_received_during_a_run_and_end_the_process_after_it";
            let output = Command::new(std::env::current_exe().unwrap())
                .arg(format!("signals::tests::{name}"))
                .arg("--exact")
                .env(CHILD, signal.to_string())
                .output()
                .unwrap();
            assert_eq!(output.status.signal(), Some(signal), "{output:?}");
        }
    }
}
