//! Status and features (§2.1, §2.2 of virtio 1.0).

use stickler_conformance::features::{RING_EVENT_IDX, VERSION_1, net};
use stickler_conformance::layout::{Structure, common, status};
use stickler_conformance::{Latitude, Latitudes};
use stickler_guest_tests::in_process::devices::{Device, SECTORS, SLOT};
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts};

use crate::cases;
use crate::conforming::works;

cases! {
    features_ok_stays_set: REFUSED_FEATURES on Entropy,
        |d| {
            d.begin();
            d.offered();
            d.accept(VERSION_1);
            goes_on(d);
        },
        Breaks "status.features-ok.refusal", copes with gives_up_on_features;
    a_device_works_with_all_it_offers: PICKY_FEATURES on Entropy,
        |d| {
            d.begin();
            let offered = d.offered();
            d.accept(offered);
            goes_on(d);
        },
        Breaks "status.features-ok.refusal", copes with tries_fewer_features;
    a_device_works_with_as_little_as_it_can: DEMANDING_FEATURES on Net,
        |d| {
            d.begin();
            d.offered();
            d.accept(VERSION_1 | net::MAC);
            goes_on(d);
        },
        Breaks "status.features-ok.refusal", copes with accepts_more_features;
    who_cannot_agree_tries_again: DEMANDING_FEATURES on Net,
        |d| tries_again_and_again(d, net::MAC),
        Breaks "features.demanded", copes with accepts_more_features;
    what_was_kept_is_kept: REFUSES_LATER on Entropy,
        |d| {
            for _ in 0..5 {
                d.begin();
                d.offered();
                d.accept(VERSION_1);
                goes_on(d);
            }
        },
        Breaks "status.features-ok.refusal", copes with lives_on;
    a_refusal_is_a_mistake: REFUSES_LATER on Entropy, |d| tries_again_and_again(d, 0),
        Misses "features.refused-later", copes with lives_on;
    all_devices_have_event_indices: FEW_FEATURES on Entropy,
        |d| {
            d.begin();
            d.offered();
            d.accept(VERSION_1 | RING_EVENT_IDX);
            d.features_ok();
        },
        Breaks "features.offered";
    no_feature_is_missing: FEATURE_SUBSET on Net,
        |d| {
            d.begin();
            let all = net::MAC | net::STATUS | net::CTRL_VQ | net::MRG_RXBUF | RING_EVENT_IDX;
            assert_eq!(d.offered() & all, all, "a feature is missing");
            works(d);
        },
        Stops "a feature is missing";
    what_is_offered_is_for_me: UNKNOWN_FEATURES on Entropy,
        |d| {
            d.begin();
            let offered = d.offered();
            d.accept(offered);
            d.features_ok();
        },
        Breaks "features.unknown";
    nobody_was_here_before: LIVE_AT_ARRIVAL on Entropy,
        |d| {
            assert_eq!(d.status(), 0, "somebody else's device");
            works(d);
        },
        Stops "somebody else's device";
    a_reset_is_complete_at_once: SLOW_RESET on Entropy,
        |d| {
            works(d);
            d.initialize(0, Interrupts::Msix);
            d.set_common(common::DEVICE_STATUS, 0);
            // It reads what it has to read, and does not look at it. What it writes to other registers
            // does not make the reset complete.
            let _ = d.status();
            d.set_common(common::QUEUE_SELECT, 0);
            d.set_common(common::DEVICE_STATUS, u32::from(status::ACKNOWLEDGE));
        },
        Breaks "status.reset.slow";
    the_capacity_stays: UNSETTLED_CONFIGURATION on Block,
        |d| {
            d.begin();
            d.offered();
            // It reads config_generation, as it has been told, and does not look at it.
            let _ = d.common(common::CONFIG_GENERATION);
            let capacity = capacity(d);
            let _ = d.common(common::CONFIG_GENERATION);
            assert_eq!(capacity, SECTORS, "another capacity");
        },
        Stops "another capacity", copes with |d| {
            d.begin();
            d.offered();
            assert_eq!(d.consistently(capacity), SECTORS);
            works(d);
        };
    nobody_needs_a_generation: UNSETTLED_CONFIGURATION on Block,
        |d| {
            d.begin();
            d.offered();
            // That it does not read config_generation is a fault on every device; here it matters.
            assert_eq!(capacity(d), SECTORS, "another capacity");
        },
        Stops "another capacity", copes with |d| {
            d.begin();
            d.offered();
            assert_eq!(d.consistently(capacity), SECTORS);
            works(d);
        };
    requests_are_completed: NEEDS_RESET on Entropy,
        |d| {
            d.initialize(0, Interrupts::Msix);
            for _ in 0..200 {
                assert!(one_request(d), "the request is lost");
            }
        },
        Stops "the request is lost", copes with |d| {
            d.initialize(0, Interrupts::Msix);
            for _ in 0..500 {
                if !one_request(d) {
                    assert_ne!(d.status() & status::DEVICE_NEEDS_RESET, 0);
                    d.initialize(0, Interrupts::Msix);
                }
            }
        };
}

