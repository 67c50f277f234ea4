//! As much of TCP as it takes to see what a driver makes of segments: a peer that sends some, and again
//! as long as they are not acknowledged; and the driver's side of it.

use std::collections::VecDeque;

use etherparse::PacketBuilder;
use stickler_conformance::event::NetHeader;
use stickler_conformance::features::net as feature;
use stickler_conformance::packet::TcpSegment;
use stickler_conformance::packet::tcp::{ACK, SYN};
use stickler_devices::net::{NetBackend, Packet, Received, header};
use stickler_mock_driver::Buffer;

use super::driver::Driver;
use super::net::HEADER_LEN;

/// Bytes in each of the peer's segments.
const PAYLOAD: usize = 100;
/// The peer's initial sequence number, close to where they wrap around.
const INITIAL: u32 = 0xffff_ff00;

const DRIVER: ([u8; 4], u16) = ([10, 0, 2, 15], 40_000);
const PEER: ([u8; 4], u16) = ([10, 0, 2, 2], 7);

/// A segment that acknowledges up to `acknowledgement`, with its checksum.
fn segment(
    (from, from_port): ([u8; 4], u16),
    (to, to_port): ([u8; 4], u16),
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut headers = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 3], [0xff; 6])
        .ipv4(from, to, 64)
        .tcp(from_port, to_port, sequence, 1024);
    if flags & SYN != 0 {
        headers = headers.syn();
    }
    if flags & ACK != 0 {
        headers = headers.ack(acknowledgement);
    }
    let mut packet = Vec::new();
    let written = headers.write(&mut packet, payload);
    written.expect("the payload fits into a packet");
    packet
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
        let Some(asked) = TcpSegment::parse(&packet.to_vec()) else {
            return;
        };
        self.waiting.push_back(if asked.flags & SYN != 0 {
            segment(PEER, DRIVER, INITIAL, asked.end(), SYN | ACK, &[])
        } else {
            let next = asked.acknowledgement;
            segment(PEER, DRIVER, next, asked.end(), ACK, &[0x61; PAYLOAD])
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
