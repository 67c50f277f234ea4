//! Moments at which a device does what it does now and then.

use stickler_conformance::latitude::Draw;
use stickler_conformance::{Latitude, Latitudes};

/// Moments, counted in what the device is called for and never in time: so that the same device does
/// the same again.
pub(crate) struct Moments {
    /// What further is left open is drawn from it as well.
    pub(crate) draw: Draw,
    /// So many calls from one to the next, on average.
    between: u64,
    left: u64,
}

impl Moments {
    /// Those of `latitude`, if the device in `slot` makes use of it.
    pub(crate) fn new(
        latitudes: Latitudes,
        latitude: Latitude,
        slot: u8,
        between: u64,
    ) -> Option<Self> {
        if !latitudes.has(latitude) {
            return None;
        }
        let mut draw = latitudes.numbers(latitude, slot);
        let left = 1 + draw.below(between);
        Some(Moments {
            draw,
            between,
            left,
        })
    }

    /// The device has been called: whether this is one.
    pub(crate) fn passes(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return false;
        }
        self.left = self.between / 2 + 1 + self.draw.below(self.between);
        true
    }

    /// From now on there are half as many.
    pub(crate) fn slow_down(&mut self) {
        self.between = (2 * self.between).min(4096);
    }
}
