//! Packets to the driver (§5.1.6.3, §5.1.6.4 of virtio 1.0): what the host has sent, in which buffers,
//! and what the header says of it.

use stickler_conformance::device::net::{flags, gso};
use stickler_conformance::event::NetHeader;
use stickler_conformance::features::net as feature;
use stickler_conformance::packet::{Headers, sum, tcp};
use stickler_conformance::{DeviceKind, Latitude};
use stickler_devices::net::{header, offload};
use stickler_guest_tests::in_process::Buffer;
use stickler_guest_tests::in_process::net::{
    ANY_PACKET, HEADER_LEN, TCP_CHECKSUM, TCP_HEADERS, checksum_header, segmentation_header,
    set_cwr,
};

use super::{complete, number_of, numbered};
use crate::exam::{Act, Exam, Job};
use crate::host::lock;

/// Where the checksum is in packets of the host.
const CHECKSUM: usize = TCP_CHECKSUM.0 as usize + TCP_CHECKSUM.1 as usize;

const GUEST_SEGMENTATION: u64 = feature::GUEST_TSO4 | feature::GUEST_TSO6 | feature::GUEST_UFO;

/// Gives receive buffers.
pub(super) fn give(exam: &mut Exam<'_>, act: &Act) {
    // Buffers may be given to queues that are yet to be put in use.
    let pair = act.number % if exam.has(feature::MQ) { 2 } else { 1 };
    let full = exam.d.receive_size();
    let len = match exam.has(feature::MRG_RXBUF) {
        true => HEADER_LEN + u32::from(act.number) % 700,
        false => full,
    };
    for _ in 0..act.segments {
        if len == ANY_PACKET {
            if exam.net.large == 0 {
                return;
            }
            exam.net.large -= 1;
        }
        let buffers = exam.room(len).cut(if act.odd { 3 } else { 1 });
        let job = Job::Receive(buffers.clone());
        if !exam.submit(
            2 * pair,
            &buffers,
            &Act {
                hold: false,
                ..*act
            },
            job,
        ) {
            return;
        }
    }
}

/// A packet comes to the host for the driver.
pub(super) fn incoming(exam: &mut Exam<'_>, act: &Act) {
    let segmentation = NetHeader {
        gso_size: 1000,
        hdr_len: if act.odd { 0 } else { TCP_HEADERS as u16 },
        ..segmentation_header()
    };
    let (header, payload) = match act.number % 6 {
        0 => (NetHeader::default(), 4),
        1 => (checksum_header(), 300),
        2 => (
            NetHeader {
                flags: flags::DATA_VALID,
                ..NetHeader::default()
            },
            300,
        ),
        3 => (segmentation, 2500),
        4 => (
            NetHeader {
                gso_type: gso::TCPV4 | gso::ECN,
                ..segmentation
            },
            2500,
        ),
        _ => (NetHeader::default(), 1000),
    };
    let destination = if act.suppress {
        [0xff; 6]
    } else {
        exam.net.filter.mac
    };
    put(exam, &header, payload, destination);
    exam.d.rig.run();
    exam.harvest();
}

/// Lets the host have a packet for the driver; gives its number.
pub(crate) fn put(exam: &mut Exam<'_>, header: &NetHeader, payload: usize, to: [u8; 6]) -> u32 {
    exam.net.count += 1;
    let number = exam.net.count;
    let mut packet = numbered(number, payload);
    packet[..6].copy_from_slice(&to);
    if header.gso_type & gso::ECN != 0 {
        set_cwr(&mut packet);
    }
    if header.flags & flags::NEEDS_CSUM == 0 {
        packet = complete(&packet);
    }
    exam.net.incoming.insert(number, (*header, packet.clone()));
    lock(&exam.host.net).incoming.push_back((*header, packet));
    number
}

/// Buffers of a receive queue have come back in one move.
pub(crate) fn received(exam: &mut Exam<'_>, queue: u16, buffers: &[(Vec<Buffer>, u32)]) {
    if buffers.is_empty() {
        return;
    }
    let pair = queue / 2;
    let row = if exam.net.pairs_set {
        "5.1.6.5.5.2-2"
    } else {
        "5.1.6.5.5.2-1"
    };
    exam.court.rule(row, pair < exam.net.pairs, || {
        format!("a packet on receiveq{} of {}", pair + 1, exam.net.pairs)
    });
    let mut left = buffers;
    while !left.is_empty() {
        let taken = packet(exam, left);
        left = &left[taken..];
    }
}

