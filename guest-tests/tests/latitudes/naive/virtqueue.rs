//! Virtqueues and interrupts (§2.4).

use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts};

use crate::cases;
use crate::conforming::works;

cases! {
    an_interrupt_means_a_used_buffer: SpuriousInterrupts on Entropy, one_buffer_an_interrupt,
        Stops "there is no used buffer";
    queues_are_large_enough: SmallQueues on Block,
        |d| {
            d.negotiate(0);
            assert!(d.select_queue(0) >= 64, "too small a queue");
            works(d);
        },
        Stops "too small a queue";
    there_is_room_for_a_request: TinyQueues on Entropy,
        |d| {
            d.initialize(0, Interrupts::Msix);
            let room = d.rig.allocate(64);
            let parts: Vec<_> = (0..8).map(|i| Buffer::writable(room + 8 * i, 8)).collect();
            d.submit(0, &parts);
        },
        Stops "a driver waits for free descriptors";
    queues_have_less_than_64_kib: LargestQueues on Entropy,
        |d| {
            d.negotiate(0);
            let table = d.select_queue(0).checked_mul(16);
            assert!(table.is_some(), "too long a table");
            works(d);
        },
        Stops "too long a table";
    a_queue_keeps_its_size: ResizedQueues on Entropy, |d| {
            d.negotiate(0);
            let size = d.select_queue(0);
            for _ in 0..8 {
                d.negotiate(0);
                assert_eq!(d.select_queue(0), size, "another size");
            }
            works(d);
        },
        Stops "another size";
}

/// Takes a used buffer for each interrupt.
fn one_buffer_an_interrupt(d: &mut Driver<'_>) {
    d.negotiate(0);
    d.set_up_interrupts(Interrupts::Msix);
    d.set_up_queues(64);
    d.go();
    for _ in 0..40 {
        let room = d.rig.allocate(8);
        d.submit(0, &[Buffer::writable(room, 8)]);
        for _ in d.rig.interrupts.take_messages() {
            let used = d.queue(0).take_used();
            assert_eq!(used.len(), 1, "there is no used buffer");
        }
    }
}
