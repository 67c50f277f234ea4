//! Notifications of available buffers (§2.4.9, §3.1.1 of virtio 1.0). How they are sent is the
//! transport's: see [PCI](super::pci::notify).

use super::Chapter;
use crate::advice::advice;
use crate::device::DeviceKind;
use crate::event::{ControlEvent, DataEvent, LiveNotification, NotificationEvent};
use crate::judge::Verdicts;
use crate::layout::status;
use crate::obligation;
use crate::requirement::requirements;
use crate::session::Session;
use crate::tolerance::Tolerance;

requirements! {
    chapter Notify;

    AFTER_DRIVER_OK = "notify.after-driver-ok", Driver MustNot ["3.1.1-6"], Asserted,
        "The driver notifies the device only while DRIVER_OK is set.";
    EXISTS = "notify.queue-exists", Driver Must ["4.1.5.2"], Asserted,
        "A notification is for a queue that exists.";
    ENABLED = "notify.queue-enabled", Driver Must ["4.1.5.2", "4.1.4.3"], Asserted,
        "A notification is for a queue that has been enabled.";
    BY_FLAGS = "notify.when-flags-0", Driver Must ["2.4.9.1-2", "2.4.9.1-4"], Asserted,
        "Without VIRTIO_F_RING_EVENT_IDX, the driver notifies after making buffers available while flags of the used ring is 0, whatever the value in the place of avail_event is.",
        readings [
            "within-5-seconds": "A notification may be on its way for 5 seconds, and buffers that were available before DRIVER_OK need none.",
            "by-the-end": "No buffer is left without a notification when the device is reset or the run ends, and none that was available before DRIVER_OK.",
        ];
    AGAINST_FLAGS = "notify.not-when-flags-1", Driver ShouldNot ["2.4.9.1-3"], Asserted,
        "Without VIRTIO_F_RING_EVENT_IDX, the driver does not notify while flags of the used ring is 1.",
        readings [
            "under-way": "Each processor may have had 4 notifications on their way when the device set flags: a task that was interrupted, and what interrupted it.",
            "one-each": "Each processor may have had one.",
        ];
    BY_EVENT = "notify.at-avail-event", Driver Must ["2.4.9.1-6"], Asserted,
        "With VIRTIO_F_RING_EVENT_IDX, the driver notifies after making available the buffer at position avail_event, also if idx has wrapped around.",
        readings [
            "within-5-seconds": "A notification may be on its way for 5 seconds, and buffers that were available before DRIVER_OK need none.",
            "by-the-end": "No buffer is left without a notification when the device is reset or the run ends, and none that was available before DRIVER_OK.",
        ];
    AGAINST_EVENT = "notify.not-before-avail-event", Driver ShouldNot ["2.4.9.1-7"], Asserted,
        "With VIRTIO_F_RING_EVENT_IDX, the driver does not notify after making other buffers available than the one at position avail_event.",
        readings [
            "under-way": "Each processor may have had 4 notifications on their way when the device set avail_event: a task that was interrupted, and what interrupted it.",
            "one-each": "Each processor may have had one.",
        ];

    @unobservable {
        "notify.flags-ignored", Driver Must ["2.4.9.1-5"],
            "with VIRTIO_F_RING_EVENT_IDX a device must leave flags at 0 (§2.4.9.2), so a device cannot see which of the two the driver uses",
            "With VIRTIO_F_RING_EVENT_IDX, the driver ignores flags of the used ring.";
        "notify.barrier", Driver Must ["3.2.1.4.1-1"],
            "a memory barrier is not visible; without it there is a race that a device may never lose",
            "Between writing idx and reading whether notifications are suppressed, the driver has a memory barrier.";
    }
}

