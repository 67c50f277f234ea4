//! Packets that a network device is asked to send (§5.1.6.2 of virtio 1.0).
//!
//! A packet without an offload is the common case: it is checked once and counted. The requirements for
//! which it counts depend on the features; the count is added to them at the next reset.

mod offload;
mod pairs;

use super::control::pairs_set;
use crate::advice::advice;
use crate::device::DeviceKind;
use crate::event::{ControlEvent, DataEvent, FeatureEvent, NetEvent, NetHeader, NetTransmit};
use crate::features::net;
use crate::judge::Verdicts;
use crate::packet::ETHERNET_LEN;
use crate::requirement::{Req, requirements};
use crate::rules::Chapter;
use crate::session::Session;
use crate::tally::Tallies;
use pairs::OutOfUse;

requirements! {
    chapter NetTransmit;

    HEADER = "net.tx.header", Driver Must ["5.1.6"], Asserted,
        "A packet to be sent is preceded by the 12 bytes of struct virtio_net_hdr.";
    READABLE = "net.tx.readable", Driver Must ["3.2", "5.1.6"], Asserted,
        "A packet to be sent is in device-readable buffers only.";
    FRAME = "net.tx.frame", Driver Must ["5.1.6.2"], Asserted,
        "The header is followed by a packet: at least the 14 bytes of an Ethernet header.";
    NUM_BUFFERS = "net.tx.num-buffers", Driver Must ["5.1.6.2.1-1"], Asserted,
        "num_buffers of a packet to be sent is 0.",
        readings [
            "if-used": "Without MRG_RXBUF, the field exists only because 1.0 has one header for all packets, and may have any value.",
            "always": "The header has the field, so it is 0.",
        ];
    FLAGS_ZERO = "net.tx.flags.zero-without-csum", Driver Must ["5.1.6.2.1-2"], Asserted,
        "Without VIRTIO_NET_F_CSUM, flags is 0.";
    CHECKSUMMED = "net.tx.checksummed", Driver Should ["5.1.6.2.1-2"], Asserted,
        "Without VIRTIO_NET_F_CSUM, packets are fully checksummed: no TCP or UDP checksum field still has the sum of its pseudo header.";
    DATA_VALID = "net.tx.flags.no-data-valid", Driver MustNot ["5.1.6.2.1-13"], Asserted,
        "VIRTIO_NET_HDR_F_DATA_VALID is not set in a packet to be sent.";
    FLAGS_DEFINED = "net.tx.flags.defined", Driver ShouldNot ["5.1.6.2"], Asserted,
        "Only the defined flags are set.";
    OFFLOAD_CSUM = "net.tx.csum.offload", Driver May ["5.1.6.2.1-7"], Asserted,
        "With VIRTIO_NET_F_CSUM, the driver may leave a checksum to the device.";
    CSUM_INSIDE = "net.tx.csum.inside", Driver Must ["5.1.6.2.1-10"], Asserted,
        "With VIRTIO_NET_HDR_F_NEEDS_CSUM, csum_start and csum_offset refer to two bytes of the packet.";
    CSUM_START = "net.tx.csum.start", Driver Must ["5.1.6.2.1-10"], Asserted,
        "With VIRTIO_NET_HDR_F_NEEDS_CSUM, the checksum from csum_start on, stored at csum_offset, makes the checksum of a TCP or UDP packet right: csum_start is at its header, or at that of an inner packet.";
    CSUM_FIELD = "net.tx.csum.field", Driver Must ["5.1.6.2.1-10"], Asserted,
        "With VIRTIO_NET_HDR_F_NEEDS_CSUM and csum_start at a TCP or UDP header, csum_offset is the offset of the checksum in that header.";
    CSUM_PRECEDING = "net.tx.csum.preceding", Driver Must ["5.1.6.2.1-8"], Asserted,
        "With VIRTIO_NET_HDR_F_NEEDS_CSUM, the checksums before that one are correct: the checksum of the IPv4 header is.";
    CSUM_PSEUDO = "net.tx.csum.pseudo-header", Driver Must ["5.1.6.2.1-9"], Asserted,
        "With VIRTIO_NET_HDR_F_NEEDS_CSUM, the checksum field has the sum of the pseudo header.";
    GSO_NONE = "net.tx.gso.none-without-offloads", Driver Must ["5.1.6.2.1-10"], Asserted,
        "Without HOST_TSO4, HOST_TSO6 and HOST_UFO, gso_type is VIRTIO_NET_HDR_GSO_NONE.";
    GSO_DEFINED = "net.tx.gso.defined", Driver Must ["5.1.6"], Asserted,
        "gso_type is one of the defined types.";
    GSO_TCPV4 = "net.tx.gso.tcpv4", Driver MustNot ["5.1.6.2.1-3"], Asserted,
        "VIRTIO_NET_HDR_GSO_TCPV4 is used only with VIRTIO_NET_F_HOST_TSO4.";
    GSO_TCPV6 = "net.tx.gso.tcpv6", Driver MustNot ["5.1.6.2.1-4"], Asserted,
        "VIRTIO_NET_HDR_GSO_TCPV6 is used only with VIRTIO_NET_F_HOST_TSO6.";
    GSO_UDP = "net.tx.gso.udp", Driver MustNot ["5.1.6.2.1-5"], Asserted,
        "VIRTIO_NET_HDR_GSO_UDP is used only with VIRTIO_NET_F_HOST_UFO.";
    GSO_CSUM = "net.tx.gso.needs-csum", Driver Must ["5.1.6.2.1-11"], Asserted,
        "A packet to be segmented has VIRTIO_NET_HDR_F_NEEDS_CSUM set.";
    GSO_SIZE = "net.tx.gso.size", Driver Must ["5.1.6.2.1-11"], Asserted,
        "A packet to be segmented has the size of its segments in gso_size.";
    GSO_CSUM_START = "net.tx.gso.csum-start", Driver Must ["5.1.6.2.1-10", "5.1.6.2.1-11"], Asserted,
        "csum_start of a packet to be segmented is where its TCP or UDP header begins.";
    HDR_LEN = "net.tx.gso.hdr-len", Driver Should ["5.1.6.2.1-12"], Asserted,
        "hdr_len of a packet to be segmented covers all headers, the transport header included.";
    ECN_BIT = "net.tx.gso.ecn-bit", Driver MustNot ["5.1.6.2"], Asserted,
        "VIRTIO_NET_HDR_GSO_ECN is used only with VIRTIO_NET_F_HOST_ECN.";
    ECN_TCP = "net.tx.gso.ecn-tcp", Driver Must ["5.1.6.2"], Asserted,
        "VIRTIO_NET_HDR_GSO_ECN is set only together with a gso_type of TCP.";
    GSO_PROTOCOL = "net.tx.gso.protocol", Driver Must ["5.1.6.2"], Asserted,
        "A packet to be segmented is of the protocol that gso_type names.";
    ECN_UNNEGOTIATED = "net.tx.gso.ecn-unnegotiated", Driver ShouldNot ["5.1.6.2.1-6"], Asserted,
        "Without VIRTIO_NET_F_HOST_ECN, the driver does not let the device segment TCP packets with the ECN bit.",
        readings [
            "cwr": "The ECN bit is CWR, the one that segmentation must handle specially.",
            "cwr-or-ece": "The ECN bit is either of TCP's two ECN bits, CWR and ECE.",
        ];
    ECN_SET = "net.tx.gso.ecn-set", Driver Must ["5.1.6.2.1-6"], Asserted,
        "With VIRTIO_NET_F_HOST_ECN, a TCP packet with the ECN bit to be segmented has VIRTIO_NET_HDR_GSO_ECN set.",
        readings [
            "cwr": "The ECN bit is CWR, the one that segmentation must handle specially.",
            "cwr-or-ece": "The ECN bit is either of TCP's two ECN bits, CWR and ECE.",
        ];
    FIRST_QUEUE = "net.tx.queue.first-only", Driver Must ["5.1.6.5.5.1-3"], Asserted,
        "Before VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, packets are sent only through transmitq1.";
    BEYOND_PAIRS = "net.tx.queue.within-pairs", Driver MustNot ["5.1.6.5.5.1-4"], Asserted,
        "After VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, packets are sent only through the transmit queues that it enabled.";
}

