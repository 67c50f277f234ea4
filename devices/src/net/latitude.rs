//! The latitudes of the network device (§5.1.4, §5.1.6 of virtio 1.0).

mod packets;

use stickler_conformance::device::net::{flags, gso};
use stickler_conformance::event::{LatitudeEvent, NetHeader, ShownLatitude, Told};
use stickler_conformance::features::net as feature;
use stickler_conformance::latitude::Draw;
use stickler_conformance::packet::{Headers, IpVersion, has_right_tcp_checksum, tcp};
use stickler_conformance::{Latitude, Latitudes, Witness};

use super::offload;
use crate::virtio::call_timer::CallTimer;

/// The virtqueues that there always are (§5.1.2).
const FIRST_RECEIVEQ: u16 = 0;
const FIRST_TRANSMITQ: u16 = 1;

/// The latitudes that the device uses, and what they have come to.
pub(super) struct NetLatitudes {
    flaps: Option<Flaps>,
    announcements: Option<CallTimer>,
    /// Packets of the device's own that are yet to come.
    early: Option<Early>,
    large: Option<Large>,
    flood: Option<Flood>,
    splits: Option<Draw>,
    /// How many packets have had their checksum state chosen.
    checksums: Option<u32>,
    small_segments: Option<SmallSegments>,
}

/// A packet of the device's own.
pub(super) struct OwnPacket {
    pub(super) header: NetHeader,
    /// Its length in bytes.
    pub(super) len: usize,
    /// The latitude of which the driver sees something if it gets the packet as it is.
    pub(super) shows: Option<Latitude>,
}

/// Packets that are to be cut into small segments.
struct SmallSegments {
    latitudes: Latitudes,
    draw: Draw,
}

/// A link that goes down and comes up again.
struct Flaps {
    timer: CallTimer,
    /// It is down for so many calls more.
    down: u64,
}

/// Packets that wait before the driver is there.
struct Early {
    draw: Draw,
    left: u64,
}

/// Large packets, from time to time.
struct Large {
    timer: CallTimer,
    due: bool,
}

/// So many packets at once that a receive queue runs out of buffers, from time to time.
struct Flood {
    timer: CallTimer,
    /// How many more come.
    left: u32,
    /// The receive queues that have run out, and have not been notified since, a bit each.
    dry: u64,
}

/// The most packets that come at once: a driver may refill a queue as fast as they come.
const FLOOD: u32 = 4096;

impl NetLatitudes {
    pub(super) fn new(latitudes: Latitudes, slot: u8) -> Self {
        let numbers = |latitude| {
            latitudes
                .has(latitude)
                .then(|| latitudes.numbers(latitude, slot))
        };
        let timer = |latitude, between| CallTimer::new(latitudes, latitude, slot, between);
        NetLatitudes {
            flaps: timer(Latitude::LINK_FLAPS, 16).map(|timer| Flaps { timer, down: 0 }),
            announcements: timer(Latitude::ANNOUNCE, 256),
            early: numbers(Latitude::EARLY_PACKETS).map(|draw| Early { draw, left: 0 }),
            large: timer(Latitude::LARGE_PACKETS, 8).map(|timer| Large { timer, due: false }),
            flood: timer(Latitude::DRY_RECEIVE_QUEUES, 16).map(|timer| Flood {
                timer,
                left: 0,
                dry: 0,
            }),
            splits: numbers(Latitude::SPLIT_PACKETS),
            checksums: latitudes.has(Latitude::CHECKSUM_STATES).then_some(0),
            small_segments: numbers(Latitude::SMALL_GSO_SIZE)
                .map(|draw| SmallSegments { latitudes, draw }),
        }
    }

    /// Features that the device offers whatever is behind it.
    pub(super) fn features(&self) -> u64 {
        match self.checksums {
            Some(_) => feature::GUEST_CSUM,
            None => 0,
        }
    }

    /// Whether anything depends on how often the device is called.
    pub(super) fn has_timers(&self) -> bool {
        self.flaps.is_some() || self.announcements.is_some()
    }

    /// The driver has set DRIVER_OK.
    pub(super) fn activate(&mut self) {
        if let Some(early) = &mut self.early {
            early.left = 1 + early.draw.below(4);
        }
    }

