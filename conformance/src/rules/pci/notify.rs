//! How notifications are sent over PCI (§4.1.4.4, §4.1.5.2 of virtio 1.0).

use crate::advice::Advice;
use crate::device::DeviceKind;
use crate::event::{ControlEvent, DataEvent, NotificationEvent};
use crate::judge::Verdicts;
use crate::requirement::requirements;
use crate::rules::Chapter;
use crate::session::Session;

requirements! {
    chapter PciNotify;

    WIDTH = "notify.width", Driver Must ["4.1.5.2"], Asserted,
        "A notification is a 16-bit write.";
    VALUE = "notify.value", Driver Must ["4.1.5.2"], Asserted,
        "A notification writes the index of the queue to the queue's address.";
}

/// The advice of the family is in [notifications](crate::rules::notify).
pub(crate) static ADVICE: &[Advice] = &[];

/// These rules have no state.
pub(crate) struct PciNotifyRules;

impl Chapter for PciNotifyRules {
    fn new(_kind: DeviceKind) -> Self {
        PciNotifyRules
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match *event {
            // Before DRIVER_OK, the wrong time is reported instead.
            ControlEvent::Notification(NotificationEvent::Sent {
                queue,
                value,
                width,
                ..
            }) if session.is_live() => sent(queue, value, width, verdicts),
            ControlEvent::Notification(_)
            | ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Register(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Status(_)
            | ControlEvent::Feature(_)
            | ControlEvent::Config(_)
            | ControlEvent::Queue(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Net(_)
            | ControlEvent::Console(_) => {}
        }
    }

    #[inline(always)]
    fn data(&mut self, _: &DataEvent<'_>, _: &Session, _: &mut Verdicts) {}
}

fn sent(queue: Option<u16>, value: u32, width: u8, verdicts: &mut Verdicts) {
    let says = || format!("{value:#x} written as a notification, {width} bytes");
    verdicts.check(WIDTH, width == 2, queue, says);
    if let Some(index) = queue {
        // For a write of the wrong width, only the width is reported.
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
