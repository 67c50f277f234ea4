//! Offloads of a packet to be sent: checksums and segmentation (§5.1.6.2 of virtio 1.0).

use super::*;
use crate::device::net::{flags, gso};
use crate::packet::{self, Headers, IpVersion, Transport, tcp};

/// Judges the header's flags, and the offloads that they and gso_type select.
pub(super) fn judge(
    header: &NetHeader,
    packet: &NetTransmit<'_>,
    session: &Session,
    verdicts: &mut Verdicts,
) {
    flags(header, packet, session, verdicts);
    gso(header, packet, session, verdicts);
    if header.flags & flags::NEEDS_CSUM != 0 && session.has(net::CSUM) {
        verdicts.held(OFFLOAD_CSUM);
        csum(header, packet, verdicts);
    }
}

fn flags(header: &NetHeader, packet: &NetTransmit<'_>, session: &Session, verdicts: &mut Verdicts) {
    let queue = Some(packet.queue);
    let says = || format!("a packet with flags {:#x}", header.flags);
    if !session.has(net::CSUM) {
        verdicts.check(FLAGS_ZERO, header.flags == 0, queue, || {
            format!("{}, without VIRTIO_NET_F_CSUM", says())
        });
    }
    verdicts.check(
        DATA_VALID,
        header.flags & flags::DATA_VALID == 0,
        queue,
        says,
    );
    let undefined = header.flags & !flags::DEFINED;
    verdicts.check(FLAGS_DEFINED, undefined == 0, queue, says);
}

fn gso(header: &NetHeader, packet: &NetTransmit<'_>, session: &Session, verdicts: &mut Verdicts) {
    let queue = Some(packet.queue);
    let says = || format!("a packet with gso_type {:#x}", header.gso_type);
    if session.negotiated & HOST_OFFLOADS == 0 {
        verdicts.check(GSO_NONE, header.gso_type == gso::NONE, queue, || {
            format!("{}, without any segmentation offload", says())
        });
    }
    let kind = header.gso_type & !gso::ECN;
    for (requirement, of, needs) in [
        (GSO_TCPV4, gso::TCPV4, net::HOST_TSO4),
        (GSO_TCPV6, gso::TCPV6, net::HOST_TSO6),
        (GSO_UDP, gso::UDP, net::HOST_UFO),
    ] {
        if kind == of || !session.has(needs) {
            let ok = kind != of || session.has(needs);
            verdicts.check(requirement, ok, queue, || {
                format!(
                    "{}, without {}",
                    says(),
                    crate::features::names(DeviceKind::Net, needs)
                )
            });
        }
    }
    let defined = matches!(kind, gso::NONE | gso::TCPV4 | gso::UDP | gso::TCPV6);
    verdicts.check(GSO_DEFINED, defined, queue, says);
    let ecn = header.gso_type & gso::ECN != 0;
    verdicts.check(ECN_BIT, !ecn || session.has(net::HOST_ECN), queue, || {
        format!("{}, without VIRTIO_NET_F_HOST_ECN", says())
    });
    // A missing feature and an undefined type are reported under requirements of their own.
    if ecn && defined && session.has(net::HOST_ECN) {
        let tcp = matches!(kind, gso::TCPV4 | gso::TCPV6);
        verdicts.check(ECN_TCP, tcp, queue, says);
    }
    if kind == gso::NONE {
        return;
    }
    let needs_csum = header.flags & flags::NEEDS_CSUM != 0;
    verdicts.check(GSO_CSUM, needs_csum, queue, || {
        format!("{} and flags {:#x}", says(), header.flags)
    });
    verdicts.check(GSO_SIZE, header.gso_size != 0, queue, || {
        format!("{} and gso_size 0", says())
    });
    let Some(headers) = Headers::parse(packet.bytes) else {
        return;
    };
    let Some(transport) = headers.transport_protocol() else {
        return;
    };
    if let Some(end) = headers.transport_end(packet.bytes) {
        verdicts.check(HDR_LEN, usize::from(header.hdr_len) >= end, queue, || {
            format!(
                "{} and hdr_len {}; its headers have {end} bytes",
                says(),
                header.hdr_len
            )
        });
    }
    protocol(
        kind,
        packet,
        (transport, headers.version),
        session,
        verdicts,
    );
    if kind != gso::UDP {
        let flags = headers.tcp_flags(packet.bytes).unwrap_or(0);
        let cwr = flags & tcp::CWR != 0;
        let either = cwr || flags & tcp::ECE != 0;
        let with = || {
            let bit = if cwr { "CWR" } else { "ECE" };
            format!("{}, of a TCP packet with {bit}", says())
        };
        if session.has(net::HOST_ECN) {
            let by = [cwr, either].map(|marked| marked.then_some(ecn));
            verdicts.check_by(ECN_SET, by, queue, with);
        } else {
            verdicts.check_by(ECN_UNNEGOTIATED, [!cwr, !either], queue, with);
        }
    }
}

