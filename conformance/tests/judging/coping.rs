//! Whether drivers cope with unusual transports and virtqueues.

use stickler_conformance::DeviceKind::{Block, Entropy};
use stickler_conformance::event::{NotifiedLive, Register};
use stickler_conformance::features::{RING_EVENT_IDX, UNKNOWN, VERSION_1};
use stickler_conformance::latitude::Latitude;
use stickler_conformance::layout::status::{DRIVER, FAILED, FEATURES_OK};
use stickler_conformance::layout::{Structure, common};
use stickler_conformance::requirement::Level;
use stickler_conformance::{Event, Outcome, catalogue};

use crate::latitude::{outcome, provoked_by, with};
use crate::play::Play;

/// Those with which bringing the device to life is all there is to do.
const COPED: [Latitude; 24] = [
    Latitude::IoInstances,
    Latitude::CapabilityOrder,
    Latitude::ScatteredCapabilities,
    Latitude::ForeignCapabilities,
    Latitude::ReservedLast,
    Latitude::SeparateBars,
    Latitude::OneBar,
    Latitude::WideBars,
    Latitude::NarrowBars,
    Latitude::PrefetchableBar,
    Latitude::PackedStructures,
    Latitude::DistantStructures,
    Latitude::RelocatedBars,
    Latitude::NoMsix,
    Latitude::SomeVectors,
    Latitude::NoVectorMaps,
    Latitude::LiveAtArrival,
    Latitude::SlowReset,
    Latitude::FeatureSubset,
    Latitude::SmallQueues,
    Latitude::TinyQueues,
    Latitude::LargestQueues,
    Latitude::ResizedQueues,
    Latitude::MoreQueues,
];

/// Those that are put to the test by notifying a virtqueue.
const NOTIFIED: [Latitude; 5] = [
    Latitude::OneNotifyAddress,
    Latitude::CloseNotifyAddresses,
    Latitude::DistantNotifyAddresses,
    Latitude::NotifyOffsets,
    Latitude::SameNotifyOffset,
];

#[test]
fn who_goes_live_has_coped() {
    for latitude in COPED {
        let mut p = with(Entropy, latitude);
        p.life();
        let mut plain = Play::new(Entropy);
        plain.life();
        for name in provoked_by(latitude) {
            assert_eq!(outcome(&p, name), Outcome::Held, "{name}");
            assert_eq!(outcome(&plain, name), Outcome::NotExercised, "{name}");
        }
        assert_eq!(p.messages(), [""; 0]);
    }
}

/// Those that are put to the test by working with the device for a while.
const WORKED: [Latitude; 4] = [
    Latitude::OneByOne,
    Latitude::WritesBeyondLen,
    Latitude::FickleSuppression,
    Latitude::UnaskedLooks,
];

/// The driver notifies a live queue so many times.
fn notified(p: &mut Play, times: u32) {
    for since in 1..=times {
        p.see(Event::NotifiedLive(NotifiedLive {
            queue: 0,
            event_idx: false,
            asked: true,
            advised_against: false,
            since,
        }));
    }
}

#[test]
fn who_goes_on_has_coped_with_what_it_was_shown() {
    for latitude in WORKED {
        let mut p = with(Entropy, latitude);
        p.boot();
        notified(&mut p, 3);
        for name in provoked_by(latitude) {
            assert_eq!(outcome(&p, name), Outcome::NotExercised, "{name}");
        }
        notified(&mut p, 1);
        for name in provoked_by(latitude) {
            assert_eq!(outcome(&p, name), Outcome::Held, "{name}");
        }
    }
}

#[test]
fn who_goes_on_after_an_unusual_order_has_coped_with_it() {
    for latitude in [
        Latitude::OutOfOrder,
        Latitude::Bursts,
        Latitude::WholeQueue,
        Latitude::LateInterrupts,
    ] {
        let mut p = with(Entropy, latitude);
        p.boot();
        notified(&mut p, 8);
        let name = provoked_by(latitude)[0];
        assert_eq!(outcome(&p, name), Outcome::NotExercised, "{name}");
        p.see(Event::MadeUse(latitude));
        notified(&mut p, 1);
        assert_eq!(outcome(&p, name), Outcome::Held, "{name}");
    }
}

