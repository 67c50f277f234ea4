//! Buffers: descriptor chains and indirect tables (§2.4.4, §2.4.5, §3.2, §3.3 of virtio 1.0).
//!
//! These rules see every buffer. On the conforming path a chain is looked over once and counted in
//! groups; only a chain that breaks a rule is judged requirement by requirement.

mod counts;
mod directions;
mod over_rings;
mod wrong;

use super::Chapter;
use crate::advice::advice;
use crate::device::DeviceKind;
use crate::event::{
    AlteredBuffer, Buffer, BufferId, BufferPart, ChainEnd, ControlEvent, DataEvent, Element,
    QueueEvent, SplitRingEvent,
};
use crate::features::RING_INDIRECT_DESC;
use crate::judge::Verdicts;
use crate::layout::desc;
use crate::requirement::{Req, requirements};
use crate::session::Session;
use crate::tally::Tallies;
use counts::Counts;
pub(super) use directions::Directions;
use over_rings::RingPlaces;

requirements! {
    chapter Buffer;

    HEAD = "chain.head.in-table", Driver Must ["2.4.6"], Asserted,
        "An entry of the available ring is the index of a descriptor in the table.";
    HEAD_FREE = "chain.head.free", Driver MustNot ["3.2.1.1", "3.3.1-1"], Asserted,
        "The head of a chain that the device has not returned is not made available again.";
    DESCRIPTOR_FREE = "chain.descriptor.free", Driver MustNot ["3.2.1.1", "3.3.1-1"], Asserted,
        "A descriptor of a chain that the device has not returned is not used in another chain.";
    NEXT = "chain.next.in-table", Driver Must ["2.4.5"], Asserted,
        "next of a descriptor with VIRTQ_DESC_F_NEXT is an index in the descriptor table.";
    LOOP = "chain.no-loop", Driver MustNot ["2.4.5.2-1"], Asserted,
        "A chain does not return to a descriptor that it already contains.";
    TOTAL = "chain.total-length", Driver MustNot ["2.4.5.2-1"], Asserted,
        "The buffers of a chain are not longer than 2^32 bytes in total.";
    LENGTH = "chain.at-most-queue-size", Driver MustNot ["2.4.5.3.1-3"], Asserted,
        "A chain has no more descriptors than the queue.",
        readings [
            "each-table": "Descriptors in the queue's table and descriptors in an indirect table are counted separately.",
            "together": "All buffers of a chain are counted, whichever table describes them.",
        ];
    ORDER = "chain.readable-before-writable", Driver Must ["2.4.4.2-1"], Asserted,
        "Device-writable buffers come after all device-readable ones.";
    EXCESSIVE = "chain.not-excessive", Driver ShouldNot ["2.4.4.2-2"], Asserted,
        "A buffer is not divided into an excessive number of descriptors.";
    IN_MEMORY = "chain.buffer.in-memory", Driver Must ["2.4.5"], Asserted,
        "A descriptor's addr and len describe the guest's memory.";
    FLAGS = "chain.flags.defined", Driver ShouldNot ["2.4.5"], Asserted,
        "Only the defined flags of a descriptor are set.";
    INDIRECT_NEGOTIATED = "indirect.negotiated", Driver MustNot ["2.4.5.3.1-1"], Asserted,
        "VIRTQ_DESC_F_INDIRECT is used only if VIRTIO_F_RING_INDIRECT_DESC was negotiated.";
    INDIRECT_NESTED = "indirect.not-nested", Driver MustNot ["2.4.5.3.1-2"], Asserted,
        "VIRTQ_DESC_F_INDIRECT is not set in an indirect table.";
    INDIRECT_NEXT = "indirect.no-next", Driver MustNot ["2.4.5.3.1-4"], Asserted,
        "VIRTQ_DESC_F_INDIRECT and VIRTQ_DESC_F_NEXT are not set together.";
    INDIRECT_LENGTH = "indirect.table.length", Driver Must ["2.4.5.3"], Asserted,
        "The length of an indirect table is a multiple of 16, and not 0.";
    INDIRECT_MEMORY = "indirect.table.in-memory", Driver Must ["2.4.5.3"], Asserted,
        "An indirect table is in the guest's memory.";
    INDIRECT_TABLE_NEXT = "indirect.next.in-table", Driver Must ["2.4.5.3"], Asserted,
        "next of a descriptor in an indirect table is an index in that table.";
    NOT_EMPTY = "chain.descriptor.not-empty", Driver ShouldNot ["2.4.5"], Asserted,
        "A descriptor describes a buffer, of at least one byte.",
        readings [
            "any": "A descriptor may describe no bytes.",
            "not-empty": "len of a descriptor is not 0.",
        ];
    OVER_RINGS = "chain.buffer.apart-from-rings", Driver MustNot ["2.4.6", "2.4.8"], Asserted,
        "A device-writable buffer does not overlap the parts of its own queue: descriptor table, available ring, used ring.";
    UNALTERED = "chain.unaltered", Driver MustNot ["3.3.1-1", "3.3.1-3"], Asserted,
        "The descriptors of a chain are not altered before the device has returned it, unless the device is reset first.";
}

