//! The host bridge at 00:00.0.

use super::config::{ConfigSpace, Identity, command};
use super::{Decoded, PciFunction};

/// A host bridge that bridges and has nothing to set: a guest finds a well-known kind of function in
/// slot 0, and learns all else from ACPI.
pub struct HostBridge(ConfigSpace);

/// The generic PCI Express host bridge of virtual machines: systems know it and have no quirks for
/// it.
const IDENTITY: Identity = Identity {
    vendor: 0x1b36,
    device: 0x0008,
    revision: 0,
    class: 0x06_0000,
    subsystem_vendor: 0x1af4,
    subsystem: 0x1100,
};

impl HostBridge {
    /// The host bridge. It always forwards, and so cannot be told not to.
    pub fn new() -> Self {
        let mut space = ConfigSpace::new(IDENTITY);
        space.fix_command(command::MEMORY_SPACE | command::BUS_MASTER);
        HostBridge(space)
    }
}

impl Default for HostBridge {
    fn default() -> Self {
        HostBridge::new()
    }
}

/// No register of it can be written.
impl PciFunction for HostBridge {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        self.0.read(offset, data);
    }

    fn config_write(&self, _offset: u16, _data: &[u8]) {}

    fn decoded(&self) -> Vec<Decoded> {
        Vec::new()
    }

    fn bar_read(&self, _bar: u8, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn bar_write(&self, _bar: u8, _offset: u64, _data: &[u8]) {}
}
