//! The headers of packets: the parts of Ethernet, VLAN tags, IP, TCP and UDP that rules and devices need.
//!
//! A packet may be incomplete: rules and devices often have only its first bytes. What this module
//! returns for the first bytes of a packet is what it returns for the whole packet, or nothing.
//!
//! The crate `etherparse` parses the same headers, and the tests compare the two. It is not used here
//! for two reasons. To slice a small packet it takes more than 100 ns, ten times as long as
//! [`Headers::parse`], and each packet has 67 ns (10-gigabit Ethernet). And of a transport header of
//! which one byte is missing it returns nothing.

mod checksum;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use checksum::{Sum, checksum, same_sum, sum};

/// EtherTypes.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// An IEEE 802.1Q VLAN tag.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// An IEEE 802.1ad service VLAN tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// Bytes of an Ethernet header without VLAN tags.
pub const ETHERNET_LEN: usize = 14;
/// Bytes of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;
/// Bytes of an IPv6 header without extension headers.
pub const IPV6_LEN: usize = 40;
/// Bytes of a TCP header without options.
pub const TCP_LEN: usize = 20;
/// Bytes of a UDP header.
pub const UDP_LEN: usize = 8;

/// Protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

/// Protocol numbers of the extension headers of IPv6 (RFC 8200, 4). IPv4 has the last one too.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
const AUTHENTICATION: u8 = 51;

/// VLAN tags of a packet at most, and bytes of each.
const VLAN_TAGS: usize = 2;
const VLAN_TAG: usize = 4;

/// Offsets of fields in a TCP header, bytes from its beginning, and its flags.
pub mod tcp {
    /// Sequence number, 32 bits.
    pub const SEQUENCE: usize = 4;
    /// Acknowledgement number, 32 bits.
    pub const ACKNOWLEDGEMENT: usize = 8;
    /// Length of the header in 32-bit words, in the upper 4 bits.
    pub const DATA_OFFSET: usize = 12;
    /// Flags, 8 bits.
    pub const FLAGS: usize = 13;
    /// Checksum, 16 bits.
    pub const CHECKSUM: usize = 16;

    /// Flag: the sender sends no more data.
    pub const FIN: u8 = 0x01;
    /// Flag: synchronizes sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Flag: resets the connection.
    pub const RST: u8 = 0x04;
    /// Flag: the receiver hands the data on at once.
    pub const PSH: u8 = 0x08;
    /// Flag: the acknowledgement number is valid.
    pub const ACK: u8 = 0x10;
    /// Flag: ECN echo (RFC 3168).
    pub const ECE: u8 = 0x40;
    /// Flag: congestion window reduced (RFC 3168).
    pub const CWR: u8 = 0x80;
}

/// Where a UDP header has its checksum, bytes from its beginning.
const UDP_CHECKSUM: usize = 6;

/// The version of an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Transport protocols whose checksum can be left to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// Where its header has the checksum, bytes from the header's beginning.
    pub const fn checksum_field(self) -> usize {
        match self {
            Transport::Tcp => tcp::CHECKSUM,
            Transport::Udp => UDP_CHECKSUM,
        }
    }
}

/// The positions of the headers of an IP packet, in bytes from the beginning of the Ethernet
/// header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Which version of IP.
    pub version: IpVersion,
    /// Where the IP header begins.
    pub network: usize,
    /// Where the IP header ends: after the options of IPv4, before the extension headers of IPv6.
    pub network_end: usize,
    /// Where the header begins that follows the IP header and its extension headers.
    pub transport: usize,
    /// The protocol number of that header.
    pub protocol: u8,
    /// Whether the packet is a fragment: the transport header, or the data that it covers, is in
    /// another packet.
    pub fragment: bool,
    /// Bytes of the transport header and what it covers, by the IP header. `None` if the IP header
    /// does not say: its length is 0 or too small.
    pub len: Option<usize>,
    /// The pseudo header has other addresses than the IP header.
    readdressed: bool,
}

