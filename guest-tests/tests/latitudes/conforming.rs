//! A conforming driver copes with every latitude, on every device.

use stickler_conformance::features::{RING_EVENT_IDX, block, console, net};
use stickler_conformance::layout::Structure;
use stickler_conformance::{DeviceKind, Finding, Latitude, Latitudes};
use stickler_guest_tests::in_process::devices::{Device, SLOT};
use stickler_guest_tests::in_process::{Driver, Interrupts};

use crate::rig_with;

/// Brings the device to life, does with it what it is for, for a while, and resets it.
pub(crate) fn works(d: &mut Driver<'_>) {
    let features = match d.kind {
        DeviceKind::Net => net::MAC,
        DeviceKind::Block => block::FLUSH | block::RO,
        DeviceKind::Console => console::MULTIPORT,
        DeviceKind::Entropy => 0,
    };
    let interrupts = match d.msix {
        Some(_) => Interrupts::Msix,
        None => Interrupts::Intx,
    };
    d.initialize(features | RING_EVENT_IDX, interrupts);
    // Long enough for what happens now and then.
    let times = match d.kind {
        DeviceKind::Net => 5,
        DeviceKind::Console => 1,
        DeviceKind::Block | DeviceKind::Entropy => 40,
    };
    for _ in 0..times {
        d.exercise();
        if d.interrupts == Interrupts::Intx {
            d.read(Structure::Isr, 0, 1);
        }
    }
    d.reset();
}

/// Latitudes with which `device` can be worked, by the seed.
fn drawn(seed: u64) -> Latitudes {
    let mut latitudes = Latitudes::draw(seed);
    for latitude in Latitude::ALL.iter().filter(|l| l.may_end_use()) {
        latitudes = latitudes.without(*latitude);
    }
    latitudes
}

fn works_with(latitudes: Latitudes, device: Device) {
    let rig = rig_with(latitudes, device);
    works(&mut Driver::probe(&rig, SLOT));
    assert_eq!(
        rig.findings(),
        Vec::<Finding>::new(),
        "{device:?} with --latitude {latitudes}"
    );
}

#[test]
fn each_alone() {
    for latitude in Latitude::ALL.iter().filter(|l| !l.may_end_use()) {
        for device in Device::TYPES {
            works_with(Latitudes::default().with(*latitude), device);
        }
    }
}

#[test]
fn many_at_once() {
    for seed in 0..40 {
        for device in Device::TYPES {
            works_with(drawn(seed), device);
        }
    }
}
