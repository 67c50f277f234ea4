//! The network device (§5.1): packets in both directions, and commands.

use std::collections::BTreeMap;

use stickler_conformance::Latitude;
use stickler_conformance::event::NetHeader;
use stickler_conformance::features::net as feature;
use stickler_conformance::latitude::About;
use stickler_conformance::layout::Structure;
use stickler_devices::net::{header, offload};
use stickler_guest_tests::in_process::Buffer;
use stickler_guest_tests::in_process::net::{
    ANY_PACKET, HEADER_LEN, TCP_HEADERS, checksum_header, segmentation_header, set_cwr, tcp_segment,
};

use crate::court::{Row, Seen};
use crate::exam::{Act, Exam, Job};
use crate::filter;
use crate::host::lock;

pub(crate) const ROWS: &[Row] = &[
    (
        "5.1.4.1-1",
        Seen::By("max_virtqueue_pairs is read where MQ is offered"),
    ),
    (
        "5.1.6.2",
        Seen::By("what is transmitted comes to the host as it is"),
    ),
    (
        "5.1.6.2.2-1",
        Seen::By("packets have a bit in flags that nobody knows"),
    ),
    (
        "5.1.6.2.2-2",
        Seen::By("packets without NEEDS_CSUM have wild csum_start and csum_offset"),
    ),
    ("5.1.6.2.2-3", Seen::Permits),
    (
        "5.1.6.2.2-4",
        Seen::By("packets to be segmented have a wild hdr_len"),
    ),
    (
        "5.1.6.2.2-5",
        Seen::By("packets without NEEDS_CSUM have wrong checksums"),
    ),
    (
        "5.1.6.3.2-1",
        Seen::By("num_buffers is compared with the buffers that a packet takes"),
    ),
    (
        "5.1.6.3.2-2",
        Seen::By("without MRG_RXBUF each packet is in one buffer"),
    ),
    (
        "5.1.6.4",
        Seen::By("what is received was sent by the host, once"),
    ),
    ("5.1.6.4.1-1", Seen::By("num_buffers without MRG_RXBUF")),
    (
        "5.1.6.4.1-2",
        Seen::By("num_buffers is compared with the buffers that a packet takes"),
    ),
    (
        "5.1.6.4.1-3",
        Seen::By("after each move the used ring ends with the end of a packet"),
    ),
    (
        "5.1.6.4.1-4",
        Seen::By("flags, and the packet's checksum, without GUEST_CSUM"),
    ),
    ("5.1.6.4.1-5", Seen::By("gso_type without GUEST_TSO4")),
    ("5.1.6.4.1-6", Seen::By("gso_type without GUEST_UFO")),
    ("5.1.6.4.1-7", Seen::By("gso_type without GUEST_TSO6")),
    (
        "5.1.6.4.1-8",
        Seen::By("packets with CWR to be segmented, with and without GUEST_ECN"),
    ),
    ("5.1.6.4.1-9", Seen::Permits),
    (
        "5.1.6.4.1-10",
        Seen::By(
            "the checksum of the IP header is right where NEEDS_CSUM is set; whether the device looked cannot be seen",
        ),
    ),
    (
        "5.1.6.4.1-11",
        Seen::By("the checksum field is that of the pseudo header where NEEDS_CSUM is set"),
    ),
    (
        "5.1.6.4.1-12",
        Seen::By(
            "checksums are completed as csum_start and csum_offset say; gso_type without offloads",
        ),
    ),
    (
        "5.1.6.4.1-13",
        Seen::By("flags and gso_size of packets to be segmented"),
    ),
    (
        "5.1.6.4.1-14",
        Seen::By("hdr_len of packets to be segmented"),
    ),
    (
        "5.1.6.4.1-15",
        Seen::By("packets with DATA_VALID have a right checksum"),
    ),
    (
        "5.1.6.5.5.2-1",
        Seen::By("packets come on the first receive queue until there is a command"),
    ),
    (
        "5.1.6.5.5.2-2",
        Seen::By("packets come on no queue beyond those of the command"),
    ),
];

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// A bit of flags that means nothing.
const UNKNOWN: u8 = 0x40;
const ECN: u8 = 0x80;
const GSO_TCPV4: u8 = 1;
const GSO_UDP: u8 = 3;
const GSO_TCPV6: u8 = 4;
const GUEST_SEGMENTATION: u64 = feature::GUEST_TSO4 | feature::GUEST_TSO6 | feature::GUEST_UFO;

