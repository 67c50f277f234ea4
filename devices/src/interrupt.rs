//! How devices interrupt the guest: they name a device and a vector, and the host does the rest.

/// A message-signalled interrupt: what has to be written where (PCI 6.8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiMessage {
    /// Guest-physical address, 64 bits.
    pub address: u64,
    /// The 32 bits that are written there, little-endian.
    pub data: u32,
}

/// The host's side of interrupts. A device is known by its PCI slot on bus 0. All methods may be
/// called from any thread; for one device they are called one at a time.
///
/// A host that delivers interrupts itself, such as a machine under KVM, remembers the message of each
/// vector ([`route`](Self::route)) and sends it ([`signal`](Self::signal)). A host that has an eventfd
/// for each vector signals it and needs no messages.
pub trait InterruptSink: Send + Sync {
    /// The message of MSI-X vector `vector` of `device` is `message` from now on. `None`: the vector
    /// cannot be signalled at present, because it is masked or MSI-X is disabled. Called before the
    /// vector is signalled, and only for changes.
    fn route(&self, device: u8, vector: u16, message: Option<MsiMessage>);

    /// Interrupts the driver of `device` by MSI-X vector `vector`.
    fn signal(&self, device: u8, vector: u16);

    /// Asserts or deasserts INTA# of `device`. The pin is a level: it keeps its state. The
    /// implementation combines the pins of devices that share a line by OR.
    fn set_pin(&self, device: u8, asserted: bool);

    /// Whether the host itself keeps the vector table with its masks. The host has trapped the driver's
    /// writes to the table then, so the device's own table says nothing: every vector is signalled
    /// as if it was not masked, and the host holds back what is.
    fn keeps_masks(&self) -> bool {
        false
    }
}
