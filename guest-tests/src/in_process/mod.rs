//! Drivers that run in the test's process.
//!
//! The [`rig`] is a machine without a CPU: memory, a PCI bus, real devices. The [`driver`] drives one
//! of them as a conforming driver does, through configuration space, BARs and rings, with no short
//! cut into the device; a rogue is this driver with one deviation. What a driver does with each device
//! type is in [`block`], [`console`], [`net`] and [`tcp`]; [`devices`] are those there are.

pub mod block;
pub mod console;
pub mod devices;
pub mod driver;
pub mod net;
pub mod rig;
pub mod tcp;

pub use driver::{Driver, Interrupts, legal_subset};
pub use rig::{Between, Move, Rig};
pub use stickler_mock_driver::{Buffer, SplitLayout, Virtqueue};