#[test]
fn what_has_changed_under_way_is_read_again() {
    let register = |structure, offset, width| {
        Event::RegisterRead(Register {
            structure,
            offset,
            width,
            value: 0,
            through_window: false,
        })
    };
    let generation = register(Structure::Common, common::CONFIG_GENERATION, 1);
    let changed = || {
        let mut p = with(Block, Latitude::UnsettledConfiguration);
        p.found_device();
        p.see(Event::ChangedUnderWay);
        p.see(generation);
        p
    };
    let mut again = changed();
    again.see(register(Structure::Device, 0, 4));
    assert_eq!(outcome(&again, "config.generation.again"), Outcome::Held);
    let mut not_again = changed();
    not_again.add_status(FEATURES_OK);
    assert_eq!(
        outcome(&not_again, "config.generation.again"),
        Outcome::Violated
    );
    // Who has not looked at the generation cannot know, which another rule sees to.
    let mut unaware = with(Block, Latitude::UnsettledConfiguration);
    unaware.found_device();
    unaware.see(Event::ChangedUnderWay);
    unaware.add_status(FEATURES_OK);
    assert_eq!(
        outcome(&unaware, "config.generation.again"),
        Outcome::NotExercised
    );
}

#[test]
fn a_device_that_needs_a_reset_may_be_reset() {
    let mut p = with(Entropy, Latitude::NeedsReset);
    p.boot();
    p.see(Event::NeedsReset);
    let name = "status.needs-reset.recovery";
    assert_eq!(outcome(&p, name), Outcome::NotExercised);
    p.see(Event::StatusWritten { from: 0x4f, to: 0 });
    assert_eq!(outcome(&p, name), Outcome::Held);
}

#[test]
fn who_notifies_has_found_where() {
    for latitude in NOTIFIED {
        let mut p = with(Entropy, latitude);
        p.boot();
        for name in provoked_by(latitude) {
            assert_eq!(outcome(&p, name), Outcome::NotExercised, "{name}");
        }
        notified(&mut p, 2);
        for name in provoked_by(latitude) {
            assert_eq!(outcome(&p, name), Outcome::Held, "{name}");
        }
    }
}

#[test]
fn who_gives_up_has_not_coped_but_with_one_latitude_only() {
    for latitude in COPED {
        let mut p = with(Entropy, latitude);
        p.found_device();
        p.add_status(FAILED);
        let mut expected = provoked_by(latitude);
        expected.retain(|name| {
            let requirement = catalogue::find(name).expect("in the catalogue");
            requirement.requirement().level != Level::May
        });
        assert_eq!(p.found(), expected);

        let mut p = with(Entropy, latitude);
        p.see(Event::Latitude(Latitude::AnyRevision));
        p.found_device();
        p.add_status(FAILED);
        assert_eq!(p.messages(), [""; 0]);
    }
}

/// The driver has accepted `accepted`, and the device has decided.
fn decided(p: &mut Play, accepted: u64, kept: bool) {
    p.see(Event::FeaturesDecided {
        offered: VERSION_1 | RING_EVENT_IDX | UNKNOWN,
        accepted,
        kept,
    });
}

#[test]
fn unknown_features_are_not_accepted() {
    let mut p = with(Entropy, Latitude::UnknownFeatures);
    decided(&mut p, VERSION_1, true);
    assert_eq!(outcome(&p, "features.unknown"), Outcome::Held);
    decided(&mut p, VERSION_1 | UNKNOWN, false);
    assert_eq!(outcome(&p, "features.unknown"), Outcome::Violated);
}

#[test]
fn who_is_refused_sets_failed_or_tries_others() {
    const BOTH: u64 = VERSION_1 | RING_EVENT_IDX;
    let refused = || {
        let mut p = with(Entropy, Latitude::PickyFeatures);
        p.found_device();
        decided(&mut p, BOTH, false);
        p
    };
    let mut failed = refused();
    failed.add_status(FAILED);
    assert_eq!(outcome(&failed, "features.refused"), Outcome::Held);

    let mut fewer = refused();
    fewer.see(Event::StatusWritten {
        from: DRIVER,
        to: 0,
    });
    decided(&mut fewer, VERSION_1, true);
    assert_eq!(outcome(&fewer, "features.refused"), Outcome::Held);

    let mut again = refused();
    decided(&mut again, BOTH, false);
    assert_eq!(outcome(&again, "features.refused"), Outcome::Violated);
}
