//! How devices interrupt the guest.

/// The machine's interrupt controllers, as a PCI function reaches them. May be called from any
/// thread.
pub trait InterruptController: Send + Sync {
    /// Sends a message-signalled interrupt: the 32-bit little-endian `data` written to the 64-bit
    /// guest-physical `address`.
    fn send_msi(&self, address: u64, data: u32);

    /// Asserts or deasserts INTA# of the function in PCI slot `slot` of bus 0. The pin is a level: it
    /// stays as it is set. Lines shared by several slots are ORed by the implementation.
    fn set_intx(&self, slot: u8, asserted: bool);
}