impl Headers {
    /// Finds the headers of a packet of which `packet` is the beginning. `None` if it is no IP packet,
    /// if its headers are wrong, or if it is cut off before the end of the IP header and its
    /// extension headers.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (ethertype, network) = network(packet)?;
        let bytes = packet.get(network..)?;
        match ethertype {
            ethertype::IPV4 => Self::parse_v4(bytes, network),
            ethertype::IPV6 => Self::parse_v6(bytes, network),
            _ => None,
        }
    }

    fn parse_v4(bytes: &[u8], network: usize) -> Option<Self> {
        let first = *bytes.first()?;
        let header_len = usize::from(first & 0xf) * 4;
        if first >> 4 != 4 || header_len < IPV4_LEN {
            return None;
        }
        let header = bytes.get(..header_len)?;
        let total = usize::from(be16(header, 2)?);
        let mut protocol = *header.get(9)?;
        let mut transport = header_len;
        if protocol == AUTHENTICATION {
            let rest = bytes.get(..total).filter(|_| total >= header_len);
            let header = authentication(rest.unwrap_or(bytes).get(header_len..)?)?;
            protocol = *header.first()?;
            transport += header.len();
        }
        Some(Headers {
            version: IpVersion::V4,
            network,
            network_end: network + header_len,
            transport: network + transport,
            protocol,
            // More fragments, or an offset.
            fragment: be16(header, 6)? & 0x3fff != 0,
            len: rest(total, transport),
            readdressed: is_source_routed(header.get(IPV4_LEN..)?),
        })
    }

    fn parse_v6(bytes: &[u8], network: usize) -> Option<Self> {
        let (header, behind) = bytes.split_at_checked(IPV6_LEN)?;
        if header.first()? >> 4 != 6 {
            return None;
        }
        let payload = usize::from(be16(header, 4)?);
        let within = behind.get(..payload).filter(|_| payload > 0);
        let extensions = Extensions::parse(within.unwrap_or(behind), *header.get(6)?)?;
        let network_end = network + IPV6_LEN;
        Some(Headers {
            version: IpVersion::V6,
            network,
            network_end,
            transport: network_end + extensions.len,
            protocol: extensions.next,
            fragment: extensions.fragment,
            len: rest(payload, extensions.len),
            readdressed: extensions.readdressed,
        })
    }

    /// Where the IPv4 header is, options included. `None` if the packet is IPv6.
    pub fn ipv4_header(&self) -> Option<Range<usize>> {
        (self.version == IpVersion::V4).then_some(self.network..self.network_end)
    }

    /// The source and destination addresses of the IP header, 4 or 16 bytes each.
    pub fn addresses<'p>(&self, packet: &'p [u8]) -> Option<(&'p [u8], &'p [u8])> {
        let (at, len) = match self.version {
            IpVersion::V4 => (12, 4),
            IpVersion::V6 => (8, 16),
        };
        let start = self.network + at;
        Some(packet.get(start..start + 2 * len)?.split_at(len))
    }

    /// The transport protocol. `None` if it is neither TCP nor UDP, or if the packet is a fragment.
    pub fn transport_protocol(&self) -> Option<Transport> {
        match self.protocol {
            _ if self.fragment => None,
            PROTOCOL_TCP => Some(Transport::Tcp),
            PROTOCOL_UDP => Some(Transport::Udp),
            _ => None,
        }
    }

    /// Whether the packet is TCP, and no fragment.
    pub fn is_tcp(&self) -> bool {
        self.transport_protocol() == Some(Transport::Tcp)
    }

    /// The source and destination ports of a TCP or UDP packet.
    pub fn ports(&self, packet: &[u8]) -> Option<(u16, u16)> {
        self.transport_protocol()?;
        Some((
            be16(packet, self.transport)?,
            be16(packet, self.transport + 2)?,
        ))
    }

    /// The flags of a TCP packet (see [`tcp`]).
    pub fn tcp_flags(&self, packet: &[u8]) -> Option<u8> {
        let at = self.transport + tcp::FLAGS;
        packet.get(at).copied().filter(|_| self.is_tcp())
    }

    /// The sequence number of a TCP packet.
    pub fn tcp_sequence(&self, packet: &[u8]) -> Option<u32> {
        be32(packet, self.transport + tcp::SEQUENCE).filter(|_| self.is_tcp())
    }

    /// Where the TCP or UDP header ends. The packet may be cut off before. `None` if the packet is
    /// cut off before the header's length, or if that is wrong.
    pub fn transport_end(&self, packet: &[u8]) -> Option<usize> {
        let len = match self.transport_protocol()? {
            Transport::Udp => UDP_LEN,
            Transport::Tcp => {
                let words = packet.get(self.transport + tcp::DATA_OFFSET)? >> 4;
                Some(usize::from(words) * 4).filter(|len| *len >= TCP_LEN)?
            }
        };
        Some(self.transport + len)
    }

    /// Where the payload of a TCP packet begins. `None` if the packet is cut off before.
    pub fn tcp_payload(&self, packet: &[u8]) -> Option<usize> {
        let end = self.transport_end(packet)?;
        (self.is_tcp() && end <= packet.len()).then_some(end)
    }

    /// The ones' complement sum of the pseudo header of a transport packet of `len` bytes. `None` if
    /// its addresses are unknown: a packet may still be on its way to another address than the one in
    /// the IP header.
    pub fn pseudo_header_sum(&self, packet: &[u8], len: usize) -> Option<u16> {
        if self.readdressed {
            return None;
        }
        let (source, destination) = self.addresses(packet)?;
        let mut sum = Sum::default();
        sum.add(source);
        sum.add(destination);
        sum.add(&u32::try_from(len).ok()?.to_be_bytes());
        sum.add(&[0, self.protocol]);
        Some(sum.fold())
    }

    /// The transport header and what it covers, without the padding that a frame may have after it.
    /// `None` if `packet` does not have all of it, or if its length is unknown.
    pub fn covered<'p>(&self, packet: &'p [u8]) -> Option<&'p [u8]> {
        packet.get(self.transport..self.transport + self.len?)
    }
}

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSegment {
    /// Address and port of the sender.
    pub source: Endpoint,
    /// Address and port of the receiver.
    pub destination: Endpoint,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Flags (see [`tcp`]).
    pub flags: u8,
    /// Bytes of payload.
    pub payload: u32,
}

