//! Buffers that wait: nothing comes that the device would need them for, and nobody else tells what is
//! wrong with them (§2.4.4 to §2.4.8, §3.3.1, §5.1.6.3, §5.3.6.1 of virtio 1.0).

use stickler_conformance::device::console::{CONTROL_RECEIVEQ, event, feature};
use stickler_conformance::features::{RING_EVENT_IDX, RING_INDIRECT_DESC, net};
use stickler_conformance::layout::desc::{NEXT, WRITE};
use stickler_guest_tests::in_process::net::PLAIN_PACKET;
use stickler_guest_tests::in_process::rig::RAM;
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts};

use crate::rogues;

const LEN: u32 = PLAIN_PACKET;

/// A network card with four receive buffers, of which nobody has need.
fn waiting(d: &mut Driver<'_>, features: u64) {
    d.initialize(net::MAC | features, Interrupts::Msix);
    d.give_receive_buffers(0, 4, LEN);
    d.rig.run();
    // What waits is looked at again.
    d.rig.tick(1);
    assert_eq!(d.rig.findings().len(), 0);
}

/// One more receive buffer, that of `d` with `flags` and `next`.
fn give(d: &mut Driver<'_>, buffer: Buffer, flags: u16, next: u16) {
    let queue = d.queue(0);
    let head = queue.chain(&[buffer]);
    queue.put_descriptor(queue.layout.desc, head, buffer, flags, next);
    d.submit_head(0, head);
    d.rig.tick(1);
}

/// Writes descriptor 1, that of a waiting buffer.
fn rewrite(d: &mut Driver<'_>, change: impl FnOnce(Buffer) -> (Buffer, u16)) {
    let queue = d.queue(0);
    let (buffer, flags) = change(queue.buffer(1));
    queue.put_descriptor(queue.layout.desc, 1, buffer, flags, 0);
    d.rig.tick(1);
}

fn room(d: &Driver<'_>) -> Buffer {
    Buffer::writable(d.rig.allocate(LEN.into()), LEN)
}

