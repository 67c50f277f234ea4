//! The PCI bus.
//!
//! * [`bus`]: reaches functions through configuration mechanism #1, ECAM and their BARs.
//! * [`config`]: a function's configuration space: header, BARs, capability list.
//! * [`msix`]: message-signalled interrupts.
//! * [`host_bridge`]: the function at 00:00.0.

pub mod bus;
pub mod config;
pub mod host_bridge;
pub mod msix;
#[cfg(test)]
mod tests;

use stickler_conformance::latitude::Draw;

pub use bus::{ECAM_LEN, PciBus, PciLayout, aligned_parts};

/// What one function on the bus does when it is addressed. The bus calls these from any vCPU thread;
/// functions lock for themselves.
pub trait PciFunction: Send + Sync {
    /// Reads `data.len()` (1, 2 or 4) bytes of configuration space at `offset` (0 to 4095, naturally
    /// aligned).
    fn config_read(&self, offset: u16, data: &mut [u8]);

    /// Writes `data.len()` (1, 2 or 4) bytes of configuration space at `offset` (naturally aligned).
    fn config_write(&self, offset: u16, data: &[u8]);

    /// The ranges its BARs decode at present (their space enabled, BAR programmed). The bus
    /// asks again after each write to the command register, a BAR or the capabilities.
    fn decoded(&self) -> Vec<Decoded>;

    /// From what the first addresses of its BARs are drawn, if it is not to be where firmware usually
    /// puts it.
    fn placement(&self) -> Option<Draw> {
        None
    }

    /// Reads 1 to 8 bytes at `offset` in BAR `bar`; all of them lie within the BAR.
    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]);

    /// Writes 1 to 8 bytes at `offset` in BAR `bar`; all of them lie within the BAR.
    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]);
}

/// A function on a bus that is not ours: a monitor in another process has the bus, and asks for what ours
/// would find out by itself.
pub trait DetachedFunction: PciFunction {
    /// What configuration space shows at `offset`, any number of bytes. Nothing follows from it, and the
    /// driver is not taken for the one who reads: the monitor does, for itself.
    fn config_shown(&self, offset: u16, data: &mut [u8]);

    /// Bytes of BAR `bar`; 0 if there is none.
    fn bar_len(&self, bar: u8) -> u64;

    /// The table of MSI-X vectors, if there is one.
    fn msix_table(&self) -> Option<MsixTable>;

    /// Resets the function, as the bus does with all that are on it (PCI 2.2.1): no driver has asked for it.
    fn outside_reset(&self);
}

/// Where a function's MSI-X table is, and how many vectors it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsixTable {
    /// Number of vectors.
    pub vectors: u16,
    /// Where it begins.
    pub place: msix::Place,
}

/// An address with this bit is one of I/O space; guest-physical addresses do not reach it.
pub const IO_SPACE: u64 = 1 << 63;

/// A range of guest-physical addresses, or of I/O space ([`IO_SPACE`]), that a BAR decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Index of the BAR's (first) register.
    pub bar: u8,
    /// Guest-physical address, or port.
    pub base: u64,
    /// Bytes.
    pub len: u64,
}
