//! Events that only virtio over PCI has (§4.1). Sections are those of virtio 1.0.

use crate::layout::Structure;

/// Events of virtio over PCI only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PciEvent {
    /// `cfg_type` of a virtio capability has been read, which has a meaning only for a driver of virtio: a
    /// bus driver follows the list and needs no more than the first two bytes of each capability (§4.1.4).
    /// Told at the end of the run.
    CapabilityRead,
    /// The driver accessed a structure through a capability that is not the first of its type (§4.1.4.1).
    SecondInstance {
        /// The structure.
        structure: Structure,
    },
    /// A byte range of one of the virtio capability structures in configuration space was written
    /// (§4.1.4). Writes to the PCI configuration access capability's own writable fields are
    /// [`PciEvent::WindowAddressed`] and [`PciEvent::WindowAccessed`] instead.
    CapabilityWritten {
        /// `cfg_type` of the capability.
        cfg_type: u8,
        /// Offset of the first byte written, within the capability.
        offset: u8,
        /// Bytes written.
        width: u8,
    },
    /// The driver wrote `cap.bar`, `cap.offset` or `cap.length` of the PCI configuration access
    /// capability (§4.1.4.7); these are the values after the write.
    WindowAddressed {
        /// `cap.bar`.
        bar: u8,
        /// `cap.offset`.
        offset: u32,
        /// `cap.length`.
        length: u32,
        /// Which of the three was written.
        field: WindowField,
    },
    /// The driver read or wrote `pci_cfg_data` (§4.1.4.7).
    WindowAccessed {
        /// Whether it wrote.
        write: bool,
        /// `cap.bar`.
        bar: u8,
        /// `cap.offset`.
        offset: u32,
        /// `cap.length`.
        length: u32,
        /// The structure, presented by another capability, in which all of these bytes lie.
        target: Option<Structure>,
        /// How many bytes of `pci_cfg_data` the access has, from the first on; 0 if not the first.
        bytes: u8,
    },
    /// `msix_config` or `queue_msix_vector` was written (§4.1.5.1.2).
    VectorWritten {
        /// The queue, or `None` for `msix_config`.
        queue: Option<u16>,
        /// What was written.
        value: u16,
        /// Number of vectors in the MSI-X table (0 without the capability).
        vectors: u16,
        /// Whether MSI-X is enabled.
        enabled: bool,
    },
    /// `msix_config` or `queue_msix_vector` was read.
    VectorRead {
        /// The queue, or `None` for `msix_config`.
        queue: Option<u16>,
        /// What the device presented.
        value: u16,
    },
    /// The driver read ISR status (§4.1.4.5).
    IsrRead {
        /// What the device presented.
        value: u8,
        /// Whether MSI-X is enabled.
        msix_enabled: bool,
    },
}

/// A field of the PCI configuration access capability that selects what `pci_cfg_data` reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowField {
    /// `cap.bar`
    Bar,
    /// `cap.offset`
    Offset,
    /// `cap.length`
    Length,
}
