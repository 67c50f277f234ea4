//! The split ring (§2.4 of virtio 1.0): descriptor table, available ring, used ring.
//!
//! virtio-queue's iterators end silently where a chain is bad; what a driver put there is just what
//! we are here to see. So chains are walked here, and told as they were found.
//!
//! * `rings`: the three parts in the guest's memory.
//! * `walk`: how a descriptor chain is walked (§2.4.5).
//! * `exposure`: what is told of buffers from the moment they are made available.
//! * `in_flight`: whether the driver alters buffers that are in flight.
//! * `shadow`: whether the driver writes to the used ring.

mod exposure;
mod in_flight;
mod rings;
mod shadow;
mod walk;

use std::sync::atomic::{Ordering, fence};

use stickler_conformance::Witness;
use stickler_conformance::event::{
    BufferId, ChainEnd, Element, Moment, NotificationEvent, QueueArea,
};
use stickler_conformance::layout::desc;

use super::{Broken, Chain, QueueConfig};
use crate::memory::GuestRam;
use exposure::ExposureState;
use rings::MappedRings;
use shadow::UsedRingShadow;
pub(super) use walk::capacity as walk_capacity;

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
    /// What those who judge have seen of the available ring, and the buffers in flight.
    exposure: ExposureState,
    /// What the device last wrote to the used ring.
    shadow: UsedRingShadow,
}

impl SplitRing {
    pub(super) fn map(config: &QueueConfig, ram: &GuestRam) -> Option<Self> {
        let rings = MappedRings::map(ram, config)?;
        let mut shadow = UsedRingShadow::new(config.size);
        // As the driver hands the ring over, it is the device's.
        shadow.flags = Some(rings.used_flags());
        shadow.idx = Some(rings.used_idx());
        Some(SplitRing {
            config: *config,
            rings,
            next_available: 0,
            available_idx: 0,
            next_used: 0,
            published: 0,
            elements: Vec::with_capacity(walk::capacity(config.size)),
            exposure: ExposureState::new(config.size),
            shadow,
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

    #[inline(always)]
    pub(super) fn taken_position(&self) -> u16 {
        self.next_available
    }

    #[inline(always)]
    pub(super) fn available_position(&self) -> u16 {
        self.rings.available_idx()
    }

    /// Looks at the available ring's `idx`.
    #[inline(always)]
    pub(super) fn look<W: Witness>(&mut self, witness: &mut W) -> Result<bool, Broken> {
        let idx = self.rings.available_idx();
        if idx == self.available_idx {
            return Ok(false);
        }
        if W::JUDGING {
            self.compare_used_ring(Moment::Worked, witness);
            self.sight(idx, witness);
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
            self.tell_taken(head, &walk, witness);
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

    // ---- Returning (§2.4.8)

    #[inline(always)]
    pub(super) fn before_return<W: Witness>(
        &mut self,
        BufferId(head): BufferId,
        witness: &mut W,
    ) -> usize {
        self.sight_flags(witness);
        self.tell_returned(head, witness)
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

    /// The device owns the buffer until it is returned (§2.4.8): nobody may rely on what is there.
    pub(super) fn veil(&self, BufferId(head): BufferId, len: u32, elements: &mut Vec<Element>) {
        let ram = self.rings.ram();
        let walk = walk::walk(&self.rings, ram, head, elements);
        if walk.end != ChainEnd::Complete {
            return;
        }
        let mut left = len;
        let written = |e: &&Element| e.flags & (desc::WRITE | desc::INDIRECT) == desc::WRITE;
        for element in elements.iter().filter(written) {
            let here = element.len.min(left);
            left -= here;
            let mut bytes = [0; 512];
            let mut at = 0;
            while at < here {
                let count = (here - at).min(512);
                let place = element.addr.saturating_add(at.into());
                let Some(slice) = ram.slice(place, count as usize) else {
                    return;
                };
                let bytes = &mut bytes[..count as usize];
                slice.copy_to(bytes);
                bytes.iter_mut().for_each(|byte: &mut u8| *byte ^= 0xa5);
                slice.copy_from(bytes);
                at += count;
            }
        }
    }

    #[inline(always)]
    pub(super) fn put_used(&mut self, BufferId(head): BufferId, len: u32) {
        self.rings
            .set_used_entry(self.next_used, u32::from(head), len);
        self.shadow.put(self.next_used, u32::from(head), len);
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
            self.shadow.avail_event = Some(value);
        }
    }

    pub(super) fn tell_not_notified<W: Witness>(
        &self,
        position: u16,
        at_start: bool,
        (ticks, last): (u32, bool),
        witness: &mut W,
    ) {
        witness.see(
            &NotificationEvent::Overdue {
                queue: self.config.index,
                event_idx: self.config.event_idx,
                position,
                idx: self.rings.available_idx(),
                at_start,
                ticks,
                last,
            }
            .into(),
        );
    }
}
