//! Virtqueues and interrupts (§2.4).

use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts};

use crate::cases;

cases! {
    an_interrupt_means_a_used_buffer: SpuriousInterrupts on Entropy, one_buffer_an_interrupt,
        Stops "there is no used buffer";
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
