//! Devices that break the law of their type.

use stickler_conformance::device::net::{config, gso};
use stickler_conformance::layout::{Structure, common};
use stickler_guest_tests::in_process::Rig;

use super::{Meddler, Ring, half, unlawful, word};
use crate::host::{DiskBooks, lock};
use Structure::{Common, Device as Specific};

/// Offsets in struct virtio_net_hdr.
const FLAGS: usize = 0;
const GSO_TYPE: usize = 1;
const HDR_LEN: usize = 2;
const GSO_SIZE: usize = 4;
const CSUM_START: usize = 6;
const NUM_BUFFERS: usize = 10;
/// … and in packets behind it.
const IP_CHECKSUM: usize = 12 + 24;
const TCP_CHECKSUM: usize = 12 + 50;

/// The first receive queue, if something came there just now.
fn received(m: &Meddler, rig: &Rig, what: &stickler_guest_tests::in_process::Move) -> Option<Ring> {
    m.returned(rig, what)
        .into_iter()
        .find(|ring| ring.index == 0)
}

/// The control queue, if a command came back just now.
fn answered(m: &Meddler, rig: &Rig, what: &stickler_guest_tests::in_process::Move) -> Option<Ring> {
    let returned = m.returned(rig, what).into_iter();
    returned.into_iter().find(|ring| {
        matches!(ring.index, 2 | 4)
            && !ring.bytes(rig, true).is_empty()
            && ring.bytes(rig, true).len() == 1
    })
}

/// Alters one byte of what was received.
fn alter(
    m: &Meddler,
    rig: &Rig,
    what: &stickler_guest_tests::in_process::Move,
    index: usize,
    to: fn(u8) -> u8,
) {
    if let Some(ring) = received(m, rig, what) {
        ring.alter(rig, index, to);
    }
}

/// Moves what was received last, but for `keep` bytes, to the next chain available on `to`.
fn move_on(rig: &Rig, from: &Ring, to: &Ring, keep: usize, skip: u16) -> bool {
    let next = to.new.wrapping_add(skip);
    if half(rig, to.layout.avail_idx()) == next {
        return false;
    }
    let head = half(rig, to.layout.avail_entry(next));
    let len = word(rig, from.entry(from.new.wrapping_sub(1)) + 4) as usize;
    let source = from.bytes(rig, true);
    let target = to.chain_bytes(rig, head, true);
    for (from, to) in source[keep.min(len)..len].iter().zip(&target) {
        rig.write_bytes(*to, &rig.read_bytes(*from, 1));
    }
    let entry = u64::from(head) | ((len - keep.min(len)) as u64) << 32;
    rig.write_bytes(to.entry(next), &entry.to_le_bytes());
    to.set_used(rig, next.wrapping_add(1));
    true
}

