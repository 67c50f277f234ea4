//! What rules need to know of packets: enough of Ethernet, IP, TCP and UDP to
//! find the transport header.

use std::ops::Range;

/// An address (IPv4 has four bytes of it) and a port.
pub(in crate::rules) type Endpoint = ([u8; 16], u16);

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rules) struct Tcp {
    pub(in crate::rules) source: Endpoint,
    pub(in crate::rules) destination: Endpoint,
    pub(in crate::rules) sequence: u32,
    pub(in crate::rules) acknowledgement: u32,
    /// [`SYN`], [`RST`], [`ACK`] and others.
    pub(in crate::rules) flags: u8,
    /// Bytes of payload.
    pub(in crate::rules) payload: u32,
}

const FIN: u8 = 0x01;
pub(in crate::rules) const SYN: u8 = 0x02;
pub(in crate::rules) const RST: u8 = 0x04;
pub(in crate::rules) const ACK: u8 = 0x10;

impl Tcp {
    /// The sequence number behind it.
    pub(in crate::rules) fn end(&self) -> u32 {
        let controls = (self.flags & (SYN | FIN)).count_ones();
        self.sequence.wrapping_add(self.payload + controls)
    }
}

/// The TCP segment that a packet is which begins with `bytes`. `None` if it is not plainly one.
pub(in crate::rules) fn tcp(bytes: &[u8]) -> Option<Tcp> {
    let transport = transport(bytes).filter(|t| t.protocol == Protocol::Tcp)?;
    let (ethertype, ip) = network(bytes)?;
    let (at, len) = match ethertype {
        ETHERTYPE_IPV4 => (ip + 12, 4),
        _ => (ip + 8, 16),
    };
    let endpoint = |at: usize, port| {
        let mut address = [0; 16];
        address[..len].copy_from_slice(bytes.get(at..at + len)?);
        Some((address, be16(bytes, transport.start + port)?))
    };
    let be32 = |at: usize| {
        let word = bytes.get(transport.start + at..)?.first_chunk()?;
        Some(u32::from_be_bytes(*word))
    };
    let headers = transport.header_end?.checked_sub(transport.start)?;
    Some(Tcp {
        source: endpoint(at, 0)?,
        destination: endpoint(at + len, 2)?,
        sequence: be32(4)?,
        acknowledgement: be32(8)?,
        flags: *bytes.get(transport.start + 13)?,
        payload: u32::try_from(transport.len?.checked_sub(headers)?).ok()?,
    })
}

/// Protocols whose checksum can be left to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// The transport header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transport {
    pub(super) protocol: Protocol,
    /// Where it starts, from the Ethernet header.
    pub(super) start: usize,
    /// Where it ends, if that much of the packet is at hand.
    pub(super) header_end: Option<usize>,
    /// CWR of a TCP header (RFC 3168).
    pub(super) congestion_window_reduced: bool,
    /// ECE of a TCP header (RFC 3168).
    pub(super) ecn_echo: bool,
    /// The ones' complement sum of the pseudo header, `None` if the length in it cannot be known.
    pub(super) pseudo_header: Option<u16>,
    /// Its bytes and those behind it, as the IP header has it, `None` if that cannot be known.
    pub(super) len: Option<usize>,
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;

/// Finds the first transport header of a packet of which `bytes` is the beginning. `None` if it is
/// not plainly TCP or UDP over IP.
pub(super) fn transport(bytes: &[u8]) -> Option<Transport> {
    match network(bytes)? {
        (ETHERTYPE_IPV4, ip) => ipv4(bytes, ip),
        (ETHERTYPE_IPV6, ip) => ipv6(bytes, ip),
        _ => None,
    }
}

/// Whether a packet is IPv6.
pub(super) fn is_ipv6(bytes: &[u8]) -> bool {
    network(bytes).is_some_and(|(ethertype, _)| ethertype == ETHERTYPE_IPV6)
}

/// Where the IPv4 header of a packet is that has one.
pub(super) fn ipv4_header(bytes: &[u8]) -> Option<Range<usize>> {
    let (ETHERTYPE_IPV4, ip) = network(bytes)? else {
        return None;
    };
    let len = usize::from(bytes.get(ip)? & 0xf) * 4;
    (len >= 20).then_some(ip..ip + len)
}

/// The ones' complement sum of 16-bit big-endian words.
pub(super) fn sum(bytes: &[u8]) -> u16 {
    let (words, odd) = bytes.as_chunks::<2>();
    let words = words
        .iter()
        .map(|word| u32::from(u16::from_be_bytes(*word)));
    let odd = odd.iter().map(|byte| u32::from(*byte) << 8);
    folded(words.chain(odd).sum())
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The EtherType behind VLAN tags, and where that begins which it names.
fn network(bytes: &[u8]) -> Option<(u16, usize)> {
    let mut ethertype = 12;
    // At most two VLAN tags.
    for _ in 0..2 {
        if let ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN = be16(bytes, ethertype)? {
            ethertype += 4;
        }
    }
    Some((be16(bytes, ethertype)?, ethertype + 2))
}

fn ipv4(bytes: &[u8], ip: usize) -> Option<Transport> {
    let header_len = usize::from(bytes.get(ip)? & 0xf) * 4;
    let total = be16(bytes, ip + 2)?;
    // A fragment's transport header is elsewhere, or its sum goes over what is elsewhere.
    if be16(bytes, ip + 6)? & 0x3fff != 0 || header_len < 20 {
        return None;
    }
    let len = usize::from(total)
        .checked_sub(header_len)
        .filter(|len| *len > 0);
    found(
        bytes,
        *bytes.get(ip + 9)?,
        ip + header_len,
        bytes.get(ip + 12..ip + 20)?,
        len,
    )
}

fn ipv6(bytes: &[u8], ip: usize) -> Option<Transport> {
    let payload = usize::from(be16(bytes, ip + 4)?);
    let len = (payload > 0).then_some(payload);
    // Extension headers are not followed.
    found(
        bytes,
        *bytes.get(ip + 6)?,
        ip + 40,
        bytes.get(ip + 8..ip + 40)?,
        len,
    )
}

fn found(
    bytes: &[u8],
    next: u8,
    start: usize,
    addresses: &[u8],
    len: Option<usize>,
) -> Option<Transport> {
    let (protocol, header_end) = match next {
        6 => {
            let words = bytes.get(start + 12).map(|b| usize::from(b >> 4));
            (Protocol::Tcp, words.map(|words| start + words * 4))
        }
        17 => (Protocol::Udp, Some(start + 8)),
        _ => return None,
    };
    let tcp_flags = match protocol {
        Protocol::Tcp => bytes.get(start + 13).copied().unwrap_or(0),
        Protocol::Udp => 0,
    };
    let pseudo_header =
        len.map(|len| folded(u32::from(sum(addresses)) + u32::from(next) + len as u32));
    Some(Transport {
        protocol,
        start,
        header_end,
        congestion_window_reduced: tcp_flags & 0x80 != 0,
        ecn_echo: tcp_flags & 0x40 != 0,
        pseudo_header,
        len,
    })
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}
