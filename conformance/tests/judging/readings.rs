//! Requirements with several readings: drivers that satisfy some readings and not others.

mod notify;
mod obligations;

use std::collections::BTreeMap;

use stickler_conformance::DeviceKind::{self, Block, Console, Entropy, Net};
use stickler_conformance::event::{
    BlockHeader, ChainEnd, DataEvent, NetHeader, NetTransmit, PciEvent, QueueSetup, WindowField,
};
use stickler_conformance::features::{RING_EVENT_IDX, block, net};
use stickler_conformance::layout::Structure::{Common, Device, Isr};
use stickler_conformance::layout::status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK};
use stickler_conformance::layout::{common, desc};
use stickler_conformance::requirement::Strictness;
use stickler_conformance::{Outcome, Readings, catalogue};

use crate::parts::{SIZE, chain, indirect_chain, r, request, setup, w};
use crate::play::Play;

/// A driver, and which of a requirement's readings it satisfies.
struct Ambiguity {
    requirement: &'static str,
    kind: DeviceKind,
    act: fn(&mut Play),
    right: &'static [bool],
}

const fn read(
    requirement: &'static str,
    kind: DeviceKind,
    right: &'static [bool],
    act: fn(&mut Play),
) -> Ambiguity {
    Ambiguity {
        requirement,
        kind,
        act,
        right,
    }
}

/// Drivers, by what is ambiguous about them.
fn cases() -> impl Iterator<Item = &'static Ambiguity> {
    CASES.iter().chain(notify::CASES).chain(obligations::CASES)
}

