//! How a driver handles received packets (§5.1.6.4.2 of virtio 1.0).
//!
//! This is judged by the acknowledgements of a TCP connection: the guest acknowledges bytes that it has
//! accepted. A device with one of the latitudes here delivers a segment in an unusual form once or twice,
//! and then unchanged. The delivery after which the acknowledgement comes shows whether the driver has
//! coped.

use crate::advice::advice;
use crate::device::DeviceKind;
use crate::event::{ControlEvent, DataEvent, NetEvent, NetReceived, NetTransmit};
use crate::features::net;
use crate::judge::Verdicts;
use crate::latitude::Latitude;
use crate::packet::{Endpoint, TcpSegment, tcp};
use crate::requirement::{Req, requirements};
use crate::rules::Chapter;
use crate::session::Session;
use crate::tolerance::Tolerance;

requirements! {
    chapter NetReceive;

    FLAGS = "net.rx.flags.unknown", Driver Must ["5.1.6.4.2-1"], Provoked(Latitude::UNKNOWN_FLAGS),
        "The driver ignores undefined bits in the flags of a packet.",
        readings [
            "3-in-a-row": "A guest that stalls looks like one that accepts nothing: only 3 segments in a row, each delivered twice in an unusual form, and accepted only in the usual one, were not accepted.",
            "each-segment": "A segment that is accepted only in the usual form was not accepted before.",
        ];
    CSUM_FIELDS = "net.rx.csum.without-flag", Driver MustNot ["5.1.6.4.2-2"], Provoked(Latitude::STRAY_CHECKSUM_FIELDS),
        "Without VIRTIO_NET_HDR_F_NEEDS_CSUM in a packet's flags, the driver does not use csum_start and csum_offset.",
        readings [
            "3-in-a-row": "A guest that stalls looks like one that accepts nothing: only 3 segments in a row, each delivered twice in an unusual form, and accepted only in the usual one, were not accepted.",
            "each-segment": "A segment that is accepted only in the usual form was not accepted before.",
        ];
    HINT = "net.rx.hdr-len.hint", Driver May ["5.1.6.4.2-3"], Provoked(Latitude::ODD_HDR_LEN),
        "With segmentation offloads for received packets, the driver may use hdr_len as a hint.";
    HDR_LEN = "net.rx.hdr-len.no-reliance", Driver MustNot ["5.1.6.4.2-4"], Provoked(Latitude::ODD_HDR_LEN),
        "The driver copes with an hdr_len that is not the length of the headers.",
        readings [
            "3-in-a-row": "A guest that stalls looks like one that accepts nothing: only 3 segments in a row, each delivered twice in an unusual form, and accepted only in the usual one, were not accepted.",
            "each-segment": "A segment that is accepted only in the usual form was not accepted before.",
        ];
    CHECKSUM = "net.rx.csum.no-reliance", Driver MustNot ["5.1.6.4.2-5"], Provoked(Latitude::DAMAGED_PACKETS),
        "If flags has neither NEEDS_CSUM nor DATA_VALID, the driver or its network stack verifies a packet's checksum.";
}

advice! {
    "net.rx.flags":
        "Packets are dropped or handled wrongly because flags has a bit that the driver does not know.";
        "Test flags for each known bit, and never compare it as a whole.";
    "net.rx.csum":
        "Checksums of received packets are completed, or accepted as verified, although flags does not say so: data is corrupted, or corrupted data is accepted.";
        "Use csum_start and csum_offset only with VIRTIO_NET_HDR_F_NEEDS_CSUM, and treat a checksum as verified only with that bit or with VIRTIO_NET_HDR_F_DATA_VALID.";
    "net.rx.hdr-len":
        "Packets are lost or damaged if hdr_len is not the length of their headers.";
        "Calculate the length of headers from the headers themselves; use hdr_len only as a hint of how much to copy, and limit it to the packet.";
}

/// Connections that are followed, and segments of each for which an acknowledgement is awaited.
const FLOWS: usize = 16;
const AWAITED: usize = 8;

