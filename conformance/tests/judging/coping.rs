//! Checks how it is judged whether drivers cope with unusual transports and virtqueues.

use stickler_conformance::DeviceKind::{Block, Entropy, Net};
use stickler_conformance::event::{
    ConfigEvent, FeatureEvent, LatitudeEvent, LiveNotification, NotificationEvent, PciEvent,
    Register, RegisterEvent, ShownLatitude, StatusEvent, Told,
};
use stickler_conformance::features::{RING_EVENT_IDX, UNKNOWN, VERSION_1};
use stickler_conformance::latitude::Latitude;
use stickler_conformance::layout::status::{ACKNOWLEDGE, DRIVER, FAILED, FEATURES_OK};
use stickler_conformance::layout::{Structure, common};
use stickler_conformance::requirement::Level;
use stickler_conformance::{Outcome, Version, catalogue};

use crate::latitude::{outcome, provoked_by, with};
use crate::parts::w;
use crate::play::Play;

/// The latitudes with which a driver copes if it sets DRIVER_OK.
const LIVE: [Latitude; 1] = [Latitude::LIVE_AT_ARRIVAL];

/// The latitudes with which a driver copes if it sets DRIVER_OK and works with the device for a while.
const COPED: [Latitude; 21] = [
    Latitude::IO_INSTANCES,
    Latitude::CAPABILITY_ORDER,
    Latitude::SCATTERED_CAPABILITIES,
    Latitude::FOREIGN_CAPABILITIES,
    Latitude::RESERVED_LAST,
    Latitude::SEPARATE_BARS,
    Latitude::ONE_BAR,
    Latitude::WIDE_BARS,
    Latitude::NARROW_BARS,
    Latitude::PREFETCHABLE_BAR,
    Latitude::PACKED_STRUCTURES,
    Latitude::DISTANT_STRUCTURES,
    Latitude::RELOCATED_BARS,
    Latitude::NO_MSIX,
    Latitude::SOME_VECTORS,
    Latitude::FEATURE_SUBSET,
    Latitude::SMALL_QUEUES,
    Latitude::TINY_QUEUES,
    Latitude::LARGEST_QUEUES,
    Latitude::RESIZED_QUEUES,
    Latitude::MORE_QUEUES,
];

/// The latitudes with which a driver copes if it notifies a virtqueue.
const NOTIFIED: [Latitude; 5] = [
    Latitude::ONE_NOTIFY_ADDRESS,
    Latitude::CLOSE_NOTIFY_ADDRESSES,
    Latitude::DISTANT_NOTIFY_ADDRESSES,
    Latitude::NOTIFY_OFFSETS,
    Latitude::SAME_NOTIFY_OFFSET,
];

