//! The network card as its driver has it: address, link, and announcing itself (§5.1.4, §5.1.6.5.2,
//! §5.1.6.5.4).
//!
//! An address shows in the packets sent. Those of others may pass through a driver, so only what all
//! of the first packets have in common says something, and only where nothing was done to receive for
//! others. The device shows the first packets of each life, and those after it has asked for an
//! announcement.

use super::Chapter;
use crate::event::{Event, NetCommand, NetTransmit, Register};
use crate::features::net;
use crate::judge::Verdicts;
use crate::layout::{DeviceKind, Structure, status};
use crate::protocol;
use crate::protocol::net::config::STATUS;
use crate::protocol::net::{class, mac, rx};
use crate::requirements;
use crate::session::Session;

requirements! {
    after super::net_control::END;

    MAC_TAKEN = "net.mac.taken", Driver Must ["5.1.4.2-2"], Asserted,
        "With VIRTIO_NET_F_MAC, the card's address is the one in mac.",
        readings [
            "learnt": "Whoever runs the guest may give the card another address later, and the device need not be told: only a driver that has never read mac cannot have taken it.",
            "in-use": "The address in use is the one in mac, or one the device was told of by MAC_ADDR_SET.",
        ];
    MAC_LOCAL = "net.mac.local", Driver Should ["5.1.4.2-3"], Asserted,
        "Without VIRTIO_NET_F_MAC, the card's address is a locally administered one.";
    MAC_TOLD = "net.mac.told", Driver Should ["5.1.6.5.2.2-2"], Asserted,
        "With VIRTIO_NET_F_CTRL_RX, a card whose address is not mac is given it by MAC_ADDR_SET.";
    LINK_READ = "net.link.read", Driver Should ["5.1.4.2-4"], Asserted,
        "With VIRTIO_NET_F_STATUS, the driver learns from status whether the link is up.";
    LINK_ASSUMED = "net.link.assumed", Driver Should ["5.1.4.2-4"], Asserted,
        "Without VIRTIO_NET_F_STATUS, the driver takes the link for active.",
        readings [
            "sends": "It sends packets; what it has looked at before is its own affair.",
            "unread": "It does not look at status at all once features are negotiated.",
        ];
    ANNOUNCED = "net.announce.sent", Driver Should ["5.1.6.5.4.1-1"], Provoked("announce"),
        "Having seen VIRTIO_NET_S_ANNOUNCE in status, the driver sends a packet to all its peers.";
}

type Mac = [u8; 6];

/// So many packets that come all from one other address are the card's own.
const OWN: u32 = 32;

/// A driver that has sent so many packets and not looked at the link will not.
const UNLOOKED: u32 = 256;

/// So many packets of the card's own do not go before an announcement.
const UNANNOUNCED: u32 = 1 << 16;

/// VIRTIO_NET_S_ANNOUNCE, in the low byte of status (§5.1.4).
const S_ANNOUNCE: u64 = protocol::net::status::ANNOUNCE as u64;

/// What this chapter remembers.
pub(crate) struct Rules {
    /// Something is still to be seen in packets.
    watching: bool,
    /// Which bytes of mac have been read, in any life.
    learnt: u8,
    life: Life,
}

/// From one reset to the next.
#[derive(Default)]
struct Life {
    /// mac, as the device has it since it came to life.
    mac: Option<Mac>,
    /// What MAC_ADDR_SET said last.
    set: Option<Mac>,
    /// The driver receives, or may receive, what is for other addresses than its own.
    open: bool,
    /// Packets sent, as long as they are watched.
    packets: u32,
    sources: Sources,
    /// status was read.
    looked: bool,
    /// Since the driver has seen that it is to announce itself: packets of its own.
    announce: Option<u32>,
}

/// Where packets came from that did not come from the card's address.
#[derive(Default)]
struct Sources {
    /// The address all came from.
    one: Mac,
    /// How many.
    packets: u32,
    /// There were several addresses, or the card's was among them.
    mixed: bool,
}

