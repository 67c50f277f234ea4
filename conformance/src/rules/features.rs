//! Feature negotiation (§2.2, §3.1, §6 of virtio 1.0).

use super::Chapter;
use crate::advice::advice;
use crate::device::DeviceKind;
use crate::event::{ControlEvent, DataEvent, FeatureEvent, RegisterEvent, StatusEvent};
use crate::features::{self, VERSION_1, names};
use crate::judge::Verdicts;
use crate::latitude::Latitude;
use crate::layout::{Structure, status};
use crate::requirement::{Req, requirements};
use crate::session::Session;

requirements! {
    chapter Features;

    OFFERED = "features.offered", Driver MustNot ["2.2.1-1"], Asserted,
        "The driver accepts no feature bit that the device does not offer.";
    READ_FIRST = "features.read-first", Driver Must ["3.1.1-1"], Asserted,
        "The driver reads every word of device_feature from which it accepts bits.",
        readings [
            "once": "It is enough to read them once, because the offered features do not change.",
            "each-time": "They are read in every initialization, because each reset starts the sequence again.",
        ];
    STEP = "features.configuration-read", Driver Must ["3.1.1-1", "3.1.1-2"],
        Proposed("issue 241 of oasis-tcs/virtio-spec"),
        "Until FEATURES_OK is set, the driver reads the configuration and writes features in an order that both sides can follow.",
        readings [
            "any-order": "Any order is allowed, and features may be written several times.",
            "features-first": "The configuration is read only after the features accepted have been written, so that the device knows the features for which it presents the configuration.",
            "as-listed": "Features are read, then the configuration to decide on them, then features are written, once.",
        ];
    AFTER_DRIVER = "features.after-driver", Driver Must ["3.1.1-1", "2.1.1-1"], Asserted,
        "The driver writes driver_feature only after it has set DRIVER.";
    FINAL = "features.none-after-features-ok", Driver MustNot ["3.1.1-3"], Asserted,
        "Once FEATURES_OK has been set, the driver accepts no further feature bits.";
    RENEGOTIATION = "features.renegotiate-by-reset", Driver Must ["2.2"], Asserted,
        "Once FEATURES_OK has been set, features are negotiated again only after a reset.";
    ACCEPT_VERSION_1 = "features.version-1", Driver Must ["6.1-1"], Asserted,
        "The driver accepts VIRTIO_F_VERSION_1 if it is offered.";
    UNKNOWN = "features.unknown", Driver MustNot ["2.2"], Provoked(Latitude::UNKNOWN_FEATURES),
        "The driver does not accept unassigned feature bits.";

    @unobservable {
        "features.version-1.missing", Driver May ["6.1-2"],
            "a device of virtio 1.0 always offers VIRTIO_F_VERSION_1 (§6.2), so no device can see what a driver does without it",
            "The driver may fail if VIRTIO_F_VERSION_1 is not offered.";
    }
}

advice! {
    "features":
        "The features written do not match the features offered, or are written at the wrong time.";
        "After DRIVER, read both words of device_feature, keep the bits that the driver implements and whose dependencies are met, write both words of driver_feature, then set FEATURES_OK; later changes need a reset.";
    "features.offered":
        "A bit is accepted that the device does not offer, usually because the driver writes a constant. The device does not implement the feature on which the driver then relies.";
        "Write the bitwise AND of the offered features and the features that the driver supports.";
    "features.read-first":
        "Features are accepted from a word that was not read, often bit 32 (VERSION_1).";
        "Write 0, then 1 to device_feature_select, and read device_feature each time.";
    "features.version-1":
        "VIRTIO_F_VERSION_1 is offered and bit 0 of the second word of driver_feature is not set; the device may refuse to work.";
        "Always include bit 32 in the features that the driver supports.";
    "features.configuration-read":
        "The specification does not forbid this order of reading the configuration and writing features, but the order is debated.";
        "Read features, read the parts of the configuration on which the choice of features depends, write features once, set FEATURES_OK.";
}

/// The state of this chapter's rules.
#[derive(Default)]
pub(crate) struct FeatureRules {
    /// Which of the first two words of device_feature have ever been read. A driver that resumes
    /// does not always read them again (Linux does not).
    read: [bool; 2],
    /// … and which of them since the reset.
    read_again: [bool; 2],
    /// The order in which the driver accessed features and configuration before FEATURES_OK, since the
    /// reset.
    step: Step,
    /// driver_feature, the first two words, as written since the reset.
    written: [u32; 2],
    /// driver_feature was written before DRIVER was set, since the reset.
    early: bool,
    /// A bit beyond the first 64 was accepted since the reset.
    beyond: bool,
    /// FEATURES_OK was written since the reset.
    asked: bool,
    /// The features on which the device has decided, since the reset.
    decided: Option<u64>,
    /// The last write to device status set DRIVER_OK.
    goes_live: bool,
    /// Bits were accepted, or features changed, after FEATURES_OK since the reset.
    late: bool,
}

