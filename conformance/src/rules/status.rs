//! Device status and the sequence of initialization (§2.1, §3.1 of virtio 1.0).

use super::Chapter;
use crate::advice::advice;
use crate::device::DeviceKind;
use crate::event::{ControlEvent, DataEvent, FeatureEvent, QueueEvent, StatusEvent};
use crate::judge::Verdicts;
use crate::latitude::Latitude;
use crate::layout::status;
use crate::requirement::requirements;
use crate::session::Session;

requirements! {
    chapter Status;

    RESET_FIRST = "status.sequence.reset", Driver Must ["3.1.1-1"], Asserted,
        "Initialization begins with a reset: the driver writes 0 to device status before it sets any bit.";
    ACKNOWLEDGE = "status.sequence.acknowledge", Driver Must ["3.1.1-1", "2.1.1-1"], Asserted,
        "ACKNOWLEDGE is set before, or at the latest together with, DRIVER.",
        readings [
            "together": "Several steps may be told in one write, as long as their order is not reversed.",
            "separate": "ACKNOWLEDGE is set by a write of its own, before DRIVER.",
        ];
    DRIVER = "status.sequence.driver", Driver Must ["3.1.1-1", "2.1.1-1"], Asserted,
        "DRIVER is set before, or at the latest together with, FEATURES_OK.",
        readings [
            "together": "Several steps may be told in one write, as long as their order is not reversed.",
            "separate": "DRIVER is set by a write before the one that sets FEATURES_OK.",
        ];
    FEATURES_OK = "status.sequence.features-ok", Driver Must ["3.1.1-1", "2.1.1-1"], Asserted,
        "FEATURES_OK is set before DRIVER_OK.";
    RE_READ = "status.features-ok.re-read", Driver Must ["3.1.1-3", "3.1.1-1"], Asserted,
        "Between setting FEATURES_OK and setting DRIVER_OK the driver reads device status to see whether the device kept FEATURES_OK.";
    REFUSAL = "status.features-ok.refusal", Driver MustNot ["3.1.1-5", "3.1.1-3"], Asserted,
        "When the device has not kept FEATURES_OK, the driver does not go on to DRIVER_OK.";
    NO_CLEAR = "status.no-clear", Driver MustNot ["2.1.1-2"], Asserted,
        "A driver only ever adds bits to device status; the one way to take bits back is a reset, by writing 0.";
    FAILED_RESET = "status.failed.reset", Driver Must ["2.1.1-3"], Asserted,
        "A driver that has set FAILED resets the device before it initializes it again.",
        readings [
            "takes-back": "To initialize again is to take FAILED back: bits set beside it begin nothing anew.",
            "any-step": "To initialize again is to set ACKNOWLEDGE or DRIVER, or to take FAILED back, after FAILED.",
        ];
    FAILED_STOP = "status.failed.stop", Driver MustNot ["3.1.1-5"], Asserted,
        "A driver that has set FAILED goes on with no further step of initialization.";
    RESET_WAIT = "status.reset.wait", Driver Must ["4.1.4.3.2-4"], Asserted,
        "After writing 0 to device status, the driver reads it until it is 0 before it sets bits again.";
    UNDEFINED = "status.undefined-bits", Driver ShouldNot ["2.1"], Asserted,
        "The driver sets no bit of device status that has no meaning.";
    NEEDS_RESET = "status.needs-reset.by-device", Driver ShouldNot ["2.1"], Asserted,
        "DEVICE_NEEDS_RESET is the device's to set: the driver does not set it by itself.";
    RECOVERS = "status.needs-reset.recovery", Driver May ["2.1.1"], Provoked(Latitude::NEEDS_RESET),
        "Where the device needs a reset the driver may reset it, and begin anew.";

    @unobservable {
        "status.needs-reset.no-reliance", Driver ShouldNot ["2.1.1-4"],
            "what a driver expects of requests in flight shows in nothing it does to the device",
            "While DEVICE_NEEDS_RESET is set, the driver does not count on requests in flight being completed.";
    }
}

