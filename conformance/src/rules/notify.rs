//! Notifications of available buffers (§3.1.1, §4.1.4.4, §4.1.5.2).

use super::Chapter;
use crate::event::Event;
use crate::judge::Verdicts;
use crate::layout::{DeviceKind, status};
use crate::requirements;
use crate::session::Session;

requirements! {
    after super::vectors::END;

    AFTER_DRIVER_OK = "notify.after-driver-ok", Driver MustNot ["3.1.1-6"], Asserted,
        "The driver notifies the device only while DRIVER_OK is set.";
    WIDTH = "notify.width", Driver Must ["4.1.5.2"], Asserted,
        "A notification is a 16-bit write.";
    VALUE = "notify.value", Driver Must ["4.1.5.2"], Asserted,
        "What a notification writes is the index of the queue whose address it writes to.";
    EXISTS = "notify.queue-exists", Driver Must ["4.1.5.2"], Asserted,
        "A notification is for a queue that exists.";
    ENABLED = "notify.queue-enabled", Driver Must ["4.1.5.2", "4.1.4.3"], Asserted,
        "A notification is for a queue that has been enabled.";
    BARRIER = "notify.barrier", Driver Must ["3.2.1.4.1-1"],
        Unobservable("a memory barrier leaves no trace; its absence is a race that a device may never lose"),
        "Between writing idx and reading whether notifications are suppressed, the driver has a memory barrier.";
}

/// Nothing needs to be remembered.
pub(crate) struct Rules;

impl Rules {
    pub(crate) fn new(_kind: DeviceKind) -> Self {
        Rules
    }
}

impl Chapter for Rules {
    fn see(&mut self, event: &Event<'_>, session: &Session, verdicts: &mut Verdicts) {
        let Event::Notified {
            queue,
            value,
            width,
            enabled,
        } = *event
        else {
            return;
        };
        let says = || format!("{value:#x} written as a notification, {width} bytes");
        if !verdicts.check(AFTER_DRIVER_OK, session.is_live(), queue, || {
            format!(
                "{}, while device status is {}",
                says(),
                status::names(session.status)
            )
        }) {
            return;
        }
        verdicts.check(WIDTH, width == 2, queue, says);
        verdicts.check(EXISTS, queue.is_some(), queue, || {
            format!("{}: no such queue", says())
        });
        if let Some(index) = queue {
            verdicts.check(ENABLED, enabled, queue, || {
                format!("{}: queue {index} is not enabled", says())
            });
            // A write of the wrong width is told as that.
            let named = if width < 2 {
                value & 0xff == u32::from(index) & 0xff
            } else {
                value & 0xffff == u32::from(index)
            };
            verdicts.check(VALUE, named, queue, || {
                format!("{}, to the address of queue {index}", says())
            });
        }
    }
}
