//! What a ring format does for a [`Queue`](super::Queue), and which formats there are. Citations are
//! of virtio 1.0.
//!
//! A new format is a variant here and a folder beside `split`. The calls are dispatched by `match`, so
//! that the compiler sees through them: this is the path of every buffer.

use stickler_conformance::Witness;
use stickler_conformance::event::{Element, Moment};

use super::split::SplitRing;
use super::{Broken, BufferId, Chain, QueueConfig};
use crate::memory::GuestRam;

/// The ring behind a queue.
pub(super) enum Ring {
    /// A split ring (§2.4).
    Split(SplitRing),
}

impl Ring {
    /// Maps the ring's parts. `None` if they cannot be used.
    pub(super) fn map(config: &QueueConfig, ram: &GuestRam) -> Option<Self> {
        SplitRing::map(config, ram).map(Ring::Split)
    }

    /// Maps the parts of a ring in use where they are in `ram`. Returns whether they are in memory.
    pub(super) fn remap(&mut self, ram: &GuestRam) -> bool {
        match self {
            Ring::Split(ring) => ring.remap(ram),
        }
    }

    /// Number of descriptors.
    #[inline(always)]
    pub(super) fn size(&self) -> u16 {
        match self {
            Ring::Split(ring) => ring.size(),
        }
    }

    /// Whether VIRTIO_F_RING_EVENT_IDX was negotiated.
    #[inline(always)]
    pub(super) fn event_idx(&self) -> bool {
        match self {
            Ring::Split(ring) => ring.event_idx(),
        }
    }

    // ---- Taking

    /// Whether there is a buffer to take that the device has seen when it last looked.
    #[inline(always)]
    pub(super) fn has_known_buffers(&self) -> bool {
        match self {
            Ring::Split(ring) => ring.has_known_buffers(),
        }
    }

    /// Whether memory says that there are buffers beyond those that were taken.
    #[inline(always)]
    pub(super) fn has_new_buffers(&self) -> bool {
        match self {
            Ring::Split(ring) => ring.has_new_buffers(),
        }
    }

    /// Looks whether more buffers are available than when the device last looked, and tells the witness
    /// if so.
    #[inline(always)]
    pub(super) fn look<W: Witness>(&mut self, witness: &mut W) -> Result<bool, Broken> {
        match self {
            Ring::Split(ring) => ring.look(witness),
        }
    }

    /// How many buffers the device has taken so far, modulo 2^16.
    #[inline(always)]
    pub(super) fn taken_position(&self) -> u16 {
        match self {
            Ring::Split(ring) => ring.taken_position(),
        }
    }

    /// Takes the next of the known buffers.
    #[inline(always)]
    pub(super) fn take_next(&mut self) -> BufferId {
        match self {
            Ring::Split(ring) => ring.take_next(),
        }
    }

    /// Walks the chain of a buffer that was just taken, and tells the witness.
    #[inline(always)]
    pub(super) fn walk<W: Witness>(
        &mut self,
        id: BufferId,
        ram: &GuestRam,
        witness: &mut W,
    ) -> Result<Chain<'_>, Broken> {
        match self {
            Ring::Split(ring) => ring.walk(id, ram, witness),
        }
    }

    // ---- Returning

    /// Looks at all that the driver has done to the queue, and tells the witness of what is new: buffers
    /// made available, and what was altered that is in flight or the device's. The work is bounded.
    #[inline(always)]
    pub(super) fn observe<W: Witness>(&mut self, moment: Moment, ram: &GuestRam, witness: &mut W) {
        match self {
            Ring::Split(ring) => ring.observe(moment, ram, witness),
        }
    }

    /// A buffer is about to be returned: tells the witness whether the driver has altered it meanwhile.
    #[inline(always)]
    pub(super) fn before_return<W: Witness>(&mut self, id: BufferId, witness: &mut W) -> usize {
        match self {
            Ring::Split(ring) => ring.before_return(id, witness),
        }
    }

    /// Writes into the device-writable buffers of a chain behind its first `len` bytes (§2.4.8.2).
    /// `elements` is overwritten.
    pub(super) fn write_beyond(&self, id: BufferId, len: u32, elements: &mut Vec<Element>) {
        match self {
            Ring::Split(ring) => ring.write_beyond(id, len, elements),
        }
    }

    /// Alters what the first `len` bytes of a chain's device-writable buffers hold, until it is called
    /// again. `elements` is overwritten.
    pub(super) fn veil(&self, id: BufferId, len: u32, elements: &mut Vec<Element>) {
        match self {
            Ring::Split(ring) => ring.veil(id, len, elements),
        }
    }

    /// Puts a buffer where the driver sees it after [`publish`](Self::publish).
    #[inline(always)]
    pub(super) fn put_used(&mut self, id: BufferId, len: u32) {
        match self {
            Ring::Split(ring) => ring.put_used(id, len),
        }
    }

    /// Makes the buffers put since the last call visible to the driver. Returns whether there were any
    /// and it wants an interrupt for them.
    #[inline(always)]
    pub(super) fn publish(&mut self) -> bool {
        match self {
            Ring::Split(ring) => ring.publish(),
        }
    }

    // ---- Notifications

    /// Asks the driver for notifications or against them, and, if it asks for them, returns whether
    /// there are new buffers already.
    #[inline(always)]
    pub(super) fn ask_for_notifications(&mut self, want: bool) -> bool {
        match self {
            Ring::Split(ring) => ring.ask_for_notifications(want),
        }
    }

    /// Writes what it likes to the fields that have no meaning with what was negotiated (§2.4.9.1).
    pub(super) fn write_unused_fields(&mut self, value: u16) {
        match self {
            Ring::Split(ring) => ring.write_unused_fields(value),
        }
    }

    /// How many buffers the driver has made available so far, modulo 2^16, as memory says now.
    #[inline(always)]
    pub(super) fn available_position(&self) -> u16 {
        match self {
            Ring::Split(ring) => ring.available_position(),
        }
    }

    /// Tells that the driver has not notified the device of new buffers from `position` on for so many
    /// ticks, and, if this is the `last` time, will not; `at_start` if they are those that were available
    /// when the device went live.
    pub(super) fn tell_not_notified<W: Witness>(
        &self,
        position: u16,
        at_start: bool,
        (ticks, last): (u32, bool),
        witness: &mut W,
    ) {
        match self {
            Ring::Split(ring) => ring.tell_not_notified(position, at_start, (ticks, last), witness),
        }
    }
}