unlawful! {
    // ---- Network: to the driver
    no_pairs: Net breaks "5.1.4.1-1" by |m, _, what| {
        if let Some(pairs) = m.read(Specific, 8, what) { *pairs = 0; }
    };
    wrong_num_buffers: Net breaks "5.1.6.3.2-1" "5.1.6.4.1-1" "5.1.6.4.1-2" by |m, rig, what| {
        alter(m, rig, what, NUM_BUFFERS, |n| n + 1);
    };
    spread_without_merging: Net breaks "5.1.6.3.2-2" by |m, rig, what| {
        if let Some(ring) = received(m, rig, what) && move_on(rig, &ring, &ring, 80, 0) {
            ring.set_len(rig, 80);
        }
    };
    a_part_of_a_packet: Net breaks "5.1.6.4.1-3" by |m, rig, what| {
        if let Some(ring) = received(m, rig, what) { ring.set_len(rig, 11); }
    };
    another_packet: Net breaks "5.1.6.4" by |m, rig, what| {
        alter(m, rig, what, 12 + 7, |byte| !byte);
    };
    flags_without_guest_csum: Net breaks "5.1.6.4.1-4" by |m, rig, what| {
        alter(m, rig, what, FLAGS, |_| 2);
    };
    tcpv4: Net breaks "5.1.6.4.1-5" "5.1.6.4.1-12" by |m, rig, what| {
        alter(m, rig, what, GSO_TYPE, |_| gso::TCPV4);
    };
    udp: Net breaks "5.1.6.4.1-6" by |m, rig, what| { alter(m, rig, what, GSO_TYPE, |_| gso::UDP); };
    tcpv6: Net breaks "5.1.6.4.1-7" by |m, rig, what| { alter(m, rig, what, GSO_TYPE, |_| gso::TCPV6); };
    not_marked_congested: Net breaks "5.1.6.4.1-8" by |m, rig, what| {
        alter(m, rig, what, GSO_TYPE, |kind| kind & !gso::ECN);
    };
    wrong_ip_checksum: Net breaks "5.1.6.4.1-10" by |m, rig, what| {
        alter(m, rig, what, IP_CHECKSUM, |byte| byte ^ 4);
    };
    wrong_pseudo_header: Net breaks "5.1.6.4.1-11" by |m, rig, what| {
        alter(m, rig, what, TCP_CHECKSUM, |byte| byte ^ 4);
    };
    wrong_csum_start: Net breaks "5.1.6.4.1-12" by |m, rig, what| {
        alter(m, rig, what, CSUM_START, |byte| byte + 2);
    };
    no_gso_size: Net breaks "5.1.6.4.1-13" by |m, rig, what| {
        for index in [GSO_SIZE, GSO_SIZE + 1] { alter(m, rig, what, index, |_| 0); }
    };
    short_hdr_len: Net breaks "5.1.6.4.1-14" by |m, rig, what| {
        alter(m, rig, what, HDR_LEN, |_| 5);
    };
    not_validated: Net breaks "5.1.6.4.1-15" by |m, rig, what| {
        alter(m, rig, what, FLAGS, |_| 2);
        alter(m, rig, what, TCP_CHECKSUM, |byte| byte ^ 4);
    };
    another_receive_queue: Net breaks "5.1.6.5.5.2-1" "5.1.6.5.5.2-2" by |m, rig, what| {
        let rings = m.rings(rig);
        let other = rings.iter().find(|ring| ring.index == 2);
        if let (Some(ring), Some(other)) = (received(m, rig, what), other)
            && ring.new == ring.old.wrapping_add(1)
            && rings.len() > 3
            && move_on(rig, &ring, other, 0, 0)
        {
            ring.set_used(rig, ring.old);
        }
    };

    // ---- Network: from the driver
    alters_packets: Net breaks "5.1.6.2" by |m, _, _| {
        for (_, _, packet) in &mut lock(&m.host.net).sent { packet[7] = 0xee; }
    };
    obeys_unknown_flags: Net breaks "5.1.6.2.2-1" by |m, _, _| {
        for (_, header, _) in &mut lock(&m.host.net).sent { header.flags |= 0x40; }
    };
    always_checksums: Net breaks "5.1.6.2.2-2" by |m, _, _| {
        for (_, header, _) in &mut lock(&m.host.net).sent { header.flags |= 1; }
    };
    trusts_checksums: Net breaks "5.1.6.2.2-5" by |m, _, _| {
        for (_, header, _) in &mut lock(&m.host.net).sent { header.flags |= 2; }
    };
    trusts_hdr_len: Net breaks "5.1.6.2.2-4" by |m, _, _| {
        for (_, header, _) in &mut lock(&m.host.net).sent { header.gso_size = header.hdr_len; }
    };

    // ---- Network: commands
    refuses_commands: Net breaks "5.1.6.5" "5.1.6.5.1.1-1" "5.1.6.5.1.1-5" by |m, rig, what| {
        if let Some(ring) = answered(m, rig, what) { ring.alter(rig, 0, |_| 1); }
    };
    hears_nothing: Net breaks
        "5.1.6.5.1.1-2" "5.1.6.5.1.1-3" "5.1.6.5.1.1-4" "5.1.6.5.1.1-6" "5.1.6.5.1.1-9"
        "5.1.6.5.2.1-2" "5.1.6.5.2.1-4" by |m, _, _| {
        lock(&m.host.net).incoming.clear();
    };
    // Every mode it is told to be in it takes for the promiscuous one.
    hears_everything: Net breaks
        "5.1.6.5.1.1-7" "5.1.6.5.1.1-8" "5.1.6.5.1.1-10" "5.1.6.5.1.1-11" "5.1.6.5.1.1-12"
        "5.1.6.5.1.1-13" "5.1.6.5.2.1-1" "5.1.6.5.2.1-4" by |m, rig, _| {
        if !m.early.get() { return; }
        for ring in m.rings(rig).into_iter().filter(|ring| matches!(ring.index, 2 | 4)) {
            let idx = half(rig, ring.layout.avail_idx());
            for position in (0..idx.wrapping_sub(ring.new)).map(|i| ring.new.wrapping_add(i)) {
                let at = ring.layout.avail_entry(position);
                let head = half(rig, at);
                let bytes = ring.chain_bytes(rig, head, false);
                if let [class, mode, on] = bytes[..] && rig.read_bytes(class, 1) == [0] {
                    rig.write_bytes(mode, &[0]);
                    rig.write_bytes(on, &[1]);
                }
            }
        }
    };
    keeps_its_address: Net breaks "5.1.6.5.2.1-3" by |m, _, what| {
        if let Some(byte) = m.read(Specific, 5, what) { *byte = 0x99; }
    };
    goes_on_asking_for_announcements: Net breaks "5.1.6.5.4.2-1" by |m, _, what| {
        if let Some(status) = m.read(Specific, config::STATUS, what) { *status |= 2; }
    };

    // ---- Block
    no_flush: Block breaks "5.2.5.2-1" by |m, _, what| {
        if let Some(bits) = m.read(Common, common::DEVICE_FEATURE, what) { *bits &= !(1 << 9); }
    };
    writeback_from_the_beginning: Block breaks "5.2.5.2-2" by |m, _, what| {
        if let Some(writeback) = m.read(Specific, 32, what) { *writeback = 1; }
    };
    another_status: Block breaks "5.2.6" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            let last = ring.bytes(rig, true).len() - 1;
            ring.alter(rig, last, |_| 7);
        }
    };
    other_data: Block breaks "5.2.6" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            if ring.bytes(rig, true).len() > 1 { ring.alter(rig, 0, |byte| byte ^ 1); }
        }
    };
    pretends_to_write: ReadOnlyBlock breaks "5.2.6.2-1" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            let last = ring.bytes(rig, true).len() - 1;
            ring.alter(rig, last, |_| 0);
        }
    };
    loses_writes: Block breaks "5.2.6.2-2" by |m, _, _| {
        lock(&m.host.disk).persistent = DiskBooks::fresh();
    };

    // ---- Console
    fails_in_an_emergency: Console breaks "5.3.5.1-1" by |m, _, what| {
        if m.written(Specific, 8, what).is_some() {
            m.count.set(1);
        } else if m.status.get() == 0 {
            m.count.set(0);
        } else if m.count.get() == 1 && let Some(status) = m.read(Common, common::DEVICE_STATUS, what)
        {
            *status |= 0x80;
        }
    };
    keeps_emergencies_to_itself: Console breaks "5.3.5.1-2" by |m, _, _| {
        lock(&m.host.ports[0]).output.retain(|byte| *byte != 0x7f);
    };
    loses_output: PlainConsole breaks "5.3.6" by |m, _, _| { lock(&m.host.ports[0]).output.pop(); };
    half_a_message: Console breaks "5.3.6.2" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            if ring.index == 2 { ring.set_len(rig, 4); }
        }
    };
    adds_a_port_that_is_none: Console breaks "5.3.6.2.1-1" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            if ring.index == 2 { ring.alter(rig, 0, |_| 99); }
        }
    };
    removes_a_port_that_is_none: Console breaks "5.3.6.2.1-2" by |m, rig, what| {
        for ring in m.returned(rig, what) {
            if ring.index == 2 {
                ring.alter(rig, 0, |_| 99);
                ring.alter(rig, 4, |_| 2);
            }
        }
    };

    // ---- Entropy
    empty_handed: Entropy breaks "5.4.6.2-1" by |m, rig, what| {
        for ring in m.returned(rig, what) { ring.set_len(rig, 0); }
    };
}