advice! {
    "status":
        "A write to device_status that is out of step. Many devices do not check, and the driver works until it meets one that does.";
        "Write device_status only to add the bit of the step just completed to what was read, in the order of the initialization sequence; write 0 to reset.";
    "status.sequence.reset":
        "The first write to device_status sets a bit. After a boot loader or a crash kernel has used the device, it is still live and writes into memory that is no longer its.";
        "Write 0 to device_status and wait until it reads as 0, before anything else is done with the device.";
    "status.sequence.driver":
        "FEATURES_OK is set on a device nobody has claimed.";
        "Set DRIVER when the driver is bound to the device, before reading features.";
    "status.sequence.features-ok":
        "DRIVER_OK is set and FEATURES_OK never was: the device cannot say no to a set of features. Typical of drivers written for devices from before 1.0.";
        "After writing driver_feature, set FEATURES_OK, read device_status back, and go on only if it is still set.";
    "status.features-ok":
        "The driver sets DRIVER_OK though the device has taken FEATURES_OK back, or without looking: both sides then work with different features.";
        "Read device_status after setting FEATURES_OK. If the bit is gone, accept fewer features after a reset, or set FAILED and give up.";
    "status.no-clear":
        "A write to device_status lacks a bit that was set, usually because the driver writes a constant instead of adding to what it read.";
        "Keep the status written so far, or read it, and add to it; to take something back, reset.";
    "status.failed":
        "After FAILED, the driver sets further bits, writes features or enables queues as if nothing had happened.";
        "On the way out of a failed probe, set FAILED and touch the device no more. To try again, write 0 to device_status first.";
    "status.reset.wait":
        "0 is written to device_status and the next step follows at once. A device that takes its time to stop its queues still uses the memory of before.";
        "Poll device_status until it reads as 0 before freeing or reusing any memory the device knew, and before setting a bit.";
}

/// Every bit that §2.1 defines.
const DEFINED: u8 = status::ACKNOWLEDGE
    | status::DRIVER
    | status::DRIVER_OK
    | status::FEATURES_OK
    | status::DEVICE_NEEDS_RESET
    | status::FAILED;

/// What this chapter remembers of one initialization; a reset begins a new one.
#[derive(Default)]
pub(crate) struct StatusRules {
    /// FEATURES_OK has been written.
    asked: bool,
    /// The device did not keep it.
    refused: bool,
    /// Device status has been read since it was written.
    re_read: bool,
    /// The driver went on regardless of the refusal.
    ignored_refusal: bool,
    /// The driver went on after FAILED.
    went_on: bool,
    /// Whether it waited for the reset has been judged.
    wait_judged: bool,
    /// The device needs a reset.
    needs_reset: bool,
}

impl StatusRules {
    fn reset(&mut self, from: u8, session: &Session, verdicts: &mut Verdicts) {
        if self.needs_reset && session.latitudes.has(Latitude::NEEDS_RESET) {
            verdicts.held(RECOVERS);
        }
        if from & status::FAILED != 0 {
            verdicts.held(FAILED_RESET);
            if !self.went_on {
                verdicts.held(FAILED_STOP);
            }
        }
        if self.refused && !self.ignored_refusal {
            verdicts.held(REFUSAL);
        }
        *self = StatusRules::default();
    }

