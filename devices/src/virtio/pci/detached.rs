//! The function on a bus that is somebody else's.

use stickler_conformance::Witness;

use super::VirtioPci;
use super::layout::Part;
use crate::pci::msix::Place;
use crate::pci::{DetachedFunction, MsixTable};
use crate::virtio::VirtioDevice;

impl<D: VirtioDevice<W>, W: Witness> DetachedFunction for VirtioPci<D, W> {
    fn config_shown(&self, offset: u16, data: &mut [u8]) {
        self.access(|state| state.transport.config.read(offset, data));
    }

    fn bar_len(&self, bar: u8) -> u64 {
        self.access(|state| state.transport.config.bar_len(bar))
            .unwrap_or(0)
    }

    fn msix_table(&self) -> Option<MsixTable> {
        self.access(|state| {
            let region = state.transport.layout.region(Part::MsixTable)?;
            Some(MsixTable {
                vectors: state.transport.layout.vectors,
                place: Place {
                    bar: region.bar,
                    offset: region.offset,
                },
            })
        })
    }

    fn outside_reset(&self) {
        self.access(|state| {
            state.core.outside_reset();
            state.transport.outside_reset();
        });
    }
}
