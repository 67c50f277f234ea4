//! MSI-X vectors (§4.1.5.1.2 of virtio 1.0).

use stickler_conformance::DeviceKind::{Block, Entropy};
use stickler_conformance::event::PciEvent;
use stickler_conformance::layout::NO_VECTOR;
use stickler_conformance::layout::status::DRIVER_OK;

use crate::play::{Play, VECTORS};
use crate::table::{Case, case};

pub const CASES: &[Case] = &[
    case("msix.vector.in-table", Entropy, |p| {
        p.negotiate(p.offered);
        p.map_vector(Some(0), VECTORS);
    }),
    case("msix.vector.while-enabled", Entropy, |p| {
        p.negotiate(p.offered);
        p.see(PciEvent::VectorWritten {
            queue: None,
            value: 0,
            vectors: VECTORS,
            enabled: false,
        });
    }),
    case("msix.vector.verified.config", Entropy, |p| {
        p.negotiate(p.offered);
        write_vector(p, None, 0);
        p.add_status(DRIVER_OK);
    }),
    case("msix.vector.verified.queue", Entropy, |p| {
        p.negotiate(p.offered);
        write_vector(p, Some(0), 1);
        p.add_status(DRIVER_OK);
    }),
];

fn write_vector(p: &mut Play, queue: Option<u16>, value: u16) {
    p.see(PciEvent::VectorWritten {
        queue,
        value,
        vectors: VECTORS,
        enabled: true,
    });
}

#[test]
fn unmapping_and_giving_up_need_no_verification() {
    let mut p = Play::new(Block);
    p.negotiate(p.offered);
    write_vector(&mut p, Some(0), 1);
    write_vector(&mut p, None, 1);
    p.boot();
    write_vector(&mut p, Some(0), NO_VECTOR);
    p.reset();
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn a_mapping_while_the_device_is_live_is_judged_at_the_reset() {
    let mut p = Play::new(Block);
    p.boot();
    write_vector(&mut p, Some(0), 2);
    assert_eq!(p.messages(), [""; 0]);
    p.reset();
    assert_eq!(p.found(), ["msix.vector.verified.queue"]);
}
