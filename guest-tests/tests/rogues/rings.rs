//! Descriptor chains and rings (§2.4.4 to §2.4.9, §3.2, §3.3 of virtio 1.0).

use stickler_conformance::event::NetHeader;
use stickler_conformance::features::{RING_EVENT_IDX, RING_INDIRECT_DESC, block, net};
use stickler_conformance::layout::desc::{INDIRECT, NEXT};
use stickler_guest_tests::in_process::block::kind;
use stickler_guest_tests::in_process::net::{PLAIN_PACKET, arp_request};
use stickler_guest_tests::in_process::rig::RAM;
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts};

use crate::rogues;

/// Nowhere.
const OUTSIDE: u64 = 1 << 40;

fn live(d: &mut Driver<'_>, features: u64) {
    d.initialize(features, Interrupts::Msix);
}

/// As [`live`], with queues of `size` descriptors.
fn live_with(d: &mut Driver<'_>, features: u64, size: u16) {
    d.negotiate(features);
    d.set_up_interrupts(Interrupts::Msix);
    d.set_up_queues(size);
    d.go();
}

/// A device-writable buffer of 64 bytes.
fn writable(d: &Driver<'_>) -> Buffer {
    Buffer::writable(d.rig.allocate(64), 64)
}

/// Makes a chain available, and notifies the device of it.
fn submit_and_notify(d: &mut Driver<'_>) {
    let buffer = writable(d);
    let queue = d.queue(0);
    let head = queue.chain(&[buffer]);
    queue.expose(head);
    d.notify(0);
    d.rig.run();
}

/// Makes a chain available that consists of one descriptor written by hand.
fn one_descriptor(d: &mut Driver<'_>, buffer: Buffer, flags: u16, next: u16) {
    let queue = d.queue(0);
    let head = queue.chain(&[buffer]);
    queue.put_descriptor(queue.layout.desc, head, buffer, flags, next);
    d.submit_head(0, head);
}

/// Makes an indirect table of 4 buffers available after `change` has changed it; that is given the
/// address of the table and the index of the descriptor that refers to it.
fn indirect(d: &mut Driver<'_>, change: impl FnOnce(&Driver<'_>, u64, u16)) {
    let table = d.rig.allocate(64);
    let buffers = [writable(d); 4];
    let head = d.queue(0).indirect(table, &buffers);
    change(d, table, head);
    d.submit_head(0, head);
}

/// Writes the descriptor that refers to a table.
fn refer(d: &Driver<'_>, head: u16, table: u64, len: u32, flags: u16) {
    let queue = &d.queues[&0];
    queue.put_descriptor(
        queue.layout.desc,
        head,
        Buffer::readable(table, len),
        flags,
        0,
    );
}

