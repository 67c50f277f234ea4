//! Notifications (§3.1.1, §4.1.5.2 of virtio 1.0).

use stickler_conformance::DeviceKind::{Block, Entropy};
use stickler_conformance::event::{LiveNotification, NotificationEvent};
use stickler_conformance::layout::status::DRIVER_OK;

use crate::play::Play;
use crate::table::{Case, case};

pub const CASES: &[Case] = &[
    case("notify.after-driver-ok", Entropy, |p| {
        p.negotiate(p.offered);
        p.notify(0);
    }),
    case("notify.width", Block, |p| {
        p.boot();
        notified(p, Some(0), 0, 4);
    }),
    case("notify.value", Block, |p| {
        p.boot();
        notified(p, Some(0), 1, 2);
    }),
    case("notify.queue-exists", Block, |p| {
        p.boot();
        notified(p, None, 7, 2);
    }),
    case("notify.queue-enabled", Entropy, |p| {
        p.negotiate(p.offered);
        p.add_status(DRIVER_OK);
        p.notify(0);
    }),
    case("notify.when-flags-0", Block, |p| overdue(p, false)).keep(|p| live(p, false, true, 2)),
    case("notify.not-when-flags-1", Block, |p| {
        live(p, false, false, 65)
    })
    .keep(|p| live(p, false, false, 64)),
    case("notify.at-avail-event", Block, |p| overdue(p, true)).keep(|p| live(p, true, true, 1)),
    case("notify.not-before-avail-event", Block, |p| {
        live(p, true, false, 65);
    })
    .keep(|p| live(p, true, false, 64)),
];

/// The `since`th notification since the device requested or suppressed notifications.
fn live(p: &mut Play, event_idx: bool, asked: bool, since: u32) {
    p.boot();
    p.see(NotificationEvent::Live(LiveNotification {
        queue: 0,
        event_idx,
        asked,
        at_start: false,
        advised_against: !asked && !event_idx,
        since,
    }));
}

/// The device waits for a notification that does not come.
fn overdue(p: &mut Play, event_idx: bool) {
    p.boot();
    waits(p, event_idx, 1..8);
}

fn waits(p: &mut Play, event_idx: bool, spans: std::ops::Range<u32>) {
    for ticks in spans {
        p.see(NotificationEvent::Overdue {
            queue: 0,
            event_idx,
            position: 0xffff,
            idx: 1,
            at_start: false,
            ticks,
            last: false,
        });
    }
}

#[test]
fn a_late_notification_is_a_notification() {
    let mut p = Play::new(Block);
    p.boot();
    waits(&mut p, true, 1..5);
    waits(&mut p, false, 1..5);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn each_missing_notification_is_reported_once() {
    let mut p = Play::new(Block);
    p.boot();
    waits(&mut p, true, 1..100);
    assert_eq!(p.messages().len(), 1);
}

#[test]
fn notifications_that_are_not_suppressed_are_not_limited() {
    let mut p = Play::new(Block);
    live(&mut p, false, true, 100_000);
    assert_eq!(p.messages(), [""; 0]);
}

fn notified(p: &mut Play, queue: Option<u16>, value: u32, width: u8) {
    p.see(NotificationEvent::Sent {
        queue,
        value,
        width,
        enabled: true,
    });
}

#[test]
fn a_device_that_has_been_reset_is_not_notified() {
    let mut p = Play::new(Entropy);
    p.boot();
    p.notify(0);
    p.reset();
    p.notify(0);
    assert_eq!(p.found(), ["notify.after-driver-ok"]);
}
