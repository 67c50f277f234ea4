//! Split virtqueues, the device's side (§2.4).
//!
//! virtio-queue's iterators end silently where a chain is bad; what a driver put there is just what
//! we are here to see. So chains are walked here, and told as they were found.

mod habits;
mod ring;
#[cfg(test)]
mod tests;
mod walk;
mod wrote;

use std::sync::atomic::{Ordering, fence};

use stickler_conformance::event::{AvailableRead, ChainEnd, Element, NotifiedLive, RingPart};
use stickler_conformance::layout::desc;
use stickler_conformance::{Event, Witness, event};

use crate::memory::GuestRam;
pub use habits::{Habits, Settled};
use ring::Rings;
use wrote::Wrote;

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

/// A live split virtqueue.
pub struct Queue {
    index: u16,
    event_idx: bool,
    rings: Rings,
    ram: GuestRam,
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
    watch: Watch,
    /// What the device last said about notifications.
    wish: Wish,
    /// What the device last wrote to the used ring.
    wrote: Wrote,
    /// What it does otherwise than usual.
    habits: Option<Box<Habits>>,
}

/// What the device has told the driver about notifications (§2.4.9), for those who judge what the
/// driver makes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wish {
    /// The device asked to be notified, and there was nothing to take.
    asked: bool,
    /// The device advised against notifications, by `flags`.
    advised_against: bool,
    /// So many notifications came since `flags` or `avail_event` last changed.
    notifications: u32,
    /// For so long, in [ticks](Queue::tick), there has been something to take since the device asked,
    /// and no notification.
    ticks: u32,
}

/// A chain that is looked at again when the device returns it.
#[derive(Default)]
struct Watch {
    /// Its head, and its descriptors, those of an indirect table as well; none, if no chain is watched.
    head: u16,
    elements: Vec<Element>,
    /// Where its indirect table is, if it has one.
    table: u64,
    /// Chains taken while none was watched.
    seen: u32,
}

/// Of the chains that could be watched, one in so many is.
const WATCHED: u32 = 16;

/// A chain of more descriptors than this is not watched.
const WATCHED_ELEMENTS: usize = 8;

/// A descriptor chain that the device has taken and has yet to return.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'q> {
    /// Index of its first descriptor: what the used ring wants back.
    pub head: u16,
    /// Its buffers in order, all of them within the guest's memory: first the device-readable, then
    /// the device-writable ones where the driver keeps to §2.4.4.2. A descriptor that refers to an
    /// indirect table is not among them. Buffers may be empty.
    pub buffers: &'q [Element],
    /// Bytes in device-readable buffers.
    pub readable: u64,
    /// Bytes in device-writable buffers.
    pub writable: u64,
}

/// The queue cannot be worked any more: what the driver put there cannot be made sense of. The device
/// sets DEVICE_NEEDS_RESET (§2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Bytes that one part of a virtqueue of `size` descriptors takes (§2.4), the event fields included.
pub const fn part_len(part: RingPart, size: u16) -> u64 {
    match part {
        RingPart::Descriptor => ring::table_len(size),
        RingPart::Available => ring::available_len(size),
        RingPart::Used => ring::used_len(size),
    }
}

/// `flags` of the used ring: the device needs no notifications (§2.4.9).
const USED_F_NO_NOTIFY: u16 = 1;
/// `flags` of the available ring: the driver needs no interrupts (§2.4.7).
const AVAIL_F_NO_INTERRUPT: u16 = 1;

impl Queue {
    /// Maps a queue's rings. `None` if they cannot be used: a size that is no power of two, a part
    /// that is misaligned or not in memory.
    pub fn new(config: &QueueConfig, ram: &GuestRam) -> Option<Self> {
        let rings = Rings::map(ram, config.size, config.desc, config.avail, config.used)?;
        Some(Queue {
            index: config.index,
            event_idx: config.event_idx,
            rings,
            ram: ram.clone(),
            next_available: 0,
            available_idx: 0,
            next_used: 0,
            published: 0,
            elements: Vec::with_capacity(walk::capacity(config.size)),
            in_flight: vec![0; usize::from(config.size).div_ceil(64)],
            watch: Watch {
                elements: Vec::with_capacity(WATCHED_ELEMENTS),
                ..Watch::default()
            },
            wish: Wish::default(),
            wrote: Wrote::default(),
            habits: None,
        })
    }

