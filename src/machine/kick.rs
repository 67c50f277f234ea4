//! Getting a vCPU's thread out of the guest: a signal, sent until it has looked.

use std::ffi::{c_int, c_void};

use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

use super::Error;

/// The signal. It does nothing but interrupt KVM_RUN.
pub(super) fn signal() -> c_int {
    SIGRTMIN()
}

/// Makes the signal harmless; to be called before any is sent.
pub(super) fn install() -> Result<(), Error> {
    register_signal_handler(signal(), nothing).map_err(|why| Error::Host {
        what: "install a signal handler",
        why: why.into(),
    })
}

extern "C" fn nothing(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {}
