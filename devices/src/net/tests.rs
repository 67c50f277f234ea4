use std::collections::VecDeque;

use stickler_conformance::event::NetHeader;
use stickler_conformance::features::net as f;
use stickler_conformance::judge::Tallies;
use stickler_conformance::{DeviceKind, Event, Witness, features};

use super::header::{F_DATA_VALID, F_NEEDS_CSUM, GSO_ECN, GSO_TCPV4, GSO_TCPV6};
use super::offload::{self, tests::tcp4};
use super::*;
use crate::testing::{Bench, Buffer, Returned, VecWitness};

const MAC: Mac = [2, 0, 0, 0, 0, 1];
const PEER: Mac = [2, 0, 0, 0, 0, 2];

const RX: u16 = 0;
const TX: u16 = 1;
const CONTROL: u16 = 2;

/// A packet to be fragmented, of a feature that is not offered.
const GSO_UDP: u8 = 3;

const OFFLOADS: u64 = BACKEND_FEATURES;
const LINK: usize = 0;
const BACKEND: usize = 1;

/// Keeps what is sent, and has what it is given.
#[derive(Default)]
struct Fake {
    features: u64,
    pairs: u16,
    offloads: u64,
    sent: Vec<(u16, NetHeader, Vec<u8>)>,
    incoming: VecDeque<(NetHeader, Vec<u8>)>,
}

impl NetBackend for Fake {
    fn features(&self) -> u64 {
        self.features
    }

    fn queue_pairs(&self) -> u16 {
        self.pairs
    }

    fn set_offloads(&mut self, guest: u64) {
        self.offloads = guest;
    }

    fn transmit(&mut self, pair: u16, packet: &Packet<'_>) {
        assert!(packet.len <= MAX_PACKET);
        self.sent.push((pair, packet.header, packet.to_vec()));
    }

    fn receive(&mut self, _source: u16, frame: &mut [u8]) -> Option<Received> {
        let (header, packet) = self.incoming.pop_front()?;
        frame[..packet.len()].copy_from_slice(&packet);
        Some(Received {
            header,
            len: packet.len(),
        })
    }

    fn host_fds(&self) -> Vec<RawFd> {
        vec![-1]
    }
}

fn device(features: u64, pairs: u16) -> (Net<Fake>, LinkHandle) {
    let fake = Fake {
        features,
        pairs,
        ..Fake::default()
    };
    Net::new(fake, MAC).expect("an eventfd")
}

struct Card {
    bench: Bench<Net<Fake>>,
    link: LinkHandle,
}

/// A card with everything offered of which `features` have been negotiated.
fn card(pairs: u16, features: u64) -> Card {
    let (net, link) = device(OFFLOADS, pairs);
    assert_eq!(features & !net.offered, 0, "offered");
    let mut bench = Bench::new(net);
    bench.start(features, 64);
    Card { bench, link }
}

