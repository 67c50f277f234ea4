//! Flushes, one at a time, until one has failed.
//!
//! What a failed flush has not brought to persistent storage, the kernel may have dropped from its cache, and the next
//! flush would find nothing to do and succeed. So all flushes after it fail.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::say;

/// Whether all that was written to an image can still be brought to persistent storage.
#[derive(Debug)]
pub(super) struct Durability {
    image: String,
    is_lost: AtomicBool,
}

impl Durability {
    /// Of the image of this name.
    pub(super) fn of(image: String) -> Self {
        Durability {
            image,
            is_lost: AtomicBool::new(false),
        }
    }

    /// A flush has ended like this. Says so if it is the first that failed.
    pub(super) fn note_flush<T>(&self, result: &io::Result<T>) {
        let Err(why) = result else {
            return;
        };
        let was_tried = !matches!(
            why.raw_os_error(),
            Some(libc::EINTR | libc::EAGAIN | libc::ECANCELED)
        );
        if was_tried && !self.is_lost.swap(true, Ordering::AcqRel) {
            say::line(&format!(
                "disk {}: what the guest wrote could not be brought to persistent storage ({why}): from now on all \
                 its flushes fail",
                self.image
            ));
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }
}

/// The flushes that have been asked for. Of two at the same time the kernel would tell only one of a failure.
#[derive(Debug, Default)]
pub(super) struct FlushQueue {
    running: Option<u16>,
    waiting: VecDeque<u16>,
    refused: VecDeque<u16>,
}

/// What to do with a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Begin,
    Wait,
    Refuse,
}

impl FlushQueue {
    /// A flush is asked for.
    pub(super) fn admit(&mut self, token: u16, durability: &Durability) -> Admission {
        if durability.is_lost() {
            return Admission::Refuse;
        }
        if self.running.is_some() {
            self.waiting.push_back(token);
            return Admission::Wait;
        }
        self.running = Some(token);
        Admission::Begin
    }

    /// An operation has ended. If it was the flush that ran, returns the one that is to begin.
    pub(super) fn ended(&mut self, token: u16, durability: &Durability) -> Option<u16> {
        if self.running != Some(token) {
            return None;
        }
        self.running = None;
        if durability.is_lost() {
            self.refused.append(&mut self.waiting);
        }
        self.running = self.waiting.pop_front();
        self.running
    }

    /// Takes one that has failed without being tried.
    pub(super) fn next_refused(&mut self) -> Option<u16> {
        self.refused.pop_front()
    }

    /// All operations have been cancelled.
    pub(super) fn clear(&mut self) {
        *self = FlushQueue::default();
    }
}

/// What the guest is not told: why. It only learns that it failed.
pub(super) fn refusal() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failed_flush_none_succeeds() {
        let durability = Durability::of("a.img".to_owned());
        let mut flushes = FlushQueue::default();
        assert_eq!(flushes.admit(1, &durability), Admission::Begin);
        assert_eq!(flushes.admit(2, &durability), Admission::Wait);
        assert_eq!(flushes.admit(3, &durability), Admission::Wait);
        assert_eq!(flushes.ended(9, &durability), None);
        assert_eq!(flushes.ended(1, &durability), Some(2));
        for put_off in [libc::EINTR, libc::ECANCELED] {
            durability.note_flush::<()>(&Err(io::Error::from_raw_os_error(put_off)));
        }
        assert!(!durability.is_lost());
        durability.note_flush::<()>(&Err(io::Error::from_raw_os_error(libc::EIO)));
        assert_eq!(flushes.ended(2, &durability), None);
        assert_eq!(flushes.next_refused(), Some(3));
        assert_eq!(flushes.next_refused(), None);
        durability.note_flush(&Ok(()));
        assert_eq!(flushes.admit(4, &durability), Admission::Refuse);
        flushes.clear();
        assert_eq!(flushes.admit(5, &durability), Admission::Refuse);
    }
}
