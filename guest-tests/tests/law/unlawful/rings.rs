//! Devices that break the law in rings and memory, and with interrupts.

use stickler_conformance::layout::NO_VECTOR;
use stickler_devices::interrupt::InterruptSink;

use super::{half, unlawful, word};
use crate::rings::BEFORE;

unlawful! {
    writes_before_driver_ok: Entropy breaks "2.1.2-2" by |m, rig, what| {
        if m.acted(what) && matches!(m.status.get(), 1..4) {
            rig.write_bytes(1 << 20, &[m.nth() as u8]);
        }
    };
    interrupts_before_driver_ok: Entropy breaks "2.1.2-2" by |m, rig, what| {
        if m.acted(what) && matches!(m.status.get(), 8..12) { rig.interrupts.send(0); }
    };
    writes_after_a_reset: Block breaks "2.1.2-2" by |m, rig, what| {
        if m.acted(what) && m.status.get() == 0 { rig.write_bytes(1 << 20, &[m.nth() as u8]); }
    };
    writes_what_is_to_be_read: Block breaks "2.4.5.1-1" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            let readable = ring.bytes(rig, false);
            let byte = rig.read_bytes(readable[0], 1)[0];
            rig.write_bytes(readable[0], &[!byte]);
        }
    };
    writes_to_descriptors: Entropy breaks "2.4.5.1-1" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            let flags = half(rig, ring.layout.desc + 12);
            rig.write_bytes(ring.layout.desc + 12, &(flags ^ 8).to_le_bytes());
        }
    };
    writes_to_the_available_ring: Entropy breaks "2.4.5.1-1" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            let at = ring.layout.avail_entry(0);
            let head = half(rig, at);
            rig.write_bytes(at, &(head ^ 1).to_le_bytes());
        }
    };
    garbles: Entropy breaks "2.4.4.1-1" "2.4.5.3.2-1" "2.4.5.3.2-2" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            ring.alter(rig, 0, |byte| byte ^ 0x13);
        }
    };
    returns_twice: Entropy breaks "2.4.8" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            let last = rig.read_bytes(ring.entry(ring.new.wrapping_sub(1)), 8);
            rig.write_bytes(ring.entry(ring.new), &last);
            ring.set_used(rig, ring.new.wrapping_add(1));
        }
    };
    returns_what_is_none: Entropy breaks "2.4.8" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            let at = ring.entry(ring.new.wrapping_sub(1));
            rig.write_bytes(at, &0x1_0000_u32.to_le_bytes());
        }
    };
    len_comes_late: Entropy breaks "2.4.8.2-1" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            let at = ring.entry(ring.old.wrapping_sub(1)) + 4;
            let len = word(rig, at);
            rig.write_bytes(at, &(len ^ 1).to_le_bytes());
        }
    };
    len_beyond_the_buffers: Block breaks "2.4.8.2-2" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            let room = ring.bytes(rig, true).len() as u32;
            ring.set_len(rig, room + 1);
        }
    };
    len_of_what_was_not_written: Entropy breaks "2.4.8.2-2" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            for at in ring.bytes(rig, true) {
                rig.write_bytes(at, &[BEFORE]);
            }
        }
    };
    flags_2: Entropy breaks "2.4.9.2-1" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            rig.write_bytes(ring.layout.used_flags(), &[2]);
        }
    };
    flags_with_event_idx: Entropy breaks "2.4.9.2-3" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            rig.write_bytes(ring.layout.used_flags(), &[1]);
        }
    };

    // ---- Interrupts
    no_interrupts: Entropy breaks "2.4.7.2-1" "2.4.7.2-3" "2.4.7.2-4" "2.4.7.2-5" "2.1.2-4"
        by |m, rig, what| {
        if m.acted(what) {
            let mut messages = rig.interrupts.take_messages();
            messages.truncate(m.messages.get());
            messages.into_iter().for_each(|data| rig.interrupts.send(data));
            rig.interrupts.set_pin(m.slot, false);
        }
    };
    always_interrupts: Entropy breaks "2.4.7.2-2" "2.4.7.2-6" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            if ring.vector == NO_VECTOR {
                rig.interrupts.set_pin(m.slot, true);
            } else {
                rig.interrupts.send(ring.vector.into());
            }
        }
    };
    interrupts_nobody_mapped: Net breaks "4.1.5.3.1-1" "4.1.5.4.1-1" by |m, rig, what| {
        if m.acted(what) && m.status.get() & 4 != 0 { rig.interrupts.send(0x7777); }
    };
}