/// A segment that was acknowledged only when it was delivered unchanged, after so many unusual
/// deliveries, was not accepted before.
const NOT_TAKEN: u32 = 2;

/// A guest that stalls for seconds looks like one that accepts nothing, but not so often in a row.
pub(crate) const IN_A_ROW: Tolerance = Tolerance {
    figure: 3,
    readings: &["3-in-a-row"],
};

/// The state of this chapter's rules.
pub(crate) struct NetReceiveRules {
    /// An acknowledgement is awaited, or a connection followed.
    following: bool,
    flows: Flows,
    /// By requirement: how often in a row a segment was accepted only when it was delivered unchanged.
    missed: [u32; UNUSUAL.len()],
}

/// The latitudes that do not change a packet's bytes, and the requirements that each provokes.
const UNUSUAL: [(Latitude, Req); 3] = [
    (Latitude::UNKNOWN_FLAGS, FLAGS),
    (Latitude::STRAY_CHECKSUM_FIELDS, CSUM_FIELDS),
    (Latitude::ODD_HDR_LEN, HDR_LEN),
];

#[derive(Default)]
struct Flows {
    of: [Option<Flow>; FLOWS],
    /// The index of the connection that the next one replaces.
    next: usize,
}

/// A connection, in the direction to the driver.
#[derive(Clone, Copy)]
struct Flow {
    /// The other end, and the driver's.
    ends: (Endpoint, Endpoint),
    /// The sequence number after all bytes that have been delivered.
    next: u32,
    awaited: [Option<Segment>; AWAITED],
}

/// A segment whose first delivery was unusual.
#[derive(Clone, Copy)]
struct Segment {
    start: u32,
    end: u32,
    latitude: Latitude,
    /// The number of unusual deliveries.
    times: u32,
    /// It, or a part of it, has been delivered unchanged.
    plain: bool,
}

