//! The host's side of the devices.

pub mod console;
pub mod disk;
pub mod entropy;
pub mod net;
pub mod socket;