advice! {
    "net.tx":
        "The header of a packet to be sent uses a feature that was not negotiated, or does not match the packet.";
        "Clear all 12 bytes of the header, then fill in only the offloads that were accepted and that this packet needs.";
    "net.tx.num-buffers":
        "num_buffers has an old value from memory: the driver does not clear the header of a packet without an offload.";
        "Clear the whole header, num_buffers included; it has a meaning only in received packets.";
    "net.tx.gso":
        "The device has to segment a packet, but gso_type, gso_size or hdr_len are missing or do not match the packet.";
        "Set gso_type according to the packet's headers and the accepted features, with VIRTIO_NET_HDR_GSO_ECN only together with a TCP type; set gso_size to the payload of each segment; and set VIRTIO_NET_HDR_F_NEEDS_CSUM.";
    "net.tx.csum":
        "The device is to complete a checksum, but csum_start and csum_offset do not refer to it, or the field does not have the sum of the pseudo header: the packet is sent with a wrong checksum, or other bytes of it are overwritten.";
        "Set csum_start to the offset of the TCP or UDP header from the beginning of the Ethernet header, and csum_offset to 16 for TCP and to 6 for UDP, and store the sum of the pseudo header in the field.";
    "net.tx.queue":
        "Packets are sent through a transmit queue that is not in use.";
        "Send VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET and wait for its answer before using more queues than the first.";
    "net.tx.checksummed":
        "A packet is sent with an incomplete checksum although VIRTIO_NET_F_CSUM was not negotiated: its receiver drops it.";
        "Offer checksum offload to the network stack only if VIRTIO_NET_F_CSUM was accepted.";
}

