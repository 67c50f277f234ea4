//! Getting a vCPU's thread out of the guest: a signal, sent until the thread has looked.
//!
//! The handler comes from `vmm-sys-util` and not from `signal-hook`, which sets SA_RESTART: a system
//! call in which a vCPU's thread waits for the host would go on after the signal.

use std::ffi::{c_int, c_void};

use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

use super::Error;

/// The signal. It does nothing but interrupt KVM_RUN.
pub(super) fn signal() -> c_int {
    SIGRTMIN()
}

/// Makes the signal harmless; to be called before any is sent.
pub(super) fn install() -> Result<(), Error> {
    register_signal_handler(signal(), do_nothing).map_err(|why| Error::Host {
        what: "install a signal handler",
        why: why.into(),
    })
}

extern "C" fn do_nothing(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {}
