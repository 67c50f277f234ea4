//! Drivers that conform by the lenient reading of a requirement and not by the strict one.

use std::collections::BTreeSet;

use stickler_conformance::device::net::config;
use stickler_conformance::features::{RING_EVENT_IDX, VERSION_1, block, net};
use stickler_conformance::layout::{Structure, common, status};
use stickler_conformance::requirement::Strictness;
use stickler_guest_tests::in_process::block::kind;
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts, Rig};

use crate::devices::{Device, SLOT};

/// A driver whose verdict depends on the reading.
pub(crate) struct Ambiguous {
    pub(crate) requirement: &'static str,
    device: Device,
    act: fn(&mut Driver<'_>),
}

const fn driver(requirement: &'static str, device: Device, act: fn(&mut Driver<'_>)) -> Ambiguous {
    Ambiguous {
        requirement,
        device,
        act,
    }
}

pub(crate) const DRIVERS: &[Ambiguous] = &[
    driver("status.sequence.acknowledge", Device::Entropy, |d| {
        d.reset();
        let both = status::ACKNOWLEDGE | status::DRIVER;
        d.set_common(common::DEVICE_STATUS, u32::from(both));
    }),
    driver("features.read-first", Device::Entropy, |d| {
        d.negotiate(0);
        d.begin();
        d.accept(VERSION_1);
        assert!(d.features_ok());
    }),
    driver("config.width.64-bit", Device::Entropy, |d| {
        d.negotiate(0);
        d.select_queue(0);
        d.write(Structure::Common, common::QUEUE_DESC, 8, 0x10_0000);
    }),
    driver("config.width.16-bit", Device::Entropy, |d| {
        d.negotiate(0);
        d.write(Structure::Common, common::QUEUE_SELECT, 1, 0);
    }),
    driver("config.optional.offered", Device::Net, |d| {
        d.negotiate(net::MAC);
        d.read(Structure::Device, config::STATUS, 2);
    }),
    driver("net.link.assumed", Device::Net, |d| {
        d.negotiate(net::MAC);
        d.read(Structure::Device, config::STATUS, 2);
    }),
    driver("block.request.reserved", Device::Block, |d| {
        d.initialize(block::FLUSH, Interrupts::Msix);
        let request = d.block_request(kind::FLUSH, 0, &[]);
        d.rig.write_bytes(request[0].addr + 4, &[4]);
        d.submit(0, &request);
    }),
    driver("msix.vector.before-enable", Device::Entropy, |d| {
        d.initialize(0, Interrupts::Msix);
        d.select_queue(0);
        d.set_common(common::QUEUE_MSIX_VECTOR, 0);
        d.common(common::QUEUE_MSIX_VECTOR);
    }),
    driver("pci.window.target", Device::Entropy, |d| {
        let common = d.place(Structure::Common);
        let [bar, offset, length, data] = [4, 8, 12, 16].map(|field| d.window + field);
        d.config_write(bar, 1, u32::from(common.bar));
        d.config_write(length, 4, 4);
        d.config_write(offset, 4, common.offset);
        d.config_read(data, 4);
        d.config_write(length, 4, 0);
        d.config_read(data, 4);
    }),
    driver("chain.descriptor.not-empty", Device::Entropy, |d| {
        d.initialize(0, Interrupts::Msix);
        let room = d.rig.allocate(64);
        d.submit(0, &[Buffer::writable(room, 0), Buffer::writable(room, 64)]);
    }),
    driver(
        "block.request.write-read-only",
        Device::ReadOnlyBlock,
        |d| {
            d.initialize(block::RO, Interrupts::Msix);
            let at = d.rig.allocate(512);
            d.block_do(kind::OUT, 0, &[Buffer::readable(at, 512)]);
        },
    ),
    driver("notify.when-flags-0", Device::Entropy, |d| {
        populates_early(d, 0)
    }),
    driver("notify.at-avail-event", Device::Entropy, |d| {
        populates_early(d, RING_EVENT_IDX)
    }),
    driver("notify.not-when-flags-1", Device::Net, |d| {
        notifies_often(d, net::MAC)
    }),
    driver("notify.not-before-avail-event", Device::Entropy, |d| {
        notifies_often(d, RING_EVENT_IDX);
    }),
    driver("isr.width", Device::Entropy, |d| {
        d.initialize(0, Interrupts::Intx);
        d.read(Structure::Isr, 0, 4);
    }),
    driver("queue.enable.not-zero", Device::Entropy, |d| {
        d.negotiate(0);
        d.select_queue(0);
        d.set_common(common::QUEUE_ENABLE, 0);
    }),
    driver("queue.size.power-of-two", Device::Entropy, |d| {
        d.negotiate(0);
        d.select_queue(0);
        d.set_common(common::QUEUE_SIZE, 0);
    }),
];

/// Makes a buffer available before DRIVER_OK, and never notifies the device of it.
fn populates_early(d: &mut Driver<'_>, features: u64) {
    d.negotiate(features);
    d.set_up_interrupts(Interrupts::Msix);
    d.set_up_queues(64);
    let buffer = Buffer::writable(d.rig.allocate(64), 64);
    let queue = d.queue(0);
    let head = queue.chain(&[buffer]);
    queue.expose(head);
    d.go();
    d.rig.run();
    d.rig.tick(6);
}

/// Notifies the first queue, which has asked for nothing, a few times for each processor.
fn notifies_often(d: &mut Driver<'_>, features: u64) {
    d.initialize(features, Interrupts::Msix);
    d.rig.run();
    for _ in 0..20 {
        d.notify(0);
    }
}

#[test]
fn only_the_strict_reading_accuses() {
    for driver in DRIVERS {
        let found = [Strictness::Lenient, Strictness::Strict].map(|strictness| {
            let mut rig = Rig::judging(strictness);
            driver.device.add(&mut rig);
            (driver.act)(&mut Driver::probe(&rig, SLOT));
            rig.run();
            let findings = rig.findings();
            let names: BTreeSet<_> = findings.iter().map(|f| f.requirement.name()).collect();
            names.contains(driver.requirement)
        });
        assert_eq!(found, [false, true], "{}", driver.requirement);
    }
}
