//! Device status and initialization (§2.1, §3.1).

use super::Chapter;
use crate::event::Event;
use crate::judge::Verdicts;
use crate::layout::{DeviceKind, status};
use crate::requirements;
use crate::session::Session;

requirements! {
    after 0;

    STATUS_NO_CLEAR = "status.no-clear", Driver MustNot ["2.1.1-2"], Asserted,
        "A driver only ever adds bits to device status; the one way to take bits back is a reset, by writing 0.";
}

/// What this chapter remembers.
pub(crate) struct Rules;

impl Rules {
    pub(crate) fn new(_kind: DeviceKind) -> Self {
        Rules
    }
}

impl Chapter for Rules {
    fn see(&mut self, event: &Event<'_>, _session: &Session, verdicts: &mut Verdicts) {
        match *event {
            Event::StatusWritten { from, to } if to != 0 => {
                // DEVICE_NEEDS_RESET is the device's to set: a driver that writes back what it read
                // before the device set it does not clear it.
                let cleared = from & !to & !status::DEVICE_NEEDS_RESET;
                verdicts.check(STATUS_NO_CLEAR, cleared == 0, None, || {
                    format!(
                        "device status written as {} while it was {}: this clears {}",
                        status::names(to),
                        status::names(from),
                        status::names(cleared)
                    )
                });
            }
            _ => {}
        }
    }
}
