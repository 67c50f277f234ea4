//! Descriptor chains and rings (§2.4.4 to §2.4.9, §3.2, §3.3 of virtio 1.0).

use stickler_conformance::DeviceKind::{Block, Entropy};
use stickler_conformance::event::{
    AlteredBuffer, AvailableRead, Buffer, BufferId, BufferPart, ChainEnd, DataEvent,
    DescriptorField, Element, IndirectFault, Moment, SplitRingEvent, UsedRingField,
};
use stickler_conformance::features::{RING_EVENT_IDX, RING_INDIRECT_DESC};
use stickler_conformance::layout::desc::{INDIRECT, NEXT};

use crate::parts::{Part, SIZE, chain, exposed, indirect_chain, r, setup, w};
use crate::play::Play;
use crate::table::{Case, case, may};

pub const CASES: &[Case] = &[
    case("chain.head.in-table", Entropy, |p| {
        p.boot();
        p.expose(0, &[], ChainEnd::HeadOutOfRange);
    }),
    case("chain.head.free", Block, |p| {
        p.boot();
        p.give(0, 3, READ);
        p.see(DataEvent::Exposed(Buffer {
            in_flight: true,
            ..exposed(0, &chain(3, READ), &ChainEnd::Complete)
        }));
    }),
    // The second chain begins within the first.
    case("chain.descriptor.free", Block, |p| {
        p.boot();
        p.give(0, 3, READ);
        p.give(0, 2, READ);
    }),
    case("chain.next.in-table", Block, |p| {
        let end = ChainEnd::NextOutOfRange {
            next: 40,
            table: SIZE.into(),
        };
        taken(p, READ, end, |_| {});
    }),
    case("chain.no-loop", Block, |p| {
        p.boot();
        let mut elements: Vec<Element> = chain(0, &[r(16); SIZE as usize]);
        for e in &mut elements {
            e.flags |= NEXT;
        }
        elements[usize::from(SIZE) - 1].next = 3;
        p.expose(0, &elements, ChainEnd::TooLong);
    }),
    case("chain.total-length", Entropy, |p| {
        p.boot();
        p.give(0, 0, &[w(u32::MAX), w(2)]);
    }),
    case("chain.at-most-queue-size", Block, |p| {
        p.boot();
        let buffers = [w(512); SIZE as usize + 1];
        p.expose(0, &indirect_chain(0, &buffers), ChainEnd::Complete);
    }),
    case("chain.readable-before-writable", Block, |p| {
        p.boot();
        p.give(0, 0, &[r(16), w(1), r(512)]);
    }),
    case("chain.not-excessive", Block, |p| {
        p.boot();
        let elements = chain(0, &[r(1); 100]);
        p.see(DataEvent::Exposed(Buffer {
            size: 128,
            ..exposed(0, &elements, &ChainEnd::Complete)
        }));
    }),
    case("chain.buffer.in-memory", Block, |p| {
        taken(p, READ, ChainEnd::OutsideMemory, |e| e[2].addr = 1 << 40);
    }),
    case("chain.flags.defined", Block, |p| {
        taken(p, READ, ChainEnd::Complete, |e| e[0].flags |= 0x80);
    }),
    case("indirect.negotiated", Block, |p| {
        p.boot_with(p.offered & !RING_INDIRECT_DESC);
        p.expose(0, &indirect_chain(0, READ), ChainEnd::Complete);
    })
    .keep(indirect),
    case("indirect.not-nested", Block, |p| {
        p.boot();
        let mut elements = indirect_chain(0, READ);
        elements[2].flags = INDIRECT;
        elements.truncate(3);
        p.expose(0, &elements, ChainEnd::Indirect(IndirectFault::Nested));
    })
    .keep(indirect),
    case("indirect.no-next", Block, |p| {
        p.boot();
        let mut elements = indirect_chain(0, READ);
        elements[0].flags |= NEXT;
        p.expose(0, &elements, ChainEnd::Complete);
    })
    .keep(indirect),
    case("indirect.table.length", Block, |p| {
        refused(p, 40, IndirectFault::Length);
    })
    .keep(indirect),
    case("indirect.table.in-memory", Block, |p| {
        refused(p, 48, IndirectFault::OutsideMemory);
    })
    .keep(indirect),
    case("indirect.next.in-table", Block, |p| {
        p.boot();
        let end = ChainEnd::NextOutOfRange { next: 9, table: 3 };
        p.expose(0, &indirect_chain(0, READ), end);
    })
    .keep(indirect),
    case("available.flags.defined", Block, |p| {
        p.boot_with(p.offered & !RING_EVENT_IDX);
        p.look(0, 2, 1);
    })
    .keep(|p| {
        p.boot_with(p.offered & !RING_EVENT_IDX);
        p.look(0, 0, 1);
        p.look(0, 1, 1);
    }),
    case("available.flags.zero", Block, |p| {
        p.boot();
        p.look(0, 1, 1);
    }),
    may("available.flags.suppress", Block, |p| {
        p.boot_with(p.offered & !RING_EVENT_IDX);
        p.look(0, 1, 1);
    }),
    case("available.idx.no-decrement", Block, |p| {
        p.boot();
        look(p, 7, 5, 7);
    }),
    case("available.idx.at-most-queue-size", Block, |p| {
        p.boot();
        look(p, 0, SIZE + 1, 0);
    }),
    case("used.read-only", Block, |p| {
        p.boot();
        p.see(SplitRingEvent::UsedRingAltered {
            queue: 0,
            field: UsedRingField::Idx,
            written: 3,
            found: 4,
            moment: Moment::Notified,
        });
        p.look(0, 0, 1);
    }),
    case("available.entry.unaltered", Block, |p| {
        altered(p, BufferPart::RingEntry(2));
    }),
    case("chain.unaltered", Block, |p| {
        altered(p, BufferPart::Descriptor(4, DescriptorField::Len));
    })
    .keep(|p| {
        p.boot();
        p.exchange(0, &[r(16), w(1)]);
    }),
    // Onto the first descriptor of the queue's own table.
    case("chain.buffer.apart-from-rings", Entropy, |p| {
        let start = setup(0).descriptor;
        p.boot();
        let mut elements = chain(3, &[w(64)]);
        elements[0].addr = start - 63;
        p.expose(0, &elements, ChainEnd::Complete);
    })
    .keep(|p| {
        p.boot();
        let mut elements = chain(3, &[w(64)]);
        elements[0].addr = setup(0).descriptor - 64;
        p.expose(0, &elements, ChainEnd::Complete);
    }),
    may("available.used-event", Block, |p| {
        p.boot();
        p.exchange(0, &[r(16), w(1)]);
    }),
];

