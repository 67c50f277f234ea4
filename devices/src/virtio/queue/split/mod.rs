//! The split ring (§2.4 of virtio 1.0): descriptor table, available ring, used ring.
//!
//! virtio-queue's iterators end silently where a chain is bad; what a driver put there is just what
//! we are here to see. So chains are walked here, and told as they were found.
//!
//! * `rings`: the three parts in the guest's memory.
//! * `walk`: how a descriptor chain is walked (§2.4.5).
//! * `watch`: whether the driver alters what is in flight.
//! * `shadow`: whether the driver writes to the used ring.

mod rings;
mod shadow;
mod walk;
mod watch;

use std::sync::atomic::{Ordering, fence};

use stickler_conformance::Witness;
use stickler_conformance::event::{
    AvailableRead, Buffer, BufferId, ChainEnd, DataEvent, Element, NotificationEvent, QueueArea,
};
use stickler_conformance::layout::desc;

use super::{Broken, Chain, QueueConfig};
use crate::memory::GuestRam;
use rings::MappedRings;
use shadow::UsedRingShadow;
pub(super) use walk::capacity as walk_capacity;
use watch::ChainWatch;

/// `flags` of the used ring: the device needs no notifications (§2.4.9).
const USED_F_NO_NOTIFY: u16 = 1;
/// `flags` of the available ring: the driver needs no interrupts (§2.4.7).
const AVAIL_F_NO_INTERRUPT: u16 = 1;

/// Bytes of one part of a ring of `size` descriptors (§2.4), the event fields included.
pub(super) const fn part_len(part: QueueArea, size: u16) -> u64 {
    match part {
        QueueArea::Descriptor => rings::table_len(size),
        QueueArea::Driver => rings::available_len(size),
        QueueArea::Device => rings::used_len(size),
    }
}

/// A split ring in use.
pub(super) struct SplitRing {
    config: QueueConfig,
    rings: MappedRings,
    /// The available ring's position the device takes next; runs freely.
    next_available: u16,
    /// `idx` of the available ring when the device last looked.
    available_idx: u16,
    /// The used ring's position the device fills next; runs freely.
    next_used: u16,
    /// `idx` of the used ring as the driver sees it.
    published: u16,
    /// The chain taken last; its capacity is that of the longest walk, so that taking one allocates
    /// nothing.
    elements: Vec<Element>,
    /// Heads taken and not returned, a bit each. Kept only while someone judges.
    in_flight: Vec<u64>,
    /// One chain in flight, as it was taken. Kept only while someone judges.
    watch: ChainWatch,
    /// What the device last wrote to the used ring.
    shadow: UsedRingShadow,
}

impl SplitRing {
    pub(super) fn map(config: &QueueConfig, ram: &GuestRam) -> Option<Self> {
        Some(SplitRing {
            config: *config,
            rings: MappedRings::map(ram, config)?,
            next_available: 0,
            available_idx: 0,
            next_used: 0,
            published: 0,
            elements: Vec::with_capacity(walk::capacity(config.size)),
            in_flight: vec![0; usize::from(config.size).div_ceil(64)],
            watch: ChainWatch::new(),
            shadow: UsedRingShadow::default(),
        })
    }

    pub(super) fn remap(&mut self, ram: &GuestRam) -> bool {
        match MappedRings::map(ram, &self.config) {
            Some(rings) => {
                self.rings = rings;
                true
            }
            None => false,
        }
    }

    #[inline(always)]
    pub(super) fn size(&self) -> u16 {
        self.rings.size()
    }

    #[inline(always)]
    pub(super) fn event_idx(&self) -> bool {
        self.config.event_idx
    }

    // ---- Taking (§2.4.6)

    #[inline(always)]
    pub(super) fn has_known_buffers(&self) -> bool {
        self.next_available != self.available_idx
    }

    #[inline(always)]
    pub(super) fn has_new_buffers(&self) -> bool {
        self.rings.available_idx() != self.next_available
    }

    /// Looks at the available ring's `idx`.
    #[inline(always)]
    pub(super) fn look<W: Witness>(&mut self, witness: &mut W) -> Result<bool, Broken> {
        let previous = self.available_idx;
        let idx = self.rings.available_idx();
        if idx == previous {
            return Ok(false);
        }
        if W::JUDGING {
            self.compare_used_ring(witness);
            witness.see(
                &DataEvent::AvailableRead(AvailableRead {
                    queue: self.config.index,
                    size: self.rings.size(),
                    flags: self.rings.available_flags(),
                    previous,
                    idx,
                    taken: self.next_available,
                })
                .into(),
            );
        }
        // The driver cannot make more chains available than there are descriptors; if it seems to,
        // `idx` has gone backwards or is wild, and the entries below it have no meaning.
        if idx.wrapping_sub(self.next_available) > self.rings.size() {
            return Err(Broken);
        }
        self.available_idx = idx;
        Ok(true)
    }

    #[inline(always)]
    pub(super) fn take_next(&mut self) -> BufferId {
        let head = self.rings.available_entry(self.next_available);
        self.next_available = self.next_available.wrapping_add(1);
        BufferId(head)
    }