/// Bytes of an Ethernet header.
const ETHERNET: u64 = ETHERNET_LEN as u64;

const HOST_OFFLOADS: u64 = net::HOST_TSO4 | net::HOST_TSO6 | net::HOST_UFO;

/// The state of this chapter's rules.
pub(crate) struct NetTransmitRules {
    /// Features negotiated.
    features: u64,
    /// Packets without an offload that broke no rule since the last reset.
    plain: u64,
    queues: OutOfUse,
}

impl NetTransmitRules {
    /// Judges a packet to be sent.
    #[inline(always)]
    fn transmit(&mut self, packet: &NetTransmit<'_>, session: &Session, verdicts: &mut Verdicts) {
        if let Some(header) = &packet.header {
            let ok = (header.flags | header.gso_type == 0)
                & (packet.writable == 0)
                & (packet.len >= ETHERNET)
                & self.queues.are_in_use(packet.queue)
                & (header.num_buffers == 0);
            if ok {
                self.plain += 1;
                if !packet.bytes.is_empty() && self.features & net::CSUM == 0 {
                    offload::summed(packet, verdicts);
                }
                return;
            }
        }
        self.judge(packet, session, verdicts);
    }

    /// Judges a packet with an offload, or one that breaks a rule, requirement by requirement.
    #[inline(never)]
    fn judge(&mut self, packet: &NetTransmit<'_>, session: &Session, verdicts: &mut Verdicts) {
        let queue = Some(packet.queue);
        verdicts.check(READABLE, packet.writable == 0, queue, || {
            format!("a packet with {} device-writable bytes", packet.writable)
        });
        verdicts.check(HEADER, packet.header.is_some(), queue, || {
            "a packet with less than 12 device-readable bytes".to_owned()
        });
        let Some(header) = packet.header else {
            return;
        };
        verdicts.check(FRAME, packet.len >= ETHERNET, queue, || {
            format!("a packet of {} bytes", packet.len)
        });
        let zero = header.num_buffers == 0;
        let unused = !session.has(net::MRG_RXBUF);
        verdicts.check_by(NUM_BUFFERS, [zero || unused, zero], queue, || {
            format!("a packet with num_buffers {}", header.num_buffers)
        });
        if session.has(net::MQ) && self.queues.are_in_use(packet.queue) {
            verdicts.held(self.queues.rule());
        }
        offload::judge(&header, packet, session, verdicts);
    }

