//! Notifications of available buffers (§3.1.1, §4.1.4.4, §4.1.5.2).

use super::Chapter;
use crate::event::{Event, NotifiedLive};
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
    BY_FLAGS = "notify.when-flags-0", Driver Must ["2.4.9.1-2", "2.4.9.1-4"], Asserted,
        "Without VIRTIO_F_RING_EVENT_IDX, the driver notifies after making buffers available while flags of the used ring is 0, whatever stands where avail_event would be.";
    AGAINST_FLAGS = "notify.not-when-flags-1", Driver ShouldNot ["2.4.9.1-3"], Asserted,
        "Without VIRTIO_F_RING_EVENT_IDX, the driver does not notify while flags of the used ring is 1.";
    BY_EVENT = "notify.at-avail-event", Driver Must ["2.4.9.1-6"], Asserted,
        "With VIRTIO_F_RING_EVENT_IDX, the driver notifies after making available the buffer at position avail_event, also where idx has wrapped around.";
    AGAINST_EVENT = "notify.not-before-avail-event", Driver ShouldNot ["2.4.9.1-7"], Asserted,
        "With VIRTIO_F_RING_EVENT_IDX, the driver does not notify of buffers other than that at position avail_event.";
    FLAGS_IGNORED = "notify.flags-ignored", Driver Must ["2.4.9.1-5"],
        Unobservable("with VIRTIO_F_RING_EVENT_IDX a device must leave flags at 0 (§2.4.9.2), and 0 asks for nothing else than avail_event does"),
        "With VIRTIO_F_RING_EVENT_IDX, the driver does not go by flags of the used ring.";
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

/// After so many spans, each long enough for a notification to arrive, it will not come any more.
/// A guest's processor that loses its host's for so long between writing idx and notifying would have
/// to do so while the host runs the device.
const OVERDUE: u32 = 5;

/// More notifications than this cannot have been under way when the device said that it needs none:
/// each takes one of the guest's processors.
const UNDER_WAY: u32 = 64;

/// Judges whether the driver notifies when it is asked to, and then only.
fn suppression(event: &Event<'_>, verdicts: &mut Verdicts) {
    match *event {
        Event::NotifiedLive(NotifiedLive {
            queue,
            event_idx,
            asked,
            advised_against,
            since,
        }) => {
            let (must, should_not) = if event_idx {
                (BY_EVENT, AGAINST_EVENT)
            } else {
                (BY_FLAGS, AGAINST_FLAGS)
            };
            if asked {
                verdicts.held(must);
            }
            let ok = since <= UNDER_WAY || !(advised_against || event_idx);
            verdicts.check(should_not, ok, Some(queue), || {
                let said = if event_idx {
                    "set avail_event"
                } else {
                    "set flags to 1"
                };
                format!("{since} notifications since the device last {said}")
            });
        }
        Event::NotNotified {
            queue,
            event_idx,
            position,
            idx,
            ticks: OVERDUE,
        } => {
            let (must, by) = if event_idx {
                (BY_EVENT, format!("avail_event is {position}"))
            } else {
                (BY_FLAGS, "flags is 0".to_owned())
            };
            let message = format!(
                "{by}, and idx of the available ring went from {position} to {idx} without a notification"
            );
            verdicts.violated(must, Some(queue), message);
        }
        _ => {}
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
            return suppression(event, verdicts);
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
