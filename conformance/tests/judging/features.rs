//! Feature negotiation (§2.2, §3.1, §5.1.3.1, §6 of virtio 1.0).

use stickler_conformance::DeviceKind::{Block, Entropy, Net};
use stickler_conformance::event::FeatureEvent;
use stickler_conformance::features::{VERSION_1, block, net};
use stickler_conformance::layout::status::FEATURES_OK;

use crate::play::Play;
use crate::table::{Case, case};

pub const CASES: &[Case] = &[
    case("features.offered", Entropy, |p| p.negotiate(p.offered | 1)),
    case("features.read-first", Entropy, |p| {
        p.found_device();
        p.see(FeatureEvent::DeviceRead { select: 0 });
        p.write_features(p.offered);
        p.add_status(FEATURES_OK);
    }),
    case("features.after-driver", Entropy, |p| {
        p.reset();
        p.read_features();
        p.write_features(p.offered);
    }),
    case("features.none-after-features-ok", Entropy, |p| {
        p.negotiate(VERSION_1);
        p.write_features(p.offered);
    }),
    case("features.renegotiate-by-reset", Entropy, |p| {
        p.negotiate(p.offered);
        p.write_features(VERSION_1);
    }),
    case("features.version-1", Entropy, |p| {
        p.negotiate(p.offered & !VERSION_1);
    }),
    case("block.features.ro", Block, |p| {
        p.negotiate(p.offered & !block::RO);
    }),
    case("net.features.mac", Net, |p| {
        p.negotiate(p.offered & !net::MAC);
    }),
    case("net.features.dependency.guest-tso4", Net, |p| {
        accept(p, net::GUEST_TSO4);
    }),
    case("net.features.dependency.guest-tso6", Net, |p| {
        accept(p, net::GUEST_TSO6);
    }),
    case("net.features.dependency.guest-ecn", Net, |p| {
        accept(p, net::GUEST_ECN);
    }),
    case("net.features.dependency.guest-ufo", Net, |p| {
        accept(p, net::GUEST_UFO);
    }),
    case("net.features.dependency.host-tso4", Net, |p| {
        accept(p, net::HOST_TSO4);
    }),
    case("net.features.dependency.host-tso6", Net, |p| {
        accept(p, net::HOST_TSO6);
    }),
    case("net.features.dependency.host-ecn", Net, |p| {
        accept(p, net::HOST_ECN);
    }),
    case("net.features.dependency.host-ufo", Net, |p| {
        accept(p, net::HOST_UFO);
    }),
    case("net.features.dependency.ctrl-rx", Net, |p| {
        accept(p, net::CTRL_RX);
    }),
    case("net.features.dependency.ctrl-vlan", Net, |p| {
        accept(p, net::CTRL_VLAN);
    }),
    case("net.features.dependency.guest-announce", Net, |p| {
        accept(p, net::GUEST_ANNOUNCE);
    }),
    case("net.features.dependency.mq", Net, |p| accept(p, net::MQ)),
    case("net.features.dependency.ctrl-mac-addr", Net, |p| {
        accept(p, net::CTRL_MAC_ADDR);
    }),
];

fn accept(p: &mut Play, bit: u64) {
    p.negotiate(VERSION_1 | net::MAC | bit);
}

#[test]
fn bits_beyond_the_first_64_are_not_offered_either() {
    let mut p = Play::new(Entropy);
    p.found_device();
    p.read_features();
    p.write_features(p.offered);
    p.see(FeatureEvent::DriverWritten {
        select: 2,
        value: 1,
    });
    p.add_status(FEATURES_OK);
    assert_eq!(p.found(), ["features.offered"]);
}

#[test]
fn a_driver_that_resumes_need_not_read_what_it_has_read() {
    let mut p = Play::new(Entropy);
    p.boot();
    p.found_device();
    p.write_features(p.offered);
    p.add_status(FEATURES_OK);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn writing_the_same_features_again_is_no_renegotiation() {
    let mut p = Play::new(Entropy);
    p.negotiate(p.offered);
    p.write_features(p.offered);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn a_second_features_ok_needs_a_reset() {
    let mut p = Play::new(Entropy);
    p.keeps = false;
    p.negotiate(p.offered);
    p.add_status(FEATURES_OK);
    assert_eq!(p.found(), ["features.renegotiate-by-reset"]);
}

#[test]
fn messages_name_the_features() {
    let mut p = Play::new(Block);
    p.negotiate(p.offered | 1 << 13);
    assert_eq!(
        p.messages(),
        ["features.offered: bit 13 accepted, which the device does not offer"]
    );
}
