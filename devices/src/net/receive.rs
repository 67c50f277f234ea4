//! Packets to the driver (§5.1.6.3, §5.1.6.4 of virtio 1.0).
//!
//! * `stock`: the buffers that they go into.

mod stock;

use std::collections::VecDeque;

use stickler_conformance::device::net::{flags, gso};
use stickler_conformance::event::{LatitudeEvent, NetEvent, NetHeader, NetReceived};
use stickler_conformance::features::net as feature;
use stickler_conformance::{Latitude, Witness};

use super::backend::{MAX_PACKET, NetBackend, Received};
use super::header;
use super::latitude::OwnPacket;
use super::{BUDGET, Net, offload};
use crate::virtio::queue::Broken;
use crate::virtio::{Io, Progress};
use stock::{Stock, stock_up};

/// What is under way to the driver.
pub(super) struct Receiver {
    /// Room for a header and a packet.
    frame: Box<[u8]>,
    /// The packet in `frame` waits for buffers.
    held: Option<HeldPacket>,
    /// What has been cut from a packet for which there were too few buffers, fully checksummed. It comes
    /// before all other packets.
    segments: VecDeque<Vec<u8>>,
    /// The buffers taken from each receive queue and not used yet.
    stocks: Vec<Stock>,
}

#[derive(Clone, Copy)]
struct HeldPacket {
    /// Bytes of header and packet.
    len: usize,
    /// The queue pair of its flow.
    pair: u16,
    /// What is out of the ordinary about it.
    unusual: Option<Latitude>,
    /// The latitudes of which the driver sees something if it gets the packet whole.
    shows: [Option<Latitude>; 2],
    /// The header by which the device can cut it.
    cut_by: NetHeader,
}

/// What became of a packet.
enum Delivery {
    Delivered,
    /// It can never be delivered.
    Dropped,
    /// Several buffers may be merged, and yet those of a whole queue are too few.
    TooLarge,
    /// There are buffers, but too few.
    Short,
    /// There are no buffers.
    Starved,
    /// The driver's buffers took all that may be done in one call.
    Later,
}

impl Receiver {
    pub(super) fn new(pairs: u16) -> Self {
        Receiver {
            frame: vec![0; header::LEN + MAX_PACKET].into_boxed_slice(),
            held: None,
            segments: VecDeque::new(),
            stocks: (0..pairs).map(|_| Stock::default()).collect(),
        }
    }

    /// Whether a buffer has been taken from the receive queue of `pair` since the device went live.
    pub(super) fn has_had_buffers(&self, pair: u16) -> bool {
        let stock = self.stocks.get(usize::from(pair));
        stock.is_some_and(|stock| stock.populated)
    }

    /// Forgets packets and buffers.
    pub(super) fn clear(&mut self) {
        self.held = None;
        self.segments.clear();
        for stock in &mut self.stocks {
            *stock = Stock::default();
        }
    }

    /// Cuts the held packet into segments, if it is one to be segmented, and holds it no longer.
    ///
    /// A driver may refill a queue when it pleases: Linux's does when more than half of the queue is used. So a
    /// packet that waits until it has more buffers than that may wait for ever, and all others behind it.
    #[cold]
    fn cut(&mut self) -> bool {
        let Some(held) = self.held else {
            return false;
        };
        let packet = self.frame.get(header::LEN..held.len).unwrap_or_default();
        let segments = &mut self.segments;
        let cut = offload::is_gso(&held.cut_by)
            && offload::segment(&held.cut_by, packet, |segment| segments.push_back(segment));
        if cut {
            self.held = None;
        }
        cut
    }
}

impl<B: NetBackend> Net<B> {
    /// Hands the driver the packets that wait for it, as far as there are buffers.
    pub(super) fn receive<W: Witness>(&mut self, io: &mut Io<'_, W>) -> Progress {
        if io.queue(0).is_none() {
            // The device is not live. What has come waits.
            return Progress::Done;
        }
        let progress = self.receive_some(io);
        for pair in 0..self.max_pairs {
            let index = 2 * pair;
            if let Some(queue) = io.queue(index)
                && self.receiver.stocks.len() > usize::from(pair)
                && self.role(index) == Some(super::NetQueue::Receive(pair))
                // §5.1.6.4.1: all buffers of a packet are used together.
                && queue.publish()
            {
                io.signals.used(index);
            }
        }
        progress
    }