/// Whether `a` is after `b`; sequence numbers wrap around.
fn behind(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

impl Segment {
    /// It, or a part of it, has been delivered again.
    fn again(&mut self, unusual: Option<Latitude>) {
        match unusual {
            Some(latitude) if latitude == self.latitude => self.times += 1,
            // Damaged in another way: it is unknown what is accepted.
            Some(Latitude::DAMAGED_PACKETS) => {}
            _ => self.plain = true,
        }
    }
}

impl Flow {
    fn new(segment: &TcpSegment) -> Self {
        Flow {
            ends: (segment.source, segment.destination),
            next: segment.end(),
            awaited: [None; AWAITED],
        }
    }

    /// A segment was delivered.
    fn received(&mut self, segment: &TcpSegment, unusual: Option<Latitude>) {
        let (start, end) = (segment.sequence, segment.end());
        for awaited in self.awaited.iter_mut().flatten() {
            if behind(end, awaited.start) && behind(awaited.end, start) {
                awaited.again(unusual);
            }
        }
        // A segment of which a part was delivered before cannot be judged.
        if let Some(latitude) = unusual
            && !behind(self.next, start)
            && behind(end, start)
            && let Some(free) = self.awaited.iter_mut().find(|awaited| awaited.is_none())
        {
            *free = Some(Segment {
                start,
                end,
                latitude,
                times: 1,
                plain: false,
            });
        }
        if behind(end, self.next) {
            self.next = end;
        }
    }
}

impl Flows {
    /// The connection between these ends.
    fn find(&mut self, ends: (Endpoint, Endpoint)) -> Option<&mut Option<Flow>> {
        self.of
            .iter_mut()
            .find(|flow| flow.as_ref().is_some_and(|flow| flow.ends == ends))
    }

    fn received(&mut self, segment: &TcpSegment, unusual: Option<Latitude>) {
        let place = self.find((segment.source, segment.destination));
        if segment.flags & (tcp::SYN | tcp::RST) == 0
            && let Some(Some(flow)) = place
        {
            flow.received(segment, unusual);
            return;
        }
        let flow = Some(Flow::new(segment)).filter(|_| segment.flags & tcp::RST == 0);
        if let Some(place) = place {
            *place = flow;
        } else if flow.is_some() {
            // If this is the first segment of the connection seen here, earlier deliveries are unknown.
            self.of[self.next] = flow;
            self.next = (self.next + 1) % FLOWS;
        }
    }
}

impl NetReceiveRules {
    /// The driver sends a packet, which may acknowledge something.
    #[inline(always)]
    fn transmit(&mut self, packet: &NetTransmit<'_>, session: &Session, verdicts: &mut Verdicts) {
        if self.following {
            self.acknowledged(packet, session, verdicts);
        }
    }

    #[inline(never)]
    fn acknowledged(
        &mut self,
        packet: &NetTransmit<'_>,
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        let Some(segment) = TcpSegment::parse(packet.bytes) else {
            return;
        };
        let Some(place) = self.flows.find((segment.destination, segment.source)) else {
            return;
        };
        if segment.flags & (tcp::SYN | tcp::RST) != 0 {
            *place = None;
            return;
        }
        let Some(flow) = place.as_mut().filter(|_| segment.flags & tcp::ACK != 0) else {
            return;
        };
        for awaited in &mut flow.awaited {
            let taken = awaited.filter(|awaited| behind(segment.acknowledgement, awaited.start));
            if let Some(taken) = taken {
                *awaited = None;
                judge(&taken, &mut self.missed, session, verdicts);
            }
        }
    }

    fn received(&mut self, packet: &NetReceived<'_>) {
        if let Some(segment) = TcpSegment::parse(packet.bytes) {
            self.flows.received(&segment, packet.unusual);
            self.following = true;
        }
    }
}

/// The first byte of this segment has been acknowledged.
fn judge(
    segment: &Segment,
    missed: &mut [u32; UNUSUAL.len()],
    session: &Session,
    verdicts: &mut Verdicts,
) {
    let Segment {
        latitude,
        times,
        plain,
        ..
    } = *segment;
    if latitude == Latitude::DAMAGED_PACKETS {
        verdicts.check(CHECKSUM, plain, None, || {
            format!(
                "a TCP segment was acknowledged that was delivered {times} times, each time damaged, with flags 0 and a wrong checksum"
            )
        });
        return;
    }
    let asked = UNUSUAL
        .iter()
        .zip(missed)
        .find(|((of, _), _)| *of == latitude);
    let Some(((_, requirement), missed)) = asked else {
        return;
    };
    if !plain {
        *missed = 0;
        verdicts.check_by(*requirement, [true; 2], None, String::new);
        if *requirement == HDR_LEN && session.negotiated & GUEST_SEGMENTATION != 0 {
            verdicts.held(HINT);
        }
        return;
    }
    let does = latitude.entry().does;
    verdicts.check_by(*requirement, [None, Some(false)], None, || {
        format!(
            "a TCP segment was acknowledged only when it was delivered otherwise than with this latitude: {does}"
        )
    });
    if times >= NOT_TAKEN {
        *missed += 1;
        if *missed == IN_A_ROW.figure {
            *missed = 0;
            verdicts.check_by(*requirement, [Some(false), None], None, || {
                format!(
                    "{} TCP segments in a row were acknowledged only when they were delivered otherwise than with this latitude: {does}",
                    IN_A_ROW.figure
                )
            });
        }
    }
}

const GUEST_SEGMENTATION: u64 = net::GUEST_TSO4 | net::GUEST_TSO6 | net::GUEST_UFO;

impl Chapter for NetReceiveRules {
    fn new(_kind: DeviceKind) -> Self {
        NetReceiveRules {
            following: false,
            flows: Flows::default(),
            missed: [0; UNUSUAL.len()],
        }
    }

    fn control(&mut self, event: &ControlEvent<'_>, _: &Session, _: &mut Verdicts) {
        match event {
            ControlEvent::Net(NetEvent::Received(packet)) => self.received(packet),
            ControlEvent::Status(event) => {
                if event.asks_for_reset() {
                    self.following = false;
                    self.flows = Flows::default();
                }
            }
            ControlEvent::Net(_)
            | ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Register(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Feature(_)
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
}