const CASES: &[Ambiguity] = &[
    read(
        "status.sequence.acknowledge",
        Entropy,
        &[true, false],
        |p| {
            p.reset();
            p.write_status(ACKNOWLEDGE | DRIVER);
        },
    ),
    read("status.sequence.driver", Entropy, &[true, false], |p| {
        p.reset();
        p.add_status(ACKNOWLEDGE);
        p.read_features();
        p.accepted = p.offered;
        p.add_status(DRIVER | FEATURES_OK);
    }),
    read("status.failed.reset", Entropy, &[true, false], |p| {
        p.reset();
        p.add_status(ACKNOWLEDGE);
        p.add_status(FAILED);
        p.add_status(DRIVER);
    }),
    read("features.read-first", Entropy, &[true, false], |p| {
        p.boot();
        p.found_device();
        p.write_features(p.offered);
        p.add_status(FEATURES_OK);
    }),
    // Issue 241 of oasis-tcs/virtio-spec: the order of Linux today, …
    read(
        "features.configuration-read",
        Block,
        &[true, true, false],
        |p| {
            p.found_device();
            p.read_features();
            p.write_features(p.offered);
            p.read_config(|f| f.name != "writeback");
            p.add_status(FEATURES_OK);
        },
    ),
    // … that of the list, …
    read(
        "features.configuration-read",
        Block,
        &[true, false, true],
        |p| {
            p.found_device();
            p.read_features();
            p.read_config(|f| f.name != "writeback");
            p.write_features(p.offered);
            p.add_status(FEATURES_OK);
        },
    ),
    // … and features written again.
    read(
        "features.configuration-read",
        Block,
        &[true, true, false],
        |p| {
            p.found_device();
            p.read_features();
            p.write_features(p.offered);
            p.write_features(p.offered);
            p.add_status(FEATURES_OK);
        },
    ),
    // A card whose address was changed, and whose driver could not tell the device.
    read("net.mac.taken", Net, &[true, false, false], |p| {
        p.boot_with(p.offered & !net::CTRL_RX);
        for _ in 0..32 {
            let mut frame = [0; 60];
            frame[..12].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9]);
            p.send(NetHeader::default(), &frame);
        }
    }),
    read("net.mac.taken", Net, &[true, true, false], |p| {
        p.boot_with(p.offered & !net::CTRL_RX);
        p.send(NetHeader::default(), &from_another_card(2));
    }),
    read("net.mac.local", Net, &[true, false], |p| {
        p.offered &= !net::MAC;
        p.boot();
        p.send(NetHeader::default(), &from_another_card(0));
    }),
    read("net.mac.told", Net, &[true, false], |p| {
        p.boot();
        p.send(NetHeader::default(), &from_another_card(2));
    }),
    read("net.link.assumed", Net, &[true, false], |p| {
        p.boot_with(p.offered & !net::STATUS);
        p.send(NetHeader::default(), &[0; 60]);
    }),
    read("config.width.8-bit", Entropy, &[true, false], |p| {
        p.boot();
        p.read(Common, common::DEVICE_STATUS, 2);
    }),
    read("config.width.16-bit", Entropy, &[true, false], |p| {
        p.boot();
        p.write(Common, common::QUEUE_SELECT, 4, 0);
    }),
    read("config.width.32-bit", Entropy, &[true, false], |p| {
        p.boot();
        p.read(Common, common::DEVICE_FEATURE, 1);
    }),
    read("config.width.64-bit", Entropy, &[true, true, false], |p| {
        p.boot();
        p.write(Common, common::QUEUE_USED, 8, 0);
    }),
    read("config.width.64-bit", Entropy, &[true, false, false], |p| {
        p.boot();
        p.write(Common, common::QUEUE_USED, 2, 0);
    }),
    read("config.optional.offered", Block, &[true, false], |p| {
        p.negotiate(p.offered & !block::SEG_MAX);
        p.read(Device, p.field("seg_max").offset, 4);
    }),
    read("pci.window.aligned", Entropy, &[true, false], |p| {
        // The length that the access has is written last.
        for (field, offset, length) in [(WindowField::Offset, 2, 4), (WindowField::Length, 2, 2)] {
            p.see(PciEvent::WindowAddressed {
                bar: 0,
                offset,
                length,
                field,
            });
        }
        p.see(PciEvent::WindowAccessed {
            write: false,
            bar: 0,
            offset: 2,
            length: 2,
            target: Some(Common),
            bytes: 2,
        });
    }),
    read("isr.unused-with-msi-x", Block, &[true, false], |p| {
        p.boot();
        p.see(PciEvent::IsrRead {
            value: 2,
            msix_enabled: true,
        });
    }),
    read("queue.size.power-of-two", Entropy, &[true, false], |p| {
        p.negotiate(p.offered);
        p.write_size(0, 0);
    }),
    read("queue.parts-apart", Entropy, &[true, false], |p| {
        p.negotiate(p.offered & !RING_EVENT_IDX);
        p.configure(0);
        let device = setup(0).driver + 4 + 2 * u64::from(SIZE);
        p.enable(QueueSetup { device, ..setup(0) }, 0);
    }),
    read("queue.queues-apart", Net, &[true, false], |p| {
        p.negotiate(p.offered & !RING_EVENT_IDX);
        p.configure(0);
        p.configure(1);
        p.enable(setup(0), 0);
        let driver = setup(0).driver + 4 + 2 * u64::from(SIZE);
        p.enable(QueueSetup { driver, ..setup(1) }, 1);
    }),
    read("queue.enable.not-zero", Entropy, &[true, false], |p| {
        p.negotiate(p.offered);
        p.write_enable(0, 0, Some(setup(0)));
    }),
    read("queue.enable.before-driver-ok", Net, &[true, false], |p| {
        p.negotiate(p.offered);
        p.add_status(DRIVER_OK);
        p.configure(2);
        p.enable(setup(2), 2);
    }),
    read("chain.at-most-queue-size", Block, &[true, false], |p| {
        p.boot();
        let mut elements = chain(0, &[r(16), (0, desc::INDIRECT)]);
        let table = indirect_chain(1, &[w(512); SIZE as usize]);
        elements.pop();
        elements.extend(table);
        p.expose(0, &elements, ChainEnd::Complete);
    }),
    read("pci.window.target", Entropy, &[true, false], |p| {
        for length in [4, 0] {
            p.see(PciEvent::WindowAccessed {
                write: false,
                bar: 4,
                offset: 0x14,
                length,
                target: Some(Common),
                bytes: 4,
            });
        }
    }),
    read("chain.descriptor.not-empty", Block, &[true, false], |p| {
        p.boot();
        p.exchange(0, &[r(16), r(0), w(1)]);
    }),
    read(
        "block.request.write-read-only",
        Block,
        &[true, false],
        |p| {
            p.boot_with(p.offered | block::RO);
            p.request(1, 0, 512, 0);
        },
    ),
    read("block.request.reserved", Block, &[true, false], |p| {
        p.boot();
        let mut request = request(0, 0, 0, 512);
        request.header = request.header.map(|h| BlockHeader { reserved: 4, ..h });
        p.see(DataEvent::BlockRequest(request));
    }),
    read("msix.vector.before-enable", Entropy, &[true, false], |p| {
        p.boot();
        p.map_vector(Some(0), 2);
    }),
    read("isr.width", Entropy, &[true, false], |p| p.read(Isr, 0, 4)),
    read("net.tx.num-buffers", Net, &[true, false], |p| {
        p.boot_with(p.offered & !net::MRG_RXBUF);
        let header = NetHeader {
            num_buffers: 9,
            ..NetHeader::default()
        };
        p.send(header, &[0; 60]);
    }),
    read("net.tx.gso.ecn-set", Net, &[true, false], |p| {
        p.boot();
        echo(p);
    }),
    read("net.tx.gso.ecn-unnegotiated", Net, &[true, false], |p| {
        p.boot_with(p.offered & !net::HOST_ECN);
        echo(p);
    }),
    read("net.rx.size.mergeable", Net, &[true, false], |p| {
        p.boot();
        p.receive_buffer(12);
    }),
    read("net.control.mac.negotiated", Net, &[true, false], |p| {
        p.boot_with(p.offered & !(net::CTRL_RX | net::CTRL_RX_EXTRA));
        p.command(1, 1, &[2, 0, 0, 0, 0, 1]);
    }),
    read(
        "console.control.console-port-open",
        Console,
        &[true, false],
        |p| {
            p.boot();
            p.message(u32::MAX, 0, 1);
            p.message_sent(0, 1, 0);
            p.message(0, 3, 1);
            p.message(0, 6, 1);
            p.message_sent(0, 4, 1);
            p.message(0, 6, 0);
            p.message(0, 6, 1);
        },
    ),
];

