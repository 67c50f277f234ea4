//! The network card as its driver presents it: address, link and announcements (§5.1.4, §5.1.6.5.2,
//! §5.1.6.5.4 of virtio 1.0).
//!
//! The address is the source of the packets that the driver sends. A driver may forward packets of
//! others, so only a source that all of the first packets have in common is judged, and only if the
//! driver does not receive packets for other addresses. The device reports the first packets after each
//! reset, and those after it has asked for an announcement.

use crate::advice::advice;
use crate::device::DeviceKind;
use crate::device::net::config::STATUS;
use crate::device::net::{announce, class, mac, rx, status as link};
use crate::event::{
    ClockEvent, ControlEvent, DataEvent, LatitudeEvent, NetCommand, NetEvent, NetTransmit,
    Register, RegisterEvent, StatusEvent,
};
use crate::features::net;
use crate::judge::Verdicts;
use crate::latitude::Latitude;
use crate::layout::{Structure, status};
use crate::obligation::{End, Obligation, SETTLED, Unsettled};
use crate::requirement::{Req, requirements};
use crate::rules::Chapter;
use crate::session::Session;
use crate::tolerance::Tolerance;

requirements! {
    chapter NetCard;

    MAC_TAKEN = "net.mac.taken", Driver Must ["5.1.4.2-2"], Asserted,
        "With VIRTIO_NET_F_MAC, the card's address is the one in mac.",
        readings [
            "learnt": "The guest's administrator may change the card's address later, and the driver need not tell the device: only a driver that has never read mac cannot have used it, and only 32 packets that all come from one other address are certainly the card's.",
            "in-use": "The address in use, from which 32 packets come, is the one in mac, or one that the driver has set by MAC_ADDR_SET.",
            "each-packet": "Each packet comes from such an address.",
        ];
    MAC_LOCAL = "net.mac.local", Driver Should ["5.1.4.2-3"], Asserted,
        "Without VIRTIO_NET_F_MAC, the card's address is locally administered.",
        readings [
            "32-packets": "A driver may forward packets of others: only 32 packets that all come from one address are certainly the card's.",
            "each-packet": "Each packet comes from such an address.",
        ];
    MAC_TOLD = "net.mac.told", Driver Should ["5.1.6.5.2.2-2"], Asserted,
        "With VIRTIO_NET_F_CTRL_RX, the driver sets a card address other than mac by MAC_ADDR_SET.",
        readings [
            "32-packets": "A driver may forward packets of others: only 32 packets that all come from one address are certainly the card's.",
            "each-packet": "Each packet comes from such an address.",
        ];
    LINK_READ = "net.link.read", Driver Should ["5.1.4.2-4"], Asserted,
        "With VIRTIO_NET_F_STATUS, a driver that sends packets reads from status whether the link is up.",
        obligation READINGS;
    LINK_ASSUMED = "net.link.assumed", Driver Should ["5.1.4.2-4"], Asserted,
        "Without VIRTIO_NET_F_STATUS, the driver assumes that the link is active.",
        readings [
            "sends": "It sends packets; whether it has read status before does not matter.",
            "unread": "It does not read status at all once features are negotiated.",
        ];
    ANNOUNCED = "net.announce.sent", Driver Should ["5.1.6.5.4.1-1"], Provoked(Latitude::ANNOUNCE),
        "After the driver has read VIRTIO_NET_S_ANNOUNCE in status, it sends a packet to all its peers, if it sends packets.",
        obligation READINGS;
    ACKNOWLEDGED = "net.announce.acknowledged", Driver Must ["5.1.6.5.4.1-2"], Provoked(Latitude::ANNOUNCE),
        "After the driver has read VIRTIO_NET_S_ANNOUNCE in status, it sends VIRTIO_NET_CTRL_ANNOUNCE_ACK.",
        obligation READINGS;
    LINK_AGAIN = "net.link.read-again", Driver Should ["5.1.4.2-4"], Provoked(Latitude::LINK_FLAPS),
        "With VIRTIO_NET_F_STATUS, a driver that sends packets reads the link's state from status, also after it has changed.",
        obligation READINGS;
}

