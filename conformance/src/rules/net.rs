//! Packets and receive buffers of the network device (§5.1.6.2, §5.1.6.3).
//!
//! A packet that asks for no offload is the common case and the small one: it is looked at once and
//! counted; what that count stands for depends on the features and is spelled out at the next reset.

mod offload;

use super::Chapter;
use crate::event::{AvailableRead, Event, NetHeader, NetTransmit};
use crate::features::net;
use crate::judge::{Tallies, Verdicts};
use crate::layout::DeviceKind;
use crate::packet::ETHERNET_LEN;
use crate::protocol;
use crate::requirement::Req;
use crate::requirements;
use crate::session::Session;

requirements! {
    after super::ring::END;

    HEADER = "net.tx.header", Driver Must ["5.1.6"], Asserted,
        "A packet to be sent is preceded by the 12 bytes of struct virtio_net_hdr.";
    READABLE = "net.tx.readable", Driver Must ["3.2", "5.1.6"], Asserted,
        "A packet to be sent is given in device-readable buffers only.";
    FRAME = "net.tx.frame", Driver Must ["5.1.6.2"], Asserted,
        "What follows the header is a packet: at least the 14 bytes of an Ethernet header.";
    NUM_BUFFERS = "net.tx.num-buffers", Driver Must ["5.1.6.2.1-1"], Asserted,
        "num_buffers of a packet to be sent is 0.",
        readings [
            "if-used": "Without MRG_RXBUF the field is there only because 1.0 has one header for all, and may hold anything.",
            "always": "The header has the field, so it is 0.",
        ];
    FLAGS_ZERO = "net.tx.flags.zero-without-csum", Driver Must ["5.1.6.2.1-2"], Asserted,
        "Without VIRTIO_NET_F_CSUM, flags is 0.";
    CHECKSUMMED = "net.tx.checksummed", Driver Should ["5.1.6.2.1-2"], Asserted,
        "Without VIRTIO_NET_F_CSUM, packets are fully checksummed: no TCP or UDP checksum is left at the sum of its pseudo header.";
    DATA_VALID = "net.tx.flags.no-data-valid", Driver MustNot ["5.1.6.2.1-13"], Asserted,
        "VIRTIO_NET_HDR_F_DATA_VALID is not set in a packet to be sent.";
    FLAGS_DEFINED = "net.tx.flags.defined", Driver ShouldNot ["5.1.6.2"], Asserted,
        "Only the defined flags are set.";
    OFFLOAD_CSUM = "net.tx.csum.offload", Driver May ["5.1.6.2.1-7"], Asserted,
        "With VIRTIO_NET_F_CSUM, the driver may leave a checksum to the device.";
    CSUM_INSIDE = "net.tx.csum.inside", Driver Must ["5.1.6.2.1-10"], Asserted,
        "With VIRTIO_NET_HDR_F_NEEDS_CSUM, csum_start and csum_offset point at two bytes of the packet.";
    CSUM_FIELD = "net.tx.csum.field", Driver Must ["5.1.6.2.1-10"], Asserted,
        "With VIRTIO_NET_HDR_F_NEEDS_CSUM and csum_start at a TCP or UDP header, csum_offset is where that header has its checksum.";
    CSUM_PRECEDING = "net.tx.csum.preceding", Driver Must ["5.1.6.2.1-8"], Asserted,
        "With VIRTIO_NET_HDR_F_NEEDS_CSUM, the checksums before that one are right: the IPv4 header's is.";
    CSUM_PSEUDO = "net.tx.csum.pseudo-header", Driver Must ["5.1.6.2.1-9"], Asserted,
        "With VIRTIO_NET_HDR_F_NEEDS_CSUM, the checksum field holds the sum of the pseudo header.";
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
    HDR_LEN = "net.tx.gso.hdr-len", Driver Should ["5.1.6.2.1-12"], Asserted,
        "hdr_len of a packet to be segmented covers all headers, the transport header included.";
    ECN_BIT = "net.tx.gso.ecn-bit", Driver MustNot ["5.1.6.2"], Asserted,
        "VIRTIO_NET_HDR_GSO_ECN is used only with VIRTIO_NET_F_HOST_ECN.";
    ECN_TCP = "net.tx.gso.ecn-tcp", Driver Must ["5.1.6.2"], Asserted,
        "VIRTIO_NET_HDR_GSO_ECN goes with a gso_type of TCP, and is none by itself.";
    GSO_PROTOCOL = "net.tx.gso.protocol", Driver Must ["5.1.6.2"], Asserted,
        "A packet to be segmented is of the protocol that gso_type names.";
    ECN_UNNEGOTIATED = "net.tx.gso.ecn-unnegotiated", Driver ShouldNot ["5.1.6.2.1-6"], Asserted,
        "Without VIRTIO_NET_F_HOST_ECN, TCP packets with the ECN bit are not left to the device to segment.",
        readings [
            "cwr": "The ECN bit is the one that segmentation must treat in a way of its own: CWR.",
            "cwr-or-ece": "TCP has two ECN bits, CWR and ECE, and either is meant.",
        ];
    ECN_SET = "net.tx.gso.ecn-set", Driver Must ["5.1.6.2.1-6"], Asserted,
        "With VIRTIO_NET_F_HOST_ECN, a TCP packet with the ECN bit to be segmented has VIRTIO_NET_HDR_GSO_ECN set.",
        readings [
            "cwr": "The ECN bit is the one that segmentation must treat in a way of its own: CWR.",
            "cwr-or-ece": "TCP has two ECN bits, CWR and ECE, and either is meant.",
        ];
    FIRST_QUEUE = "net.tx.queue.first-only", Driver Must ["5.1.6.5.5.1-3"], Asserted,
        "Before VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, packets are sent only through transmitq1.";
    BEYOND_PAIRS = "net.tx.queue.within-pairs", Driver MustNot ["5.1.6.5.5.1-4"], Asserted,
        "After VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, packets are sent only through as many transmit queues as it named.";
    RX_WRITABLE = "net.rx.writable", Driver Must ["3.2", "5.1.6"], Asserted,
        "A receive buffer is device-writable only.";
    RX_LARGE = "net.rx.size.offloads", Driver Should ["5.1.6.3.1-1"], Asserted,
        "Without MRG_RXBUF and with GUEST_TSO4, GUEST_TSO6 or GUEST_UFO, receive buffers have at least 65562 bytes.";
    RX_PLAIN = "net.rx.size.plain", Driver Should ["5.1.6.3.1-2"], Asserted,
        "Without MRG_RXBUF and without offloads, receive buffers have at least 1526 bytes.";
    RX_MERGEABLE = "net.rx.size.mergeable", Driver Must ["5.1.6.3.1-3"], Asserted,
        "With MRG_RXBUF, each receive buffer has room for struct virtio_net_hdr.",
        readings [
            "at-least": "12 bytes are enough, as later versions have it.",
            "greater": "There is room for more than the header: at least 13 bytes.",
        ];
    RX_POPULATED = "net.rx.populated", Driver Should ["5.1.6.3.1-4"], Asserted,
        "With VIRTIO_NET_F_MQ, each receive queue in use has buffers.";
}

