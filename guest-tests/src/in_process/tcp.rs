//! As much of TCP as it takes to see what a driver makes of segments: a peer that sends some, and again
//! as long as they are not acknowledged; and the driver's side of it.

use std::collections::VecDeque;

use stickler_conformance::event::NetHeader;
use stickler_conformance::features::net as feature;
use stickler_devices::net::{NetBackend, Packet, Received, header, offload};

use super::driver::Driver;
use super::net::{HEADER_LEN, checksum_header, sum};
use super::rings::Buffer;

/// Bytes in each of the peer's segments.
const PAYLOAD: usize = 100;
/// The peer's initial sequence number, close to where they wrap around.
const INITIAL: u32 = 0xffff_ff00;

const DRIVER: ([u8; 4], u16) = ([10, 0, 2, 15], 40_000);
const PEER: ([u8; 4], u16) = ([10, 0, 2, 2], 7);

const SYN: u8 = 2;
const ACK: u8 = 0x10;

/// Where IPv4 and TCP headers and the payload begin.
const IP: usize = 14;
const TCP: usize = IP + 20;
const DATA: usize = TCP + 20;

/// A segment that acknowledges up to `acknowledgement`, with its checksum.
fn segment(
    (from, from_port): ([u8; 4], u16),
    (to, to_port): ([u8; 4], u16),
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0];
    ip[2..4].copy_from_slice(&(20 + len).to_be_bytes());
    ip.extend([from, to].concat());
    let checksum = !sum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let pseudo = [&from[..], &to, &[0, 6], &len.to_be_bytes()].concat();
    let mut packet = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 3], &[8, 0], &ip].concat();
    packet.extend(from_port.to_be_bytes());
    packet.extend(to_port.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend(acknowledgement.to_be_bytes());
    packet.extend([0x50, flags, 4, 0]);
    packet.extend(sum(&pseudo).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    assert!(offload::complete_checksum(&mut packet, &checksum_header()));
    packet
}

fn be32(packet: &[u8], at: usize) -> u32 {
    let bytes = packet.get(at..at + 4).expect("a TCP header");
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

/// What stands behind a card: a peer that sends the segment asked for by each acknowledgement, with a
/// checksum.
#[derive(Default)]
pub struct Peer {
    waiting: VecDeque<Vec<u8>>,
}

impl NetBackend for Peer {
    fn features(&self) -> u64 {
        feature::GUEST_CSUM | feature::GUEST_TSO4
    }

    fn transmit(&mut self, _pair: u16, packet: &Packet<'_>) {
        let asked = packet.to_vec();
        if asked.len() < DATA || asked.get(12..14) != Some(&[8, 0]) {
            return;
        }
        self.waiting.push_back(if asked[TCP + 13] & SYN != 0 {
            let acknowledged = be32(&asked, TCP + 4).wrapping_add(1);
            segment(PEER, DRIVER, INITIAL, acknowledged, SYN | ACK, &[])
        } else {
            let (acknowledged, next) = (be32(&asked, TCP + 4), be32(&asked, TCP + 8));
            segment(PEER, DRIVER, next, acknowledged, ACK, &[0x61; PAYLOAD])
        });
    }

    fn receive(&mut self, _source: u16, frame: &mut [u8]) -> Option<Received> {
        let packet = self.waiting.pop_front()?;
        frame.get_mut(..packet.len())?.copy_from_slice(&packet);
        Some(Received {
            header: NetHeader::default(),
            len: packet.len(),
        })
    }
}

/// Whether a packet has the checksum that belongs to it.
pub fn is_intact(packet: &[u8]) -> bool {
    let pseudo = [
        &packet[26..34],
        &[0, 6],
        &((packet.len() - TCP) as u16).to_be_bytes(),
    ]
    .concat();
    let total = u32::from(sum(&pseudo)) + u32::from(sum(&packet[TCP..]));
    total.is_multiple_of(0xffff)
}

impl Driver<'_> {
    /// Connects to the peer and acknowledges `count` segments, each as soon as one comes that it
    /// `takes`. Needs a live device with [`Peer`] behind it.
    pub fn acknowledge(&mut self, count: u32, takes: fn(&NetHeader, &[u8]) -> bool) {
        let room = Buffer::writable(self.rig.allocate(2048), 2048);
        let mac = self.mac();
        let ask = |d: &mut Self, next: u32, flags: u8| {
            d.submit(0, &[room]);
            let mut packet = segment(DRIVER, PEER, 1, next, flags, &[]);
            packet[6..12].copy_from_slice(&mac);
            d.transmit(1, &NetHeader::default(), &packet);
            let (buffer, len) = d.wait_buffers(0)[0];
            let bytes = d.rig.read_bytes(buffer.addr, len as usize);
            let (head, packet) = bytes.split_at(HEADER_LEN as usize);
            let header = header::decode(head.try_into().expect("a header"));
            (header, packet.to_vec())
        };
        ask(self, 0, SYN);
        let mut next = INITIAL.wrapping_add(1);
        let mut taken = 0;
        for _ in 0..4 * count {
            let (header, packet) = ask(self, next, ACK);
            if takes(&header, &packet) {
                next = next.wrapping_add(PAYLOAD as u32);
                taken += 1;
            }
            if taken == count {
                break;
            }
        }
        assert_eq!(taken, count, "the connection is stuck");
        // The last acknowledgement.
        ask(self, next, ACK);
    }
}
