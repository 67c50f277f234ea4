//! Notifications (§3.1.1, §4.1.5.2).

use stickler_conformance::DeviceKind::{Block, Entropy};
use stickler_conformance::Event;
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
];

fn notified(p: &mut Play, queue: Option<u16>, value: u32, width: u8) {
    p.see(Event::Notified {
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
