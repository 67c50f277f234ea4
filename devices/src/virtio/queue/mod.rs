//! Virtqueues, the device's side (§2.4 of virtio 1.0).
//!
//! Device types see a [`Queue`] that hands out descriptor chains and takes them back. They do not know
//! the format of the ring behind it.
//!
//! * `ring`: what a ring format does, and which formats there are.
//! * `split`: the split ring (§2.4).
//! * `behaviour`: what a device may do otherwise than usual.
//! * `notification`: what the device has asked of the driver about notifications.

mod behaviour;
mod notification;
mod ring;
mod split;
#[cfg(test)]
mod tests;

use stickler_conformance::Witness;
pub use stickler_conformance::event::BufferId;
use stickler_conformance::event::{DataEvent, Element, Moment, QueueArea};

use crate::memory::GuestRam;
use behaviour::BehaviourState;
pub use behaviour::{QueueBehaviour, Settled};
use notification::NotificationState;
use ring::Ring;

/// Where a driver has put a virtqueue, and what was negotiated for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Its index.
    pub index: u16,
    /// Number of descriptors.
    pub size: u16,
    /// Guest-physical address of the descriptor table.
    pub desc: u64,
    /// Guest-physical address of the available ring.
    pub avail: u64,
    /// Guest-physical address of the used ring.
    pub used: u64,
    /// VIRTIO_F_RING_EVENT_IDX was negotiated.
    pub event_idx: bool,
}

/// A live virtqueue.
pub struct Queue {
    index: u16,
    ring: Ring,
    /// What the device last asked of the driver.
    notification: NotificationState,
    /// What it does otherwise than usual.
    behaviour: Option<Box<BehaviourState>>,
    /// Descriptors walked and compared since the last [`publish`](Self::publish).
    walked: usize,
}

/// About so many descriptors are walked for one queue in one call: buffers cost time that are empty, too.
pub const DESCRIPTORS_PER_CALL: usize = 8192;

/// A descriptor chain that the device has taken and has yet to return.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'q> {
    /// What [`Queue::add_used`] wants back.
    pub id: BufferId,
    /// Its buffers in order, all of them within the guest's memory: first the device-readable, then
    /// the device-writable ones where the driver keeps to §2.4.4.2. A descriptor that refers to an
    /// indirect table is not among them. Buffers may be empty.
    pub buffers: &'q [Element],
    /// Bytes in device-readable buffers.
    pub readable: u64,
    /// Bytes in device-writable buffers.
    pub writable: u64,
}

/// Positions in a queue, which run freely (§2.4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// Up to which the driver has made buffers available.
    pub available: u16,
    /// Up to which the device has taken them.
    pub taken: u16,
}

impl Exposure {
    /// How many buffers the device has not taken yet.
    pub fn waiting(self) -> u16 {
        self.available.wrapping_sub(self.taken)
    }
}

/// The queue cannot be worked any more: what the driver put there makes no sense. The device sets
/// DEVICE_NEEDS_RESET (§2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Bytes of one part of a virtqueue of `size` descriptors (§2.4), the event fields included.
pub const fn part_len(part: QueueArea, size: u16) -> u64 {
    split::part_len(part, size)
}

impl Queue {
    /// Maps a queue's rings. `None` if they cannot be used: a size that is no power of two, a part
    /// that is misaligned or not in memory.
    pub fn new(config: &QueueConfig, ram: &GuestRam) -> Option<Self> {
        Some(Queue {
            index: config.index,
            ring: Ring::map(config, ram)?,
            notification: NotificationState::default(),
            behaviour: None,
            walked: 0,
        })
    }

    /// The same queue with an unusual behaviour.
    #[must_use]
    pub fn with_behaviour(mut self, behaviour: QueueBehaviour) -> Self {
        if behaviour == QueueBehaviour::default() {
            return self;
        }
        if behaviour.fickle_suppression {
            self.ring.write_unused_fields(0x5a5a);
        }
        self.behaviour = Some(Box::new(BehaviourState::new(behaviour, self.size())));
        self
    }

    /// The guest's memory has changed: maps the rings where they are now. Returns whether they are in
    /// memory; if not, the queue must not be used any more.
    #[must_use]
    pub fn remap(&mut self, ram: &GuestRam) -> bool {
        self.ring.remap(ram)
    }

