//! Checksums and segmentation in software: what a header of a packet asks for, done here where the
//! other side cannot do it.
//!
//! Citations are of virtio 1.0.

use stickler_conformance::device::net::{flags, gso};
use stickler_conformance::event::NetHeader;
use stickler_conformance::packet::{self, Headers, IPV6_LEN, IpVersion, Transport, tcp};

/// A packet is cut into at most so many segments: a maximum packet at the smallest MSS Linux uses.
const MAX_SEGMENTS: usize = 1400;

/// … and into so many bytes at most, each of whose headers are in every segment: at that MSS no headers that a network
/// carries are so long.
const MAX_SEGMENTED: usize = 4 << 16;

/// Computes the checksum that a header with VIRTIO_NET_HDR_F_NEEDS_CSUM asks for and puts it into
/// the packet (§5.1.6.2). Gives false, and leaves the packet alone, if its place is not in it.
pub fn complete_checksum(packet: &mut [u8], header: &NetHeader) -> bool {
    let start = usize::from(header.csum_start);
    let at = start + usize::from(header.csum_offset);
    if at + 2 > packet.len() {
        return false;
    }
    let Some(summed) = packet.get(start..) else {
        return false;
    };
    // To UDP 0 means no checksum; the other zero of ones' complement is good for all protocols.
    let checksum = match packet::checksum(summed) {
        0 => 0xffff,
        checksum => checksum,
    };
    put_be16(packet, at, checksum);
    true
}

/// Makes a TCP packet partially checksummed: its checksum field gets the sum of the pseudo header
/// (§5.1.6.4.1). Returns the header with NEEDS_CSUM that says so. Returns `None`, and leaves the packet
/// alone, if it is not TCP, is incomplete, or has an unknown pseudo header.
pub fn make_partial(packet: &mut [u8]) -> Option<NetHeader> {
    let headers = Headers::parse(packet)?;
    let payload = headers.tcp_payload(packet)?;
    let sum = headers.pseudo_header_sum(packet, headers.covered(packet)?.len())?;
    let field = Transport::Tcp.checksum_field();
    let header = NetHeader {
        flags: flags::NEEDS_CSUM,
        hdr_len: u16::try_from(payload).ok()?,
        csum_start: u16::try_from(headers.transport).ok()?,
        csum_offset: field as u16,
        ..NetHeader::default()
    };
    put_be16(packet, headers.transport + field, sum);
    Some(header)
}

/// The length of all headers up to TCP's own, for `hdr_len` (§5.1.6.4).
pub fn header_len(packet: &[u8]) -> Option<u16> {
    let payload = Headers::parse(packet)?.tcp_payload(packet)?;
    u16::try_from(payload).ok()
}

/// Cuts a TCP packet into packets of `gso_size` bytes of payload, complete with checksums, and hands
/// them to `emit` in order. Gives false, and emits nothing, if the packet is not what its header
/// says, or makes too many segments.
///
/// `hdr_len` is not looked at: §5.1.6.2.2 forbids to rely on it.
pub fn segment(header: &NetHeader, packet: &[u8], mut emit: impl FnMut(Vec<u8>)) -> bool {
    let Some(plan) = Plan::new(header, packet) else {
        return false;
    };
    let (head, payload) = packet.split_at(plan.payload);
    let last = payload.len().saturating_sub(1) / plan.mss;
    for (index, piece) in payload.chunks(plan.mss).enumerate() {
        let mut segment = Vec::with_capacity(head.len() + piece.len());
        segment.extend_from_slice(head);
        segment.extend_from_slice(piece);
        plan.dress(&mut segment, index, index == last);
        emit(segment);
    }
    true
}

/// How a packet is cut.
struct Plan {
    headers: Headers,
    /// Where the payload begins.
    payload: usize,
    mss: usize,
    sequence: u32,
    identification: u16,
}

impl Plan {
    fn new(header: &NetHeader, packet: &[u8]) -> Option<Self> {
        let headers = Headers::parse(packet)?;
        let version = match header.gso_type & !gso::ECN {
            gso::TCPV4 => IpVersion::V4,
            gso::TCPV6 => IpVersion::V6,
            _ => return None,
        };
        let payload = headers.tcp_payload(packet)?;
        let mss = usize::from(header.gso_size);
        let len = packet.len() - payload;
        let cut = mss > 0
            && len > 0
            && len.div_ceil(mss) <= MAX_SEGMENTS
            && len.div_ceil(mss) * payload + len <= MAX_SEGMENTED;
        // So that the length of each segment fits its IP header.
        let small = payload - headers.network + mss.min(len) <= usize::from(u16::MAX);
        let identification = match version {
            IpVersion::V4 => be16(packet, headers.network + 4)?,
            IpVersion::V6 => 0,
        };
        let sequence = headers.tcp_sequence(packet)?;
        // Without the pseudo header the segments would have no checksum.
        headers.pseudo_header_sum(packet, len)?;
        (version == headers.version && cut && small).then_some(Plan {
            headers,
            payload,
            mss,
            sequence,
            identification,
        })
    }