/// A packet to all from an address that begins with `first`, and is not the card's.
fn from_another_card(first: u8) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..6].fill(0xff);
    frame[6] = first;
    frame[11] = 9;
    frame
}

/// A TCP packet with ECE that is left to the device to segment, without VIRTIO_NET_HDR_GSO_ECN.
fn echo(p: &mut Play) {
    let mut bytes = *crate::net::TCP;
    bytes[34 + 13] |= 0x40;
    p.see(DataEvent::NetTransmit(NetTransmit {
        queue: 1,
        header: Some(NetHeader {
            flags: 1,
            gso_type: 1,
            hdr_len: 54,
            gso_size: 1460,
            csum_start: 34,
            csum_offset: 16,
            num_buffers: 0,
        }),
        len: 54,
        writable: 0,
        bytes: &bytes,
    }));
}

#[test]
fn each_reading_is_counted_and_the_chosen_one_judges() {
    for case in cases() {
        let name = case.requirement;
        let requirement = catalogue::find(name).expect("in the catalogue");
        for strictness in [Strictness::Lenient, Strictness::Strict] {
            // A proposal is judged only if asked for, and then by its strictest reading.
            let readings = Readings::from(strictness);
            let proposed = readings.clone().propose(name);
            let last = proposed.is_ok() || strictness == Strictness::Strict;
            let mut play = Play::new(case.kind).judged(proposed.unwrap_or(readings));
            (case.act)(&mut play);
            let right = case.right[if last { case.right.len() - 1 } else { 0 }];
            assert_eq!(
                play.found().contains(&name),
                !right,
                "{name}, {strictness:?}: {:#?}",
                play.messages()
            );
            let tallies = play.tallies();
            assert_eq!(tallies.get(requirement).violated == 0, right, "{name}");
            let kept: Vec<bool> = (0..case.right.len())
                .map(|reading| tallies.reading(requirement, reading).violated == 0)
                .collect();
            assert_eq!(kept, case.right, "{name}");
        }
    }
}

