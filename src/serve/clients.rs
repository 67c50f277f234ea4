//! How many clients there are.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use crate::machine::event::Event;

/// The clients of all sockets.
#[derive(Debug)]
pub(super) struct Clients {
    count: Mutex<Count>,
    changed: Event,
}

#[derive(Debug, Default)]
struct Count {
    present: usize,
    ever: usize,
}

impl Clients {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Clients {
            count: Mutex::default(),
            changed: Event::new()?,
        })
    }

    pub(super) fn has_come(&self) {
        self.change(|count| {
            count.present += 1;
            count.ever += 1;
        });
    }

    pub(super) fn has_gone(&self) {
        self.change(|count| count.present -= 1);
    }

    fn change(&self, f: impl FnOnce(&mut Count)) {
        f(&mut self.count.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.signal();
    }

    /// Whether there was a client, and is none any more.
    pub(super) fn all_have_gone(&self) -> bool {
        self.changed.clear();
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.ever > 0 && count.present == 0
    }
}

/// Readable when a client has come or gone.
impl AsFd for Clients {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changed.as_fd()
    }
}
