//! What the programs inside the lab's machine and inside stickler's guests share, and the
//! language the lab's two sides speak.
//!
//! * [`link`]: messages between `cargo xtask lab` and the machine it booted.
//! * [`tree`]: which files of a directory changed, and how they travel.
//! * [`machine`]: what the first process of a machine does: file systems, modules, power-off.

pub mod link;
pub mod machine;
pub mod tree;
