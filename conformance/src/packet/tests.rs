mod made;
mod oracle;

use etherparse::{IpNumber, Ipv6Extensions, Ipv6RawExtHeader, PacketBuilder};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use made::{Made, made, segment};
use oracle::agrees_with_etherparse;

const TAGS: [u16; 2] = [ethertype::VLAN, ethertype::SERVICE_VLAN];

/// All properties of a packet that are known.
#[derive(Clone, Debug, PartialEq)]
struct Learnt {
    headers: Option<Headers>,
    segment: Option<TcpSegment>,
    addresses: Option<(Vec<u8>, Vec<u8>)>,
    ports: Option<(u16, u16)>,
    flags: Option<u8>,
    sequence: Option<u32>,
    transport_end: Option<usize>,
    payload: Option<usize>,
    pseudo: Option<u16>,
    covered: Option<Vec<u8>>,
}

fn learn(packet: &[u8]) -> Learnt {
    let headers = Headers::parse(packet);
    let of = headers.as_ref();
    let addresses = of.and_then(|h| h.addresses(packet));
    Learnt {
        headers,
        segment: TcpSegment::parse(packet),
        addresses: addresses.map(|(from, to)| (from.to_vec(), to.to_vec())),
        ports: of.and_then(|h| h.ports(packet)),
        flags: of.and_then(|h| h.tcp_flags(packet)),
        sequence: of.and_then(|h| h.tcp_sequence(packet)),
        transport_end: of.and_then(|h| h.transport_end(packet)),
        payload: of.and_then(|h| h.tcp_payload(packet)),
        pseudo: of.and_then(|h| h.pseudo_header_sum(packet, 1000)),
        covered: of.and_then(|h| h.covered(packet)).map(<[u8]>::to_vec),
    }
}

fn agree<T: PartialEq>(part: &Option<T>, whole: &Option<T>) -> bool {
    part.is_none() || part == whole
}

/// Properties found in any number of first bytes of a packet are those of the whole packet.
fn never_contradicts_itself(packet: &[u8]) {
    let whole = learn(packet);
    agrees_with_etherparse(packet);
    for len in 0..packet.len() {
        let part = learn(&packet[..len]);
        agrees_with_etherparse(&packet[..len]);
        let agrees = agree(&part.headers, &whole.headers)
            && agree(&part.segment, &whole.segment)
            && agree(&part.addresses, &whole.addresses)
            && agree(&part.ports, &whole.ports)
            && agree(&part.flags, &whole.flags)
            && agree(&part.sequence, &whole.sequence)
            && agree(&part.transport_end, &whole.transport_end)
            && agree(&part.payload, &whole.payload)
            && agree(&part.pseudo, &whole.pseudo)
            && agree(&part.covered, &whole.covered);
        assert!(agrees, "{len} bytes: {part:?}; all: {whole:?}");
        let right = has_right_tcp_checksum(&packet[..len]);
        assert!(!right || has_right_tcp_checksum(packet), "{len} bytes");
    }
}

proptest! {
    #[test]
    fn headers_are_found_and_a_packet_cut_off_says_nothing_else(made in made()) {
        // Bits of a fragment header that mean nothing here may be set: offset and M decide.
        let headers = made.headers();
        prop_assert_eq!(headers.transport, made.transport);
        prop_assert_eq!(headers.network_end, made.network_end);
        never_contradicts_itself(&made.bytes);
    }

    #[test]
    fn a_packet_with_wrong_bytes_does_no_harm(
        made in made(),
        wrong in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = made.bytes;
        for (at, value) in wrong {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        never_contradicts_itself(&bytes);
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..120), ethertype in select(&TAGS[..])) {
        never_contradicts_itself(&bytes);
        let mut packet = Made::tagged(&[ethertype], ethertype::IPV6).bytes;
        packet.extend(bytes);
        never_contradicts_itself(&packet);
    }

    #[test]
    fn a_sum_is_the_same_in_pieces(bytes in vec(any::<u8>(), 0..200), at in 0..100_usize) {
        let at = (2 * at).min(bytes.len() & !1);
        let mut pieces = Sum::default();
        pieces.add(&bytes[..at]);
        pieces.add(&bytes[at..]);
        prop_assert_eq!(pieces.fold(), sum(&bytes));
        // As RFC 1071 describes.
        let words = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
        let total: u32 = words.sum();
        prop_assert_eq!(sum(&bytes) == 0, total == 0);
        prop_assert!(same_sum(sum(&bytes), (total % 0xffff) as u16));
    }
}

#[test]
fn vlan_tags_are_skipped() {
    let tcp = segment(0, 4);
    for tags in [
        &[][..],
        &TAGS[..1],
        &TAGS[1..],
        &TAGS,
        &[TAGS[1], TAGS[0]],
        &[TAGS[0]; 2],
    ] {
        let v4 = Made::v4(tags, &[], 0, PROTOCOL_TCP, &tcp);
        let v6 = Made::v6(tags, &[], PROTOCOL_TCP, &tcp);
        for made in [v4, v6] {
            made.is_found();
            assert_eq!(made.headers().network, 14 + 4 * tags.len());
            assert_eq!(made.headers().ports(&made.bytes), Some((4001, 7)));
        }
    }
    let three = Made::v4(&[TAGS[0]; 3], &[], 0, PROTOCOL_TCP, &tcp);
    assert_eq!(Headers::parse(&three.bytes), None);
}

