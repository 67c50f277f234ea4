//! Packets and receive buffers of the network device (§5.1.6 of virtio 1.0).

use stickler_conformance::DeviceKind::Net;
use stickler_conformance::catalogue;
use stickler_conformance::event::{DataEvent, NetHeader, NetTransmit};
use stickler_conformance::features::net;

use crate::parts::{r as readable, w as writable};
use crate::play::Play;
use crate::table::{Case, case, may};

pub const CASES: &[Case] = &[
    case("net.tx.header", Net, |p| sent(p, |t| t.header = None)),
    case("net.tx.readable", Net, |p| sent(p, |t| t.writable = 60)),
    case("net.tx.frame", Net, |p| sent(p, |t| t.len = 13)),
    case("net.tx.num-buffers", Net, |p| {
        with(p, 0, |h| h.num_buffers = 1);
    }),
    case("net.tx.flags.zero-without-csum", Net, |p| {
        with(p, CSUM_AND_MORE, |h| h.flags = 1);
    })
    .keep(|p| with(p, CSUM_AND_MORE, |_| {})),
    case("net.tx.flags.no-data-valid", Net, |p| {
        with(p, 0, |h| h.flags = 2);
    }),
    case("net.tx.flags.defined", Net, |p| with(p, 0, |h| h.flags = 4)),
    may("net.tx.csum.offload", Net, |p| offload(p, 0, TCP, |_| {})),
    case("net.tx.csum.inside", Net, |p| {
        offload(p, 0, TCP, |h| h.csum_offset = 1500);
    })
    .keep(|p| offload(p, 0, TCP, |_| {})),
    case("net.tx.csum.field", Net, |p| {
        offload(p, 0, TCP, |h| h.csum_offset = 6);
    })
    .keep(|p| offload(p, 0, TCP, |_| {})),
    case("net.tx.checksummed", Net, |p| {
        p.boot_with(p.offered & !CSUM_AND_MORE);
        p.send(NetHeader::default(), TCP);
    })
    .keep(|p| {
        p.boot_with(p.offered & !CSUM_AND_MORE);
        p.send(NetHeader::default(), &summed(TCP));
        p.send(NetHeader::default(), &summed(UDP));
    }),
    case("net.tx.csum.preceding", Net, |p| {
        let mut packet = *TCP;
        packet[14 + 8] -= 1;
        offload(p, 0, &packet, |_| {});
    })
    .keep(|p| offload(p, 0, TCP, |_| {})),
    case("net.tx.csum.pseudo-header", Net, |p| {
        let mut packet = *TCP;
        packet[50] ^= 1;
        offload(p, 0, &packet, |_| {});
    })
    .keep(|p| offload(p, 0, TCP, |_| {})),
    // TCPv4 needs its own feature as well.
    case("net.tx.gso.none-without-offloads", Net, |p| {
        segment(p, HOST, TCP, |_| {});
    })
    .also(&["net.tx.gso.tcpv4"])
    .keep(|p| with(p, HOST, |_| {})),
    case("net.tx.gso.tcpv4", Net, |p| {
        segment(p, net::HOST_TSO4, TCP, |_| {});
    })
    .keep(|p| segment(p, 0, TCP, |_| {})),
    case("net.tx.gso.tcpv6", Net, |p| {
        segment(p, net::HOST_TSO6, TCP, |h| h.gso_type = 4);
    })
    .keep(|p| segment(p, 0, &tcp6(), tcpv6)),
    case("net.tx.gso.udp", Net, |p| {
        segment(p, net::HOST_UFO, UDP, udp_fragments);
    })
    .keep(|p| segment(p, 0, UDP, udp_fragments)),
    case("net.tx.gso.defined", Net, |p| {
        segment(p, 0, TCP, |h| h.gso_type = 2);
    })
    .keep(|p| segment(p, 0, TCP, |_| {})),
    case("net.tx.gso.needs-csum", Net, |p| {
        segment(p, 0, TCP, |h| h.flags = 0);
    })
    .keep(|p| segment(p, 0, TCP, |_| {})),
    case("net.tx.gso.size", Net, |p| {
        segment(p, 0, TCP, |h| h.gso_size = 0);
    })
    .keep(|p| segment(p, 0, TCP, |_| {})),
    case("net.tx.gso.hdr-len", Net, |p| {
        segment(p, 0, TCP, |h| h.hdr_len = 34);
    })
    .keep(|p| segment(p, 0, TCP, |_| {})),
    case("net.tx.gso.ecn-bit", Net, |p| {
        segment(p, net::HOST_ECN, TCP, |h| h.gso_type = 0x81);
    })
    .keep(|p| segment(p, 0, TCP, |h| h.gso_type = 0x81)),
    case("net.tx.gso.ecn-tcp", Net, |p| {
        segment(p, 0, TCP, |h| h.gso_type = 0x80);
    })
    .keep(|p| segment(p, 0, TCP, |h| h.gso_type = 0x81)),
    case("net.tx.gso.protocol", Net, |p| {
        segment(p, 0, TCP, |h| h.gso_type = 4);
    })
    .keep(|p| {
        segment(p, 0, TCP, |_| {});
        segment(p, 0, &tcp6(), tcpv6);
        segment(p, 0, UDP, udp_fragments);
    }),
    case("net.tx.gso.ecn-unnegotiated", Net, |p| {
        segment(p, net::HOST_ECN, &with_cwr(), |_| {});
    })
    .keep(|p| segment(p, net::HOST_ECN, TCP, |_| {})),
    case("net.tx.gso.ecn-set", Net, |p| {
        segment(p, 0, &with_cwr(), |_| {});
    })
    .keep(|p| segment(p, 0, &with_cwr(), |h| h.gso_type = 0x81)),
    case("net.rx.writable", Net, |p| {
        p.boot();
        p.give(0, 3, &[readable(12), writable(1526)]);
    }),
    case("net.rx.size.offloads", Net, |p| {
        p.boot_with(p.offered & !net::MRG_RXBUF);
        p.receive_buffer(1526);
    })
    .keep(|p| {
        p.boot_with(p.offered & !net::MRG_RXBUF);
        p.receive_buffer(65562);
    }),
    case("net.rx.size.plain", Net, |p| {
        p.boot_with(p.offered & !(net::MRG_RXBUF | GUEST));
        p.receive_buffer(1525);
    })
    .keep(|p| {
        p.boot_with(p.offered & !(net::MRG_RXBUF | GUEST));
        p.receive_buffer(1526);
    }),
    case("net.rx.size.mergeable", Net, |p| {
        p.boot();
        p.receive_buffer(11);
    }),
];

