//! Whether a driver copes with latitudes: behaviour that the specification leaves to the device.
//! Citations are of virtio 1.0.
//!
//! The [tables](crate::latitude) of latitudes say which requirements each provokes, and when a driver
//! has coped; what shows it is weighed in `coping`, with the help of `vectors` and `evidence`. A driver that gives up before the device is live has not coped, if there was only one
//! latitude: with several latitudes, it is unknown which one was the reason. Not every driver says that
//! it gives up: at the end of the run, one that never set DRIVER_OK has.

mod coping;
mod evidence;
mod vectors;

use super::Chapter;
use crate::advice::Advice;
use crate::device::DeviceKind;
use crate::event::{ControlEvent, DataEvent, FeatureEvent, PciEvent, QueueEvent, StatusEvent};
use crate::judge::Verdicts;
use crate::latitude::device::{
    ARRIVAL, DEMANDED, ELSE_FAILED, GIVEN_UP, PICKY, REFUSED_LATER, SLOW,
};
use crate::latitude::transport::FIRST;
use crate::latitude::{Latitude, Shows};
use crate::layout::status;
use crate::requirement::{Level, Req, Requirement};
use crate::session::Session;
use crate::tally::Tallies;

use super::ChapterId;

/// The requirements are declared in the tables of latitudes.
pub(crate) const CHAPTER: ChapterId = ChapterId::Latitudes;
pub(crate) static REQUIREMENTS: &[Requirement] = &[];
pub(crate) static ADVICE: &[Advice] = &[];

/// The latitudes whose devices refuse features, and the requirement that each provokes.
const REFUSING: [(Latitude, Req); 4] = [
    (Latitude::REFUSED_FEATURES, GIVEN_UP),
    (Latitude::PICKY_FEATURES, PICKY),
    (Latitude::DEMANDING_FEATURES, DEMANDED),
    (Latitude::REFUSES_LATER, REFUSED_LATER),
];

/// The state of this chapter's rules.
#[derive(Default)]
pub(crate) struct LatitudeRules {
    /// The features that the driver accepted when FEATURES_OK was refused, if it has not set FAILED
    /// since.
    refused: Option<u64>,
    /// The driver has set DRIVER_OK since that refusal: it did not give up.
    went_on: bool,
    /// The device has decided on features since the reset.
    asked: bool,
    /// It was reported that the driver accepted the same features again.
    accepted_again: bool,
    /// What the driver has seen of the last reset.
    wait: Wait,
    /// What the driver has done with the device in the whole run.
    use_of_device: UseOfDevice,
    /// How it copes with what it has met.
    coping: coping::Coping,
}

/// What a driver has done with the device in the whole run.
#[derive(Clone, Copy, Debug, Default)]
struct UseOfDevice {
    /// It has read the virtio capabilities.
    found: bool,
    /// It has set a bit of device status.
    begun: bool,
    /// It has set DRIVER.
    driver: bool,
    /// It has set FAILED before the device was live.
    failed: bool,
    /// It has set DRIVER_OK.
    live: bool,
}

/// What a driver has seen of a reset that it asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wait {
    /// Nothing yet. A reset of a fresh device is complete at once, and there is nothing to wait for.
    #[default]
    Unseen,
    /// That it is not complete.
    Begun,
    /// It has waited until the reset was complete, or has not waited.
    Over,
}

impl LatitudeRules {
    /// The driver sets FAILED before the device is live.
    fn gave_up(&mut self, session: &Session, verdicts: &mut Verdicts) {
        if self.refused.take().is_some() {
            for (latitude, requirement) in REFUSING {
                if session.latitudes.has(latitude) {
                    verdicts.held(requirement);
                }
            }
            return;
        }
        if session.latitudes.has(Latitude::FEW_FEATURES) {
            verdicts.held(ELSE_FAILED);
        }
        self.blame(session, verdicts, |requirement, level| {
            // A device that was not reset has been named already.
            let named = requirement == ARRIVAL && session.resets == 0;
            (level != Level::May && requirement != ELSE_FAILED && !named).then_some("FAILED set")
        });
    }

    /// The driver has given up. If there is one latitude only, that is what it could not cope with:
    /// reports those of the provoked requirements for which `says` has words.
    fn blame(
        &self,
        session: &Session,
        verdicts: &mut Verdicts,
        says: impl Fn(Req, Level) -> Option<&'static str>,
    ) {
        let mut latitudes = session.latitudes.iter();
        let (Some(latitude), None) = (latitudes.next(), latitudes.next()) else {
            return;
        };
        let visible = match latitude.entry().shows {
            Shows::Live | Shows::Works => latitude.applies_to(session.kind),
            Shows::Used | Shows::Answered => {
                latitude.table().shows_in_configuration() && latitude.kind() == Some(session.kind)
            }
            Shows::Notified | Shows::Worked | Shows::ByRule => false,
        };
        if !visible {
            return;
        }
        for requirement in latitude.entry().provokes {
            let level = requirement.requirement().level(verdicts.version());
            if let Some(did) = says(*requirement, level) {
                let message = format!("{did} where {}", latitude.entry().does);
                verdicts.violated(*requirement, None, message);
            }
        }
    }

