//! Changes of the terminal's size.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::AsFd;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::{EventfdFlags, eventfd};
use rustix::termios::tcgetwinsize;
use stickler_devices::console::port::Size;
use vmm_sys_util::signal::register_signal_handler;

/// An eventfd that SIGWINCH makes readable; one for the whole process, until its end.
static CHANGED: OnceLock<OwnedFd> = OnceLock::new();

/// From now on a change of the terminal's size makes the descriptor readable that this gives.
pub(super) fn watch() -> io::Result<BorrowedFd<'static>> {
    let fd = match CHANGED.get() {
        Some(fd) => fd,
        None => {
            let new = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let fd = CHANGED.get_or_init(|| new);
            register_signal_handler(libc::SIGWINCH, note)?;
            fd
        }
    };
    Ok(fd.as_fd())
}

/// Runs in the signal handler: looking at an initialized `OnceLock` is a load, and rustix makes its
/// system calls itself and leaves errno alone.
extern "C" fn note(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    if let Some(fd) = CHANGED.get() {
        let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
    }
}

/// Whether the size may have changed since the last call.
pub(super) fn may_have_changed() -> bool {
    CHANGED
        .get()
        .is_some_and(|fd| rustix::io::read(fd, &mut [0; 8]).is_ok())
}

/// The size of a terminal; `None` if `fd` is no terminal or has no known size.
pub(super) fn size(fd: impl AsFd) -> Option<Size> {
    let size = tcgetwinsize(fd).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some(Size {
        cols: size.ws_col,
        rows: size.ws_row,
    })
}
