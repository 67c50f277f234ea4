//! Devices that break the law in configuration space and registers.

use stickler_conformance::layout::{NO_VECTOR, Structure, common};

use super::unlawful;
use Structure::{Common, Device as Specific, Isr, Notify};

const STATUS: u32 = common::DEVICE_STATUS;
const NONE: u64 = NO_VECTOR as u64;

unlawful! {
    pin_beyond_intd: Entropy breaks "4.1.1-1" by |m, _, what| {
        if let Some(pin) = m.config(0x3d, what) { *pin = 7; }
    };
    other_vendor: Entropy breaks "4.1.2.1-1" by |m, _, what| {
        if let Some(id) = m.config(0, what) { *id = 0x1af5; }
    };
    id_of_no_type: Entropy breaks "4.1.2.1-2" "4.1.2.1-4" by |m, _, what| {
        if let Some(id) = m.config(2, what) { *id = 0x1100; }
    };
    revision_0: Entropy breaks "4.1.2.1-5" by |m, _, what| {
        if let Some(id) = m.config(8, what) { *id = 0; }
    };
    low_subsystem: Entropy breaks "4.1.2.1-6" by |m, _, what| {
        if let Some(id) = m.config(0x2e, what) { *id = 4; }
    };
    short_capability: Entropy breaks "4.1.4.2-1" by |m, _, what| {
        if let Some(len) = m.config(m.capabilities[&2] + 2, what) { *len = 16; }
    };
    crooked_common: Entropy breaks "4.1.4.3.1-1" by |m, _, what| {
        if let Some(offset) = m.config(m.capabilities[&1] + 8, what) { *offset |= 2; }
    };
    crooked_notify: Entropy breaks "4.1.4.4.1-2" by |m, _, what| {
        if let Some(offset) = m.config(m.capabilities[&2] + 8, what) { *offset |= 1; }
    };
    crooked_device: Net breaks "4.1.4.6.1-1" by |m, _, what| {
        if let Some(offset) = m.config(m.capabilities[&4] + 8, what) { *offset |= 2; }
    };
    structure_beyond_its_bar: Entropy breaks "4.1.4" by |m, _, what| {
        if let Some(offset) = m.config(m.capabilities[&3] + 12, what) { *offset = 1 << 30; }
    };
    no_common: Entropy breaks "4.1.4.3.1-2" by |m, _, what| {
        if let Some(kind) = m.config(m.capabilities[&1] + 3, what) { *kind = 9; }
    };
    no_notify: Entropy breaks "4.1.4.4.1-1" by |m, _, what| {
        if let Some(kind) = m.config(m.capabilities[&2] + 3, what) { *kind = 9; }
    };
    no_isr: Entropy breaks "4.1.4.5.1-1" by |m, _, what| {
        if let Some(kind) = m.config(m.capabilities[&3] + 3, what) { *kind = 9; }
    };
    no_window: Entropy breaks "4.1.4.7.1-1" by |m, _, what| {
        if let Some(kind) = m.config(m.window + 3, what) { *kind = 9; }
    };
    multiplier_6: Entropy breaks "4.1.4.4.1-3" by |m, _, what| {
        if let Some(multiplier) = m.config(m.capabilities[&2] + 16, what) { *multiplier = 6; }
    };
    notified_too_far_away: Entropy breaks "4.1.4.4.1-4" "4.1.4.4.1-5" by |m, _, what| {
        if m.status.get() == 0
            && let Some(off) = m.read(Common, common::QUEUE_NOTIFY_OFF, what)
        {
            *off = 0x7fff;
        }
    };
    one_vector: Entropy breaks "4.1.5.1.2.1-1" by |m, _, what| {
        if let Some(size) = m.config(m.msix + 2, what) && m.nth() == 0 { *size = 0; }
    };
    table_beyond_its_bar: Entropy breaks "4.1.5.1.2.1-2" by |m, _, what| {
        if let Some(size) = m.config(m.msix + 2, what) && m.nth() == 0 { *size = 0x7ff; }
    };
    one_event_less: Entropy breaks "4.1.5.1.2.1-4" by |m, _, what| {
        if let Some(vector) = m.read(Common, common::QUEUE_MSIX_VECTOR, what) && *vector == 1 {
            *vector = NONE;
        }
    };
    stays_mapped: Entropy breaks "4.1.5.1.2.1-5" by |m, _, what| {
        if m.status.get() != 0
            && let Some(vector) = m.read(Common, common::MSIX_CONFIG, what)
            && *vector == NONE
        {
            *vector = 0;
        }
    };
    reads_as_another: Entropy breaks "4.1.5.1.2.1-6" "4.1.5.1.2.1-9" by |m, _, what| {
        if let Some(vector) = m.read(Common, common::MSIX_CONFIG, what) && *vector != NONE {
            *vector = 9;
        }
    };
    mapped_after_reset: Entropy breaks "4.1.5.1.2.1-7" by |m, _, what| {
        if m.status.get() == 0
            && let Some(vector) = m.read(Common, common::QUEUE_MSIX_VECTOR, what)
        {
            *vector = 0;
        }
    };
    refuses_for_no_reason: Entropy breaks "4.1.5.1.2.1-8" by |m, _, what| {
        for register in [common::QUEUE_MSIX_VECTOR, common::MSIX_CONFIG] {
            if let Some(vector) = m.read(Common, register, what) && *vector == 1 {
                *vector = NONE;
            }
        }
    };
    window_reads_something_else: Entropy breaks "4.1.4.7.1-3" by |m, _, what| {
        if let Some(value) = m.config(m.window + 16, what) { *value ^= 1; }
    };
    window_writes_something_else: Entropy breaks "4.1.4.7.1-2" by |m, _, what| {
        let at = common::DEVICE_FEATURE_SELECT;
        if let Some(value) = m.read(Common, at, what) { *value ^= 1; }
    };

    // ---- Status and features
    status_comes_back: Entropy breaks "2.1.2-1" by |m, _, what| {
        if m.status.get() == 0 && let Some(status) = m.read(Common, STATUS, what) {
            *status = m.nth() % 2;
        }
    };
    reset_never_done: Entropy breaks "4.1.4.3.1-7" by |m, _, what| {
        if let Some(status) = m.read(Common, STATUS, what) { *status |= 0x40; }
    };
    reserved_status_bit: Block breaks "2.1" by |m, _, what| {
        if m.status.get() & 4 != 0 && let Some(status) = m.read(Common, STATUS, what) {
            *status |= 0x10;
        }
    };
    error_not_told_by_status: Entropy breaks "2.1.2-3" by |m, _, what| {
        if let Some(status) = m.read(Common, STATUS, what) { *status &= !0x40; }
    };
    features_without_what_they_require: Net breaks "2.2.2-1" by |m, _, what| {
        if let Some(bits) = m.read(Common, common::DEVICE_FEATURE, what) { *bits &= !2; }
    };
    refuses_what_it_offers: Entropy breaks "2.2.2-2" by |m, _, what| {
        if let Some(status) = m.read(Common, STATUS, what) { *status &= !8; }
    };
    of_another_version: Entropy breaks "6.2-1" by |m, _, what| {
        if let Some(bits) = m.read(Common, common::DEVICE_FEATURE, what) && *bits & 1 != 0 {
            *bits = 0;
        }
    };
    offers_now_and_then: Entropy breaks "4.1.4.3.1-3" by |m, _, what| {
        if let Some(bits) = m.read(Common, common::DEVICE_FEATURE, what) {
            *bits ^= (m.nth() / 6 % 2) << 20;
        }
    };
    forgets_what_was_accepted: Entropy breaks "4.1.4.3.1-4" by |m, _, what| {
        if let Some(bits) = m.read(Common, common::DRIVER_FEATURE, what) { *bits = 0; }
    };

    // ---- Configuration
    nothing_to_read_at_first: Net breaks "2.3.2-1" by |m, _, what| {
        if m.status.get() & 8 == 0 && let Some(byte) = m.read(Specific, 0, what) { *byte = 0; }
    };
    halves_only_in_order: Block breaks "4.1.3.2-1" by |m, _, what| {
        if m.read(Specific, 0, what).is_some() {
            m.count.set(1);
        } else if let Some(high) = m.read(Specific, 4, what) {
            *high ^= 1 - m.count.replace(0);
        }
    };
    generation_stands_still: Net breaks "4.1.4.3.1-6" by |m, _, what| {
        if let Some(generation) = m.read(Common, common::CONFIG_GENERATION, what) {
            *generation = 7;
        }
    };

    // ---- Queues
    enabled_after_reset: Entropy breaks "4.1.4.3.1-8" by |m, _, what| {
        if m.status.get() == 0 && let Some(enable) = m.read(Common, common::QUEUE_ENABLE, what) {
            *enable = 1;
        }
    };
    more_queues_than_there_are: Entropy breaks "4.1.4.3.1-9" by |m, _, what| {
        if let Some(size) = m.read(Common, common::QUEUE_SIZE, what) && *size == 0 { *size = 16; }
    };
    size_of_3: Entropy breaks "4.1.4.3" by |m, _, what| {
        if m.status.get() == 0 && let Some(size) = m.read(Common, common::QUEUE_SIZE, what) {
            *size = 3;
        }
    };
    cannot_bear_to_be_notified: Block breaks "2.4.9.2-5" "2.4" by |m, rig, what| {
        // With the first notification for nothing it goes to sleep.
        let notified = matches!(what, stickler_guest_tests::in_process::Move::Write { .. })
            && m.written(Notify, 0, what).is_some();
        for ring in m.rings(rig) {
            let idle = super::half(rig, ring.layout.avail_idx()) == ring.new;
            if notified && idle {
                m.count.set(1);
            }
            if m.status.get() == 0 {
                m.count.set(0);
            }
            if m.count.get() == 1 && ring.old != ring.new && m.acted(what) {
                ring.set_used(rig, ring.old);
            }
        }
    };

    // ---- ISR status
    no_configuration_bit: Net breaks "4.1.4.5.1-2" by |m, _, what| {
        if let Some(isr) = m.read(Isr, 0, what) { *isr &= !2; }
    };
    no_queue_bit: Entropy breaks "4.1.4.5.1-3" by |m, _, what| {
        if let Some(isr) = m.read(Isr, 0, what) { *isr &= !1; }
    };
    interrupt_status_of_its_own: Entropy breaks "4.1.4.5.1-4" by |m, _, what| {
        if let Some(status) = m.config(6, what) { *status ^= 8; }
    };
    isr_stays: Entropy breaks "4.1.4.5.1-5" by |m, _, what| {
        if let Some(isr) = m.read(Isr, 0, what) { *isr |= 1; }
    };
}