    /// The device is as fresh from reset.
    pub(super) fn reset(&mut self) {
        if let Some(flaps) = &mut self.flaps {
            flaps.down = 0;
        }
        if let Some(early) = &mut self.early {
            early.left = 0;
        }
        if let Some(large) = &mut self.large {
            large.due = false;
        }
        if let Some(flood) = &mut self.flood {
            flood.left = 0;
            flood.dry = 0;
        }
    }

    /// Whether the link is said to be up, as far as this is concerned.
    pub(super) fn link_up(&self) -> bool {
        self.flaps.as_ref().is_none_or(|flaps| flaps.down == 0)
    }

    /// The device has been called. Returns whether the link goes down or up now.
    pub(super) fn flaps<W: Witness>(&mut self, witness: &mut W) -> bool {
        let Some(flaps) = &mut self.flaps else {
            return false;
        };
        let moved = if flaps.down > 0 {
            flaps.down -= 1;
            flaps.down == 0
        } else if flaps.timer.elapses() {
            // Not for long: a driver that knows that the link is down does not call the device.
            flaps.down = 1 + flaps.timer.draw.below(4);
            // Less and less often: a network that never works is of no use.
            flaps.timer.slow_down();
            true
        } else {
            false
        };
        if moved {
            witness.see(&LatitudeEvent::Shown(Latitude::LINK_FLAPS).into());
        }
        moved
    }

    /// The device has been called. Returns whether the driver is to announce itself.
    pub(super) fn announces(&mut self) -> bool {
        self.announcements.as_mut().is_some_and(CallTimer::elapses)
    }

    /// Whether the driver is asked to announce itself as soon as it is live.
    pub(super) fn announces_at_once(&self) -> bool {
        self.announcements.is_some()
    }

    /// The driver sends packets. There may be a large one for it, but no more of them than it sends
    /// itself.
    pub(super) fn transmits(&mut self) {
        if let Some(large) = &mut self.large {
            large.due |= large.timer.elapses();
        }
        if let Some(flood) = &mut self.flood
            && flood.timer.elapses()
        {
            flood.left = FLOOD;
            // A driver that has to take all of them is of no use.
            flood.timer.slow_down();
        }
    }

    /// A receive queue has run out of buffers, and the device has asked to be notified of new ones.
    pub(super) fn ran_dry(&mut self, queue: u16) {
        if let Some(flood) = &mut self.flood
            && flood.left > 0
        {
            flood.left = 0;
            flood.dry |= 1 << (queue % 64);
        }
    }

    /// The device looks at a receive queue of which it was notified.
    pub(super) fn refilled<W: Witness>(&mut self, queue: u16, witness: &mut W) {
        if let Some(flood) = &mut self.flood
            && flood.dry & 1 << (queue % 64) != 0
        {
            flood.dry &= !(1 << (queue % 64));
            witness.see(&LatitudeEvent::Answered(Latitude::DRY_RECEIVE_QUEUES).into());
        }
    }

    /// A packet of the device's own, if there is to be one.
    pub(super) fn packet<W: Witness>(
        &mut self,
        frame: &mut [u8],
        offloads: u64,
        witness: &mut W,
    ) -> Option<OwnPacket> {
        let own = |(header, len)| OwnPacket {
            header,
            len,
            shows: None,
        };
        if let Some(early) = &mut self.early
            && early.left > 0
        {
            early.left -= 1;
            let shown = ShownLatitude {
                latitude: Latitude::EARLY_PACKETS,
                told: Some(Told::Buffer(FIRST_RECEIVEQ)),
                next: Some(FIRST_TRANSMITQ),
            };
            witness.see(&LatitudeEvent::ShownAt(shown).into());
            let len = packets::SHORTEST + early.draw.below(1000) as usize;
            return packets::plain(frame, len).map(own);
        }
        if let Some(flood) = &mut self.flood
            && flood.left > 0
        {
            flood.left -= 1;
            return packets::plain(frame, packets::SHORTEST).map(own);
        }
        let large = self.large.as_mut().filter(|large| large.due)?;
        large.due = false;
        let large = packets::largest(frame, offloads).map(own)?;
        Some(OwnPacket {
            shows: Some(Latitude::LARGE_PACKETS),
            ..large
        })
    }

