//! The PCI bus.

/// What one function on the bus does when it is addressed. The bus calls these from any vCPU thread;
/// functions lock for themselves.
pub trait PciFunction: Send + Sync {
    /// Reads `data.len()` (1, 2 or 4) bytes of configuration space at `offset` (0 to 4095, naturally
    /// aligned).
    fn config_read(&self, offset: u16, data: &mut [u8]);

    /// Writes `data.len()` (1, 2 or 4) bytes of configuration space at `offset`.
    fn config_write(&self, offset: u16, data: &[u8]);

    /// The memory ranges its BARs decode at present (memory space enabled, BAR programmed).
    fn decoded(&self) -> Vec<Decoded>;

    /// Reads 1 to 8 bytes at `offset` in BAR `bar`.
    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]);

    /// Writes 1 to 8 bytes at `offset` in BAR `bar`.
    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]);
}

/// A range of guest-physical addresses that a BAR decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Index of the BAR's (first) register.
    pub bar: u8,
    /// Guest-physical address.
    pub base: u64,
    /// Bytes.
    pub len: u64,
}