    /// The queue's index.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.ring.size()
    }

    /// Takes the next available chain and tells the witness what was found. A device that has asked to be
    /// notified takes none before it has been. Chains that no device
    /// can act on (a loop, buffers outside memory, a table that cannot be walked) break the queue;
    /// those it can make sense of come through, whatever rules they break.
    ///
    /// # Errors
    /// [`Broken`] if the ring or the chain makes no sense.
    #[inline]
    pub fn pop<W: Witness>(
        &mut self,
        ram: &GuestRam,
        witness: &mut W,
    ) -> Result<Option<Chain<'_>>, Broken> {
        if !self.ring.has_known_buffers() {
            if self.notification.waits() && !self.looks_unasked() {
                return Ok(None);
            }
            let found = self.ring.look(witness);
            if found == Ok(false) {
                return Ok(None);
            }
            self.notification.looked();
            found?;
        }
        let id = self.ring.take_next();
        if self.behaviour.is_some() {
            self.after_taking(id);
        }
        let chain = self.ring.walk(id, ram, witness);
        if let Ok(chain) = &chain {
            self.walked += chain.buffers.len() + 1;
        }
        chain.map(Some)
    }

    /// Whether so many descriptors have been walked and compared since the last [`publish`](Self::publish) that the
    /// rest is to wait for the next call ([`Progress::More`](crate::virtio::Progress::More)).
    #[inline]
    pub fn has_done_its_share(&self) -> bool {
        self.walked >= DESCRIPTORS_PER_CALL
    }

    /// Returns a chain to the driver: `len` bytes were written to its device-writable buffers,
    /// beginning with the first (§2.4.8.2). The driver sees it after the next
    /// [`publish`](Self::publish).
    #[inline]
    pub fn add_used<W: Witness>(&mut self, id: BufferId, len: u32, witness: &mut W) {
        if self.behaviour.is_none() {
            self.put_used(id, len, witness);
        } else {
            self.use_otherwise(id, len, witness);
        }
    }

    /// Puts a chain into the used ring.
    #[inline(always)]
    fn put_used<W: Witness>(&mut self, id: BufferId, len: u32, witness: &mut W) {
        if W::JUDGING {
            self.walked += self.ring.before_return(id, witness);
        }
        self.ring.put_used(id, len);
        if W::JUDGING {
            witness.see(
                &DataEvent::Returned {
                    queue: self.index,
                    id,
                    len,
                }
                .into(),
            );
        }
    }

    /// Makes all chains returned since the last call visible to the driver at once. Returns whether
    /// it wants an interrupt for them.
    #[inline]
    pub fn publish(&mut self) -> bool {
        self.walked = 0;
        // Chains that are held back until the queue is settled have not been put there.
        self.ring.publish()
    }

    /// Asks the driver to notify (`true`), or not to bother to notify (`false`), of new buffers
    /// (§2.4.9.2). After asking for notifications the device looks at the ring once more: returns
    /// whether there is a buffer that may not have been notified.
    #[inline]
    pub fn want_notifications(&mut self, want: bool) -> bool {
        if let Some(behaviour) = &mut self.behaviour {
            behaviour.wanted = want;
        }
        self.ask_for_notifications(want)
    }

    #[inline]
    fn ask_for_notifications(&mut self, want: bool) -> bool {
        // What it waits for it has asked for already, and asking again would look again. What the driver
        // owes by now it cannot be spared.
        let waits = self.notification.waits() && !self.looks_unasked();
        if waits && (want || self.ring.has_new_buffers()) {
            return false;
        }
        let more = self.ring.ask_for_notifications(want);
        self.notification
            .asked_for(want, more, self.ring.event_idx());
        more
    }

    /// The device goes live: buffers that the driver made available before are taken without a
    /// notification; of later ones the device asks to be notified. Returns whether there are any.
    #[must_use]
    pub fn start(&mut self) -> bool {
        if self.ring.has_new_buffers() || self.want_notifications(true) {
            self.notification = NotificationState::populated_at_start();
            return true;
        }
        false
    }

    /// The driver has notified the queue: the device may look, and tells what it had asked for.
    pub fn notified<W: Witness>(&mut self, witness: &mut W) {
        let (event_idx, new) = (self.ring.event_idx(), self.ring.has_new_buffers());
        self.notification
            .notified(self.index, event_idx, new, witness);
    }

    /// As [`notified`](Self::notified), while the device may not access memory.
    pub fn notified_in_pause(&mut self) {
        self.notification.looked();
    }

    /// Some time has passed, too long for a notification to be under way: where the device has asked
    /// to be notified, and there is something to take now, tells so. Returns whether the device does not
    /// wait for a notification any longer.
    ///
    /// What the device asked for has not changed since it looked last and found nothing, so a driver
    /// that has made buffers available since then has seen it.
    #[must_use]
    pub fn tick<W: Witness>(&mut self, witness: &mut W) -> bool {
        if let Some(ticks) = self.notification.tick_at_start() {
            self.ring
                .tell_not_notified(0, true, (ticks, false), witness);
        }
        if self.looks_unasked() {
            return false;
        }
        let position = self.ring.taken_position();
        let new = self.ring.available_position() != position;
        if let Some(ticks) = self.notification.tick(new) {
            self.ring
                .tell_not_notified(position, false, (ticks, false), witness);
            return !self.notification.waits();
        }
        false
    }

    /// The driver resets the device, or the run has ended: tells what has been altered, and which buffers
    /// the driver has not notified the device of.
    pub fn observe_last<W: Witness>(&mut self, ram: &GuestRam, witness: &mut W) {
        self.observe(Moment::Last, ram, witness);
        if let Some(ticks) = self.notification.owed_at_start() {
            self.ring.tell_not_notified(0, true, (ticks, true), witness);
        }
        let position = self.ring.taken_position();
        let new = self.ring.available_position() != position;
        if new
            && !self.looks_unasked()
            && let Some(ticks) = self.notification.owed()
        {
            self.ring
                .tell_not_notified(position, false, (ticks, true), witness);
        }
    }

    // ---- For those who judge

    /// How far the driver has made buffers available by now, and how many of them the device has taken.
    pub fn exposure(&self) -> Exposure {
        Exposure {
            available: self.ring.available_position(),
            taken: self.ring.taken_position(),
        }
    }

    /// Looks at all that the driver has done to the queue, and tells the witness of what is new: buffers
    /// made available, also those that the device does not need yet, and what the driver has altered
    /// that is in flight or the device's. The work is bounded; what is left over is told next time.
    #[inline]
    pub fn observe<W: Witness>(&mut self, moment: Moment, ram: &GuestRam, witness: &mut W) {
        if W::JUDGING {
            self.ring.observe(moment, ram, witness);
        }
    }
}