impl Rules {
    pub(crate) fn new(_kind: DeviceKind) -> Self {
        Rules {
            watching: true,
            learnt: 0,
            life: Life::default(),
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
        if self.watching {
            self.watch(packet, session, verdicts);
        }
    }

    #[inline(never)]
    fn watch(&mut self, packet: &NetTransmit<'_>, session: &Session, verdicts: &mut Verdicts) {
        let life = &mut self.life;
        life.packets += 1;
        if session.has(net::STATUS) {
            if life.packets == UNLOOKED && !life.looked {
                let message = format!("{UNLOOKED} packets sent, and status was never read");
                verdicts.violated(LINK_READ, None, message);
            }
        } else if life.packets == 1 {
            // What was read has been judged.
            let by = [Some(true), (!life.looked).then_some(true)];
            verdicts.check_by(LINK_ASSUMED, by, None, String::new);
        }
        if let Some((destination, source)) = addresses(packet.bytes) {
            life.came_from(source, self.learnt == 0x3f, session, verdicts);
            life.went_to(destination, source, verdicts);
        }
        self.watching = life.packets < UNLOOKED || life.announce.is_some();
    }

    fn read(&mut self, register: &Register, session: &Session, verdicts: &mut Verdicts) {
        let covers = |at| {
            register.offset <= at && at < register.offset.saturating_add(register.width.into())
        };
        for byte in (0..6).filter(|byte| covers(*byte)) {
            self.learnt |= 1 << byte;
        }
        if !covers(STATUS) {
            return;
        }
        let settled = session.status & status::FEATURES_OK != 0;
        if session.has(net::STATUS) {
            verdicts.held(LINK_READ);
        } else if settled {
            verdicts.check_by(LINK_ASSUMED, [None, Some(false)], None, || {
                "status read, without VIRTIO_NET_F_STATUS".to_owned()
            });
        }
        self.life.looked = true;
        if register.value >> (8 * (STATUS - register.offset)) & S_ANNOUNCE != 0
            && session.has(net::STATUS | net::GUEST_ANNOUNCE)
            && session.is_live()
            && self.life.announce.is_none()
        {
            self.life.announce = Some(0);
            self.watching = true;
        }
    }
}

impl Life {
    /// A packet came from `source`.
    fn came_from(&mut self, source: Mac, learnt: bool, session: &Session, verdicts: &mut Verdicts) {
        let given = session.has(net::MAC);
        let right = if given {
            self.is_own(source)
        } else {
            source[0] & 2 != 0
        };
        if right {
            if given {
                verdicts.check_by(MAC_TAKEN, [true, true], None, String::new);
            } else {
                verdicts.held(MAC_LOCAL);
            }
            self.sources.mixed = true;
        } else if self.sources.are_all(source) && self.sources.packets == OWN && !self.open {
            let shown = Shown(source);
            if !given {
                let message = format!("{OWN} packets from {shown}, which is universal");
                verdicts.violated(MAC_LOCAL, None, message);
                return;
            }
            // Without a mac there is nothing to hold it against.
            let Some(mac) = self.mac.map(Shown) else {
                return;
            };
            let by = [(!learnt).then_some(false), Some(false)];
            verdicts.check_by(MAC_TAKEN, by, None, || {
                let read = if learnt { "" } else { ", and was never read" };
                format!("{OWN} packets from {shown}; mac is {mac}{read}")
            });
            if session.has(net::CTRL_RX) {
                let message = format!("{OWN} packets from {shown}; mac is {mac}");
                verdicts.violated(MAC_TOLD, None, message);
            }
        }
    }

    /// Whether `source` is the card's address, as far as the device knows.
    fn is_own(&self, source: Mac) -> bool {
        [self.mac, self.set].contains(&Some(source))
    }

    /// A packet of `source` went to `destination`.
    fn went_to(&mut self, destination: Mac, source: Mac, verdicts: &mut Verdicts) {
        let own = self.is_own(source);
        let Some(packets) = &mut self.announce else {
            return;
        };
        if destination[0] & 1 != 0 {
            self.announce = None;
            verdicts.held(ANNOUNCED);
        } else if own {
            *packets += 1;
            if *packets == UNANNOUNCED {
                self.announce = None;
                let message = format!(
                    "VIRTIO_NET_S_ANNOUNCE was read, and {UNANNOUNCED} packets were sent, none of them to more than one peer"
                );
                verdicts.violated(ANNOUNCED, None, message);
            }
        }
    }

    fn commanded(&mut self, command: &NetCommand<'_>, session: &Session, verdicts: &mut Verdicts) {
        match (command.class, command.command, command.data) {
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
                    verdicts.held(MAC_TOLD);
                }
                self.set = Some(mac);
                self.sources = Sources::default();
            }
            _ => {}
        }
    }
}

/// With either of them a device obeys MAC_ADDR_SET.
const MAY_SET: u64 = net::CTRL_RX | net::CTRL_MAC_ADDR;

impl Sources {
    /// Counts a packet from `source`; whether all have come from there.
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

/// An address as people write it.
struct Shown(Mac);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shown([a, b, c, d, e, g]) = self;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Chapter for Rules {
    fn see(&mut self, event: &Event<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            Event::NetAddress { mac } => self.life.mac = Some(*mac),
            Event::StatusWritten { to: 0, .. } => {
                self.life = Life::default();
                self.watching = true;
            }
            Event::RegisterRead(register)
                if session.kind == DeviceKind::Net && register.structure == Structure::Device =>
            {
                self.read(register, session, verdicts);
            }
            Event::NetCommand(command) => self.life.commanded(command, session, verdicts),
            _ => {}
        }
    }
}
