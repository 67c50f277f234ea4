//! Address, link and announcements of the network device (§5.1.4, §5.1.6.5.4 of virtio 1.0).

use stickler_conformance::DeviceKind::Net;
use stickler_conformance::event::{LatitudeEvent, NetHeader, RegisterEvent};
use stickler_conformance::features::net;
use stickler_conformance::layout::Structure;
use stickler_conformance::{Latitude, Outcome, catalogue};

use crate::parts::{MAC, register};
use crate::play::Play;
use crate::table::{Case, case};

pub const CASES: &[Case] = &[
    case("net.mac.taken", Net, |p| {
        lives(p, 0, |field| !matches!(field, "mac" | "writeback"));
        sends(p, OTHER, 32);
    })
    .also(&["net.mac.told"])
    .keep(|p| {
        lives(p, 0, |_| true);
        sends(p, MAC, 1);
    }),
    case("net.mac.local", Net, |p| {
        lives(p, net::MAC, |_| true);
        sends(p, UNIVERSAL, 32);
    })
    .keep(|p| {
        lives(p, net::MAC, |_| true);
        sends(p, OTHER, 32);
    }),
    case("net.mac.told", Net, |p| {
        lives(p, 0, |_| true);
        sends(p, OTHER, 32);
    })
    .keep(|p| {
        lives(p, 0, |_| true);
        p.command(1, 1, &OTHER);
        sends(p, OTHER, 100);
    }),
    case("net.link.read", Net, |p| {
        lives(p, 0, |field| field != "status");
        sends_on(p, [0xff; 6], MAC, 6);
    })
    .keep(|p| {
        lives(p, 0, |field| field != "status");
        sends_on(p, [0xff; 6], MAC, 5);
        p.read_field(p.field("status"));
        sends_on(p, [0xff; 6], MAC, 100);
        p.reset();
        // It does not use the link.
        lives(p, 0, |field| field != "status");
        p.pass(100);
        p.reset();
    }),
];

/// Another locally administered address.
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 4];
/// A universally administered one.
const UNIVERSAL: [u8; 6] = [0, 0x16, 0x3e, 0, 0, 4];

/// Sets DRIVER_OK without the features `lacking`, which are not offered, after it has read the fields
/// of the configuration that are `wanted`.
fn lives(p: &mut Play, lacking: u64, wanted: fn(&str) -> bool) {
    p.offered &= !lacking;
    p.negotiate(p.offered);
    for field in p.kind.config_fields() {
        let there = field.feature == 0 || p.offered & field.feature != 0;
        if wanted(field.name) && there {
            p.read_generation();
            p.read_field(field);
            p.read_generation();
        }
    }
    p.bring_up();
}

/// A packet from `source` to `destination`.
fn frame(destination: [u8; 6], source: [u8; 6]) -> Vec<u8> {
    let mut frame = [destination, source].concat();
    frame.resize(60, 0);
    frame
}

fn sends(p: &mut Play, source: [u8; 6], times: u32) {
    for _ in 0..times {
        p.send(NetHeader::default(), &frame([0xff; 6], source));
    }
}

/// Sends a packet in each of so many seconds.
fn sends_on(p: &mut Play, destination: [u8; 6], source: [u8; 6], seconds: u32) {
    for _ in 0..seconds {
        p.send(NetHeader::default(), &frame(destination, source));
        p.sleep(1);
    }
}

fn outcome(p: &Play, name: &str) -> Outcome {
    let requirement = catalogue::find(name).expect("in the catalogue");
    p.tallies().outcome(requirement)
}