/// Bytes of `struct virtio_net_hdr` and of an Ethernet header.
const HEADER_LEN: u64 = protocol::net::HEADER_LEN as u64;
const ETHERNET: u64 = ETHERNET_LEN as u64;

const HOST_OFFLOADS: u64 = net::HOST_TSO4 | net::HOST_TSO6 | net::HOST_UFO;
const GUEST_OFFLOADS: u64 = net::GUEST_TSO4 | net::GUEST_TSO6 | net::GUEST_UFO;

/// What this chapter remembers.
pub(crate) struct Rules {
    /// Features negotiated.
    features: u64,
    /// Packets without an offload, right in every respect, since the last reset.
    plain: u64,
    /// Receive buffers, right in every respect, since the last reset.
    buffers: u64,
    /// What a receive buffer has at least.
    smallest: u64,
    /// Pairs of queues in use.
    pairs: u16,
    /// VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET has been seen since the reset.
    told_pairs: bool,
    /// Transmit queues that were in use before that command and are not any more, until the device
    /// has looked at them twice: the first look may find what was queued before the command.
    settling: u64,
    /// … of which the device has looked at these once.
    looked: u64,
    /// A packet on a queue that was not in use.
    premature: Option<Premature>,
    /// How often packets were lost because a receive queue has had no buffer yet; those that are lost
    /// together, while the driver does nothing, count as one.
    unreceived: u32,
    /// The driver has notified since.
    moved: bool,
}

