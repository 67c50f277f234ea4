//! Packets of the device's own: what there is on a wire besides that which one waits for.
//!
//! Citations are of virtio 1.0.

use stickler_conformance::device::net::gso;
use stickler_conformance::event::NetHeader;
use stickler_conformance::features::net as feature;
use stickler_conformance::packet::{
    self, ETHERNET_LEN as ETHERNET, IPV4_LEN as IPV4, IPV6_LEN as IPV6, ethertype,
};

use crate::net::offload;

/// Bytes of the shortest packet.
pub(super) const SHORTEST: usize = 60;

/// Bytes of the longest packet without segmentation, and with it (§5.1.6.3).
const LONGEST: usize = 1514;
const LONGEST_SEGMENTED: usize = 65550;

/// Bytes that a segment is to have.
const MSS: u16 = 1400;

/// Who they are from: locally administered, and nobody.
const SOURCE: [u8; 6] = [0x02, 0x53, 0x54, 0x4b, 0xff, 0xfe];

/// IEEE 802's local experimental EtherType.
const ETHERTYPE_EXPERIMENTAL: u16 = 0x88b5;

/// What follows an IPv4 header's total length: identification, fragment, TTL, TCP, checksum to be made,
/// and addresses that belong to no network.
const IPV4_REST: [u8; 16] = [0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];

/// What follows an IPv6 header's payload length: TCP, hop limit, and addresses of the documentation's.
const IPV6_REST: [u8; 34] = [
    6, 64, // …
    0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // source
    0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, // destination
];

/// From port 9 to port 9, an acknowledgement without options.
const TCP: [u8; 20] = [
    0, 9, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 4, 0, 0, 0, 0, 0,
];

/// A packet of `len` bytes for everyone.
pub(super) fn plain(frame: &mut [u8], len: usize) -> Option<(NetHeader, usize)> {
    let payload = begin(frame.get_mut(..len)?, ETHERTYPE_EXPERIMENTAL)?;
    fill(payload);
    Some((NetHeader::default(), len))
}

/// The largest packet for everyone that a driver takes which has these offloads on.
pub(super) fn largest(frame: &mut [u8], offloads: u64) -> Option<(NetHeader, usize)> {
    if offloads & feature::GUEST_TSO4 != 0 {
        segmented(frame, gso::TCPV4)
    } else if offloads & feature::GUEST_TSO6 != 0 {
        segmented(frame, gso::TCPV6)
    } else {
        plain(frame, LONGEST)
    }
}

/// A TCP packet to be segmented, whose lengths are the largest that fit into their fields.
fn segmented(frame: &mut [u8], gso_type: u8) -> Option<(NetHeader, usize)> {
    let v4 = gso_type == gso::TCPV4;
    let len = if v4 {
        ETHERNET + usize::from(u16::MAX)
    } else {
        LONGEST_SEGMENTED
    };
    let packet = frame.get_mut(..len)?;
    let tcp = if v4 {
        let ip = begin(packet, ethertype::IPV4)?;
        let (header, tcp) = ip.split_at_mut_checked(IPV4)?;
        header[..2].copy_from_slice(&[0x45, 0]);
        header[2..4].copy_from_slice(&u16::MAX.to_be_bytes());
        header[4..].copy_from_slice(&IPV4_REST);
        let checksum = packet::checksum(header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        tcp
    } else {
        let ip = begin(packet, ethertype::IPV6)?;
        let (header, tcp) = ip.split_at_mut_checked(IPV6)?;
        header[..4].copy_from_slice(&[0x60, 0, 0, 0]);
        let payload = u16::try_from(len - ETHERNET - IPV6).ok()?;
        header[4..6].copy_from_slice(&payload.to_be_bytes());
        header[6..].copy_from_slice(&IPV6_REST);
        tcp
    };
    let (header, payload) = tcp.split_at_mut_checked(TCP.len())?;
    header.copy_from_slice(&TCP);
    fill(payload);
    let header = NetHeader {
        gso_type,
        gso_size: MSS,
        ..offload::make_partial(packet)?
    };
    Some((header, len))
}

/// Writes an Ethernet header; returns what is behind it.
fn begin(packet: &mut [u8], ethertype: u16) -> Option<&mut [u8]> {
    let (header, payload) = packet.split_at_mut_checked(ETHERNET)?;
    header[..6].fill(0xff);
    header[6..12].copy_from_slice(&SOURCE);
    header[12..].copy_from_slice(&ethertype.to_be_bytes());
    Some(payload)
}

/// Each byte is its own number, so that one that is missing shows.
fn fill(payload: &mut [u8]) {
    for (number, byte) in payload.iter_mut().enumerate() {
        *byte = number as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_what_they_say() {
        let mut frame = vec![0; 70_000];
        for (offloads, expected, length) in [
            (0, 0, 1514),
            (feature::GUEST_TSO4 | feature::GUEST_TSO6, gso::TCPV4, 65549),
            (feature::GUEST_TSO6, gso::TCPV6, 65550),
        ] {
            let (header, len) = largest(&mut frame, offloads).expect("room");
            assert_eq!((header.gso_type, len), (expected, length));
            if expected != 0 {
                let packet = &frame[..len];
                let mut segments = 0;
                assert!(offload::segment(&header, packet, |_| segments += 1));
                assert_eq!(segments, (len - usize::from(header.hdr_len)).div_ceil(1400));
            }
        }
    }
}