    /// Adapts the copied headers of the `index`th segment.
    fn dress(&self, segment: &mut [u8], index: usize, last: bool) {
        let Headers {
            version,
            network,
            network_end,
            transport,
            ..
        } = self.headers;
        let len = segment.len();
        match version {
            IpVersion::V6 => put_be16(segment, network + 4, (len - network - IPV6_LEN) as u16),
            IpVersion::V4 => {
                put_be16(segment, network + 2, (len - network) as u16);
                let identification = self.identification.wrapping_add(index as u16);
                put_be16(segment, network + 4, identification);
                put_be16(segment, network + 10, 0);
                let header = segment.get(network..network_end).unwrap_or_default();
                let checksum = packet::checksum(header);
                put_be16(segment, network + 10, checksum);
            }
        }
        let sequence = self.sequence.wrapping_add((index * self.mss) as u32);
        put(segment, transport + tcp::SEQUENCE, &sequence.to_be_bytes());
        if let Some(flags) = segment.get_mut(transport + tcp::FLAGS) {
            if !last {
                *flags &= !(tcp::FIN | tcp::PSH);
            }
            if index > 0 {
                // The window is reduced once, however many segments say so.
                *flags &= !tcp::CWR;
            }
        }
        if let Some(header) = make_partial(segment) {
            complete_checksum(segment, &header);
        }
    }
}

/// Whether the header asks for segmentation.
pub fn is_gso(header: &NetHeader) -> bool {
    header.gso_type & !gso::ECN != gso::NONE
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|two| u16::from_be_bytes(*two))
}

