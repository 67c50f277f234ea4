//! The numbers in what driver and device exchange (§5), one module a device type.
//!
//! Devices, rules and tests share them. Bare citations are of virtio 1.0.

pub mod block;
pub mod console;
pub mod net;