/// Buffers of the largest size in one life.
const LARGE: u32 = 16;

/// What is known of the card, in this life.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Packets so far.
    count: u32,
    /// Packets that the host has sent and the driver has not received, by number.
    pub(crate) incoming: BTreeMap<u32, (NetHeader, Vec<u8>)>,
    /// The numbers of those that it has.
    pub(crate) came: Vec<u32>,
    /// Pairs in use, and that there has been a command.
    pub(crate) pairs: u16,
    pub(crate) pairs_set: bool,
    /// So many buffers of the largest size may be given.
    large: u32,
    pub(crate) filter: filter::State,
}

impl Default for State {
    fn default() -> Self {
        State {
            count: 0,
            incoming: BTreeMap::new(),
            came: Vec::new(),
            pairs: 1,
            pairs_set: false,
            large: LARGE,
            filter: filter::State::default(),
        }
    }
}

/// A packet under way to the host.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    header: NetHeader,
    packet: Vec<u8>,
    /// The link is up.
    up: bool,
}

/// A command under way to the device.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) class: u8,
    pub(crate) command: u8,
    pub(crate) data: Vec<u8>,
    ack: Buffer,
}

/// Features have been negotiated.
pub(crate) fn begin(exam: &mut Exam<'_>) {
    if exam.offered & feature::MQ != 0 {
        let pairs = exam.d.read(Structure::Device, 8, 2);
        exam.court
            .rule("5.1.4.1-1", (1..=0x8000).contains(&pairs), || {
                format!("max_virtqueue_pairs is {pairs:#x}")
            });
    }
    let mut host = lock(&exam.host.net);
    host.incoming.clear();
    host.sent.clear();
}

pub(crate) fn work(exam: &mut Exam<'_>, act: &Act) {
    match act.what / 8 % 8 {
        0 | 1 if act.twist => filter::examine(exam, act),
        0 => filter::command(exam, act),
        1 | 2 => give(exam, act),
        3 | 4 => incoming(exam, act),
        _ => send(exam, act),
    }
}

/// A packet with a number of its own, TCP over IPv4, whose checksum is left open.
fn numbered(count: u32, payload: usize) -> Vec<u8> {
    let mut packet = tcp_segment(&[2, 0, 0, 0, 0, 77], payload.max(4));
    packet[TCP_HEADERS..TCP_HEADERS + 4].copy_from_slice(&count.to_le_bytes());
    packet
}

