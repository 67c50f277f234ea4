//! A fault of an initialization is named once, under its own name, whatever follows from it
//! (§2.1, §2.2, §3.1 of virtio 1.0).

use stickler_conformance::DeviceKind::{Block, Entropy};
use stickler_conformance::event::StatusEvent;
use stickler_conformance::features::VERSION_1;
use stickler_conformance::latitude::Latitude;
use stickler_conformance::layout::Structure;
use stickler_conformance::layout::status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK};
use stickler_conformance::requirement::Strictness;
use stickler_conformance::{DeviceKind, Outcome};

use crate::latitude::{outcome, with};
use crate::parts::setup;
use crate::play::Play;

/// What a driver is found to violate.
struct Fault {
    name: &'static str,
    kind: DeviceKind,
    found: &'static [&'static str],
    act: fn(&mut Play),
}

const fn fault(
    name: &'static str,
    kind: DeviceKind,
    found: &'static [&'static str],
    act: fn(&mut Play),
) -> Fault {
    Fault {
        name,
        kind,
        found,
        act,
    }
}

const FAULTS: &[Fault] = &[
    fault(
        "a live device is initialized again, by constants",
        Block,
        &["status.sequence.reset"],
        |p| {
            p.boot();
            constants(p);
        },
    ),
    fault(
        "a live device is initialized again, by adding to what is read",
        Block,
        &["status.sequence.reset"],
        |p| {
            p.boot();
            p.add_status(ACKNOWLEDGE);
            p.add_status(DRIVER);
            p.read_features();
            p.write_features(VERSION_1);
            p.add_status(FEATURES_OK);
            p.read_status();
            p.bring_up();
        },
    ),
    fault(
        "a device of which only features are negotiated is initialized again",
        Entropy,
        &["status.sequence.reset"],
        |p| {
            p.negotiate(p.offered);
            constants(p);
        },
    ),
    fault(
        "a device that another has left live is initialized without a reset",
        Entropy,
        &["status.sequence.reset"],
        |p| {
            p.status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
            constants(p);
        },
    ),
    fault(
        "a status is read after queues were set up, for another reason",
        Entropy,
        &["status.features-ok.re-read"],
        |p| {
            asks(p);
            p.configure(0);
            p.enable(setup(0), 0);
            p.read_status();
            p.add_status(DRIVER_OK);
        },
    ),
    fault(
        "optional configuration is read before the re-read",
        Block,
        &["status.features-ok.re-read"],
        |p| {
            asks(p);
            let seg_max = p.field("seg_max");
            p.read_field(seg_max);
            p.read_status();
            p.add_status(DRIVER_OK);
        },
    ),
    fault(
        "configuration is written before the re-read",
        Block,
        &["status.features-ok.re-read"],
        |p| {
            asks(p);
            p.write(Structure::Device, p.field("writeback").offset, 1, 1);
            p.read_status();
        },
    ),
    fault(
        "a refusal does not hide a missing re-read",
        Entropy,
        &["status.features-ok.re-read", "status.features-ok.refusal"],
        |p| {
            p.keeps = false;
            asks(p);
            p.configure(0);
            p.enable(setup(0), 0);
            p.write_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        },
    ),
    fault(
        "bits one by one do not hide a missing re-read",
        Entropy,
        &["status.features-ok.re-read", "status.no-clear"],
        |p| {
            p.reset();
            p.write_status(ACKNOWLEDGE);
            p.write_status(DRIVER);
            p.read_features();
            p.write_features(p.offered);
            p.write_status(FEATURES_OK);
            p.write_status(DRIVER_OK);
        },
    ),
    fault(
        "DRIVER_OK with FEATURES_OK over a refusal negotiates nothing",
        Block,
        &["status.features-ok.refusal", "features.version-1"],
        |p| {
            p.keeps = false;
            p.negotiate(p.offered & !VERSION_1);
            p.write_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        },
    ),
    fault(
        "a refused driver that enables queues and writes configuration is not too early",
        Block,
        &["status.features-ok.refusal"],
        |p| {
            p.keeps = false;
            p.negotiate(p.offered);
            p.configure(0);
            p.enable(setup(0), 0);
            let writeback = p.field("writeback").offset;
            p.read(Structure::Device, writeback, 1);
            p.write(Structure::Device, writeback, 1, 1);
            p.add_status(DRIVER_OK);
        },
    ),
    fault(
        "a driver that binds again after FAILED, as Linux does",
        Entropy,
        &["status.failed.reset"],
        |p| {
            p.found_device();
            p.add_status(FAILED);
            // ACKNOWLEDGE and DRIVER are set already.
            p.add_status(DRIVER);
            p.read_features();
            p.write_features(p.offered);
            p.add_status(FEATURES_OK);
            p.read_status();
        },
    ),
    fault(
        "features are written before the reset is confirmed",
        Entropy,
        &["status.reset.wait", "features.after-driver"],
        |p| {
            p.life();
            p.write_status(0);
            p.write_features(p.offered);
            p.read_status();
            p.add_status(ACKNOWLEDGE);
        },
    ),
];