impl Card {
    /// Offers `buffers` and notifies; gives what was returned.
    fn do_queue(&mut self, queue: u16, buffers: &[Buffer<'_>]) -> Vec<Returned> {
        self.bench.offer(queue, buffers);
        self.bench.notify(queue);
        self.bench.collect(queue)
    }

    /// Transmits a packet in one buffer.
    fn send(&mut self, queue: u16, header: &NetHeader, packet: &[u8]) {
        let mut message = header::encode(header).to_vec();
        message.extend(packet);
        let returned = self.do_queue(queue, &[Buffer::Out(&message)]);
        assert_eq!(returned.len(), 1);
        assert_eq!(returned[0].len, 0);
    }

    fn sent(&mut self) -> Vec<(u16, NetHeader, Vec<u8>)> {
        std::mem::take(&mut self.bench.device.backend.sent)
    }

    /// A packet comes in from outside.
    fn arrive(&mut self, header: NetHeader, packet: &[u8]) {
        let incoming = &mut self.bench.device.backend.incoming;
        incoming.push_back((header, packet.to_vec()));
        self.bench.host_ready(BACKEND);
    }

    /// Receives a packet that has just arrived in a large buffer.
    fn receive(&mut self, header: NetHeader, packet: &[u8]) -> Option<(NetHeader, Vec<u8>)> {
        self.bench.offer(RX, &[Buffer::In(70_000)]);
        self.arrive(header, packet);
        let returned = self.bench.collect(RX);
        returned.first().map(|message| split(&message.bytes))
    }

    /// Sends a command in a buffer, gives `ack`.
    fn command(&mut self, queue: u16, bytes: &[u8]) -> u8 {
        let returned = self.do_queue(queue, &[Buffer::Out(bytes), Buffer::In(1)]);
        assert_eq!(returned.len(), 1);
        assert_eq!(returned[0].len, 1);
        returned[0].bytes[0]
    }

    fn config(&self) -> Vec<u8> {
        self.bench.device.config.bytes().to_vec()
    }
}

fn split(message: &[u8]) -> (NetHeader, Vec<u8>) {
    let (header, packet) = message.split_at(header::LEN);
    (
        header::decode(header.try_into().expect("twelve")),
        packet.to_vec(),
    )
}

/// A packet for the card, of `len` bytes that differ.
fn packet(len: usize) -> Vec<u8> {
    let mut packet = MAC.to_vec();
    packet.extend(PEER);
    packet.extend((packet.len()..len).map(|i| i as u8));
    packet
}

fn for_card(mut packet: Vec<u8>) -> Vec<u8> {
    packet[..6].copy_from_slice(&MAC);
    packet
}

fn plain(num_buffers: u16) -> NetHeader {
    NetHeader {
        num_buffers,
        ..NetHeader::default()
    }
}

fn partial(csum_start: u16, csum_offset: u16) -> NetHeader {
    NetHeader {
        flags: F_NEEDS_CSUM,
        csum_start,
        csum_offset,
        ..NetHeader::default()
    }
}

// ---- Features and configuration

#[test]
fn what_is_offered_has_what_it_requires() {
    for features in [0, OFFLOADS, f::HOST_TSO4, f::GUEST_TSO6 | f::GUEST_ECN, !0] {
        let (net, _) = device(features, 2);
        assert_eq!(features::unmet(DeviceKind::Net, net.offered), 0);
        assert_eq!(net.offered & f::GUEST_UFO, 0);
        assert_eq!(net.offered & OWN_FEATURES, OWN_FEATURES);
    }
    let (net, _) = device(f::GUEST_TSO4 | f::GUEST_ECN | f::HOST_ECN, 1);
    assert_eq!(net.offered, OWN_FEATURES | f::CTRL_GUEST_OFFLOADS);
    assert!(!VirtioDevice::<VecWitness>::accepts(&net, f::MQ));
    assert!(VirtioDevice::<VecWitness>::accepts(
        &net,
        f::MQ | f::CTRL_VQ
    ));
}

#[test]
fn the_configuration_is_laid_out_by_what_is_offered() {
    let (net, link) = device(0, 1);
    assert_eq!(net.offered & f::MQ, 0);
    assert_eq!(net.config.bytes(), [2, 0, 0, 0, 0, 1, 1, 0]);
    assert_eq!(VirtioDevice::<VecWitness>::queue_sizes(&net).len(), 3);
    drop(link);
    let (net, _) = device(0, 3);
    assert_ne!(net.offered & f::MQ, 0);
    assert_eq!(net.config.bytes(), [2, 0, 0, 0, 0, 1, 1, 0, 3, 0]);
    assert_eq!(VirtioDevice::<VecWitness>::queue_sizes(&net), [256; 7]);
    let (net, _) = device(0, 1000);
    assert_eq!(VirtioDevice::<VecWitness>::queue_sizes(&net).len(), 63);
}

#[test]
fn the_control_virtqueue_is_behind_the_last_pair_that_was_negotiated() {
    let (mut net, _) = device(0, 3);
    net.set_features(f::CTRL_VQ);
    assert_eq!(net.role(2), Some(Role::Control));
    assert_eq!(net.role(3), None);
    net.set_features(f::CTRL_VQ | f::MQ);
    assert_eq!(net.role(2), Some(Role::Receive(1)));
    assert_eq!(net.role(5), Some(Role::Transmit(2)));
    assert_eq!(net.role(6), Some(Role::Control));
    net.set_features(0);
    assert_eq!(net.role(2), None);
}

// ---- Transmission

#[test]
fn a_packet_is_the_same_however_it_is_framed() {
    let mut card = card(1, f::MAC);
    let packet = packet(64);
    let mut message = header::encode(&NetHeader::default()).to_vec();
    message.extend(&packet);
    for cut in 0..message.len() {
        let (first, second) = message.split_at(cut);
        let returned = card.do_queue(TX, &[Buffer::Out(first), Buffer::Out(second)]);
        assert_eq!(returned[0].len, 0);
    }
    let pieces: Vec<_> = message.chunks(5).map(Buffer::Out).collect();
    card.bench.offer_indirect(TX, &pieces);
    // A device-writable buffer in between is no part of it.
    let (first, second) = message.split_at(7);
    card.bench.offer(
        TX,
        &[Buffer::Out(first), Buffer::In(9), Buffer::Out(second)],
    );
    card.bench.notify(TX);
    let sent = card.sent();
    assert_eq!(sent.len(), message.len() + 2);
    assert!(
        sent.iter()
            .all(|(pair, header, sent)| *pair == 0 && *header == plain(0) && *sent == packet)
    );
    assert!(card.bench.collect(TX).iter().all(|chain| chain.len == 0));
    assert_eq!(card.bench.signals.queues, 1 << TX);
    assert_eq!(
        card.bench.witness.of("NetTransmit").len(),
        message.len() + 2
    );
}

#[test]
fn packets_nobody_can_send_are_dropped_and_returned() {
    let mut card = card(1, f::CSUM | f::HOST_TSO4);
    let gso = NetHeader {
        gso_type: GSO_TCPV4,
        gso_size: 1000,
        ..partial(34, 16)
    };
    let good = tcp4([1; 4], [2; 4], 3, 4, &[0; 3000]);
    card.send(TX, &NetHeader::default(), &[]);
    card.send(TX, &NetHeader::default(), &vec![0; MAX_PACKET + 1]);
    card.send(TX, &partial(50, 9), &packet(60));
    card.send(TX, &partial(u16::MAX, u16::MAX), &packet(60));
    card.send(TX, &NetHeader { gso_size: 0, ..gso }, &good);
    card.send(TX, &NetHeader { flags: 0, ..gso }, &good);
    card.send(
        TX,
        &NetHeader {
            gso_type: GSO_TCPV6,
            ..gso
        },
        &good,
    );
    card.send(TX, &NetHeader { gso_type: 3, ..gso }, &good);
    card.send(
        TX,
        &NetHeader {
            gso_type: 99,
            ..gso
        },
        &good,
    );
    let returned = card.do_queue(TX, &[Buffer::Out(&[0; 11])]);
    assert_eq!(returned[0].len, 0);
    let returned = card.do_queue(TX, &[Buffer::In(100)]);
    assert_eq!(returned[0].len, 0);
    assert_eq!(card.sent(), []);
    let told = card.bench.witness.of("NetTransmit").len();
    assert_eq!(told, 11);
    card.send(TX, &gso, &good);
    card.send(TX, &partial(50, 8), &packet(60));
    card.send(TX, &NetHeader::default(), &vec![0; MAX_PACKET]);
    assert_eq!(card.sent().len(), 3);
}

#[test]
fn headers_are_reduced_to_what_was_negotiated() {
    // Flag bits that are not for the driver are ignored.
    let mut negotiated = card(1, f::CSUM);
    let told = NetHeader {
        flags: 0xff,
        num_buffers: 9,
        hdr_len: 3,
        ..partial(10, 2)
    };
    negotiated.send(TX, &told, &packet(60));
    assert_eq!(negotiated.sent()[0].1, partial(10, 2));
    // Without NEEDS_CSUM its fields are not used.
    negotiated.send(
        TX,
        &NetHeader {
            flags: F_DATA_VALID,
            ..told
        },
        &packet(60),
    );
    assert_eq!(negotiated.sent()[0].1, plain(0));
    // Without CSUM no flag is known.
    let mut minimal = card(1, 0);
    minimal.send(
        TX,
        &NetHeader {
            csum_start: 999,
            ..told
        },
        &packet(60),
    );
    assert_eq!(minimal.sent()[0].1, plain(0));
}

#[test]
fn hdr_len_is_a_hint_and_nothing_more() {
    let mut card = card(1, f::CSUM | f::HOST_TSO4);
    let packet = tcp4([1; 4], [2; 4], 3, 4, &[0; 3000]);
    for (told, handed_on) in [(0, 0), (1, 1), (54, 54), (u16::MAX, packet.len() as u16)] {
        let header = NetHeader {
            gso_type: GSO_TCPV4,
            gso_size: 1000,
            hdr_len: told,
            ..partial(34, 16)
        };
        card.send(TX, &header, &packet);
        let expected = NetHeader {
            hdr_len: handed_on,
            ..header
        };
        assert_eq!(card.sent(), [(0, expected, packet.clone())]);
    }
}

#[test]
fn rules_get_to_see_the_bytes_where_they_matter() {
    let mut card = card(1, f::CSUM);
    // The first ones, whatever they are.
    for _ in 0..super::SHOWN + 1 {
        card.send(TX, &NetHeader::default(), &packet(60));
    }
    card.send(TX, &partial(34, 16), &packet(1000));
    let seen = card.bench.witness.of("NetTransmit");
    let (first, others) = seen.split_at(super::SHOWN as usize);
    for seen in first {
        assert!(seen.contains("bytes: [2, 0, 0, 0, 0, 1,"), "{seen}");
    }
    assert!(others[0].contains("bytes: []"), "{}", others[0]);
    assert!(
        others[1].contains("bytes: [2, 0, 0, 0, 0, 1,"),
        "{}",
        others[1]
    );
    assert!(others[1].contains("len: 1000"), "{}", others[1]);
}

#[test]
fn a_broken_queue_asks_for_a_reset() {
    for queue in [TX, CONTROL] {
        let mut card = card(1, f::CTRL_VQ);
        card.bench.offer_head(queue, 64);
        card.bench.notify(queue);
        assert!(card.bench.signals.needs_reset);
    }
    let mut card = card(1, 0);
    card.bench.offer_head(RX, 64);
    card.arrive(plain(0), &packet(60));
    assert!(card.bench.signals.needs_reset);
}

// ---- Reception

#[test]
fn a_packet_comes_behind_its_header_in_any_framing() {
    let mut card = card(1, f::MAC);
    let packet = packet(100);
    let layouts: [&[Buffer<'_>]; 4] = [
        &[Buffer::In(1526)],
        &[Buffer::In(12), Buffer::In(1514)],
        &[
            Buffer::In(5),
            Buffer::In(0),
            Buffer::In(50),
            Buffer::In(1500),
        ],
        &[Buffer::Out(&[1, 2]), Buffer::In(112)],
    ];
    for layout in layouts {
        card.bench.offer(RX, layout);
        card.arrive(plain(7), &packet);
        let returned = card.bench.collect(RX);
        assert_eq!(returned.len(), 1);
        assert_eq!(returned[0].len, 112);
        assert_eq!(split(&returned[0].bytes), (plain(1), packet.clone()));
    }
    assert_eq!(card.bench.signals.queues, 1 << RX);
    assert_eq!(card.bench.witness.of("NetReceiveBuffer").len(), 4);
}

#[test]
fn packets_wait_for_buffers_in_order() {
    let mut card = card(1, f::MAC);
    card.arrive(plain(0), &packet(60));
    card.arrive(plain(0), &packet(61));
    assert_eq!(card.bench.signals.queues, 0);
    for len in [60, 61] {
        let returned = card.do_queue(RX, &[Buffer::In(1526)]);
        assert_eq!(split(&returned[0].bytes), (plain(1), packet(len)));
    }
    assert_eq!(card.do_queue(RX, &[Buffer::In(1526)]), []);
    card.arrive(plain(0), &packet(62));
    assert_eq!(card.bench.collect(RX).len(), 1);
}

#[test]
fn without_merging_a_buffer_that_is_too_small_waits_for_a_smaller_packet() {
    let mut card = card(1, f::MAC);
    card.bench.offer(RX, &[Buffer::In(100)]);
    card.bench.offer(RX, &[Buffer::In(1526)]);
    card.arrive(plain(0), &packet(500));
    assert_eq!(card.bench.collect(RX), []);
    card.arrive(plain(0), &packet(88));
    card.arrive(plain(0), &packet(500));
    let lens: Vec<u32> = card.bench.collect(RX).iter().map(|r| r.len).collect();
    assert_eq!(lens, [100, 512]);
}

#[test]
fn merged_buffers_are_used_together() {
    let mut card = card(1, f::MAC | f::MRG_RXBUF);
    // Room for 88, 100 and 7 bytes of packet, and one to spare.
    for len in [100, 100, 7] {
        card.bench.offer(RX, &[Buffer::In(len)]);
        card.arrive(plain(0), &[]);
    }
    card.arrive(plain(0), &packet(196));
    assert_eq!(card.bench.collect(RX), [], "one byte short");
    assert_eq!(card.bench.signals.queues, 0);
    card.bench.offer(RX, &[Buffer::In(50)]);
    card.bench.notify(RX);
    let returned = card.bench.collect(RX);
    let lens: Vec<u32> = returned.iter().map(|r| r.len).collect();
    assert_eq!(lens, [100, 100, 7, 1]);
    let message: Vec<u8> = returned.into_iter().flat_map(|r| r.bytes).collect();
    assert_eq!(split(&message), (plain(4), packet(196)));
    // The heads come back in the order in which they were given, all before the next packet's.
    card.bench.offer(RX, &[Buffer::In(1526)]);
    card.arrive(plain(0), &packet(60));
    assert_eq!(
        split(&card.bench.collect(RX)[0].bytes),
        (plain(1), packet(60))
    );
}

/// Looks at the used ring's `idx` in memory whenever a chain is put into the ring.
struct IdxAtUsed {
    ram: crate::memory::GuestRam,
    at: u64,
    seen: Vec<u16>,
}

impl Witness for IdxAtUsed {
    const JUDGING: bool = true;

    fn see(&mut self, event: &Event<'_>) {
        if let Event::Used { .. } = event {
            let mut idx = [0; 2];
            self.ram
                .slice(self.at, 2)
                .expect("in memory")
                .copy_to(&mut idx);
            self.seen.push(u16::from_le_bytes(idx));
        }
    }

    fn tallies(&self) -> Option<Tallies> {
        None
    }
}

#[test]
fn the_buffers_of_a_packet_become_visible_at_once() {
    let mut card = card(1, f::MAC | f::MRG_RXBUF);
    for _ in 0..5 {
        card.bench.offer(RX, &[Buffer::In(50)]);
    }
    let incoming = &mut card.bench.device.backend.incoming;
    incoming.push_back((plain(0), packet(238)));
    let mut witness = IdxAtUsed {
        ram: card.bench.ram.clone(),
        at: card.bench.used_idx_at(RX),
        seen: Vec::new(),
    };
    card.bench.with_witness(&mut witness, |device, io| {
        let _ = device.host_ready(BACKEND, io);
    });
    assert_eq!(witness.seen, [0; 5], "not one before the others");
    assert_eq!(card.bench.collect(RX).len(), 5);
}

#[test]
fn even_the_header_may_be_spread_over_merged_buffers() {
    let mut card = card(1, f::MAC | f::MRG_RXBUF);
    for len in [3, 0, 8, 1, 60] {
        match len {
            0 => card.bench.offer(RX, &[Buffer::Out(&[1])]),
            len => card.bench.offer(RX, &[Buffer::In(len)]),
        };
    }
    card.arrive(plain(0), &packet(60));
    let returned = card.bench.collect(RX);
    let lens: Vec<u32> = returned.iter().map(|r| r.len).collect();
    assert_eq!(lens, [3, 0, 8, 1, 60]);
    let message: Vec<u8> = returned.into_iter().flat_map(|r| r.bytes).collect();
    assert_eq!(split(&message), (plain(5), packet(60)));
}

#[test]
fn a_packet_for_which_the_queue_can_never_have_room_is_dropped() {
    let mut card = card(1, f::MAC | f::MRG_RXBUF);
    for _ in 0..64 {
        card.bench.offer(RX, &[Buffer::In(20)]);
    }
    card.arrive(plain(0), &packet(1514));
    assert_eq!(card.bench.collect(RX), []);
    card.arrive(plain(0), &packet(60));
    assert_eq!(card.bench.collect(RX).len(), 4);
    assert!(!card.bench.signals.needs_reset);
}

#[test]
fn a_reset_forgets_packets_and_buffers() {
    let mut card = card(1, f::MAC | f::MRG_RXBUF);
    card.bench.offer(RX, &[Buffer::In(20)]);
    card.arrive(plain(0), &packet(60));
    card.bench.reset();
    card.bench.start(f::MAC, 64);
    card.bench.offer(RX, &[Buffer::In(1526)]);
    card.arrive(plain(0), &packet(61));
    assert_eq!(
        split(&card.bench.collect(RX)[0].bytes),
        (plain(1), packet(61))
    );
}

// ---- Offloads towards the driver

#[test]
fn checksums_are_completed_for_drivers_that_take_no_partial_ones() {
    let mut frame = for_card(tcp4([1; 4], [2; 4], 3, 4, b"hello"));
    let header = offload::make_partial(&mut frame).expect("TCP");
    let mut completed = frame.clone();
    assert!(offload::complete_checksum(&mut completed, &header));
    assert_ne!(frame, completed);

    let mut card = card(1, f::MAC);
    assert_eq!(card.receive(header, &frame), Some((plain(1), completed)));
    let valid = NetHeader {
        flags: F_DATA_VALID,
        ..NetHeader::default()
    };
    assert_eq!(card.receive(valid, &frame), Some((plain(1), frame.clone())));
    // A place outside the packet cannot be filled.
    assert_eq!(card.receive(partial(70, 0), &packet(60)), None);

    let mut card = self::card(1, f::MAC | f::GUEST_CSUM);
    let (got, bytes) = card.receive(header, &frame).expect("passes");
    assert_eq!(bytes, frame);
    let expected = NetHeader {
        num_buffers: 1,
        ..partial(header.csum_start, header.csum_offset)
    };
    assert_eq!(got, expected);
    let (got, _) = card
        .receive(
            NetHeader {
                flags: 0xfe,
                ..valid
            },
            &frame,
        )
        .expect("passes");
    assert_eq!(
        got,
        NetHeader {
            num_buffers: 1,
            ..valid
        }
    );
}

#[test]
fn packets_to_be_segmented_come_only_to_drivers_that_take_them() {
    let mut frame = for_card(tcp4([1; 4], [2; 4], 3, 4, &[0; 3000]));
    let partial = offload::make_partial(&mut frame).expect("TCP");
    let large = NetHeader {
        gso_type: GSO_TCPV4,
        gso_size: 1000,
        hdr_len: 1,
        ..partial
    };
    let with_ecn = NetHeader {
        gso_type: GSO_TCPV4 | GSO_ECN,
        ..large
    };
    let expected = NetHeader {
        hdr_len: 54,
        num_buffers: 1,
        ..large
    };
    let base = f::MAC | f::CTRL_VQ | f::CTRL_GUEST_OFFLOADS | f::GUEST_CSUM;
    let mut card = card(1, base | f::GUEST_TSO4);
    assert_eq!(
        card.bench.device.backend.offloads,
        f::GUEST_CSUM | f::GUEST_TSO4
    );
    assert_eq!(card.receive(large, &frame), Some((expected, frame.clone())));
    assert_eq!(card.receive(with_ecn, &frame), None);
    for bad in [
        NetHeader {
            gso_type: GSO_TCPV6,
            ..large
        },
        NetHeader {
            gso_type: 3,
            ..large
        },
        NetHeader {
            gso_size: 0,
            ..large
        },
        NetHeader { flags: 0, ..large },
    ] {
        assert_eq!(card.receive(bad, &frame), None);
    }
    // VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET: what was not negotiated is refused.
    let set = |bits: u64| [&[5, 0][..], &bits.to_le_bytes()].concat();
    assert_eq!(card.command(CONTROL, &set(f::GUEST_TSO6)), 1);
    assert_eq!(card.command(CONTROL, &set(f::GUEST_CSUM)), 0);
    assert_eq!(card.bench.device.backend.offloads, f::GUEST_CSUM);
    assert_eq!(card.receive(large, &frame), None);
    assert_eq!(card.command(CONTROL, &set(f::GUEST_TSO4)), 0);
    assert_eq!(card.bench.device.backend.offloads, 0, "needs GUEST_CSUM");
    let both = f::GUEST_CSUM | f::GUEST_TSO4;
    assert_eq!(card.command(CONTROL, &set(both)), 0);
    assert_eq!(card.receive(large, &frame), Some((expected, frame.clone())));

    let mut card = self::card(1, base | f::GUEST_TSO4 | f::GUEST_ECN);
    let (got, _) = card.receive(with_ecn, &frame).expect("takes ECN");
    assert_eq!(got.gso_type, GSO_TCPV4 | GSO_ECN);
}

#[test]
fn each_gso_type_needs_its_feature() {
    let types = [
        (GSO_TCPV4, f::GUEST_TSO4),
        (GSO_TCPV6, f::GUEST_TSO6),
        (GSO_UDP, f::GUEST_UFO),
    ];
    let base = f::MAC | f::GUEST_CSUM;
    for negotiated in [
        0,
        f::GUEST_TSO4,
        f::GUEST_TSO6,
        f::GUEST_TSO4 | f::GUEST_TSO6,
    ] {
        let mut card = card(1, base | negotiated);
        for (gso_type, needs) in types {
            let mut frame = for_card(tcp4([1; 4], [2; 4], 3, 4, &[0; 3000]));
            let header = NetHeader {
                gso_type,
                gso_size: 1000,
                ..offload::make_partial(&mut frame).expect("TCP")
            };
            let received = card.receive(header, &frame).map(|(h, _)| h.gso_type);
            let expected = (negotiated & needs != 0).then_some(gso_type);
            assert_eq!(received, expected, "{negotiated:#x}");
        }
    }
}

// ---- Control

#[test]
fn each_mode_is_set_by_its_command() {
    const MULTICAST: Mac = [3, 0, 0, 0, 0, 1];
    let to = |mac: Mac| {
        let mut packet = packet(60);
        packet[..6].copy_from_slice(&mac);
        packet
    };
    let mut card = card(1, f::MAC | f::CTRL_VQ | f::CTRL_RX | f::CTRL_RX_EXTRA);
    // Ours, another's, a multicast, a broadcast.
    let packets = [to(MAC), to(PEER), to(MULTICAST), to([0xff; 6])];
    let takes = |card: &mut Card| {
        packets
            .each_ref()
            .map(|packet| card.receive(plain(0), packet).is_some())
    };
    let fresh = [true, false, false, true];
    assert_eq!(takes(&mut card), fresh);
    for (command, on) in [
        (0, [true; 4]),
        (1, [true, false, true, true]),
        (2, [true, true, false, true]),
        (3, fresh),
        (4, [false, false, false, true]),
        (5, [true, false, false, false]),
    ] {
        assert_eq!(card.command(CONTROL, &[0, command, 1]), 0);
        assert_eq!(takes(&mut card), on, "{command} on");
        assert_eq!(card.command(CONTROL, &[0, command, 0]), 0);
        assert_eq!(takes(&mut card), fresh, "{command} off");
    }
    // Suppressing multicasts takes effect although all are asked for.
    assert_eq!(card.command(CONTROL, &[0, 1, 1]), 0);
    assert_eq!(card.command(CONTROL, &[0, 3, 1]), 0);
    assert_eq!(takes(&mut card), fresh);
}

#[test]
fn a_reset_empties_the_filtering_table() {
    let features = f::MAC | f::CTRL_VQ | f::CTRL_RX;
    let mut card = card(1, features);
    let mut other = packet(60);
    other[..6].copy_from_slice(&PEER);
    let table = [&[1, 0, 1, 0, 0, 0][..], &PEER, &[0; 4]].concat();
    assert_eq!(card.command(CONTROL, &table), 0);
    assert!(card.receive(plain(0), &other).is_some());
    card.bench.reset();
    card.bench.start(features, 64);
    assert!(card.receive(plain(0), &other).is_none());
}

#[test]
fn commands_are_acknowledged_by_whether_they_were_carried_out() {
    let all = f::MAC
        | f::CTRL_VQ
        | f::CTRL_RX
        | f::CTRL_RX_EXTRA
        | f::CTRL_VLAN
        | f::CTRL_MAC_ADDR
        | f::GUEST_ANNOUNCE
        | f::STATUS
        | f::MQ
        | f::GUEST_CSUM
        | f::CTRL_GUEST_OFFLOADS;
    let table = [&[1, 0, 1, 0, 0, 0][..], &PEER, &[0; 4]].concat();
    // Bytes, what they need, whether they are good.
    let commands: &[(&[u8], u64, bool)] = &[
        (&[], 0, false),
        (&[0], 0, false),
        (&[0, 0], 0, false),
        (&[0, 0, 1], f::CTRL_RX, true),
        (&[0, 0, 0], f::CTRL_RX, true),
        (&[0, 0, 2], 0, false),
        (&[0, 0, 1, 0], 0, false),
        (&[0, 1, 1], f::CTRL_RX, true),
        (&[0, 2, 1], f::CTRL_RX_EXTRA, true),
        (&[0, 3, 1], f::CTRL_RX_EXTRA, true),
        (&[0, 4, 1], f::CTRL_RX_EXTRA, true),
        (&[0, 5, 1], f::CTRL_RX_EXTRA, true),
        (&[0, 6, 1], 0, false),
        (&table, f::CTRL_RX, true),
        (&table[..table.len() - 1], 0, false),
        (&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0], f::CTRL_RX, true),
        (&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, false),
        (&[1, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], 0, false),
        (&[1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], 0, false),
        (&[1, 1, 2, 0, 0, 0, 0, 9], f::CTRL_MAC_ADDR, true),
        (&[1, 1, 2, 0, 0, 0, 0], 0, false),
        (&[1, 2], 0, false),
        (&[2, 0, 5, 0], f::CTRL_VLAN, true),
        (&[2, 1, 5, 0], f::CTRL_VLAN, true),
        (&[2, 0, 0, 0x10], 0, false),
        (&[2, 0, 5], 0, false),
        (&[2, 2, 5, 0], 0, false),
        (&[3, 0], f::GUEST_ANNOUNCE, true),
        (&[3, 1], 0, false),
        (&[4, 0, 2, 0], f::MQ, true),
        (&[4, 0, 1, 0], f::MQ, true),
        (&[4, 0, 0, 0], 0, false),
        (&[4, 0, 3, 0], 0, false),
        (&[4, 1, 2, 0], 0, false),
        (
            &[5, 0, 2, 0, 0, 0, 0, 0, 0, 0],
            f::CTRL_GUEST_OFFLOADS,
            true,
        ),
        (
            &[5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            f::CTRL_GUEST_OFFLOADS,
            true,
        ),
        (&[5, 0, 4, 0, 0, 0, 0, 0, 0, 0], 0, false),
        (&[5, 0, 2], 0, false),
        (&[6, 0], 0, false),
    ];
    for (bytes, feature, good) in commands {
        let mut all_of_it = card(2, all);
        let queue = 4;
        assert_eq!(
            all_of_it.command(queue, bytes),
            u8::from(!good),
            "{bytes:?}"
        );
        assert_eq!(all_of_it.bench.witness.of("NetCommand").len(), 1);
        assert_eq!(all_of_it.bench.signals.queues, 1 << queue);
        // In single bytes, too.
        let mut pieces: Vec<_> = bytes
            .iter()
            .map(|byte| Buffer::Out(std::slice::from_ref(byte)))
            .collect();
        pieces.extend([Buffer::In(0), Buffer::In(3)]);
        let returned = all_of_it.do_queue(queue, &pieces);
        assert_eq!(returned[0].bytes, [u8::from(!good)], "{bytes:?}");
        // Not without the feature.
        if *good {
            let mut without = all & !feature;
            if *feature == f::CTRL_MAC_ADDR {
                without &= !f::CTRL_RX;
            }
            let mut card = card(2, without);
            let queue = if *feature == f::MQ { 2 } else { 4 };
            assert_eq!(card.command(queue, bytes), 1, "{bytes:?}");
        }
    }
}

#[test]
fn a_command_without_room_for_ack_is_carried_out_and_returned() {
    let mut card = card(1, f::CTRL_VQ | f::CTRL_RX);
    let returned = card.do_queue(CONTROL, &[Buffer::Out(&[0, 0, 1])]);
    assert_eq!(returned[0].len, 0);
    assert!(card.bench.device.filter.promiscuous);
    // More data than any command has.
    let long = vec![0; control::MAX_COMMAND + 3];
    assert_eq!(card.command(CONTROL, &long), 1);
}

#[test]
fn the_address_set_is_the_one_filtered_by_and_shown_until_reset() {
    let features = f::MAC | f::CTRL_VQ | f::CTRL_RX | f::CTRL_MAC_ADDR;
    let mut card = card(1, features);
    assert!(card.receive(plain(0), &packet(60)).is_some());
    assert_eq!(card.command(CONTROL, &[1, 1, 2, 0, 0, 0, 0, 9]), 0);
    assert_eq!(card.config()[..6], [2, 0, 0, 0, 0, 9]);
    assert!(card.bench.signals.config_changed);
    assert!(card.receive(plain(0), &packet(60)).is_none());
    let mut other = packet(60);
    other[5] = 9;
    card.arrive(plain(0), &other);
    assert_eq!(card.bench.collect(RX).len(), 1);
    card.bench.reset();
    assert_eq!(card.config()[..6], MAC);
    card.bench.start(features, 64);
    assert!(card.receive(plain(0), &packet(60)).is_some());

    // Without CTRL_MAC_ADDR it is filtered by, and not shown.
    let mut card = self::card(1, features & !f::CTRL_MAC_ADDR);
    assert_eq!(card.command(CONTROL, &[1, 1, 2, 0, 0, 0, 0, 9]), 0);
    assert_eq!(card.config()[..6], MAC);
    assert!(card.receive(plain(0), &packet(60)).is_none());
}

#[test]
fn the_filter_stands_between_the_network_and_the_driver() {
    let mut card = card(1, f::MAC | f::CTRL_VQ | f::CTRL_RX | f::CTRL_VLAN);
    let mut other = packet(60);
    other[..6].copy_from_slice(&PEER);
    assert!(card.receive(plain(0), &other).is_none());
    assert_eq!(card.command(CONTROL, &[0, 0, 1]), 0);
    assert!(card.receive(plain(0), &other).is_some());
    assert_eq!(card.command(CONTROL, &[0, 0, 0]), 0);
    let table = [&[1, 0, 1, 0, 0, 0][..], &PEER, &[0; 4]].concat();
    assert_eq!(card.command(CONTROL, &table), 0);
    assert!(card.receive(plain(0), &other).is_some());
    let mut tagged = packet(60);
    tagged[12..16].copy_from_slice(&[0x81, 0, 0, 5]);
    assert!(card.receive(plain(0), &tagged).is_none());
    assert_eq!(card.command(CONTROL, &[2, 0, 5, 0]), 0);
    assert!(card.receive(plain(0), &tagged).is_some());
}

// ---- The link

#[test]
fn nothing_passes_while_the_link_is_down() {
    let mut card = card(1, f::MAC | f::STATUS);
    card.link.set_up(false);
    card.bench.host_ready(LINK);
    assert_eq!(card.config()[6..8], [0, 0]);
    assert!(std::mem::take(&mut card.bench.signals.config_changed));
    assert!(!card.link.is_up());
    card.send(TX, &plain(0), &packet(60));
    assert_eq!(card.sent(), []);
    assert_eq!(card.receive(plain(0), &packet(60)), None);
    // Nothing changes twice.
    card.link.set_up(false);
    card.bench.host_ready(LINK);
    assert!(!card.bench.signals.config_changed);
    card.link.set_up(true);
    card.bench.host_ready(LINK);
    assert_eq!(card.config()[6..8], [1, 0]);
    assert!(card.bench.signals.config_changed);
    card.send(TX, &plain(0), &packet(60));
    assert_eq!(card.sent().len(), 1);
    // A reset does not plug the cable in.
    card.link.set_up(false);
    card.bench.reset();
    assert_eq!(card.config()[6..8], [0, 0]);
}

#[test]
fn announcing_is_asked_for_until_it_is_acknowledged() {
    let features = f::MAC | f::STATUS | f::CTRL_VQ | f::GUEST_ANNOUNCE;
    let mut card = card(1, features);
    card.link.announce();
    card.bench.host_ready(LINK);
    assert_eq!(card.config()[6..8], [3, 0]);
    assert!(std::mem::take(&mut card.bench.signals.config_changed));
    assert_eq!(card.command(CONTROL, &[3, 0]), 0);
    assert_eq!(card.config()[6..8], [1, 0]);
    assert!(card.bench.signals.config_changed);
    card.link.announce();
    card.bench.host_ready(LINK);
    card.bench.reset();
    assert_eq!(card.config()[6..8], [1, 0]);

    let mut card = self::card(1, features & !f::GUEST_ANNOUNCE);
    card.link.announce();
    card.bench.host_ready(LINK);
    assert_eq!(card.config()[6..8], [1, 0], "the driver does not know how");
}

// ---- Several queue pairs

const MULTI: u64 = f::MAC | f::CTRL_VQ | f::MQ;

fn flow(port: u16) -> (Vec<u8>, Vec<u8>) {
    let there = tcp4([10, 0, 2, 15], [10, 0, 2, 2], port, 7, b"ping");
    let back = for_card(tcp4([10, 0, 2, 2], [10, 0, 2, 15], 7, port, b"pong"));
    (there, back)
}

#[test]
fn flows_are_received_on_the_pair_they_are_transmitted_on() {
    let mut card = card(3, MULTI);
    let control = 6;
    for pair in 0..3 {
        for _ in 0..9 {
            card.bench.offer(2 * pair, &[Buffer::In(1526)]);
        }
    }
    let round = |card: &mut Card, port| {
        let (there, back) = flow(port);
        for pair in 0..3 {
            card.send(2 * pair + 1, &plain(0), &there);
            card.arrive(plain(0), &back);
        }
        [0, 2, 4].map(|queue| card.bench.collect(queue).len())
    };
    // receiveq1 is the only one before VQ_PAIRS_SET.
    assert_eq!(round(&mut card, 4001), [3, 0, 0]);
    assert_eq!(card.command(control, &[4, 0, 3, 0]), 0);
    assert_eq!(round(&mut card, 4002), [1, 1, 1]);
    // None beyond virtqueue_pairs.
    assert_eq!(card.command(control, &[4, 0, 2, 0]), 0);
    assert_eq!(round(&mut card, 4003), [2, 1, 0]);
    assert_eq!(card.command(control, &[4, 0, 1, 0]), 0);
    assert_eq!(round(&mut card, 4004), [3, 0, 0]);
    let pairs: Vec<u16> = card.sent().iter().map(|(pair, ..)| *pair).collect();
    assert_eq!(pairs, [0, 1, 2].repeat(4));
}

#[test]
fn a_pair_without_buffers_does_not_hold_up_the_others() {
    let mut card = card(2, MULTI);
    assert_eq!(card.command(4, &[4, 0, 2, 0]), 0);
    card.bench.offer(0, &[Buffer::In(1526)]);
    let (there, back) = flow(4001);
    card.send(3, &plain(0), &there);
    card.arrive(plain(0), &back);
    card.arrive(plain(0), &packet(60));
    assert_eq!(card.bench.collect(0).len(), 1);
    assert_eq!(card.bench.collect(2).len(), 0);
    // A reset ends multiqueue.
    card.bench.reset();
    assert_eq!(card.bench.device.pairs, 1);
}

// ---- Whatever a driver does

#[test]
fn random_chains_do_no_harm() {
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for features in [MULTI | f::MRG_RXBUF | f::CSUM | f::HOST_TSO4, f::CTRL_VQ, 0] {
        let mut card = card(2, features);
        for step in 0..2000 {
            let queue = random(5) as u16;
            let data: Vec<u8> = (0..random(80)).map(|_| random(7) as u8).collect();
            let writable = random(40) as u32;
            let buffers: &[Buffer<'_>] = match random(4) {
                0 => &[Buffer::Out(&data)],
                1 => &[Buffer::In(writable)],
                2 => &[Buffer::In(writable), Buffer::Out(&data)],
                _ => &[Buffer::Out(&data), Buffer::In(writable)],
            };
            card.bench.offer(queue, buffers);
            card.bench.notify(queue);
            card.arrive(plain(0), &packet(random(200) as usize));
            for queue in 0..5 {
                card.bench.collect(queue);
            }
            if step % 20 == 19 {
                card.bench.reset();
                card.bench.start(features, 64);
            }
        }
        assert!(!card.bench.signals.needs_reset);
    }
}

#[test]
fn discarded_packets_are_looked_at_in_memory() {
    let (net, _) = Net::new(Discard::default(), MAC).expect("an eventfd");
    let mut bench = Bench::new(net);
    bench.start(f::CSUM, 64);
    let message = [0; 76];
    bench.offer(TX, &[Buffer::Out(&message)]);
    bench.offer(
        TX,
        &[Buffer::Out(&message[..12]), Buffer::Out(&message[12..])],
    );
    bench.notify(TX);
    assert_eq!(bench.device.backend.packets, 2);
    assert_eq!(bench.device.backend.bytes, 128);
}