/// Looks at the packet at the beginning of `buffers`; gives how many of them are its.
fn packet(exam: &mut Exam<'_>, buffers: &[(Vec<Buffer>, u32)]) -> usize {
    let court = exam.court.clone();
    let parts = buffers
        .iter()
        .map(|(buffers, len)| exam.content(buffers, *len));
    let parts: Vec<Vec<u8>> = parts.collect();
    let bytes = parts.concat();
    let Some(header) = bytes.first_chunk::<12>().map(|b| header::decode(*b)) else {
        court.rule("5.1.6.4.1-3", false, || {
            format!("{} bytes are no packet", bytes.len())
        });
        return buffers.len();
    };
    let found = segment(exam, &header, &bytes[12..]).or_else(|| {
        let number = number_of(&bytes[12..])?;
        Some((number, exam.net.incoming.remove(&number)?))
    });
    let Some((number, (given, original))) = found else {
        if court.has_about(DeviceKind::Net) {
            return strange(exam, &header, &parts);
        }
        court.rule("5.1.6.4", false, || {
            format!("nobody has sent this: {header:?}")
        });
        return buffers.len();
    };
    exam.net.came.push(number);
    let whole = 12 + original.len();
    let mut sum = 0;
    let ends = parts.iter().position(|part| {
        sum += part.len();
        sum >= whole
    });
    let Some(last) = ends else {
        court.rule("5.1.6.4.1-3", false, || {
            format!("packet {number} has {whole} bytes; with idx came {sum}")
        });
        return buffers.len();
    };
    let count = last + 1;
    let merges = exam.has(feature::MRG_RXBUF);
    if merges {
        court.rule("5.1.6.4.1-3", true, String::new);
        for row in ["5.1.6.3.2-1", "5.1.6.4.1-2"] {
            court.rule(row, usize::from(header.num_buffers) == count, || {
                format!(
                    "num_buffers is {}, and it is in {count}",
                    header.num_buffers
                )
            });
        }
    } else {
        court.rule("5.1.6.3.2-2", count == 1, || {
            format!("packet {number} is in {count} buffers")
        });
        court.rule("5.1.6.4.1-1", header.num_buffers == 1, || {
            format!("num_buffers is {} without MRG_RXBUF", header.num_buffers)
        });
    }
    let got = &bytes[12..sum];
    let completed = match given.flags & flags::NEEDS_CSUM {
        0 => original.clone(),
        _ => complete(&original),
    };
    let partial = partial(&completed);
    let known = [&original, &completed, &partial];
    let right = known.contains(&&got.to_vec()) || court.has(Latitude::DAMAGED_PACKETS);
    court.rule("5.1.6.4", right, || {
        format!("packet {number} is not what it was")
    });
    look_at_header(exam, &header, got, &partial, &completed);
    count
}

/// Whether the device has cut a packet that was to be segmented, because there were too few buffers for it whole,
/// and `bytes` begin with one of the segments. Gives the number of the packet and, for what was sent, the segment.
fn segment(
    exam: &mut Exam<'_>,
    header: &NetHeader,
    bytes: &[u8],
) -> Option<(u32, (NetHeader, Vec<u8>))> {
    if header.gso_type != gso::NONE || !exam.has(feature::MRG_RXBUF) {
        return None;
    }
    let net = &mut exam.net;
    if let Some(number) = number_of(bytes)
        && let Some((given, packet)) = net.incoming.get(&number)
    {
        let mut segments = Vec::new();
        let segmented = offload::segment(given, packet, |segment| segments.push(segment));
        if segmented && bytes.starts_with(&segments[0]) {
            net.incoming.remove(&number);
            // Those of the packet before have come, or were lost with the link.
            net.segments = segments.into_iter().map(|s| (number, s)).collect();
        }
    }
    // They come in order.
    let (number, segment) = net.segments.front()?;
    if !bytes.starts_with(segment) {
        return None;
    }
    let found = (*number, (NetHeader::default(), segment.clone()));
    net.segments.pop_front();
    Some(found)
}

