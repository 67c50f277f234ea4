//! The virtio-pci transport: a virtio device as a function on the PCI bus (§4.1 of virtio 1.0).
//!
//! * `transport`: what PCI adds to a virtio device.
//! * [`layout`]: where the structures are in the BARs, and what of that is free to choose.
//! * `capabilities`: what a driver finds in configuration space (§4.1.2, §4.1.4).
//! * `registers`: what an access to a structure means (§4.1.4.3 to §4.1.4.6).
//! * `window`: the same by way of configuration space (§4.1.4.7).
//! * `detached`: what a host has to know that has the bus itself.
//! * `interrupts`: how it interrupts the driver (§4.1.4.5, §4.1.5.3, §4.1.5.4).
//! * `latitude`: what latitudes make of all this.

mod capabilities;
mod detached;
mod interrupts;
mod latitude;
pub mod layout;
mod registers;
#[cfg(test)]
mod tests;
mod transport;
mod window;

use std::io;
use std::sync::Arc;

use stickler_conformance::latitude::Draw;
use stickler_conformance::{DeviceId, Witness};

use super::VirtioDevice;
use super::core::Core;
use super::locked::{DeviceState, LockedDevice};
use crate::interrupt::InterruptSink;
use crate::memory::GuestRam;
use crate::pci::{Decoded, PciFunction};
use transport::PciDevice;

pub use layout::Options;
pub use transport::PciTransport;

/// A virtio device on the PCI bus.
pub type VirtioPci<D, W> = LockedDevice<D, W, PciTransport>;

/// A virtio device on the PCI bus, locked.
type PciState<D, W> = DeviceState<D, W, PciTransport>;

impl<D: VirtioDevice<W>, W: Witness> VirtioPci<D, W> {
    /// Puts `device` on the plain transport; [`with_options`](Self::with_options) says the rest.
    pub fn new(
        device: D,
        slot: u8,
        ram: GuestRam,
        interrupts: Arc<dyn InterruptSink>,
        witness: impl FnOnce(DeviceId, u64) -> W,
    ) -> io::Result<Arc<Self>> {
        VirtioPci::with_options(device, slot, ram, interrupts, &Options::default(), witness)
    }

    /// Makes `device` the function that will be in `slot` of PCI bus 0. `witness` is given the identity
    /// of the device and all feature bits it offers, and makes the one who sees what its driver does.
    ///
    /// Fails if the options contradict each other, or there is no file descriptor left for an
    /// eventfd.
    pub fn with_options(
        device: D,
        slot: u8,
        ram: GuestRam,
        interrupts: Arc<dyn InterruptSink>,
        options: &Options,
        witness: impl FnOnce(DeviceId, u64) -> W,
    ) -> io::Result<Arc<Self>> {
        let kind = device.kind();
        let id = DeviceId { slot, kind };
        let core = Core::new(
            device,
            id,
            ram,
            options.latitudes,
            options.features,
            witness,
        )?;
        let function = PciDevice {
            slot,
            kind,
            device_queues: core.device_queue_count(),
            queues: core.queue_count(),
            config_len: core.configuration_len(),
        };
        let transport = PciTransport::new(&function, interrupts, options)?;
        LockedDevice::from_parts(core, transport)
    }
}

impl<D: VirtioDevice<W>, W: Witness> PciFunction for VirtioPci<D, W> {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        self.access(|state| state.config_read(offset, data));
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        self.access(|state| state.config_write(offset, data));
    }

    fn decoded(&self) -> Vec<Decoded> {
        self.access(|state| state.transport.config.decoded())
    }

    fn placement(&self) -> Option<Draw> {
        self.access(|state| state.transport.latitudes.placement())
    }

    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) {
        self.access(|state| state.bar_read(bar, offset, data));
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) {
        self.access(|state| state.bar_write(bar, offset, data));
    }
}