/// `packet`, whose checksum field holds the sum of the pseudo header, with its checksum.
fn summed(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let field = if packet[23] == 6 { 50 } else { 40 };
    let words = packet[34..]
        .chunks(2)
        .map(|w| u16::from_be_bytes([w[0], w[1]]));
    let mut sum: u32 = words.map(u32::from).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    packet[field..field + 2].copy_from_slice(&(!sum as u16).to_be_bytes());
    packet
}

#[test]
fn only_a_checksum_left_undone_is_the_drivers_doing() {
    let mut p = Play::new(Net);
    p.boot_with(p.offered & !CSUM_AND_MORE);
    let mut packet = summed(TCP);
    packet[53] ^= 1;
    p.send(NetHeader::default(), &packet);
    let mut udp = *UDP;
    udp[40..].fill(0);
    p.send(NetHeader::default(), &udp);
    // Bytes that are not reported cannot be summed.
    p.send(NetHeader::default(), &TCP[..53]);
    assert_eq!(p.messages(), [""; 0]);
}

const HOST: u64 = net::HOST_TSO4 | net::HOST_TSO6 | net::HOST_UFO | net::HOST_ECN;
const CSUM_AND_MORE: u64 = HOST | net::CSUM;
const GUEST: u64 = net::GUEST_TSO4 | net::GUEST_TSO6 | net::GUEST_UFO | net::GUEST_ECN;

/// Ethernet, IPv4 from 10.0.0.1 to 10.0.0.2, TCP without data; the checksum field of the latter
/// holds its pseudo header's sum.
pub const TCP: &[u8; 54] = &[
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, // Ethernet
    0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0x66, 0xce, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
    0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0x14, 0x1d, 0, 0, // TCP
];