    fn receive_some<W: Witness>(&mut self, io: &mut Io<'_, W>) -> Progress {
        let mut budget = BUDGET;
        for source in 0..self.backend.sources() {
            loop {
                if self.receiver.held.is_none()
                    && !self.take_segment(&mut budget)
                    && !self.take(source, &mut budget, io.witness)
                {
                    break;
                }
                match self.deliver(io) {
                    Delivery::Delivered | Delivery::Dropped => self.receiver.held = None,
                    Delivery::TooLarge | Delivery::Short if self.receiver.cut() => {}
                    Delivery::TooLarge => self.receiver.held = None,
                    // The others' queues must not wait for this one.
                    Delivery::Short | Delivery::Starved if self.pairs > 1 => {
                        self.receiver.held = None;
                    }
                    Delivery::Later => return Progress::More,
                    Delivery::Short | Delivery::Starved => return Progress::Done,
                }
                if budget == 0 {
                    return Progress::More;
                }
            }
        }
        if budget == 0 {
            Progress::More
        } else {
            Progress::Done
        }
    }

    /// Gets the next segment of a packet that was cut. Returns whether there is one.
    fn take_segment(&mut self, budget: &mut usize) -> bool {
        if self.receiver.segments.is_empty() || *budget == 0 {
            return false;
        }
        if !self.link.is_up() {
            self.receiver.segments.clear();
        }
        let Some(segment) = self.receiver.segments.pop_front() else {
            return false;
        };
        *budget -= 1;
        let len = header::LEN + segment.len();
        let Some(place) = self.receiver.frame.get_mut(..len) else {
            return false;
        };
        // §5.1.6.4.1: a header that says nothing of a packet that is fully checksummed.
        let (head, room) = place.split_at_mut(header::LEN);
        head.fill(0);
        room.copy_from_slice(&segment);
        self.receiver.held = Some(HeldPacket {
            len,
            pair: self.flows.pair(&segment, self.pairs),
            unusual: None,
            shows: [None; 2],
            cut_by: NetHeader::default(),
        });
        true
    }

    /// Gets the next packet the driver is to have. Returns whether there is one.
    fn take<W: Witness>(&mut self, source: u16, budget: &mut usize, witness: &mut W) -> bool {
        while *budget > 0 {
            *budget -= 1;
            let Some((head, room)) = self.receiver.frame.split_at_mut_checked(header::LEN) else {
                return false;
            };
            let own = self.latitudes.packet(room, self.offloads, witness);
            let large = own.as_ref().and_then(|own| own.shows);
            let next = own.map(|OwnPacket { header, len, .. }| Received { header, len });
            let Some(Received { header, len }) =
                next.or_else(|| self.backend.receive(source, room))
            else {
                // Not used up: there is nothing more.
                *budget += 1;
                return false;
            };
            let Some(packet) = room.get_mut(..len) else {
                continue;
            };
            if !self.link.is_up() || !self.filter.accepts(packet) {
                continue;
            }
            let Some(mut header) = present(&header, packet, self.offloads) else {
                continue;
            };
            let mut cut_by = header;
            let mut small = None;
            if self.offloads & feature::GUEST_CSUM != 0 {
                header = self.latitudes.state_checksum(header, packet, witness);
                let offloads = self.offloads;
                cut_by = header;
                if let Some(shrunk) = (self.latitudes).shrink_segments(header, packet, offloads) {
                    header = shrunk;
                    small = Some(Latitude::SMALL_GSO_SIZE);
                }
            }
            let unusual = match &mut self.unusual {
                Some(unusual) => unusual.make(&mut header, packet, self.offloads),
                None => None,
            };
            let pair = self.flows.pair(packet, self.pairs);
            head.copy_from_slice(&header::encode(&header));
            self.receiver.held = Some(HeldPacket {
                len: header::LEN + len,
                pair,
                unusual,
                shows: [large, small],
                cut_by,
            });
            return true;
        }
        false
    }

