//! The latitudes of the console device (§5.3.6 of virtio 1.0).

use stickler_conformance::event::{LatitudeEvent, ShownLatitude, Told};
use stickler_conformance::{Latitude, Latitudes, Witness};

use super::port::Size;
use crate::virtio::call_timer::CallTimer;

/// Sizes that a terminal can have, some of them out of the ordinary.
const SIZES: [(u16, u16); 8] = [
    (80, 24),
    (132, 43),
    (1, 1),
    (0, 0),
    (80, 0),
    (1000, 3),
    (65535, 1),
    (65535, 65535),
];

/// The latitudes that the device uses, and what they have come to.
#[derive(Default)]
pub(super) struct ConsoleLatitudes {
    latitudes: Latitudes,
    closings: Option<CallTimer>,
    sizes: Option<CallTimer>,
}

impl ConsoleLatitudes {
    pub(super) fn new(latitudes: Latitudes, slot: u8) -> Self {
        let timer = |latitude, between| CallTimer::new(latitudes, latitude, slot, between);
        ConsoleLatitudes {
            latitudes,
            closings: timer(Latitude::PORTS_OPEN_AND_CLOSE, 12),
            sizes: timer(Latitude::SIZE_CHANGES, 8),
        }
    }

    /// The device has just done what `latitude` is about: tells so if it was because of the latitude.
    pub(super) fn tell<W: Witness>(
        &self,
        latitude: Latitude,
        told: Told,
        next: Option<u16>,
        witness: &mut W,
    ) {
        if self.latitudes.has(latitude) {
            let shown = ShownLatitude {
                latitude,
                told: Some(told),
                next,
            };
            witness.see(&LatitudeEvent::ShownAt(shown).into());
        }
    }

    /// Whether a port is removed when it is set up, and when it was closed. Port 0 stays: it is the
    /// guest's console.
    pub(super) fn goes(&self, port: usize) -> bool {
        port != 0 && self.latitudes.has(Latitude::PORTS_COME_AND_GO)
    }

    /// Whether input for a port is passed on before the driver has opened it. Only port 0 does so: input
    /// for another port may be meant for the program that opens it.
    pub(super) fn takes_early(&self, port: usize) -> bool {
        port == 0 && self.latitudes.has(Latitude::EARLY_INPUT)
    }

    /// Whether the size changes.
    pub(super) fn changes_size(&self) -> bool {
        self.sizes.is_some()
    }

    /// The device has been called: the new size, if it changes now.
    pub(super) fn new_size(&mut self) -> Option<Size> {
        let sizes = self.sizes.as_mut()?;
        if !sizes.elapses() {
            return None;
        }
        let (cols, rows) = sizes.draw.of(&SIZES);
        sizes.slow_down();
        Some(Size { cols, rows })
    }

    /// The device has been called: whether the host's side of all ports closes and opens now.
    pub(super) fn closes(&mut self) -> bool {
        let Some(closings) = &mut self.closings else {
            return false;
        };
        let closes = closings.elapses();
        if closes {
            closings.slow_down();
        }
        closes
    }
}
