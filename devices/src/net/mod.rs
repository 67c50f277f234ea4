//! The network device (§5.1 of virtio 1.0).
//!
//! * [`header`]: the header of each packet (§5.1.6).
//! * [`transmit`]: packets from the driver (§5.1.6.2).
//! * [`receive`]: packets to the driver (§5.1.6.3, §5.1.6.4).
//! * [`control`]: the control virtqueue (§5.1.6.5), with [`filter`] and [`steering`], which it sets.
//! * [`offload`]: checksums and segmentation in software.
//! * [`backend`]: what stands behind the device.
//! * [`link`]: the cable.
//! * `unusual`: received packets out of the ordinary.
//! * `latitude`: the latitudes that the device makes use of.

#![forbid(unsafe_code)]

pub mod backend;
mod control;
mod filter;
pub mod header;
mod latitude;
mod link;
pub mod offload;
mod receive;
mod steering;
#[cfg(test)]
mod tests;
mod transmit;
mod unusual;

use std::io;
use std::os::fd::RawFd;

use stickler_conformance::device::net::status;
use stickler_conformance::event::{NetEvent, NetRing};
use stickler_conformance::features::{self, net as feature};
use stickler_conformance::{DeviceKind, Latitudes, Witness};

pub use backend::{Discard, Gather, MAX_PACKET, NetBackend, Packet, Received};
pub use filter::Mac;
pub use link::LinkHandle;

use crate::virtio::queue::Queue;
use crate::virtio::{Io, Progress, Signals, VirtioDevice};
use filter::Filter;
use latitude::NetLatitudes;
use receive::Receiver;
use steering::Flows;
use transmit::Peek;
use unusual::Unusual;

/// Queue pairs at most: the transport has 64 queues, and one is the control virtqueue.
pub const MAX_QUEUE_PAIRS: u16 = 31;

/// The size of each virtqueue.
const QUEUE_SIZE: u16 = 256;

/// Packets, or commands, that one call handles.
const BUDGET: usize = 256;

/// Of the packets that ask for nothing, rules see the first ones after a reset: they learn the driver's
/// addresses from them, …
const SHOWN: u32 = 256;
/// … and those after the driver was asked to announce itself.
const SHOWN_ANNOUNCING: u32 = 1 << 24;

/// What the device does itself, whatever is behind it.
const OWN_FEATURES: u64 = feature::MAC
    | feature::MRG_RXBUF
    | feature::STATUS
    | feature::CTRL_VQ
    | feature::CTRL_RX
    | feature::CTRL_RX_EXTRA
    | feature::CTRL_VLAN
    | feature::CTRL_MAC_ADDR
    | feature::GUEST_ANNOUNCE;

/// The offloads for packets to the driver, which it can turn on and off while it runs (§5.1.6.5.6).
const GUEST_OFFLOADS: u64 =
    feature::GUEST_CSUM | feature::GUEST_TSO4 | feature::GUEST_TSO6 | feature::GUEST_ECN;

/// The offloads a backend may offer.
const BACKEND_FEATURES: u64 =
    GUEST_OFFLOADS | feature::CSUM | feature::HOST_TSO4 | feature::HOST_TSO6 | feature::HOST_ECN;

/// A network device.
pub struct Net<B> {
    backend: B,
    link: LinkHandle,
    /// Makes received packets unusual, where a latitude is used.
    unusual: Option<Unusual>,
    latitudes: NetLatitudes,
    /// The address of the card after each reset.
    permanent_mac: Mac,
    offered: u64,
    queue_sizes: Vec<u16>,
    max_pairs: u16,
    config: Config,

    negotiated: u64,
    /// The GUEST_ offloads in force.
    offloads: u64,
    /// Queue pairs in use (§5.1.6.5.5).
    pairs: u16,
    filter: Filter,
    flows: Flows,
    receiver: Receiver,
    peek: Peek,
    /// How many more packets that ask for nothing are shown to rules nevertheless.
    to_show: u32,
    /// A command's data.
    command: Box<[u8]>,
}

