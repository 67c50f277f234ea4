//! A device that is reset from outside, while its driver is in the middle of something.

use stickler_conformance::DeviceKind::{Entropy, Net};
use stickler_conformance::Event;
use stickler_conformance::event::{LatitudeEvent, StatusEvent};
use stickler_conformance::latitude::Latitude;
use stickler_conformance::layout::status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK};

use crate::play::Play;

/// The device is as it was at first.
fn reset_from_outside(p: &mut Play) {
    p.see(Event::OutsideReset);
    *p = std::mem::replace(p, Play::new(Entropy)).anew();
}

#[test]
fn another_driver_is_judged_from_its_own_beginning() {
    let mut p = Play::new(Net);
    p.boot();
    reset_from_outside(&mut p);
    // It conforms.
    p.life();
    assert_eq!(p.messages(), [""; 0]);
    // Without a reset it does not, whatever the first one has done.
    reset_from_outside(&mut p);
    p.add_status(ACKNOWLEDGE);
    assert_eq!(p.found(), ["status.sequence.reset"]);
}

#[test]
fn a_driver_that_was_stopped_owes_nothing_and_its_counts_stay() {
    let mut p = Play::new(Entropy);
    p.boot();
    let before = p.tallies();
    let held = |p: &Play| {
        let tallies = p.tallies();
        let counts = stickler_conformance::catalogue::iter().map(|(req, _)| tallies.get(req).held);
        counts.sum::<u64>()
    };
    let count = held(&p);
    assert!(count > 0);
    // In the middle of a reset, for which it would have to wait.
    p.see(StatusEvent::Written {
        from: ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK,
        to: 0,
    });
    reset_from_outside(&mut p);
    p.reset();
    assert_eq!(p.messages(), [""; 0]);
    assert!(held(&p) >= count, "nothing is lost");
    for (req, _) in stickler_conformance::catalogue::iter() {
        assert!(p.tallies().get(req).held >= before.get(req).held, "{req}");
    }
}

#[test]
fn latitudes_are_in_use_still() {
    let mut p = Play::new(Entropy);
    p.see(LatitudeEvent::InUse(Latitude::LIVE_AT_ARRIVAL));
    reset_from_outside(&mut p);
    // The device is live again, and whoever comes has to reset it first.
    p.see(StatusEvent::Written {
        from: ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK,
        to: ACKNOWLEDGE,
    });
    assert!(p.found().contains(&"status.reset.live-device"));
}