#[test]
fn a_driver_that_goes_live_has_coped() {
    for latitude in LIVE {
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

/// The latitudes with which a driver copes if it works with the device for a while.
const WORKED: [Latitude; 4] = [
    Latitude::ONE_BY_ONE,
    Latitude::WRITES_BEYOND_LEN,
    Latitude::FICKLE_SUPPRESSION,
    Latitude::UNASKED_LOOKS,
];

/// The driver notifies a live queue `times` times.
fn notified(p: &mut Play, times: u32) {
    for since in 1..=times {
        p.see(NotificationEvent::Live(LiveNotification {
            queue: 0,
            event_idx: false,
            asked: true,
            at_start: false,
            advised_against: false,
            since,
        }));
    }
}

#[test]
fn a_driver_that_continues_has_coped_with_the_latitudes_it_has_seen() {
    for latitude in WORKED.into_iter().chain(COPED) {
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
fn a_driver_that_continues_after_an_unusual_order_has_coped_with_it() {
    for latitude in [
        Latitude::BURSTS,
        Latitude::WHOLE_QUEUE,
        Latitude::LATE_INTERRUPTS,
    ] {
        let mut p = with(Entropy, latitude);
        p.boot();
        notified(&mut p, 8);
        let name = provoked_by(latitude)[0];
        assert_eq!(outcome(&p, name), Outcome::NotExercised, "{name}");
        p.see(LatitudeEvent::Shown(latitude));
        notified(&mut p, 1);
        assert_eq!(outcome(&p, name), Outcome::NotExercised, "{name}");
        notified(&mut p, 1);
        assert_eq!(outcome(&p, name), Outcome::Held, "{name}");
    }
}

#[test]
fn a_configuration_that_changes_between_reads_is_read_again() {
    let register = |structure, offset, width| {
        RegisterEvent::Read(Register {
            structure,
            offset,
            width,
            value: 0,
        })
    };
    let generation = register(Structure::Common, common::CONFIG_GENERATION, 1);
    let changed = || {
        let mut p = with(Block, Latitude::UNSETTLED_CONFIGURATION);
        p.found_device();
        p.see(ConfigEvent::ChangedBetweenReads);
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
    // A driver that has not read the generation cannot know this; another rule judges that.
    let mut unaware = with(Block, Latitude::UNSETTLED_CONFIGURATION);
    unaware.found_device();
    unaware.see(ConfigEvent::ChangedBetweenReads);
    unaware.add_status(FEATURES_OK);
    assert_eq!(
        outcome(&unaware, "config.generation.again"),
        Outcome::NotExercised
    );
}

#[test]
fn a_device_that_needs_a_reset_may_be_reset() {
    let mut p = with(Entropy, Latitude::NEEDS_RESET);
    p.boot();
    p.see(StatusEvent::NeedsReset);
    let name = "status.needs-reset.recovery";
    assert_eq!(outcome(&p, name), Outcome::NotExercised);
    p.see(StatusEvent::Written { from: 0x4f, to: 0 });
    assert_eq!(outcome(&p, name), Outcome::Held);
}

/// The driver notifies `queue`, where there is something new.
fn notified_of(p: &mut Play, queue: u16, asked: bool) {
    p.see(NotificationEvent::Live(LiveNotification {
        queue,
        event_idx: false,
        asked,
        at_start: false,
        advised_against: false,
        since: 1,
    }));
}

#[test]
fn a_driver_that_notifies_has_found_the_address() {
    for latitude in NOTIFIED {
        let name = provoked_by(latitude)[0];
        let read_off = |p: &mut Play, off| {
            p.write(Structure::Common, common::QUEUE_SELECT, 2, 1);
            p.see(RegisterEvent::Read(Register {
                structure: Structure::Common,
                offset: common::QUEUE_NOTIFY_OFF,
                width: 2,
                value: off,
            }));
        };
        let mut p = with(Net, latitude);
        p.boot();
        read_off(&mut p, 3);
        // The first queue is where it always is, and what is found at a wrong address is empty.
        notified_of(&mut p, 0, true);
        notified_of(&mut p, 1, false);
        assert_eq!(outcome(&p, name), Outcome::NotExercised, "{name}");
        notified_of(&mut p, 1, true);
        assert_eq!(outcome(&p, name), Outcome::Held, "{name}");
        // A driver that leaves a queue without its notification has not found its address.
        for ticks in 1..=5 {
            p.see(NotificationEvent::Overdue {
                queue: 2,
                event_idx: true,
                position: 0,
                idx: 1,
                at_start: false,
                ticks,
                last: false,
            });
        }
        assert!(p.found().contains(&"notify.at-avail-event"));
        assert_eq!(outcome(&p, name), Outcome::NotExercised, "{name}");
    }
}

#[test]
fn an_offset_that_is_the_index_shows_nothing() {
    let mut p = with(Net, Latitude::NOTIFY_OFFSETS);
    p.boot();
    notified_of(&mut p, 1, true);
    let name = provoked_by(Latitude::NOTIFY_OFFSETS)[0];
    assert_eq!(outcome(&p, name), Outcome::NotExercised);
}

#[test]
fn a_buffer_that_is_told_by_another_is_answered_when_that_is_used_again() {
    let shown = ShownLatitude {
        latitude: Latitude::EARLY_PACKETS,
        told: Some(Told::Buffer(0)),
        next: Some(1),
    };
    let name = "net.receive.unasked";
    let mut p = with(Net, Latitude::EARLY_PACKETS);
    p.boot();
    p.give(0, 0, &[w(2000)]);
    p.see(LatitudeEvent::ShownAt(shown));
    // More buffers, and more packets, say nothing.
    p.give(0, 1, &[w(2000)]);
    notified_of(&mut p, 0, true);
    notified_of(&mut p, 1, true);
    p.used(0, 0, 100);
    notified_of(&mut p, 1, true);
    assert_eq!(outcome(&p, name), Outcome::NotExercised);
    p.give(0, 0, &[w(2000)]);
    notified_of(&mut p, 0, true);
    assert_eq!(outcome(&p, name), Outcome::NotExercised);
    notified_of(&mut p, 1, true);
    assert_eq!(outcome(&p, name), Outcome::Held);
}

#[test]
fn a_live_device_has_to_be_reset_first() {
    let mut p = with(Entropy, Latitude::LIVE_AT_ARRIVAL);
    p.see(StatusEvent::Written { from: 0, to: 0xf });
    assert_eq!(outcome(&p, "status.reset.live-device"), Outcome::Violated);
}

#[test]
fn giving_up_is_a_failure_to_cope_only_with_a_single_latitude() {
    for latitude in COPED.into_iter().chain(LIVE) {
        let mut p = with(Entropy, latitude);
        p.found_device();
        p.add_status(FAILED);
        let mut expected = provoked_by(latitude);
        expected.retain(|name| {
            let requirement = catalogue::find(name).expect("in the catalogue");
            requirement.requirement().level(Version::V1_0) != Level::May
        });
        assert_eq!(p.found(), expected);

        let mut p = with(Entropy, latitude);
        p.see(LatitudeEvent::InUse(Latitude::ANY_REVISION));
        p.found_device();
        p.add_status(FAILED);
        assert_eq!(p.messages(), [""; 0]);
    }
}

/// Something a driver does with a device before it gives up, if it does.
struct Attempt {
    act: fn(&mut Play),
    /// Whether it gives up without a word.
    gives_up: bool,
}

/// A driver that reads the capabilities, and what it does then.
const ATTEMPTS: [Attempt; 6] = [
    // It leaves, or resets the device before it does.
    Attempt {
        act: |_| {},
        gives_up: true,
    },
    Attempt {
        act: |p| p.reset(),
        gives_up: true,
    },
    Attempt {
        act: |p| {
            p.found_device();
            p.read_features();
            p.reset();
        },
        gives_up: true,
    },
    // The guest has no driver for the device.
    Attempt {
        act: |p| {
            p.reset();
            p.add_status(ACKNOWLEDGE);
        },
        gives_up: false,
    },
    Attempt {
        act: |p| {
            p.boot();
            p.reset();
        },
        gives_up: false,
    },
    // It says so, which is judged when it does.
    Attempt {
        act: |p| {
            p.found_device();
            p.add_status(FAILED);
        },
        gives_up: false,
    },
];

/// The latitudes under which no driver may give up.
fn forbidding() -> impl Iterator<Item = (Latitude, Vec<&'static str>)> {
    COPED.into_iter().filter_map(|latitude| {
        let mut forbidden = provoked_by(latitude);
        forbidden.retain(|name| {
            let requirement = catalogue::find(name).expect("in the catalogue");
            let level = requirement.requirement().level(Version::V1_0);
            level.is_absolute()
        });
        (!forbidden.is_empty()).then_some((latitude, forbidden))
    })
}

#[test]
fn a_driver_that_gives_up_without_a_word_is_found_at_the_end() {
    for (latitude, forbidden) in forbidding() {
        for (index, attempt) in ATTEMPTS.iter().enumerate() {
            let mut p = with(Entropy, latitude);
            p.see(PciEvent::CapabilityRead);
            (attempt.act)(&mut p);
            let before = p.found();
            p.see(StatusEvent::RunEnded { by_guest: true });
            let expected = if attempt.gives_up {
                &forbidden
            } else {
                &before
            };
            assert_eq!(p.found(), *expected, "{latitude}, attempt {index}");
        }
    }
}

#[test]
fn a_driver_has_not_given_up_where_another_reason_is_possible() {
    for (latitude, _) in forbidding() {
        // The guest was stopped in the middle of something.
        let mut stopped = with(Entropy, latitude);
        stopped.see(PciEvent::CapabilityRead);
        stopped.found_device();
        stopped.see(StatusEvent::RunEnded { by_guest: false });
        assert_eq!(stopped.messages(), [""; 0]);
        // There are several latitudes.
        let mut several = with(Entropy, latitude);
        several.see(LatitudeEvent::InUse(Latitude::ANY_REVISION));
        several.found_device();
        several.see(StatusEvent::RunEnded { by_guest: true });
        assert_eq!(several.messages(), [""; 0]);
        // No driver of virtio has looked at it.
        let mut unseen = with(Entropy, latitude);
        unseen.see(StatusEvent::RunEnded { by_guest: true });
        assert_eq!(unseen.messages(), [""; 0]);
    }
    let mut plain = Play::new(Entropy);
    plain.see(PciEvent::CapabilityRead);
    plain.found_device();
    plain.see(StatusEvent::RunEnded { by_guest: true });
    assert_eq!(plain.messages(), [""; 0]);
}

#[test]
fn a_driver_that_gives_up_sets_failed() {
    for (latitude, name) in [
        (Latitude::REFUSED_FEATURES, "status.failed.given-up"),
        (Latitude::PICKY_FEATURES, "features.refused"),
    ] {
        for says_so in [false, true] {
            let mut p = with(Entropy, latitude);
            p.keeps = false;
            p.negotiate(p.offered);
            if says_so {
                p.add_status(FAILED);
            }
            p.reset();
            p.see(StatusEvent::RunEnded { by_guest: true });
            let expected: &[&str] = if says_so { &[] } else { &[name] };
            assert_eq!(p.found(), expected, "{latitude}");
        }
    }
    let mut p = with(Entropy, Latitude::FEW_FEATURES);
    p.found_device();
    p.read_features();
    p.reset();
    p.see(StatusEvent::RunEnded { by_guest: true });
    assert_eq!(p.found(), ["features.missing.else-failed"]);
}

/// The driver has accepted `accepted`, and the device has decided.
fn decided(p: &mut Play, accepted: u64, kept: bool) {
    p.see(FeatureEvent::Decided {
        offered: VERSION_1 | RING_EVENT_IDX | UNKNOWN,
        accepted,
        kept,
    });
}

#[test]
fn unknown_features_are_not_accepted() {
    let mut p = with(Entropy, Latitude::UNKNOWN_FEATURES);
    decided(&mut p, VERSION_1, true);
    assert_eq!(outcome(&p, "features.unknown"), Outcome::Held);
    decided(&mut p, VERSION_1 | UNKNOWN, false);
    assert_eq!(outcome(&p, "features.unknown"), Outcome::Violated);
}

#[test]
fn a_refused_driver_sets_failed_or_tries_other_features() {
    const BOTH: u64 = VERSION_1 | RING_EVENT_IDX;
    let refused = || {
        let mut p = with(Entropy, Latitude::PICKY_FEATURES);
        p.found_device();
        decided(&mut p, BOTH, false);
        p
    };
    let mut failed = refused();
    failed.add_status(FAILED);
    assert_eq!(outcome(&failed, "features.refused"), Outcome::Held);

    let mut fewer = refused();
    fewer.see(StatusEvent::Written {
        from: DRIVER,
        to: 0,
    });
    decided(&mut fewer, VERSION_1, true);
    assert_eq!(outcome(&fewer, "features.refused"), Outcome::Held);

    let mut again = refused();
    again.found_device();
    decided(&mut again, BOTH, false);
    assert_eq!(outcome(&again, "features.refused"), Outcome::Violated);
}