/// Packets on a queue that is not in use: the command that takes it into use may be on its way, for
/// the queues are worked in any order.
#[derive(Clone, Copy)]
struct Premature {
    queue: u16,
    packets: u32,
}

/// So many packets are not overtaken by any command.
const PREMATURE_PACKETS: u32 = 256;

/// A receive queue whose packets have been lost so often does not just get its first buffers.
const UNRECEIVED: u32 = 64;

/// Of packets that the driver checksums, so many of each life are looked into, and then one in some.
const SUMMED: u64 = 256;
const SUMMED_ONE_IN: u64 = 16;

impl Rules {
    pub(crate) fn new(_kind: DeviceKind) -> Self {
        Rules {
            features: 0,
            plain: 0,
            buffers: 0,
            smallest: 0,
            pairs: 1,
            told_pairs: false,
            settling: 0,
            looked: 0,
            premature: None,
            unreceived: 0,
            moved: true,
        }
    }

    /// Judges a packet to be sent.
    #[inline(always)]
    pub(super) fn transmit(
        &mut self,
        packet: &NetTransmit<'_>,
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        if let Some(header) = &packet.header {
            let ok = (header.flags | header.gso_type == 0)
                & (packet.writable == 0)
                & (packet.len >= ETHERNET)
                & (packet.queue / 2 < self.pairs)
                & (header.num_buffers == 0);
            if ok {
                self.plain += 1;
                if !packet.bytes.is_empty() && self.features & net::CSUM == 0 {
                    self.sum(packet, verdicts);
                }
                return;
            }
        }
        self.judge(packet, session, verdicts);
    }

    /// Judges whether a packet is fully checksummed, if it is one of those looked into.
    #[inline]
    fn sum(&self, packet: &NetTransmit<'_>, verdicts: &mut Verdicts) {
        if self.plain <= SUMMED || self.plain.is_multiple_of(SUMMED_ONE_IN) {
            offload::summed(packet, verdicts);
        }
    }

    /// A packet was lost for want of buffers on `queue`, which has had none.
    fn unpopulated(&mut self, queue: u16, session: &Session, verdicts: &mut Verdicts) {
        // There may have been many, before the driver could do anything about it.
        if !std::mem::take(&mut self.moved) {
            return;
        }
        self.unreceived += 1;
        if self.unreceived == UNRECEIVED && session.has(net::MQ) {
            let message = format!(
                "packets lost {UNRECEIVED} times for want of buffers, the last on queue {queue}, which has had none; {} pairs of queues are in use",
                self.pairs
            );
            verdicts.violated(RX_POPULATED, Some(queue), message);
        }
    }