#[test]
fn a_proposal_is_observed_and_accuses_nobody() {
    let requirement = catalogue::find("features.configuration-read").expect("in the catalogue");
    for case in CASES
        .iter()
        .filter(|case| case.requirement == requirement.name())
    {
        let mut play = Play::new(case.kind).judged(Strictness::Strict);
        assert_eq!(play.tallies().outcome(requirement), Outcome::NotExercised);
        (case.act)(&mut play);
        assert!(!play.found().contains(&requirement.name()));
        assert_eq!(play.tallies().outcome(requirement), Outcome::Observed);
    }
}

#[test]
fn no_driver_here_is_accused_by_the_lenient_reading() {
    for case in cases() {
        let mut play = Play::new(case.kind);
        (case.act)(&mut play);
        assert_eq!(play.messages(), [""; 0], "{}", case.requirement);
    }
}

#[test]
fn all_readings_of_a_requirement_are_distinguished() {
    let mut patterns: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for case in cases() {
        patterns
            .entry(case.requirement)
            .or_default()
            .push(case.right);
    }
    for (_, row) in catalogue::iter().filter(|(_, row)| !row.readings.is_empty()) {
        let patterns = patterns.remove(row.name).unwrap_or_default();
        for reading in 1..row.readings.len() {
            assert!(
                patterns.iter().any(|p| p[reading - 1] != p[reading]),
                "{}: no driver distinguishes {} from the previous reading",
                row.name,
                row.readings[reading].name
            );
        }
    }
    assert!(patterns.is_empty(), "without readings: {patterns:?}");
}

#[test]
fn counts_of_several_devices_are_added_by_reading() {
    let requirement = catalogue::find("status.sequence.acknowledge").expect("in the catalogue");
    let mut together = Play::new(Entropy);
    together.reset();
    together.write_status(ACKNOWLEDGE | DRIVER);
    let mut separate = Play::new(Entropy);
    separate.boot();
    let mut sum = stickler_conformance::Tallies::new(
        stickler_conformance::Version::V1_0,
        Strictness::Strict.into(),
    );
    sum.merge(&together.tallies());
    sum.merge(&separate.tallies());
    let counts = [0, 1].map(|reading| {
        let tally = sum.reading(requirement, reading);
        (tally.held, tally.violated)
    });
    assert_eq!(counts, [(2, 0), (1, 1)]);
    assert_eq!(sum.get(requirement).violated, 1);
}

/// Requirements whose lenient reading no driver can violate.
pub(crate) fn free_by_lenience() -> [&'static str; 6] {
    [
        "chain.descriptor.not-empty",
        "block.request.write-read-only",
        "features.configuration-read",
        "net.link.assumed",
        "block.request.reserved",
        "msix.vector.before-enable",
    ]
}

#[test]
fn the_documentation_has_every_reading() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/readings.md");
    let text = std::fs::read_to_string(path).expect("docs/readings.md");
    let sections: Vec<(&str, &str)> = text
        .split("\n### ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
        .collect();
    let mut written = 0;
    for (_, row) in catalogue::iter().filter(|(_, row)| !row.readings.is_empty()) {
        let (_, body) = sections
            .iter()
            .find(|(title, _)| title.split(", ").any(|name| name == row.name))
            .unwrap_or_else(|| panic!("no section on {}", row.name));
        for reading in row.readings {
            let item = format!("\n- `{}`", reading.name);
            assert!(body.contains(&item), "{}: {}", row.name, reading.name);
        }
        written += 1;
    }
    let titles: usize = sections.iter().map(|(t, _)| t.split(", ").count()).sum();
    assert_eq!(
        titles, written,
        "a section is about a requirement without readings"
    );
}
