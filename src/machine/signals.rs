//! SIGINT, SIGTERM and their like end the run, not the process: the report is still wanted.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{SigId, flag, low_level};

use super::Error;

const SIGNALS: [c_int; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

/// Whether the signals end the process, as they do by default: while there is no run.
static END_PROCESS: AtomicBool = AtomicBool::new(true);

/// While this exists, the signals make a file descriptor readable. Otherwise they end the process.
pub(crate) struct EndingSignals {
    received: UnixStream,
    actions: Vec<SigId>,
}

impl EndingSignals {
    pub(crate) fn catch() -> Result<Self, Error> {
        Self::register().map_err(Error::host("install a signal handler"))
    }

    fn register() -> io::Result<Self> {
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
        END_PROCESS.store(false, Ordering::SeqCst);
        Ok(signals)
    }

    /// Readable once one of the signals has arrived.
    pub(crate) fn received(&self) -> BorrowedFd<'_> {
        self.received.as_fd()
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
    // A signal that the parent process ignores for us (nohup) stays ignored.
    let handled: Vec<c_int> = SIGNALS.into_iter().filter(|s| !is_ignored(*s)).collect();
    for signal in &handled {
        flag::register_conditional_default(*signal, &END_PROCESS)?;
    }
    Ok(HANDLED.get_or_init(|| handled))
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

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use signal_hook::low_level::raise;

    use super::*;

    /// Set in the process that signals may end.
    const CHILD: &str = "STICKLER_TEST_SIGNALS";

    fn is_received(signals: &EndingSignals) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(signals.received(), PollFlags::IN)];
        let timeout = Timespec::try_from(Duration::from_secs(1)).unwrap();
        poll(&mut fds, Some(&timeout)).unwrap() == 1
    }

    /// The child process: catches the signal twice; the third one ends it.
    fn child(signal: c_int) {
        for _ in 0..2 {
            let signals = EndingSignals::catch().unwrap();
            raise(signal).unwrap();
            assert!(is_received(&signals));
        }
        raise(signal).unwrap();
    }

    #[test]
    fn signals_are_received_during_a_run_and_end_the_process_after_it() {
        if let Ok(signal) = std::env::var(CHILD) {
            return child(signal.parse().unwrap());
        }
        for signal in SIGNALS.into_iter().filter(|s| !is_ignored(*s)) {
            let name = "signals_are_received_during_a_run_and_end_the_process_after_it";
            let output = Command::new(std::env::current_exe().unwrap())
                .arg(format!("machine::signals::tests::{name}"))
                .arg("--exact")
                .env(CHILD, signal.to_string())
                .output()
                .unwrap();
            assert_eq!(output.status.signal(), Some(signal), "{output:?}");
        }
    }
}
