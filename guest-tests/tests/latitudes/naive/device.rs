//! Status and features (§2.1, §2.2).

use stickler_conformance::features::{RING_EVENT_IDX, VERSION_1, net};
use stickler_conformance::layout::{common, status};
use stickler_guest_tests::in_process::Driver;

use crate::cases;
use crate::conforming::works;

cases! {
    features_ok_stays_set: RefusedFeatures on Entropy,
        |d| {
            d.begin();
            d.offered();
            d.accept(VERSION_1);
            goes_on(d);
        },
        Breaks "status.features-ok.refusal", copes with gives_up_on_features;
    a_device_works_with_all_it_offers: PickyFeatures on Entropy,
        |d| {
            d.begin();
            let offered = d.offered();
            d.accept(offered);
            goes_on(d);
        },
        Breaks "status.features-ok.refusal", copes with tries_fewer_features;
    all_devices_have_event_indices: FewFeatures on Entropy,
        |d| {
            d.begin();
            d.offered();
            d.accept(VERSION_1 | RING_EVENT_IDX);
            d.features_ok();
        },
        Breaks "features.offered";
    no_feature_is_missing: FeatureSubset on Net,
        |d| {
            d.begin();
            let all = net::MAC | net::STATUS | net::CTRL_VQ | net::MRG_RXBUF | RING_EVENT_IDX;
            assert_eq!(d.offered() & all, all, "a feature is missing");
            works(d);
        },
        Stops "a feature is missing";
    what_is_offered_is_for_me: UnknownFeatures on Entropy,
        |d| {
            d.begin();
            let offered = d.offered();
            d.accept(offered);
            d.features_ok();
        },
        Breaks "features.unknown";
    nobody_was_here_before: LiveAtArrival on Entropy,
        |d| {
            assert_eq!(d.status(), 0, "somebody else's device");
            works(d);
        },
        Stops "somebody else's device";
    a_reset_is_complete_at_once: SlowReset on Entropy,
        |d| {
            works(d);
            d.initialize(0, stickler_guest_tests::in_process::Interrupts::Msix);
            d.set_common(common::DEVICE_STATUS, 0);
            // It reads what it has to read, and does not look at it.
            let _ = d.status();
            d.set_common(common::DEVICE_STATUS, u32::from(status::ACKNOWLEDGE));
        },
        Breaks "status.reset.wait";
}

/// Sets FEATURES_OK, reads status back, as it has been told, and does not look at what it reads.
fn goes_on(d: &mut Driver<'_>) {
    let _ = d.features_ok();
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
    d.offered();
    d.accept(VERSION_1 | RING_EVENT_IDX);
    assert!(!d.features_ok());
    d.negotiate(0);
    d.set_up_queues(64);
    d.go();
    d.exercise();
}
