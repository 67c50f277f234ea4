//! Feature negotiation (§2.2, §3.1, §5.1.3.1, §6).

use super::{Chapter, goes_live};
use crate::event::Event;
use crate::features::{self, VERSION_1, block, names, net};
use crate::judge::Verdicts;
use crate::layout::{DeviceKind, Structure, status};
use crate::requirement::Req;
use crate::requirements;
use crate::session::Session;

requirements! {
    after super::status::END;

    OFFERED = "features.offered", Driver MustNot ["2.2.1-1"], Asserted,
        "The driver accepts no feature bit that the device does not offer.";
    READ_FIRST = "features.read-first", Driver Must ["3.1.1-1"], Asserted,
        "The driver has read every word of device_feature from which it accepts bits.",
        readings [
            "once": "Having read them once is enough, for what a device offers stays the same.",
            "each-time": "They are read in every initialization: each reset begins the sequence anew.",
        ];
    STEP = "features.configuration-read", Driver Must ["3.1.1-1", "3.1.1-2"], Asserted,
        "Until FEATURES_OK is set, the configuration is read and features are written in an order in which both sides know what they deal with.",
        readings [
            "any-order": "Any order will do, and features may be written several times.",
            "features-first": "The configuration is read only after the features accepted have been written, so that the device knows what it shows it for.",
            "as-listed": "Features are read, then the configuration to decide on them, then features are written, once.",
        ];
    AFTER_DRIVER = "features.after-driver", Driver Must ["3.1.1-1", "2.1.1-1"], Asserted,
        "The driver writes driver_feature only after it has set DRIVER.";
    FINAL = "features.none-after-features-ok", Driver MustNot ["3.1.1-3"], Asserted,
        "Once FEATURES_OK has been set, the driver accepts no further feature bits.";
    RENEGOTIATION = "features.renegotiate-by-reset", Driver Must ["2.2"], Asserted,
        "Once FEATURES_OK has been set, features are negotiated anew only after a reset.";
    ACCEPT_VERSION_1 = "features.version-1", Driver Must ["6.1-1"], Asserted,
        "The driver accepts VIRTIO_F_VERSION_1 where it is offered.";
    ACCEPT_RO = "block.features.ro", Driver Should ["5.2.6.1-2"], Asserted,
        "The driver accepts VIRTIO_BLK_F_RO where it is offered.";
    ACCEPT_MAC = "net.features.mac", Driver Should ["5.1.4.2-1"], Asserted,
        "The driver accepts VIRTIO_NET_F_MAC where it is offered.";
    CAN_FLUSH = "block.features.flush", Driver ShouldNot ["5.2.5.1-1"],
        Unobservable("a driver that sends no flush may be unable to, or may have had nothing to flush"),
        "A driver that cannot send flush requests does not accept VIRTIO_BLK_F_FLUSH.";

    NEEDS_GUEST_TSO4 = "net.features.dependency.guest-tso4", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_GUEST_TSO4 is accepted only together with GUEST_CSUM.";
    NEEDS_GUEST_TSO6 = "net.features.dependency.guest-tso6", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_GUEST_TSO6 is accepted only together with GUEST_CSUM.";
    NEEDS_GUEST_ECN = "net.features.dependency.guest-ecn", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_GUEST_ECN is accepted only together with GUEST_TSO4 or GUEST_TSO6.";
    NEEDS_GUEST_UFO = "net.features.dependency.guest-ufo", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_GUEST_UFO is accepted only together with GUEST_CSUM.";
    NEEDS_HOST_TSO4 = "net.features.dependency.host-tso4", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_HOST_TSO4 is accepted only together with CSUM.";
    NEEDS_HOST_TSO6 = "net.features.dependency.host-tso6", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_HOST_TSO6 is accepted only together with CSUM.";
    NEEDS_HOST_ECN = "net.features.dependency.host-ecn", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_HOST_ECN is accepted only together with HOST_TSO4 or HOST_TSO6.";
    NEEDS_HOST_UFO = "net.features.dependency.host-ufo", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_HOST_UFO is accepted only together with CSUM.";
    NEEDS_CTRL_RX = "net.features.dependency.ctrl-rx", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_CTRL_RX is accepted only together with CTRL_VQ.";
    NEEDS_CTRL_VLAN = "net.features.dependency.ctrl-vlan", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_CTRL_VLAN is accepted only together with CTRL_VQ.";
    NEEDS_GUEST_ANNOUNCE = "net.features.dependency.guest-announce", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_GUEST_ANNOUNCE is accepted only together with CTRL_VQ.";
    NEEDS_MQ = "net.features.dependency.mq", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_MQ is accepted only together with CTRL_VQ.";
    NEEDS_CTRL_MAC_ADDR = "net.features.dependency.ctrl-mac-addr", Driver MustNot ["2.2.1-1", "5.1.3.1"], Asserted,
        "VIRTIO_NET_F_CTRL_MAC_ADDR is accepted only together with CTRL_VQ.";
}