    /// Into how many buffers a packet goes that takes `needed`, if they may be merged: at most so
    /// many, and the bytes that each gets.
    pub(super) fn split(&mut self, message: usize, needed: u16) -> Option<Split> {
        let draw = self.splits.as_mut()?;
        let buffers = needed.max(1 + draw.below(MOST_BUFFERS) as u16);
        // The header, and with it the beginning of the packet, is in one piece.
        let piece = (message / usize::from(buffers)).max(LEAST_PIECE);
        Some(Split { buffers, piece })
    }

    /// A packet has been spread over more buffers than it needs.
    pub(super) fn was_split<W: Witness>(&self, witness: &mut W) {
        witness.see(&LatitudeEvent::Shown(Latitude::SPLIT_PACKETS).into());
    }

    /// Gives a packet for a driver that has negotiated VIRTIO_NET_F_GUEST_CSUM the state whose turn it
    /// is (§5.1.6.4.1).
    pub(super) fn state_checksum<W: Witness>(
        &mut self,
        header: NetHeader,
        packet: &mut [u8],
        witness: &mut W,
    ) -> NetHeader {
        let Some(turn) = &mut self.checksums else {
            return header;
        };
        // Those to be segmented have a partial checksum always; of others than TCP we know nothing.
        if header.gso_type != gso::NONE
            || !complete(&header, packet)
            || !has_right_tcp_checksum(packet)
        {
            return header;
        }
        *turn = turn.wrapping_add(1);
        let mut stated = NetHeader::default();
        match *turn % 3 {
            0 => {}
            1 => stated.flags = flags::DATA_VALID,
            _ => stated = offload::make_partial(packet).unwrap_or_default(),
        }
        witness.see(&LatitudeEvent::Shown(Latitude::CHECKSUM_STATES).into());
        stated
    }
}

impl NetLatitudes {
    /// The header with which a TCP packet with data, for a driver with these offloads on, is one of small
    /// segments, if it is its turn (§5.1.6.4.1).
    pub(super) fn shrink_segments(
        &mut self,
        header: NetHeader,
        packet: &mut [u8],
        offloads: u64,
    ) -> Option<NetHeader> {
        let SmallSegments { latitudes, draw } = self.small_segments.as_mut()?;
        if !draw.one_in(2) {
            return None;
        }
        let size = latitudes.number(Latitude::SMALL_GSO_SIZE, draw) as u16;
        in_segments(header, packet, offloads, size)
    }
}

/// The header of a TCP packet that is to be cut into segments of `size`, which are at least two.
fn in_segments(
    header: NetHeader,
    packet: &mut [u8],
    offloads: u64,
    size: u16,
) -> Option<NetHeader> {
    let headers = Headers::parse(packet)?;
    let payload = headers.tcp_payload(packet)?;
    let end = headers.transport + headers.len?;
    if end.checked_sub(payload)? <= usize::from(size) || end != packet.len() {
        return None;
    }
    if header.gso_type != gso::NONE {
        return (size < header.gso_size).then_some(NetHeader {
            gso_size: size,
            ..header
        });
    }
    let (needs, gso_type) = match headers.version {
        IpVersion::V4 => (feature::GUEST_TSO4, gso::TCPV4),
        IpVersion::V6 => (feature::GUEST_TSO6, gso::TCPV6),
    };
    // What begins or ends a connection, or speaks of congestion, is in one segment.
    let plain = headers.tcp_flags(packet)? & !(tcp::ACK | tcp::PSH) == 0;
    let partial = header.flags & flags::NEEDS_CSUM != 0;
    if offloads & needs == 0 || !plain || !(partial || has_right_tcp_checksum(packet)) {
        return None;
    }
    Some(NetHeader {
        gso_type,
        gso_size: size,
        ..offload::make_partial(packet)?
    })
}

/// A packet is spread over so many buffers at most, if it needs no more.
const MOST_BUFFERS: u64 = 16;

/// The least that a buffer gets: header and Ethernet header are not torn apart.
const LEAST_PIECE: usize = super::header::LEN + 14;

/// How a packet is spread over buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// Buffers, at most.
    pub(super) buffers: u16,
    /// Bytes in each but the last, if it has room for them.
    pub(super) piece: usize,
}

/// Completes the checksum of a packet, if it is partial.
fn complete(header: &NetHeader, packet: &mut [u8]) -> bool {
    header.flags & flags::NEEDS_CSUM == 0 || offload::complete_checksum(packet, header)
}