    #[inline(always)]
    pub(super) fn walk<W: Witness>(
        &mut self,
        BufferId(head): BufferId,
        ram: &GuestRam,
        witness: &mut W,
    ) -> Result<Chain<'_>, Broken> {
        let walk = walk::walk(&self.rings, ram, head, &mut self.elements);
        if W::JUDGING {
            let in_flight = self.set_in_flight(head);
            witness.see(
                &DataEvent::Taken(Buffer {
                    queue: self.config.index,
                    size: self.rings.size(),
                    id: BufferId(head),
                    elements: &self.elements,
                    end: &walk.end,
                    in_flight,
                })
                .into(),
            );
            self.watch.see(head, &self.elements);
        }
        if walk.end != ChainEnd::Complete {
            return Err(Broken);
        }
        let buffers = match walk.referrer {
            None => &self.elements[..],
            Some(0) => self.elements.get(1..).unwrap_or_default(),
            Some(position) => {
                self.elements.remove(position);
                &self.elements[..]
            }
        };
        Ok(Chain {
            id: BufferId(head),
            buffers,
            readable: walk.readable,
            writable: walk.writable,
        })
    }

    /// Notes that `head` is taken. Returns whether it was already.
    #[inline(always)]
    fn set_in_flight(&mut self, head: u16) -> bool {
        match self.in_flight.get_mut(usize::from(head / 64)) {
            Some(word) => {
                let bit = 1 << (head % 64);
                let taken = *word & bit != 0;
                *word |= bit;
                taken
            }
            // No descriptor of this table: told as HeadOutOfRange.
            None => false,
        }
    }

    // ---- Returning (§2.4.8)

    #[inline(always)]
    pub(super) fn before_return<W: Witness>(&mut self, BufferId(head): BufferId, witness: &mut W) {
        if self.watch.is_of(head) {
            self.watch.compare(&self.rings, self.config.index, witness);
        }
        if let Some(word) = self.in_flight.get_mut(usize::from(head / 64)) {
            *word &= !(1 << (head % 64));
        }
    }

    pub(super) fn write_beyond(
        &self,
        BufferId(head): BufferId,
        len: u32,
        elements: &mut Vec<Element>,
    ) {
        const BYTES: [u8; 64] = [0xa5; 64];
        let ram = self.rings.ram();
        let walk = walk::walk(&self.rings, ram, head, elements);
        if walk.end != ChainEnd::Complete {
            return;
        }
        let mut skip = u64::from(len);
        let written = |e: &&Element| e.flags & (desc::WRITE | desc::INDIRECT) == desc::WRITE;
        for element in elements.iter().filter(written) {
            let spare = u64::from(element.len).saturating_sub(skip).min(64);
            if let Some(slice) = ram.slice(element.addr.saturating_add(skip), spare as usize)
                && spare > 0
            {
                slice.copy_from(&BYTES[..spare as usize]);
            }
            skip = skip.saturating_sub(u64::from(element.len));
        }
    }

    #[inline(always)]
    pub(super) fn put_used(&mut self, BufferId(head): BufferId, len: u32) {
        self.rings
            .set_used_entry(self.next_used, u32::from(head), len);
        self.next_used = self.next_used.wrapping_add(1);
    }

    #[inline(always)]
    pub(super) fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.next_used);
        if old == new {
            return false;
        }
        // §2.4.8.2: entries before idx.
        self.rings.set_used_idx(new);
        self.shadow.idx = Some(new);
        self.published = new;
        // The new idx must be out before the driver's wishes are read: it writes its wish and then
        // looks at idx.
        fence(Ordering::SeqCst);
        if self.config.event_idx {
            // §2.4.7.2: an interrupt when the entry at used_event is among the new ones.
            let after_event = new.wrapping_sub(self.rings.used_event()).wrapping_sub(1);
            after_event < new.wrapping_sub(old)
        } else {
            // §2.4.7.2: an interrupt unless flags is 1.
            self.rings.available_flags() & AVAIL_F_NO_INTERRUPT == 0
        }
    }

    // ---- Notifications (§2.4.9)

    #[inline(always)]
    pub(super) fn ask_for_notifications(&mut self, want: bool) -> bool {
        if self.config.event_idx {
            // §2.4.9.2: flags stays 0. An avail_event that lies behind asks for nothing.
            if want {
                self.rings.set_avail_event(self.next_available);
                self.shadow.avail_event = Some(self.next_available);
            }
        } else {
            let flags = if want { 0 } else { USED_F_NO_NOTIFY };
            self.rings.set_used_flags(flags);
            self.shadow.flags = Some(flags);
        }
        if !want {
            return false;
        }
        fence(Ordering::SeqCst);
        self.has_new_buffers()
    }

    pub(super) fn write_unused_fields(&mut self, value: u16) {
        if !self.config.event_idx {
            self.rings.set_avail_event(value);
        }
    }

    pub(super) fn tell_not_notified<W: Witness>(&self, ticks: u32, witness: &mut W) {
        witness.see(
            &NotificationEvent::Overdue {
                queue: self.config.index,
                event_idx: self.config.event_idx,
                position: self.next_available,
                idx: self.rings.available_idx(),
                ticks,
            }
            .into(),
        );
    }
}