fn capacity(d: &Driver<'_>) -> u64 {
    let half = |at| d.read(Structure::Device, at, 4);
    half(0) | half(4) << 32
}

/// Whether the device has completed a request.
fn one_request(d: &mut Driver<'_>) -> bool {
    let room = d.rig.allocate(8);
    d.submit(0, &[Buffer::writable(room, 8)]);
    !d.queue(0).take_used().is_empty()
}

/// Sets FEATURES_OK, reads status back, as it has been told, and does not look at what it reads.
fn goes_on(d: &mut Driver<'_>) {
    let _ = d.features_ok();
    d.set_up_interrupts(Interrupts::Msix);
    d.set_up_queues(64);
    d.go();
}

/// Where FEATURES_OK does not stay set, a driver may give up, and says so.
fn gives_up_on_features(d: &mut Driver<'_>) {
    d.begin();
    d.offered();
    d.accept(VERSION_1);
    assert!(!d.features_ok());
    d.add_status(status::FAILED);
    d.reset();
}

/// … or tries with fewer, from the start.
fn tries_fewer_features(d: &mut Driver<'_>) {
    d.begin();
    let offered = d.offered();
    d.accept(offered);
    assert!(!d.features_ok());
    d.negotiate(0);
    d.set_up_interrupts(Interrupts::Msix);
    d.set_up_queues(64);
    d.go();
    d.exercise();
}

/// Uses the device five times. If FEATURES_OK does not stay set, tries the same again, for some time.
fn tries_again_and_again(d: &mut Driver<'_>, features: u64) {
    for _ in 0..5 {
        let mut kept = false;
        for _ in 0..4 {
            d.begin();
            d.offered();
            d.accept(VERSION_1 | features);
            kept = d.features_ok();
            if kept {
                break;
            }
        }
        if !kept {
            return;
        }
        d.set_up_interrupts(Interrupts::Msix);
        d.set_up_queues(64);
        d.go();
    }
}

/// Uses the device several times, and says each time that it cannot.
fn lives_on(d: &mut Driver<'_>) {
    let mut refused = 0;
    for _ in 0..8 {
        d.begin();
        d.offered();
        d.accept(VERSION_1);
        if d.features_ok() {
            d.set_up_interrupts(Interrupts::Msix);
            d.set_up_queues(64);
            d.go();
            d.exercise();
        } else {
            d.add_status(status::FAILED);
            refused += 1;
        }
        d.reset();
    }
    assert!((1..=2).contains(&refused), "refused {refused} times");
}

/// Accepts little and, where that is refused, all there is.
fn accepts_more_features(d: &mut Driver<'_>) {
    d.begin();
    d.offered();
    d.accept(VERSION_1 | net::MAC);
    assert!(!d.features_ok());
    d.negotiate(u64::MAX);
    d.set_up_interrupts(Interrupts::Msix);
    d.set_up_queues(64);
    d.go();
    d.reset();
}

/// A driver that was refused after it had used the device, and does not say that it gives up, is found at the
/// end of the run; one that says it is not.
#[test]
fn who_gives_up_later_says_so() {
    for says in [false, true] {
        let latitudes = Latitudes::default().with(Latitude::REFUSES_LATER);
        let rig = crate::rig_with(latitudes, Device::Entropy);
        let mut d = Driver::probe(&rig, SLOT);
        loop {
            d.begin();
            d.offered();
            d.accept(VERSION_1);
            if !d.features_ok() {
                break;
            }
            d.set_up_interrupts(Interrupts::Msix);
            d.set_up_queues(64);
            d.go();
        }
        if says {
            d.add_status(status::FAILED);
        }
        d.reset();
        rig.power_off();
        let tally = rig.tally("features.refused-later");
        assert_eq!((tally.held, tally.violated), (says.into(), (!says).into()));
    }
}
