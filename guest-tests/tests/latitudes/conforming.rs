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

/// Of the latitudes that may end the use of the device, those that end ours.
const ENDS: [Latitude; 5] = [
    Latitude::REFUSED_FEATURES,
    Latitude::PICKY_FEATURES,
    Latitude::DEMANDING_FEATURES,
    Latitude::TINY_QUEUES,
    Latitude::NEEDS_RESET,
];

/// Latitudes with which `device` can be worked, by the seed.
fn drawn(seed: u64) -> Latitudes {
    ENDS.into_iter()
        .fold(Latitudes::draw(seed), Latitudes::without)
}

fn works_with(latitudes: Latitudes, device: Device) {
    let rig = rig_with(latitudes, device);
    works(&mut Driver::probe(&rig, SLOT));
    rig.power_off();
    assert_eq!(
        rig.findings(),
        Vec::<Finding>::new(),
        "{device:?} with --latitude {latitudes}"
    );
}

#[test]
fn each_alone() {
    for latitude in Latitude::all().filter(|l| !ENDS.contains(l)) {
        for device in Device::TYPES {
            works_with(Latitudes::default().with(latitude), device);
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

#[test]
fn an_instance_in_io_space_answers_at_its_port() {
    let rig = rig_with(
        Latitudes::default().with(Latitude::IO_INSTANCES),
        Device::Net,
    );
    let d = Driver::probe(&rig, SLOT);
    let list = d.capabilities();
    let last = list.iter().rfind(|c| c.presents(Structure::Common));
    let last = last.expect("there are two");
    let register = 0x10 + 4 * u16::from(last.bar);
    assert_eq!(d.config_read(register, 1) & 1, 1, "an I/O BAR");
    let read = |port: u32| {
        let mut data = [0; 2];
        let answered = rig.bus.pio_read(port as u16, &mut data);
        answered.then_some(u16::from_le_bytes(data))
    };
    let num_queues = (d.config_read(register, 4) & !3) + last.offset + 0x12;
    assert_eq!(read(num_queues), None, "I/O space is not enabled");
    d.config_write(4, 2, d.config_read(4, 2) | 1);
    assert_eq!(read(num_queues), Some(d.num_queues()));
    // Where software puts it is where it is.
    d.config_write(register, 4, 0x4000);
    assert_eq!(read(num_queues), None);
    assert_eq!(
        read(0x4000 + last.offset + 0x12),
        Some(d.num_queues()),
        "after it was moved"
    );
}