    /// Puts the held packet into buffers.
    fn deliver<W: Witness>(&mut self, io: &mut Io<'_, W>) -> Delivery {
        let Some(held) = self.receiver.held else {
            return Delivery::Delivered;
        };
        // §5.1.6.5.5.2: only on receiveq1 before VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, and on none beyond
        // virtqueue_pairs after it.
        let pair = if held.pair < self.pairs { held.pair } else { 0 };
        let index = 2 * pair;
        let mergeable = self.has(feature::MRG_RXBUF);
        let (Some(queue), Some(stock)) = (
            io.queues
                .get_mut(usize::from(index))
                .and_then(Option::as_mut),
            self.receiver.stocks.get_mut(usize::from(pair)),
        ) else {
            return Delivery::Dropped;
        };
        let chains = loop {
            if let Some(chains) = stock.chains_for(held.len as u64, mergeable) {
                break chains;
            }
            if stock.is_full(queue.size(), mergeable) {
                return if mergeable {
                    Delivery::TooLarge
                } else {
                    Delivery::Dropped
                };
            }
            if queue.has_done_its_share() {
                return Delivery::Later;
            }
            match stock_up(stock, queue, io.ram, io.witness) {
                Ok(true) => {}
                Ok(false) if stock.chains.is_empty() => {
                    self.latitudes.ran_dry(index);
                    return Delivery::Starved;
                }
                Ok(false) => return Delivery::Short,
                Err(Broken) => {
                    io.signals.needs_reset = true;
                    return Delivery::Dropped;
                }
            }
        };
        let Some(mut message) = self.receiver.frame.get_mut(..held.len) else {
            return Delivery::Dropped;
        };
        let mut pieces = None;
        if mergeable && let Some(split) = self.latitudes.split(held.len, chains) {
            while stock.chains.len() < usize::from(split.buffers)
                && !stock.is_full(queue.size(), true)
                && !queue.has_done_its_share()
                && matches!(stock_up(stock, queue, io.ram, io.witness), Ok(true))
            {}
            pieces = stock.spread(held.len, split);
        }
        let mut pieces = pieces.unwrap_or_default().into_iter();
        let needed = chains;
        let chains = match pieces.len() {
            0 => chains,
            split => u16::try_from(split).unwrap_or(chains),
        };
        if chains > needed {
            self.latitudes.was_split(io.witness);
        }
        for latitude in held.shows.into_iter().flatten() {
            io.witness.see(&LatitudeEvent::Shown(latitude).into());
        }
        // §5.1.6.3.2, §5.1.6.4.1: how many buffers the packet is spread over; 1 if they are not
        // merged.
        if let Some(num_buffers) = message.get_mut(10..12) {
            num_buffers.copy_from_slice(&chains.to_le_bytes());
        }
        for _ in 0..chains {
            let part = match pieces.next() {
                None => &*message,
                Some(len) => message.get(..len).unwrap_or_default(),
            };
            let Some((id, written)) = stock.fill_first(io.ram, part) else {
                break;
            };
            queue.add_used(id, u32::try_from(written).unwrap_or(u32::MAX), io.witness);
            message = message.get_mut(written..).unwrap_or_default();
        }
        if W::JUDGING && self.unusual.is_some() {
            let whole = self.receiver.frame.get(header::LEN..held.len);
            io.witness.see(
                &NetEvent::Received(NetReceived {
                    bytes: whole.unwrap_or_default(),
                    unusual: held.unusual,
                })
                .into(),
            );
        }
        Delivery::Delivered
    }
}

/// The header under which a packet is handed to a driver that has these offloads on; what it cannot
/// take is done to the packet before. `None` if it cannot be had at all.
fn present(given: &NetHeader, packet: &mut [u8], offloads: u64) -> Option<NetHeader> {
    let mut header = NetHeader::default();
    let needs_csum = given.flags & flags::NEEDS_CSUM != 0;
    if offloads & feature::GUEST_CSUM == 0 {
        // §5.1.6.4.1: flags is 0, and the packet fully checksummed.
        if needs_csum && !offload::complete_checksum(packet, given) {
            return None;
        }
    } else if needs_csum {
        // §5.1.6.4.1: the backend has validated, or made, all up to the checksum.
        header.flags = flags::NEEDS_CSUM;
        header.csum_start = given.csum_start;
        header.csum_offset = given.csum_offset;
    } else {
        header.flags = given.flags & flags::DATA_VALID;
    }
    // §5.1.6.4.1: no gso_type but those the driver takes. A backend segments by itself; here are
    // packets that were under way when an offload was turned off.
    let needs = match given.gso_type & !gso::ECN {
        gso::NONE => return Some(header),
        gso::TCPV4 => feature::GUEST_TSO4,
        gso::TCPV6 => feature::GUEST_TSO6,
        _ => return None,
    };
    let takes_ecn = given.gso_type & gso::ECN == 0 || offloads & feature::GUEST_ECN != 0;
    if offloads & needs == 0 || !takes_ecn {
        return None;
    }
    // §5.1.6.4.1: with NEEDS_CSUM and gso_size.
    if !needs_csum || given.gso_size == 0 {
        return None;
    }
    header.gso_type = given.gso_type;
    header.gso_size = given.gso_size;
    // §5.1.6.4.1: not less than the length of the headers.
    header.hdr_len = offload::header_len(packet)?;
    Some(header)
}
