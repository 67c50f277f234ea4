//! Split virtqueues (§2.4).

use stickler_conformance::Witness;
use stickler_conformance::event::Element;

use crate::memory::GuestRam;

/// A live split virtqueue, the device's side.
pub struct Queue {}

/// A well-formed descriptor chain that the device has taken and has yet to return.
pub struct Chain<'q> {
    /// Index of its first descriptor: what the used ring wants back.
    pub head: u16,
    /// Its buffers in order, all of them within the guest's memory: first the device-readable, then
    /// the device-writable ones where the driver keeps to §2.4.4.2. No element is an indirect
    /// table's referrer. Elements may have length 0.
    pub buffers: &'q [Element],
    /// Bytes in device-readable buffers.
    pub readable: u64,
    /// Bytes in device-writable buffers.
    pub writable: u64,
}

/// The queue cannot be worked any more: its rings cannot be trusted. The device sets
/// DEVICE_NEEDS_RESET (§2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl Queue {
    /// Takes the next available chain. Tells the witness what was found. Chains that no device can
    /// act on (a loop, buffers outside memory, a table it cannot walk) break the queue; those it can
    /// make sense of come through, whatever rules they break.
    pub fn pop<W: Witness>(
        &mut self,
        ram: &GuestRam,
        witness: &mut W,
    ) -> Result<Option<Chain<'_>>, Broken> {
        let _ = (ram, witness);
        Err(Broken)
    }

    /// Returns a chain to the driver: `len` bytes were written to its device-writable buffers. The
    /// driver sees it after the next [`publish`](Self::publish).
    pub fn add_used<W: Witness>(&mut self, head: u16, len: u32, witness: &mut W) {
        let _ = (head, len, witness);
    }

    /// Makes all chains returned since the last call visible to the driver at once (§2.4.8.2,
    /// §5.1.6.4.1) and says whether the driver wants an interrupt for them (§2.4.7.2).
    pub fn publish(&mut self) -> bool {
        false
    }

    /// Asks the driver to notify of (`true`), or not to bother to notify of (`false`), new buffers
    /// (§2.4.9.2). After asking for notifications the device looks at the ring once more: gives
    /// whether there is something there.
    pub fn want_notifications(&mut self, want: bool) -> bool {
        let _ = want;
        false
    }
}