    /// The requirements for which the counts are kept.
    fn spelled_out(&self) -> impl Iterator<Item = (Req, u64)> {
        let lacks = |bits: u64| self.features & bits == 0;
        let plain = [
            (HEADER, true),
            (READABLE, true),
            (FRAME, true),
            (DATA_VALID, true),
            (FLAGS_DEFINED, true),
            (NUM_BUFFERS, true),
            (FLAGS_ZERO, lacks(net::CSUM)),
            (GSO_NONE, lacks(HOST_OFFLOADS)),
            (GSO_TCPV4, lacks(net::HOST_TSO4)),
            (GSO_TCPV6, lacks(net::HOST_TSO6)),
            (GSO_UDP, lacks(net::HOST_UFO)),
            (self.queues.rule(), !lacks(net::MQ)),
        ];
        let packets = self.plain;
        plain
            .into_iter()
            .filter(|(_, stands)| *stands)
            .map(move |(requirement, _)| (requirement, packets))
    }

    /// Adds the counts to the verdicts.
    fn settle(&mut self, verdicts: &mut Verdicts) {
        for (requirement, times) in self.spelled_out() {
            verdicts.held_times(requirement, times);
        }
        self.plain = 0;
    }
}

impl Chapter for NetTransmitRules {
    fn new(_kind: DeviceKind) -> Self {
        NetTransmitRules {
            features: 0,
            plain: 0,
            queues: OutOfUse::new(),
        }
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            ControlEvent::Status(event) => {
                if event.asks_for_reset() {
                    self.settle(verdicts);
                    *self = Chapter::new(session.kind);
                }
            }
            ControlEvent::Feature(FeatureEvent::Decided {
                accepted,
                kept: true,
                ..
            }) => self.features = *accepted,
            ControlEvent::Net(event) => match event {
                NetEvent::Command(command) => {
                    let pairs = pairs_set(command);
                    if pairs.is_some() {
                        // The packets counted until now belong to another requirement.
                        self.settle(verdicts);
                    }
                    self.queues.commanded(pairs, verdicts);
                }
                NetEvent::RingRead(ring) => self.queues.ring_read(ring),
                NetEvent::OutOfUse(packets) => self.queues.judge(packets, session, verdicts),
                NetEvent::Address { .. }
                | NetEvent::ReceiveQueues { .. }
                | NetEvent::Received(_) => {}
            },
            ControlEvent::Feature(_)
            | ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Register(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Config(_)
            | ControlEvent::Queue(_)
            | ControlEvent::Notification(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Console(_) => {}
        }
    }

    #[inline(always)]
    fn data(&mut self, event: &DataEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            DataEvent::NetTransmit(packet) => self.transmit(packet, session, verdicts),
            DataEvent::AvailableRead(_)
            | DataEvent::Exposed(_)
            | DataEvent::Returned { .. }
            | DataEvent::BlockRequest(_) => {}
        }
    }

    fn tally(&self, tallies: &mut Tallies) {
        for (requirement, times) in self.spelled_out() {
            tallies.add_held(requirement, times);
        }
    }
}
