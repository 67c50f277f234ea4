//! How a driver handles received packets (§5.1.6.4.2 of virtio 1.0): judged by its
//! acknowledgements.

use stickler_conformance::DeviceKind::Net;
use stickler_conformance::event::{NetEvent, NetHeader, NetReceived};
use stickler_conformance::features::net;
use stickler_conformance::{Latitude, catalogue};

use crate::play::Play;

const ISS: u32 = 0xffff_ff80;
const LEN: u32 = 100;
const ACK: u8 = 0x10;

/// A segment from the peer (or, if `ours`, to it).
fn segment(ours: bool, sequence: u32, acknowledgement: u32, flags: u8, payload: u32) -> Vec<u8> {
    let mut packet = vec![0; 54 + payload as usize];
    packet[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    packet[14] = 0x45;
    packet[16..18].copy_from_slice(&(40 + payload as u16).to_be_bytes());
    packet[23] = 6;
    let (from, to) = if ours { (15, 2) } else { (2, 15) };
    packet[26..34].copy_from_slice(&[10, 0, 2, from, 10, 0, 2, to]);
    packet[34..38].copy_from_slice(&[0, from, 0, to]);
    packet[38..42].copy_from_slice(&sequence.to_be_bytes());
    packet[42..46].copy_from_slice(&acknowledgement.to_be_bytes());
    packet[46] = 0x50;
    packet[47] = flags;
    packet
}

/// The peer's segments are delivered and acknowledged.
struct Connection {
    play: Play,
}

impl Connection {
    /// After the handshake.
    fn new() -> Self {
        let mut play = Play::new(Net);
        play.boot();
        let mut connection = Connection { play };
        connection.sends(&segment(true, 1, 0, 2, 0));
        connection.hands(&segment(false, ISS.wrapping_sub(1), 2, 0x12, 0), None);
        connection
    }

    fn hands(&mut self, bytes: &[u8], unusual: Option<Latitude>) {
        self.play
            .see(NetEvent::Received(NetReceived { bytes, unusual }));
    }

    fn sends(&mut self, bytes: &[u8]) {
        self.play.send(NetHeader::default(), bytes);
    }

    /// The `n`th segment is delivered, in an unusual form or not.
    fn comes(&mut self, n: u32, unusual: Option<Latitude>) {
        let sequence = ISS.wrapping_add(n * LEN);
        self.hands(&segment(false, sequence, 2, ACK, LEN), unusual);
    }

    /// The driver acknowledges all before the `n`th segment.
    fn acknowledges(&mut self, n: u32) {
        let next = ISS.wrapping_add(n * LEN);
        self.sends(&segment(true, 2, next, ACK, 0));
    }

    fn counts(&self, name: &str) -> (u64, u64) {
        let requirement = catalogue::find(name).expect("in the catalogue");
        let tally = self.play.tallies().get(requirement);
        (tally.held, tally.violated)
    }
}

const UNUSUAL: [(Latitude, &str); 3] = [
    (Latitude::UNKNOWN_FLAGS, "net.rx.flags.unknown"),
    (Latitude::STRAY_CHECKSUM_FIELDS, "net.rx.csum.without-flag"),
    (Latitude::ODD_HDR_LEN, "net.rx.hdr-len.no-reliance"),
];

#[test]
fn a_segment_acknowledged_at_once_was_accepted() {
    for (latitude, name) in UNUSUAL {
        let mut c = Connection::new();
        c.comes(0, None);
        c.comes(1, Some(latitude));
        c.acknowledges(1);
        assert_eq!(c.counts(name), (0, 0));
        c.acknowledges(2);
        assert_eq!(c.counts(name), (1, 0));
        assert_eq!(c.play.messages(), [""; 0]);
    }
    let mut c = Connection::new();
    c.comes(0, Some(Latitude::ODD_HDR_LEN));
    c.acknowledges(1);
    assert_eq!(c.counts("net.rx.hdr-len.hint"), (1, 0));
}

#[test]
fn a_segment_acknowledged_only_when_unchanged_was_not_accepted_before() {
    for (latitude, name) in UNUSUAL {
        let mut c = Connection::new();
        for n in 0..3 {
            assert_eq!(c.counts(name), (0, 0));
            c.comes(n, Some(latitude));
            c.comes(n, Some(latitude));
            c.comes(n, None);
            c.acknowledges(n + 1);
        }
        assert_eq!(c.counts(name), (0, 1));
        assert_eq!(c.play.found(), [name]);
    }
}

#[test]
fn a_guest_that_stalls_occasionally_is_not_accused() {
    let latitude = Some(Latitude::UNKNOWN_FLAGS);
    let mut c = Connection::new();
    for n in 0..30 {
        c.comes(n, latitude);
        if n % 3 != 0 {
            c.comes(n, latitude);
            c.comes(n, None);
        }
        c.acknowledges(n + 1);
    }
    // Once is not often enough.
    for n in 30..40 {
        c.comes(n, latitude);
        c.comes(n, None);
        c.acknowledges(n + 1);
    }
    assert_eq!(c.play.messages(), [""; 0]);
}

#[test]
fn damaged_segments_are_not_acknowledged_before_they_come_intact() {
    let name = "net.rx.csum.no-reliance";
    let damaged = Some(Latitude::DAMAGED_PACKETS);
    let mut c = Connection::new();
    c.comes(0, damaged);
    c.acknowledges(0);
    c.comes(0, damaged);
    c.comes(0, None);
    c.acknowledges(1);
    assert_eq!(c.counts(name), (1, 0));
    // It comes again as part of a longer one.
    c.comes(1, None);
    c.comes(2, damaged);
    let sequence = ISS.wrapping_add(LEN);
    c.hands(&segment(false, sequence, 2, ACK, 3 * LEN), None);
    c.acknowledges(4);
    assert_eq!(c.counts(name), (2, 0));
    assert_eq!(c.play.messages(), [""; 0]);
    c.comes(4, damaged);
    c.acknowledges(5);
    assert_eq!(c.play.found(), [name]);
}

#[test]
fn what_came_before_says_nothing() {
    let damaged = Some(Latitude::DAMAGED_PACKETS);
    // It had come intact.
    let mut c = Connection::new();
    c.comes(0, None);
    c.comes(0, damaged);
    c.acknowledges(1);
    // The connection is another, or over.
    c.comes(1, damaged);
    c.sends(&segment(true, 9, 0, 2, 0));
    c.acknowledges(2);
    c.comes(2, damaged);
    c.acknowledges(3);
    c.hands(&segment(false, 7, 0, 4, 0), None);
    c.comes(3, damaged);
    c.acknowledges(4);
    // The device has been reset.
    c.comes(5, damaged);
    c.play.reset();
    c.play.boot_with(c.play.offered & !net::CSUM & !HOST);
    c.acknowledges(6);
    assert!(!c.play.found().contains(&"net.rx.csum.no-reliance"));
}

const HOST: u64 = net::HOST_TSO4 | net::HOST_TSO6 | net::HOST_UFO | net::HOST_ECN;

#[test]
fn connections_beyond_those_that_are_followed_do_no_harm() {
    let mut c = Connection::new();
    for port in 3..200 {
        let mut packet = segment(false, 0, 0, ACK, LEN);
        packet[35] = port;
        for _ in 0..20 {
            c.hands(&packet, Some(Latitude::DAMAGED_PACKETS));
        }
        let mut answer = segment(true, 0, LEN, ACK, 0);
        answer[37] = port;
        c.sends(&answer);
    }
    // Earlier deliveries are unknown.
    assert_eq!(c.play.messages(), [""; 0]);
    for len in 0..54 {
        c.hands(&segment(false, 0, 0, ACK, 0)[..len], None);
    }
}

/// A driver that accepts a segment only in the usual form.
pub fn misses_once(play: &mut Play, latitude: Latitude) {
    play.boot();
    let mut c = Connection {
        play: std::mem::replace(play, Play::new(Net)),
    };
    c.comes(0, None);
    c.comes(1, Some(latitude));
    c.comes(1, None);
    c.acknowledges(2);
    *play = c.play;
}