/// An address, of which IPv4 uses the first four bytes, and a port.
pub type Endpoint = ([u8; 16], u16);

impl TcpSegment {
    /// The TCP segment in a packet of which `packet` is the beginning. `None` if it has none, or if
    /// the length of its payload is unknown.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let headers = Headers::parse(packet).filter(Headers::is_tcp)?;
        let (source, destination) = headers.addresses(packet)?;
        let ports = headers.ports(packet)?;
        let header_len = headers.transport_end(packet)? - headers.transport;
        Some(TcpSegment {
            source: (address(source), ports.0),
            destination: (address(destination), ports.1),
            sequence: headers.tcp_sequence(packet)?,
            acknowledgement: be32(packet, headers.transport + tcp::ACKNOWLEDGEMENT)?,
            flags: headers.tcp_flags(packet)?,
            payload: u32::try_from(headers.len?.checked_sub(header_len)?).ok()?,
        })
    }

    /// The sequence number after it. SYN and FIN count as one byte each.
    pub fn end(&self) -> u32 {
        let controls = (self.flags & (tcp::SYN | tcp::FIN)).count_ones();
        self.sequence.wrapping_add(self.payload + controls)
    }
}

/// Whether the checksum of a TCP packet is right. `false` if the packet is not TCP, or incomplete.
pub fn has_right_tcp_checksum(packet: &[u8]) -> bool {
    let right = || {
        let headers = Headers::parse(packet).filter(Headers::is_tcp)?;
        headers.tcp_payload(packet)?;
        let covered = headers.covered(packet)?;
        let pseudo = headers.pseudo_header_sum(packet, covered.len())?;
        Some(same_sum(sum(covered), !pseudo))
    };
    right().unwrap_or(false)
}

