//! What a console does otherwise where it makes use of latitudes (§5.3.6).

use stickler_conformance::event::LatitudeEvent;
use stickler_conformance::{Latitude, Latitudes, Witness};

use super::port::Size;
use crate::virtio::moments::Moments;

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

/// What the device is free to do, and does.
#[derive(Default)]
pub(super) struct Liberties {
    latitudes: Latitudes,
    closings: Option<Moments>,
    sizes: Option<Moments>,
}

impl Liberties {
    pub(super) fn new(latitudes: Latitudes, slot: u8) -> Self {
        let moments = |latitude, between| Moments::new(latitudes, latitude, slot, between);
        Liberties {
            latitudes,
            closings: moments(Latitude::PORTS_OPEN_AND_CLOSE, 12),
            sizes: moments(Latitude::SIZE_CHANGES, 8),
        }
    }

    /// What `latitude` is about has just been done; told if it was of the device's own accord.
    pub(super) fn tell<W: Witness>(&self, latitude: Latitude, witness: &mut W) {
        if self.latitudes.has(latitude) {
            witness.see(&LatitudeEvent::Shown(latitude).into());
        }
    }

    /// Whether a port is removed when it is set up, and when it was closed. Port 0 stays: who sees the
    /// guest's console sees it end otherwise.
    pub(super) fn goes(&self, port: usize) -> bool {
        port != 0 && self.latitudes.has(Latitude::PORTS_COME_AND_GO)
    }

    /// Whether input for a port is not kept until the driver has opened it. That of others than port 0
    /// is: it may be for one who opens the port, and nobody else.
    pub(super) fn takes_early(&self, port: usize) -> bool {
        port == 0 && self.latitudes.has(Latitude::EARLY_INPUT)
    }

    /// Whether the size changes now and then.
    pub(super) fn changes_size(&self) -> bool {
        self.sizes.is_some()
    }

    /// The device has been called: the new size, if it changes now.
    pub(super) fn new_size(&mut self) -> Option<Size> {
        let sizes = self.sizes.as_mut()?;
        if !sizes.passes() {
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
        let closes = closings.passes();
        if closes {
            closings.slow_down();
        }
        closes
    }
}
