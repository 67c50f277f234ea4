//! Checks how it is judged whether drivers cope with latitudes of the device types.

use stickler_conformance::DeviceKind::{self, Block, Entropy, Net};
use stickler_conformance::event::{
    BlockRequest, DataEvent, LatitudeEvent, LiveNotification, NotificationEvent, RegisterEvent,
};
use stickler_conformance::features::{block, net};
use stickler_conformance::latitude::Shows;
use stickler_conformance::layout::Structure;
use stickler_conformance::layout::status::FAILED;
use stickler_conformance::requirement::How;
use stickler_conformance::{Latitude, Outcome, catalogue};

use crate::parts::{register, request};
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
    for (latitude, kind) in latitudes().filter(|(l, _)| l.entry().shows == Shows::Used) {
        let name = provoked_by(latitude);
        let mut p = Play::new(kind);
        p.see(LatitudeEvent::InUse(latitude));
        p.boot();
        goes_on(&mut p);
        assert_eq!(outcome(&p, name), Outcome::NotExercised, "{name}");
        p.see(LatitudeEvent::Shown(latitude));
        goes_on(&mut p);
        assert_eq!(outcome(&p, name), Outcome::NotExercised, "{name}");
        goes_on(&mut p);
        assert_eq!(outcome(&p, name), Outcome::Held, "{name}");
        assert_eq!(p.messages(), [""; 0]);
    }
}

/// A driver boots with a disk that makes use of `latitude`, and makes requests. Gives what comes of it.
fn requests(latitude: Latitude, requests: &[BlockRequest]) -> Outcome {
    let mut p = Play::new(Block);
    p.see(LatitudeEvent::InUse(latitude));
    p.boot();
    for request in requests {
        p.see(DataEvent::BlockRequest(*request));
    }
    outcome(&p, provoked_by(latitude))
}

#[test]
fn requests_show_whether_a_driver_knows_the_limits() {
    let request = |segments, longest_segment, data| BlockRequest {
        segments,
        longest_segment,
        ..request(0, 8, 0, data)
    };
    let (few, short, many, long) = (
        request(3, 4096, 12288),
        request(1, 512, 512),
        request(5, 4096, 20480),
        request(2, 8192, 16384),
    );
    let most = request(4, 4096, 16384);
    for (latitude, made, expected) in [
        (
            Latitude::FEW_SEGMENTS,
            vec![few, short],
            Outcome::NotExercised,
        ),
        (Latitude::FEW_SEGMENTS, vec![few, most], Outcome::Held),
        (
            Latitude::FEW_SEGMENTS,
            vec![most, many],
            Outcome::NotExercised,
        ),
        (
            Latitude::SMALL_SEGMENTS,
            vec![short, long],
            Outcome::NotExercised,
        ),
        (Latitude::SMALL_SEGMENTS, vec![most], Outcome::Held),
        (
            Latitude::SMALL_SEGMENTS,
            vec![most, long],
            Outcome::NotExercised,
        ),
    ] {
        assert_eq!(requests(latitude, &made), expected, "{latitude}: {made:?}");
    }
}

#[test]
fn requests_show_in_which_unit_a_driver_counts() {
    // Blocks of 4096 bytes, one after another.
    let blocks = |between: u64| -> Vec<BlockRequest> {
        let sectors = (0..3).map(|block| block * between);
        sectors.map(|sector| request(0, sector, 0, 4096)).collect()
    };
    for latitude in [Latitude::BLOCK_SIZES, Latitude::LARGE_BLOCKS] {
        assert_eq!(requests(latitude, &blocks(8)), Outcome::Held);
        assert_eq!(requests(latitude, &blocks(1)), Outcome::NotExercised);
    }
    // With blocks of one sector, both are the same.
    let sectors: Vec<_> = (0..9).map(|sector| request(0, sector, 0, 512)).collect();
    assert_eq!(
        requests(Latitude::BLOCK_SIZES, &sectors),
        Outcome::NotExercised
    );
}

#[test]
fn a_driver_that_writes_to_a_read_only_disk_ignores_that_it_is() {
    let name = provoked_by(Latitude::READ_ONLY);
    let used = |accepted: u64| {
        let mut p = Play::new(Block);
        p.offered |= block::RO;
        p.see(LatitudeEvent::InUse(Latitude::READ_ONLY));
        p.boot_with(p.offered & !block::RO | accepted);
        p.see(LatitudeEvent::Shown(Latitude::READ_ONLY));
        goes_on(&mut p);
        goes_on(&mut p);
        p
    };
    let mut p = used(block::RO);
    assert_eq!(outcome(&p, name), Outcome::Held);
    p.request(1, 8, 512, 0);
    assert_eq!(outcome(&p, name), Outcome::NotExercised);
    assert_eq!(outcome(&used(0), name), Outcome::NotExercised);
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