/// All steps of an initialization, without a reset, each status a constant.
fn constants(p: &mut Play) {
    p.write_status(ACKNOWLEDGE);
    p.write_status(ACKNOWLEDGE | DRIVER);
    p.read_features();
    p.write_features(p.offered);
    p.write_status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
    p.read_status();
    p.configure(0);
    p.enable(setup(0), 0);
    p.write_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

/// Up to FEATURES_OK, without the re-read.
fn asks(p: &mut Play) {
    p.found_device();
    p.read_features();
    p.write_features(p.offered);
    p.add_status(FEATURES_OK);
}

#[test]
fn a_fault_is_named_once_under_its_own_name() {
    for fault in FAULTS {
        let mut p = Play::new(fault.kind);
        (fault.act)(&mut p);
        let mut found = fault.found.to_vec();
        found.sort_unstable();
        assert_eq!(p.found(), found, "{}: {:#?}", fault.name, p.messages());
        // Each write that clears a bit is one more fault.
        let messages = p.messages();
        let once = messages.iter().filter(|m| !m.contains("this clears"));
        let named = found.iter().filter(|name| **name != "status.no-clear");
        assert_eq!(once.count(), named.count(), "{}: {messages:#?}", fault.name);
        // Whatever was wrong, a reset ends it.
        p.keeps = true;
        p.life();
        assert_eq!(p.messages(), messages, "{}", fault.name);
    }
}

#[test]
fn bits_set_one_by_one_are_in_order_by_every_reading() {
    for strictness in [Strictness::Lenient, Strictness::Strict] {
        let mut p = Play::new(Entropy).judged(strictness);
        p.reset();
        p.write_status(ACKNOWLEDGE);
        p.write_status(DRIVER);
        p.read_features();
        p.write_features(p.offered);
        p.write_status(FEATURES_OK);
        p.read_status();
        p.write_status(DRIVER_OK);
        assert_eq!(p.found(), ["status.no-clear"], "{strictness:?}");
    }
}

#[test]
fn a_status_written_again_is_no_initialization() {
    let mut p = Play::new(Entropy);
    p.boot();
    p.add_status(DRIVER_OK);
    p.add_status(FAILED);
    p.add_status(FAILED);
    p.life();
    assert_eq!(p.messages(), [""; 0]);
}

// ---- Resets that take a while (§4.1.4.3.1)

const SLOW: &str = "status.reset.slow";

/// A live device whose reset takes a while has been asked for one.
fn asked_for_a_slow_reset() -> Play {
    let mut p = with(Entropy, Latitude::SLOW_RESET);
    p.boot();
    let from = p.status;
    p.see(StatusEvent::Written { from, to: 0 });
    p
}

fn is_complete(p: &mut Play) {
    p.see(StatusEvent::ResetDone);
    p.status = 0;
    p.accepted = 0;
}

/// An initialization without a reset before it.
fn goes_on(p: &mut Play) {
    p.add_status(ACKNOWLEDGE);
    p.add_status(DRIVER);
    p.read_features();
    p.write_features(p.offered);
    p.add_status(FEATURES_OK);
    p.read_status();
    p.bring_up();
}

#[test]
fn a_driver_that_reads_status_until_it_is_0_has_waited() {
    let mut p = asked_for_a_slow_reset();
    assert_eq!(outcome(&p, SLOW), Outcome::NotExercised);
    p.read_status();
    p.read_status();
    assert_eq!(outcome(&p, SLOW), Outcome::NotExercised);
    is_complete(&mut p);
    p.read_status();
    assert_eq!(outcome(&p, SLOW), Outcome::Held);
    goes_on(&mut p);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn a_driver_that_had_nothing_to_wait_for_has_not_waited() {
    let mut p = with(Entropy, Latitude::SLOW_RESET);
    p.life();
    assert_eq!(outcome(&p, SLOW), Outcome::NotExercised);
}

#[test]
fn a_driver_that_sets_bits_during_a_reset_has_not_waited() {
    for reads in [0, 1] {
        let mut p = asked_for_a_slow_reset();
        for _ in 0..reads {
            p.read_status();
        }
        p.see(StatusEvent::WrittenDuringReset { to: ACKNOWLEDGE });
        is_complete(&mut p);
        goes_on(&mut p);
        p.add_status(FAILED);
        assert_eq!(p.found(), [SLOW, "status.reset.wait"]);
        assert_eq!(p.messages().len(), 2);
    }
}

#[test]
fn a_driver_that_gives_up_during_a_reset_has_not_coped_and_initializes_nothing() {
    let mut p = asked_for_a_slow_reset();
    p.read_status();
    p.see(StatusEvent::WrittenDuringReset {
        to: p.status | FAILED,
    });
    is_complete(&mut p);
    p.write_status(ACKNOWLEDGE | DRIVER | FAILED);
    assert_eq!(p.found(), [SLOW]);
    // On a plain device, nobody looks whether the reset is complete before giving up.
    let mut plain = Play::new(Entropy);
    plain.write_status(0);
    plain.add_status(FAILED);
    assert_eq!(plain.messages(), [""; 0]);
}

#[test]
fn a_driver_that_writes_features_during_a_reset_has_not_waited() {
    let mut p = asked_for_a_slow_reset();
    p.write_features(p.offered);
    assert_eq!(p.found(), [SLOW, "status.reset.wait"]);
}

#[test]
fn what_a_driver_takes_down_during_a_reset_initializes_nothing() {
    // Linux unmaps vectors when it removes queues.
    let mut p = asked_for_a_slow_reset();
    p.map_vector(None, 0xffff);
    p.read_status();
    is_complete(&mut p);
    p.read_status();
    assert_eq!(p.messages(), [""; 0]);
}

// ---- A device that is live when its driver comes (§2.1.2)

#[test]
fn a_live_device_that_is_not_reset_is_named() {
    let mut p = with(Entropy, Latitude::LIVE_AT_ARRIVAL);
    p.status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
    constants(&mut p);
    p.add_status(FAILED);
    assert_eq!(
        p.found(),
        ["status.reset.live-device", "status.sequence.reset"]
    );
    assert_eq!(p.messages().len(), 2);
}

// ---- Refusals

#[test]
fn a_driver_that_has_set_failed_has_said_so() {
    for (latitude, name) in [
        (Latitude::REFUSED_FEATURES, "status.failed.given-up"),
        (Latitude::PICKY_FEATURES, "features.refused"),
    ] {
        let mut p = with(Entropy, latitude);
        p.keeps = false;
        p.negotiate(p.offered);
        p.add_status(FAILED);
        p.add_status(FEATURES_OK);
        p.add_status(FEATURES_OK);
        assert_eq!(outcome(&p, name), Outcome::Held, "{latitude}");
    }
}

#[test]
fn a_refusal_that_is_ignored_is_not_the_same_features_again() {
    let mut p = with(Entropy, Latitude::REFUSED_FEATURES);
    p.keeps = false;
    p.negotiate(p.offered);
    p.add_status(FEATURES_OK | DRIVER_OK);
    assert_eq!(p.found(), ["status.features-ok.refusal"]);
    // A further initialization with the same ones is: once.
    p.negotiate(p.offered);
    p.add_status(FEATURES_OK | DRIVER_OK);
    p.negotiate(p.offered);
    let given_up = p.messages();
    let given_up = given_up.iter().filter(|m| m.contains("given-up"));
    assert_eq!(given_up.count(), 1);
}