#[test]
fn ipv6_extension_headers_are_followed() {
    let tcp = segment(1, 4);
    let padding = vec![1, 4, 0, 0, 0, 0];
    let visited = vec![0, 0, 0, 0, 0, 0];
    for extensions in [
        vec![(HOP_BY_HOP, padding.clone())],
        vec![(ROUTING, visited.clone())],
        vec![(
            DESTINATION,
            [&padding[..], &[1, 6, 0, 0, 0, 0, 0, 0]].concat(),
        )],
        vec![(FRAGMENT, vec![0, 0, 0, 0, 0, 9])],
        vec![
            (HOP_BY_HOP, padding.clone()),
            (DESTINATION, padding.clone()),
            (ROUTING, visited),
            (FRAGMENT, vec![0, 0, 0, 0, 0, 9]),
            (DESTINATION, padding.clone()),
        ],
    ] {
        let made = Made::v6(&[], &extensions, PROTOCOL_TCP, &tcp);
        made.is_found();
        let headers = made.headers();
        assert!(headers.is_tcp());
        assert_eq!(headers.tcp_payload(&made.bytes), Some(made.bytes.len() - 4));
        assert_eq!(headers.covered(&made.bytes), Some(&tcp[..]));
        assert!(headers.pseudo_header_sum(&made.bytes, tcp.len()).is_some());
    }
    // A hop-by-hop header anywhere else is wrong (RFC 8200, 4.1).
    let second = [(DESTINATION, padding.clone()), (HOP_BY_HOP, padding)];
    assert_eq!(
        Headers::parse(&Made::v6(&[], &second, PROTOCOL_TCP, &tcp).bytes),
        None
    );
}

#[test]
fn fragments_have_no_transport_header() {
    let tcp = segment(0, 4);
    let first = vec![0, 1, 0, 0, 0, 9];
    let other = vec![0, 8, 0, 0, 0, 9];
    for made in [
        Made::v4(&[], &[], 0x2000, PROTOCOL_TCP, &tcp),
        Made::v4(&[], &[], 0x0001, PROTOCOL_TCP, &tcp),
        Made::v6(&[], &[(FRAGMENT, first)], PROTOCOL_TCP, &tcp),
        Made::v6(&[], &[(FRAGMENT, other)], PROTOCOL_TCP, &tcp),
    ] {
        made.is_found();
        let headers = made.headers();
        assert!(headers.fragment);
        assert_eq!(headers.transport_protocol(), None);
        assert_eq!(headers.ports(&made.bytes), None);
        assert_eq!(headers.tcp_payload(&made.bytes), None);
        assert_eq!(TcpSegment::parse(&made.bytes), None);
        assert!(headers.addresses(&made.bytes).is_some());
    }
    // Don't fragment.
    assert!(
        Made::v4(&[], &[], 0x4000, PROTOCOL_TCP, &tcp)
            .headers()
            .is_tcp()
    );
}

#[test]
fn the_pseudo_header_of_a_packet_under_way_to_another_address_is_unknown() {
    let tcp = segment(0, 4);
    let left = vec![0, 1, 0, 0, 0, 0];
    let home = [&[201, 16][..], &[0xfd; 16], &[1, 2, 0, 0]].concat();
    for made in [
        Made::v4(&[], &[1, 131, 7, 4, 1, 1, 1, 1], 0, PROTOCOL_TCP, &tcp),
        Made::v4(&[], &[148, 4, 0, 0, 137, 4, 4, 0], 0, PROTOCOL_TCP, &tcp),
        Made::v6(&[], &[(ROUTING, left)], PROTOCOL_TCP, &tcp),
        Made::v6(&[], &[(DESTINATION, home)], PROTOCOL_TCP, &tcp),
    ] {
        made.is_found();
        assert_eq!(made.headers().pseudo_header_sum(&made.bytes, 24), None);
    }
    // A router alert, and nothing after the end of options.
    for options in [[148, 4, 0, 0, 1, 1, 1, 0], [0, 131, 7, 4, 1, 1, 1, 1]] {
        let made = Made::v4(&[], &options, 0, PROTOCOL_TCP, &tcp);
        assert!(made.headers().pseudo_header_sum(&made.bytes, 24).is_some());
    }
}

#[test]
fn lengths_that_the_ip_header_does_not_have_are_unknown() {
    let tcp = segment(0, 4);
    let mut made = Made::v4(&[], &[], 0, PROTOCOL_TCP, &tcp);
    for total in [0, 10, 20] {
        made.bytes[16..18].copy_from_slice(&u16::to_be_bytes(total));
        let headers = made.headers();
        assert_eq!((headers.len, headers.is_tcp()), (None, true));
        assert_eq!(TcpSegment::parse(&made.bytes), None);
    }
    let mut made = Made::v6(&[], &[], PROTOCOL_TCP, &tcp);
    made.bytes[18..20].fill(0);
    assert_eq!(made.headers().len, None);
    // A frame may have padding after the packet.
    let mut made = Made::v4(&[], &[], 0, PROTOCOL_TCP, &tcp);
    made.bytes.extend([0; 6]);
    assert_eq!(made.headers().covered(&made.bytes), Some(&tcp[..]));
    assert_eq!(TcpSegment::parse(&made.bytes).map(|s| s.payload), Some(4));
}

