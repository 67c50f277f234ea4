//! What stands behind the devices on the host.

pub mod console;
pub mod disk;
pub mod entropy;
pub mod net;
