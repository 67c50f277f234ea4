//! Device status and the sequence of initialization (§2.1, §3.1 of virtio 1.0).

use super::Chapter;
use crate::advice::advice;
use crate::device::DeviceKind;
use crate::event::{ControlEvent, DataEvent, FeatureEvent, QueueEvent, RegisterEvent, StatusEvent};
use crate::judge::Verdicts;
use crate::latitude::Latitude;
use crate::layout::{Structure, status};
use crate::requirement::requirements;
use crate::session::Session;

requirements! {
    chapter Status;

    RESET_FIRST = "status.sequence.reset", Driver Must ["3.1.1-1"], Asserted,
        "Initialization begins with a reset: the driver writes 0 to device status before it sets any bit, also where another driver has used the device.";
    ACKNOWLEDGE = "status.sequence.acknowledge", Driver Must ["3.1.1-1", "2.1.1-1"], Asserted,
        "ACKNOWLEDGE is set before DRIVER, or together with it.",
        readings [
            "together": "Several steps may be reported in one write, if their order is not reversed.",
            "separate": "ACKNOWLEDGE is set by a write of its own, before DRIVER.",
        ];
    DRIVER = "status.sequence.driver", Driver Must ["3.1.1-1", "2.1.1-1"], Asserted,
        "DRIVER is set before FEATURES_OK, or together with it.",
        readings [
            "together": "Several steps may be reported in one write, if their order is not reversed.",
            "separate": "DRIVER is set by a write before the write that sets FEATURES_OK.",
        ];
    FEATURES_OK = "status.sequence.features-ok", Driver Must ["3.1.1-1", "2.1.1-1"], Asserted,
        "FEATURES_OK is set before DRIVER_OK.";
    RE_READ = "status.features-ok.re-read", Driver Must ["3.1.1-3", "3.1.1-1"], Asserted,
        "After setting FEATURES_OK, the driver reads device status to check whether the device kept it, before it sets up queues, reads optional configuration, writes configuration or sets DRIVER_OK.";
    REFUSAL = "status.features-ok.refusal", Driver MustNot ["3.1.1-5", "3.1.1-3"], Asserted,
        "If the device has not kept FEATURES_OK, the driver enables no queue and does not set DRIVER_OK.";
    NO_CLEAR = "status.no-clear", Driver MustNot ["2.1.1-2"], Asserted,
        "A driver only adds bits to device status; only a reset, by writing 0, clears bits.";
    FAILED_RESET = "status.failed.reset", Driver Must ["2.1.1-3"], Asserted,
        "A driver that has set FAILED resets the device before it initializes it again.",
        readings [
            "takes-back": "Initialization starts again with a write that clears FAILED, or with features written after ACKNOWLEDGE or DRIVER was written again: bits alone start nothing while FAILED is set.",
            "any-step": "Initialization starts again also with a write that sets ACKNOWLEDGE or DRIVER.",
        ];
    FAILED_STOP = "status.failed.stop", Driver MustNot ["3.1.1-5"], Asserted,
        "A driver that has set FAILED does not continue with further steps of initialization.";
    RESET_WAIT = "status.reset.wait", Driver Must ["4.1.4.3.2-4"], Asserted,
        "After writing 0 to device status, the driver reads it until it is 0 before it sets bits again.";
    UNDEFINED = "status.undefined-bits", Driver ShouldNot ["2.1"], Asserted,
        "The driver sets no undefined bit of device status.";
    NEEDS_RESET = "status.needs-reset.by-device", Driver ShouldNot ["2.1"], Asserted,
        "Only the device sets DEVICE_NEEDS_RESET: the driver does not set it.";
    RECOVERS = "status.needs-reset.recovery", Driver May ["2.1.1"], Provoked(Latitude::NEEDS_RESET),
        "If the device needs a reset, the driver may reset it and start again.";

    @unobservable {
        "status.needs-reset.no-reliance", Driver ShouldNot ["2.1.1-4"],
            "a device cannot see what a driver expects of requests in flight",
            "While DEVICE_NEEDS_RESET is set, the driver does not rely on the completion of requests in flight.";
    }
}