    fn written(&mut self, from: u8, to: u8, session: &Session, verdicts: &mut Verdicts) {
        let says = || {
            format!(
                "device status written as {} while it was {}",
                status::names(to),
                status::names(from)
            )
        };
        let added = to & !from;
        if from == 0 {
            verdicts.check(RESET_FIRST, session.resets > 0, None, || {
                format!("{}, without a reset before", says())
            });
        }
        if session.resets > 0 && !self.wait_judged {
            self.wait_judged = true;
            verdicts.check(RESET_WAIT, !session.reset_unconfirmed, None, || {
                format!(
                    "{}, before device status was read as 0 after the reset",
                    says()
                )
            });
        }
        // DEVICE_NEEDS_RESET is the device's to set: a driver that writes back what it read before
        // the device set it does not clear it.
        let cleared = from & !to & !status::DEVICE_NEEDS_RESET;
        verdicts.check(NO_CLEAR, cleared == 0, None, || {
            format!("{}: this clears {}", says(), status::names(cleared))
        });
        if from & status::FAILED != 0 {
            let takes_back = cleared & status::FAILED != 0;
            let begins = added & (status::ACKNOWLEDGE | status::DRIVER) != 0;
            if takes_back || begins {
                verdicts.check_by(FAILED_RESET, [!takes_back, false], None, says);
            }
            if !takes_back && added & (status::FEATURES_OK | status::DRIVER_OK) != 0 {
                self.goes_on(verdicts, says);
            }
        }
        if added & status::DRIVER != 0 {
            let together = to & status::ACKNOWLEDGE != 0;
            let separate = from & status::ACKNOWLEDGE != 0;
            verdicts.check_by(ACKNOWLEDGE, [together, separate], None, says);
        }
        if added & status::FEATURES_OK != 0 {
            self.asked = true;
            self.re_read = false;
            let together = to & status::DRIVER != 0;
            let separate = from & status::DRIVER != 0;
            verdicts.check_by(DRIVER, [together, separate], None, says);
        }
        if added & status::DRIVER_OK != 0 {
            self.driver_ok(from, to, verdicts, says);
        }
        let undefined = added & !DEFINED;
        verdicts.check(UNDEFINED, undefined == 0, None, || {
            format!("{}: {} has no meaning", says(), status::names(undefined))
        });
        verdicts.check(
            NEEDS_RESET,
            added & status::DEVICE_NEEDS_RESET == 0,
            None,
            says,
        );
    }

    fn driver_ok(&mut self, from: u8, to: u8, verdicts: &mut Verdicts, says: impl Fn() -> String) {
        if self.refused {
            self.ignored_refusal = true;
            verdicts.violated(
                REFUSAL,
                None,
                format!("{}, though the device had not kept FEATURES_OK", says()),
            );
        } else if verdicts.check(FEATURES_OK, to & status::FEATURES_OK != 0, None, || {
            format!("{}, without FEATURES_OK", says())
        }) {
            let re_read = from & status::FEATURES_OK != 0 && self.re_read;
            verdicts.check(RE_READ, re_read, None, || {
                format!(
                    "{}, without reading device status after setting FEATURES_OK",
                    says()
                )
            });
        }
    }

    fn goes_on(&mut self, verdicts: &mut Verdicts, says: impl Fn() -> String) {
        if !self.went_on {
            self.went_on = true;
            verdicts.violated(
                FAILED_STOP,
                None,
                format!("{} after the driver had set FAILED", says()),
            );
        }
    }
}

impl Chapter for StatusRules {
    fn new(_kind: DeviceKind) -> Self {
        StatusRules::default()
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        let failed = session.status & status::FAILED != 0;
        match *event {
            ControlEvent::Status(event) => match event {
                StatusEvent::Written { from, to: 0 } => self.reset(from, session, verdicts),
                StatusEvent::Written { from, to } => self.written(from, to, session, verdicts),
                StatusEvent::Read { .. } => self.re_read |= self.asked,
                StatusEvent::NeedsReset => self.needs_reset = true,
                StatusEvent::ResetDone => {}
            },
            ControlEvent::Feature(event) => match event {
                FeatureEvent::Decided { kept, .. } => self.refused = !kept,
                FeatureEvent::DriverWritten { .. } if failed => {
                    self.goes_on(verdicts, || "driver_feature written".to_owned());
                }
                FeatureEvent::DriverWritten { .. } | FeatureEvent::DeviceRead { .. } => {}
            },
            ControlEvent::Queue(QueueEvent::EnableWritten {
                queue, value: 1, ..
            }) if failed => self.goes_on(verdicts, || format!("queue {queue} enabled")),
            ControlEvent::Queue(_)
            | ControlEvent::Latitude(_)
            | ControlEvent::Register(_)
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
