//! Checks how it is judged whether drivers cope with latitudes.

use stickler_conformance::DeviceKind::{Block, Entropy, Net};
use stickler_conformance::event::{
    LatitudeEvent, LiveNotification, NotificationEvent, PciEvent, RegisterEvent,
};
use stickler_conformance::features::net;
use stickler_conformance::layout::status::{DRIVER, FAILED};
use stickler_conformance::layout::{Structure, status};
use stickler_conformance::requirement::{How, Level};
use stickler_conformance::{Latitude, Outcome, Version, catalogue};

use crate::parts::{r, w};
use crate::play::Play;

/// The requirements that a latitude provokes.
pub(crate) fn provoked_by(latitude: Latitude) -> Vec<&'static str> {
    catalogue::iter()
        .filter(|(_, row)| row.how == How::Provoked(latitude))
        .map(|(_, row)| row.name)
        .collect()
}

pub(crate) fn outcome(p: &Play, name: &str) -> Outcome {
    let requirement = catalogue::find(name).expect("in the catalogue");
    p.tallies().outcome(requirement)
}

pub(crate) fn with(kind: stickler_conformance::DeviceKind, latitude: Latitude) -> Play {
    let mut p = Play::new(kind);
    p.see(LatitudeEvent::InUse(latitude));
    p
}

/// The latitudes with which a driver copes if it sets DRIVER_OK.
const COPED: [Latitude; 4] = [
    Latitude::ANY_REVISION,
    Latitude::ANY_SUBSYSTEM,
    Latitude::TRANSITIONAL_ID,
    Latitude::SECOND_INSTANCES,
];

#[test]
fn every_latitude_provokes_something() {
    for latitude in Latitude::all() {
        assert!(!provoked_by(latitude).is_empty(), "{latitude}");
        assert_eq!(latitude.name().parse(), Ok(latitude));
    }
    assert!("none-such".parse::<Latitude>().is_err());
}

#[test]
fn a_driver_that_goes_live_has_coped() {
    for latitude in COPED {
        let mut p = with(Entropy, latitude);
        p.life();
        for name in provoked_by(latitude) {
            assert_eq!(outcome(&p, name), Outcome::Held, "{name}");
        }
        assert_eq!(p.messages(), [""; 0]);
        // Without the latitude, the requirement is not exercised.
        let mut plain = Play::new(Entropy);
        plain.life();
        for name in provoked_by(latitude) {
            assert_eq!(outcome(&plain, name), Outcome::NotExercised, "{name}");
        }
    }
}

#[test]
fn giving_up_is_a_failure_to_cope_only_with_a_single_latitude() {
    for latitude in COPED {
        let mut p = with(Entropy, latitude);
        p.found_device();
        p.add_status(FAILED);
        let mut expected = provoked_by(latitude);
        expected.retain(|name| {
            let requirement = catalogue::find(name).expect("in the catalogue");
            requirement.requirement().level(Version::V1_0) != Level::May
        });
        expected.sort_unstable();
        assert_eq!(p.found(), expected);

        let mut p = with(Entropy, latitude);
        p.see(LatitudeEvent::InUse(Latitude::FEW_FEATURES));
        p.found_device();
        p.add_status(FAILED);
        assert_eq!(p.messages(), [""; 0]);
    }
}

#[test]
fn without_features_a_driver_copes_or_sets_failed() {
    let mut p = with(Entropy, Latitude::FEW_FEATURES);
    p.found_device();
    p.add_status(FAILED);
    assert_eq!(p.found(), ["features.missing.cope"]);
    assert_eq!(outcome(&p, "features.missing.else-failed"), Outcome::Held);
}

#[test]
fn the_first_instance_is_to_be_used() {
    let mut p = with(Entropy, Latitude::SECOND_INSTANCES);
    p.see(PciEvent::SecondInstance {
        structure: Structure::Common,
    });
    p.boot();
    assert_eq!(p.found(), ["pci.capability.first-instance"]);
}

#[test]
fn a_driver_that_gives_up_after_a_refusal_sets_failed() {
    let refuse = |p: &mut Play| {
        p.keeps = false;
        p.negotiate(p.offered);
    };
    let mut p = with(Entropy, Latitude::REFUSED_FEATURES);
    refuse(&mut p);
    p.add_status(FAILED);
    p.reset();
    refuse(&mut p);
    assert_eq!(p.messages(), [""; 0]);
    assert_eq!(outcome(&p, "status.failed.given-up"), Outcome::Held);

    // Another set is another try.
    let mut p = with(Entropy, Latitude::REFUSED_FEATURES);
    refuse(&mut p);
    p.keeps = false;
    p.negotiate(1 << 32);
    assert_eq!(p.messages(), [""; 0]);
    p.negotiate(1 << 32);
    assert_eq!(p.found(), ["status.failed.given-up"]);
}

