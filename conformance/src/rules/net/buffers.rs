//! Buffers for the packets that a network device receives (§5.1.6.3 of virtio 1.0).

use super::control::pairs_set;
use crate::advice::advice;
use crate::device;
use crate::device::DeviceKind;
use crate::event::{
    Buffer, ChainEnd, ClockEvent, ControlEvent, DataEvent, FeatureEvent, NetEvent, NetRing,
    NotificationEvent, StatusEvent,
};
use crate::features::net;
use crate::judge::Verdicts;
use crate::obligation::{End, Obligations, Unsettled};
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
        "With VIRTIO_NET_F_MQ, each receive queue in use has buffers.",
        readings [
            "within-5-seconds": "A queue that has just come into use may be filled within 5 seconds in which the driver uses the queues for packets.",
            "when-enabled": "A queue has a buffer when DRIVER_OK, or VQ_PAIRS_SET, brings it into use.",
        ];
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
    /// The receive queues that have had a buffer, a bit each.
    populated: u64,
    /// … when this was looked at last.
    seen: u64,
    /// Buffers are due for these queues.
    due: Obligations,
    /// Since the last tick, the driver has sent a packet, or filled or notified a queue for packets.
    used: bool,
}

impl NetBufferRules {
    /// The first `pairs` pairs of queues are in use from now on.
    fn use_pairs(&mut self, pairs: u16, session: &Session, verdicts: &mut Verdicts) {
        self.pairs = pairs;
        // What was done before says nothing of these.
        self.seen = self.populated;
        self.used = false;
        if !session.has(net::MQ) {
            return;
        }
        for queue in (0..64).step_by(2) {
            if queue / 2 >= pairs {
                self.due.close(queue.into());
                continue;
            }
            let populated = self.populated & bit(queue) != 0;
            if !populated {
                self.due.open(queue.into());
            }
            let by = [populated.then_some(true), Some(populated)];
            verdicts.check_by(RX_POPULATED, by, Some(queue), || {
                format!(
                    "receiveq{} has no buffer when it comes into use",
                    queue / 2 + 1
                )
            });
        }
    }

    /// The device has looked at a queue for packets.
    fn ring_read(&mut self, ring: &NetRing) {
        if ring.populated && ring.queue.is_multiple_of(2) {
            self.populated |= bit(ring.queue);
        }
    }

    /// What has been filled is not due any more. Returns whether the queues were used since the last time.
    fn look(&mut self, verdicts: &mut Verdicts) -> bool {
        let mut filled = self.due.due() & self.populated;
        while filled != 0 {
            self.due.close(filled.trailing_zeros());
            verdicts.check_by(RX_POPULATED, [Some(true), None], None, String::new);
            filled &= filled - 1;
        }
        let filled = std::mem::replace(&mut self.seen, self.populated) != self.populated;
        std::mem::take(&mut self.used) | filled
    }

    /// Judges a queue that was not filled.
    fn never_filled(&self, unsettled: Option<Unsettled<u32>>, verdicts: &mut Verdicts) {
        let Some(Unsettled { subject, age, by }) = unsettled else {
            return;
        };
        let queue = subject as u16;
        verdicts.check_by(RX_POPULATED, [by[0], None], Some(queue), || {
            format!(
                "receiveq{} has had no buffer in {age} since it came into use; {} pairs of queues are in use",
                queue / 2 + 1,
                self.pairs
            )
        });
    }

    /// Whether `queue` is for packets that are received.
    #[inline(always)]
    fn is_receive(&self, queue: u16) -> bool {
        self.receive & bit(queue) != 0
    }

    /// Judges a buffer that the driver has made available for packets.
    #[inline(always)]
    fn receive_buffer(&mut self, buffer: &Buffer<'_>, verdicts: &mut Verdicts) {
        self.populated |= bit(buffer.queue);
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
        let buffers = self.buffers;
        [RX_WRITABLE, receive_size(self.features).0]
            .into_iter()
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
            populated: 0,
            seen: 0,
            due: Obligations::default(),
            used: false,
        }
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            ControlEvent::Status(event) => {
                let used = self.look(verdicts);
                self.used = used;
                if let Some(end) = End::of(*event) {
                    let unsettled = self.due.end_if_acted(used, end);
                    self.never_filled(unsettled, verdicts);
                }
                if matches!(event, StatusEvent::NeedsReset) {
                    self.due = Obligations::default();
                }
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
            ControlEvent::Notification(NotificationEvent::Sent { queue, .. }) => {
                self.used |= queue.is_some_and(|queue| queue / 2 < self.pairs);
            }
            ControlEvent::Clock(ClockEvent::Tick) => {
                let used = self.look(verdicts);
                let unsettled = self.due.tick(used);
                self.never_filled(unsettled, verdicts);
            }
            ControlEvent::Net(event) => match event {
                NetEvent::RingRead(ring) => self.ring_read(ring),
                // The device has gone live.
                NetEvent::Address { .. } => self.use_pairs(1, session, verdicts),
                NetEvent::Command(command) => {
                    if let Some(pairs) = pairs_set(command) {
                        self.use_pairs(pairs, session, verdicts);
                    }
                }
                NetEvent::ReceiveQueues { queues } => self.receive = *queues,
                NetEvent::OutOfUse(_) | NetEvent::Received(_) => {}
            },
            ControlEvent::Feature(_)
            | ControlEvent::Notification(_)
            | ControlEvent::Latitude(_)
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
            DataEvent::NetTransmit(_) => self.used = true,
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

/// The bit of a queue; queues above 63 do not exist here.
#[inline(always)]
fn bit(queue: u16) -> u64 {
    1_u64.checked_shl(queue.into()).unwrap_or(0)
}
