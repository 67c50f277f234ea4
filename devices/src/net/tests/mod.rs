mod control;
mod pairs;
mod receive;
mod segments;
mod transmit;

use std::collections::VecDeque;

use stickler_conformance::Tallies;
use stickler_conformance::device::net::{flags, gso};
use stickler_conformance::event::NetHeader;
use stickler_conformance::features::net as f;
use stickler_conformance::{DeviceKind, Event, Witness, features};

use super::offload::{self, tests::tcp4};
use super::*;
use crate::testing::{Bench, Buffer, Returned, VecWitness};

const MAC: Mac = [2, 0, 0, 0, 0, 1];
const PEER: Mac = [2, 0, 0, 0, 0, 2];

const RX: u16 = 0;
const TX: u16 = 1;
const CONTROL: u16 = 2;

const OFFLOADS: u64 = BACKEND_FEATURES;
/// Features with which there may be several queue pairs.
const MULTI: u64 = f::MAC | f::CTRL_VQ | f::MQ;
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
    /// Offers `buffers` and notifies; returns what was returned.
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
        flags: flags::NEEDS_CSUM,
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
    assert_eq!(net.role(2), Some(NetQueue::Control));
    assert_eq!(net.role(3), None);
    net.set_features(f::CTRL_VQ | f::MQ);
    assert_eq!(net.role(2), Some(NetQueue::Receive(1)));
    assert_eq!(net.role(5), Some(NetQueue::Transmit(2)));
    assert_eq!(net.role(6), Some(NetQueue::Control));
    net.set_features(0);
    assert_eq!(net.role(2), None);
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