#[test]
fn packets_of_others_may_pass_through() {
    // One of the card's own is among them.
    let mut p = Play::new(Net);
    lives(&mut p, 0, |_| true);
    sends(&mut p, OTHER, 31);
    sends(&mut p, MAC, 1);
    sends(&mut p, OTHER, 100);
    // The driver receives for others.
    for (class, command, data) in [
        (0, 0, &[1][..]),
        (0, 2, &[1]),
        (1, 0, crate::parts::MAC_TABLES),
    ] {
        p.reset();
        lives(&mut p, 0, |_| true);
        p.command(class, command, data);
        sends(&mut p, OTHER, 100);
    }
    // The packets have several sources.
    p.reset();
    lives(&mut p, net::MAC, |_| true);
    for _ in 0..40 {
        sends(&mut p, UNIVERSAL, 1);
        sends(&mut p, [0, 0x16, 0x3e, 0, 0, 5], 1);
    }
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn an_address_that_was_read_before_a_reset_is_known() {
    let mut p = Play::new(Net);
    lives(&mut p, net::CTRL_RX, |_| true);
    p.reset();
    lives(&mut p, net::CTRL_RX, |field| field == "status");
    sends(&mut p, OTHER, 100);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn what_cannot_be_a_source_says_nothing() {
    let mut p = Play::new(Net);
    lives(&mut p, 0, |field| field == "status");
    sends(&mut p, [3, 0, 0, 0, 0, 4], 100);
    sends(&mut p, [0; 6], 100);
    for _ in 0..100 {
        p.send(NetHeader::default(), &frame([0xff; 6], OTHER)[..13]);
    }
    assert!(!p.found().contains(&"net.mac.taken"), "{:?}", p.messages());
}

/// The driver reads VIRTIO_NET_S_ANNOUNCE in status.
fn asked_to_announce() -> Play {
    let mut p = Play::new(Net);
    p.see(LatitudeEvent::InUse(Latitude::ANNOUNCE));
    lives(&mut p, 0, |_| true);
    sends(&mut p, MAC, 1000);
    for status in [1, 3] {
        p.see(RegisterEvent::Read(register(
            Structure::Device,
            6,
            2,
            status,
        )));
    }
    p.command(3, 0, &[]);
    p
}

#[test]
fn an_announcement_is_sent() {
    let mut p = asked_to_announce();
    assert_eq!(outcome(&p, "net.announce.sent"), Outcome::NotExercised);
    p.send(NetHeader::default(), &frame(OTHER, MAC));
    assert_eq!(outcome(&p, "net.announce.sent"), Outcome::NotExercised);
    sends(&mut p, MAC, 1);
    assert_eq!(outcome(&p, "net.announce.sent"), Outcome::Held);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn an_announcement_that_is_never_sent_is_reported() {
    let mut p = asked_to_announce();
    // Packets of others do not count.
    sends_on(&mut p, UNIVERSAL, OTHER, 100);
    assert_eq!(p.messages(), [""; 0]);
    sends_on(&mut p, OTHER, MAC, 6);
    let message = "net.announce.sent: VIRTIO_NET_S_ANNOUNCE was read, and packets were sent, none of them to more than one peer, in 106 seconds";
    assert_eq!(p.messages(), [message]);
}

#[test]
fn who_sends_nothing_owes_no_announcement() {
    let mut p = asked_to_announce();
    p.pass(100);
    sends_on(&mut p, UNIVERSAL, OTHER, 10);
    p.reset();
    assert_eq!(p.messages(), [""; 0]);
    // Who has sent something owes it until the end.
    let mut p = asked_to_announce();
    sends_on(&mut p, OTHER, MAC, 1);
    p.sleep(6);
    assert_eq!(p.messages(), [""; 0]);
    p.reset();
    assert_eq!(p.found(), ["net.announce.sent"]);
}

#[test]
fn packets_that_the_rules_do_not_see_may_be_announcements() {
    let mut p = asked_to_announce();
    sends_on(&mut p, OTHER, MAC, 5);
    p.send(NetHeader::default(), &[]);
    sends_on(&mut p, OTHER, MAC, 100);
    assert_eq!(outcome(&p, "net.announce.sent"), Outcome::NotExercised);
}

#[test]
fn what_is_sent_while_the_link_is_down_announces_nothing() {
    let reads = |p: &mut Play, status| {
        let read = register(Structure::Device, 6, 2, status);
        p.see(RegisterEvent::Read(read));
    };
    // Down when the driver is asked, or just up: virtnet_config_changed_work of Linux notifies the peers before
    // it lets packets out. Down before the driver could do it.
    for statuses in [[0, 2, 1], [0, 3, 1], [1, 3, 0]] {
        let mut p = Play::new(Net);
        p.see(LatitudeEvent::InUse(Latitude::ANNOUNCE));
        lives(&mut p, 0, |_| true);
        for status in statuses {
            reads(&mut p, status);
        }
        p.command(3, 0, &[]);
        sends_on(&mut p, OTHER, MAC, 100);
        assert_eq!(p.messages(), [""; 0], "{statuses:?}");
        assert_eq!(outcome(&p, "net.announce.acknowledged"), Outcome::Held);
        // It is asked again.
        reads(&mut p, 1);
        reads(&mut p, 3);
        p.command(3, 0, &[]);
        sends_on(&mut p, OTHER, MAC, 6);
        assert_eq!(p.found(), ["net.announce.sent"]);
    }
}
