//! Device status and the sequence of initialization (§2.1, §3.1 of virtio 1.0).

use stickler_conformance::DeviceKind::{Block, Entropy};
use stickler_conformance::event::StatusEvent;
use stickler_conformance::layout::status::{
    ACKNOWLEDGE, DEVICE_NEEDS_RESET, DRIVER, DRIVER_OK, FAILED, FEATURES_OK,
};

use crate::play::Play;
use crate::table::{Case, case};

pub const CASES: &[Case] = &[
    case("status.sequence.reset", Entropy, |p| {
        p.add_status(ACKNOWLEDGE);
    }),
    case("status.sequence.acknowledge", Entropy, |p| {
        p.reset();
        p.add_status(DRIVER);
    }),
    case("status.sequence.driver", Entropy, |p| {
        p.reset();
        p.add_status(ACKNOWLEDGE);
        p.read_features();
        p.accepted = p.offered;
        p.add_status(FEATURES_OK);
    }),
    case("status.sequence.features-ok", Entropy, |p| {
        p.found_device();
        p.add_status(DRIVER_OK);
    }),
    case("status.features-ok.re-read", Entropy, |p| {
        p.found_device();
        p.read_features();
        p.write_features(p.offered);
        p.add_status(FEATURES_OK);
        p.add_status(DRIVER_OK);
    }),
    case("status.features-ok.refusal", Block, |p| {
        p.keeps = false;
        p.negotiate(p.offered);
        p.add_status(DRIVER_OK);
    })
    .keep(|p| {
        p.keeps = false;
        p.negotiate(p.offered);
        p.add_status(FAILED);
        p.reset();
    }),
    case("status.no-clear", Entropy, |p| {
        p.boot();
        p.write_status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
    }),
    case("status.failed.reset", Entropy, |p| {
        give_up(p);
        p.write_status(ACKNOWLEDGE | DRIVER);
    })
    .keep(|p| {
        give_up(p);
        p.life();
    })
    // The requirement is violated by clearing FAILED, which clears a bit.
    .also(&["status.no-clear"]),
    case("status.failed.stop", Entropy, |p| {
        give_up(p);
        p.read_features();
        p.accepted = p.offered;
        p.add_status(FEATURES_OK);
    })
    .keep(|p| {
        give_up(p);
        p.reset();
    }),
    case("status.reset.wait", Entropy, |p| {
        p.life();
        p.write_status(0);
        p.add_status(ACKNOWLEDGE);
    }),
    case("status.undefined-bits", Entropy, |p| {
        p.found_device();
        p.add_status(0x10);
    }),
    case("status.needs-reset.by-device", Entropy, |p| {
        p.boot();
        p.add_status(DEVICE_NEEDS_RESET);
    }),
];

fn give_up(p: &mut Play) {
    p.found_device();
    p.add_status(FAILED);
}

#[test]
fn several_steps_may_be_reported_in_one_write() {
    let mut p = Play::new(Entropy);
    p.reset();
    p.add_status(ACKNOWLEDGE | DRIVER);
    p.read_features();
    p.write_features(p.offered);
    p.add_status(FEATURES_OK);
    p.read_status();
    p.add_status(DRIVER_OK);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn a_driver_that_does_not_know_of_needs_reset_yet_clears_nothing() {
    let mut p = Play::new(Entropy);
    p.boot();
    p.see(StatusEvent::NeedsReset);
    p.see(StatusEvent::Written {
        from: p.status | DEVICE_NEEDS_RESET,
        to: p.status | FAILED,
    });
    assert_eq!(p.messages(), [""; 0]);
    p.read_status();
}

#[test]
fn writing_features_or_enabling_queues_after_failed_is_continuing() {
    let mut p = Play::new(Entropy);
    give_up(&mut p);
    p.write_features(p.offered);
    assert_eq!(p.found(), ["status.failed.stop"]);
}

#[test]
fn one_reset_is_waited_for_once() {
    let mut p = Play::new(Entropy);
    p.write_status(0);
    p.write_status(0);
    p.add_status(ACKNOWLEDGE);
    p.add_status(DRIVER);
    assert_eq!(p.found(), ["status.reset.wait"]);
    assert_eq!(p.messages().len(), 1);
}