advice! {
    "net.mac":
        "The card uses an address that the driver has chosen: the device filters received packets by another address, and answers are lost.";
        "Use the six bytes of mac as the card's address if VIRTIO_NET_F_MAC was accepted, otherwise choose a locally administered one, and set any other address by VIRTIO_NET_CTRL_MAC_ADDR_SET.";
    "net.link":
        "The driver does not know the link's state: with VIRTIO_NET_F_STATUS it never reads status, or without VIRTIO_NET_F_STATUS it relies on status.";
        "With VIRTIO_NET_F_STATUS, read bit 0 of status at the start and after each configuration change; without it, assume that the link is active.";
    "net.announce":
        "The device has asked for an announcement, and the driver does not send one: after a migration, its peers still send packets to the old place.";
        "When status has VIRTIO_NET_S_ANNOUNCE, send gratuitous packets (ARP, neighbour advertisements) and then VIRTIO_NET_CTRL_ANNOUNCE_ACK.";
}

type Mac = [u8; 6];

/// So many packets that all come from one other address are the card's own.
pub(crate) const OWN: Tolerance = Tolerance {
    figure: 32,
    readings: &["learnt", "32-packets"],
};

/// So many of the first packets are judged by their sources.
const WATCHED: u32 = 256;

/// The state of this chapter's rules.
pub(crate) struct NetCardRules {
    /// Packets still have to be judged.
    watching: bool,
    /// Which bytes of mac have ever been read.
    learnt: u8,
    life: Life,
}

/// The state from one reset to the next.
#[derive(Default)]
struct Life {
    /// mac, as it was when the device went live.
    mac: Option<Mac>,
    /// The address of the last MAC_ADDR_SET.
    set: Option<Mac>,
    /// The driver receives, or may receive, packets for addresses other than its own.
    open: bool,
    /// Packets sent, as long as they are judged.
    packets: u32,
    sources: Sources,
    /// status was read.
    looked: bool,
    /// … and the link was down.
    down: bool,
    /// A packet was sent since the last tick.
    sent: bool,
    /// … one of the card's own to a single peer.
    sent_own: bool,
    /// A read of status is due.
    look: Obligation,
    /// … another one, because the link has changed.
    look_again: Obligation,
    /// A packet to all peers is due.
    announce: Obligation,
    /// An acknowledgement of the request for that is due.
    acknowledge: Obligation,
}

/// The sources of packets that are not the card's address.
#[derive(Default)]
struct Sources {
    /// The address from which all came.
    one: Mac,
    /// The number of packets.
    packets: u32,
    /// There were several addresses, or the card's was among them.
    mixed: bool,
}

impl NetCardRules {
    /// Judges a packet to be sent.
    #[inline(always)]
    fn transmit(&mut self, packet: &NetTransmit<'_>, session: &Session, verdicts: &mut Verdicts) {
        if self.watching {
            self.watch(packet, session, verdicts);
        }
        self.life.sent = true;
    }

    #[inline(never)]
    fn watch(&mut self, packet: &NetTransmit<'_>, session: &Session, verdicts: &mut Verdicts) {
        let life = &mut self.life;
        life.packets += 1;
        if session.has(net::STATUS) {
            if !life.looked && life.packets == 1 {
                life.look.open(());
            }
        } else if life.packets == 1 {
            // Already judged when it was read.
            let by = [Some(true), (!life.looked).then_some(true)];
            verdicts.check_by(LINK_ASSUMED, by, None, String::new);
        }
        if packet.bytes.is_empty() {
            // Who it is for is not known: it may be the announcement.
            life.announce.excuse();
        } else if let Some((destination, source)) = addresses(packet.bytes) {
            life.came_from(source, self.learnt == 0x3f, session, verdicts);
            life.went_to(destination, source, verdicts);
        }
        self.watching = life.packets < WATCHED || life.announce.subject().is_some();
    }

    fn read(&mut self, register: &Register, session: &Session, verdicts: &mut Verdicts) {
        for byte in (0..6).filter(|byte| register.covers(*byte)) {
            self.learnt |= 1 << byte;
        }
        let Some(link) = register.byte(STATUS) else {
            return;
        };
        if self.life.look_again.settle().is_some() {
            verdicts.check_by(LINK_AGAIN, SETTLED, None, String::new);
        }
        let settled = session.status & status::FEATURES_OK != 0;
        if session.has(net::STATUS) {
            self.life.look.excuse();
            verdicts.check_by(LINK_READ, SETTLED, None, String::new);
        } else if settled {
            verdicts.check_by(LINK_ASSUMED, [None, Some(false)], None, || {
                "status read, without VIRTIO_NET_F_STATUS".to_owned()
            });
        }
        self.life.looked = true;
        // Packets that are sent while the link is down, or before the driver has brought it up, are lost.
        let up = u16::from(link) & link::LINK_UP != 0;
        if !up {
            self.life.announce.excuse();
        }
        if u16::from(link) & link::ANNOUNCE != 0
            && session.has(net::STATUS | net::GUEST_ANNOUNCE)
            && session.is_live()
            && session.status & status::DEVICE_NEEDS_RESET == 0
        {
            self.life.acknowledge.open(());
            if up && !self.life.down {
                self.life.announce.open(());
                self.watching = true;
            }
        }
        self.life.down = !up;
    }

