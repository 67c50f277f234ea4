//! Buffers for the packets that a network device receives (§5.1.6.3 of virtio 1.0).

use super::control::pairs_set;
use crate::advice::advice;
use crate::device;
use crate::device::DeviceKind;
use crate::event::{
    Buffer, ChainEnd, ControlEvent, DataEvent, FeatureEvent, NetEvent, NotificationEvent,
};
use crate::features::net;
use crate::judge::Verdicts;
use crate::requirement::{Req, requirements};
use crate::rules::Chapter;
use crate::session::Session;
use crate::tally::Tallies;

requirements! {
    chapter NetBuffers;

    RX_WRITABLE = "net.rx.writable", Driver Must ["3.2", "5.1.6"], Asserted,
        "A receive buffer is device-writable only.";
    RX_LARGE = "net.rx.size.offloads", Driver Should ["5.1.6.3.1-1"], Asserted,
        "Without MRG_RXBUF and with GUEST_TSO4, GUEST_TSO6 or GUEST_UFO, receive buffers have at least 65562 bytes.";
    RX_PLAIN = "net.rx.size.plain", Driver Should ["5.1.6.3.1-2"], Asserted,
        "Without MRG_RXBUF and without offloads, receive buffers have at least 1526 bytes.";
    RX_MERGEABLE = "net.rx.size.mergeable", Driver Must ["5.1.6.3.1-3"], Asserted,
        "With MRG_RXBUF, each receive buffer has room for struct virtio_net_hdr.",
        readings [
            "at-least": "12 bytes are enough, as in later versions.",
            "greater": "There is room for more than the header: at least 13 bytes.",
        ];
    RX_POPULATED = "net.rx.populated", Driver Should ["5.1.6.3.1-4"], Asserted,
        "With VIRTIO_NET_F_MQ, each receive queue in use has buffers.";
}

advice! {
    "net.rx.populated":
        "A receive queue that VQ_PAIRS_SET enabled has never had a buffer: the packets that the device steers to it are lost.";
        "Add buffers to each receive queue before VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET enables it.";
    "net.rx":
        "A receive buffer is too small for the packets that the accepted features allow, or is not device-writable.";
        "Choose the size of buffers by the accepted features: 65562 bytes with receive offloads and 1526 without, or, with MRG_RXBUF, any size that has room for the header.";
}

/// Bytes of `struct virtio_net_hdr`.
const HEADER_LEN: u64 = device::net::HEADER_LEN as u64;

const GUEST_OFFLOADS: u64 = net::GUEST_TSO4 | net::GUEST_TSO6 | net::GUEST_UFO;

/// After so many losses, the driver is not merely late with the first buffers of a receive queue.
const UNRECEIVED: u32 = 64;

/// The state of this chapter's rules.
pub(crate) struct NetBufferRules {
    /// Features negotiated.
    features: u64,
    /// Receive buffers that broke no rule since the last reset.
    buffers: u64,
    /// The minimum length of a receive buffer, bytes.
    smallest: u64,
    /// The receive queues, a bit each.
    receive: u64,
    /// Pairs of queues in use.
    pairs: u16,
    /// How often packets were lost because a receive queue has had no buffer yet; those that are lost
    /// together, while the driver does nothing, count as one.
    unreceived: u32,
    /// The driver has notified since.
    moved: bool,
}

impl NetBufferRules {
    /// A packet was lost because `queue` has had no buffers.
    fn unpopulated(&mut self, queue: u16, session: &Session, verdicts: &mut Verdicts) {
        // Many packets may have been lost before the driver could react.
        if !std::mem::take(&mut self.moved) {
            return;
        }
        self.unreceived += 1;
        if self.unreceived == UNRECEIVED && session.has(net::MQ) {
            let message = format!(
                "packets lost {UNRECEIVED} times because a queue had no buffers, the last on queue {queue}, which has never had one; {} pairs of queues are in use",
                self.pairs
            );
            verdicts.violated(RX_POPULATED, Some(queue), message);
        }
    }

    /// Whether `queue` is for packets that are received.
    #[inline(always)]
    fn is_receive(&self, queue: u16) -> bool {
        self.receive & 1 << (queue & 63) != 0
    }

    /// Judges a buffer that the driver has made available for packets.
    #[inline(always)]
    fn receive_buffer(&mut self, buffer: &Buffer<'_>, verdicts: &mut Verdicts) {
        if buffer.readable == 0 && buffer.writable >= self.smallest {
            self.buffers += 1;
        } else {
            self.judge_buffer(buffer.queue, buffer.writable, buffer.readable, verdicts);
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

    /// The requirements for which the counts are kept.
    fn spelled_out(&self) -> impl Iterator<Item = (Req, u64)> {
        let populated = (self.features & net::MQ != 0).then_some(RX_POPULATED);
        let buffers = self.buffers;
        [RX_WRITABLE, receive_size(self.features).0]
            .into_iter()
            .chain(populated)
            .map(move |requirement| (requirement, buffers))
    }
}

/// The requirement on the length of receive buffers, and the length that is enough by every reading.
fn receive_size(features: u64) -> (Req, u64) {
    if features & net::MRG_RXBUF != 0 {
        (RX_MERGEABLE, HEADER_LEN + 1)
    } else if features & GUEST_OFFLOADS != 0 {
        (RX_LARGE, 65562)
    } else {
        (RX_PLAIN, 1526)
    }
}

impl Chapter for NetBufferRules {
    fn new(_kind: DeviceKind) -> Self {
        NetBufferRules {
            features: 0,
            buffers: 0,
            smallest: 0,
            receive: 0,
            pairs: 1,
            unreceived: 0,
            moved: true,
        }
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            ControlEvent::Status(event) => {
                if event.asks_for_reset() {
                    for (requirement, times) in self.spelled_out() {
                        verdicts.held_times(requirement, times);
                    }
                    *self = Chapter::new(session.kind);
                }
            }
            ControlEvent::Feature(FeatureEvent::Decided {
                accepted,
                kept: true,
                ..
            }) => {
                self.features = *accepted;
                self.smallest = receive_size(*accepted).1;
            }
            ControlEvent::Notification(NotificationEvent::Sent { .. }) => self.moved = true,
            ControlEvent::Net(event) => match event {
                NetEvent::Unpopulated { queue } => self.unpopulated(*queue, session, verdicts),
                NetEvent::Command(command) => {
                    if let Some(pairs) = pairs_set(command) {
                        self.pairs = pairs;
                    }
                }
                NetEvent::ReceiveQueues { queues } => self.receive = *queues,
                NetEvent::Address { .. } | NetEvent::Received(_) => {}
            },
            ControlEvent::Feature(_)
            | ControlEvent::Notification(_)
            | ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Register(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Config(_)
            | ControlEvent::Queue(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Console(_) => {}
        }
    }

    #[inline(always)]
    fn data(&mut self, event: &DataEvent<'_>, _: &Session, verdicts: &mut Verdicts) {
        match event {
            DataEvent::Exposed(buffer)
                if self.is_receive(buffer.queue) && matches!(buffer.end, ChainEnd::Complete) =>
            {
                self.receive_buffer(buffer, verdicts);
            }
            DataEvent::AvailableRead(_)
            | DataEvent::Exposed(_)
            | DataEvent::Returned { .. }
            | DataEvent::NetTransmit(_)
            | DataEvent::BlockRequest(_) => {}
        }
    }

    fn tally(&self, tallies: &mut Tallies) {
        for (requirement, times) in self.spelled_out() {
            tallies.add_held(requirement, times);
        }
    }
}