advice! {
    "status":
        "A write to device_status is out of sequence. Many devices do not check this; the driver fails with a device that does.";
        "Write device_status only to add the bit of the step just completed to what was read, in the order of the initialization sequence; write 0 to reset.";
    "status.sequence.reset":
        "The first write to device_status sets a bit. After a boot loader or a crash kernel has used the device, it is still live and writes to memory that no longer belongs to it.";
        "Write 0 to device_status and wait until it reads as 0, before any other access to the device.";
    "status.sequence.driver":
        "FEATURES_OK is set although DRIVER was not set.";
        "Set DRIVER when the driver is bound to the device, before reading features.";
    "status.sequence.features-ok":
        "DRIVER_OK is set without FEATURES_OK: the device cannot refuse a set of features. This is typical of drivers written for devices before virtio 1.0.";
        "After writing driver_feature, set FEATURES_OK, read device_status back, and continue only if it is still set.";
    "status.features-ok":
        "The driver continues although the device has cleared FEATURES_OK, or without reading it: driver and device then use different features.";
        "Read device_status at once after setting FEATURES_OK. If the bit is clear, accept fewer features after a reset, or set FAILED and give up.";
    "status.no-clear":
        "A write to device_status lacks a bit that was set, usually because the driver writes a constant instead of adding to what it read.";
        "Keep the status written so far, or read it, and add to it; to clear a bit, reset the device.";
    "status.failed":
        "After FAILED, the driver sets further bits, writes features or enables queues as if nothing had happened.";
        "When a probe fails, set FAILED and do not access the device any more. To try again, write 0 to device_status first.";
    "status.reset.wait":
        "0 is written to device_status and the next step follows at once. A device that stops its queues slowly still uses the old memory.";
        "Poll device_status until it reads as 0 before freeing or reusing any memory of the device's queues, and before setting a bit.";
}

/// Every bit that §2.1 defines.
const DEFINED: u8 = status::ACKNOWLEDGE
    | status::DRIVER
    | status::DRIVER_OK
    | status::FEATURES_OK
    | status::DEVICE_NEEDS_RESET
    | status::FAILED;

/// The state of this chapter's rules of one initialization; a reset begins a new one.
#[derive(Default)]
pub(crate) struct StatusRules {
    /// The driver has set a bit.
    begun: bool,
    /// FEATURES_OK has been written.
    asked: bool,
    /// The device did not keep it.
    refused: bool,
    /// Device status has been read since it was written.
    re_read: bool,
    /// After FAILED, a bit of the first steps was written again.
    repeats_steps: bool,
    /// Whether it waited for the reset has been judged.
    wait_judged: bool,
    /// The device needs a reset.
    needs_reset: bool,
    /// What has been reported: each is named once in an initialization, not once a write.
    named: Named,
}

/// What has been reported of one initialization.
#[derive(Default)]
struct Named {
    /// A device in use was initialized again.
    again: bool,
    /// The driver relied on features without the re-read.
    re_read: bool,
    /// The driver continued despite the refusal.
    refusal: bool,
    /// The driver initialized the device again after FAILED.
    failed_reset: bool,
    /// The driver continued after FAILED.
    failed_stop: bool,
}

impl StatusRules {
    fn reset(&mut self, from: u8, session: &Session, verdicts: &mut Verdicts) {
        if self.needs_reset && session.latitudes.has(Latitude::NEEDS_RESET) {
            verdicts.held(RECOVERS);
        }
        // Until the reset is complete, the device presents the bits of before.
        if from & status::FAILED != 0 && !session.resetting {
            if !self.named.failed_reset {
                verdicts.held(FAILED_RESET);
            }
            if !self.named.failed_stop && !self.named.failed_reset {
                verdicts.held(FAILED_STOP);
            }
        }
        if self.refused && !self.named.refusal {
            verdicts.held(REFUSAL);
        }
        *self = StatusRules::default();
    }