    /// Judges a packet that asks for an offload, or is not right, requirement by requirement.
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
        self.judge_queue(packet.queue, session, verdicts);
        offload::judge(&header, packet, session, verdicts);
    }

    fn judge_queue(&mut self, queue: u16, session: &Session, verdicts: &mut Verdicts) {
        if !session.has(net::MQ) {
            return;
        }
        if queue / 2 < self.pairs || bit(queue) & self.settling != 0 {
            verdicts.held(self.queue_rule());
            return;
        }
        let packets = match self.premature {
            Some(p) if p.queue == queue => p.packets + 1,
            _ => 1,
        };
        self.premature = Some(Premature { queue, packets });
        if packets >= PREMATURE_PACKETS {
            self.premature_was_wrong(verdicts);
        }
    }

    fn queue_rule(&self) -> Req {
        if self.told_pairs {
            BEYOND_PAIRS
        } else {
            FIRST_QUEUE
        }
    }

    fn premature_was_wrong(&mut self, verdicts: &mut Verdicts) {
        if let Some(Premature { queue, packets }) = self.premature.take() {
            let message = format!(
                "{packets} packets on queue {queue} while {} pairs of queues were in use",
                self.pairs
            );
            verdicts.violated(self.queue_rule(), Some(queue), message);
        }
    }

    /// The driver has said how many pairs it uses.
    fn use_pairs(&mut self, pairs: u16, verdicts: &mut Verdicts) {
        match self.premature {
            Some(p) if p.queue / 2 < pairs => self.premature = None,
            _ => self.premature_was_wrong(verdicts),
        }
        for queue in (0..64).filter(|q| q % 2 == 1) {
            if (pairs..self.pairs).contains(&(queue / 2)) {
                self.settling |= bit(queue);
                self.looked &= !bit(queue);
            }
        }
        self.pairs = pairs;
        self.told_pairs = true;
    }

    /// The device has looked at an available ring.
    #[inline(always)]
    pub(super) fn available(&mut self, read: &AvailableRead) {
        let settling = self.settling & bit(read.queue);
        if settling != 0 {
            self.settling &= !(settling & self.looked);
            self.looked |= settling;
        }
    }

    /// Judges a receive buffer of `len` device-writable and `readable` device-readable bytes.
    #[inline(always)]
    pub(super) fn receive_buffer(
        &mut self,
        queue: u16,
        len: u64,
        readable: u64,
        verdicts: &mut Verdicts,
    ) {
        if readable == 0 && len >= self.smallest {
            self.buffers += 1;
        } else {
            self.judge_buffer(queue, len, readable, verdicts);
        }
    }

    #[cold]
    #[inline(never)]
    fn judge_buffer(&mut self, queue: u16, len: u64, readable: u64, verdicts: &mut Verdicts) {
        let queue = Some(queue);
        verdicts.check(RX_WRITABLE, readable == 0, queue, || {
            format!("a receive buffer with {readable} device-readable bytes")
        });
        let (requirement, smallest) = receive_size(self.features);
        let says = || format!("a receive buffer of {len} bytes");
        if requirement == RX_MERGEABLE {
            let by = [len >= HEADER_LEN, len > HEADER_LEN];
            verdicts.check_by(RX_MERGEABLE, by, queue, says);
        } else {
            verdicts.check(requirement, len >= smallest, queue, says);
        }
    }

    /// What the counts stand for.
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
            (self.queue_rule(), !lacks(net::MQ)),
        ];
        let received = [RX_WRITABLE, receive_size(self.features).0]
            .into_iter()
            .chain((!lacks(net::MQ)).then_some(RX_POPULATED));
        let (packets, buffers) = (self.plain, self.buffers);
        plain
            .into_iter()
            .filter(|(_, stands)| *stands)
            .map(move |(requirement, _)| (requirement, packets))
            .chain(received.map(move |requirement| (requirement, buffers)))
    }

    /// Puts what was counted into the verdicts.
    fn settle(&mut self, verdicts: &mut Verdicts) {
        for (requirement, times) in self.spelled_out() {
            verdicts.held_times(requirement, times);
        }
        self.plain = 0;
        self.buffers = 0;
    }
}

impl Chapter for Rules {
    fn see(&mut self, event: &Event<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            Event::StatusWritten { to: 0, .. } => {
                self.premature_was_wrong(verdicts);
                self.settle(verdicts);
                *self = Rules::new(DeviceKind::Net);
            }
            Event::FeaturesDecided {
                accepted,
                kept: true,
                ..
            } => {
                self.features = *accepted;
                self.smallest = receive_size(*accepted).1;
            }
            Event::Notified { .. } => self.moved = true,
            Event::NetUnpopulated { queue } => self.unpopulated(*queue, session, verdicts),
            Event::NetCommand(command) => {
                if let Some(pairs) = super::net_control::pairs_set(command) {
                    // What was counted until now was counted under another rule.
                    self.settle(verdicts);
                    self.use_pairs(pairs, verdicts);
                }
            }
            _ => {}
        }
    }

    fn tally(&self, tallies: &mut Tallies) {
        for (requirement, times) in self.spelled_out() {
            tallies.add_held(requirement, times);
        }
    }
}

/// Who says how long receive buffers are, and which length is enough however that is read.
fn receive_size(features: u64) -> (Req, u64) {
    if features & net::MRG_RXBUF != 0 {
        (RX_MERGEABLE, HEADER_LEN + 1)
    } else if features & GUEST_OFFLOADS != 0 {
        (RX_LARGE, 65562)
    } else {
        (RX_PLAIN, 1526)
    }
}

/// The bit of a queue; queues above 63 do not exist here.
#[inline(always)]
fn bit(queue: u16) -> u64 {
    1_u64.checked_shl(queue.into()).unwrap_or(0)
}
