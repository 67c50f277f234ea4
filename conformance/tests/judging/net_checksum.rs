//! What comes of a packet whose checksum is left to the device (§5.1.6.2.1 of virtio 1.0).

use stickler_conformance::DeviceKind::Net;
use stickler_conformance::event::{DataEvent, NetHeader, NetTransmit};
use stickler_conformance::packet::{self, Headers};
use stickler_conformance::{Outcome, catalogue};

use crate::net::{TCP, UDP, offload, segment, tcp6, tcpv6, udp_fragments};
use crate::play::Play;
use crate::table::{Case, case};

pub const CASES: &[Case] = &[
    case("net.tx.csum.start", Net, |p| {
        offload(p, 0, &padded(TCP), |h| h.csum_start += 12);
    })
    .keep(|p| offload(p, 0, TCP, |_| {})),
    case("net.tx.gso.csum-start", Net, |p| {
        segment(p, 0, &padded(TCP), |h| h.csum_start += 12);
    })
    .keep(|p| {
        segment(p, 0, TCP, |_| {});
        segment(p, 0, &tcp6(), tcpv6);
        segment(p, 0, UDP, udp_fragments);
    }),
];

const START: &str = "net.tx.csum.start";

fn padded(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet.resize(packet.len() + 30, 0);
    packet
}

/// What is found of a packet whose checksum goes from `start` on to `offset` from there.
fn judged(packet: &[u8], start: u16, offset: u16) -> Play {
    let mut p = Play::new(Net);
    p.boot();
    let header = NetHeader {
        flags: 1,
        csum_start: start,
        csum_offset: offset,
        ..NetHeader::default()
    };
    p.send(header, packet);
    p
}

fn outcome(p: &Play, name: &str) -> Outcome {
    let requirement = catalogue::find(name).expect("in the catalogue");
    p.tallies().outcome(requirement)
}

#[test]
fn a_checksum_that_begins_elsewhere_is_found_for_each_protocol() {
    for (packet, start, offset) in [
        (padded(TCP), 34, 16),
        (padded(UDP), 34, 6),
        (padded(&tcp6()), 54, 16),
    ] {
        assert_eq!(judged(&packet, start, offset).messages(), [""; 0]);
        for wrong in [2, 8, 12, 20] {
            let p = judged(&packet, start + wrong, offset);
            assert_eq!(p.found(), [START], "{wrong} after {start}");
        }
        for wrong in [2, 8] {
            assert_eq!(judged(&packet, start - wrong, offset).found(), [START]);
        }
    }
}

#[test]
fn padding_is_part_of_the_sum() {
    let mut packet = padded(TCP);
    assert_eq!(outcome(&judged(&packet, 34, 16), START), Outcome::Held);
    if let Some(last) = packet.last_mut() {
        *last = 1;
    }
    assert_eq!(judged(&packet, 34, 16).found(), [START]);
}

/// A TCP packet in a tunnel of UDP (VXLAN): the checksum of the inner packet is left to the device, and that of
/// the outer one is complete as if the inner one were, or absent.
fn tunnel(outer: bool) -> Vec<u8> {
    let mut packet = UDP.to_vec();
    packet.extend([8, 0, 0, 0, 0, 0, 7, 0]);
    packet.extend(TCP);
    let len = packet.len() as u16 - 14;
    packet[16..18].copy_from_slice(&len.to_be_bytes());
    packet[24..26].fill(0);
    let checksum = packet::checksum(&packet[14..34]);
    packet[24..26].copy_from_slice(&checksum.to_be_bytes());
    packet[38..40].copy_from_slice(&(len - 20).to_be_bytes());
    packet[40..42].fill(0);
    if outer {
        let mut completed = packet.clone();
        let inner = packet::checksum(&completed[INNER..]);
        completed[INNER + 16..INNER + 18].copy_from_slice(&inner.to_be_bytes());
        let headers = Headers::parse(&completed).expect("UDP");
        let covered = headers.covered(&completed).expect("all of it");
        let pseudo = headers.pseudo_header_sum(&completed, covered.len());
        let mut sum = packet::Sum::default();
        sum.add(covered);
        sum.add(&pseudo.expect("known addresses").to_be_bytes());
        packet[40..42].copy_from_slice(&(!sum.fold()).to_be_bytes());
    }
    packet
}

/// Where the TCP header of a [`tunnel`] begins.
const INNER: usize = 42 + 8 + 34;

#[test]
fn the_checksum_may_be_that_of_a_packet_in_a_tunnel() {
    let p = judged(&tunnel(true), INNER as u16, 16);
    assert_eq!(p.messages(), [""; 0]);
    assert_eq!(outcome(&p, START), Outcome::Held);
    let p = judged(&tunnel(false), INNER as u16, 16);
    assert_eq!(p.messages(), [""; 0]);
    assert_eq!(outcome(&p, START), Outcome::NotExercised, "nobody knows");
    // The outer checksum tells that it is at the wrong place.
    let p = judged(&tunnel(true), INNER as u16 - 12, 16);
    assert_eq!(p.found(), [START]);
}

#[test]
fn what_cannot_be_said_of_a_part_of_a_packet_is_not() {
    let sent = |bytes: &[u8], start| {
        let mut p = Play::new(Net);
        p.boot();
        p.see(DataEvent::NetTransmit(NetTransmit {
            queue: 1,
            header: Some(NetHeader {
                flags: 1,
                csum_start: start,
                csum_offset: 16,
                ..NetHeader::default()
            }),
            len: 9000,
            writable: 0,
            bytes,
        }));
        p
    };
    assert_eq!(sent(&tunnel(true), 100).messages(), [""; 0]);
    // TCP is no tunnel.
    assert_eq!(sent(&padded(TCP), 46).found(), [START]);
    // Nor is anything known of other protocols.
    let mut other = padded(TCP);
    (other[23], other[24]) = (47, 0x66);
    other[25] = 0xa5;
    assert_eq!(judged(&other, 46, 16).messages(), [""; 0]);
}

#[test]
fn the_pseudo_header_of_a_packet_to_be_segmented_has_one_of_three_lengths() {
    let judged = |sum: u16| {
        let mut packet = padded(TCP);
        // 20 bytes of TCP, and 30 of data.
        packet[16..18].copy_from_slice(&70_u16.to_be_bytes());
        packet[50..52].copy_from_slice(&sum.to_be_bytes());
        let mut p = Play::new(Net);
        segment(&mut p, 0, &packet, |h| h.gso_size = 10);
        p.found()
    };
    // That of addresses and protocol.
    let none = 0x141d - 20;
    for len in [0, 30, 50] {
        assert_eq!(judged(none + len), [""; 0], "{len}");
    }
    assert_eq!(judged(none + 40), ["net.tx.csum.pseudo-header"]);
}