/// Judges whether a packet to be segmented is of the type `kind`.
fn protocol(
    kind: u8,
    packet: &NetTransmit<'_>,
    is: (Transport, IpVersion),
    session: &Session,
    verdicts: &mut Verdicts,
) {
    let (right, needs) = match kind {
        gso::TCPV4 => (is == (Transport::Tcp, IpVersion::V4), net::HOST_TSO4),
        gso::TCPV6 => (is == (Transport::Tcp, IpVersion::V6), net::HOST_TSO6),
        gso::UDP => (is.0 == Transport::Udp, net::HOST_UFO),
        _ => return,
    };
    // A type that is not allowed at all is reported under a requirement of its own.
    if session.has(needs) {
        verdicts.check(GSO_PROTOCOL, right, Some(packet.queue), || {
            format!(
                "a packet with gso_type {kind:#x}, of {:?} over IP{}",
                is.0,
                match is.1 {
                    IpVersion::V4 => "v4",
                    IpVersion::V6 => "v6",
                }
            )
        });
    }
}

/// Judges whether a packet without an offload has a complete checksum. Only a checksum field that still
/// has the sum of the pseudo header is certainly an error of the driver: programs may send wrong
/// packets.
pub(super) fn summed(packet: &NetTransmit<'_>, verdicts: &mut Verdicts) {
    let Some(headers) = Headers::parse(packet.bytes) else {
        return;
    };
    let (Some(transport), Some(bytes)) =
        (headers.transport_protocol(), headers.covered(packet.bytes))
    else {
        return;
    };
    let field = transport.checksum_field();
    let (Some(pseudo), Some(&[high, low])) = (
        headers.pseudo_header_sum(packet.bytes, bytes.len()),
        bytes.get(field..field + 2),
    ) else {
        return;
    };
    let found = u16::from_be_bytes([high, low]);
    // UDP over IPv4 may have no checksum.
    if found == 0 {
        return;
    }
    // The sum of all bytes takes long, and is rarely needed.
    let undone = packet::same_sum(found, pseudo) && !packet::same_sum(packet::sum(bytes), !pseudo);
    verdicts.check(CHECKSUMMED, !undone, Some(packet.queue), || {
        format!(
            "a {transport:?} packet whose checksum field has the sum of the pseudo header, {found:#06x}"
        )
    });
}