/// A block read.
const READ: &[Part] = &[r(16), w(512), w(1)];

/// A chain of `buffers` with something changed.
fn taken(p: &mut Play, buffers: &[Part], end: ChainEnd, change: fn(&mut [Element])) {
    p.boot();
    let mut elements = chain(0, buffers);
    change(&mut elements);
    p.expose(0, &elements, end);
}

/// A table of `len` bytes that cannot be walked.
fn refused(p: &mut Play, len: u32, fault: IndirectFault) {
    p.boot();
    let referrer = chain(0, &[(len, INDIRECT)]);
    p.expose(0, &referrer, ChainEnd::Indirect(fault));
}

fn indirect(p: &mut Play) {
    p.boot();
    p.expose(0, &indirect_chain(0, READ), ChainEnd::Complete);
    // Descriptors of the table are not those of the queue.
    p.expose(0, &indirect_chain(1, READ), ChainEnd::Complete);
}

fn look(p: &mut Play, previous: u16, idx: u16, taken: u16) {
    p.see(DataEvent::AvailableRead(AvailableRead {
        queue: 0,
        size: SIZE,
        flags: 0,
        previous,
        idx,
        taken,
    }));
}

#[test]
fn idx_wraps() {
    let mut p = Play::new(Block);
    p.boot();
    look(&mut p, 65535, 0, 65535);
    look(&mut p, 65530, 10, 65530);
    look(&mut p, 65530, 6, 65526);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn waiting_and_added_buffers_must_fit_together() {
    let mut p = Play::new(Block);
    p.boot();
    look(&mut p, 10, 20, 3);
    assert_eq!(p.found(), ["available.idx.at-most-queue-size"]);
}

#[test]
fn removing_buffers_that_the_device_has_not_taken_is_a_decrement() {
    let mut p = Play::new(Block);
    p.boot();
    look(&mut p, 7, 6, 2);
    assert_eq!(p.found(), ["available.idx.no-decrement"]);
}

#[test]
fn a_returned_chains_descriptors_are_free() {
    let mut p = Play::new(Block);
    p.boot();
    p.give(0, 3, READ);
    p.used(0, 3, 513);
    p.give(0, 4, READ);
    p.give(0, 3, &[r(16)]);
    assert_eq!(p.messages(), [""; 0]);
    // What was in the chain that 3 headed first is not in the one it heads now.
    p.used(0, 4, 513);
    p.give(0, 5, &[r(16)]);
    assert_eq!(p.messages(), [""; 0]);
    p.give(0, 2, &[r(16), w(1)]);
    assert_eq!(p.found(), ["chain.descriptor.free"]);
}

#[test]
fn a_reset_frees_all_descriptors() {
    let mut p = Play::new(Block);
    p.boot();
    p.give(0, 3, READ);
    p.boot();
    p.give(0, 3, READ);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn a_table_that_has_more_than_the_queue_and_no_loop_is_too_long() {
    let mut p = Play::new(Block);
    p.boot();
    let mut elements = indirect_chain(0, &[w(512); SIZE as usize]);
    for e in &mut elements[1..] {
        e.flags |= NEXT;
    }
    p.expose(0, &elements, ChainEnd::TooLong);
    assert_eq!(p.found(), ["chain.at-most-queue-size"]);
}

#[test]
fn a_table_may_loop_too() {
    let mut p = Play::new(Block);
    p.boot();
    let mut elements = indirect_chain(0, &[w(512); SIZE as usize]);
    for e in &mut elements[1..] {
        e.flags |= NEXT;
    }
    elements[usize::from(SIZE)].next = 0;
    p.expose(0, &elements, ChainEnd::TooLong);
    assert_eq!(p.found(), ["chain.no-loop"]);
}

#[test]
fn write_is_ignored_where_a_table_is_referred_to_and_may_follow_readable_buffers() {
    let mut p = Play::new(Block);
    p.boot();
    let mut elements = indirect_chain(1, &[r(512), w(1)]);
    elements[0].flags |= stickler_conformance::layout::desc::WRITE;
    elements.insert(
        0,
        Element {
            flags: NEXT,
            ..chain(0, &[r(16)])[0]
        },
    );
    p.expose(0, &elements, ChainEnd::Complete);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn large_requests_are_not_excessive() {
    let mut p = Play::new(Block);
    p.boot();
    let elements = chain(0, &[r(4096); 128]);
    p.see(DataEvent::Exposed(Buffer {
        size: 128,
        ..exposed(0, &elements, &ChainEnd::Complete)
    }));
    assert_eq!(p.messages(), [""; 0]);
}

/// The driver alters a part of a buffer in flight.
fn altered(p: &mut Play, part: BufferPart) {
    p.boot();
    p.give(0, 3, &[r(16), w(1)]);
    p.see(SplitRingEvent::BufferAltered(AlteredBuffer {
        queue: 0,
        id: BufferId(3),
        part,
        exposed: 3,
        found: 5,
        moment: Moment::Later,
    }));
}

#[test]
fn what_was_altered_is_said_with_field_and_values() {
    for (part, says) in [
        (
            BufferPart::IndirectDescriptor(4, DescriptorField::Addr),
            "chain.unaltered: addr of descriptor 4 in the indirect table of chain 3 went from 0x3 to 0x5 before the device returned the chain (found while the buffers waited)",
        ),
        (
            BufferPart::RingEntry(2),
            "available.entry.unaltered: entry 2 of the available ring went from 3 to 5 while buffer 3 waited there (found while the buffers waited)",
        ),
    ] {
        let mut p = Play::new(Block);
        altered(&mut p, part);
        assert_eq!(p.messages(), [says]);
    }
}