/// The packet with its checksum left open: the field has the sum of the pseudo header.
fn partial(completed: &[u8]) -> Vec<u8> {
    let mut packet = completed.to_vec();
    let sum = Headers::parse(completed).and_then(|headers| {
        // A short packet has padding behind it, which is not counted.
        headers.pseudo_header_sum(completed, headers.len?)
    });
    let sum = sum.expect("the host sends TCP");
    packet[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// A packet that no host of ours has sent: the device has made it, or altered it. Gives how many
/// buffers it takes.
fn strange(exam: &Exam<'_>, header: &NetHeader, parts: &[Vec<u8>]) -> usize {
    let merges = exam.has(feature::MRG_RXBUF);
    let count = usize::from(header.num_buffers);
    let row = if merges { "5.1.6.4.1-3" } else { "5.1.6.4.1-1" };
    let most = if merges { parts.len() } else { 1 };
    exam.court.rule(row, (1..=most).contains(&count), || {
        format!("num_buffers is {count} of {most}")
    });
    let count = count.clamp(1, most);
    let bytes = parts[..count].concat();
    let got = bytes.get(12..).unwrap_or_default();
    let mut completed = got.to_vec();
    if header.flags & flags::NEEDS_CSUM != 0 {
        let done = offload::complete_checksum(&mut completed, header);
        exam.court
            .rule("5.1.6.4.1-12", done, || format!("{header:?}"));
    }
    look_at_header(exam, header, got, got, &completed);
    count
}

fn look_at_header(
    exam: &Exam<'_>,
    header: &NetHeader,
    got: &[u8],
    original: &[u8],
    completed: &[u8],
) {
    let court = &exam.court;
    let told = || format!("{header:?}");
    let flags = header.flags;
    if !exam.has(feature::GUEST_CSUM) {
        court.strictly("5.1.6.4.1-4", flags == 0, told);
        // What is checksummed may be what there was before the wire.
        let full = got == completed || court.has(Latitude::DAMAGED_PACKETS);
        court.rule("5.1.6.4.1-4", full, || {
            "the packet is not fully checksummed".to_owned()
        });
    }
    let kind = header.gso_type & !gso::ECN;
    for (row, needs, its) in [
        ("5.1.6.4.1-5", feature::GUEST_TSO4, gso::TCPV4),
        ("5.1.6.4.1-6", feature::GUEST_UFO, gso::UDP),
        ("5.1.6.4.1-7", feature::GUEST_TSO6, gso::TCPV6),
    ] {
        if !exam.has(needs) {
            court.rule(row, kind != its, told);
        }
    }
    if !exam.has(GUEST_SEGMENTATION) {
        court.rule("5.1.6.4.1-12", kind == 0, told);
    }
    let headers = Headers::parse(got);
    let tcp_flags = headers.and_then(|headers| headers.tcp_flags(original));
    let congested = tcp_flags.is_some_and(|flags| flags & tcp::CWR != 0);
    if congested && kind != 0 {
        let marked = header.gso_type & gso::ECN != 0;
        if exam.has(feature::GUEST_ECN) {
            court.strictly("5.1.6.4.1-8", marked, told);
        } else {
            court.rule("5.1.6.4.1-8", false, told);
        }
    } else if congested && !exam.has(feature::GUEST_ECN) {
        court.rule("5.1.6.4.1-8", true, told);
    }
    if kind != 0 {
        court.rule(
            "5.1.6.4.1-13",
            flags & flags::NEEDS_CSUM != 0 && header.gso_size > 0,
            told,
        );
        let least = offload::header_len(got).unwrap_or(0);
        court.rule("5.1.6.4.1-14", header.hdr_len >= least, told);
    }
    if flags & flags::NEEDS_CSUM != 0 {
        court.rule("5.1.6.4.1-11", got == original, || {
            "the checksum field is not that of the pseudo header".to_owned()
        });
        let ip = headers.and_then(|headers| got.get(headers.ipv4_header()?));
        let right = ip.is_none_or(|header| sum(header) == 0xffff);
        court.rule("5.1.6.4.1-10", right, || {
            "the checksum of the IP header is wrong".to_owned()
        });
        let mut done = got.to_vec();
        let placed = offload::complete_checksum(&mut done, header) && done == completed;
        court.rule("5.1.6.4.1-12", placed, told);
    } else if flags & flags::DATA_VALID != 0 {
        let right = got == completed && exam.has(feature::GUEST_CSUM);
        court.strictly("5.1.6.4.1-15", right, told);
    }
}

/// Gives each pair in use room for one short packet. Gives whether that could be done.
pub(crate) fn give_for_one(exam: &mut Exam<'_>) -> bool {
    let size = exam.d.receive_size();
    (0..exam.net.pairs).all(|pair| {
        if size == ANY_PACKET {
            if exam.net.large == 0 {
                return false;
            }
            exam.net.large -= 1;
        }
        let buffers = vec![exam.room(size)];
        let job = Job::Receive(buffers.clone());
        exam.submit(2 * pair, &buffers, &Act::quiet(), job)
    })
}

/// Whether each receive queue in use has a buffer for a short packet.
pub(crate) fn has_room(exam: &Exam<'_>) -> bool {
    (0..exam.net.pairs).all(|pair| {
        let of_queue = exam
            .jobs
            .iter()
            .filter(|((queue, _), _)| *queue == 2 * pair);
        let mut rooms = of_queue.filter_map(|(_, (job, _))| match job {
            Job::Receive(buffers) => Some(buffers.iter().map(|b| b.len).sum::<u32>()),
            _ => None,
        });
        rooms.any(|room| room >= 128)
    })
}