/// `struct virtio_net_config` (§5.1.4).
struct Config {
    bytes: [u8; 10],
    /// `max_virtqueue_pairs` exists only if VIRTIO_NET_F_MQ is offered.
    len: usize,
}

impl Config {
    fn new(mac: Mac, status: u16, max_pairs: u16, offered: u64) -> Self {
        let mut config = Config {
            bytes: [0; 10],
            len: if offered & feature::MQ != 0 { 10 } else { 8 },
        };
        config.set_mac(mac);
        config.set_status(status);
        // §5.1.4.1: between 1 and 0x8000.
        let [low, high] = max_pairs.to_le_bytes();
        config.bytes[8] = low;
        config.bytes[9] = high;
        DeviceKind::Net.clear_absent_fields(&mut config.bytes, offered);
        config
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn mac(&self) -> Mac {
        let [a, b, c, d, e, f, ..] = self.bytes;
        [a, b, c, d, e, f]
    }

    fn set_mac(&mut self, mac: Mac) {
        self.bytes[..6].copy_from_slice(&mac);
    }

    fn status(&self) -> u16 {
        u16::from_le_bytes([self.bytes[6], self.bytes[7]])
    }

    fn set_status(&mut self, status: u16) {
        self.bytes[6..8].copy_from_slice(&status.to_le_bytes());
    }
}

/// Which virtqueue an index is (§5.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NetQueue {
    /// receiveq of the pair, counted from 0.
    Receive(u16),
    /// transmitq of the pair, counted from 0.
    Transmit(u16),
    Control,
}

impl<B: NetBackend> Net<B> {
    /// A network device with this address and what is behind it, and the handle of its link.
    ///
    /// # Errors
    /// If no eventfd can be had.
    pub fn new(backend: B, mac: Mac) -> io::Result<(Self, LinkHandle)> {
        let link = LinkHandle::new()?;
        let max_pairs = backend.queue_pairs().clamp(1, MAX_QUEUE_PAIRS);
        let mut offered = OWN_FEATURES | backend.features() & BACKEND_FEATURES;
        if offered & GUEST_OFFLOADS != 0 {
            offered |= feature::CTRL_GUEST_OFFLOADS;
        }
        if max_pairs > 1 {
            offered |= feature::MQ;
        }
        // §2.2.2: nothing is offered without what it requires; what is taken away may be what another
        // feature requires.
        let offered = features::complete(DeviceKind::Net, offered);
        let mut net = Net {
            backend,
            link: link.clone(),
            unusual: None,
            latitudes: NetLatitudes::new(Latitudes::default(), 0),
            permanent_mac: mac,
            offered,
            queue_sizes: vec![QUEUE_SIZE; usize::from(2 * max_pairs + 1)],
            max_pairs,
            config: Config::new(mac, 0, max_pairs, offered),
            negotiated: 0,
            offloads: 0,
            pairs: 1,
            filter: Filter::new(mac, 0),
            flows: Flows::new(),
            receiver: Receiver::new(max_pairs),
            peek: Peek::new(),
            to_show: 0,
            command: vec![0; control::MAX_COMMAND].into_boxed_slice(),
        };
        net.restart();
        Ok((net, link))
    }

    /// The backend.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Makes the device one fresh from reset.
    fn restart(&mut self) {
        self.latitudes.reset();
        let status = self.link_status();
        // Every field is named, so that a new one is not forgotten.
        let Net {
            backend: _,
            link: _,
            latitudes: _,
            unusual,
            permanent_mac,
            offered,
            queue_sizes: _,
            max_pairs,
            config,
            // Follow from the features, below.
            negotiated: _,
            offloads: _,
            filter: _,
            pairs,
            flows,
            receiver,
            // Their contents do not outlive a call.
            peek: _,
            command: _,
            to_show,
        } = self;
        *config = Config::new(*permanent_mac, status, *max_pairs, *offered);
        // §5.1.6.5.5: multiqueue is disabled by default.
        *pairs = 1;
        flows.clear();
        receiver.clear();
        *to_show = SHOWN;
        if let Some(unusual) = unusual {
            unusual.reset();
            // Packets that are acknowledged have to be seen.
            *to_show = u32::MAX;
        }
        self.set_features(0);
    }

