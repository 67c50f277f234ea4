//! The state of a device and its driver, derived from the events so far.
//!
//! Rules of several chapters need to know whether the device is live, which features were negotiated
//! and which queues are enabled. This state is kept here once; a rule keeps only the state that it alone
//! needs.

use crate::device::DeviceKind;
use crate::event::{
    ClockEvent, ControlEvent, FeatureEvent, LatitudeEvent, NotificationEvent, QueueEvent,
    StatusEvent,
};
use crate::latitude::Latitudes;
use crate::layout::status;

/// The state between two events. While a rule looks at an event, this is the state *before* it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Device type.
    pub kind: DeviceKind,
    /// Device status as the device presents it.
    pub status: u8,
    /// Features the device offers, as far as they have been reported.
    pub offered: u64,
    /// Features negotiated: those accepted when the device kept FEATURES_OK; 0 before.
    pub negotiated: u64,
    /// The driver has requested a reset and has not seen that it is complete (it has not read a device
    /// status of 0 since).
    pub reset_unconfirmed: bool,
    /// The driver has requested a reset that the device has not completed.
    pub resetting: bool,
    /// The device has not kept FEATURES_OK, since the last reset.
    pub refused: bool,
    /// The driver initializes, without a reset, a device that has been initialized before. That it has
    /// not reset it is one fault; what follows from it until the next reset is none of its own.
    pub not_reset: bool,
    /// The queues that have been enabled since the last reset, by index.
    pub enabled: u64,
    /// The driver has acted since the last tick: it has accessed a register, notified, or made a buffer
    /// available.
    pub acted: bool,
    /// How many resets the driver has asked for.
    pub resets: u32,
    /// The latitudes that the device uses.
    pub latitudes: Latitudes,
    /// The number of processors that run the driver.
    pub processors: u16,
    /// The driver has set a bit of device status.
    begun: bool,
}

/// The number of processors where nobody says how many there are: what is tolerated because of them is
/// tolerated of that many.
const MANY_PROCESSORS: u16 = 16;

impl Session {
    /// A device of type `kind` that offers `offered`, fresh from reset.
    pub fn new(kind: DeviceKind, offered: u64) -> Self {
        Session {
            kind,
            status: 0,
            offered,
            negotiated: 0,
            reset_unconfirmed: false,
            resetting: false,
            refused: false,
            not_reset: false,
            enabled: 0,
            acted: false,
            resets: 0,
            latitudes: Latitudes::default(),
            processors: MANY_PROCESSORS,
            begun: false,
        }
    }

    /// The same device as it was at first, for another driver.
    pub(crate) fn anew(&self) -> Self {
        Session {
            latitudes: self.latitudes,
            processors: self.processors,
            ..Session::new(self.kind, self.offered)
        }
    }

    /// DRIVER_OK is set: the device may use its queues.
    #[inline]
    pub fn is_live(&self) -> bool {
        self.status & status::DRIVER_OK != 0
    }

    /// All of `bits` have been negotiated.
    #[inline]
    pub fn has(&self, bits: u64) -> bool {
        self.negotiated & bits == bits
    }

    /// The device has decided on the features that the driver accepts: FEATURES_OK is set, or was
    /// refused. What a driver does after a refusal is not too early.
    #[inline]
    pub fn is_decided(&self) -> bool {
        self.refused || self.status & status::FEATURES_OK != 0
    }

    /// Queue `index` has been enabled. Queues above 63 do not exist here.
    #[inline]
    pub fn is_enabled(&self, index: u16) -> bool {
        index < 64 && self.enabled & (1 << index) != 0
    }

    pub(crate) fn apply(&mut self, event: &ControlEvent<'_>) {
        match *event {
            ControlEvent::Status(event) => self.apply_status(event),
            ControlEvent::Feature(FeatureEvent::Decided {
                offered,
                accepted,
                kept,
            }) => {
                self.offered = offered;
                self.negotiated = if kept { accepted } else { 0 };
                self.refused = !kept;
                if !kept {
                    self.status &= !status::FEATURES_OK;
                }
            }
            ControlEvent::Queue(QueueEvent::EnableWritten {
                queue: queue @ 0..64,
                value: 1,
                setup: Some(_),
            }) => self.enabled |= 1 << queue,
            ControlEvent::Latitude(LatitudeEvent::InUse(latitude)) => {
                self.latitudes = self.latitudes.with(latitude);
            }
            ControlEvent::Clock(ClockEvent::Tick) => self.acted = false,
            ControlEvent::Register(_)
            | ControlEvent::Notification(NotificationEvent::Sent { .. }) => self.acted = true,
            ControlEvent::Feature(_)
            | ControlEvent::Queue(_)
            | ControlEvent::Latitude(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Config(_)
            | ControlEvent::Notification(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Net(_)
            | ControlEvent::Console(_) => {}
        }
    }

    fn apply_status(&mut self, event: StatusEvent) {
        match event {
            StatusEvent::Written { to: 0, .. } => {
                self.reset_unconfirmed = true;
                self.resetting = true;
                self.refused = false;
                self.not_reset = false;
                self.resets += 1;
            }
            // Bits that are set stay set, and only the device sets DEVICE_NEEDS_RESET. The next event
            // reports whether FEATURES_OK stays set.
            StatusEvent::Written { from, to } => {
                const LATER: u8 = status::FEATURES_OK | status::DRIVER_OK;
                let first = !std::mem::replace(&mut self.begun, true);
                let anothers = first && self.resets == 0 && from & LATER != 0;
                self.not_reset |= anothers || event.begins_again() || event.repeats_live();
                self.status |= to & status::DRIVERS;
            }
            StatusEvent::Read { value } => {
                self.status = value;
                self.reset_unconfirmed &= value != 0;
            }
            StatusEvent::ResetDone => {
                self.resetting = false;
                self.status = 0;
                self.negotiated = 0;
                self.enabled = 0;
            }
            StatusEvent::NeedsReset => self.status |= status::DEVICE_NEEDS_RESET,
            StatusEvent::WrittenDuringReset { .. } | StatusEvent::RunEnded { .. } => {}
        }
    }
}
