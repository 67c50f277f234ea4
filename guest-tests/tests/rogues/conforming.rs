//! A conforming driver has no finding.

use stickler_conformance::features::{self, block, console, net};
use stickler_conformance::layout::Structure;
use stickler_conformance::{DeviceKind, Finding};
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts, Rig};

use crate::devices;

fn with_driver(kind: DeviceKind, drive: impl Fn(&mut Driver<'_>, Interrupts)) -> Rig {
    let mut rig = Rig::new();
    devices::add(&mut rig, devices::SLOT, kind);
    for interrupts in [Interrupts::Msix, Interrupts::Intx] {
        let mut driver = Driver::probe(&rig, devices::SLOT);
        drive(&mut driver, interrupts);
        driver.reset();
    }
    assert_eq!(rig.findings(), Vec::<Finding>::new());
    rig
}

#[test]
fn entropy() {
    for ring in [0, features::RING_EVENT_IDX, features::RING_INDIRECT_DESC] {
        let rig = with_driver(DeviceKind::Entropy, |d, interrupts| {
            d.initialize(ring, interrupts);
            for _ in 0..100 {
                let room = d.rig.allocate(64);
                d.submit(0, &[Buffer::writable(room, 64)]);
                assert!(d.wait_used(0).iter().all(|(_, len)| (1..=64).contains(len)));
            }
        });
        assert!(rig.tally("status.sequence.reset").held > 0);
    }
}

#[test]
fn block() {
    with_driver(DeviceKind::Block, |d, interrupts| {
        d.initialize(
            block::FLUSH | block::SEG_MAX | features::RING_EVENT_IDX,
            interrupts,
        );
        let capacity = d.consistently(|d| {
            d.read(Structure::Device, 0, 4) | d.read(Structure::Device, 4, 4) << 32
        });
        assert_eq!(capacity, devices::SECTORS);
        let at = d.rig.allocate(4096);
        let data: Vec<u8> = (0..512).map(|i| i as u8).collect();
        for (kind, writes) in [(1_u32, true), (4, false), (0, true)] {
            d.rig
                .write_bytes(at, &[&kind.to_le_bytes()[..], &[0; 12]].concat());
            let mut buffers = vec![Buffer::readable(at, 16)];
            match kind {
                1 => {
                    d.rig.write_bytes(at + 512, &data);
                    buffers.push(Buffer::readable(at + 512, 512));
                }
                0 => {
                    d.rig.write_bytes(at + 512, &[0; 512]);
                    buffers.push(Buffer::writable(at + 512, 512));
                }
                _ => assert!(!writes),
            }
            buffers.push(Buffer::writable(at + 2048, 1));
            d.rig.write_bytes(at + 2048, &[0xff]);
            d.submit(0, &buffers);
            d.wait_used(0);
            assert_eq!(d.rig.read_bytes(at + 2048, 1), [0]);
        }
        assert_eq!(d.rig.read_bytes(at + 512, 512), data);
    });
}

#[test]
fn net_transmits() {
    with_driver(DeviceKind::Net, |d, interrupts| {
        d.initialize(
            net::MAC | net::STATUS | features::RING_EVENT_IDX,
            interrupts,
        );
        let mac: Vec<u8> = d.consistently(|d| {
            (0..6)
                .map(|i| d.read(Structure::Device, i, 1) as u8)
                .collect()
        });
        let room = d.rig.allocate(2048);
        for _ in 0..8 {
            let room = d.rig.allocate(2048);
            d.submit(0, &[Buffer::writable(room, 2048)]);
        }
        let frame = [&[0xff; 6][..], &mac, &[0x08, 0x06], &[0; 46]].concat();
        for _ in 0..100 {
            d.rig.write_bytes(room, &[&[0; 12][..], &frame].concat());
            d.submit(1, &[Buffer::readable(room, 12 + frame.len() as u32)]);
            d.wait_used(1);
        }
    });
}

#[test]
fn console_prints() {
    with_driver(DeviceKind::Console, |d, interrupts| {
        d.initialize(console::SIZE, interrupts);
        let input = d.rig.allocate(64);
        d.submit(0, &[Buffer::writable(input, 64)]);
        let room = d.rig.allocate(64);
        d.rig.write_bytes(room, b"hello");
        d.submit(1, &[Buffer::readable(room, 5)]);
        d.wait_used(1);
        assert_eq!(d.wait_used(0)[0].1, 5);
        assert_eq!(d.rig.read_bytes(input, 5), b"hello");
    });
}
