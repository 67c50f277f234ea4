//! What a Linux guest boots from.
//!
//! * [`cpio`]: initial RAM file systems.
//! * [`kernel`]: the version of the kernel in a file.
//! * [`modules`]: kernel modules, unpacked, in the order in which to load them.

pub mod cpio;
pub mod kernel;
pub mod modules;
