//! Checksums and segmentation in software: what a header of a packet asks for, done here where the
//! other side cannot do it.

use stickler_conformance::event::NetHeader;

use super::header::{F_NEEDS_CSUM, GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6};

const ETHERNET: usize = 14;
const VLAN_TAG: usize = 4;
const IPV6_FIXED: usize = 40;
const TCP_FIXED: usize = 20;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

const TCP_FLAGS: usize = 13;
const TCP_CHECKSUM: usize = 16;
const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;

/// A packet is cut into at most so many segments: a maximum packet at the smallest MSS Linux uses.
const MAX_SEGMENTS: usize = 1400;

/// Where the headers of an IP packet stand, bytes from the beginning of the Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The IP header.
    pub network: usize,
    /// Whether it is that of IPv6.
    pub v6: bool,
    /// The header behind it and its extensions.
    pub transport: usize,
    /// What that header is.
    pub protocol: u8,
    /// The packet is a fragment: there need not be a transport header.
    pub fragment: bool,
}

impl Headers {
    /// Finds the headers of a packet; `None` if it is no IP packet, or cut off before the transport
    /// header. Only the first bytes of the packet need be there.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let mut network = ETHERNET;
        let mut ethertype = be16(packet, 12)?;
        if ethertype == ETHERTYPE_VLAN {
            ethertype = be16(packet, 16)?;
            network += VLAN_TAG;
        }
        let version = packet.get(network)? >> 4;
        match (ethertype, version) {
            (ETHERTYPE_IPV4, 4) => {
                let len = usize::from(packet.get(network)? & 0xf) * 4;
                let fragment = be16(packet, network + 6)? & 0x3fff != 0;
                (len >= 20 && packet.len() >= network + len).then_some(Headers {
                    network,
                    v6: false,
                    transport: network + len,
                    protocol: *packet.get(network + 9)?,
                    fragment,
                })
            }
            (ETHERTYPE_IPV6, 6) => Self::parse_v6(packet, network),
            _ => None,
        }
    }

    fn parse_v6(packet: &[u8], network: usize) -> Option<Self> {
        const HOP_BY_HOP: u8 = 0;
        const ROUTING: u8 = 43;
        const FRAGMENT: u8 = 44;
        const DESTINATION: u8 = 60;
        let mut protocol = *packet.get(network + 6)?;
        let mut transport = network + IPV6_FIXED;
        let mut fragment = false;
        // Each extension is at least 8 bytes long, so the packet's length bounds the loop.
        while let HOP_BY_HOP | ROUTING | DESTINATION | FRAGMENT = protocol {
            let len = if protocol == FRAGMENT {
                fragment = true;
                8
            } else {
                8 * (1 + usize::from(*packet.get(transport + 1)?))
            };
            protocol = *packet.get(transport)?;
            transport += len;
        }
        (packet.len() >= transport).then_some(Headers {
            network,
            v6: true,
            transport,
            protocol,
            fragment,
        })
    }

    /// The source and destination addresses.
    pub fn addresses<'p>(&self, packet: &'p [u8]) -> Option<(&'p [u8], &'p [u8])> {
        let (at, len) = if self.v6 { (8, 16) } else { (12, 4) };
        let both = packet.get(self.network + at..self.network + at + 2 * len)?;
        Some(both.split_at(len))
    }

    /// The source and destination ports of a TCP or UDP packet.
    pub fn ports(&self, packet: &[u8]) -> Option<(u16, u16)> {
        if self.fragment || !matches!(self.protocol, PROTOCOL_TCP | PROTOCOL_UDP) {
            return None;
        }
        Some((
            be16(packet, self.transport)?,
            be16(packet, self.transport + 2)?,
        ))
    }

    /// Where the payload of a TCP packet begins.
    pub fn tcp_payload(&self, packet: &[u8]) -> Option<usize> {
        if self.fragment || self.protocol != PROTOCOL_TCP {
            return None;
        }
        let len = usize::from(packet.get(self.transport + 12)? >> 4) * 4;
        (len >= TCP_FIXED && packet.len() >= self.transport + len).then_some(self.transport + len)
    }

    /// The ones' complement sum of the pseudo header of a transport packet of `len` bytes.
    fn pseudo_sum(&self, packet: &[u8], len: usize) -> Option<u16> {
        let (source, destination) = self.addresses(packet)?;
        let mut sum = Sum::default();
        sum.add(source);
        sum.add(destination);
        sum.add(&u32::try_from(len).ok()?.to_be_bytes());
        sum.add(&[0, self.protocol]);
        Some(sum.fold())
    }
}

/// A ones' complement sum of 16-bit big-endian words, of pieces of even length (but for the last).
#[derive(Clone, Copy, Default)]
struct Sum(u64);

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        // Sums of wider words fold to the same, and 2^32 of them fit.
        let (words, rest) = bytes.as_chunks::<4>();
        for word in words {
            self.0 += u64::from(u32::from_be_bytes(*word));
        }
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.0 += u64::from(u32::from_be_bytes(last));
    }

    fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }
}

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
    let mut sum = Sum::default();
    sum.add(summed);
    // To UDP 0 means no checksum; the other zero of ones' complement is good for all protocols.
    let checksum = match !sum.fold() {
        0 => 0xffff,
        checksum => checksum,
    };
    put_be16(packet, at, checksum);
    true
}

