//! Setting queues up (§2.4, §4.1.4.3, §4.1.5.1.3 of virtio 1.0).

use stickler_conformance::features;
use stickler_conformance::layout::common;
use stickler_guest_tests::in_process::{Driver, Interrupts};

use crate::rogues;

/// Negotiates and configures queue 0 with 8 descriptors; it is selected and not enabled.
fn configured(d: &mut Driver<'_>) {
    d.negotiate(0);
    d.set_up_interrupts(Interrupts::Msix);
    assert!(d.configure_queue(0, 8));
}

rogues! {
    size_of_seven: Entropy breaks "queue.size.power-of-two" by |d| {
        configured(d);
        d.set_common(common::QUEUE_SIZE, 7);
    };
    size_beyond_what_is_offered: Entropy breaks "queue.size.at-most-offered" by |d| {
        d.negotiate(0);
        let max = d.select_queue(0);
        d.set_common(common::QUEUE_SIZE, u32::from(max) * 2);
    };
    size_not_read: Entropy breaks "queue.size.read" by |d| {
        configured(d);
        let queue = d.queue(0).clone();
        d.negotiate(0);
        for (field, address) in [
            (common::QUEUE_DESC, queue.layout.desc),
            (common::QUEUE_AVAIL, queue.layout.avail),
            (common::QUEUE_USED, queue.layout.used),
        ] {
            d.set_queue_address(field, address);
        }
        d.set_common(common::QUEUE_SIZE, 8);
        d.enable_queue();
    };
    misaligned_table: Entropy breaks "queue.align.descriptor-table" by |d| {
        configured(d);
        let room = d.rig.allocate(4096);
        d.set_queue_address(common::QUEUE_DESC, room + 8);
        d.enable_queue();
    };
    misaligned_available_ring: Entropy breaks "queue.align.available-ring" by |d| {
        configured(d);
        let at = d.queue(0).layout.avail;
        d.set_queue_address(common::QUEUE_AVAIL, at + 1);
        d.enable_queue();
    };
    misaligned_used_ring: Entropy breaks "queue.align.used-ring" by |d| {
        configured(d);
        let at = d.queue(0).layout.used;
        d.set_queue_address(common::QUEUE_USED, at + 2);
        d.enable_queue();
    };
    queue_outside_memory: Entropy breaks "queue.in-memory" by |d| {
        configured(d);
        d.set_queue_address(common::QUEUE_DESC, 1 << 40);
        d.enable_queue();
    };
    parts_overlap: Entropy breaks "queue.parts-apart" by |d| {
        configured(d);
        let at = d.queue(0).layout.desc;
        d.set_queue_address(common::QUEUE_AVAIL, at + 16);
        d.enable_queue();
    };
    used_ring_not_zeroed: Entropy breaks "queue.used-flags-zero" by |d| {
        configured(d);
        let queue = d.queue(0);
        queue.put(queue.layout.used_flags(), 1_u16);
        d.enable_queue();
    };
    used_ring_begins_with_something: Entropy breaks "queue.used-idx-zero" by |d| {
        configured(d);
        let queue = d.queue(0);
        queue.put(queue.layout.used_idx(), 5_u16);
        d.enable_queue();
    };
    enables_before_configuring: Entropy breaks "queue.enable.configured" by |d| {
        d.negotiate(0);
        d.select_queue(0);
        d.enable_queue();
    };
    resizes_an_enabled_queue: Entropy breaks "queue.enable.size-fixed" by |d| {
        configured(d);
        d.enable_queue();
        d.set_common(common::QUEUE_SIZE, 4);
    };
    moves_an_enabled_queue: Entropy breaks "queue.enable.address-fixed" by |d| {
        configured(d);
        d.enable_queue();
        let at = d.queue(0).layout.desc;
        d.set_queue_address(common::QUEUE_DESC, at + 4096);
    };
    disables_a_queue: Entropy breaks "queue.enable.not-zero" by |d| {
        configured(d);
        d.enable_queue();
        d.set_common(common::QUEUE_ENABLE, 0);
    };
    enables_with_two: Entropy breaks "queue.enable.value" by |d| {
        configured(d);
        d.set_common(common::QUEUE_ENABLE, 2);
    };
    enables_twice: Entropy breaks "queue.enable.once" by |d| {
        configured(d);
        d.enable_queue();
        d.enable_queue();
    };
    enables_after_driver_ok: Entropy breaks "queue.enable.before-driver-ok" by |d| {
        configured(d);
        d.go();
        d.select_queue(0);
        d.enable_queue();
    };
    sets_up_a_queue_that_is_not_there: Entropy breaks "queue.exists" by |d| {
        d.negotiate(0);
        assert_eq!(d.select_queue(40), 0);
        d.set_common(common::QUEUE_SIZE, 8);
        d.enable_queue();
    };
    enables_a_queue_of_no_size: Entropy breaks "queue.size.not-zero" by |d| {
        configured(d);
        d.set_common(common::QUEUE_SIZE, 0);
        d.enable_queue();
    };
    two_queues_in_one_place: Console breaks "queue.queues-apart" by |d| {
        configured(d);
        d.enable_queue();
        d.configure_queue(1, 8);
        let at = d.queue(0).layout.desc;
        d.set_queue_address(common::QUEUE_DESC, at);
        d.enable_queue();
    };
    enables_before_features_ok: Entropy breaks "queue.enable.after-features-ok" by |d| {
        d.begin();
        d.interrupts = Interrupts::Intx;
        d.configure_queue(0, 8);
        d.enable_queue();
    };
    control_queue_without_the_feature: Net breaks "net.queue.negotiated" by |d| {
        d.negotiate(features::net::MAC);
        d.interrupts = Interrupts::Intx;
        d.configure_queue(2, 8);
        d.enable_queue();
    };
    second_pair_without_the_feature: Net breaks "net.queue.pairs-negotiated" by |d| {
        d.negotiate(features::net::MAC | features::net::CTRL_VQ);
        d.interrupts = Interrupts::Intx;
        d.configure_queue(3, 8);
        d.enable_queue();
    };
    further_ports_without_the_feature: Console breaks "console.queue.negotiated" by |d| {
        d.negotiate(0);
        d.interrupts = Interrupts::Intx;
        d.configure_queue(2, 8);
        d.enable_queue();
    };
}