    fn set_features(&mut self, features: u64) {
        self.negotiated = features;
        // §5.1.6.5.2.1: the filtering table is empty on reset.
        self.filter = Filter::new(self.permanent_mac, features);
        // §5.1.6.5.6: upon negotiation each offload is on.
        self.set_offloads(features & GUEST_OFFLOADS);
    }

    fn set_offloads(&mut self, offloads: u64) {
        // A packet to be segmented is one to be checksummed, too.
        self.offloads = if offloads & feature::GUEST_CSUM == 0 {
            0
        } else {
            offloads
        };
        // Those it knows nothing of are the device's own.
        let known = self.offloads & self.backend.features();
        self.backend.set_offloads(known);
    }

    fn has(&self, features: u64) -> bool {
        self.negotiated & features == features
    }

    /// Which virtqueue `index` is. §5.1.2: receive and transmit queues take turns, the control
    /// virtqueue comes behind the last pair. (The text numbers the pairs from 1 and yet says 2N for
    /// receiveqN; every driver has receiveq1 at 0.)
    fn role(&self, index: u16) -> Option<NetQueue> {
        let pairs = if self.has(feature::MQ) {
            self.max_pairs
        } else {
            1
        };
        if index == 2 * pairs {
            self.has(feature::CTRL_VQ).then_some(NetQueue::Control)
        } else if index > 2 * pairs {
            None
        } else if index.is_multiple_of(2) {
            Some(NetQueue::Receive(index / 2))
        } else {
            Some(NetQueue::Transmit(index / 2))
        }
    }

    /// VIRTIO_NET_S_LINK_UP as the link is.
    fn link_status(&self) -> u16 {
        if self.link.is_up() && self.latitudes.link_up() {
            status::LINK_UP
        } else {
            0
        }
    }

    /// The host has done something to the link.
    fn link_changed(&mut self, signals: &mut Signals) {
        let announce = self.link.take_announce();
        self.update_status(announce, signals);
    }

    /// Brings status up to date with the link; `announce` asks the driver to announce itself.
    fn update_status(&mut self, announce: bool, signals: &mut Signals) {
        if self.offered & feature::STATUS == 0 {
            return;
        }
        let old = self.config.status();
        let mut status = old & !status::LINK_UP | self.link_status();
        // §5.1.6.5.4: a driver can be asked to announce itself if it knows how to, and how to be
        // asked.
        if announce && self.has(feature::GUEST_ANNOUNCE | feature::STATUS) {
            status |= status::ANNOUNCE;
            self.to_show = self.to_show.max(SHOWN_ANNOUNCING);
        }
        if status != old {
            self.config.set_status(status);
            signals.config_changed = true;
        }
    }

    /// Tells how far the driver has made buffers available on a queue for packets, if it is enabled.
    fn tell_ring<W: Witness>(&self, index: u16, queue: Option<&Queue>, witness: &mut W) {
        let Some(exposure) = queue.map(Queue::exposure) else {
            return;
        };
        let receives = index.is_multiple_of(2);
        let taken = exposure.taken != 0 || receives && self.receiver.has_had_buffers(index / 2);
        witness.see(
            &NetEvent::RingRead(NetRing {
                queue: index,
                available: exposure.available,
                populated: taken || exposure.waiting() != 0,
            })
            .into(),
        );
    }

    /// Counts a call of the device, and does what is due by that.
    fn run_timers<W: Witness>(&mut self, io: &mut Io<'_, W>) {
        if !self.latitudes.has_timers() || io.queue(0).is_none() {
            return;
        }
        let announce = self.latitudes.announces();
        if self.has(feature::STATUS) && self.latitudes.flaps(io.witness) || announce {
            self.update_status(announce, io.signals);
        }
    }
}

