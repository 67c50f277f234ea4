//! What drivers make of packets they are handed (§5.1.6.4 of virtio 1.0).

use stickler_conformance::device::net::{flags, gso};
use stickler_conformance::event::NetHeader;
use stickler_conformance::features::net;
use stickler_conformance::packet::has_right_tcp_checksum;
use stickler_devices::net::offload;
use stickler_guest_tests::in_process::{Driver, Interrupts};

use crate::cases;

cases! {
    flags_are_compared_as_a_whole: UNKNOWN_FLAGS on Peer, |d| converse(d, |header, packet| {
            header.flags & !flags::DEFINED == 0 && copes(header, packet)
        }), Breaks "net.rx.flags.unknown", copes with |d| converse(d, copes);
    checksum_fields_are_checked_always: STRAY_CHECKSUM_FIELDS on Peer, |d| converse(d, |header, packet| {
            header.csum_start == 0 && copes(header, packet)
        }), Breaks "net.rx.csum.without-flag", copes with |d| converse(d, copes);
    hdr_len_is_relied_upon: ODD_HDR_LEN on Peer, |d| converse(d, |header, packet| {
            header.hdr_len <= 54 && copes(header, packet)
        }), Breaks "net.rx.hdr-len.no-reliance", copes with |d| converse(d, copes);
    segments_are_large: SMALL_GSO_SIZE on Peer, |d| converse(d, |header, packet| {
            let small = header.gso_type != gso::NONE && header.gso_size < 1000;
            assert!(!small, "a small segment");
            copes(header, packet)
        }), Stops "a small segment", copes with |d| converse(d, whole_in_segments);
    checksums_are_taken_for_granted: DAMAGED_PACKETS on Peer, |d| converse(d, |_, _| true),
        Breaks "net.rx.csum.no-reliance", copes with |d| converse(d, copes);
}

/// Connects to the peer and takes many of its segments.
fn converse(d: &mut Driver<'_>, takes: fn(&NetHeader, &[u8]) -> bool) {
    let features = net::MAC | net::GUEST_CSUM | net::GUEST_TSO4 | net::MRG_RXBUF;
    d.initialize(features, Interrupts::Msix);
    d.acknowledge(100, takes);
    d.reset();
}

/// Takes what is intact or said to be.
fn copes(header: &NetHeader, packet: &[u8]) -> bool {
    header.flags & flags::DEFINED != 0 || has_right_tcp_checksum(packet)
}

/// Takes what is intact, or what can be cut into segments that are.
fn whole_in_segments(header: &NetHeader, packet: &[u8]) -> bool {
    if header.gso_type == gso::NONE {
        return copes(header, packet);
    }
    let headers = usize::from(header.hdr_len);
    let mut payload = Vec::new();
    let cut = offload::segment(header, packet, |segment| {
        assert!(has_right_tcp_checksum(&segment));
        assert!(segment.len() - headers <= usize::from(header.gso_size));
        payload.extend_from_slice(&segment[headers..]);
    });
    cut && payload == packet[headers..]
}