    fn net(&mut self, event: &NetEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            NetEvent::Address { mac } => self.life.mac = Some(*mac),
            NetEvent::Command(command) => self.life.commanded(command, session, verdicts),
            NetEvent::ReceiveQueues { .. }
            | NetEvent::RingRead(_)
            | NetEvent::OutOfUse(_)
            | NetEvent::Received(_) => {}
        }
    }
}

impl Life {
    /// A packet has the source `source`.
    fn came_from(&mut self, source: Mac, learnt: bool, session: &Session, verdicts: &mut Verdicts) {
        let given = session.has(net::MAC);
        let right = if given {
            self.is_own(source)
        } else {
            source[0] & 2 != 0
        };
        if right {
            if given {
                verdicts.check_by(MAC_TAKEN, [true; 3], None, String::new);
            } else {
                verdicts.check_by(MAC_LOCAL, [true; 2], None, String::new);
            }
            self.sources.mixed = true;
            return;
        }
        self.not_own(source, given, session, verdicts);
        if self.sources.are_all(source) && self.sources.packets == OWN.figure && !self.open {
            let (shown, own) = (Shown(source), OWN.figure);
            if !given {
                let message =
                    format!("{own} packets from {shown}, which is universally administered");
                verdicts.check_by(MAC_LOCAL, [Some(false), None], None, || message);
                return;
            }
            // Without mac there is nothing to compare.
            let Some(mac) = self.mac.map(Shown) else {
                return;
            };
            let by = [(!learnt).then_some(false), Some(false), None];
            verdicts.check_by(MAC_TAKEN, by, None, || {
                let read = if learnt { "" } else { ", and was never read" };
                format!("{own} packets from {shown}; mac is {mac}{read}")
            });
            if session.has(net::CTRL_RX) {
                let message = format!("{own} packets from {shown}; mac is {mac}");
                verdicts.check_by(MAC_TOLD, [Some(false), None], None, || message);
            }
        }
    }

    /// Judges a packet of another's by the readings that look at each packet.
    fn not_own(&self, source: Mac, given: bool, session: &Session, verdicts: &mut Verdicts) {
        let strictly = || format!("a packet from {}", Shown(source));
        if !given {
            verdicts.check_by(MAC_LOCAL, [None, Some(false)], None, strictly);
        } else if self.mac.is_some() {
            verdicts.check_by(MAC_TAKEN, [None, None, Some(false)], None, strictly);
            if session.has(net::CTRL_RX) {
                verdicts.check_by(MAC_TOLD, [None, Some(false)], None, strictly);
            }
        }
    }

    /// Whether `source` is the card's address as the device knows it.
    fn is_own(&self, source: Mac) -> bool {
        [self.mac, self.set].contains(&Some(source))
    }

    /// A packet of `source` went to `destination`.
    fn went_to(&mut self, destination: Mac, source: Mac, verdicts: &mut Verdicts) {
        if self.announce.subject().is_none() {
            return;
        }
        if destination[0] & 1 != 0 {
            self.announce.excuse();
            verdicts.check_by(ANNOUNCED, SETTLED, None, String::new);
        } else if self.is_own(source) {
            self.sent_own = true;
        }
    }

    /// A second has passed. Who sends nothing owes no announcement, and need not know of the link.
    fn tick(&mut self, acted: bool, verdicts: &mut Verdicts) {
        let sent = std::mem::take(&mut self.sent);
        let sent_own = std::mem::take(&mut self.sent_own);
        owed(LINK_READ, self.look.tick(sent), verdicts);
        owed(LINK_AGAIN, self.look_again.tick(sent), verdicts);
        owed(ANNOUNCED, self.announce.tick(sent_own), verdicts);
        owed(ACKNOWLEDGED, self.acknowledge.tick(acted), verdicts);
    }

    /// The driver does nothing more.
    fn end(&mut self, end: End, verdicts: &mut Verdicts) {
        let (sent, sent_own) = (self.sent, self.sent_own);
        owed(LINK_READ, self.look.end_if_acted(sent, end), verdicts);
        owed(
            LINK_AGAIN,
            self.look_again.end_if_acted(sent, end),
            verdicts,
        );
        owed(
            ANNOUNCED,
            self.announce.end_if_acted(sent_own, end),
            verdicts,
        );
        owed(ACKNOWLEDGED, self.acknowledge.end(end), verdicts);
    }