impl<B: NetBackend, W: Witness> VirtioDevice<W> for Net<B> {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Net
    }

    fn set_latitudes(&mut self, latitudes: Latitudes, slot: u8) {
        self.unusual = Unusual::new(latitudes, slot);
        self.latitudes = NetLatitudes::new(latitudes, slot);
        self.offered |= self.latitudes.features();
        self.restart();
    }

    fn features(&self) -> u64 {
        self.offered
    }

    fn offer(&mut self, offered: u64) {
        self.offered &= offered;
        self.restart();
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn config(&self) -> &[u8] {
        self.config.bytes()
    }

    fn accepts(&self, features: u64) -> bool {
        // §2.2.2: a feature without one that it requires (§5.1.3.1) makes the set no valid subset.
        features::unmet(DeviceKind::Net, features) == 0
    }

    fn negotiated(&mut self, features: u64) {
        self.set_features(features);
    }

    fn small_queue_sizes(&self) -> &[u16] {
        // Smaller ones hold too few packets.
        &[32, 64]
    }

    fn may_reorder(&self, queue: u16) -> bool {
        // Packets come in the order of the receive queue, and a packet in several buffers at once.
        queue % 2 == 1
    }

    fn waits_for_host(&self, queue: u16) -> bool {
        matches!(self.role(queue), Some(NetQueue::Receive(_)))
    }

    fn takes_commands(&self, queue: u16) -> bool {
        self.role(queue) == Some(NetQueue::Control)
    }

    fn may_write_beyond_len(&self, queue: u16) -> bool {
        queue == 0
    }

    fn activate(&mut self, io: &mut Io<'_, W>) {
        if W::JUDGING {
            self.tell_ring(0, io.queues.first().and_then(Option::as_ref), io.witness);
        }
        io.witness.see(
            &NetEvent::Address {
                mac: self.config.mac(),
            }
            .into(),
        );
        // Buffers in the receive queues are looked for when there is a packet to put in them.
        let mut receive = 0;
        for pair in 0..self.max_pairs {
            if self.role(2 * pair) == Some(NetQueue::Receive(pair)) {
                receive |= 1_u64.checked_shl((2 * pair).into()).unwrap_or(0);
                if let Some(queue) = io.queue(2 * pair) {
                    queue.want_notifications(false);
                }
            }
        }
        io.witness
            .see(&NetEvent::ReceiveQueues { queues: receive }.into());
        self.latitudes.activate();
        if self.latitudes.announces_at_once() {
            self.update_status(true, io.signals);
        }
    }

    fn reset(&mut self) {
        self.restart();
    }

    fn tick(&mut self, io: &mut Io<'_, W>) {
        self.run_timers(io);
    }

    fn notified(&mut self, queue: u16, io: &mut Io<'_, W>) -> Progress {
        self.run_timers(io);
        self.latitudes.refilled(queue, io.witness);
        match self.role(queue) {
            Some(NetQueue::Transmit(pair)) => {
                self.latitudes.transmits();
                let sent = self.transmit(queue, pair, io);
                // An answer may be there already.
                let received = self.receive(io);
                sent.and(received)
            }
            Some(NetQueue::Receive(_)) => self.receive(io),
            Some(NetQueue::Control) => self.control(queue, io),
            None => Progress::Done,
        }
    }

    fn host_fds(&self) -> Vec<RawFd> {
        let mut fds = vec![self.link.fd()];
        fds.extend(self.backend.host_fds());
        fds
    }

    fn host_ready(&mut self, index: usize, io: &mut Io<'_, W>) -> Progress {
        self.run_timers(io);
        match index.checked_sub(1) {
            None => self.link_changed(io.signals),
            Some(index) => self.backend.host_ready(index),
        }
        self.receive(io)
    }
}

impl Progress {
    /// Done only if both are.
    fn and(self, other: Progress) -> Progress {
        match (self, other) {
            (Progress::Done, Progress::Done) => Progress::Done,
            _ => Progress::More,
        }
    }
}