    /// The same queue with habits.
    #[must_use]
    pub fn with_habits(mut self, habits: Habits) -> Self {
        if habits == Habits::default() {
            return self;
        }
        if habits.fickle && !self.event_idx {
            // Nobody has agreed on what stands there.
            self.rings.set_avail_event(0x5a5a);
        }
        self.habits = Some(Box::new(Habits {
            held: Vec::with_capacity(usize::from(self.size())),
            scratch: Vec::with_capacity(walk::capacity(self.size())),
            ..habits
        }));
        self
    }

    /// The queue's index.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.rings.size()
    }

    /// How many chains have been taken and not returned.
    pub fn outstanding(&self) -> u16 {
        self.next_available.wrapping_sub(self.next_used)
    }

    /// Takes the next available chain and tells the witness what was found. Chains that no device
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
        if self.next_available == self.available_idx && !self.look(witness)? {
            return Ok(None);
        }
        let head = self.rings.available_entry(self.next_available);
        self.next_available = self.next_available.wrapping_add(1);
        if self.habits.is_some() {
            self.change_mind();
        }

        let walk = walk::walk(&self.rings, ram, head, &mut self.elements);
        if W::JUDGING {
            let head_in_flight = self.take_in_flight(head);
            witness.see(&Event::Chain(event::Chain {
                queue: self.index,
                size: self.rings.size(),
                head,
                elements: &self.elements,
                end: &walk.end,
                head_in_flight,
            }));
            if self.watch.elements.is_empty() {
                self.watch(head);
            }
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
        Ok(Some(Chain {
            head,
            buffers,
            readable: walk.readable,
            writable: walk.writable,
        }))
    }

    /// Looks at the available ring's `idx`. Gives whether there is something to take.
    #[inline]
    fn look<W: Witness>(&mut self, witness: &mut W) -> Result<bool, Broken> {
        let previous = self.available_idx;
        let idx = self.rings.available_idx();
        if idx == previous {
            return Ok(false);
        }
        // What the device asked for was to be notified of these.
        self.wish.asked = false;
        if W::JUDGING {
            self.look_at_used(witness);
            witness.see(&Event::AvailableRead(AvailableRead {
                queue: self.index,
                size: self.rings.size(),
                flags: self.rings.available_flags(),
                previous,
                idx,
                taken: self.next_available,
            }));
        }
        // The driver cannot make more chains available than there are descriptors; if it seems to,
        // `idx` has gone backwards or is wild, and the entries below it mean nothing.
        if idx.wrapping_sub(self.next_available) > self.rings.size() {
            return Err(Broken);
        }
        self.available_idx = idx;
        Ok(true)
    }

    /// Returns a chain to the driver: `len` bytes were written to its device-writable buffers,
    /// beginning with the first (§2.4.8.2). The driver sees it after the next
    /// [`publish`](Self::publish).
    #[inline]
    pub fn add_used<W: Witness>(&mut self, head: u16, len: u32, witness: &mut W) {
        if W::JUDGING && self.watch.head == head && !self.watch.elements.is_empty() {
            self.compare(witness);
        }
        if self.habits.is_none() {
            self.rings
                .set_used_entry(self.next_used, u32::from(head), len);
        } else {
            self.use_otherwise(head, len);
        }
        self.next_used = self.next_used.wrapping_add(1);
        if W::JUDGING {
            if let Some(word) = self.in_flight.get_mut(usize::from(head / 64)) {
                *word &= !(1 << (head % 64));
            }
            witness.see(&Event::Used {
                queue: self.index,
                head,
                len,
            });
        }
    }

    /// Makes all chains returned since the last call visible to the driver at once and says whether
    /// it wants an interrupt for them.
    #[inline]
    pub fn publish(&mut self) -> bool {
        if self.published == self.next_used {
            return false;
        }
        if self.habits.as_ref().is_some_and(|habits| habits.holds()) {
            // Until the queue is settled.
            return false;
        }
        self.show(self.next_used)
    }

    /// Makes the used ring's entries before `new` visible to the driver and says whether it wants an
    /// interrupt for them.
    #[inline]
    fn show(&mut self, new: u16) -> bool {
        let old = self.published;
        // §2.4.8.2: entries before idx.
        self.rings.set_used_idx(new);
        self.wrote.idx = Some(new);
        self.published = new;
        // The new idx must be out before the driver's wishes are read: it writes its wish and then
        // looks at idx.
        fence(Ordering::SeqCst);
        if self.event_idx {
            // §2.4.7.2: an interrupt when the entry at used_event is among the new ones.
            let after_event = new.wrapping_sub(self.rings.used_event()).wrapping_sub(1);
            after_event < new.wrapping_sub(old)
        } else {
            // §2.4.7.2: an interrupt unless flags is 1.
            self.rings.available_flags() & AVAIL_F_NO_INTERRUPT == 0
        }
    }

    /// Asks the driver to notify (`true`), or not to bother to notify (`false`), of new buffers
    /// (§2.4.9.2). After asking for notifications the device looks at the ring once more: gives
    /// whether there is something there that may not have been notified.
    #[inline]
    pub fn want_notifications(&mut self, want: bool) -> bool {
        if let Some(habits) = &mut self.habits {
            habits.wanted = want;
        }
        self.say_about_notifications(want)
    }

    #[inline]
    fn say_about_notifications(&mut self, want: bool) -> bool {
        if self.event_idx {
            // §2.4.9.2: flags stays 0. An avail_event that lies behind asks for nothing.
            if want {
                self.rings.set_avail_event(self.next_available);
                self.wrote.avail_event = Some(self.next_available);
                self.wish = Wish::default();
            }
            self.wish.asked = false;
        } else {
            let flags = if want { 0 } else { USED_F_NO_NOTIFY };
            self.rings.set_used_flags(flags);
            self.wrote.flags = Some(flags);
            if want == self.wish.advised_against {
                self.wish = Wish::default();
            }
            self.wish.advised_against = !want;
            self.wish.asked = false;
            self.wish.ticks = 0;
        }
        if !want {
            return false;
        }
        fence(Ordering::SeqCst);
        let more = self.rings.available_idx() != self.next_available;
        self.wish.asked = !more;
        more
    }

    // ---- Habits

    /// Shows what was held back when the time has come.
    pub fn settle(&mut self) -> Settled {
        let mut settled = Settled::default();
        let Some(mut habits) = self.habits.take() else {
            return settled;
        };
        settled.late = habits.is_due();
        if habits.wait > 0 && !habits.held.is_empty() {
            habits.wait -= 1;
            settled.later = true;
        } else if !habits.held.is_empty() {
            if let Some(numbers) = &mut habits.any_order {
                let first = habits.held.first().copied();
                numbers.shuffle(&mut habits.held);
                settled.reordered = habits.held.first().copied() != first;
            }
            settled.several = habits.held.len() > 1;
            let count = if habits.one_by_one {
                1
            } else {
                habits.held.len()
            };
            let mut position = self.published;
            for (head, len) in habits.held.drain(..count) {
                self.rings.set_used_entry(position, u32::from(head), len);
                position = position.wrapping_add(1);
            }
            let interrupt = self.show(position);
            settled.interrupt = habits.put_off(interrupt);
            settled.later = !habits.held.is_empty();
        }
        settled.interrupt |= settled.late;
        settled.later |= habits.owed.is_some();
        self.habits = Some(habits);
        settled
    }

    /// Whether there is something that [`settle`](Self::settle) will show.
    #[inline]
    pub fn is_unsettled(&self) -> bool {
        self.habits
            .as_ref()
            .is_some_and(|habits| !habits.held.is_empty() || habits.owed.is_some())
    }

    /// Whether the driver is to be interrupted for used buffers that it was shown a while ago.
    pub fn owes_interrupt(&self) -> bool {
        self.habits
            .as_ref()
            .is_some_and(|habits| habits.owed.is_some())
    }

    /// As [`add_used`](Self::add_used) does without habits.
    #[cold]
    fn use_otherwise(&mut self, head: u16, len: u32) {
        let Some(mut habits) = self.habits.take() else {
            return;
        };
        if habits.beyond_len {
            self.write_beyond(head, len, &mut habits.scratch);
        }
        if habits.holds() {
            if habits.held.is_empty() || habits.whole_queue {
                habits.wait = habits.next_wait();
            }
            // A driver cannot have more in flight than there are descriptors; what a wild one seems to
            // have more is lost.
            if habits.held.len() < usize::from(self.size()) {
                habits.held.push((head, len));
            }
            if habits.whole_queue && habits.held.len() == usize::from(self.size()) {
                habits.wait = 0;
            }
        } else {
            self.rings
                .set_used_entry(self.next_used, u32::from(head), len);
        }
        self.habits = Some(habits);
    }

    /// Writes into the device-writable buffers of a chain behind its first `len` bytes (§2.4.8.2).
    fn write_beyond(&mut self, head: u16, len: u32, elements: &mut Vec<Element>) {
        const BYTES: [u8; 64] = [0xa5; 64];
        let ram = self.rings.ram().clone();
        let walk = walk::walk(&self.rings, &ram, head, elements);
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

    /// Says something else about notifications than with the buffer before.
    #[cold]
    fn change_mind(&mut self) {
        let Some(habits) = &mut self.habits else {
            return;
        };
        if !habits.fickle {
            return;
        }
        habits.taken = habits.taken.wrapping_add(1);
        let (taken, wanted) = (habits.taken, habits.wanted);
        if !self.event_idx {
            self.rings.set_avail_event(taken.wrapping_mul(0x6b43));
        }
        // What the device asked for stands again when it has taken the last one.
        let last = self.next_available == self.available_idx;
        let want = if last { wanted } else { taken % 2 == 0 };
        self.say_about_notifications(want);
    }

    // ---- For those who judge

    /// The driver has notified the queue: tells what the device had asked for.
    pub fn tell_notified<W: Witness>(&mut self, witness: &mut W) {
        let wish = &mut self.wish;
        wish.notifications = wish.notifications.saturating_add(1);
        wish.ticks = 0;
        witness.see(&Event::NotifiedLive(NotifiedLive {
            queue: self.index,
            event_idx: self.event_idx,
            asked: wish.asked && self.rings.available_idx() != self.next_available,
            advised_against: wish.advised_against,
            since: wish.notifications,
        }));
        // The entries that were to be notified of have been.
        self.wish.asked = false;
    }

    /// Some time has passed, too long for a notification to be under way: where the device has asked
    /// to be notified, and there is something to take now, tells so.
    ///
    /// What the device said stood unchanged since it looked last and found nothing, so a driver that
    /// has written `idx` since then has seen it.
    pub fn tick<W: Witness>(&mut self, witness: &mut W) {
        if !self.wish.asked || self.rings.available_idx() == self.next_available {
            return;
        }
        self.wish.ticks = self.wish.ticks.saturating_add(1);
        witness.see(&Event::NotNotified {
            queue: self.index,
            event_idx: self.event_idx,
            position: self.next_available,
            idx: self.rings.available_idx(),
            ticks: self.wish.ticks,
        });
    }

    /// Remembers the chain taken last, now and then, unless it is long.
    #[inline(always)]
    fn watch(&mut self, head: u16) {
        let due = self.watch.seen.is_multiple_of(WATCHED);
        self.watch.seen = self.watch.seen.wrapping_add(1);
        if due && self.elements.len() <= WATCHED_ELEMENTS {
            self.watch.head = head;
            self.watch.elements.extend(&self.elements);
            let referrer = self.elements.iter().find(|e| e.flags & desc::INDIRECT != 0);
            self.watch.table = referrer.map_or(0, |e| e.addr);
        }
    }

    /// Compares the chain that was remembered with what is in its tables now.
    #[inline(never)]
    fn compare<W: Witness>(&mut self, witness: &mut W) {
        let altered = self.watch.elements.iter().find(|then| {
            let now = if then.indirect {
                walk::table_entry_at(&self.ram, self.watch.table, then.index)
            } else {
                Some(self.rings.descriptor(then.index))
            };
            let Some(now) = now else {
                return false;
            };
            // next means nothing without NEXT.
            let goes_on = then.flags & desc::NEXT != 0;
            (now.addr, now.len, now.flags) != (then.addr, then.len, then.flags)
                || goes_on && now.next != then.next
        });
        witness.see(&Event::Compared {
            queue: self.index,
            head: self.watch.head,
            altered: altered.copied(),
        });
        self.watch.elements.clear();
    }

    /// Notes that `head` is taken; gives whether it was already.
    #[inline(always)]
    fn take_in_flight(&mut self, head: u16) -> bool {
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
}
