//! A conforming driver of one virtio-pci function: what it knows, and its accesses to registers.
//! Citations are of virtio 1.0.
//!
//! * `discovery`: finds the function's structures (§4.1.4).
//! * `initialization`: from reset to DRIVER_OK (§3.1.1).
//! * `operation`: buffers and notifications (§3.2).

mod discovery;
mod initialization;
mod operation;

use std::collections::{BTreeMap, VecDeque};

use stickler_conformance::DeviceKind;
use stickler_conformance::layout::{Structure, common};
use stickler_mock_driver::{Buffer, Virtqueue};

use super::rig::Rig;

pub use discovery::{Capability, Place};
pub use initialization::legal_subset;

/// How a driver wants to be interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupts {
    /// MSI-X: vector 0 for configuration changes, the others for queues in turn.
    Msix,
    /// INTx, with ISR status.
    Intx,
}

/// A driver bound to the function in one slot.
pub struct Driver<'r> {
    /// The machine.
    pub rig: &'r Rig,
    /// PCI slot of the function.
    pub slot: u8,
    /// Its device type.
    pub kind: DeviceKind,
    /// The first structure of each type, by `cfg_type`.
    pub structures: BTreeMap<u8, Place>,
    /// Offset of the PCI configuration access capability.
    pub window: u16,
    /// Offset of the MSI-X capability.
    pub msix: Option<u16>,
    /// `notify_off_multiplier`.
    pub multiplier: u32,
    /// Negotiated features.
    pub features: u64,
    /// The queues set up, by index.
    pub queues: BTreeMap<u16, Virtqueue>,
    /// How it is interrupted.
    pub interrupts: Interrupts,
    /// Unused bytes that it leaves before each part of a queue.
    pub gap: u64,
    /// Buffers that were returned and not looked at yet.
    pub pending: VecDeque<(Buffer, u32)>,
}

impl Driver<'_> {
    /// Reads configuration space by configuration mechanism #1.
    pub fn config_read(&self, offset: u16, width: usize) -> u32 {
        self.rig.config_read(self.slot, offset, width)
    }

    /// Writes configuration space by configuration mechanism #1.
    pub fn config_write(&self, offset: u16, width: usize, value: u32) {
        self.rig.config_write(self.slot, offset, width, value);
    }

    /// Where `structure` is.
    pub fn place(&self, structure: Structure) -> Place {
        self.structures[&structure.cfg_type()]
    }

    /// Reads `width` bytes at `offset` of a structure.
    pub fn read(&self, structure: Structure, offset: u32, width: usize) -> u64 {
        self.rig
            .mmio_read(self.place(structure).address + u64::from(offset), width)
    }

    /// Writes `width` bytes at `offset` of a structure.
    pub fn write(&self, structure: Structure, offset: u32, width: usize, value: u64) {
        self.rig.mmio_write(
            self.place(structure).address + u64::from(offset),
            width,
            value,
        );
    }

    /// Reads a field of the common configuration, in its own width.
    pub fn common(&self, offset: u32) -> u32 {
        self.read(Structure::Common, offset, common_width(offset)) as u32
    }

    /// Writes a field of the common configuration, in its own width.
    pub fn set_common(&self, offset: u32, value: u32) {
        self.write(
            Structure::Common,
            offset,
            common_width(offset),
            u64::from(value),
        );
    }

    /// Reads several fields of the device configuration, or one that takes several reads, until
    /// config_generation is the same before and after (§2.3.1).
    pub fn consistently<T>(&self, read: impl Fn(&Self) -> T) -> T {
        loop {
            let before = self.common(common::CONFIG_GENERATION);
            let value = read(self);
            if self.common(common::CONFIG_GENERATION) == before {
                return value;
            }
        }
    }
}

fn common_width(offset: u32) -> usize {
    stickler_conformance::layout::COMMON
        .iter()
        .find(|field| field.offset == offset)
        .map_or(4, |field| usize::from(field.width.min(4)))
}
