//! Received packets out of the ordinary (§5.1.6.4 of virtio 1.0), where the device makes use of the
//! latitudes that are about them.
//!
//! They are TCP segments with data: what becomes of such a segment shows in what is acknowledged, and
//! what is lost comes again. The first of a life is one, and then one in some; each comes so a few
//! times at most, and then as it is, so that a driver that does not cope gets on.

use stickler_conformance::device::net::{flags, gso};
use stickler_conformance::event::NetHeader;
use stickler_conformance::features::net as feature;
use stickler_conformance::latitude::Draw;
use stickler_conformance::packet::Headers;
use stickler_conformance::{Latitude, Latitudes};

use super::offload;

/// One in so many segments comes out of the ordinary, …
const ONE_IN: u64 = 8;
/// … so often at most, …
const TIMES: u8 = 2;
/// … as long as it is one of so many last ones.
const REMEMBERED: usize = 16;

/// The latitudes.
const LATITUDES: [Latitude; 4] = [
    Latitude::UNKNOWN_FLAGS,
    Latitude::STRAY_CHECKSUM_FIELDS,
    Latitude::ODD_HDR_LEN,
    Latitude::DAMAGED_PACKETS,
];

/// What is out of the ordinary, and has been.
pub(super) struct Unusual {
    /// Those the device makes use of.
    latitudes: Vec<Latitude>,
    draw: Draw,
    /// None has been so in this life of the device.
    fresh: bool,
    last: [Option<TcpSegment>; REMEMBERED],
    /// Which of these is the oldest.
    oldest: usize,
}

/// A segment that comes, or came, out of the ordinary.
#[derive(Clone, Copy)]
struct TcpSegment {
    /// A hash of what tells it from others.
    hash: u64,
    latitude: Latitude,
    times: u8,
}

/// Where in a packet the payload of a TCP segment is.
struct Payload {
    start: usize,
    end: usize,
}

impl Unusual {
    /// What the device in `slot` does; `None` if nothing is out of the ordinary.
    pub(super) fn new(latitudes: Latitudes, slot: u8) -> Option<Self> {
        let mut used = LATITUDES.to_vec();
        used.retain(|latitude| latitudes.has(*latitude));
        let first = *used.first()?;
        Some(Unusual {
            latitudes: used,
            draw: latitudes.numbers(first, slot),
            fresh: true,
            last: [None; REMEMBERED],
            oldest: 0,
        })
    }

    /// The device is as fresh from reset.
    pub(super) fn reset(&mut self) {
        self.fresh = true;
        self.last = [None; REMEMBERED];
    }

    /// Makes a packet for a driver with these offloads on one out of the ordinary, if it is its turn.
    /// Gives by which latitude.
    pub(super) fn make(
        &mut self,
        header: &mut NetHeader,
        packet: &mut [u8],
        offloads: u64,
    ) -> Option<Latitude> {
        let headers = Headers::parse(packet)?;
        let payload = payload(&headers, packet)?;
        let hash = hash(&headers, packet)?;
        let latitude = match self.last.iter_mut().flatten().find(|s| s.hash == hash) {
            Some(known) if known.times >= TIMES => return None,
            Some(known) => {
                known.times += 1;
                known.latitude
            }
            None => {
                if !std::mem::take(&mut self.fresh) && !self.draw.one_in(ONE_IN) {
                    return None;
                }
                let latitude = self.draw.of(&self.latitudes);
                self.last[self.oldest] = Some(TcpSegment {
                    hash,
                    latitude,
                    times: 1,
                });
                self.oldest = (self.oldest + 1) % REMEMBERED;
                latitude
            }
        };
        let made = match latitude {
            Latitude::UNKNOWN_FLAGS => self.set_flags(header, offloads),
            Latitude::ODD_HDR_LEN => self.lengthen(header, packet, offloads),
            Latitude::STRAY_CHECKSUM_FIELDS => {
                whole(header, packet) && self.point_astray(header, packet)
            }
            _ => whole(header, packet) && self.damage(header, packet, &payload),
        };
        made.then_some(latitude)
    }

    /// §5.1.6.4.1: without VIRTIO_NET_F_GUEST_CSUM flags is 0.
    fn set_flags(&mut self, header: &mut NetHeader, offloads: u64) -> bool {
        if offloads & feature::GUEST_CSUM == 0 {
            return false;
        }
        let undefined = !flags::DEFINED;
        let bits = self.draw.bits() as u8 & undefined;
        header.flags |= if bits == 0 { undefined } else { bits };
        true
    }

