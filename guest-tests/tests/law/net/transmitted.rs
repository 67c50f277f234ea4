//! Packets from the driver (§5.1.6.2 of virtio 1.0): what is transmitted comes to the host as it is.

use stickler_conformance::device::net::{flags, gso};
use stickler_conformance::event::NetHeader;
use stickler_conformance::features::net as feature;
use stickler_devices::net::header;
use stickler_guest_tests::in_process::Buffer;
use stickler_guest_tests::in_process::net::{checksum_header, segmentation_header, set_cwr};

use super::{complete, number_of, numbered};
use crate::exam::{Act, Exam, Job};
use crate::host::lock;

/// A bit of flags that means nothing.
const UNKNOWN: u8 = 0x40;

/// A packet under way to the host.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    header: NetHeader,
    packet: Vec<u8>,
    /// The link is up.
    up: bool,
}

/// Transmits a packet.
pub(super) fn send(exam: &mut Exam<'_>, act: &Act) {
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
    if header.gso_type == gso::TCPV4 && exam.has(feature::HOST_ECN) && act.suppress {
        set_cwr(&mut packet);
        header.gso_type |= gso::ECN;
    }
    if act.odd {
        header.flags |= UNKNOWN;
        header.hdr_len = act.number;
        if header.flags & flags::NEEDS_CSUM == 0 {
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
    let told_csum = told.flags & flags::NEEDS_CSUM;
    let asks = header.flags & flags::NEEDS_CSUM;
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
            same && header.flags & flags::DATA_VALID == 0,
            || format!("the checksum is relied upon: {header:?}"),
        );
    }
    if told.gso_type != gso::NONE {
        let right = same && header.gso_type == told.gso_type && header.gso_size == told.gso_size;
        court.rule("5.1.6.2.2-4", right, || {
            format!("{told:?} came to be {header:?}")
        });
    }
    same
}
