//! The link: what the host can do to it while the device runs.
//!
//! Citations are of virtio 1.0.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// Takes a network device's link up and down from any thread. Clones are handles of the same link.
#[derive(Clone, Debug)]
pub struct LinkHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    up: AtomicBool,
    announce: AtomicBool,
    changed: EventFd,
}

impl LinkHandle {
    /// A link that is up.
    ///
    /// # Errors
    /// If no eventfd can be had.
    pub(super) fn new() -> io::Result<Self> {
        Ok(LinkHandle(Arc::new(Shared {
            up: AtomicBool::new(true),
            announce: AtomicBool::new(false),
            changed: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
        })))
    }

    /// Plugs the cable in, or pulls it. The driver is told as soon as the device is served next.
    pub fn set_up(&self, up: bool) {
        self.0.up.store(up, Ordering::Release);
        self.signal();
    }

    /// Whether the cable is plugged in.
    pub fn is_up(&self) -> bool {
        self.0.up.load(Ordering::Acquire)
    }

    /// Asks the driver to announce itself with gratuitous packets (§5.1.6.5.4), if it can.
    pub fn announce(&self) {
        self.0.announce.store(true, Ordering::Release);
        self.signal();
    }

    /// Becomes readable when something has changed.
    pub(super) fn fd(&self) -> RawFd {
        self.0.changed.as_raw_fd()
    }

    /// Takes the request to announce, and makes [`fd`](Self::fd) unreadable.
    pub(super) fn take_announce(&self) -> bool {
        // Nothing to read is no error here: we may be called without a change.
        let _ = self.0.changed.read();
        self.0.announce.swap(false, Ordering::AcqRel)
    }

    fn signal(&self) {
        // Fails only if the counter is full, and then it is readable.
        let _ = self.0.changed.write(1);
    }
}
