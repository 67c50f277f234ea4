//! The network device (§5.1 of virtio 1.0).

use stickler_conformance::device::net::{
    ack, announce, class, config, flags, status as net_status,
};
use stickler_conformance::event::NetHeader;
use stickler_conformance::features::{RING_EVENT_IDX, net};
use stickler_conformance::layout::Structure;
use stickler_conformance::packet::{Headers, ethertype, has_right_tcp_checksum};
use stickler_devices::net::{header, offload};
use stickler_guest_tests::in_process::net::{
    HEADER_LEN, arp_request, checksum_header, tcp_segment,
};
use stickler_guest_tests::in_process::{Driver, Interrupts};

use crate::cases;

cases! {
    status_is_about_the_link: ANNOUNCE on Net,
        |d| {
            d.initialize(ANNOUNCING, Interrupts::Msix);
            assert_eq!(status(d) & UP, UP);
            sends_much(d);
        },
        Breaks "net.announce.acknowledged", copes with acknowledges;
    to_acknowledge_is_enough: ANNOUNCE on Net, never_announces,
        Breaks "net.announce.sent", copes with acknowledges;
    a_link_that_is_up_stays_up: LINK_FLAPS on Net,
        |d| {
            d.initialize(net::MAC | net::STATUS, Interrupts::Msix);
            assert_eq!(status(d), UP);
            sends_much(d);
        },
        Breaks "net.link.read-again", copes with follows_the_link;
    a_packet_is_in_one_buffer: SPLIT_PACKETS on Net,
        |d| {
            d.initialize(net::MAC | net::MRG_RXBUF, Interrupts::Msix);
            begins(d, 32, 2048);
            for _ in 0..10 {
                asks(d);
                for (buffer, len) in d.wait_buffers(0) {
                    assert!(len >= HEADER_LEN + 42, "a short packet");
                    d.submit(0, &[buffer]);
                }
            }
        },
        Stops "a short packet", copes with merges;
    packets_are_answers: EARLY_PACKETS on Net,
        |d| {
            d.initialize(net::MAC, Interrupts::Msix);
            begins(d, 4, 2048);
            asks(d);
            let (_, packet) = next(d);
            assert!(is_arp(&packet), "not the answer");
        },
        Stops "not the answer", copes with passes_over_what_it_did_not_ask_for;
    a_packet_fits_into_two_buffers: LARGE_PACKETS on Net,
        |d| {
            d.initialize(net::MAC | net::MRG_RXBUF, Interrupts::Msix);
            begins(d, 32, 256);
            for _ in 0..40 {
                asks(d);
                let (header, _) = next(d);
                assert!(header.num_buffers <= 2, "too large a packet");
            }
        },
        Stops "too large a packet", copes with has_room;
    a_receive_queue_is_never_empty: DRY_RECEIVE_QUEUES on Net, |d| receives(d, false),
        Breaks "notify.at-avail-event", copes with |d| receives(d, true);
    a_packet_of_many_fragments_fits: SMALL_NET_QUEUES on Net,
        |d| {
            d.negotiate(net::MAC);
            let room = |d: &Driver<'_>| d.select_queue(1) >= 19;
            assert!(room(d), "no room for a packet");
            crate::conforming::works(d);
        },
        Stops "no room for a packet";
    checksums_are_always_partial: CHECKSUM_STATES on Net,
        |d| {
            talks_tcp(d, |header, _| {
                assert_eq!(header.flags, flags::NEEDS_CSUM, "a complete checksum");
            });
        },
        Stops "a complete checksum", copes with |d| talks_tcp(d, |header, packet| {
            let mut packet = packet.to_vec();
            if header.flags & flags::NEEDS_CSUM != 0 {
                assert!(offload::complete_checksum(&mut packet, &header));
            }
            assert!(has_right_tcp_checksum(&packet));
        });
}

const ANNOUNCING: u64 = net::MAC | net::STATUS | net::CTRL_VQ | net::GUEST_ANNOUNCE;

/// Where the type of an Ethernet frame is.
const ETHERTYPE: usize = 12;

/// The bits of status.
const UP: u64 = net_status::LINK_UP as u64;
const ANNOUNCE: u64 = net_status::ANNOUNCE as u64;