fn put_be16(bytes: &mut [u8], at: usize, value: u16) {
    put(bytes, at, &value.to_be_bytes());
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use stickler_conformance::packet::{
        PROTOCOL_TCP, PROTOCOL_UDP, has_right_tcp_checksum as is_valid, sum,
    };

    use super::*;

    /// A TCP/IPv4 packet without checksums, with PSH, ACK and CWR set.
    pub(in crate::net) fn tcp4(
        source: [u8; 4],
        destination: [u8; 4],
        from: u16,
        to: u16,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut packet = vec![0; 12];
        packet.extend([8, 0, 0x45, 0]);
        packet.extend((40 + payload.len() as u16).to_be_bytes());
        packet.extend([0x12, 0xff, 0, 0, 64, PROTOCOL_TCP, 0, 0]);
        packet.extend(source);
        packet.extend(destination);
        tcp(&mut packet, from, to, payload);
        packet
    }

    fn tcp6(payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 12];
        packet.extend([0x81, 0, 0, 5, 0x86, 0xdd, 0x60, 0, 0, 0]);
        packet.extend((28 + payload.len() as u16).to_be_bytes());
        packet.extend([0, 64]);
        packet.extend([0xfd; 16]);
        packet.extend([0xfe; 16]);
        packet.extend([PROTOCOL_TCP, 0, 1, 4, 0, 0, 0, 0]);
        tcp(&mut packet, 1, 2, payload);
        packet
    }

    fn tcp(packet: &mut Vec<u8>, from: u16, to: u16, payload: &[u8]) {
        packet.extend(from.to_be_bytes());
        packet.extend(to.to_be_bytes());
        packet.extend(0xffff_fff0_u32.to_be_bytes());
        packet.extend([
            0,
            0,
            0,
            1,
            0x50,
            tcp::PSH | tcp::CWR | 0x10,
            1,
            0,
            0,
            0,
            0,
            0,
        ]);
        packet.extend(payload);
    }

    #[test]
    fn checksums_are_completed() {
        for payload in [&b""[..], b"x", b"hello", &[0xff; 1001]] {
            for mut packet in [
                tcp4([10, 0, 2, 15], [10, 0, 2, 2], 9, 7, payload),
                tcp6(payload),
            ] {
                let header = make_partial(&mut packet).expect("TCP");
                assert!(!is_valid(&packet));
                assert!(complete_checksum(&mut packet, &header));
                assert!(is_valid(&packet));
                assert_eq!(usize::from(header.hdr_len), packet.len() - payload.len());
            }
        }
    }

    #[test]
    fn a_checksum_of_zero_is_written_as_its_other_form() {
        let mut packet = vec![0xff, 0xff, 0, 0];
        let header = NetHeader {
            flags: flags::NEEDS_CSUM,
            csum_offset: 2,
            ..NetHeader::default()
        };
        assert!(complete_checksum(&mut packet, &header));
        assert_eq!(packet, [0xff; 4]);
    }

    #[test]
    fn checksums_outside_the_packet_are_refused() {
        for (csum_start, csum_offset) in [(0, 9), (9, 0), (u16::MAX, u16::MAX), (10, 0), (8, 1)] {
            let header = NetHeader {
                flags: flags::NEEDS_CSUM,
                csum_start,
                csum_offset,
                ..NetHeader::default()
            };
            let mut packet = [7; 10];
            assert!(!complete_checksum(&mut packet, &header));
            assert_eq!(packet, [7; 10]);
        }
    }

    #[test]
    fn a_large_packet_is_cut_into_right_ones() {
        let payload: Vec<u8> = (0..2500_u32).map(|i| i as u8).collect();
        let packets = [
            (
                gso::TCPV4,
                tcp4([10, 0, 2, 15], [10, 0, 2, 2], 9, 7, &payload),
            ),
            (gso::TCPV6 | gso::ECN, tcp6(&payload)),
        ];
        for (gso_type, mut packet) in packets {
            let mut header = make_partial(&mut packet).expect("TCP");
            header.gso_type = gso_type;
            header.gso_size = 1000;
            header.hdr_len = 3; // must not matter
            let mut segments = Vec::new();
            assert!(segment(&header, &packet, |segment| segments.push(segment)));
            assert_eq!(segments.len(), 3);
            let mut joined: Vec<u8> = Vec::new();
            for (index, segment) in segments.iter().enumerate() {
                let headers = Headers::parse(segment).expect("IP");
                let at = headers.tcp_payload(segment).expect("TCP");
                assert!(is_valid(segment), "{index}");
                let sequence = segment[headers.transport + 4..].first_chunk().expect("TCP");
                assert_eq!(
                    u32::from_be_bytes(*sequence),
                    0xffff_fff0_u32.wrapping_add(joined.len() as u32)
                );
                let flags = headers.tcp_flags(segment).expect("TCP");
                assert_eq!(flags & tcp::CWR != 0, index == 0);
                assert_eq!(flags & tcp::PSH != 0, index == 2);
                if headers.version == IpVersion::V6 {
                    let len = be16(segment, headers.network + 4).expect("IPv6");
                    assert_eq!(usize::from(len), segment.len() - 18 - 40);
                } else {
                    let ip = &segment[headers.ipv4_header().expect("IPv4")];
                    assert_eq!(sum(ip), 0xffff);
                    assert_eq!(be16(ip, 2), Some(segment.len() as u16 - 14));
                    assert_eq!(be16(ip, 4), Some(0x12ff + index as u16));
                }
                joined.extend(&segment[at..]);
            }
            assert_eq!(joined, payload);
        }
    }

    #[test]
    fn headers_that_would_be_copied_for_ever_are_refused() {
        // IPv6 with a routing header of 2 KiB and an MSS of 1: each segment would be as long.
        const EXTENSION: usize = 2048;
        let mut packet = tcp6(&[7; 1000]);
        let mut extension = vec![0; EXTENSION];
        extension[..2].copy_from_slice(&[PROTOCOL_TCP, (EXTENSION / 8 - 1) as u8]);
        // Behind Ethernet with a VLAN tag and IPv6's own header, whose next header is 43: routing.
        packet[18 + 6] = 43;
        let behind = packet.split_off(18 + 40 + 8);
        packet.truncate(18 + 40);
        packet.extend(extension);
        packet.extend(behind);
        let payload = (packet.len() - 18 - 40) as u16;
        put_be16(&mut packet, 18 + 4, payload);
        let mut header = NetHeader {
            flags: flags::NEEDS_CSUM,
            gso_type: gso::TCPV6,
            gso_size: 500,
            ..NetHeader::default()
        };
        let bytes = |header: &NetHeader| {
            let mut bytes = 0;
            let is_cut = segment(header, &packet, |segment| bytes += segment.len());
            (is_cut, bytes)
        };
        let (is_cut, some) = bytes(&header);
        assert!(is_cut && some > 2 * EXTENSION, "{some}");
        header.gso_size = 1;
        assert_eq!(bytes(&header), (false, 0));
    }

    #[test]
    fn packets_that_are_not_what_the_header_says_are_refused() {
        let packet = tcp4([1; 4], [2; 4], 9, 7, &[0; 3000]);
        let good = NetHeader {
            flags: flags::NEEDS_CSUM,
            gso_type: gso::TCPV4,
            gso_size: 1000,
            ..NetHeader::default()
        };
        let refused = |header: &NetHeader, packet: &[u8]| {
            !segment(header, packet, |_| panic!("nothing is emitted"))
        };
        assert!(segment(&good, &packet, |_| ()));
        assert!(refused(
            &NetHeader {
                gso_size: 0,
                ..good
            },
            &packet
        ));
        assert!(
            refused(
                &NetHeader {
                    gso_size: 1,
                    ..good
                },
                &packet
            ),
            "too many"
        );
        assert!(refused(
            &NetHeader {
                gso_type: gso::TCPV6,
                ..good
            },
            &packet
        ));
        assert!(refused(
            &NetHeader {
                gso_type: gso::UDP,
                ..good
            },
            &packet
        ));
        for len in 0..54 {
            assert!(refused(&good, &packet[..len]), "{len}");
        }
        let mut udp = packet.clone();
        udp[23] = PROTOCOL_UDP;
        assert!(refused(&good, &udp));
        let mut fragment = packet;
        fragment[20] = 0x20;
        assert!(refused(&good, &fragment));
    }
}