/// Who says so for each feature of a network device that needs another (§5.1.3.1).
static NET_NEEDS: [(u64, Req); 13] = [
    (net::GUEST_TSO4, NEEDS_GUEST_TSO4),
    (net::GUEST_TSO6, NEEDS_GUEST_TSO6),
    (net::GUEST_ECN, NEEDS_GUEST_ECN),
    (net::GUEST_UFO, NEEDS_GUEST_UFO),
    (net::HOST_TSO4, NEEDS_HOST_TSO4),
    (net::HOST_TSO6, NEEDS_HOST_TSO6),
    (net::HOST_ECN, NEEDS_HOST_ECN),
    (net::HOST_UFO, NEEDS_HOST_UFO),
    (net::CTRL_RX, NEEDS_CTRL_RX),
    (net::CTRL_VLAN, NEEDS_CTRL_VLAN),
    (net::GUEST_ANNOUNCE, NEEDS_GUEST_ANNOUNCE),
    (net::MQ, NEEDS_MQ),
    (net::CTRL_MAC_ADDR, NEEDS_CTRL_MAC_ADDR),
];

/// What this chapter remembers.
#[derive(Default)]
pub(crate) struct Rules {
    /// Which of the first two words of device_feature have ever been read. A driver that resumes
    /// does not always read them again (Linux does not).
    read: [bool; 2],
    /// … and which of them since the reset.
    read_again: [bool; 2],
    /// How the driver went about the configuration before FEATURES_OK, since the reset.
    step: Step,
    /// driver_feature, the first two words, as written since the reset.
    written: [u32; 2],
    /// A bit beyond the first 64 was accepted since the reset.
    beyond: bool,
    /// FEATURES_OK was written since the reset.
    asked: bool,
    /// The device has decided since the reset.
    decided: bool,
    /// Bits were accepted, or features changed, after FEATURES_OK since the reset.
    late: bool,
}

/// What came before what between DRIVER and FEATURES_OK.
#[derive(Clone, Copy, Default)]
struct Step {
    /// driver_feature has been written: its words, as bits.
    written: u64,
    /// The configuration was read before any word of it had been written.
    read_before: bool,
    /// … and after one had.
    read_after: bool,
    /// A word of it was written again.
    rewritten: bool,
}

impl Step {
    fn judge(self, verdicts: &mut Verdicts) {
        let Step {
            read_before,
            read_after,
            rewritten,
            ..
        } = self;
        verdicts.check_by(
            STEP,
            [true, !read_before, !read_after && !rewritten],
            None,
            || {
                let did = [
                    (
                        read_before,
                        "the configuration was read before driver_feature was written",
                    ),
                    (
                        read_after,
                        "the configuration was read after driver_feature had been written",
                    ),
                    (rewritten, "driver_feature was written more than once"),
                ];
                let did: Vec<_> = did
                    .iter()
                    .filter(|(done, _)| *done)
                    .map(|(_, what)| *what)
                    .collect();
                format!("FEATURES_OK set after {}", did.join(", and "))
            },
        );
    }
}

impl Rules {
    pub(crate) fn new(_kind: DeviceKind) -> Self {
        Rules::default()
    }

