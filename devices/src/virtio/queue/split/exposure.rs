//! What is told of buffers from the moment the driver makes them available: all of them, whether or not
//! the device needs them, and what becomes of them until they are returned.
//!
//! The work at one look is bounded: what is left over is done at the next.
//!
//! Citations are of virtio 1.0.

use stickler_conformance::Witness;
use stickler_conformance::event::{
    AlteredBuffer, AvailableRead, Buffer, BufferId, BufferPart, ChainEnd, DataEvent, Moment,
    SplitRingEvent,
};

use super::SplitRing;
use super::in_flight::{Difference, InFlight};
use super::walk::{self, Walk};
use crate::memory::GuestRam;

/// About so many descriptors are walked at one look for the first time, …
const EXPOSED_AT_A_LOOK: usize = 4096;
/// … and so many compared with what they were, and as many entries of the available ring.
const COMPARED_AT_A_LOOK: usize = 1024;
/// The same at the last look before a queue is given up.
const AT_THE_LAST_LOOK: usize = 1 << 17;

/// What has been told of the available ring.
pub(super) struct ExposureState {
    /// `idx` and `flags` when someone last looked.
    idx: u16,
    flags: u16,
    /// The position up to which buffers were told as made available; runs freely. Never behind the
    /// position that the device takes next.
    told: u16,
    /// How many looks there were: each compares other entries of the available ring, if there are many.
    looks: u16,
    in_flight: InFlight,
}

impl ExposureState {
    pub(super) fn new(size: u16) -> Self {
        ExposureState {
            idx: 0,
            flags: 0,
            told: 0,
            looks: 0,
            in_flight: InFlight::new(size),
        }
    }
}

impl SplitRing {
    /// Looks at all that the driver has done to the queue since the last look: tells of the buffers made
    /// available, and of what was altered that is in flight, or the device's.
    pub(in crate::virtio::queue) fn observe<W: Witness>(
        &mut self,
        moment: Moment,
        ram: &GuestRam,
        witness: &mut W,
    ) {
        let last = moment == Moment::Last;
        self.sight(self.rings.available_idx(), witness);
        self.compare_used_ring(moment, witness);
        if moment != Moment::Worked {
            self.compare_used_elements(last, moment, witness);
            self.compare_entries(moment, ram, witness);
            let budget = if last {
                AT_THE_LAST_LOOK
            } else {
                COMPARED_AT_A_LOOK
            };
            self.compare_in_flight(budget, moment, witness);
        }
        let budget = if last {
            AT_THE_LAST_LOOK
        } else {
            EXPOSED_AT_A_LOOK
        };
        self.tell_exposed_buffers(budget, ram, witness);
    }

    /// `idx` of the available ring has been read: tells of it, if there is anything new.
    #[inline(always)]
    pub(super) fn sight<W: Witness>(&mut self, idx: u16, witness: &mut W) {
        let flags = self.rings.available_flags();
        let (previous, before) = (self.exposure.idx, self.exposure.flags);
        if idx == previous && flags == before {
            return;
        }
        self.exposure.idx = idx;
        self.exposure.flags = flags;
        witness.see(
            &DataEvent::AvailableRead(AvailableRead {
                queue: self.config.index,
                size: self.rings.size(),
                flags,
                previous,
                idx,
                taken: self.next_available,
            })
            .into(),
        );
        // Told already: beyond idx, nothing is available any more.
        if idx.wrapping_sub(previous) > self.rings.size() {
            self.take_back(idx, witness);
        }
    }

    /// A buffer is about to be returned: where `flags` has no use (§2.4.7.1), a driver may write it when it
    /// handles interrupts, and again before it makes the next buffer available.
    #[inline(always)]
    pub(super) fn sight_flags<W: Witness>(&mut self, witness: &mut W) {
        if self.config.event_idx && self.rings.available_flags() != self.exposure.flags {
            self.sight(self.rings.available_idx(), witness);
        }
    }

    /// `idx` is not where it can have gone to: forgets the buffers that are not available by it.
    #[cold]
    fn take_back<W: Witness>(&mut self, idx: u16, witness: &mut W) {
        let waiting = self.exposure.told.wrapping_sub(self.next_available);
        let left = idx.wrapping_sub(self.next_available);
        let left = if left < waiting { left } else { 0 };
        for _ in left..waiting.min(self.rings.size()) {
            self.exposure.told = self.exposure.told.wrapping_sub(1);
            let head = self.exposure.in_flight.entry(self.exposure.told);
            self.withdraw(head, witness);
        }
        self.exposure.told = self.next_available.wrapping_add(left);
    }

    /// The driver has taken back a buffer that waited.
    #[cold]
    fn withdraw<W: Witness>(&mut self, head: u16, witness: &mut W) {
        self.exposure.in_flight.forget(head);
        let (queue, id) = (self.config.index, BufferId(head));
        witness.see(&SplitRingEvent::Withdrawn { queue, id }.into());
    }

    /// Tells of the buffers that the driver has made available since the last time.
    #[inline(always)]
    fn tell_exposed_buffers<W: Witness>(&mut self, budget: usize, ram: &GuestRam, witness: &mut W) {
        let mut left = budget;
        // If more seem to be available than there are descriptors, the entries have no meaning.
        if self.exposure.idx.wrapping_sub(self.next_available) > self.rings.size() {
            return;
        }
        while self.exposure.told != self.exposure.idx && left > 0 {
            let position = self.exposure.told;
            let head = self.rings.available_entry(position);
            let walk = walk::walk(&self.rings, ram, head, &mut self.elements);
            self.exposure.told = position.wrapping_add(1);
            self.tell_exposed(position, head, &walk, witness);
            left = left.saturating_sub(self.elements.len().max(1));
        }
    }

