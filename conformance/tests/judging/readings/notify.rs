//! Notifications of available buffers: drivers that send them too late, or too many.

use stickler_conformance::DeviceKind::Block;
use stickler_conformance::event::{LiveNotification, NotificationEvent};

use super::{Ambiguity, read};
use crate::play::Play;

pub(super) const CASES: &[Ambiguity] = &[
    // Populated before DRIVER_OK, and not notified.
    read("notify.when-flags-0", Block, &[true, false], |p| {
        p.boot();
        overdue_at_start(p, false);
    }),
    read("notify.at-avail-event", Block, &[true, false], |p| {
        p.boot();
        overdue_at_start(p, true);
    }),
    read("notify.when-flags-0", Block, &[true, false], |p| {
        p.boot();
        owed_at_the_end(p, false);
    }),
    read("notify.at-avail-event", Block, &[true, false], |p| {
        p.boot();
        owed_at_the_end(p, true);
    }),
    read("notify.not-when-flags-1", Block, &[true, false], |p| {
        p.boot();
        p.see(notification(false, 17));
    }),
    read(
        "notify.not-before-avail-event",
        Block,
        &[true, false],
        |p| {
            p.boot();
            p.see(notification(true, 17));
        },
    ),
];

/// The `since`th notification since the device suppressed them.
fn notification(event_idx: bool, since: u32) -> NotificationEvent {
    NotificationEvent::Live(LiveNotification {
        queue: 0,
        event_idx,
        asked: false,
        at_start: false,
        advised_against: !event_idx,
        since,
    })
}

/// The device is reset, and a notification is owed.
fn owed_at_the_end(p: &mut Play, event_idx: bool) {
    p.see(NotificationEvent::Overdue {
        queue: 0,
        event_idx,
        position: 2,
        idx: 3,
        at_start: false,
        ticks: 4,
        last: true,
    });
}

/// Buffers that were available before DRIVER_OK are not notified for a long time; then they are.
fn overdue_at_start(p: &mut Play, event_idx: bool) {
    for ticks in 1..8 {
        p.see(NotificationEvent::Overdue {
            queue: 0,
            event_idx,
            position: 0,
            idx: 3,
            at_start: true,
            ticks,
            last: false,
        });
    }
}
