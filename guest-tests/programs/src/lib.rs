//! What the programs inside the lab's machine and inside stickler's guests share, and the messages between
//! the lab's two sides.
//!
//! * [`exercise`]: what the exerciser in the guest and the program beside stickler agree upon.
//! * [`foreign`]: the same for the guest with foreign drivers.
//! * [`link`]: messages between `cargo xtask lab` and the machine it booted.
//! * [`pattern`]: bytes that both sides can make and compare.
//! * [`serial`]: what a guest writes to its serial port.
//! * [`tree`]: which files of a directory changed, and how they travel.
//! * [`machine`]: what the first process of a machine does: file systems, modules, power-off.

pub mod foreign;
pub mod link;
pub mod machine;
pub mod serial;
pub mod tree;

pub use stickler_exerciser as exercise;
pub use stickler_exerciser::pattern;