    fn feature_written(
        &mut self,
        select: u32,
        value: u32,
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        verdicts.check(
            AFTER_DRIVER,
            session.status & status::DRIVER != 0,
            None,
            || {
                format!(
                    "driver_feature (select {select}) written as {value:#x} while device status is {}",
                    status::names(session.status)
                )
            },
        );
        if !self.asked
            && let Some(bit) = 1_u64.checked_shl(select)
        {
            self.step.rewritten |= self.step.written & bit != 0;
            self.step.written |= bit;
        }
        let Some(word) = self.written.get_mut(select as usize) else {
            self.beyond |= value != 0;
            return;
        };
        if self.asked {
            let change = |bits: u32| names(session.kind, u64::from(bits) << (32 * select));
            let (added, removed) = (value & !*word, *word & !value);
            self.late |= added | removed != 0;
            if added != 0 {
                verdicts.violated(
                    FINAL,
                    None,
                    format!("{} accepted after FEATURES_OK", change(added)),
                );
            } else if removed != 0 {
                verdicts.violated(
                    RENEGOTIATION,
                    None,
                    format!("{} taken back after FEATURES_OK", change(removed)),
                );
            }
        }
        *word = value;
    }

    fn decided(&mut self, offered: u64, accepted: u64, session: &Session, verdicts: &mut Verdicts) {
        if self.decided {
            self.late = true;
            verdicts.violated(
                RENEGOTIATION,
                None,
                "FEATURES_OK set a second time without a reset".to_owned(),
            );
        }
        self.decided = true;

        let surplus = accepted & !offered;
        verdicts.check(OFFERED, surplus == 0 && !self.beyond, None, || {
            if surplus == 0 {
                "bits above 63 accepted, which the device does not offer".to_owned()
            } else {
                format!(
                    "{} accepted, which the device does not offer",
                    names(session.kind, surplus)
                )
            }
        });
        for (word, (ever, again)) in self.read.into_iter().zip(self.read_again).enumerate() {
            let bits = accepted & (u64::from(u32::MAX) << (32 * word));
            if bits != 0 {
                verdicts.check_by(READ_FIRST, [ever, again], None, || {
                    let when = if ever { "since the reset" } else { "ever" };
                    format!(
                        "{} accepted, but device_feature was not read with select {word} {when}",
                        names(session.kind, bits)
                    )
                });
            }
        }
        self.step.judge(verdicts);
        for (requirement, kind, bit) in [
            (ACCEPT_VERSION_1, None, VERSION_1),
            (ACCEPT_RO, Some(DeviceKind::Block), block::RO),
            (ACCEPT_MAC, Some(DeviceKind::Net), net::MAC),
        ] {
            if offered & bit != 0 && kind.is_none_or(|k| k == session.kind) {
                verdicts.check(requirement, accepted & bit != 0, None, || {
                    format!("{} offered and not accepted", names(session.kind, bit))
                });
            }
        }
        for &(bit, any_of) in features::dependencies(session.kind) {
            if accepted & bit != 0
                && let Some((_, requirement)) = NET_NEEDS.iter().find(|(of, _)| *of == bit)
            {
                verdicts.check(*requirement, accepted & any_of != 0, None, || {
                    format!(
                        "{} accepted without {}",
                        names(session.kind, bit),
                        names(session.kind, any_of)
                    )
                });
            }
        }
    }
}

impl Chapter for Rules {
    fn see(&mut self, event: &Event<'_>, session: &Session, verdicts: &mut Verdicts) {
        match *event {
            Event::DeviceFeaturesRead { select } => {
                if let Some(read) = self.read.get_mut(select as usize) {
                    *read = true;
                }
                if let Some(read) = self.read_again.get_mut(select as usize) {
                    *read = true;
                }
            }
            Event::RegisterRead(register)
                if register.structure == Structure::Device
                    && !self.asked
                    && session.status & status::DRIVER != 0 =>
            {
                if self.step.written == 0 {
                    self.step.read_before = true;
                } else {
                    self.step.read_after = true;
                }
            }
            Event::DriverFeaturesWritten { select, value } => {
                self.feature_written(select, value, session, verdicts);
            }
            Event::FeaturesDecided {
                offered, accepted, ..
            } => self.decided(offered, accepted, session, verdicts),
            Event::StatusWritten { to: 0, .. } => {
                *self = Rules {
                    read: self.read,
                    ..Rules::default()
                };
            }
            Event::StatusWritten { to, .. } => {
                self.asked |= to & status::FEATURES_OK != 0;
                if goes_live(event) && self.asked && !self.late {
                    verdicts.held(FINAL);
                    verdicts.held(RENEGOTIATION);
                }
            }
            _ => {}
        }
    }
}
