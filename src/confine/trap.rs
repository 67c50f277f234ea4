//! The end of a process that makes a system call which its confinement forbids.

use std::ffi::{c_int, c_void};
use std::io::{self, Write};
use std::mem;
use std::ptr;

use syscalls::Sysno;

use super::{ConfineError, Role};

/// The exit code: stickler itself failed.
pub(super) const EXIT_CODE: c_int = 4;

/// From now on SIGSYS, which the kernel sends for a forbidden system call, ends the process with a sentence.
pub(super) fn install() -> Result<(), ConfineError> {
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = end;
    // SAFETY: All zeroes is a valid action without flags.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
    // SAFETY: The action is valid, and its handler does only what a signal handler may do.
    let result = unsafe { libc::sigaction(libc::SIGSYS, &action, ptr::null_mut()) };
    if result == 0 {
        Ok(())
    } else {
        Err(ConfineError::host("install a signal handler")(
            io::Error::last_os_error(),
        ))
    }
}

/// Says which call it was, and ends the process at once: whoever made it may have taken it over. Allocates
/// nothing and takes no lock.
extern "C" fn end(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    let number = if info.is_null() {
        -1
    } else {
        // SAFETY: The kernel gives the handler a valid siginfo_t.
        let bytes: *const c_int = info.cast_const().cast();
        // SAFETY: It is longer than that.
        let call = unsafe { bytes.add(SYSCALL_INDEX) };
        // SAFETY: The number of the call stands there, aligned.
        unsafe { call.read() }
    };
    let mut line = Line::default();
    // It cannot fail: a line that is too long is cut.
    let _ = match usize::try_from(number).ok().and_then(Sysno::new) {
        Some(call) => writeln!(
            line,
            "stickler: the forbidden system call {} in the role {}: the process is ended",
            call.name(),
            Role::of_this_thread().name()
        ),
        None => writeln!(
            line,
            "stickler: the forbidden system call {number} in the role {}: the process is ended",
            Role::of_this_thread().name()
        ),
    };
    // SAFETY: The bytes are valid; standard error may be anything.
    unsafe { libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.length) };
    // SAFETY: It ends the process.
    unsafe { libc::_exit(EXIT_CODE) }
}

/// Where the number of the call stands in siginfo_t, in units of an int (`si_syscall` on x86-64: after
/// si_signo, si_errno, si_code, padding, and the address of the call).
const SYSCALL_INDEX: usize = 6;

/// A line that needs no allocation.
struct Line {
    bytes: [u8; 200],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Line {
            bytes: [0; 200],
            length: 0,
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = &mut self.bytes[self.length..];
        let taken = bytes.len().min(room.len());
        room[..taken].copy_from_slice(&bytes[..taken]);
        self.length += taken;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