advice! {
    "chain":
        "The descriptors of a buffer do not form a chain that the device can follow.";
        "Check the free list: link each descriptor once, device-readable ones first, clear NEXT in the last one, and free a chain only after it has been used.";
    "chain.readable-before-writable":
        "A device-readable descriptor follows a device-writable one; the device cannot determine where its answer begins.";
        "Put all device-readable descriptors first.";
    "chain.no-loop":
        "The next fields form a loop: a descriptor is linked that was already in the chain, often after a double free.";
        "Look for descriptors that are freed twice, or reused before the device has returned them.";
    "indirect":
        "An indirect table is not valid: its length, flags or links are wrong, or the feature was not negotiated.";
        "Use one table for each chain, a multiple of 16 bytes long, with NEXT inside the table only and INDIRECT only in the queue's table, if VIRTIO_F_RING_INDIRECT_DESC was accepted.";
}

/// The requirements that every chain satisfies which breaks no rule.
static CHAIN: [Req; 9] = [
    NOT_EMPTY,
    HEAD,
    HEAD_FREE,
    DESCRIPTOR_FREE,
    LOOP,
    TOTAL,
    LENGTH,
    IN_MEMORY,
    FLAGS,
];
/// … if it has more than one descriptor with a buffer.
static LINKED: [Req; 2] = [NEXT, EXCESSIVE];
/// … if it has device-readable and device-writable buffers.
static MIXED: [Req; 1] = [ORDER];
/// … if it refers to an indirect table.
static INDIRECT: [Req; 5] = [
    INDIRECT_NEGOTIATED,
    INDIRECT_NESTED,
    INDIRECT_NEXT,
    INDIRECT_LENGTH,
    INDIRECT_MEMORY,
];
/// … if that has more than one descriptor.
static INDIRECT_LINKED: [Req; 2] = [INDIRECT_TABLE_NEXT, EXCESSIVE];
/// Queues beyond these do not exist here.
const QUEUES: usize = 64;

/// The state of this chapter's rules.
pub(crate) struct BufferRules {
    counts: Counts,
    /// Per queue, the descriptors of its table; made when the queue is enabled.
    queues: Box<[Box<[Slot]>; QUEUES]>,
    /// Per queue, where its parts are.
    rings: Box<[RingPlaces; QUEUES]>,
    /// The number of the chain seen last; 0 is no chain.
    number: u32,
}

/// The state of one descriptor of a table.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// The chain in flight whose head it is; 0 if there is none.
    heads: u32,
    /// The last chain in which it was not the head; the chain may have been returned since, …
    last: u32,
    /// … and the head of that.
    last_head: u16,
}