/// Makes a TCP packet partially checksummed, as NEEDS_CSUM of the header it gives says: the checksum
/// field has the pseudo header's sum (§5.1.6.4.1). `None`, and the packet as it was, if it is not one.
pub fn make_partial(packet: &mut [u8]) -> Option<NetHeader> {
    let headers = Headers::parse(packet)?;
    let payload = headers.tcp_payload(packet)?;
    let sum = headers.pseudo_sum(packet, packet.len() - headers.transport)?;
    let header = NetHeader {
        flags: F_NEEDS_CSUM,
        hdr_len: u16::try_from(payload).ok()?,
        csum_start: u16::try_from(headers.transport).ok()?,
        csum_offset: TCP_CHECKSUM as u16,
        ..NetHeader::default()
    };
    put_be16(packet, headers.transport + TCP_CHECKSUM, sum);
    Some(header)
}

/// Whether the checksum of a TCP packet is right; what is no TCP packet has none.
pub fn is_valid(packet: &[u8]) -> bool {
    let Some(headers) = Headers::parse(packet).filter(|h| h.tcp_payload(packet).is_some()) else {
        return false;
    };
    let transport = packet.get(headers.transport..).unwrap_or_default();
    let Some(pseudo) = headers.pseudo_sum(packet, transport.len()) else {
        return false;
    };
    let mut sum = Sum::default();
    sum.add(&[0, 0, (pseudo >> 8) as u8, pseudo as u8]);
    sum.add(transport);
    sum.fold() == 0xffff
}

/// The checksum of an IPv4 header whose own field for it is 0.
pub fn header_checksum(header: &[u8]) -> u16 {
    let mut sum = Sum::default();
    sum.add(header);
    !sum.fold()
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
        let v6 = match header.gso_type & !GSO_ECN {
            GSO_TCPV4 => false,
            GSO_TCPV6 => true,
            _ => return None,
        };
        let payload = headers.tcp_payload(packet)?;
        let mss = usize::from(header.gso_size);
        let len = packet.len() - payload;
        let fits = v6 == headers.v6 && mss > 0 && len > 0 && len.div_ceil(mss) <= MAX_SEGMENTS;
        // So that the length of each segment fits its IP header.
        let small = payload - headers.network + mss.min(len) <= usize::from(u16::MAX);
        let identification = if v6 {
            0
        } else {
            be16(packet, headers.network + 4)?
        };
        let sequence = packet
            .get(headers.transport + 4..)?
            .first_chunk()
            .map(|bytes| u32::from_be_bytes(*bytes))?;
        (fits && small).then_some(Plan {
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
            network,
            transport,
            v6,
            ..
        } = self.headers;
        let len = segment.len();
        if v6 {
            put_be16(segment, network + 4, (len - network - IPV6_FIXED) as u16);
        } else {
            put_be16(segment, network + 2, (len - network) as u16);
            let identification = self.identification.wrapping_add(index as u16);
            put_be16(segment, network + 4, identification);
            put_be16(segment, network + 10, 0);
            let sum = header_checksum(segment.get(network..transport).unwrap_or_default());
            put_be16(segment, network + 10, sum);
        }
        let sequence = self.sequence.wrapping_add((index * self.mss) as u32);
        put(segment, transport + 4, &sequence.to_be_bytes());
        if let Some(flags) = segment.get_mut(transport + TCP_FLAGS) {
            if !last {
                *flags &= !(TCP_FIN | TCP_PSH);
            }
            if index > 0 {
                // The window is reduced once, however many segments tell of it.
                *flags &= !TCP_CWR;
            }
        }
        if let Some(header) = make_partial(segment) {
            complete_checksum(segment, &header);
        }
    }
}

/// Whether the header asks for segmentation.
pub fn is_gso(header: &NetHeader) -> bool {
    header.gso_type & !GSO_ECN != GSO_NONE
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
        packet.extend([0, 0, 0, 1, 0x50, TCP_PSH | TCP_CWR | 0x10, 1, 0, 0, 0, 0, 0]);
        packet.extend(payload);
    }

    fn sum(bytes: &[u8]) -> u16 {
        let mut sum = Sum::default();
        sum.add(bytes);
        sum.fold()
    }

    /// Whether the transport checksum of a packet is right.
    fn is_valid(packet: &[u8]) -> bool {
        let headers = Headers::parse(packet).expect("IP");
        let len = packet.len() - headers.transport;
        let pseudo = headers.pseudo_sum(packet, len).expect("IP");
        let mut all = pseudo.to_be_bytes().to_vec();
        all.extend(&packet[headers.transport..]);
        self::sum(&all) == 0xffff
    }

    #[test]
    fn the_sum_is_that_of_rfc_1071() {
        assert_eq!(
            sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            0xddf2
        );
        assert_eq!(sum(&[0x00, 0x01, 0xf2]), 0xf201);
        assert_eq!(sum(&[]), 0);
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
            flags: F_NEEDS_CSUM,
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
                flags: F_NEEDS_CSUM,
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
                GSO_TCPV4,
                tcp4([10, 0, 2, 15], [10, 0, 2, 2], 9, 7, &payload),
            ),
            (GSO_TCPV6 | GSO_ECN, tcp6(&payload)),
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
                let flags = segment[headers.transport + TCP_FLAGS];
                assert_eq!(flags & TCP_CWR != 0, index == 0);
                assert_eq!(flags & TCP_PSH != 0, index == 2);
                if headers.v6 {
                    let len = be16(segment, headers.network + 4).expect("IPv6");
                    assert_eq!(usize::from(len), segment.len() - 18 - 40);
                } else {
                    let ip = &segment[headers.network..headers.transport];
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
    fn packets_that_are_not_what_the_header_says_are_refused() {
        let packet = tcp4([1; 4], [2; 4], 9, 7, &[0; 3000]);
        let good = NetHeader {
            flags: F_NEEDS_CSUM,
            gso_type: GSO_TCPV4,
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
                gso_type: GSO_TCPV6,
                ..good
            },
            &packet
        ));
        assert!(refused(
            &NetHeader {
                gso_type: 3,
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
