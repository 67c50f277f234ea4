//! The network device (§5.1 of virtio 1.0): packets in both directions, and commands.

mod received;
mod transmitted;

use std::collections::{BTreeMap, VecDeque};

use stickler_conformance::device::net::config;
use stickler_conformance::event::NetHeader;
use stickler_conformance::features::net as feature;
use stickler_conformance::layout::Structure;
use stickler_devices::net::offload;
use stickler_guest_tests::in_process::Buffer;
use stickler_guest_tests::in_process::net::{TCP_HEADERS, checksum_header, tcp_segment};

use crate::court::{Row, Seen};
use crate::exam::{Act, Exam, Job};
use crate::filter;
use crate::host::lock;

pub(crate) use received::{give_for_one, has_room, put, received};
pub(crate) use transmitted::{Sent, sent};

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

/// Buffers of the largest size in one life.
const LARGE: u32 = 16;

/// What is known of the card, in this life.
#[derive(Clone, Debug)]
pub(crate) struct NetState {
    /// Packets so far.
    count: u32,
    /// Packets that the host has sent and the driver has not received, by number.
    pub(crate) incoming: BTreeMap<u32, (NetHeader, Vec<u8>)>,
    /// Segments that are to come of a packet that the device has cut, each with its number.
    pub(crate) segments: VecDeque<(u32, Vec<u8>)>,
    /// The numbers of those that it has.
    pub(crate) came: Vec<u32>,
    /// Pairs in use, and that there has been a command.
    pub(crate) pairs: u16,
    pub(crate) pairs_set: bool,
    /// So many buffers of the largest size may be given.
    large: u32,
    pub(crate) filter: filter::FilterState,
}

impl Default for NetState {
    fn default() -> Self {
        NetState {
            count: 0,
            incoming: BTreeMap::new(),
            segments: VecDeque::new(),
            came: Vec::new(),
            pairs: 1,
            pairs_set: false,
            large: LARGE,
            filter: filter::FilterState::default(),
        }
    }
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
        let pairs = exam
            .d
            .read(Structure::Device, config::MAX_VIRTQUEUE_PAIRS, 2);
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
        1 | 2 => received::give(exam, act),
        3 | 4 => received::incoming(exam, act),
        _ => transmitted::send(exam, act),
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