/// The structure of a chain.
#[derive(Clone, Copy, Default)]
struct Shape {
    directions: Directions,
    /// A descriptor is still in use by another chain.
    occupied: bool,
    /// A buffer may overlap the parts of the queue.
    near_rings: bool,
    /// A descriptor describes no bytes.
    empty: bool,
    /// All flags ORed.
    flags: u16,
    /// Bytes in all buffers.
    total: u64,
    /// Descriptors with buffers in the queue's table.
    direct: usize,
    /// Descriptors in an indirect table.
    indirect: usize,
}

impl BufferRules {
    /// Judges the chain of a buffer that the driver has made available.
    #[inline(always)]
    fn exposed(&mut self, chain: &Buffer<'_>, session: &Session, verdicts: &mut Verdicts) {
        let mut shape = Shape {
            direct: chain.elements.len(),
            ..Shape::default()
        };
        let rings = &self.rings[usize::from(chain.queue) % QUEUES];
        for element in chain.elements {
            shape.flags |= element.flags;
            shape.total += u64::from(element.len);
            shape.directions.add(element.flags);
            shape.near_rings |= rings.is_near(element);
            shape.empty |= element.len == 0;
        }
        let plain = matches!(chain.end, ChainEnd::Complete)
            & !chain.in_flight
            & !shape.empty
            & !shape.directions.disordered()
            & (shape.flags & !(desc::NEXT | desc::WRITE) == 0)
            & (shape.direct <= MANY.min(chain.size.into()))
            & (shape.total <= MAX_TOTAL);
        if shape.near_rings {
            self.judge_overlap(chain, verdicts);
        }
        if !plain {
            self.look_closer(chain, session, verdicts);
            return;
        }
        shape.occupied = self.occupy(chain);
        if shape.occupied {
            wrong::chain(chain, &shape, session, verdicts);
        } else {
            self.count(&shape);
        }
    }

    /// Judges a chain with a buffer that may overlap its queue's parts.
    #[inline(never)]
    fn judge_overlap(&mut self, chain: &Buffer<'_>, verdicts: &mut Verdicts) {
        let rings = &self.rings[usize::from(chain.queue) % QUEUES];
        if let Some(element) = rings.overwritten_by(chain) {
            let Element { addr, len, .. } = *element;
            let id = chain.id;
            let message = format!(
                "chain {id} has a device-writable buffer of {len} bytes at {addr:#x}, where a part of its queue is"
            );
            verdicts.violated(OVER_RINGS, Some(chain.queue), message);
            self.counts.over_rings += 1;
        }
    }

    /// Judges a chain that refers to an indirect table, is long, or breaks a rule.
    #[inline(never)]
    fn look_closer(&mut self, chain: &Buffer<'_>, session: &Session, verdicts: &mut Verdicts) {
        let mut shape = Shape::default();
        for element in chain.elements {
            shape.add(element);
        }
        shape.occupied = self.occupy(chain);
        let size = usize::from(chain.size);
        let refers = shape.flags & desc::INDIRECT != 0;
        let right = *chain.end == ChainEnd::Complete
            && !chain.in_flight
            && !shape.occupied
            && !shape.empty
            && !shape.directions.disordered()
            && shape.flags & !DEFINED == 0
            && shape.total <= MAX_TOTAL
            && shape.direct + shape.indirect.max(usize::from(refers)) <= size
            && !shape.is_excessive()
            && (!refers || indirect_is_right(chain, session));
        if right {
            self.count(&shape);
        } else {
            wrong::chain(chain, &shape, session, verdicts);
        }
    }

    /// Counts a chain that breaks no rule.
    #[inline(always)]
    fn count(&mut self, shape: &Shape) {
        self.counts.chains[shape.bits() & 31] += 1;
    }

