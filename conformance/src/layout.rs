//! Structures and fields that all device types share. Sections are those of virtio 1.0.

/// The structures a driver reaches through BARs (§4.1.4), by their `cfg_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Structure {
    /// Common configuration (§4.1.4.3).
    Common = 1,
    /// Notifications (§4.1.4.4).
    Notify = 2,
    /// ISR status (§4.1.4.5).
    Isr = 3,
    /// Device-specific configuration (§4.1.4.6).
    Device = 4,
    /// PCI configuration access (§4.1.4.7); lives in configuration space, not in a BAR.
    PciCfg = 5,
}

impl Structure {
    /// The value of `cfg_type`.
    pub const fn cfg_type(self) -> u8 {
        self as u8
    }

    /// The name for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Structure::Common => "common configuration",
            Structure::Notify => "notification structure",
            Structure::Isr => "ISR status",
            Structure::Device => "device configuration",
            Structure::PciCfg => "PCI configuration access capability",
        }
    }
}

/// Whether the driver may write a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The driver only reads it.
    ReadOnly,
    /// The driver reads and writes it.
    ReadWrite,
}

/// One field of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The specification's name.
    pub name: &'static str,
    /// Offset in the structure, bytes.
    pub offset: u32,
    /// Width, bytes; an array of bytes (`mac`) is many fields of width 1.
    pub width: u8,
    /// The number of elements of that width (1, except for `mac`).
    pub count: u8,
    /// Whether the driver may write it.
    pub access: Access,
    /// The feature that makes it exist or valid, 0 if there is none.
    pub feature: u64,
    /// Whether it exists also without that feature.
    pub always_there: bool,
    /// Whether it may be written before features are negotiated.
    pub at_any_time: bool,
}

impl Field {
    /// Its total length, bytes.
    pub const fn len(&self) -> u32 {
        self.width as u32 * self.count as u32
    }

    /// No field is empty.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Whether it contains `offset`.
    pub const fn contains(&self, offset: u32) -> bool {
        offset >= self.offset && offset - self.offset < self.len()
    }
}