/// The order of accesses between DRIVER and FEATURES_OK.
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

impl FeatureRules {
    fn feature_written(
        &mut self,
        select: u32,
        value: u32,
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        let driver = session.status & status::DRIVER != 0;
        if driver || !std::mem::replace(&mut self.early, true) {
            verdicts.check(AFTER_DRIVER, driver, None, || {
                format!(
                    "driver_feature (select {select}) written as {value:#x} while device status is {}",
                    status::names(session.status)
                )
            });
        }
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
        // What is written to a device that is initialized again without a reset follows from that.
        if self.asked && !session.not_reset {
            let change = |bits: u32| names(session.kind, u64::from(bits) << (32 * select));
            let (added, removed) = (value & !*word, *word & !value);
            let named = self.late;
            self.late |= added | removed != 0;
            if added != 0 && !named {
                verdicts.violated(
                    FINAL,
                    None,
                    format!("{} accepted after FEATURES_OK", change(added)),
                );
            } else if removed != 0 && !named {
                verdicts.violated(
                    RENEGOTIATION,
                    None,
                    format!("{} removed after FEATURES_OK", change(removed)),
                );
            }
        }
        *word = value;
    }

    fn decided(&mut self, offered: u64, accepted: u64, session: &Session, verdicts: &mut Verdicts) {
        if let Some(before) = self.decided.replace(accepted) {
            // FEATURES_OK beside DRIVER_OK, over a refusal that is ignored, asks for nothing again.
            if self.goes_live {
                return;
            }
            if !std::mem::replace(&mut self.late, true) {
                verdicts.violated(
                    RENEGOTIATION,
                    None,
                    "FEATURES_OK set a second time without a reset".to_owned(),
                );
            }
            if accepted == before {
                return;
            }
        }

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
        accept_offered(
            ACCEPT_VERSION_1,
            VERSION_1,
            offered,
            accepted,
            session,
            verdicts,
        );
        if session.latitudes.has(Latitude::UNKNOWN_FEATURES) {
            let unknown = accepted & features::UNKNOWN;
            verdicts.check(UNKNOWN, unknown == 0, None, || {
                format!("the unassigned bits {unknown:#x} accepted")
            });
        }
    }

    fn status(&mut self, event: StatusEvent, verdicts: &mut Verdicts) {
        match event {
            StatusEvent::Written { to: 0, .. } => {
                *self = FeatureRules {
                    read: self.read,
                    ..FeatureRules::default()
                };
            }
            StatusEvent::Written { to, .. } => {
                self.asked |= to & status::FEATURES_OK != 0;
                self.goes_live = event.sets_driver_ok();
                if event.sets_driver_ok() && self.asked && !self.late {
                    verdicts.held(FINAL);
                    verdicts.held(RENEGOTIATION);
                }
            }
            StatusEvent::Read { .. }
            | StatusEvent::WrittenDuringReset { .. }
            | StatusEvent::ResetDone
            | StatusEvent::NeedsReset
            | StatusEvent::RunEnded { .. } => {}
        }
    }
}

/// Judges whether `bit`, which a driver should accept if it is offered, was accepted.
pub(super) fn accept_offered(
    requirement: Req,
    bit: u64,
    offered: u64,
    accepted: u64,
    session: &Session,
    verdicts: &mut Verdicts,
) {
    if offered & bit != 0 {
        verdicts.check(requirement, accepted & bit != 0, None, || {
            format!("{} offered and not accepted", names(session.kind, bit))
        });
    }
}

impl Chapter for FeatureRules {
    fn new(_kind: DeviceKind) -> Self {
        FeatureRules::default()
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match *event {
            ControlEvent::Feature(event) => match event {
                FeatureEvent::DeviceRead { select } => {
                    for read in [&mut self.read, &mut self.read_again] {
                        if let Some(read) = read.get_mut(select as usize) {
                            *read = true;
                        }
                    }
                }
                FeatureEvent::DriverWritten { select, value } => {
                    self.feature_written(select, value, session, verdicts);
                }
                FeatureEvent::Decided {
                    offered, accepted, ..
                } => self.decided(offered, accepted, session, verdicts),
            },
            ControlEvent::Register(RegisterEvent::Read(register))
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
            ControlEvent::Status(event) => self.status(event, verdicts),
            ControlEvent::Register(_)
            | ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Config(_)
            | ControlEvent::Queue(_)
            | ControlEvent::Notification(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Net(_)
            | ControlEvent::Console(_) => {}
        }
    }

    #[inline(always)]
    fn data(&mut self, _: &DataEvent<'_>, _: &Session, _: &mut Verdicts) {}
}