    /// Notes which descriptors of the queue's table the chain has; returns whether another chain in
    /// flight has one of them.
    #[inline(always)]
    fn occupy(&mut self, chain: &Buffer<'_>) -> bool {
        let Some(slots) = self.queues.get_mut(usize::from(chain.queue)) else {
            return false;
        };
        self.number = self.number.wrapping_add(1).max(1);
        let number = self.number;
        let mut occupied = false;
        for element in chain.elements.iter().filter(|e| !e.indirect) {
            let Some(&slot) = slots.get(usize::from(element.index)) else {
                continue;
            };
            occupied |= slot.heads != 0;
            if slot.last != 0
                && let Some(head) = slots.get(usize::from(slot.last_head))
            {
                occupied |= head.heads == slot.last;
            }
            // The head itself is in `heads`.
            if element.index != chain.id.0
                && let Some(slot) = slots.get_mut(usize::from(element.index))
            {
                slot.last = number;
                slot.last_head = chain.id.0;
            }
        }
        if matches!(chain.end, ChainEnd::Complete)
            && let Some(slot) = slots.get_mut(usize::from(chain.id.0))
        {
            slot.heads = number;
        }
        occupied
    }

    /// The driver altered a descriptor of a buffer in flight.
    fn altered(&mut self, altered: &AlteredBuffer, verdicts: &mut Verdicts) {
        let AlteredBuffer {
            queue,
            id,
            part,
            exposed,
            found,
            moment,
        } = *altered;
        let what = match part {
            BufferPart::Descriptor(index, field) => {
                format!("{} of descriptor {index}", field.name())
            }
            BufferPart::IndirectDescriptor(index, field) => {
                format!(
                    "{} of descriptor {index} in the indirect table",
                    field.name()
                )
            }
            BufferPart::IndirectTable => "the hash of the indirect table".to_owned(),
            // A replaced entry of the available ring is the ring's.
            BufferPart::RingEntry(_) => return,
        };
        self.counts.altered += 1;
        let message = format!(
            "{what} of chain {id} went from {exposed:#x} to {found:#x} before the device returned the chain ({})",
            moment.says()
        );
        verdicts.violated(UNALTERED, Some(queue), message);
    }

    /// The device has returned a buffer.
    #[inline(always)]
    fn returned(&mut self, queue: u16, id: BufferId) {
        self.counts.returned += 1;
        self.free(queue, id);
    }

    /// The buffer is in flight no more.
    #[inline(always)]
    fn free(&mut self, queue: u16, id: BufferId) {
        if let Some(slots) = self.queues.get_mut(usize::from(queue))
            && let Some(slot) = slots.get_mut(usize::from(id.0))
        {
            slot.heads = 0;
        }
    }
}

/// Every flag that §2.4.5 defines.
const DEFINED: u16 = desc::NEXT | desc::WRITE | desc::INDIRECT;

/// §2.4.5.2: the maximum number of bytes in a chain.
const MAX_TOTAL: u64 = 1 << 32;

/// The specification does not define "excessive"; its only example is one descriptor for each byte. More
/// than this many descriptors that hold …
const MANY: usize = 64;
/// … less than this many bytes each on average are treated as excessive.
const FEW_BYTES: u64 = 16;

impl Shape {
    /// What [`bits`](Self::bits) says.
    const READABLE: usize = 1;
    const WRITABLE: usize = 2;
    const LINKED: usize = 4;
    const INDIRECT: usize = 8;
    const INDIRECT_LINKED: usize = 16;

    /// Which requirements the shape puts to the test, below 32.
    #[inline(always)]
    fn bits(&self) -> usize {
        self.directions.both()
            | usize::from(self.direct > 1) << 2
            | usize::from(self.flags & desc::INDIRECT != 0) << 3
            | usize::from(self.indirect > 1) << 4
    }

    fn is_excessive(&self) -> bool {
        let count = self.direct + self.indirect;
        count > MANY && self.total < count as u64 * FEW_BYTES
    }

