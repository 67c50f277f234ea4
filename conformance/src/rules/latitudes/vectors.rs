//! Whether a driver notices that the device refuses to map an event to an MSI-X vector (§4.1.5.1.2 of
//! virtio 1.0).

use crate::event::{ControlEvent, LatitudeEvent, PciEvent};
use crate::latitude::{Latitude, Latitudes};
use crate::session::Session;

/// The latitudes that it is about.
const REFUSING: [Latitude; 2] = [Latitude::REFUSED_VECTORS, Latitude::NO_VECTOR_MAPS];

/// The place of `msix_config` among the events; queues have that of their index.
const CONFIG: u16 = 127;

/// What the driver has made of refusals, since the reset.
#[derive(Default)]
pub(super) struct VectorEvidence {
    /// The event that was mapped last, a bit.
    latest: u128,
    /// The events whose mapping was refused, and that were not mapped otherwise since.
    refused: u128,
    /// There was a refusal.
    any: bool,
}

impl VectorEvidence {
    /// The latitudes with which the driver has coped by this.
    pub(super) fn see(
        &mut self,
        event: &ControlEvent<'_>,
        in_use: Latitudes,
        session: &Session,
    ) -> impl Iterator<Item = Latitude> + use<> {
        let coped = self.copes(event, session);
        let latitudes = REFUSING.into_iter();
        latitudes.filter(move |latitude| coped && in_use.has(*latitude))
    }

    fn copes(&mut self, event: &ControlEvent<'_>, session: &Session) -> bool {
        match *event {
            ControlEvent::Pci(PciEvent::VectorWritten { queue, .. }) => {
                self.latest = 1_u128
                    .checked_shl(queue.unwrap_or(CONFIG).into())
                    .unwrap_or(0);
                // NO_VECTOR is what a driver writes that uses none.
                self.refused &= !self.latest;
                false
            }
            ControlEvent::Latitude(LatitudeEvent::Shown(latitude))
                if REFUSING.contains(&latitude) =>
            {
                self.refused |= self.latest;
                self.any = true;
                false
            }
            // A driver that disables MSI-X instead uses ISR status.
            ControlEvent::Pci(PciEvent::IsrRead { msix_enabled, .. }) => {
                session.is_live() && !msix_enabled && std::mem::take(&mut self.any)
            }
            ControlEvent::Status(event) if event.asks_for_reset() => {
                *self = VectorEvidence::default();
                false
            }
            ControlEvent::Status(event) if event.sets_driver_ok() => {
                self.refused == 0 && std::mem::take(&mut self.any)
            }
            ControlEvent::Pci(_)
            | ControlEvent::Latitude(_)
            | ControlEvent::Status(_)
            | ControlEvent::Register(_)
            | ControlEvent::Feature(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Config(_)
            | ControlEvent::Queue(_)
            | ControlEvent::Notification(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Net(_)
            | ControlEvent::Console(_) => false,
        }
    }
}
