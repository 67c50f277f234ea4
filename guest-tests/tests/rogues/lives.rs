//! Drivers that leave a device badly, or come to it badly (§2.1, §3.1, §4.1.4 of virtio 1.0): on whole
//! devices, some with a latitude, until the guest powers itself off.

use stickler_conformance::features::{VERSION_1, block, net};
use stickler_conformance::layout::{Structure, common, status};
use stickler_conformance::{Latitude, Latitudes};
use stickler_guest_tests::in_process::{Driver, Interrupts, Rig};

use crate::devices::{Device, SECTORS, SLOT};

/// Offset of `seg_max` in `struct virtio_blk_config` (§5.2.4).
const SEG_MAX: u32 = 12;

const ACKNOWLEDGE: u8 = status::ACKNOWLEDGE;
const DRIVER: u8 = ACKNOWLEDGE | status::DRIVER;
const FEATURES_OK: u8 = DRIVER | status::FEATURES_OK;
const DRIVER_OK: u8 = FEATURES_OK | status::DRIVER_OK;

/// What is found of a driver that does `act`.
fn found(device: Device, latitude: Option<Latitude>, act: fn(&mut Driver<'_>)) -> Vec<String> {
    let mut rig = Rig::new();
    rig.options.latitudes = latitude
        .into_iter()
        .fold(Latitudes::default(), Latitudes::with);
    device.add(&mut rig);
    // It has read the capabilities.
    let mut driver = Driver::probe(&rig, SLOT);
    act(&mut driver);
    rig.power_off();
    names(&rig)
}

/// The findings, by name.
fn names(rig: &Rig) -> Vec<String> {
    let findings = rig.findings();
    let mut names: Vec<_> = findings
        .iter()
        .map(|f| f.requirement.name().to_owned())
        .collect();
    names.sort_unstable();
    names
}

fn write_status(d: &Driver<'_>, value: u8) {
    d.set_common(common::DEVICE_STATUS, u32::from(value));
}

/// An initialization without a reset, of which each status is a constant.
fn constants(d: &mut Driver<'_>) {
    write_status(d, ACKNOWLEDGE);
    write_status(d, DRIVER);
    d.offered();
    d.accept(VERSION_1);
    write_status(d, FEATURES_OK);
    let _ = d.status();
    d.set_up_interrupts(Interrupts::Msix);
    d.set_up_queues(64);
    write_status(d, DRIVER_OK);
    d.rig.run();
}

#[test]
fn gives_up_after_the_capabilities() {
    for (latitude, name) in [
        (Latitude::RESERVED_BAR, "pci.capability.reserved-bar"),
        (Latitude::PACKED_STRUCTURES, "pci.structure.least-alignment"),
    ] {
        assert_eq!(found(Device::Block, Some(latitude), |_| {}), [name]);
    }
}

#[test]
fn gives_up_and_resets_the_device() {
    let latitude = Some(Latitude::PACKED_STRUCTURES);
    let found = found(Device::Net, latitude, |d| {
        d.begin();
        d.offered();
        d.reset();
    });
    assert_eq!(found, ["pci.structure.least-alignment"]);
}

#[test]
fn gives_up_without_failed() {
    let latitude = Some(Latitude::REFUSED_FEATURES);
    let found = found(Device::Entropy, latitude, |d| {
        d.begin();
        d.offered();
        d.accept(VERSION_1);
        assert!(!d.features_ok());
        d.reset();
    });
    assert_eq!(found, ["status.failed.given-up"]);
}

#[test]
fn gives_up_on_a_plain_device() {
    // It may have its reasons; the report says that no driver took the device.
    let found = found(Device::Entropy, None, |d| {
        d.begin();
        d.reset();
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn the_guest_has_no_driver_for_the_device() {
    let found = found(Device::Entropy, Some(Latitude::RESERVED_BAR), |d| {
        d.reset();
        d.add_status(ACKNOWLEDGE);
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn does_not_reset_a_device_that_is_live() {
    let found = found(Device::Entropy, Some(Latitude::LIVE_AT_ARRIVAL), constants);
    assert_eq!(found, ["status.reset.live-device", "status.sequence.reset"]);
}

#[test]
fn comes_after_a_driver_that_left_without_a_reset() {
    for device in Device::TYPES {
        let found = found(device, None, |d| {
            d.initialize(net::MAC, Interrupts::Msix);
            d.exercise();
            constants(d);
        });
        assert_eq!(found, ["status.sequence.reset"], "{device:?}");
    }
}

#[test]
fn binds_again_after_failed() {
    let found = found(Device::Entropy, None, |d| {
        d.begin();
        d.add_status(status::FAILED);
        d.add_status(status::DRIVER);
        d.offered();
        d.accept(VERSION_1);
        let _ = d.features_ok();
        d.set_up_interrupts(Interrupts::Msix);
        d.set_up_queues(64);
        d.go();
    });
    assert_eq!(found, ["status.failed.reset"]);
}

#[test]
fn never_waits_for_a_slow_reset() {
    let found = found(Device::Entropy, Some(Latitude::SLOW_RESET), |d| {
        d.initialize(0, Interrupts::Msix);
        d.exercise();
        write_status(d, 0);
        constants(d);
        // It is not stuck.
        d.exercise();
    });
    assert_eq!(found, ["status.reset.slow", "status.reset.wait"]);
}

#[test]
fn never_waits_for_a_slow_reset_and_adds_to_what_it_reads() {
    let found = found(Device::Block, Some(Latitude::SLOW_RESET), |d| {
        d.initialize(0, Interrupts::Msix);
        write_status(d, 0);
        d.add_status(ACKNOWLEDGE);
        d.add_status(status::DRIVER);
        d.offered();
        d.accept(VERSION_1);
        assert!(d.features_ok());
        d.set_up_interrupts(Interrupts::Msix);
        d.set_up_queues(64);
        d.go();
        d.exercise();
    });
    assert_eq!(found, ["status.reset.slow", "status.reset.wait"]);
}

#[test]
fn takes_queues_down_during_a_slow_reset_and_waits() {
    let found = found(Device::Entropy, Some(Latitude::SLOW_RESET), |d| {
        d.initialize(0, Interrupts::Msix);
        write_status(d, 0);
        d.set_common(common::QUEUE_SELECT, 0);
        d.set_common(common::QUEUE_MSIX_VECTOR, 0xffff);
        d.set_common(common::MSIX_CONFIG, 0xffff);
        assert_ne!(d.status(), 0, "the writes completed the reset");
        d.initialize(0, Interrupts::Msix);
        d.exercise();
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn does_not_accept_version_1_and_has_other_faults() {
    let found = found(Device::Entropy, None, |d| {
        d.begin();
        let offered = d.offered();
        d.accept(offered & !VERSION_1);
        d.add_status(status::FEATURES_OK);
        d.set_up_interrupts(Interrupts::Msix);
        d.set_up_queues(64);
        d.go();
        d.exercise();
    });
    assert_eq!(found, ["features.version-1", "status.features-ok.re-read"]);
}

#[test]
fn goes_on_after_a_refusal_it_has_not_looked_for() {
    let found = found(Device::Entropy, Some(Latitude::REFUSED_FEATURES), |d| {
        d.begin();
        d.offered();
        d.accept(VERSION_1);
        write_status(d, FEATURES_OK);
        d.set_up_interrupts(Interrupts::Msix);
        d.set_up_queues(64);
        write_status(d, DRIVER_OK);
    });
    assert_eq!(
        found,
        ["status.features-ok.re-read", "status.features-ok.refusal"]
    );
}

#[test]
fn reads_the_capacity_by_one_wide_access() {
    let latitude = Some(Latitude::UNSETTLED_CONFIGURATION);
    let found = found(Device::Block, latitude, |d| {
        d.negotiate(0);
        // No read of more than 32 bits is atomic (§2.3.1).
        assert_ne!(d.read(Structure::Device, 0, 8), SECTORS);
        d.reset();
    });
    assert_eq!(found, ["config.generation", "config.width.64-bit"]);
}

#[test]
fn reads_status_for_another_reason_when_it_is_too_late() {
    let asks = |d: &mut Driver<'_>| {
        d.begin();
        let offered = d.offered();
        d.accept(offered & (VERSION_1 | block::FLUSH | block::SEG_MAX));
        write_status(d, FEATURES_OK);
    };
    let queues_first: fn(&mut Driver<'_>, fn(&mut Driver<'_>)) = |d, asks| {
        asks(d);
        d.set_up_interrupts(Interrupts::Msix);
        d.set_up_queues(64);
        // It reads what it adds to.
        d.go();
        d.exercise();
    };
    let configuration_first: fn(&mut Driver<'_>, fn(&mut Driver<'_>)) = |d, asks| {
        asks(d);
        d.read(Structure::Device, SEG_MAX, 4);
        assert_ne!(d.status() & status::FEATURES_OK, 0);
    };
    for relies in [queues_first, configuration_first] {
        let mut rig = Rig::new();
        Device::Block.add(&mut rig);
        relies(&mut Driver::probe(&rig, SLOT), asks);
        assert_eq!(names(&rig), ["status.features-ok.re-read"]);
    }
}
