//! Virtio over the PCI bus (§4.1 of virtio 1.0).
//!
//! * [`registers`]: capabilities and read-only registers.
//! * [`access`]: width of accesses.
//! * [`vectors`]: vectors of MSI-X.
//! * [`notify`]: how notifications are sent.

pub mod access;
pub mod notify;
pub mod registers;
pub mod vectors;