    fn commanded(&mut self, command: &NetCommand<'_>, session: &Session, verdicts: &mut Verdicts) {
        match (command.class, command.command, command.data) {
            (Some(class::ANNOUNCE), Some(announce::ACK), _)
                if self.acknowledge.settle().is_some() =>
            {
                verdicts.check_by(ACKNOWLEDGED, SETTLED, None, String::new);
            }
            (Some(class::RX), Some(rx::PROMISC | rx::ALLUNI), &[1]) => self.open = true,
            // A table of unicast addresses that is not empty.
            (Some(class::MAC), Some(mac::TABLE_SET), data) => {
                self.open |= data.get(..4) != Some(&[0; 4]);
            }
            (Some(class::MAC), Some(mac::ADDR_SET), data) if session.negotiated & MAY_SET != 0 => {
                let Ok(mac) = Mac::try_from(data) else {
                    return;
                };
                if session.has(net::CTRL_RX) && self.mac != Some(mac) {
                    verdicts.check_by(MAC_TOLD, [true; 2], None, String::new);
                }
                self.set = Some(mac);
                self.sources = Sources::default();
            }
            _ => {}
        }
    }
}

/// With either of these features, a device accepts MAC_ADDR_SET.
const MAY_SET: u64 = net::CTRL_RX | net::CTRL_MAC_ADDR;

/// Judges what was due and has not been done.
fn owed(requirement: Req, unsettled: Option<Unsettled<()>>, verdicts: &mut Verdicts) {
    let Some(Unsettled { age, by, .. }) = unsettled else {
        return;
    };
    let (since, missing) = match requirement {
        ACKNOWLEDGED => (
            "VIRTIO_NET_S_ANNOUNCE was read",
            "no VIRTIO_NET_CTRL_ANNOUNCE_ACK was sent",
        ),
        ANNOUNCED => (
            "VIRTIO_NET_S_ANNOUNCE was read",
            "packets were sent, none of them to more than one peer,",
        ),
        LINK_AGAIN => (
            "the link has changed",
            "packets were sent, and status was not read,",
        ),
        _ => (
            "a packet was sent",
            "status, which has never been read, was not read",
        ),
    };
    verdicts.check_by(requirement, by, None, || {
        format!("{since}, and {missing} in {age}")
    });
}

impl Sources {
    /// Counts a packet from `source`. Returns whether all packets came from there.
    fn are_all(&mut self, source: Mac) -> bool {
        if self.packets == 0 {
            self.one = source;
        }
        self.packets = self.packets.saturating_add(1);
        self.mixed |= self.one != source;
        !self.mixed
    }
}

/// Destination and source of the packet that begins with `bytes`, if that is a possible source.
fn addresses(bytes: &[u8]) -> Option<(Mac, Mac)> {
    // A whole Ethernet header.
    bytes.get(..14)?;
    let (destination, rest) = bytes.split_first_chunk()?;
    let source: &Mac = rest.first_chunk()?;
    (source[0] & 1 == 0 && *source != [0; 6]).then_some((*destination, *source))
}

/// An address in the usual notation.
struct Shown(Mac);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shown([a, b, c, d, e, g]) = self;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Chapter for NetCardRules {
    fn new(_kind: DeviceKind) -> Self {
        NetCardRules {
            watching: true,
            learnt: 0,
            life: Life::default(),
        }
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        if session.kind != DeviceKind::Net {
            return;
        }
        match event {
            ControlEvent::Net(event) => self.net(event, session, verdicts),
            ControlEvent::Status(event) => {
                if let Some(end) = End::of(*event) {
                    self.life.end(end, verdicts);
                }
                // A device that needs a reset takes neither packets nor commands.
                if event.asks_for_reset() || matches!(event, StatusEvent::NeedsReset) {
                    self.life = Life::default();
                    self.watching = true;
                }
            }
            ControlEvent::Register(RegisterEvent::Read(register)) => {
                if register.structure == Structure::Device {
                    self.read(register, session, verdicts);
                }
            }
            ControlEvent::Latitude(LatitudeEvent::Shown(Latitude::LINK_FLAPS)) => {
                if session.has(net::STATUS) {
                    self.life.look_again.open(());
                }
            }
            ControlEvent::Clock(ClockEvent::Tick) => self.life.tick(session.acted, verdicts),
            ControlEvent::Register(_)
            | ControlEvent::Latitude(_)
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