fn number_of(packet: &[u8]) -> Option<u32> {
    let bytes = packet.get(TCP_HEADERS..TCP_HEADERS + 4)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

/// The packet with its checksum in it.
fn complete(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    assert!(offload::complete_checksum(&mut packet, &checksum_header()));
    packet
}

// ---- From the driver (§5.1.6.2)

fn send(exam: &mut Exam<'_>, act: &Act) {
    exam.net.count += 1;
    let count = exam.net.count;
    let (mut header, mut packet) = match act.number % 4 {
        1 if exam.has(feature::CSUM) => (
            checksum_header(),
            numbered(count, usize::from(act.number % 1000)),
        ),
        2 if exam.has(feature::HOST_TSO4) => (segmentation_header(), numbered(count, 3000)),
        // Its checksum is wrong, and stays so.
        3 => (
            NetHeader::default(),
            numbered(count, usize::from(act.number % 1000)),
        ),
        _ => (
            NetHeader::default(),
            complete(&numbered(count, usize::from(act.number % 1000))),
        ),
    };
    if header.gso_type == GSO_TCPV4 && exam.has(feature::HOST_ECN) && act.suppress {
        set_cwr(&mut packet);
        header.gso_type |= ECN;
    }
    if act.odd {
        header.flags |= UNKNOWN;
        header.hdr_len = act.number;
        if header.flags & NEEDS_CSUM == 0 {
            (header.csum_start, header.csum_offset) = (act.number, 0xffff);
        }
    }
    let bytes = [&header::encode(&header)[..], &packet].concat();
    let mut buffers = exam.text(&bytes).cut(act.segments.into());
    if act.odd && act.segments > 2 {
        // §2.4.4: the header, too, may be cut.
        let whole = exam.text(&bytes);
        let split = |from: u32, to: u32| Buffer::readable(whole.addr + u64::from(from), to - from);
        buffers = vec![
            split(0, 5),
            split(5, 13),
            split(13, 14),
            split(14, whole.len),
        ];
    }
    let pair = act.number / 4 % exam.net.pairs;
    let up = exam.host.link.as_ref().is_some_and(|link| link.is_up());
    let job = Job::Transmit(Sent { header, packet, up });
    exam.submit(2 * pair + 1, &buffers, act, job);
}

/// A packet to the host has come back.
pub(crate) fn sent(exam: &mut Exam<'_>, sent: &Sent, len: u32) -> bool {
    let court = exam.court.clone();
    let mut host = lock(&exam.host.net);
    let number = number_of(&sent.packet);
    let position = (host.sent.iter()).position(|(_, _, packet)| number_of(packet) == number);
    let Some(position) = position else {
        // Without a link it goes nowhere.
        let up = sent.up && exam.host.link.as_ref().is_some_and(|link| link.is_up());
        court.rule("5.1.6.2", !up, || {
            format!("packet {number:?} is lost: {:?}", sent.header)
        });
        return !up;
    };
    let (_, header, packet) = host.sent.remove(position);
    let same = packet == sent.packet && len == 0;
    court.rule("5.1.6.2", same, || {
        format!("packet {number:?} is not what it was")
    });
    let told = &sent.header;
    let told_csum = told.flags & NEEDS_CSUM;
    let asks = header.flags & NEEDS_CSUM;
    if told.flags & UNKNOWN != 0 {
        court.rule("5.1.6.2.2-1", same && header.flags == told_csum, || {
            format!("flags {:#x} came to be {:#x}", told.flags, header.flags)
        });
    }
    if told_csum == 0 {
        court.rule("5.1.6.2.2-2", same && asks == 0, || {
            format!("csum_start and csum_offset are used: {header:?}")
        });
        court.rule(
            "5.1.6.2.2-5",
            same && header.flags & DATA_VALID == 0,
            || format!("the checksum is relied upon: {header:?}"),
        );
    }
    if told.gso_type != 0 {
        let right = same && header.gso_type == told.gso_type && header.gso_size == told.gso_size;
        court.rule("5.1.6.2.2-4", right, || {
            format!("{told:?} came to be {header:?}")
        });
    }
    same
}

// ---- To the driver (§5.1.6.3, §5.1.6.4)

/// Gives receive buffers.
pub(crate) fn give(exam: &mut Exam<'_>, act: &Act) {
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
fn incoming(exam: &mut Exam<'_>, act: &Act) {
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
                flags: DATA_VALID,
                ..NetHeader::default()
            },
            300,
        ),
        3 => (segmentation, 2500),
        4 => (
            NetHeader {
                gso_type: GSO_TCPV4 | ECN,
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
    if header.gso_type & ECN != 0 {
        set_cwr(&mut packet);
    }
    if header.flags & NEEDS_CSUM == 0 {
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
    let found = number_of(&bytes[12..]).and_then(|n| Some((n, exam.net.incoming.remove(&n)?)));
    let Some((number, (given, original))) = found else {
        if court.has_about(About::Net) {
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
    let completed = match given.flags & NEEDS_CSUM {
        0 => original.clone(),
        _ => complete(&original),
    };
    let partial = partial(&completed);
    let known = [&original, &completed, &partial];
    let right = known.contains(&&got.to_vec()) || court.has(Latitude::DamagedPackets);
    court.rule("5.1.6.4", right, || {
        format!("packet {number} is not what it was")
    });
    look_at_header(exam, &header, got, &partial, &completed);
    count
}

/// The packet with its checksum left open: the field has that of the pseudo header.
fn partial(completed: &[u8]) -> Vec<u8> {
    let mut packet = completed.to_vec();
    packet[TCP_HEADERS - 4..TCP_HEADERS - 2].fill(0);
    let whole = tcp_segment(&packet[6..12], packet.len() - TCP_HEADERS);
    let at = TCP_HEADERS - 4..TCP_HEADERS - 2;
    packet[at.clone()].copy_from_slice(&whole[at]);
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
    if header.flags & NEEDS_CSUM != 0 {
        let done = offload::complete_checksum(&mut completed, header);
        exam.court
            .rule("5.1.6.4.1-12", done, || format!("{header:?}"));
    }
    look_at_header(exam, header, got, got, &completed);
    count
}

/// Whether it is one of TCP over IPv4 without options, as ours are.
fn is_tcp(packet: &[u8]) -> bool {
    packet.len() >= TCP_HEADERS && packet[12..15] == [8, 0, 0x45] && packet[23] == 6
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
        let full = got == completed || court.has(Latitude::DamagedPackets);
        court.rule("5.1.6.4.1-4", full, || {
            "the packet is not fully checksummed".to_owned()
        });
    }
    let kind = header.gso_type & !ECN;
    for (row, needs, its) in [
        ("5.1.6.4.1-5", feature::GUEST_TSO4, GSO_TCPV4),
        ("5.1.6.4.1-6", feature::GUEST_UFO, GSO_UDP),
        ("5.1.6.4.1-7", feature::GUEST_TSO6, GSO_TCPV6),
    ] {
        if !exam.has(needs) {
            court.rule(row, kind != its, told);
        }
    }
    if !exam.has(GUEST_SEGMENTATION) {
        court.rule("5.1.6.4.1-12", kind == 0, told);
    }
    let congested = is_tcp(got) && original[TCP_HEADERS - 7] & 0x80 != 0;
    if congested && kind != 0 {
        let marked = header.gso_type & ECN != 0;
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
            flags & NEEDS_CSUM != 0 && header.gso_size > 0,
            told,
        );
        let headers = offload::header_len(got).unwrap_or(0);
        court.rule("5.1.6.4.1-14", header.hdr_len >= headers, told);
    }
    if flags & NEEDS_CSUM != 0 {
        court.rule("5.1.6.4.1-11", got == original, || {
            "the checksum field is not that of the pseudo header".to_owned()
        });
        let right = !is_tcp(got) || ip_header_is_right(got);
        court.rule("5.1.6.4.1-10", right, || {
            "the checksum of the IP header is wrong".to_owned()
        });
        let mut done = got.to_vec();
        let placed = offload::complete_checksum(&mut done, header) && done == completed;
        court.rule("5.1.6.4.1-12", placed, told);
    } else if flags & DATA_VALID != 0 {
        let right = got == completed && exam.has(feature::GUEST_CSUM);
        court.strictly("5.1.6.4.1-15", right, told);
    }
}

fn ip_header_is_right(packet: &[u8]) -> bool {
    let words = packet[14..34].chunks(2);
    let sum: u32 = words.map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    sum.is_multiple_of(0xffff)
}

// ---- Commands (§5.1.6.5)

/// Sends a command.
pub(crate) fn say(exam: &mut Exam<'_>, class: u8, command: u8, data: &[u8], act: &Act) -> bool {
    let mut buffers = exam
        .text(&[&[class, command], data].concat())
        .cut(act.segments.into());
    let ack = exam.room(1);
    buffers.push(ack);
    let job = Job::Command(Command {
        class,
        command,
        data: data.to_vec(),
        ack,
    });
    let queue = exam.d.control_queue();
    exam.submit(queue, &buffers, act, job)
}

/// A command has come back.
pub(crate) fn answered(exam: &mut Exam<'_>, command: &Command, len: u32) -> bool {
    if len == 0 {
        // §2.4.8.3: nothing can be said of the acknowledgement.
        return true;
    }
    let ack = exam.content(&[command.ack], 1)[0];
    filter::judge(exam, command, ack)
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