fn status(d: &Driver<'_>) -> u64 {
    d.consistently(|d| d.read(Structure::Device, config::STATUS, 2))
}

/// Goes on sending for longer than it takes a driver to hear of something.
fn sends_much(d: &mut Driver<'_>) {
    let mac = d.mac();
    sends(d, &arp_request(&mac));
}

/// Acknowledges, and goes on sending to whom it has sent before.
fn never_announces(d: &mut Driver<'_>) {
    d.initialize(ANNOUNCING, Interrupts::Msix);
    assert_eq!(status(d) & UP, UP);
    assert_eq!(d.command(class::ANNOUNCE, announce::ACK, &[]), ack::OK);
    let mut packet = arp_request(&d.mac());
    packet[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    sends(d, &packet);
}

/// Sends a packet in each of many seconds.
fn sends(d: &mut Driver<'_>, packet: &[u8]) {
    for _ in 0..30 {
        d.transmit(1, &NetHeader::default(), packet);
        d.rig.tick(1);
    }
}

/// Announces itself and says that it has.
fn acknowledges(d: &mut Driver<'_>) {
    d.initialize(ANNOUNCING, Interrupts::Msix);
    assert_eq!(status(d), UP | ANNOUNCE);
    let mac = d.mac();
    d.transmit(1, &Default::default(), &arp_request(&mac));
    assert_eq!(d.command(class::ANNOUNCE, announce::ACK, &[]), ack::OK);
    let mut again = 0;
    for _ in 0..400 {
        d.transmit(1, &Default::default(), &arp_request(&mac));
        if status(d) & ANNOUNCE != 0 {
            again += 1;
            assert_eq!(d.command(class::ANNOUNCE, announce::ACK, &[]), ack::OK);
            assert_eq!(status(d), UP);
        }
    }
    assert!(again > 0, "once only");
    d.reset();
}

/// Looks at status whenever it can have changed, and sends when the link is up.
fn follows_the_link(d: &mut Driver<'_>) {
    d.initialize(net::MAC | net::STATUS, Interrupts::Msix);
    let mut downs = 0;
    for time in 0..300 {
        d.rig.tick(1);
        if status(d) == 0 {
            downs += 1;
        } else if time % 10 == 0 {
            d.resolve_gateway();
        }
    }
    // It comes up again even if nobody sends.
    d.rig.tick(8);
    while status(d) == 0 {
        d.rig.tick(1);
    }
    d.resolve_gateway();
    assert!(downs > 0);
    d.reset();
}

/// Gives the first receive queue buffers.
fn begins(d: &mut Driver<'_>, count: u16, len: u32) {
    d.give_receive_buffers(0, count, len);
}

/// Asks for the gateway's address.
fn asks(d: &mut Driver<'_>) {
    let mac = d.mac();
    d.transmit(1, &NetHeader::default(), &arp_request(&mac));
}

/// The next packet, put together, and its header. Its buffers are given back.
fn next(d: &mut Driver<'_>) -> (NetHeader, Vec<u8>) {
    let mut rest = std::mem::take(&mut d.pending);
    while rest.is_empty() {
        rest.extend(d.wait_buffers(0));
    }
    let mut bytes = Vec::new();
    let mut header = None;
    let mut left = 1;
    while left > 0 {
        // §5.1.6.4.1: all buffers of a packet are used together.
        let (buffer, len) = rest.pop_front().expect("all of a packet's buffers");
        bytes.extend(d.rig.read_bytes(buffer.addr, len as usize));
        if header.is_none() {
            let first = *bytes.first_chunk().expect("a header in the first buffer");
            let decoded = header::decode(first);
            left = decoded.num_buffers;
            header = Some(decoded);
        }
        left -= 1;
        d.submit(0, &[buffer]);
    }
    d.pending = rest;
    (
        header.expect("there was one"),
        bytes.split_off(HEADER_LEN as usize),
    )
}

fn ethertype(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[ETHERTYPE], packet[ETHERTYPE + 1]])
}

fn is_arp(packet: &[u8]) -> bool {
    ethertype(packet) == ethertype::ARP
}

/// Looks at a packet that nobody asked for: a byte each that is its own number.
fn is_whole(packet: &[u8]) -> bool {
    packet[14..]
        .iter()
        .enumerate()
        .all(|(i, byte)| *byte == i as u8)
}