    fn written(
        &mut self,
        event: StatusEvent,
        [from, to]: [u8; 2],
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        let says = || {
            format!(
                "device status written as {} while it was {}",
                status::names(to),
                status::names(from)
            )
        };
        let (added, either) = (to & !from, to | from);
        if !std::mem::replace(&mut self.begun, true) {
            let ok = verdicts.check(RESET_FIRST, session.resets > 0, None, || {
                format!("{}, without a reset before", says())
            });
            self.named.again = !ok && from != 0;
        } else if event.begins_again() {
            self.begins_again(verdicts, says);
        }
        // Giving up is no initialization.
        if added & !status::FAILED != 0 {
            self.waits(session, verdicts, says);
        }
        // Only the device sets DEVICE_NEEDS_RESET: a driver that writes back a status which it read
        // before the device set the bit does not clear it.
        let cleared = from & !to & !status::DEVICE_NEEDS_RESET;
        // A driver that has not reset the device does not know what is set.
        let clears = cleared != 0 && !self.named.again;
        verdicts.check(NO_CLEAR, !clears, None, || {
            format!("{}: this clears {}", says(), status::names(cleared))
        });
        if from & status::FAILED != 0 {
            let takes_back = cleared & status::FAILED != 0;
            let first_steps = status::ACKNOWLEDGE | status::DRIVER;
            self.repeats_steps |= to & first_steps != 0;
            if takes_back || added & first_steps != 0 {
                self.initializes_after_failed([!takes_back, false], verdicts, says);
            }
            if !takes_back && added & (status::FEATURES_OK | status::DRIVER_OK) != 0 {
                self.goes_on(verdicts, says);
            }
        }
        // In order, whether the bits are written one by one or added up.
        if added & status::DRIVER != 0 {
            let together = either & status::ACKNOWLEDGE != 0;
            let separate = from & status::ACKNOWLEDGE != 0;
            verdicts.check_by(ACKNOWLEDGE, [together, separate], None, says);
        }
        // Bits written over a refusal that the driver ignores are no further question.
        let ignores = self.refused && added & status::DRIVER_OK != 0;
        if added & status::FEATURES_OK != 0 && !ignores {
            self.asked = true;
            self.re_read = false;
            let together = either & status::DRIVER != 0;
            let separate = from & status::DRIVER != 0;
            verdicts.check_by(DRIVER, [together, separate], None, says);
        }
        if added & status::DRIVER_OK != 0 {
            self.driver_ok(verdicts, says);
        }
        let undefined = added & !DEFINED;
        verdicts.check(UNDEFINED, undefined == 0, None, || {
            format!("{}: {} is undefined", says(), status::names(undefined))
        });
        verdicts.check(
            NEEDS_RESET,
            added & status::DEVICE_NEEDS_RESET == 0,
            None,
            says,
        );
    }

    /// A device that has been initialized is initialized again, without a reset.
    fn begins_again(&mut self, verdicts: &mut Verdicts, says: impl Fn() -> String) {
        if !std::mem::replace(&mut self.named.again, true) {
            verdicts.violated(
                RESET_FIRST,
                None,
                format!(
                    "{}: a device that is initialized already is initialized again, without a reset",
                    says()
                ),
            );
        }
    }

    /// The driver initializes the device: by now it has seen that a reset is complete.
    fn waits(&mut self, session: &Session, verdicts: &mut Verdicts, says: impl Fn() -> String) {
        if session.resets > 0 && !std::mem::replace(&mut self.wait_judged, true) {
            verdicts.check(RESET_WAIT, !session.reset_unconfirmed, None, || {
                format!(
                    "{}, before device status was read as 0 after the reset",
                    says()
                )
            });
        }
    }

    fn driver_ok(&mut self, verdicts: &mut Verdicts, says: impl Fn() -> String) {
        let asked = self.asked;
        if !verdicts.check(FEATURES_OK, asked, None, || {
            format!("{}, without FEATURES_OK", says())
        }) {
            return;
        }
        self.relies(verdicts, &says);
        if !self.named.re_read {
            verdicts.held(RE_READ);
        }
        self.ignores_refusal(verdicts, says);
    }

    /// The driver does something that relies on the features it has asked for.
    fn relies(&mut self, verdicts: &mut Verdicts, says: impl Fn() -> String) {
        if self.asked && !self.re_read && !std::mem::replace(&mut self.named.re_read, true) {
            verdicts.violated(
                RE_READ,
                None,
                format!(
                    "{}, without reading device status after setting FEATURES_OK",
                    says()
                ),
            );
        }
    }

    /// The driver goes on; it may have been refused.
    fn ignores_refusal(&mut self, verdicts: &mut Verdicts, says: impl Fn() -> String) {
        if self.refused && !std::mem::replace(&mut self.named.refusal, true) {
            verdicts.violated(
                REFUSAL,
                None,
                format!("{}, although the device had not kept FEATURES_OK", says()),
            );
        }
    }