    /// The guest has ended the run. A driver that found the device and has never set DRIVER_OK has
    /// given up, whether or not it says so.
    fn run_ended(&mut self, session: &Session, verdicts: &mut Verdicts) {
        let UseOfDevice {
            found,
            begun,
            driver,
            failed,
            live,
        } = self.use_of_device;
        if self.refused.is_some() && !self.accepted_again && !self.went_on {
            for (latitude, requirement) in REFUSING {
                if session.latitudes.has(latitude) {
                    let message = "FEATURES_OK refused, and the driver gave up without FAILED";
                    verdicts.violated(requirement, None, message.to_owned());
                }
            }
        }
        if live || failed {
            return;
        }
        if driver {
            self.blame(session, verdicts, |requirement, level| {
                let named = requirement == ARRIVAL && session.resets == 0;
                (level.is_absolute() && !named)
                    .then_some("DRIVER set, and never DRIVER_OK nor FAILED,")
            });
        } else if found && !begun {
            // With ACKNOWLEDGE alone, the guest says that it has found the device and has no driver for
            // it (§2.1).
            self.blame(session, verdicts, |requirement, level| {
                (level.is_absolute() && requirement != ELSE_FAILED)
                    .then_some("capabilities read, and no bit of device status ever set,")
            });
        }
    }

    fn features_decided(
        &mut self,
        accepted: u64,
        kept: bool,
        session: &Session,
        verdicts: &mut Verdicts,
    ) {
        let refusing = REFUSING
            .into_iter()
            .filter(|(latitude, _)| session.latitudes.has(*latitude));
        let before = self.refused.take();
        for (_, requirement) in refusing {
            if kept {
                // The refused one, where it is kept this time, is not what a driver tries that has been told.
                if before.is_some_and(|refused| refused != accepted) {
                    verdicts.held(requirement);
                }
                continue;
            }
            // The driver has given up already, and said so.
            if session.status & status::FAILED != 0 {
                continue;
            }
            self.refused = Some(accepted);
            // Bits that are written over a refusal, DRIVER_OK among them, are decided on once more.
            self.went_on &= self.asked;
            // A driver that accepts the same features again has not tried another set: it had given up,
            // and starts again. Bits that are written over a refusal in the same initialization are no
            // start.
            if before == Some(accepted)
                && !self.asked
                && !std::mem::replace(&mut self.accepted_again, true)
            {
                let message = format!(
                    "FEATURES_OK refused for {accepted:#x}, and the same features accepted again without FAILED in between"
                );
                verdicts.violated(requirement, None, message);
            }
        }
        self.asked = true;
    }

    /// The driver initializes the device before it has been told that the reset is complete.
    fn skips_wait(&mut self, session: &Session, verdicts: &mut Verdicts) {
        if session.latitudes.has(Latitude::SLOW_RESET) && self.wait != Wait::Over {
            self.wait = Wait::Over;
            let message = "the driver continued before device status had been read as 0";
            verdicts.violated(SLOW, None, message.to_owned());
        }
    }

    /// The driver sets a bit of device status.
    fn begins(&mut self, session: &Session, verdicts: &mut Verdicts) {
        let first = !std::mem::replace(&mut self.use_of_device.begun, true);
        if first && session.resets == 0 && session.latitudes.has(Latitude::LIVE_AT_ARRIVAL) {
            let message = "device status written without a reset of the live device";
            verdicts.violated(ARRIVAL, None, message.to_owned());
        }
    }

    fn status(&mut self, event: StatusEvent, session: &Session, verdicts: &mut Verdicts) {
        match event {
            StatusEvent::Written { to: 0, .. } => {
                self.asked = false;
                self.wait = Wait::default();
            }
            StatusEvent::Written { to, .. } => {
                self.begins(session, verdicts);
                self.use_of_device.driver |= to & status::DRIVER != 0;
            }
            StatusEvent::Read { value } => {
                let slow = session.latitudes.has(Latitude::SLOW_RESET) && session.resetting;
                if slow && value != 0 && self.wait == Wait::Unseen {
                    self.wait = Wait::Begun;
                } else if value == 0 && self.wait == Wait::Begun {
                    self.wait = Wait::Over;
                    verdicts.held(SLOW);
                }
            }
            StatusEvent::WrittenDuringReset { .. } => self.skips_wait(session, verdicts),
            StatusEvent::RunEnded { by_guest: true } => self.run_ended(session, verdicts),
            StatusEvent::ResetDone
            | StatusEvent::NeedsReset
            | StatusEvent::RunEnded { by_guest: false } => {}
        }
        if event.sets_failed() && !session.is_live() {
            self.use_of_device.failed = true;
            self.gave_up(session, verdicts);
        }
        if event.sets_driver_ok() {
            self.went_on = true;
            self.use_of_device.live = true;
        }
    }
}

impl Chapter for LatitudeRules {
    fn new(_kind: DeviceKind) -> Self {
        LatitudeRules::default()
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        self.coping.control(event, session, verdicts);
        match *event {
            ControlEvent::Pci(PciEvent::CapabilityRead) => self.use_of_device.found = true,
            ControlEvent::Pci(PciEvent::SecondInstance { structure }) => {
                let message = format!("an access to the second {}", structure.name());
                verdicts.violated(FIRST, None, message);
            }
            ControlEvent::Feature(FeatureEvent::DriverWritten { .. })
            | ControlEvent::Queue(QueueEvent::EnableWritten { value: 1, .. })
                if session.resetting =>
            {
                self.skips_wait(session, verdicts);
            }
            ControlEvent::Feature(FeatureEvent::Decided { accepted, kept, .. }) => {
                self.features_decided(accepted, kept, session, verdicts);
            }
            ControlEvent::Status(event) => self.status(event, session, verdicts),
            ControlEvent::Latitude(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Feature(_)
            | ControlEvent::Notification(_)
            | ControlEvent::Register(_)
            | ControlEvent::Config(_)
            | ControlEvent::Queue(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Net(_)
            | ControlEvent::Console(_) => {}
        }
    }

    #[inline(always)]
    fn data(&mut self, event: &DataEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        self.coping.data(event, session, verdicts);
    }

    fn tally(&self, tallies: &mut Tallies) {
        self.coping.tally(tallies);
    }
}