/// The answer to [`asks`], which is that the gateway has the address; and what came before.
fn answer(d: &mut Driver<'_>) -> Vec<(NetHeader, Vec<u8>)> {
    let mut others = Vec::new();
    loop {
        let (header, packet) = next(d);
        if is_arp(&packet) {
            // An answer, from 10.0.2.2.
            assert_eq!(packet[20..22], [0, 2]);
            assert_eq!(packet[28..32], [10, 0, 2, 2]);
            return others;
        }
        others.push((header, packet));
    }
}

fn merges(d: &mut Driver<'_>) {
    d.initialize(net::MAC | net::MRG_RXBUF, Interrupts::Msix);
    begins(d, 48, 2048);
    for _ in 0..40 {
        asks(d);
        answer(d);
    }
    d.reset();
}

fn passes_over_what_it_did_not_ask_for(d: &mut Driver<'_>) {
    for _ in 0..3 {
        d.initialize(net::MAC, Interrupts::Msix);
        begins(d, 8, 2048);
        asks(d);
        let others = answer(d);
        let unasked = others.iter().filter(|(_, p)| ethertype(p) == 0x88b5);
        let mut count = 0;
        for (_, packet) in unasked {
            assert!(is_whole(packet));
            count += 1;
        }
        assert!(count > 0, "nothing came");
        for _ in 0..4 {
            asks(d);
            answer(d);
        }
        d.pending.clear();
        d.reset();
    }
}

fn has_room(d: &mut Driver<'_>) {
    let offloads = net::GUEST_CSUM | net::GUEST_TSO4;
    for (features, largest) in [(0, 1514), (offloads, 65549)] {
        d.initialize(net::MAC | net::MRG_RXBUF | features, Interrupts::Msix);
        begins(d, 60, 4096);
        let mut found = 0;
        for _ in 0..40 {
            asks(d);
            for (header, packet) in answer(d) {
                if packet.len() != largest {
                    continue;
                }
                found += 1;
                if features == 0 {
                    assert!(is_whole(&packet));
                    continue;
                }
                let mut payload = Vec::new();
                let headers = usize::from(header.hdr_len);
                assert!(offload::segment(&header, &packet, |segment| {
                    assert!(has_right_tcp_checksum(&segment));
                    payload.extend_from_slice(&segment[headers..]);
                }));
                assert!(payload == packet[headers..]);
            }
        }
        assert!(found > 0);
        d.pending.clear();
        d.reset();
    }
}

/// Asks for the gateway's address many times, and gives back the buffers that it gets, of which it notifies
/// the device if that has to be, or never.
fn receives(d: &mut Driver<'_>, notifies: bool) {
    d.initialize(net::MAC | RING_EVENT_IDX, Interrupts::Msix);
    begins(d, 8, 2048);
    for _ in 0..60 {
        asks(d);
        let mut answered = false;
        for _ in 0..40 {
            d.rig.run();
            for (buffer, len) in d.queue(0).take_buffers() {
                let bytes = d.rig.read_bytes(buffer.addr, len as usize);
                answered |= is_arp(&bytes[HEADER_LEN as usize..]);
                let queue = d.queue(0);
                let head = queue.chain(&[buffer]);
                queue.expose(head);
            }
            if notifies && d.queue(0).notification_wanted() {
                d.notify(0);
            }
            if answered {
                break;
            }
            d.rig.tick(1);
        }
        assert!(answered, "no answer");
    }
    d.reset();
}

/// Sends segments that nobody expects, and looks at the answers.
fn talks_tcp(d: &mut Driver<'_>, see: fn(NetHeader, &[u8])) {
    d.initialize(net::MAC | net::CSUM | net::GUEST_CSUM, Interrupts::Msix);
    begins(d, 8, 2048);
    asks(d);
    answer(d);
    let segment = tcp_segment(&d.mac(), 40);
    for _ in 0..6 {
        d.transmit(1, &checksum_header(), &segment);
        loop {
            let (header, packet) = next(d);
            if Headers::parse(&packet).is_some_and(|headers| headers.is_tcp()) {
                see(header, &packet);
                break;
            }
        }
    }
    d.reset();
}