rogues! {
    // NO_INTERRUPT, in the wrong ring.
    flags_of_the_wrong_ring: Entropy breaks "used.read-only" by |d| {
        live(d, 0);
        d.exercise();
        let queue = d.queue(0).clone();
        queue.put(queue.layout.used_flags(), 1_u16);
        submit_and_notify(d);
    };
    // used_event, in the wrong ring.
    event_of_the_wrong_ring: Entropy breaks "used.read-only" by |d| {
        live(d, RING_EVENT_IDX);
        d.exercise();
        let queue = d.queue(0).clone();
        queue.put(queue.layout.avail_event(), 0x1000_u16);
        submit_and_notify(d);
    };
    used_ring_rewound: Entropy breaks "used.read-only" by |d| {
        live(d, 0);
        d.exercise();
        let queue = d.queue(0).clone();
        queue.put(queue.layout.used_idx(), 0_u16);
        submit_and_notify(d);
    };
    head_outside_the_table: Entropy breaks "chain.head.in-table" by |d| {
        live(d, 0);
        d.submit_head(0, 64);
    };
    head_given_twice: Block breaks "chain.head.free" by |d| {
        live(d, block::FLUSH);
        let flush = d.block_request(kind::FLUSH, 0, &[]);
        let queue = d.queue(0);
        let head = queue.chain(&flush);
        queue.expose(head);
        queue.expose(head);
        d.notify(0);
    };
    descriptor_shared_by_two_chains: Block breaks "chain.descriptor.free" by |d| {
        live(d, block::FLUSH);
        let flush = d.block_request(kind::FLUSH, 0, &[]);
        let queue = d.queue(0);
        let first = queue.chain(&flush);
        let status = queue.chains[usize::from(first)][1];
        let second = queue.chain(&flush[..1]);
        queue.put_descriptor(queue.layout.desc, second, flush[0], NEXT, status);
        queue.expose(first);
        queue.expose(second);
        d.notify(0);
    };
    next_outside_the_table: Entropy breaks "chain.next.in-table" by |d| {
        live(d, 0);
        let buffer = writable(d);
        one_descriptor(d, buffer, NEXT, 64);
    };
    chain_with_a_loop: Entropy breaks "chain.no-loop" by |d| {
        live(d, 0);
        let buffers = [writable(d); 3];
        let queue = d.queue(0);
        let head = queue.chain(&buffers);
        let last = queue.chains[usize::from(head)][2];
        queue.put_descriptor(queue.layout.desc, last, buffers[2], NEXT, head);
        d.submit_head(0, head);
    };
    table_with_a_loop: Entropy breaks "chain.no-loop" by |d| {
        live(d, RING_INDIRECT_DESC);
        indirect(d, |d, table, _| d.queues[&0].put_descriptor(table, 3, writable(d), NEXT, 1));
    };
    more_than_4_gib: Net breaks "chain.total-length" by |d| {
        live_with(d, net::MAC, 256);
        let all_of_memory = Buffer::readable(0, RAM as u32);
        d.submit(1, &[all_of_memory; (1 << 32) / RAM + 1]);
    };
    table_larger_than_the_queue: Entropy breaks "chain.at-most-queue-size" by |d| {
        live_with(d, RING_INDIRECT_DESC, 8);
        let table = d.rig.allocate(16 * 9);
        let buffers = [writable(d); 9];
        let head = d.queue(0).indirect(table, &buffers);
        d.submit_head(0, head);
    };
    readable_behind_writable: Block breaks "chain.readable-before-writable" by |d| {
        live(d, block::FLUSH);
        let mut flush = d.block_request(kind::FLUSH, 0, &[]);
        flush.reverse();
        d.submit(0, &flush);
    };
    byte_by_byte: Net breaks "chain.not-excessive" by |d| {
        live_with(d, net::MAC, 256);
        let packet = d.rig.allocate(80);
        let bytes: Vec<_> = (0..80).map(|i| Buffer::readable(packet + i, 1)).collect();
        d.submit(1, &bytes);
    };
    buffer_outside_memory: Entropy breaks "chain.buffer.in-memory" by |d| {
        live(d, 0);
        d.submit(0, &[Buffer::writable(OUTSIDE, 64)]);
    };
    buffer_that_ends_outside_memory: Entropy breaks "chain.buffer.in-memory" by |d| {
        live(d, 0);
        d.submit(0, &[Buffer::writable(RAM as u64 - 32, 64)]);
    };
    buffer_that_wraps_around: Entropy breaks "chain.buffer.in-memory" by |d| {
        live(d, 0);
        d.submit(0, &[Buffer::writable(u64::MAX - 31, 64)]);
    };
    undefined_descriptor_flag: Entropy breaks "chain.flags.defined" by |d| {
        live(d, 0);
        let buffer = writable(d);
        one_descriptor(d, buffer, 0x80, 0);
    };
    indirect_without_the_feature: Entropy breaks "indirect.negotiated" by |d| {
        live(d, 0);
        indirect(d, |_, _, _| {});
    };
    table_in_a_table: Entropy breaks "indirect.not-nested" by |d| {
        live(d, RING_INDIRECT_DESC);
        indirect(d, |d, table, _| {
            let inner = Buffer::readable(d.rig.allocate(16), 16);
            d.queues[&0].put_descriptor(table, 3, inner, INDIRECT, 0);
        });
    };
    indirect_and_next: Entropy breaks "indirect.no-next" by |d| {
        live(d, RING_INDIRECT_DESC);
        indirect(d, |d, table, head| refer(d, head, table, 64, INDIRECT | NEXT));
    };
    table_of_three_and_a_half: Entropy breaks "indirect.table.length" by |d| {
        live(d, RING_INDIRECT_DESC);
        indirect(d, |d, table, head| refer(d, head, table, 56, INDIRECT));
    };
    empty_table: Entropy breaks "indirect.table.length" by |d| {
        live(d, RING_INDIRECT_DESC);
        indirect(d, |d, table, head| refer(d, head, table, 0, INDIRECT));
    };
    table_outside_memory: Entropy breaks "indirect.table.in-memory" by |d| {
        live(d, RING_INDIRECT_DESC);
        indirect(d, |d, _, head| refer(d, head, OUTSIDE, 64, INDIRECT));
    };
    next_outside_a_table: Entropy breaks "indirect.next.in-table" by |d| {
        live(d, RING_INDIRECT_DESC);
        indirect(d, |d, table, _| d.queues[&0].put_descriptor(table, 3, writable(d), NEXT, 4));
    };
    undefined_available_flag: Entropy breaks "available.flags.defined" by |d| {
        live(d, 0);
        d.queue(0).set_avail_flags(2);
        d.exercise();
    };
    available_flags_with_event_idx: Entropy breaks "available.flags.zero" by |d| {
        live(d, RING_EVENT_IDX);
        d.queue(0).set_avail_flags(1);
        d.exercise();
    };
    available_idx_goes_back: Entropy breaks "available.idx.no-decrement" by |d| {
        live(d, 0);
        d.exercise();
        d.exercise();
        d.queue(0).set_avail_idx(1);
        d.notify(0);
    };
    available_idx_leaps: Entropy breaks "available.idx.at-most-queue-size" by |d| {
        live(d, 0);
        d.queue(0).set_avail_idx(65);
        d.notify(0);
    };
    alters_a_buffer_in_flight: Net breaks "chain.unaltered" by |d| {
        live(d, net::MAC | net::MRG_RXBUF);
        // Too short for the answer: the device keeps it until there is more.
        let short = Buffer::writable(d.rig.allocate(64), 32);
        let head = d.submit(0, &[short]);
        d.transmit(1, &NetHeader::default(), &arp_request(&d.mac()));
        let other = Buffer { len: 31, ..short };
        let queue = d.queue(0);
        queue.put_descriptor(queue.layout.desc, head, other, 0, 0);
        d.give_receive_buffers(0, 1, PLAIN_PACKET);
        d.wait_used(0);
    };
    alters_an_indirect_table_in_flight: Net breaks "chain.unaltered" by |d| {
        live(d, net::MAC | net::MRG_RXBUF | RING_INDIRECT_DESC);
        let short = Buffer::writable(d.rig.allocate(64), 32);
        let table = d.rig.allocate(16);
        let head = d.queue(0).indirect(table, &[short]);
        d.submit_head(0, head);
        d.transmit(1, &NetHeader::default(), &arp_request(&d.mac()));
        let other = Buffer { len: 31, ..short };
        d.queue(0).put_descriptor(table, 0, other, 0, 0);
        d.give_receive_buffers(0, 1, PLAIN_PACKET);
        d.wait_used(0);
    };
    does_not_notify: Entropy breaks "notify.when-flags-0" by |d| {
        live(d, 0);
        silent(d);
    };
    does_not_notify_at_avail_event: Entropy breaks "notify.at-avail-event" by |d| {
        live(d, RING_EVENT_IDX);
        silent(d);
    };
    does_not_notify_where_idx_wraps: Entropy breaks "notify.at-avail-event" by |d| {
        live(d, RING_EVENT_IDX);
        let buffer = writable(d);
        let head = d.submit(0, &[buffer]);
        d.wait_used(0);
        for _ in 1..u16::MAX {
            d.submit_head(0, head);
            d.queue(0).take_used();
        }
        silent(d);
    };
    notifies_who_needs_none: Net breaks "notify.not-when-flags-1" by |d| {
        live(d, net::MAC);
        many(d);
    };
    notifies_of_everything: Entropy breaks "notify.not-before-avail-event" by |d| {
        live(d, RING_EVENT_IDX);
        many(d);
    };
}

/// Makes a buffer available, and does not say so.
fn silent(d: &mut Driver<'_>) {
    d.rig.run();
    let buffer = writable(d);
    let queue = d.queue(0);
    let head = queue.chain(&[buffer]);
    queue.expose(head);
    d.rig.tick(6);
}

/// Notifies the first queue more often than it has processors.
fn many(d: &mut Driver<'_>) {
    d.rig.run();
    for _ in 0..70 {
        d.notify(0);
    }
}