rogues! {
    // ---- Altered
    length_of_a_waiting_buffer: Net breaks "chain.unaltered" by |d| {
        waiting(d, 0);
        rewrite(d, |buffer| (Buffer { len: 64, ..buffer }, WRITE));
    };
    address_of_a_waiting_buffer: Net breaks "chain.unaltered" by |d| {
        waiting(d, 0);
        let other = room(d);
        rewrite(d, |_| (other, WRITE));
    };
    direction_of_a_waiting_buffer: Net breaks "chain.unaltered" by |d| {
        waiting(d, 0);
        rewrite(d, |buffer| (Buffer::readable(buffer.addr, buffer.len), 0));
    };
    waiting_descriptor_zeroed: Net breaks "chain.unaltered" by |d| {
        waiting(d, 0);
        rewrite(d, |_| (Buffer::readable(0, 0), 0));
    };
    waiting_table_altered: Net breaks "chain.unaltered" by |d| {
        waiting(d, RING_INDIRECT_DESC);
        let (buffer, table) = (room(d), d.rig.allocate(16));
        let head = d.queue(0).indirect(table, &[buffer]);
        d.submit_head(0, head);
        d.rig.tick(1);
        d.queue(0).put_descriptor(table, 0, Buffer { len: 64, ..buffer }, WRITE, 0);
        d.rig.tick(1);
    };
    waiting_entry_replaced: Net breaks "available.entry.unaltered" by |d| {
        waiting(d, 0);
        let buffer = room(d);
        let queue = d.queue(0);
        let other = queue.chain(&[buffer]);
        queue.put(queue.layout.avail + 4 + 2, other);
        d.rig.tick(1);
    };
    waiting_buffers_taken_back: Net breaks "available.idx.no-decrement" by |d| {
        waiting(d, 0);
        d.queue(0).set_avail_idx(1);
        d.rig.tick(1);
        d.reset();
    };
    // Found when the reset comes, at the latest.
    taken_back_for_the_reset: Net breaks "available.idx.no-decrement" by |d| {
        waiting(d, 0);
        d.queue(0).set_avail_idx(1);
        d.reset();
    };
    table_freed_before_the_reset: Net breaks "chain.unaltered" by |d| {
        waiting(d, 0);
        let queue = d.queue(0).clone();
        for index in 0..4 {
            queue.put_descriptor(queue.layout.desc, index, Buffer::readable(0, 0), 0, 0);
        }
        d.reset();
    };
    used_ring_freed_before_the_reset: Entropy breaks "used.read-only" by |d| {
        d.initialize(0, Interrupts::Msix);
        d.exercise();
        let queue = d.queue(0).clone();
        for at in (queue.layout.used..queue.layout.used + 64).step_by(8) {
            queue.put(at, 0_u64);
        }
        d.reset();
    };
    // Between two completions, and with nothing to do for the device afterwards.
    used_flags_between_completions: Entropy breaks "used.read-only" by |d| {
        d.initialize(0, Interrupts::Msix);
        d.exercise();
        let queue = d.queue(0).clone();
        queue.put(queue.layout.used_flags(), 1_u16);
        d.rig.tick(1);
    };
    used_flags_with_event_idx: Entropy breaks "used.read-only" by |d| {
        d.initialize(RING_EVENT_IDX, Interrupts::Msix);
        d.exercise();
        let queue = d.queue(0).clone();
        queue.put(queue.layout.used_flags(), 1_u16);
        d.rig.tick(1);
    };
    used_element_written: Entropy breaks "used.read-only" by |d| {
        d.initialize(0, Interrupts::Msix);
        d.exercise();
        let queue = d.queue(0).clone();
        queue.put(queue.layout.used + 4 + 4, 0_u32);
        d.rig.tick(1);
    };

    // ---- Never right
    readable_receive_buffer_waits: Net breaks "net.rx.writable" by |d| {
        waiting(d, 0);
        let buffer = room(d);
        let parts = [Buffer::readable(d.rig.allocate(12), 12), buffer];
        d.submit(0, &parts);
        d.rig.tick(1);
    };
    readable_input_buffer_waits: Console breaks "console.receive.writable" by |d| {
        d.initialize(0, Interrupts::Msix);
        d.submit(0, &[Buffer::readable(d.rig.allocate(16), 16)]);
        d.rig.tick(1);
    };
    readable_control_buffer_waits: Console breaks "console.control-receive.writable" by |d| {
        d.initialize(feature::MULTIPORT, Interrupts::Msix);
        d.rig.run();
        d.submit(CONTROL_RECEIVEQ, &[Buffer::readable(d.rig.allocate(16), 16)]);
        d.rig.tick(1);
    };
    short_receive_buffer_waits: Net breaks "net.rx.size.plain" by |d| {
        waiting(d, 0);
        let at = d.rig.allocate(64);
        d.submit(0, &[Buffer::writable(at, 64)]);
        d.rig.tick(1);
    };
    receive_buffer_outside_memory: Net breaks "chain.buffer.in-memory" by |d| {
        waiting(d, 0);
        give(d, Buffer::writable(1 << 40, LEN), WRITE, 0);
    };
    receive_buffer_across_the_end_of_memory: Net breaks "chain.buffer.in-memory" by |d| {
        waiting(d, 0);
        give(d, Buffer::writable(RAM as u64 - 64, LEN), WRITE, 0);
    };
    receive_buffer_over_a_bar: Net breaks "chain.buffer.in-memory" by |d| {
        waiting(d, 0);
        let bar = d.notify_address(0) & !0xfff;
        give(d, Buffer::writable(bar, LEN), WRITE, 0);
    };
    receive_buffer_over_its_own_rings: Net breaks "chain.buffer.apart-from-rings" by |d| {
        waiting(d, 0);
        let used = d.queue(0).layout.used;
        give(d, Buffer::writable(used, LEN), WRITE, 0);
    };
    receive_buffer_with_a_loop: Net breaks "chain.no-loop" by |d| {
        waiting(d, 0);
        let buffer = room(d);
        // Descriptors 0 to 3 are those of the buffers that wait.
        give(d, buffer, WRITE | NEXT, 4);
    };
    receive_buffer_that_continues_nowhere: Net breaks "chain.next.in-table" by |d| {
        waiting(d, 0);
        let buffer = room(d);
        give(d, buffer, WRITE | NEXT, 64);
    };
    receive_buffer_that_is_no_descriptor: Net breaks "chain.head.in-table" by |d| {
        waiting(d, 0);
        d.submit_head(0, 64);
        d.rig.tick(1);
    };
    receive_buffer_given_twice: Net breaks "chain.head.free" by |d| {
        waiting(d, 0);
        d.submit_head(0, 2);
        d.rig.tick(1);
    };

    // ---- Not notified, though the device looks at other queues of its own
    found_without_the_notification: Console breaks "notify.when-flags-0" by |d| {
        d.initialize(feature::MULTIPORT, Interrupts::Msix);
        d.rig.run();
        d.send_message(0, event::DEVICE_READY, 1);
        let at = d.rig.allocate(64);
        let queue = d.queue(1);
        let head = queue.chain(&[Buffer::readable(at, 16)]);
        queue.expose(head);
        for _ in 0..6 {
            // Other queues have work.
            d.expect_messages(1);
            d.rig.run();
            d.rig.tick(1);
        }
    };
}
