//! What a judge makes of what the transport tells.
//!
//! Citations are of virtio 1.0.

use super::*;

/// Sets a queue up as §4.1.5.1.3 and the access widths of §4.1.3.1 have it.
fn set_up_queue(rig: &Rig, index: u16, vector: u16) {
    rig.set(reg::QUEUE_SELECT, index.into());
    assert_ne!(rig.get(reg::QUEUE_SIZE), 0);
    rig.set(reg::QUEUE_SIZE, 4);
    rig.set(reg::QUEUE_MSIX_VECTOR, vector.into());
    assert_eq!(rig.get(reg::QUEUE_MSIX_VECTOR), u64::from(vector));
    let registers = [reg::QUEUE_DESC, reg::QUEUE_AVAIL, reg::QUEUE_USED];
    for (register, address) in registers.into_iter().zip(ring_addresses(index)) {
        rig.write(Structure::Common, register, 4, address & 0xffff_ffff);
        rig.write(Structure::Common, register + 4, 4, address >> 32);
    }
    rig.set(reg::QUEUE_ENABLE, 1);
}

/// A driver that does all of §3.1.1 right.
fn start(rig: &Rig) {
    rig.set(reg::DEVICE_STATUS, 0);
    assert_eq!(rig.status(), 0);
    rig.add_status(status::ACKNOWLEDGE);
    rig.add_status(status::DRIVER);
    for select in 0..2 {
        rig.set(reg::DEVICE_FEATURE_SELECT, select);
        rig.get(reg::DEVICE_FEATURE);
    }
    rig.accept(features::VERSION_1 | features::RING_EVENT_IDX);
    rig.add_status(status::FEATURES_OK);
    assert_ne!(rig.status() & status::FEATURES_OK, 0);
    rig.set(reg::MSIX_CONFIG, 0);
    assert_eq!(rig.get(reg::MSIX_CONFIG), 0);
    set_up_queue(rig, 0, 1);
    set_up_queue(rig, 2, 2);
    rig.add_status(status::DRIVER_OK);
}

fn rig() -> Rig {
    let rig = Rig::new();
    rig.enable_msix();
    rig
}

#[test]
fn a_driver_by_the_book_is_found_to_be_one() {
    let rig = rig();
    for _ in 0..3 {
        start(&rig);
        rig.notify(0);
        rig.notify(2);
        rig.work();
        for address in [0, 2].into_iter().flat_map(ring_addresses) {
            rig.write_memory(address, &[0; 512]);
        }
    }
    rig.set(reg::DEVICE_STATUS, 0);
    assert_eq!(rig.status(), 0);
    assert_eq!(rig.violated(), [""; 0]);
    let tallies = rig.function.tallies().unwrap();
    let held = tallies.iter().filter(|(_, tally)| tally.held > 0).count();
    assert!(held >= 30, "{held} requirements held");
}

#[test]
fn what_a_driver_does_wrong_is_found_by_name() {
    let wrong = |act: &dyn Fn(&Rig)| {
        let rig = rig();
        start(&rig);
        rig.work();
        assert_eq!(rig.violated(), [""; 0]);
        act(&rig);
        rig.violated()
    };
    let found = wrong(&|rig| rig.write(Structure::Common, reg::QUEUE_DESC, 4, 0x7000));
    assert_eq!(found, ["queue.enable.address-fixed"]);
    let found = wrong(&|rig| rig.set(reg::QUEUE_SIZE, 2));
    assert_eq!(found, ["queue.enable.size-fixed"]);
    let found = wrong(&|rig| rig.set(reg::QUEUE_ENABLE, 0));
    assert_eq!(found, ["queue.enable.not-zero"]);
    let found = wrong(&|rig| rig.set(reg::DEVICE_STATUS, 3));
    assert_eq!(found, ["status.sequence.reset"]);
    let found = wrong(&|rig| rig.set(reg::DEVICE_STATUS, 0x0b));
    assert_eq!(found, ["status.no-clear"]);
    let found = wrong(&|rig| rig.set(reg::NUM_QUEUES, 1));
    assert_eq!(found, ["common.num-queues.read-only"]);
    let found = wrong(&|rig| rig.config_write(rig.capability(Structure::Isr) + 4, 1, 0));
    assert_eq!(found, ["pci.capability.read-only"]);
    let found = wrong(&|rig| rig.notify(1));
    assert_eq!(found, ["notify.queue-exists"]);
    let found = wrong(&|rig| {
        let window = rig.capability(Structure::PciCfg);
        rig.config_write(window + 8, 4, 2);
        rig.config_write(window + 12, 4, 4);
        rig.config_read(window + 16, 4);
    });
    assert!(found.contains(&"pci.window.aligned"), "{found:?}");
}