    /// §5.1.6.4.1: not less than the headers have, if segmentation was negotiated.
    fn lengthen(&mut self, header: &mut NetHeader, packet: &[u8], offloads: u64) -> bool {
        let Some(headers) = offload::header_len(packet) else {
            return false;
        };
        let segmentation = feature::GUEST_TSO4 | feature::GUEST_TSO6 | feature::GUEST_UFO;
        let len = u16::try_from(packet.len()).unwrap_or(u16::MAX);
        let mut lengths = vec![
            headers.saturating_add(1),
            len,
            len.saturating_add(1),
            u16::MAX,
        ];
        if offloads & segmentation == 0 {
            lengths.push(1);
        }
        header.hdr_len = self.draw.of(&lengths);
        true
    }

    /// Inside the packet, at its end, or beyond.
    fn point_astray(&mut self, header: &mut NetHeader, packet: &[u8]) -> bool {
        let len = packet.len() as u64;
        header.csum_start = self.draw.below(len) as u16;
        header.csum_offset = self.draw.of(&[2, 16, 1000, u16::MAX]);
        true
    }

    /// Flips a bit of the payload: no other sum is the same.
    fn damage(&mut self, header: &mut NetHeader, packet: &mut [u8], payload: &Payload) -> bool {
        let at = self.draw.below((payload.end - payload.start) as u64) as usize;
        let bit = self.draw.below(8);
        let Some(byte) = packet.get_mut(payload.start + at) else {
            return false;
        };
        *byte ^= 1 << bit;
        // Nobody has validated anything.
        header.flags = 0;
        true
    }
}

/// Makes a packet that is not to be segmented one whose checksum is complete and whose header says
/// nothing of it.
fn whole(header: &mut NetHeader, packet: &mut [u8]) -> bool {
    if header.gso_type != gso::NONE {
        return false;
    }
    if header.flags & flags::NEEDS_CSUM != 0 {
        if !offload::complete_checksum(packet, header) {
            return false;
        }
        header.flags = 0;
        header.csum_start = 0;
        header.csum_offset = 0;
    }
    true
}

/// Where the data of a TCP segment is, if it has any.
fn payload(headers: &Headers, packet: &[u8]) -> Option<Payload> {
    let start = headers.tcp_payload(packet)?;
    // What is behind the IP packet is no data.
    let end = (headers.transport + headers.len?).min(packet.len());
    (start < end).then_some(Payload { start, end })
}