/// The extension headers of an IPv6 packet.
#[derive(Default)]
struct Extensions {
    /// Bytes of all of them.
    len: usize,
    /// The protocol number of what follows them.
    next: u8,
    /// The packet is a fragment.
    fragment: bool,
    /// The pseudo header has other addresses than the IPv6 header.
    readdressed: bool,
}

impl Extensions {
    /// Follows the extension headers at the beginning of `bytes`, of which the first is `next`. `None`
    /// if one is incomplete or wrong.
    fn parse(bytes: &[u8], next: u8) -> Option<Self> {
        let mut found = Extensions {
            next,
            ..Extensions::default()
        };
        // Each is at least 8 bytes long, so the length of the packet bounds the loop.
        loop {
            let rest = bytes.get(found.len..)?;
            let header = match found.next {
                // RFC 8200, 4.1: only directly after the IPv6 header.
                HOP_BY_HOP if found.len > 0 => return None,
                HOP_BY_HOP | ROUTING | DESTINATION => {
                    rest.get(..8 + 8 * usize::from(*rest.get(1)?))?
                }
                FRAGMENT => rest.get(..8)?,
                AUTHENTICATION => authentication(rest)?,
                _ => return Some(found),
            };
            match found.next {
                // More fragments, or an offset.
                FRAGMENT => found.fragment |= be16(header, 2)? & 0xfff9 != 0,
                // RFC 8200, 8.1: the pseudo header has the final destination.
                ROUTING => found.readdressed |= *header.get(3)? > 0,
                DESTINATION => found.readdressed |= has_home_address(header.get(2..)?),
                _ => {}
            }
            found.next = *header.first()?;
            found.len += header.len();
        }
    }
}

/// The authentication header (RFC 4302) at the beginning of `bytes`. Its length counts 32-bit words, less
/// two.
fn authentication(bytes: &[u8]) -> Option<&[u8]> {
    let words = usize::from(*bytes.get(1)?);
    // At least its fixed part.
    if words == 0 {
        return None;
    }
    bytes.get(..4 * (words + 2))
}

/// The EtherType after VLAN tags, and where the header begins that it names.
fn network(packet: &[u8]) -> Option<(u16, usize)> {
    let mut at = ETHERNET_LEN;
    let mut ethertype = be16(packet, at - 2)?;
    for _ in 0..VLAN_TAGS {
        if !matches!(ethertype, ethertype::VLAN | ethertype::SERVICE_VLAN) {
            break;
        }
        at += VLAN_TAG;
        ethertype = be16(packet, at - 2)?;
    }
    Some((ethertype, at))
}

/// The rest of `total` after `headers` bytes. `None` if it is 0.
fn rest(total: usize, headers: usize) -> Option<usize> {
    total.checked_sub(headers).filter(|len| *len > 0)
}

/// Whether a source route (RFC 791) is among the options of IPv4. The pseudo header has the final
/// destination then (RFC 1122, 4.1.3.5).
fn is_source_routed(mut options: &[u8]) -> bool {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    loop {
        options = match options {
            [] | [END, ..] => return false,
            [LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE, ..] => return true,
            [NO_OPERATION, rest @ ..] => rest,
            [_, len, ..] => options.get(usize::from(*len).max(2)..).unwrap_or_default(),
            [_] => return false,
        };
    }
}

/// Whether the home address of a mobile source is among destination options: the pseudo header has that
/// as the source (RFC 6275, 6.3 and 11.3.1).
fn has_home_address(mut options: &[u8]) -> bool {
    const PAD1: u8 = 0;
    const HOME_ADDRESS: u8 = 201;
    loop {
        options = match options {
            [] | [_] => return false,
            [HOME_ADDRESS, ..] => return true,
            [PAD1, rest @ ..] => rest,
            [_, len, rest @ ..] => rest.get(usize::from(*len)..).unwrap_or_default(),
        };
    }
}

fn address(bytes: &[u8]) -> [u8; 16] {
    let mut address = [0; 16];
    for (to, from) in address.iter_mut().zip(bytes) {
        *to = *from;
    }
    address
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*word))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*word))
}
