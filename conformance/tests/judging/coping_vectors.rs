//! Checks how it is judged whether drivers cope with a device that refuses MSI-X vectors.

use stickler_conformance::DeviceKind::Entropy;
use stickler_conformance::event::{LatitudeEvent, PciEvent};
use stickler_conformance::layout::{NO_VECTOR, status};
use stickler_conformance::{Latitude, Outcome};

use crate::latitude::{outcome, with};
use crate::play::Play;

/// The driver maps an event to a vector, which the device refuses or not.
fn mapped(p: &mut Play, queue: Option<u16>, value: u16, refused: bool) {
    p.see(PciEvent::VectorWritten {
        queue,
        value,
        vectors: 8,
        enabled: true,
    });
    if refused {
        p.see(LatitudeEvent::Shown(Latitude::REFUSED_VECTORS));
    }
    let value = if refused { NO_VECTOR } else { value };
    p.see(PciEvent::VectorRead { queue, value });
}

#[test]
fn a_refused_vector_has_to_be_replaced() {
    let name = "msix.vector.refused";
    let refused = || {
        let mut p = with(Entropy, Latitude::REFUSED_VECTORS);
        p.found_device();
        mapped(&mut p, None, 0, false);
        mapped(&mut p, Some(0), 1, true);
        p
    };
    let live = |p: &mut Play| p.add_status(status::DRIVER_OK);
    // It does not look.
    let mut p = refused();
    live(&mut p);
    assert_eq!(outcome(&p, name), Outcome::NotExercised);
    // It shares another, or uses none.
    for value in [0, NO_VECTOR] {
        let mut p = refused();
        mapped(&mut p, Some(0), value, false);
        live(&mut p);
        assert_eq!(outcome(&p, name), Outcome::Held);
    }
    // It uses the interrupt pin.
    let mut p = refused();
    live(&mut p);
    p.see(PciEvent::IsrRead {
        value: 1,
        msix_enabled: false,
    });
    assert_eq!(outcome(&p, name), Outcome::Held);
    // Nothing was refused.
    let mut p = with(Entropy, Latitude::REFUSED_VECTORS);
    p.found_device();
    mapped(&mut p, Some(0), 1, false);
    live(&mut p);
    assert_eq!(outcome(&p, name), Outcome::NotExercised);
}
