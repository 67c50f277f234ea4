//! How many random bytes a buffer gets, where the device makes use of the latitude it has there.
//!
//! Citations are of virtio 1.0.

use stickler_conformance::event::LatitudeEvent;
use stickler_conformance::latitude::Draw;
use stickler_conformance::{Latitude, Latitudes, Witness};

/// What of its room a buffer gets.
pub(super) enum Portions {
    /// One byte.
    OneByte,
    /// Each another part of it.
    Drawn(Draw),
}

impl Portions {
    pub(super) fn new(latitudes: Latitudes, slot: u8) -> Option<Self> {
        if latitudes.has(Latitude::ONE_BYTE) {
            return Some(Portions::OneByte);
        }
        latitudes
            .has(Latitude::SHORT_READS)
            .then(|| Portions::Drawn(latitudes.numbers(Latitude::SHORT_READS, slot)))
    }

    /// How many bytes a buffer with this much room gets. §5.4.6.2: one at least.
    pub(super) fn of<W: Witness>(&mut self, room: u64, witness: &mut W) -> u64 {
        let (latitude, count) = match self {
            Portions::OneByte => (Latitude::ONE_BYTE, 1),
            Portions::Drawn(draw) => (Latitude::SHORT_READS, 1 + draw.below(room.min(4096))),
        };
        let count = count.min(room);
        if W::JUDGING && count < room {
            witness.see(&LatitudeEvent::Shown(latitude).into());
        }
        count
    }
}