#[test]
fn a_tcp_header_with_a_wrong_length_has_no_end() {
    let mut tcp = segment(0, 4);
    tcp[tcp::DATA_OFFSET] = 0x40;
    let made = Made::v4(&[], &[], 0, PROTOCOL_TCP, &tcp);
    assert_eq!(made.headers().transport_end(&made.bytes), None);
    assert_eq!(made.headers().ports(&made.bytes), Some((4001, 7)));
}

#[test]
fn what_is_no_ip_packet_has_no_headers() {
    assert_eq!(Headers::parse(&[]), None);
    assert_eq!(
        Headers::parse(&Made::tagged(&[], ethertype::ARP).bytes),
        None
    );
    // The EtherType and the version contradict each other.
    for (ethertype, version) in [(ethertype::IPV4, 0x65), (ethertype::IPV6, 0x45)] {
        let mut packet = Made::tagged(&[], ethertype).bytes;
        packet.resize(100, 0);
        packet[14] = version;
        assert_eq!(Headers::parse(&packet), None);
    }
}

#[test]
fn a_segment_says_who_sends_what() {
    let packet = PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv6([0xfd; 16], [0xfe; 16], 64)
        .tcp(4001, 7, u32::MAX, 1024)
        .ack(99)
        .syn();
    let mut bytes = Vec::new();
    packet.write(&mut bytes, b"hello").expect("a packet");
    let segment = TcpSegment {
        source: ([0xfd; 16], 4001),
        destination: ([0xfe; 16], 7),
        sequence: u32::MAX,
        acknowledgement: 99,
        flags: tcp::SYN | tcp::ACK,
        payload: 5,
    };
    assert_eq!(TcpSegment::parse(&bytes), Some(segment));
    assert_eq!(segment.end(), 5);
    let v4 = Made::v4(&[], &[], 0, PROTOCOL_TCP, &self::segment(2, 3));
    let found = TcpSegment::parse(&v4.bytes).expect("a segment");
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[10, 0, 2, 15]);
    assert_eq!((found.source, found.payload), ((address, 4001), 3));
}

/// Known sums: the example of RFC 1071, and an IPv4 header from a packet of the wild.
#[test]
fn sums_are_those_of_known_packets() {
    let example = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(sum(&example), 0xddf2);
    assert_eq!(checksum(&example), 0x220d);
    assert_eq!(sum(&[0x00, 0x01, 0xf2]), 0xf201);
    assert_eq!(sum(&[]), 0);
    let mut header = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00,
        0x01, 0xc0, 0xa8, 0x00, 0xc7,
    ];
    assert_eq!(sum(&header), 0xffff);
    header[10..12].fill(0);
    assert_eq!(checksum(&header), 0xb861);
    assert!(same_sum(0, 0xffff) && !same_sum(1, 0xffff));
}

/// The checksums that another implementation writes are right, of whatever length the payload is.
#[test]
fn checksums_are_those_of_another_implementation() {
    for len in [0, 1, 2, 3, 5, 1000, 1001] {
        let payload = vec![0xa5; len];
        let link = || PacketBuilder::ethernet2([2; 6], [4; 6]);
        let mut packets = [Vec::new(), Vec::new(), Vec::new()];
        let [v4, v6, extended] = &mut packets;
        link()
            .single_vlan(5.try_into().expect("a VLAN"))
            .ipv4([10, 0, 2, 15], [10, 0, 2, 2], 64)
            .tcp(4001, 7, 1, 1024)
            .write(v4, &payload)
            .expect("a packet");
        link()
            .ipv6([0xfd; 16], [0xfe; 16], 64)
            .tcp(4001, 7, 1, 1024)
            .write(v6, &payload)
            .expect("a packet");
        let destination = Ipv6RawExtHeader::new_raw(IpNumber::TCP, &[1, 4, 0, 0, 0, 0]);
        let header = etherparse::Ipv6Header {
            hop_limit: 64,
            source: [0xfd; 16],
            destination: [0xfe; 16],
            ..Default::default()
        };
        let extensions = Ipv6Extensions {
            destination_options: Some(destination.expect("an extension header")),
            ..Ipv6Extensions::default()
        };
        link()
            .ip(etherparse::IpHeaders::Ipv6(header, extensions))
            .tcp(4001, 7, 1, 1024)
            .write(extended, &payload)
            .expect("a packet");
        for mut packet in packets {
            assert!(has_right_tcp_checksum(&packet), "{packet:02x?}");
            never_contradicts_itself(&packet);
            let last = packet.len() - 1;
            packet[last] ^= 1;
            assert!(!has_right_tcp_checksum(&packet));
        }
    }
}