    fn add(&mut self, element: &Element) {
        self.flags |= element.flags;
        self.indirect += usize::from(element.indirect);
        // A descriptor that refers to a table is no buffer, and its WRITE is ignored (§2.4.5.3.2).
        if element.flags & desc::INDIRECT == 0 {
            self.directions.add(element.flags);
            self.empty |= element.len == 0;
            self.total += u64::from(element.len);
            self.direct += usize::from(!element.indirect);
        }
    }
}

/// The number of device-writable bytes of a chain.
pub(super) fn room(chain: &Buffer<'_>) -> u64 {
    chain
        .elements
        .iter()
        .filter(|e| e.flags & (desc::WRITE | desc::INDIRECT) == desc::WRITE)
        .map(|e| u64::from(e.len))
        .sum()
}

/// Whether a chain refers to an indirect table although that was negotiated, and without NEXT.
fn indirect_is_right(chain: &Buffer<'_>, session: &Session) -> bool {
    const BOTH: u16 = desc::INDIRECT | desc::NEXT;
    session.has(RING_INDIRECT_DESC) && chain.elements.iter().all(|e| e.flags & BOTH != BOTH)
}

impl Chapter for BufferRules {
    fn new(_kind: DeviceKind) -> Self {
        BufferRules {
            counts: Counts::default(),
            queues: Box::new([const { Vec::new() }; QUEUES].map(Vec::into_boxed_slice)),
            rings: Box::new([RingPlaces::default(); QUEUES]),
            number: 0,
        }
    }

    fn control(&mut self, event: &ControlEvent<'_>, _: &Session, verdicts: &mut Verdicts) {
        match *event {
            ControlEvent::SplitRing(SplitRingEvent::BufferAltered(altered)) => {
                self.altered(&altered, verdicts);
            }
            ControlEvent::SplitRing(SplitRingEvent::Withdrawn { queue, id }) => {
                self.free(queue, id);
            }
            // A queue starts empty. The buffers in flight before a reset belong to the driver again.
            ControlEvent::Queue(QueueEvent::EnableWritten {
                queue,
                value: 1,
                setup: Some(setup),
            }) if !setup.enabled => {
                if let Some(rings) = self.rings.get_mut(usize::from(queue)) {
                    *rings = RingPlaces::of(&setup);
                }
                if let Some(slots) = self.queues.get_mut(usize::from(queue)) {
                    if slots.len() == usize::from(setup.size) {
                        slots.fill(Slot::default());
                    } else {
                        *slots = vec![Slot::default(); setup.size.into()].into_boxed_slice();
                    }
                }
            }
            ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Register(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Status(_)
            | ControlEvent::Feature(_)
            | ControlEvent::Config(_)
            | ControlEvent::Queue(_)
            | ControlEvent::Notification(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Net(_)
            | ControlEvent::Console(_) => {}
        }
    }

    #[inline(always)]
    fn data(&mut self, event: &DataEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            DataEvent::Exposed(buffer) => self.exposed(buffer, session, verdicts),
            DataEvent::Returned { queue, id, .. } => self.returned(*queue, *id),
            DataEvent::AvailableRead(_)
            | DataEvent::NetTransmit(_)
            | DataEvent::BlockRequest(_) => {}
        }
    }

    fn tally(&self, tallies: &mut Tallies) {
        let c = &self.counts;
        for (requirements, times) in [
            (&CHAIN[..], c.with(0)),
            (&LINKED, c.with(Shape::LINKED)),
            (&MIXED, c.with(Shape::READABLE | Shape::WRITABLE)),
            (&INDIRECT, c.with(Shape::INDIRECT)),
            (&INDIRECT_LINKED, c.with(Shape::INDIRECT_LINKED)),
            (&[UNALTERED], c.returned.saturating_sub(c.altered)),
            (
                &[OVER_RINGS],
                c.with(Shape::WRITABLE).saturating_sub(c.over_rings),
            ),
        ] {
            for requirement in requirements {
                tallies.add_held(*requirement, times);
            }
        }
    }
}
