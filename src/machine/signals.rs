//! SIGINT, SIGTERM and their like end the run, not the process: the report is still wanted.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use vmm_sys_util::signal::register_signal_handler;

use super::Error;
use super::event::Event;

/// The eventfd the handler writes to, or -1.
static NOTIFY: AtomicI32 = AtomicI32::new(-1);

const SIGNALS: [c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// While this lives, the signals make an eventfd readable. After it they end the process as ever.
pub(super) struct EndingSignals {
    event: Event,
    caught: Vec<c_int>,
}

impl EndingSignals {
    pub(super) fn catch() -> Result<Self, Error> {
        let event = Event::new().map_err(Error::host("create an eventfd"))?;
        NOTIFY.store(event.as_fd().as_raw_fd(), Ordering::Release);
        // What whoever started us has chosen to ignore (nohup) stays ignored.
        let caught: Vec<c_int> = SIGNALS.into_iter().filter(|s| !is_ignored(*s)).collect();
        for signal in &caught {
            register_signal_handler(*signal, notify).map_err(|why| Error::Host {
                what: "install a signal handler",
                why: why.into(),
            })?;
        }
        Ok(EndingSignals { event, caught })
    }

    pub(super) fn event(&self) -> &Event {
        &self.event
    }
}

impl Drop for EndingSignals {
    fn drop(&mut self) {
        for signal in &self.caught {
            // SAFETY: Setting the default action has no precondition.
            unsafe { libc::signal(*signal, libc::SIG_DFL) };
        }
        NOTIFY.store(-1, Ordering::Release);
    }
}

fn is_ignored(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: Asks for the action, with room for one; it sets none.
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: All zeroes is a valid action too, so it is initialized whatever came of the call.
    let action = unsafe { action.assume_init() };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}

extern "C" fn notify(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    let one = 1u64.to_ne_bytes();
    let fd = NOTIFY.load(Ordering::Acquire);
    if fd >= 0 {
        // SAFETY: write is async-signal-safe, the buffer lives here. errno may change, but whatever
        // this interrupts fails with EINTR or has returned already.
        unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
    }
}