/// Tells a TCP segment from others: by its connection, and by where it begins in that.
fn hash(headers: &Headers, packet: &[u8]) -> Option<u64> {
    let (source, destination) = headers.addresses(packet)?;
    let ports_and_sequence = packet.get(headers.transport..headers.transport + 8)?;
    let bytes = source.iter().chain(destination).chain(ports_and_sequence);
    Some(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

#[cfg(test)]
mod tests {
    use stickler_conformance::packet::{PROTOCOL_TCP, PROTOCOL_UDP};

    use super::*;

    const PAYLOAD: usize = 300;
    const HEADERS: usize = 54;
    const ALL: u64 = feature::GUEST_CSUM | feature::GUEST_TSO4;

    /// A partially checksummed segment at this place of a connection, and its header.
    fn segment(sequence: u32) -> (NetHeader, Vec<u8>) {
        let mut packet = vec![0x5a; HEADERS + PAYLOAD];
        packet[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
        packet[16..18].copy_from_slice(&(40 + PAYLOAD as u16).to_be_bytes());
        packet[20..22].copy_from_slice(&[0, 0]);
        packet[23] = PROTOCOL_TCP;
        packet[38..42].copy_from_slice(&sequence.to_be_bytes());
        packet[46] = 0x50;
        let header = offload::make_partial(&mut packet).expect("TCP");
        (header, packet)
    }

    /// What becomes of some segments of one connection, with one latitude.
    fn made(latitude: Latitude, offloads: u64) -> Vec<(NetHeader, Vec<u8>, u32)> {
        let latitudes = Latitudes::default().with(latitude);
        let mut unusual = Unusual::new(latitudes, 3).expect("something to do");
        let mut made = Vec::new();
        for sequence in 0..200 {
            let (mut header, mut packet) = segment(sequence);
            if offloads & feature::GUEST_CSUM == 0 {
                assert!(whole(&mut header, &mut packet));
            }
            let (before, original) = (header, packet.clone());
            match unusual.make(&mut header, &mut packet, offloads) {
                Some(by) => {
                    assert_eq!(by, latitude);
                    made.push((header, packet, sequence));
                }
                None => assert_eq!((header, packet), (before, original)),
            }
        }
        made
    }

    /// The segment with its checksum.
    fn completed(sequence: u32) -> Vec<u8> {
        let (mut header, mut packet) = segment(sequence);
        assert!(whole(&mut header, &mut packet));
        packet
    }

    #[test]
    fn undefined_flags_are_set_beside_the_others_and_with_the_feature_only() {
        let all = made(Latitude::UNKNOWN_FLAGS, ALL);
        assert!(all.len() > 10 && all[0].2 == 0);
        for (header, packet, sequence) in all {
            assert_ne!(header.flags & 0xfc, 0);
            assert_eq!(header.flags & 3, flags::NEEDS_CSUM);
            assert_eq!(packet, segment(sequence).1);
        }
        assert!(made(Latitude::UNKNOWN_FLAGS, 0).is_empty());
    }

    #[test]
    fn stray_fields_come_with_flags_0_and_a_complete_checksum() {
        for offloads in [0, ALL] {
            let all = made(Latitude::STRAY_CHECKSUM_FIELDS, offloads);
            assert!(all.iter().any(|(header, ..)| header.csum_start != 0));
            for (header, packet, sequence) in all {
                assert_eq!(header.flags, 0);
                assert_ne!(header.csum_offset, 0);
                assert_eq!(packet, completed(sequence));
            }
        }
    }

    #[test]
    fn hdr_len_is_no_less_than_the_headers_have_where_packets_may_be_segmented() {
        let lengths = |offloads| {
            let all = made(Latitude::ODD_HDR_LEN, offloads).into_iter();
            all.map(|(header, ..)| header.hdr_len).collect::<Vec<_>>()
        };
        assert!(lengths(ALL).iter().all(|len| usize::from(*len) > HEADERS));
        assert!(lengths(0).contains(&1));
    }

    #[test]
    fn a_damaged_segment_has_the_checksum_of_what_it_was() {
        for (header, packet, sequence) in made(Latitude::DAMAGED_PACKETS, ALL) {
            assert_eq!((header.flags, header.csum_start), (0, 0));
            let original = completed(sequence);
            let other = packet.iter().zip(&original).map(|(a, b)| a ^ b);
            assert_eq!(other.map(u8::count_ones).sum::<u32>(), 1);
            assert_eq!(packet[..HEADERS], original[..HEADERS]);
        }
    }

    #[test]
    fn each_comes_twice_at_most_and_a_reset_begins_anew() {
        let latitudes = Latitudes::default().with(Latitude::DAMAGED_PACKETS);
        let mut unusual = Unusual::new(latitudes, 3).expect("something to do");
        let comes = |unusual: &mut Unusual| {
            let (mut header, mut packet) = segment(7);
            unusual.make(&mut header, &mut packet, ALL).is_some()
        };
        assert_eq!(
            [(); 4].map(|()| comes(&mut unusual)),
            [true, true, false, false]
        );
        unusual.reset();
        assert_eq!([(); 3].map(|()| comes(&mut unusual)), [true, true, false]);
    }

    #[test]
    fn what_is_no_segment_with_data_is_left_alone() {
        let latitudes: Latitudes = LATITUDES.into_iter().collect();
        let mut unusual = Unusual::new(latitudes, 3).expect("something to do");
        let (_, packet) = segment(7);
        let mut udp = packet.clone();
        udp[23] = PROTOCOL_UDP;
        let mut empty = packet.clone();
        empty[17] = 40;
        empty[16] = 0;
        let cut = (0..HEADERS).map(|len| packet[..len].to_vec());
        for mut packet in [udp, empty].into_iter().chain(cut) {
            let mut header = NetHeader::default();
            assert_eq!(unusual.make(&mut header, &mut packet, ALL), None);
        }
        assert!(Unusual::new(Latitudes::default(), 3).is_none());
    }
}