advice! {
    "notify":
        "A notification is written to the wrong address, with the wrong value or width, or at the wrong time; or a required notification is missing, and the queue stalls.";
        "Write the queue's index, 16 bits wide, at queue_notify_off times notify_off_multiplier, after DRIVER_OK, whenever buffers were added and the device has not suppressed notifications.";
    "notify.after-driver-ok":
        "A queue is notified before DRIVER_OK: the device has to ignore the notification, and the buffers in the queue wait for the next one.";
        "Set DRIVER_OK before the first notification; then notify the device of buffers that were added before.";
}

/// After so many spans, each long enough for a notification to arrive, the driver does not send it any
/// more. A virtual processor that is not scheduled for so long between writing idx and notifying would
/// have to be so while the host runs the device.
const OVERDUE: u32 = obligation::DEADLINE;

/// By the lenient reading, each processor may have had so many notifications on their way when the device
/// suppressed them: one decided upon by a task, and by each level that can interrupt it.
pub(crate) const UNDER_WAY: Tolerance = Tolerance {
    figure: 4,
    readings: &["under-way"],
};

/// These rules have no state.
pub(crate) struct NotifyRules;

/// Judges a notification by itself.
fn sent(queue: Option<u16>, value: u32, enabled: bool, session: &Session, verdicts: &mut Verdicts) {
    let says = || format!("{value:#x} written as a notification");
    if !verdicts.check(AFTER_DRIVER_OK, session.is_live(), queue, || {
        format!(
            "{}, while device status is {}",
            says(),
            status::names(session.status)
        )
    }) {
        return;
    }
    verdicts.check(EXISTS, queue.is_some(), queue, || {
        format!("{}: no such queue", says())
    });
    if let Some(index) = queue {
        verdicts.check(ENABLED, enabled, queue, || {
            format!("{}: queue {index} is not enabled", says())
        });
    }
}

/// Judges whether the driver notifies only when the device needs it.
fn live(notification: LiveNotification, session: &Session, verdicts: &mut Verdicts) {
    let LiveNotification {
        queue,
        event_idx,
        asked,
        at_start,
        advised_against,
        since,
    } = notification;
    let (must, should_not) = if event_idx {
        (BY_EVENT, AGAINST_EVENT)
    } else {
        (BY_FLAGS, AGAINST_FLAGS)
    };
    if asked {
        verdicts.held(must);
    }
    if at_start {
        verdicts.check_by(must, [None, Some(true)], Some(queue), String::new);
    }
    let each = u32::from(session.processors);
    let suppressed = advised_against || event_idx;
    let by = [UNDER_WAY.figure * each, each].map(|limit| !suppressed || since <= limit);
    verdicts.check_by(should_not, by, Some(queue), || {
        let said = if event_idx {
            "set avail_event"
        } else {
            "set flags to 1"
        };
        format!("{since} notifications since the device last {said}")
    });
}

impl Chapter for NotifyRules {
    fn new(_kind: DeviceKind) -> Self {
        NotifyRules
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match *event {
            ControlEvent::Notification(event) => match event {
                NotificationEvent::Sent {
                    queue,
                    value,
                    enabled,
                    ..
                } => sent(queue, value, enabled, session, verdicts),
                NotificationEvent::Live(notification) => live(notification, session, verdicts),
                NotificationEvent::Overdue {
                    queue,
                    event_idx,
                    position,
                    idx,
                    at_start,
                    ticks,
                    last,
                } if ticks == OVERDUE || last && ticks < OVERDUE => {
                    let (must, by) = if event_idx {
                        (BY_EVENT, format!("avail_event is {position}"))
                    } else {
                        (BY_FLAGS, "flags is 0".to_owned())
                    };
                    let excused = at_start || ticks < OVERDUE;
                    let lenient = (!excused).then_some(false);
                    verdicts.check_by(must, [lenient, Some(false)], Some(queue), || {
                        let end = if last { ", and then the end" } else { "" };
                        format!(
                            "{by}, and idx of the available ring went from {position} to {idx} without a notification for {ticks} s{end}"
                        )
                    });
                }
                NotificationEvent::Overdue { .. } => {}
            },
            ControlEvent::Latitude(_)
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