    /// Tells that the driver made the chain available that was just walked.
    #[inline(always)]
    fn tell_exposed<W: Witness>(&mut self, position: u16, head: u16, walk: &Walk, witness: &mut W) {
        let complete = matches!(walk.end, ChainEnd::Complete);
        let in_flight = &mut self.exposure.in_flight;
        let in_flight = in_flight.keep(position, head, &self.elements, complete);
        witness.see(
            &DataEvent::Exposed(Buffer {
                queue: self.config.index,
                size: self.rings.size(),
                id: BufferId(head),
                elements: &self.elements,
                end: &walk.end,
                readable: walk.readable,
                writable: walk.writable,
                in_flight,
            })
            .into(),
        );
    }

    /// The device has taken the chain that was just walked.
    #[inline(always)]
    pub(super) fn tell_taken<W: Witness>(&mut self, head: u16, walk: &Walk, witness: &mut W) {
        let position = self.next_available.wrapping_sub(1);
        if self.exposure.told == position {
            self.exposure.told = self.next_available;
            self.tell_exposed(position, head, walk, witness);
        } else {
            self.compare_taken(position, head, walk, witness);
        }
    }

    /// The device has taken a chain that it has looked at before.
    #[inline(never)]
    fn compare_taken<W: Witness>(
        &mut self,
        position: u16,
        head: u16,
        walk: &Walk,
        witness: &mut W,
    ) {
        let exposed = self.exposure.in_flight.entry(position);
        if exposed != head {
            // What waited has been replaced by another buffer, which is made available only now.
            self.tell_replaced(position, exposed, head, Moment::Worked, witness);
            self.tell_exposed(position, head, walk, witness);
        } else if let (Some(difference), _) = self.exposure.in_flight.compare(&self.rings, head) {
            tell_altered(self.config.index, head, difference, Moment::Worked, witness);
        }
    }

    /// The device is about to return the chain. Returns how many descriptors were compared.
    #[inline(always)]
    pub(super) fn tell_returned<W: Witness>(&mut self, head: u16, witness: &mut W) -> usize {
        let (difference, compared) = self.exposure.in_flight.compare(&self.rings, head);
        if let Some(difference) = difference {
            tell_altered(self.config.index, head, difference, Moment::Worked, witness);
        }
        self.exposure.in_flight.forget(head);
        compared
    }

    /// Compares the entries of the available ring that the device has yet to take; where they are many,
    /// a part of them at each look, and all at the last one. The first that was replaced is told, and the
    /// buffer that is there now.
    fn compare_entries<W: Witness>(&mut self, moment: Moment, ram: &GuestRam, witness: &mut W) {
        let waiting = self.exposure.told.wrapping_sub(self.next_available);
        let waiting = waiting.min(self.rings.size());
        let part = if moment == Moment::Last {
            waiting
        } else {
            waiting.min(COMPARED_AT_A_LOOK as u16)
        };
        let parts = waiting.checked_div(part).unwrap_or(1).max(1);
        self.exposure.looks = self.exposure.looks.wrapping_add(1);
        let first = self.exposure.looks % (parts + 1) * part;
        // The last part overlaps the one before.
        let first = first.min(waiting - part);
        for offset in first..first + part {
            let position = self.next_available.wrapping_add(offset);
            let exposed = self.exposure.in_flight.entry(position);
            let found = self.rings.available_entry(position);
            if exposed != found {
                self.tell_replaced(position, exposed, found, moment, witness);
                let walk = walk::walk(&self.rings, ram, found, &mut self.elements);
                self.tell_exposed(position, found, &walk, witness);
                return;
            }
        }
    }

    #[cold]
    fn tell_replaced<W: Witness>(
        &mut self,
        position: u16,
        exposed: u16,
        found: u16,
        moment: Moment,
        witness: &mut W,
    ) {
        let difference = Difference {
            part: BufferPart::RingEntry(position & (self.rings.size() - 1)),
            exposed: exposed.into(),
            found: found.into(),
        };
        tell_altered(self.config.index, exposed, difference, moment, witness);
        self.withdraw(exposed, witness);
    }

    /// Compares the chains in flight with what they were.
    fn compare_in_flight<W: Witness>(&mut self, budget: usize, moment: Moment, witness: &mut W) {
        let mut told = false;
        let queue = self.config.index;
        let in_flight = &mut self.exposure.in_flight;
        in_flight.compare_round(&self.rings, budget, |head, difference| {
            // A table that was taken back differs everywhere: one chain says so.
            if moment != Moment::Last || !told {
                tell_altered(queue, head, difference, moment, witness);
            }
            told = true;
        });
    }
}

#[cold]
#[inline(never)]
fn tell_altered<W: Witness>(
    queue: u16,
    head: u16,
    Difference {
        part,
        exposed,
        found,
    }: Difference,
    moment: Moment,
    witness: &mut W,
) {
    let altered = AlteredBuffer {
        queue,
        id: BufferId(head),
        part,
        exposed,
        found,
        moment,
    };
    witness.see(&SplitRingEvent::BufferAltered(altered).into());
}