    fn initializes_after_failed(
        &mut self,
        by: [bool; 2],
        verdicts: &mut Verdicts,
        says: impl Fn() -> String,
    ) {
        if !self.named.failed_reset {
            self.named.failed_reset = !by[0];
            verdicts.check_by(FAILED_RESET, by, None, || {
                format!("{}, without a reset since FAILED", says())
            });
        }
    }

    fn goes_on(&mut self, verdicts: &mut Verdicts, says: impl Fn() -> String) {
        if self.named.failed_reset {
            return;
        }
        if !std::mem::replace(&mut self.named.failed_stop, true) {
            verdicts.violated(
                FAILED_STOP,
                None,
                format!("{} after the driver had set FAILED", says()),
            );
        }
    }

    fn features_written(&mut self, session: &Session, verdicts: &mut Verdicts) {
        let says = || "driver_feature written".to_owned();
        if session.reset_unconfirmed {
            self.waits(session, verdicts, says);
        }
        if session.status & status::FAILED != 0 {
            if self.repeats_steps {
                self.initializes_after_failed([false, false], verdicts, says);
            } else {
                self.goes_on(verdicts, says);
            }
        } else if session.is_live() && session.not_reset {
            self.begins_again(verdicts, says);
        }
    }

    fn queue(&mut self, event: QueueEvent, session: &Session, verdicts: &mut Verdicts) {
        match event {
            QueueEvent::EnableWritten {
                queue, value: 1, ..
            } => {
                let says = || format!("queue {queue} enabled");
                if session.reset_unconfirmed {
                    self.waits(session, verdicts, says);
                }
                if session.status & status::FAILED != 0 {
                    self.goes_on(verdicts, says);
                }
                self.relies(verdicts, says);
                self.ignores_refusal(verdicts, says);
            }
            QueueEvent::SizeWritten { queue, .. } | QueueEvent::AddressWritten { queue, .. } => {
                self.relies(verdicts, || format!("queue {queue} set up"));
            }
            QueueEvent::EnableWritten { .. } | QueueEvent::SizeRead { .. } => {}
        }
    }

    /// An access to configuration that depends on the features: it is written, or an optional field
    /// read.
    fn register(&mut self, event: RegisterEvent, session: &Session, verdicts: &mut Verdicts) {
        let (register, written) = match event {
            RegisterEvent::Read(register) => (register, false),
            RegisterEvent::Written(register) => (register, true),
        };
        if register.structure != Structure::Device || !self.asked || self.re_read {
            return;
        }
        let mut fields = session.kind.config_fields().iter();
        let field = fields.find(|field| {
            register.overlaps(field.offset, field.len()) && (written || field.feature != 0)
        });
        if let Some(field) = field {
            let did = if written { "written" } else { "read" };
            self.relies(verdicts, || format!("{} {did}", field.name));
        }
    }
}

impl Chapter for StatusRules {
    fn new(_kind: DeviceKind) -> Self {
        StatusRules::default()
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match *event {
            ControlEvent::Status(event) => match event {
                StatusEvent::Written { from, to: 0 } => self.reset(from, session, verdicts),
                StatusEvent::Written { from, to } => {
                    self.written(event, [from, to], session, verdicts);
                }
                // As above. Until the reset is complete, the device presents the bits of before.
                StatusEvent::WrittenDuringReset { to }
                    if to & !session.status == status::FAILED =>
                {
                    self.wait_judged = true;
                }
                StatusEvent::WrittenDuringReset { to } => {
                    self.waits(session, verdicts, || {
                        format!("device status written as {}", status::names(to))
                    });
                }
                StatusEvent::Read { .. } => self.re_read |= self.asked,
                StatusEvent::NeedsReset => self.needs_reset = true,
                StatusEvent::ResetDone | StatusEvent::RunEnded { .. } => {}
            },
            ControlEvent::Feature(event) => match event {
                FeatureEvent::Decided { kept, .. } => self.refused = !kept,
                FeatureEvent::DriverWritten { .. } => self.features_written(session, verdicts),
                FeatureEvent::DeviceRead { .. } => {}
            },
            ControlEvent::Queue(event) => self.queue(event, session, verdicts),
            ControlEvent::Register(event) => self.register(event, session, verdicts),
            ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Config(_)
            | ControlEvent::Notification(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Net(_)
            | ControlEvent::Console(_) => {}
        }
    }

    #[inline(always)]
    fn data(&mut self, _: &DataEvent<'_>, _: &Session, _: &mut Verdicts) {}
}