/// The same with UDP.
pub const UDP: &[u8; 42] = &[
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, // Ethernet
    0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0x66, 0xcf, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
    0, 80, 0, 81, 0, 8, 0x14, 0x1c, // UDP
];

fn with_cwr() -> [u8; 54] {
    let mut packet = *TCP;
    packet[34 + 13] |= 0x80;
    packet
}

/// TCP without data over IPv6.
pub fn tcp6() -> Vec<u8> {
    let addresses = [[0; 16]; 2].concat();
    let (ethernet, mut tcp) = (&TCP[..12], TCP[34..].to_vec());
    // The sum of its pseudo header.
    tcp[16..18].copy_from_slice(&[0, 26]);
    [
        ethernet,
        &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64],
        &addresses,
        &tcp,
    ]
    .concat()
}

pub fn tcpv6(header: &mut NetHeader) {
    header.gso_type = 4;
    header.hdr_len = 74;
    header.csum_start = 54;
}

#[test]
fn only_a_clearly_different_protocol_is_reported() {
    let mut p = Play::new(Net);
    // IPv6 with an extension header.
    let mut packet = tcp6();
    packet[20] = 0;
    segment(&mut p, 0, &packet, tcpv6);
    assert_eq!(p.messages(), [""; 0]);
}

/// A service tag and another one, and IPv6 with hop-by-hop options that are padding.
fn tagged_and_extended() -> Vec<u8> {
    let plain = tcp6();
    let tags = [0x88, 0xa8, 0, 1, 0x81, 0, 0, 2];
    let padding = [6, 0, 1, 4, 0, 0, 0, 0];
    [
        &plain[..12],
        &tags,
        &plain[12..18],
        &[0, 28, 0, 64],
        &plain[22..54],
        &padding,
        &plain[54..],
    ]
    .concat()
}

#[test]
fn headers_after_vlan_tags_and_extension_headers_are_judged() {
    let packet = tagged_and_extended();
    let header = |header: &mut NetHeader| {
        tcpv6(header);
        header.hdr_len = 90;
        header.csum_start = 70;
    };
    let mut p = Play::new(Net);
    segment(&mut p, 0, &packet, header);
    assert_eq!(p.messages(), [""; 0]);

    let mut p = Play::new(Net);
    segment(&mut p, 0, &packet, |h| {
        tcpv6(h);
        h.hdr_len = 89;
        h.csum_start = 70;
    });
    assert_eq!(p.found(), ["net.tx.gso.hdr-len"]);

    let mut p = Play::new(Net);
    offload(&mut p, 0, &packet, |h| {
        (h.csum_start, h.csum_offset) = (70, 6)
    });
    assert_eq!(p.found(), ["net.tx.csum.field"]);

    // The pseudo header's length does not count the extension header: the field is that of 20 bytes.
    let mut right = packet;
    right[70 + 16..70 + 18].copy_from_slice(&[0, 26]);
    let mut p = Play::new(Net);
    offload(&mut p, 0, &right, |h| h.csum_start = 70);
    assert_eq!(p.messages(), [""; 0]);
    right[70 + 17] = 34;
    let mut p = Play::new(Net);
    offload(&mut p, 0, &right, |h| h.csum_start = 70);
    assert_eq!(p.found(), ["net.tx.csum.pseudo-header"]);
}

pub fn udp_fragments(header: &mut NetHeader) {
    header.gso_type = 3;
    header.csum_offset = 6;
}

