//! Packets to the driver (§5.1.6.3, §5.1.6.4 of virtio 1.0).

use std::collections::VecDeque;

use stickler_conformance::device::net::{flags, gso};
use stickler_conformance::event::{Element, NetEvent, NetHeader, NetReceived};
use stickler_conformance::features::net as feature;
use stickler_conformance::layout::desc;
use stickler_conformance::{Latitude, Witness};

use super::backend::{MAX_PACKET, NetBackend, Received};
use super::header;
use super::latitude::Split;
use super::{BUDGET, Net, offload};
use crate::memory::GuestRam;
use crate::virtio::queue::{Broken, BufferId, Chain, Queue};
use crate::virtio::{Io, Progress};

/// A packet is spread over at most about so many buffers: fifty times what a driver needs.
const MAX_STOCKED: usize = 4096;

/// What is under way to the driver.
pub(super) struct Receiver {
    /// Room for a header and a packet.
    frame: Box<[u8]>,
    /// The packet in `frame` waits for buffers.
    held: Option<HeldPacket>,
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
}

/// Buffers taken from a receive queue. They are taken before it is known how many a packet needs, and
/// stay here if they are too few.
#[derive(Default)]
struct Stock {
    chains: VecDeque<Stocked>,
    /// The chains' buffers, one chain behind the other.
    buffers: VecDeque<Element>,
    /// Bytes in all of them.
    room: u64,
    /// There has been a buffer since the device came to life.
    populated: bool,
}

struct Stocked {
    id: BufferId,
    /// How many of [`Stock::buffers`] are its.
    buffers: usize,
    /// Bytes in them.
    room: u64,
}

/// What became of a packet.
enum Delivery {
    Delivered,
    /// It can never be delivered.
    Dropped,
    /// There are no buffers for it.
    Starved,
}

impl Receiver {
    pub(super) fn new(pairs: u16) -> Self {
        Receiver {
            frame: vec![0; header::LEN + MAX_PACKET].into_boxed_slice(),
            held: None,
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
        for stock in &mut self.stocks {
            *stock = Stock::default();
        }
    }
}

impl Stock {
    fn put(&mut self, chain: &Chain<'_>) {
        let before = self.buffers.len();
        self.buffers.extend(
            chain
                .buffers
                .iter()
                .filter(|buffer| buffer.flags & desc::WRITE != 0),
        );
        self.chains.push_back(Stocked {
            id: chain.id,
            buffers: self.buffers.len() - before,
            room: chain.writable,
        });
        self.room = self.room.saturating_add(chain.writable);
        self.populated = true;
    }

    /// How many of the chains a message of `len` bytes takes, if it fits.
    fn chains_for(&self, len: u64, mergeable: bool) -> Option<u16> {
        // §5.1.6.3.2: a single one if VIRTIO_NET_F_MRG_RXBUF was not negotiated.
        let limit = if mergeable { usize::from(u16::MAX) } else { 1 };
        let mut room = 0_u64;
        for (index, chain) in self.chains.iter().take(limit).enumerate() {
            room = room.saturating_add(chain.room);
            if room >= len {
                return u16::try_from(index + 1).ok();
            }
        }
        None
    }

    /// Whether no more chains are to be taken: what these cannot hold is not delivered.
    fn is_full(&self, queue_size: u16, mergeable: bool) -> bool {
        if mergeable {
            self.chains.len() >= usize::from(queue_size) || self.buffers.len() >= MAX_STOCKED
        } else {
            !self.chains.is_empty()
        }
    }

    /// How a message of `len` bytes is spread over more chains than it needs: the bytes in each. `None`
    /// if it does not come to an end so.
    fn spread(&self, len: usize, split: Split) -> Option<Vec<usize>> {
        let count = self.chains.len().min(usize::from(split.buffers));
        let mut left = len;
        let mut pieces = Vec::with_capacity(count);
        for (index, chain) in self.chains.iter().take(count).enumerate() {
            let most = if index + 1 == count {
                left
            } else {
                split.piece
            };
            let piece = usize::try_from(chain.room).unwrap_or(usize::MAX).min(most);
            pieces.push(piece.min(left));
            left -= piece.min(left);
            if left == 0 {
                return Some(pieces);
            }
        }
        None
    }

    /// Takes the first chain out after writing to it what fits of `message`; returns its id and how
    /// much that was.
    fn fill_first(&mut self, ram: &GuestRam, message: &[u8]) -> Option<(BufferId, usize)> {
        let chain = self.chains.pop_front()?;
        self.room = self.room.saturating_sub(chain.room);
        let mut written = 0;
        for _ in 0..chain.buffers {
            let Some(buffer) = self.buffers.pop_front() else {
                break;
            };
            let rest = message.get(written..).unwrap_or_default();
            let len = rest.len().min(buffer.len as usize);
            if let (Some(slice), Some(bytes)) = (ram.slice(buffer.addr, len), rest.get(..len)) {
                slice.copy_from(bytes);
                written += len;
            }
        }
        Some((chain.id, written))
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
                if self.receiver.held.is_none() && !self.take(source, &mut budget, io.witness) {
                    break;
                }
                match self.deliver(io) {
                    Delivery::Delivered | Delivery::Dropped => self.receiver.held = None,
                    // The others' queues must not wait for this one.
                    Delivery::Starved if self.pairs > 1 => self.receiver.held = None,
                    Delivery::Starved => return Progress::Done,
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

    /// Gets the next packet the driver is to have. Returns whether there is one.
    fn take<W: Witness>(&mut self, source: u16, budget: &mut usize, witness: &mut W) -> bool {
        while *budget > 0 {
            *budget -= 1;
            let Some((head, room)) = self.receiver.frame.split_at_mut_checked(header::LEN) else {
                return false;
            };
            let own = self.latitudes.packet(room, self.offloads, witness);
            let next = own.map(|(header, len)| Received { header, len });
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
            if self.offloads & feature::GUEST_CSUM != 0 {
                header = self.latitudes.state_checksum(header, packet, witness);
                let offloads = self.offloads;
                header = (self.latitudes).shrink_segments(header, packet, offloads, witness);
            }
            let unusual = match &mut self.unusual {
                Some(unusual) => unusual.make(&mut header, packet, self.offloads),
                None => None,
            };
            let pair = if self.pairs > 1 {
                self.flows.pair(packet, self.pairs)
            } else {
                0
            };
            head.copy_from_slice(&header::encode(&header));
            self.receiver.held = Some(HeldPacket {
                len: header::LEN + len,
                pair,
                unusual,
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
                return Delivery::Dropped;
            }
            match stock_up(stock, queue, io.ram, io.witness) {
                Ok(true) => {}
                Ok(false) => {
                    self.latitudes.ran_dry(index);
                    return Delivery::Starved;
                }
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

/// Takes one more chain from a receive queue; false if there is none.
fn stock_up<W: Witness>(
    stock: &mut Stock,
    queue: &mut Queue,
    ram: &GuestRam,
    witness: &mut W,
) -> Result<bool, Broken> {
    loop {
        if let Some(chain) = queue.pop(ram, witness)? {
            stock.put(&chain);
            queue.want_notifications(false);
            return Ok(true);
        }
        if !queue.want_notifications(true) {
            return Ok(false);
        }
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