fn csum(header: &NetHeader, packet: &NetTransmit<'_>, verdicts: &mut Verdicts) {
    let queue = Some(packet.queue);
    let (start, offset) = (
        usize::from(header.csum_start),
        usize::from(header.csum_offset),
    );
    let says = || format!("a packet with csum_start {start} and csum_offset {offset}");
    let inside = (start + offset + 2) as u64 <= packet.len;
    if !verdicts.check(CSUM_INSIDE, inside, queue, || {
        format!("{}; it has {} bytes", says(), packet.len)
    }) {
        return;
    }
    let Some(headers) = Headers::parse(packet.bytes) else {
        return;
    };
    // The IP header of a packet to be segmented is written again in each segment.
    if header.gso_type == gso::NONE
        && let Some(ip) = headers.ipv4_header()
        && ip.end <= start
        && let Some(bytes) = packet.bytes.get(ip)
    {
        let right = packet::sum(bytes) == 0xffff;
        verdicts.check(CSUM_PRECEDING, right, queue, || {
            format!("{}, and the checksum of its IPv4 header is wrong", says())
        });
    }
    let Some(transport) = headers.transport_protocol() else {
        return;
    };
    let segmented = header.gso_type != gso::NONE;
    if segmented {
        let at_header = headers.transport == start;
        verdicts.check(GSO_CSUM_START, at_header, queue, || {
            format!(
                "{}; the {transport:?} header is at {}",
                says(),
                headers.transport
            )
        });
    }
    if headers.transport != start {
        if !segmented && let Some(right) = completes(packet, start, offset, transport) {
            verdicts.check(CSUM_START, right, queue, || {
                format!(
                    "{}; the {transport:?} header is at {}, and its checksum is wrong",
                    says(),
                    headers.transport
                )
            });
        }
        return;
    }
    let right = offset == transport.checksum_field();
    if !verdicts.check(CSUM_FIELD, right, queue, || {
        format!("{}: not the checksum of {transport:?}", says())
    }) {
        return;
    }
    let Some(len) = headers.len else {
        return;
    };
    let pseudo = |len| headers.pseudo_header_sum(packet.bytes, len);
    let (Some(expected), Some(&[high, low])) = (
        pseudo(len),
        packet.bytes.get(start + offset..start + offset + 2),
    ) else {
        return;
    };
    let found = u16::from_be_bytes([high, low]);
    let mut equal = packet::same_sum(found, expected);
    if segmented {
        // The specification does not define the length in the pseudo header of a packet to be segmented:
        // that of the packet, that of each segment, or none.
        let payload = usize::from(header.gso_size);
        let segment = headers
            .transport_end(packet.bytes)
            .map(|end| end - start + payload);
        let mut others = [Some(0), segment].into_iter().flatten().filter_map(pseudo);
        equal |= others.any(|sum| packet::same_sum(found, sum));
    }
    if verdicts.check(CSUM_PSEUDO, equal, queue, || {
        format!(
            "{} and a checksum field of {found:#06x}; its pseudo header's sum is {expected:#06x}",
            says()
        )
    }) && !segmented
    {
        // The sum goes to the end of the packet, padding included.
        let padding = packet.bytes.get(start + len..).unwrap_or_default();
        verdicts.check(
            CSUM_START,
            packet::same_sum(packet::sum(padding), 0),
            queue,
            || format!("{}, and padding that is not 0", says()),
        );
    }
}

/// Packets of more bytes than this are not completed by rules.
const COMPLETED: usize = 2048;

/// Whether the checksum of a packet is right once the device has stored the one that it is asked for, which
/// does not begin at the packet's own `transport` header. `None` if that cannot be said.
#[cold]
fn completes(
    packet: &NetTransmit<'_>,
    start: usize,
    offset: usize,
    transport: Transport,
) -> Option<bool> {
    let mut room = [0; COMPLETED];
    let whole = usize::try_from(packet.len) == Ok(packet.bytes.len());
    let Some(completed) = room.get_mut(..packet.bytes.len()).filter(|_| whole) else {
        // The protocol of tunnels is not TCP.
        return (transport == Transport::Tcp).then_some(false);
    };
    completed.copy_from_slice(packet.bytes);
    let checksum = packet::checksum(completed.get(start..)?);
    let field = completed.get_mut(start + offset..)?.first_chunk_mut()?;
    *field = checksum.to_be_bytes();
    let headers = Headers::parse(completed)?;
    let covered = headers.covered(completed)?;
    let at = transport.checksum_field();
    // UDP may have no checksum.
    if transport == Transport::Udp && covered.get(at..at + 2)? == [0, 0] {
        return None;
    }
    let pseudo = headers.pseudo_header_sum(completed, covered.len())?;
    Some(packet::same_sum(packet::sum(covered), !pseudo))
}
