//! What users name is what devices do.

use stickler_conformance::features::{RING_EVENT_IDX, VERSION_1, net};
use stickler_conformance::latitude::Word;
use stickler_conformance::layout::status;
use stickler_conformance::{Latitudes, features};
use stickler_guest_tests::in_process::Driver;
use stickler_guest_tests::in_process::devices::{Device, SLOT};

use crate::rig_with;

/// The latitudes of a value for `--latitude`.
fn named(words: &str) -> Latitudes {
    let words: Result<Vec<Word>, _> = words.split(',').map(str::parse).collect();
    Latitudes::from_words(&words.expect("they are known")).expect("they are permitted")
}

/// What `look` finds of a device with these latitudes, with each of some variations.
fn found<T>(words: &str, device: Device, look: impl Fn(&mut Driver<'_>) -> T) -> Vec<T> {
    let variations = 0..6;
    let looks = variations.map(|variation| {
        let rig = rig_with(named(words).varied(variation), device);
        look(&mut Driver::probe(&rig, SLOT))
    });
    looks.collect()
}

#[test]
fn sizes_of_queues() {
    let size = |d: &mut Driver<'_>| {
        d.begin();
        d.select_queue(1)
    };
    for (words, device, expected) in [
        ("tiny-queues=1", Device::Console, 1),
        ("tiny-queues=4", Device::Console, 4),
        ("small-queues=8", Device::Console, 8),
        ("small-queues=64", Device::Net, 64),
        ("small-net-queues=8", Device::Net, 8),
        ("small-net-queues=16", Device::Net, 16),
        // Other device types are as usual.
        ("small-net-queues=16", Device::Console, 128),
    ] {
        assert_eq!(found(words, device, size), [expected; 6], "{words}");
    }
    // A size that is of no use to a device type is not that of its queues.
    let drawn = found("small-queues=8", Device::Net, size);
    assert!(
        drawn.iter().all(|size| [32, 64].contains(size)),
        "{drawn:?}"
    );
}

#[test]
fn features_that_are_refused_or_demanded() {
    let kept = |accepted: u64| {
        move |d: &mut Driver<'_>| {
            d.begin();
            let offered = d.offered();
            d.accept(offered & accepted);
            d.features_ok()
        }
    };
    let all = !features::UNKNOWN;
    let picky = "picky-features=net.mrg-rxbuf";
    assert_eq!(found(picky, Device::Net, kept(all)), [false; 6]);
    assert_eq!(
        found(picky, Device::Net, kept(all & !net::MRG_RXBUF)),
        [true; 6]
    );
    assert_eq!(found(picky, Device::Block, kept(all)), [true; 6]);
    let demanding = "demanding-features=ring.event-idx";
    let little = VERSION_1 | net::MAC;
    assert_eq!(found(demanding, Device::Net, kept(little)), [false; 6]);
    assert_eq!(
        found(demanding, Device::Net, kept(little | RING_EVENT_IDX)),
        [true; 6]
    );
}

#[test]
fn the_life_in_which_features_are_refused() {
    let first_refusal = |d: &mut Driver<'_>| {
        for life in 0..5 {
            d.begin();
            d.offered();
            d.accept(VERSION_1);
            if !d.features_ok() {
                d.add_status(status::FAILED);
                return life;
            }
            d.go();
        }
        panic!("no refusal");
    };
    for life in 1..=3 {
        let words = format!("refuses-later={life}");
        assert_eq!(found(&words, Device::Entropy, first_refusal), [life; 6]);
    }
}
