//! Requests that wait for the disk.
//!
//! Citations are of virtio 1.0.

use std::collections::VecDeque;

use super::request::Data;
use crate::virtio::queue::BufferId;

/// What a request in flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    /// A write, and the epoch it belongs to.
    Write {
        epoch: u64,
    },
    Flush,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) kind: Kind,
    pub(super) id: BufferId,
    /// Guest-physical address of the status byte.
    pub(super) status: u64,
    pub(super) data: Data,
}

/// Segments for which there is room in data that is kept: more than drivers usually need.
const SEGMENTS_KEPT: usize = 512;

/// The requests in flight, by token. As many as the queue has descriptors: since each request takes
/// one at least, only a driver that makes a chain available twice can have more, and has to wait.
#[derive(Debug)]
pub(super) struct Flights {
    slots: Vec<Option<Flight>>,
    free: Vec<u16>,
    /// Spent data, for its allocations.
    spare: Vec<Data>,
}

impl Flights {
    pub(super) fn new(max: u16) -> Self {
        Flights {
            slots: (0..max).map(|_| None).collect(),
            free: (0..max).rev().collect(),
            spare: Vec::with_capacity(max.into()),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// The token that the next [`insert`](Self::insert) will give.
    pub(super) fn next_token(&self) -> Option<u16> {
        self.free.last().copied()
    }

    /// Takes a request in, and `data` with it; what is left in `data` is empty.
    pub(super) fn insert(&mut self, kind: Kind, id: BufferId, status: u64, data: &mut Data) {
        let Some(token) = self.free.pop() else {
            return;
        };
        let data = std::mem::replace(data, self.spare.pop().unwrap_or_default());
        self.slots[usize::from(token)] = Some(Flight {
            kind,
            id,
            status,
            data,
        });
    }

    pub(super) fn remove(&mut self, token: u16) -> Option<Flight> {
        let flight = self.slots.get_mut(usize::from(token))?.take()?;
        self.free.push(token);
        Some(flight)
    }

    /// Keeps the allocations of a request's data for another one, unless they are large: all requests together could
    /// have hundreds of MiB.
    pub(super) fn recycle(&mut self, data: Data) {
        if data.readable.capacity().max(data.writable.capacity()) <= SEGMENTS_KEPT {
            self.spare.push(data);
        }
    }
}

/// Keeps flushes behind the writes that came before them (§5.2.6.2).
///
/// A disk may complete operations in any order, and its flush covers only writes that are complete
/// when it begins. A driver may rely on no more than that; we do more and let a flush cover all
/// writes submitted before it, so that a driver which does not wait loses nothing either. Each
/// flush that has to wait ends an *epoch*; it may begin when no write of its epoch or an earlier one
/// is in flight. Later writes do not wait.
#[derive(Debug, Default)]
pub(super) struct Barriers {
    /// Number of the first epoch in `closed`, or of the open one.
    first: u64,
    /// Epochs ended by a waiting flush: how many of their writes are in flight, and the flush.
    closed: VecDeque<(u32, u16)>,
    /// Writes in flight in the open epoch.
    open: u32,
}

impl Barriers {
    /// The open epoch: that of writes submitted now.
    pub(super) fn epoch(&self) -> u64 {
        self.first + self.closed.len() as u64
    }

    /// A write is in flight in the open epoch.
    pub(super) fn write_submitted(&mut self) {
        self.open += 1;
    }

    /// A write of that epoch has completed.
    pub(super) fn write_completed(&mut self, epoch: u64) {
        let index = epoch.saturating_sub(self.first) as usize;
        match self.closed.get_mut(index) {
            Some((writes, _)) => *writes = writes.saturating_sub(1),
            None => self.open = self.open.saturating_sub(1),
        }
    }

    /// Whether a flush that comes now has to [wait](Self::wait).
    pub(super) fn must_wait(&self) -> bool {
        self.open > 0 || !self.closed.is_empty()
    }

    /// The flush `token` waits for all writes so far.
    pub(super) fn wait(&mut self, token: u16) {
        self.closed
            .push_back((std::mem::take(&mut self.open), token));
    }

    /// Takes a flush that need not wait any more.
    pub(super) fn ready(&mut self) -> Option<u16> {
        let &(0, token) = self.closed.front()? else {
            return None;
        };
        self.closed.pop_front();
        self.first += 1;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_waits_for_the_writes_before_it_and_only_for_those() {
        let mut b = Barriers::default();
        assert!(!b.must_wait());
        let write = |b: &mut Barriers| {
            b.write_submitted();
            b.epoch()
        };
        let w1 = write(&mut b);
        let w2 = write(&mut b);
        assert!(b.must_wait());
        b.wait(7);
        let w3 = write(&mut b);
        b.wait(8);
        let w4 = write(&mut b);
        assert_eq!(b.ready(), None);
        b.write_completed(w3);
        b.write_completed(w1);
        assert_eq!(b.ready(), None);
        b.write_completed(w2);
        assert_eq!(b.ready(), Some(7));
        assert_eq!(b.ready(), Some(8));
        assert_eq!(b.ready(), None);
        assert!(b.must_wait());
        b.write_completed(w4);
        assert!(!b.must_wait());
    }

    #[test]
    fn large_allocations_are_given_back() {
        let mut flights = Flights::new(2);
        for count in [SEGMENTS_KEPT, SEGMENTS_KEPT + 1] {
            let mut data = Data::default();
            data.readable.reserve_exact(count);
            flights.recycle(data);
        }
        assert_eq!(flights.spare.len(), 1);
    }

    #[test]
    fn slots_are_reused_and_run_out() {
        let mut f = Flights::new(2);
        let mut data = Data::default();
        assert_eq!(f.next_token(), Some(0));
        f.insert(Kind::Read, BufferId(5), 0, &mut data);
        f.insert(Kind::Flush, BufferId(6), 0, &mut data);
        assert!(f.is_full());
        assert_eq!(f.next_token(), None);
        assert_eq!(f.remove(0).map(|f| f.id), Some(BufferId(5)));
        assert!(f.remove(0).is_none());
        assert!(f.remove(99).is_none());
        assert!(!f.is_full() && !f.is_empty());
        assert_eq!(f.remove(1).map(|f| f.id), Some(BufferId(6)));
        assert!(f.is_empty());
    }
}
