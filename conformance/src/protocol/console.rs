//! Numbers of the console device (§5.3).

/// The queues of control messages (§5.3.2).
pub mod queue {
    /// To the driver.
    pub const CONTROL_RECEIVEQ: u16 = 2;
    /// To the device.
    pub const CONTROL_TRANSMITQ: u16 = 3;
}

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
    /// VIRTIO_CONSOLE_PORT_NAME: the port's name, behind the message.
    pub const PORT_NAME: u16 = 7;
}
