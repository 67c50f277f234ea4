//! The console device (§5.3 of virtio 1.0).

use super::{DeviceFacts, FeatureBit};
use crate::layout::{Field, read_only, read_write};

/// The facts that the specification defines about it.
pub(super) static FACTS: DeviceFacts = DeviceFacts {
    id: 3,
    transitional_id: 0x1003,
    // Simple communication controller, other.
    pci_class: 0x07_8000,
    name: "console",
    feature_prefix: "VIRTIO_CONSOLE_F_",
    features: &[
        FeatureBit::new(feature::SIZE, "SIZE"),
        FeatureBit::new(feature::MULTIPORT, "MULTIPORT"),
        FeatureBit::new(feature::EMERG_WRITE, "EMERG_WRITE"),
    ],
    config: CONFIG,
    queue_name: |queue, _| match queue {
        CONTROL_RECEIVEQ => "control receiveq".to_owned(),
        CONTROL_TRANSMITQ => "control transmitq".to_owned(),
        receive if receive % 2 == 0 => format!("receiveq(port{})", port_of(receive)),
        transmit => format!("transmitq(port{})", port_of(transmit)),
    },
    may_enable_later: |_, _| false,
};

/// The queue for control messages from the device (§5.3.2).
pub const CONTROL_RECEIVEQ: u16 = 2;
/// The queue for control messages from the driver (§5.3.2).
pub const CONTROL_TRANSMITQ: u16 = 3;

/// The port of queue `queue`, which must not be a control queue (§5.3.2).
pub const fn port_of(queue: u16) -> u16 {
    match queue / 2 {
        0 => 0,
        pair => pair - 1,
    }
}

/// Feature bits (§5.3.3), as masks of the 64-bit feature word.
pub mod feature {
    /// Configuration `cols` and `rows` are valid.
    pub const SIZE: u64 = 1 << 0;
    /// Device has support for multiple ports.
    pub const MULTIPORT: u64 = 1 << 1;
    /// Device has support for emergency write.
    pub const EMERG_WRITE: u64 = 1 << 2;
}

/// `struct virtio_console_config` (§5.3.4).
static CONFIG: &[Field] = &[
    read_only("cols", 0, 2, feature::SIZE),
    read_only("rows", 2, 2, feature::SIZE),
    read_only("max_nr_ports", 4, 4, feature::MULTIPORT),
    // §5.3.5: it can be written at any time.
    read_write("emerg_wr", 8, 4, feature::EMERG_WRITE).at_any_time(),
];

/// Bytes of `struct virtio_console_control`: id, 32 bits, event and value, 16 bits each (§5.3.6.2).
pub const CONTROL_LEN: usize = 8;

/// The `event` of control messages, 16 bits (§5.3.6.2).
pub mod event {
    /// VIRTIO_CONSOLE_DEVICE_READY: the driver has initialized the device, or failed to.
    pub const DEVICE_READY: u16 = 0;
    /// VIRTIO_CONSOLE_DEVICE_ADD: the device adds a port.
    pub const DEVICE_ADD: u16 = 1;
    /// VIRTIO_CONSOLE_DEVICE_REMOVE: the device removes a port.
    pub const DEVICE_REMOVE: u16 = 2;
    /// VIRTIO_CONSOLE_PORT_READY: the driver has set the port up, or failed to.
    pub const PORT_READY: u16 = 3;
    /// VIRTIO_CONSOLE_CONSOLE_PORT: the port is for a console.
    pub const CONSOLE_PORT: u16 = 4;
    /// VIRTIO_CONSOLE_RESIZE: the console has another size.
    pub const RESIZE: u16 = 5;
    /// VIRTIO_CONSOLE_PORT_OPEN: a side of the port has been opened or closed.
    pub const PORT_OPEN: u16 = 6;
    /// VIRTIO_CONSOLE_PORT_NAME: the port's name, after the message.
    pub const PORT_NAME: u16 = 7;
}
