//! The wire between the driver and the network stack: two bounded queues of packets.

use std::collections::VecDeque;

use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::time::Instant;
use stickler_conformance::device::net::{flags, gso};
use stickler_conformance::event::NetHeader;
use stickler_conformance::packet::{Headers, Transport};
use stickler_devices::net::offload;

/// Packets each queue holds.
const CAPACITY: usize = 256;

/// The longest packet on an Ethernet, and what the stack may make of a TCP packet that is to be
/// segmented.
const MTU: usize = 1514;
const MAX_SEGMENTABLE: usize = 14 + 65535;

/// A packet on its way to the driver.
pub(super) struct Outgoing {
    pub(super) header: NetHeader,
    pub(super) packet: Vec<u8>,
}

/// The two directions.
#[derive(Default)]
pub(super) struct Wire {
    /// From the driver to the stack.
    incoming: VecDeque<Vec<u8>>,
    /// From the stack to the driver.
    outgoing: VecDeque<Outgoing>,
}

impl Wire {
    /// Whether the stack has to take packets before more can come.
    pub(super) fn is_incoming_full(&self) -> bool {
        self.incoming.len() >= CAPACITY
    }

    /// Whether the driver has to take packets before the stack can work on.
    pub(super) fn is_outgoing_full(&self) -> bool {
        self.outgoing.len() >= CAPACITY
    }

    /// A packet from the driver, fully checksummed; dropped if the queue is full.
    pub(super) fn push(&mut self, packet: Vec<u8>) {
        if !self.is_incoming_full() {
            self.incoming.push_back(packet);
        }
    }

    /// The next packet for the driver.
    pub(super) fn pop(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }
}

impl phy::Device for Wire {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, now: Instant) -> Option<(RxToken, TxToken<'_>)> {
        if self.is_outgoing_full() {
            return None;
        }
        let packet = self.incoming.pop_front()?;
        Some((RxToken(packet), self.transmit(now)?))
    }

    fn transmit(&mut self, _now: Instant) -> Option<TxToken<'_>> {
        (!self.is_outgoing_full()).then_some(TxToken {
            outgoing: &mut self.outgoing,
            meta: PacketMeta::default(),
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MTU;
        // TCP packets get their checksum, and are cut, on the way out: by the driver if it can.
        // (smoltcp 0.14 drops what is longer than the MTU over IPv6, segmentation or not.)
        capabilities.checksum.tcp = Checksum::Rx;
        capabilities.segmentation.tcpv4 = MAX_SEGMENTABLE.try_into().ok();
        capabilities
    }
}

/// A packet for the stack.
pub(super) struct RxToken(Vec<u8>);

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

/// Room for a packet from the stack.
pub(super) struct TxToken<'a> {
    outgoing: &'a mut VecDeque<Outgoing>,
    meta: PacketMeta,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        let header = describe(&mut packet, self.meta);
        self.outgoing.push_back(Outgoing { header, packet });
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.meta = meta;
    }
}

/// The header of a packet from the stack. Drivers get to see all a header can say: TCP packets are
/// left to them to checksum and to cut, and UDP packets come as validated.
fn describe(packet: &mut [u8], meta: PacketMeta) -> NetHeader {
    if let Some(mut header) = offload::make_partial(packet) {
        if let Some(size) = meta.segmentation_offload_size {
            header.gso_type = gso::TCPV4;
            header.gso_size = size.get();
        }
        return header;
    }
    let is_udp = Headers::parse(packet)
        .is_some_and(|headers| headers.transport_protocol() == Some(Transport::Udp));
    NetHeader {
        flags: if is_udp { flags::DATA_VALID } else { 0 },
        ..NetHeader::default()
    }
}