#[test]
fn failed_before_a_refusal_does_not_count_as_given_up() {
    let mut p = with(Entropy, Latitude::REFUSED_FEATURES);
    p.reset();
    p.add_status(status::ACKNOWLEDGE);
    p.add_status(DRIVER);
    p.add_status(FAILED);
    assert_eq!(p.messages(), [""; 0]);
}

/// The driver makes buffers available.
fn goes_on(p: &mut Play) {
    p.notify(0);
    p.see(NotificationEvent::Live(LiveNotification {
        queue: 0,
        event_idx: true,
        asked: true,
        at_start: false,
        advised_against: false,
        since: 1,
    }));
}

#[test]
fn a_driver_that_continues_has_coped_with_an_interrupt() {
    let mut p = with(Entropy, Latitude::SPURIOUS_INTERRUPTS);
    p.boot();
    p.see(LatitudeEvent::Shown(Latitude::SPURIOUS_INTERRUPTS));
    assert_eq!(outcome(&p, "interrupt.spurious"), Outcome::NotExercised);
    goes_on(&mut p);
    goes_on(&mut p);
    assert_eq!(outcome(&p, "interrupt.spurious"), Outcome::Held);
}

#[test]
fn an_interrupt_for_two_causes_is_handled_when_both_are() {
    let isr = |value| PciEvent::IsrRead {
        value,
        msix_enabled: false,
    };
    let interrupted = || {
        let mut p = with(Block, Latitude::SHARED_INTERRUPTS);
        p.boot();
        p.give(0, 0, &[r(16), w(512), w(1)]);
        p.used(0, 0, 513);
        p.see(isr(3));
        p
    };
    type Act = fn(&mut Play);
    let reads: Act = |p| p.read(Structure::Device, 0, 4);
    let takes: Act = |p| p.give(0, 0, &[r(16), w(512), w(1)]);
    let both = [[reads, takes], [takes, reads]];
    for [first, second] in both {
        let mut p = interrupted();
        first(&mut p);
        assert_eq!(outcome(&p, "interrupt.shared"), Outcome::NotExercised);
        second(&mut p);
        assert_eq!(outcome(&p, "interrupt.shared"), Outcome::Held);
    }
    // What another interrupt says may be what it handles.
    for (value, [first, second]) in [(2, both[1]), (1, both[0])] {
        let mut p = interrupted();
        first(&mut p);
        p.see(isr(value));
        second(&mut p);
        assert_eq!(outcome(&p, "interrupt.shared"), Outcome::NotExercised);
    }
}

/// The driver reads VIRTIO_NET_S_ANNOUNCE in status.
fn asked_to_announce() -> Play {
    let mut p = with(Net, Latitude::ANNOUNCE);
    p.boot();
    p.see(RegisterEvent::Read(crate::parts::register(
        Structure::Device,
        6,
        2,
        3,
    )));
    p
}

#[test]
fn an_announcement_is_acknowledged() {
    let mut p = asked_to_announce();
    p.send(Default::default(), &[0; 60]);
    p.command(3, 0, &[]);
    assert_eq!(outcome(&p, "net.announce.acknowledged"), Outcome::Held);
    assert!(!p.found().contains(&"net.announce.acknowledged"));
}

#[test]
fn an_announcement_that_is_never_acknowledged_is_reported() {
    let mut p = asked_to_announce();
    p.pass(5);
    assert!(!p.found().contains(&"net.announce.acknowledged"));
    p.pass(1);
    assert!(p.found().contains(&"net.announce.acknowledged"));
}

#[test]
fn without_the_feature_no_driver_is_asked() {
    let mut p = with(Net, Latitude::ANNOUNCE);
    p.boot_with(p.offered & !net::GUEST_ANNOUNCE);
    p.see(RegisterEvent::Read(crate::parts::register(
        Structure::Device,
        6,
        2,
        3,
    )));
    p.command(1, 1, &[2, 0, 0, 0, 0, 1]);
    assert_eq!(
        outcome(&p, "net.announce.acknowledged"),
        Outcome::NotExercised
    );
}