/// A packet without offloads, with a change.
fn sent(p: &mut Play, change: fn(&mut NetTransmit<'_>)) {
    p.boot();
    let mut packet = NetTransmit {
        queue: 1,
        header: Some(NetHeader::default()),
        len: 60,
        writable: 0,
        bytes: &[0; 60],
    };
    change(&mut packet);
    p.see(DataEvent::NetTransmit(packet));
}

/// A packet with a changed header, from a driver that lacks some features.
fn with(p: &mut Play, lacking: u64, change: fn(&mut NetHeader)) {
    p.boot_with(p.offered & !lacking);
    let mut header = NetHeader::default();
    change(&mut header);
    p.send(header, &[0; 60]);
}

/// A packet whose checksum is left to the device.
pub fn offload(p: &mut Play, lacking: u64, packet: &[u8], change: fn(&mut NetHeader)) {
    p.boot_with(p.offered & !lacking);
    let mut header = NetHeader {
        flags: 1,
        csum_start: 34,
        csum_offset: 16,
        ..NetHeader::default()
    };
    change(&mut header);
    p.send(header, packet);
}

/// A packet that the device has to segment; TCPv4, if nothing is changed.
pub fn segment(p: &mut Play, lacking: u64, packet: &[u8], change: fn(&mut NetHeader)) {
    let lacking = if lacking & (net::HOST_TSO4 | net::HOST_TSO6) == net::HOST_TSO4 | net::HOST_TSO6
    {
        lacking | net::HOST_ECN
    } else {
        lacking
    };
    p.boot_with(p.offered & !lacking);
    let mut header = NetHeader {
        flags: 1,
        gso_type: 1,
        hdr_len: 54,
        gso_size: 1460,
        csum_start: 34,
        csum_offset: 16,
        num_buffers: 0,
    };
    change(&mut header);
    p.send(header, packet);
}

#[test]
fn num_buffers_matters_only_with_mergeable_buffers() {
    let mut p = Play::new(Net);
    with(&mut p, net::MRG_RXBUF, |h| h.num_buffers = 9);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn common_counts_are_added_once() {
    let held = |p: &Play, name: &str| {
        let requirement = catalogue::find(name).expect("in the catalogue");
        p.tallies().get(requirement).held
    };
    let mut p = Play::new(Net);
    p.boot_with(p.offered & !HOST);
    for _ in 0..3 {
        p.send(NetHeader::default(), &[0; 60]);
    }
    assert_eq!(held(&p, "net.tx.gso.none-without-offloads"), 3);
    assert_eq!(held(&p, "net.tx.queue.first-only"), 3);
    p.command(4, 0, &[2, 0]);
    p.send(NetHeader::default(), &[0; 60]);
    assert_eq!(held(&p, "net.tx.queue.first-only"), 3);
    assert_eq!(held(&p, "net.tx.queue.within-pairs"), 1);
    p.reset();
    assert_eq!(held(&p, "net.tx.gso.none-without-offloads"), 4);
    assert_eq!(held(&p, "net.tx.queue.within-pairs"), 1);
    p.boot();
    p.send(NetHeader::default(), &[0; 60]);
    assert_eq!(held(&p, "net.tx.gso.none-without-offloads"), 4);
    assert_eq!(held(&p, "net.tx.header"), 5);
}

#[test]
fn vlan_tags_and_ipv6_are_parsed() {
    let mut p = Play::new(Net);
    let mut tagged = TCP[..12].to_vec();
    tagged.extend([0x81, 0, 0, 5]);
    tagged.extend(&TCP[12..]);
    offload(&mut p, 0, &tagged, |h| h.csum_start = 38);
    assert_eq!(p.messages(), [""; 0]);

    let mut ipv6 = TCP[..12].to_vec();
    ipv6.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64]);
    ipv6.extend([0xfe; 16]);
    ipv6.extend([0xfd; 16]);
    ipv6.extend(&TCP[34..]);
    let sum = 8 * (0xfefe + 0xfdfd) + 6 + 20_u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    ipv6[54 + 16..54 + 18].copy_from_slice(&(sum as u16).to_be_bytes());
    offload(&mut p, 0, &ipv6, |h| h.csum_start = 54);
    assert_eq!(p.messages(), [""; 0]);
    ipv6[54 + 17] ^= 1;
    offload(&mut p, 0, &ipv6, |h| h.csum_start = 54);
    assert_eq!(p.found(), ["net.tx.csum.pseudo-header"]);
}

#[test]
fn packets_cut_short_anywhere_are_parsed_without_harm() {
    let mut p = Play::new(Net);
    p.boot();
    for len in 0..TCP.len() {
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
            len: 1500,
            writable: 0,
            bytes: &TCP[..len],
        }));
    }
    assert_eq!(p.messages(), [""; 0]);
}
