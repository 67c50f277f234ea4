//! Checks how it is judged whether drivers cope with latitudes of the device types.

use stickler_conformance::DeviceKind::{self, Block, Entropy, Net};
use stickler_conformance::event::{
    LatitudeEvent, LiveNotification, NotificationEvent, RegisterEvent,
};
use stickler_conformance::features::net;
use stickler_conformance::layout::Structure;
use stickler_conformance::layout::status::FAILED;
use stickler_conformance::requirement::How;
use stickler_conformance::{Latitude, Outcome, catalogue};

use crate::parts::register;
use crate::play::Play;

/// The latitudes for which it is not enough that the driver continues.
const ELSEWHERE: [Latitude; 6] = [
    Latitude::ANNOUNCE,
    Latitude::LINK_FLAPS,
    Latitude::UNKNOWN_FLAGS,
    Latitude::STRAY_CHECKSUM_FIELDS,
    Latitude::ODD_HDR_LEN,
    Latitude::DAMAGED_PACKETS,
];

/// The latitudes of device types, except these.
fn latitudes() -> impl Iterator<Item = (Latitude, DeviceKind)> {
    Latitude::all().filter_map(|latitude| {
        let kind = latitude.kind()?;
        (!ELSEWHERE.contains(&latitude)).then_some((latitude, kind))
    })
}

/// The one requirement that a latitude provokes.
fn provoked_by(latitude: Latitude) -> &'static str {
    let mut rows = catalogue::iter().filter(|(_, r)| r.how == How::Provoked(latitude));
    rows.next().expect("there is one").1.name
}

fn outcome(p: &Play, name: &str) -> Outcome {
    p.tallies()
        .outcome(catalogue::find(name).expect("in the catalogue"))
}

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
fn a_driver_that_continues_has_coped() {
    for (latitude, kind) in latitudes() {
        let name = provoked_by(latitude);
        let mut p = Play::new(kind);
        p.see(LatitudeEvent::InUse(latitude));
        p.boot();
        goes_on(&mut p);
        assert_eq!(outcome(&p, name), Outcome::NotExercised, "{name}");
        p.see(LatitudeEvent::Shown(latitude));
        goes_on(&mut p);
        assert_eq!(outcome(&p, name), Outcome::Held, "{name}");
        assert_eq!(p.messages(), [""; 0]);
    }
}

#[test]
fn a_driver_that_starts_again_has_not_continued() {
    for (latitude, kind) in latitudes() {
        let mut p = Play::new(kind);
        p.boot();
        p.see(LatitudeEvent::Shown(latitude));
        p.boot();
        goes_on(&mut p);
        let name = provoked_by(latitude);
        assert_eq!(outcome(&p, name), Outcome::NotExercised, "{name}");
    }
}

#[test]
fn a_driver_that_gives_up_on_an_unusual_disk_has_not_coped() {
    for (latitude, kind) in latitudes() {
        let mut p = Play::new(kind);
        p.see(LatitudeEvent::InUse(latitude));
        p.found_device();
        p.add_status(FAILED);
        match kind {
            Block if latitude.may_end_use() => assert_eq!(p.messages(), [""; 0], "{latitude}"),
            Block => assert_eq!(p.found(), [provoked_by(latitude)]),
            _ => assert_eq!(p.messages(), [""; 0], "{latitude} does not show so early"),
        }
        // With several latitudes, the reason is unknown; and latitudes of other device types are no reason.
        let mut p = Play::new(kind);
        p.see(LatitudeEvent::InUse(latitude));
        p.see(LatitudeEvent::InUse(Latitude::ANY_SUBSYSTEM));
        p.found_device();
        p.add_status(FAILED);
        assert!(!p.found().contains(&provoked_by(latitude)));
    }
    let mut p = Play::new(Entropy);
    p.see(LatitudeEvent::InUse(Latitude::LARGE_BLOCKS));
    p.found_device();
    p.add_status(FAILED);
    assert_eq!(p.messages(), [""; 0]);
}

/// The link changes while the driver runs.
fn link_changes(features: u64) -> Play {
    let mut p = Play::new(Net);
    p.see(LatitudeEvent::InUse(Latitude::LINK_FLAPS));
    p.boot_with(p.offered & !net::STATUS | features);
    p.see(LatitudeEvent::Shown(Latitude::LINK_FLAPS));
    p
}

const READ_AGAIN: &str = "net.link.read-again";

#[test]
fn a_changed_link_is_read_again() {
    let mut p = link_changes(net::STATUS);
    p.see(RegisterEvent::Read(register(Structure::Device, 0, 1, 3)));
    assert_eq!(outcome(&p, READ_AGAIN), Outcome::NotExercised);
    p.see(RegisterEvent::Read(register(Structure::Device, 6, 2, 1)));
    assert_eq!(outcome(&p, READ_AGAIN), Outcome::Held);
}

#[test]
fn a_changed_link_that_is_not_read_is_reported() {
    let send_much = |p: &mut Play| {
        for _ in 0..6 {
            p.send(Default::default(), &[0; 60]);
            p.pass(1);
        }
    };
    let mut p = link_changes(net::STATUS);
    // Who sends nothing need not know.
    p.pass(100);
    assert!(!p.found().contains(&READ_AGAIN));
    send_much(&mut p);
    assert!(p.found().contains(&READ_AGAIN));
    // A driver that has not negotiated status assumes that the link is up.
    let mut p = link_changes(0);
    send_much(&mut p);
    assert!(!p.found().contains(&READ_AGAIN));
}
