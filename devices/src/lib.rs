//! What a guest of stickler sees: the PCI bus, the modern virtio-pci transport, split virtqueues and
//! the virtio devices.
//!
//! A device acts as the specification says a device acts and tells what the driver did as
//! [`stickler_conformance::Event`]s; it never decides that a driver is bad. Whatever a driver does, a
//! device does what the specification allows, and never panics, loops without bound, or touches
//! memory outside the guest's.
//!
//! * [`memory`]: the guest's memory, as devices reach it.
//! * [`interrupt`]: how devices interrupt the guest.
//! * [`pci`]: bus, configuration space, BARs, capabilities, MSI-X.
//! * [`virtio`]: what is common to all virtio devices: transport and queues.
//! * one folder a device type: [`net`], [`block`], [`console`], [`entropy`].

pub mod block;
pub mod console;
pub mod entropy;
pub mod interrupt;
pub mod memory;
pub mod net;
pub mod pci;
#[cfg(test)]
mod testing;
pub mod virtio;
