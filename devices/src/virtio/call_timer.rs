//! A timer that counts calls of the device instead of time, so that a seed makes the same device again.

use stickler_conformance::latitude::Draw;
use stickler_conformance::{Latitude, Latitudes};

/// Elapses once in so many calls, at numbers of calls that are drawn.
pub(crate) struct CallTimer {
    /// What else is left open is drawn from it as well.
    pub(crate) draw: Draw,
    /// Calls from one time to the next, on average.
    between: u64,
    left: u64,
}

impl CallTimer {
    /// The timer of `latitude`, if the device in `slot` makes use of it.
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
        Some(CallTimer {
            draw,
            between,
            left,
        })
    }

    /// Counts a call of the device. Returns whether the timer has elapsed; it starts anew then.
    pub(crate) fn elapses(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return false;
        }
        self.left = self.between / 2 + 1 + self.draw.below(self.between);
        true
    }

    /// Doubles the time between, up to a limit.
    pub(crate) fn slow_down(&mut self) {
        self.between = (2 * self.between).min(4096);
    }
}
