//! What the programs inside the lab's machine and inside stickler's guests share, and the
//! language the lab's two sides speak.
//!
//! * [`exercise`]: what the exerciser in the guest and the program beside stickler agree upon.
//! * [`link`]: messages between `cargo xtask lab` and the machine it booted.
//! * [`pattern`]: bytes that both sides can make and compare.
//! * [`serial`]: what a guest writes to its serial port.
//! * [`tree`]: which files of a directory changed, and how they travel.
//! * [`machine`]: what the first process of a machine does: file systems, modules, power-off.

pub mod exercise;
pub mod link;
pub mod machine;
pub use stickler_exerciser::pattern;
pub mod serial;
pub mod tree;