/// The field of `fields` that contains `offset`.
pub fn field_at(fields: &'static [Field], offset: u32) -> Option<&'static Field> {
    fields.iter().find(|f| f.contains(offset))
}

/// A field that the driver only reads: name, offset and width in bytes, the feature that makes it
/// exist (0: it always does).
pub(crate) const fn read_only(name: &'static str, offset: u32, width: u8, feature: u64) -> Field {
    Field {
        name,
        offset,
        width,
        count: 1,
        access: Access::ReadOnly,
        feature,
        always_there: feature == 0,
        at_any_time: false,
    }
}

/// A field that the driver reads and writes.
pub(crate) const fn read_write(name: &'static str, offset: u32, width: u8, feature: u64) -> Field {
    Field {
        access: Access::ReadWrite,
        ..read_only(name, offset, width, feature)
    }
}

impl Field {
    /// `count` elements of its width.
    pub(crate) const fn times(self, count: u8) -> Self {
        Field { count, ..self }
    }

    /// It exists without its feature too, which only makes it valid.
    pub(crate) const fn always_there(self) -> Self {
        Field {
            always_there: true,
            ..self
        }
    }

    /// It may be written before features are negotiated.
    pub(crate) const fn at_any_time(self) -> Self {
        Field {
            at_any_time: true,
            ..self
        }
    }
}

/// Offsets of `struct virtio_pci_common_cfg` (§4.1.4.3), for devices and drivers to name.
pub mod common {
    #![allow(missing_docs, reason = "the names are the specification's")]
    pub const DEVICE_FEATURE_SELECT: u32 = 0x00;
    pub const DEVICE_FEATURE: u32 = 0x04;
    pub const DRIVER_FEATURE_SELECT: u32 = 0x08;
    pub const DRIVER_FEATURE: u32 = 0x0c;
    pub const MSIX_CONFIG: u32 = 0x10;
    pub const NUM_QUEUES: u32 = 0x12;
    pub const DEVICE_STATUS: u32 = 0x14;
    pub const CONFIG_GENERATION: u32 = 0x15;
    pub const QUEUE_SELECT: u32 = 0x16;
    pub const QUEUE_SIZE: u32 = 0x18;
    pub const QUEUE_MSIX_VECTOR: u32 = 0x1a;
    pub const QUEUE_ENABLE: u32 = 0x1c;
    pub const QUEUE_NOTIFY_OFF: u32 = 0x1e;
    pub const QUEUE_DESC: u32 = 0x20;
    pub const QUEUE_AVAIL: u32 = 0x28;
    pub const QUEUE_USED: u32 = 0x30;
    /// Length of the structure.
    pub const LEN: u32 = 0x38;
}

/// The common configuration structure (§4.1.4.3).
pub static COMMON: &[Field] = &[
    read_write("device_feature_select", common::DEVICE_FEATURE_SELECT, 4, 0),
    read_only("device_feature", common::DEVICE_FEATURE, 4, 0),
    read_write("driver_feature_select", common::DRIVER_FEATURE_SELECT, 4, 0),
    read_write("driver_feature", common::DRIVER_FEATURE, 4, 0),
    read_write("msix_config", common::MSIX_CONFIG, 2, 0),
    read_only("num_queues", common::NUM_QUEUES, 2, 0),
    read_write("device_status", common::DEVICE_STATUS, 1, 0),
    read_only("config_generation", common::CONFIG_GENERATION, 1, 0),
    read_write("queue_select", common::QUEUE_SELECT, 2, 0),
    read_write("queue_size", common::QUEUE_SIZE, 2, 0),
    read_write("queue_msix_vector", common::QUEUE_MSIX_VECTOR, 2, 0),
    read_write("queue_enable", common::QUEUE_ENABLE, 2, 0),
    read_only("queue_notify_off", common::QUEUE_NOTIFY_OFF, 2, 0),
    read_write("queue_desc", common::QUEUE_DESC, 8, 0),
    read_write("queue_avail", common::QUEUE_AVAIL, 8, 0),
    read_write("queue_used", common::QUEUE_USED, 8, 0),
];

/// Device status bits (§2.1).
pub mod status {
    /// The guest OS has found the device and recognized it as a valid virtio device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// The guest OS knows how to drive the device.
    pub const DRIVER: u8 = 2;
    /// The driver is set up and ready to drive the device.
    pub const DRIVER_OK: u8 = 4;
    /// The driver has acknowledged all the features it understands.
    pub const FEATURES_OK: u8 = 8;
    /// The device has experienced an error from which it can't recover.
    pub const DEVICE_NEEDS_RESET: u8 = 64;
    /// Something went wrong in the guest, and it has given up on the device.
    pub const FAILED: u8 = 128;
    /// The bits a driver sets.
    pub const DRIVERS: u8 = ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | FAILED;

    /// The set bits by name, for messages: `ACKNOWLEDGE|DRIVER`.
    pub fn names(bits: u8) -> String {
        const NAMES: [(u8, &str); 6] = [
            (ACKNOWLEDGE, "ACKNOWLEDGE"),
            (DRIVER, "DRIVER"),
            (FEATURES_OK, "FEATURES_OK"),
            (DRIVER_OK, "DRIVER_OK"),
            (DEVICE_NEEDS_RESET, "DEVICE_NEEDS_RESET"),
            (FAILED, "FAILED"),
        ];
        let mut parts: Vec<String> = NAMES
            .iter()
            .filter(|(bit, _)| bits & bit != 0)
            .map(|(_, n)| (*n).to_owned())
            .collect();
        let rest = NAMES.iter().fold(bits, |left, (bit, _)| left & !bit);
        if rest != 0 {
            parts.push(format!("{rest:#x}"));
        }
        if parts.is_empty() {
            "0".to_owned()
        } else {
            parts.join("|")
        }
    }
}

/// Descriptor flags (§2.4.5).
pub mod desc {
    /// This marks a buffer as continuing via the next field.
    pub const NEXT: u16 = 1;
    /// This marks a buffer as device write-only (otherwise device read-only).
    pub const WRITE: u16 = 2;
    /// This means the buffer contains a list of buffer descriptors.
    pub const INDIRECT: u16 = 4;
    /// Bytes of one descriptor table entry.
    pub const LEN: u32 = 16;
}

/// The vector that maps an event to no MSI-X vector (§4.1.5.1.2).
pub const NO_VECTOR: u16 = 0xffff;
