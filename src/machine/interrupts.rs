//! The way from devices to KVM's interrupt controllers.

use std::sync::{Arc, Mutex, PoisonError};

use kvm_bindings::kvm_msi;
use kvm_ioctls::VmFd;
use stickler_devices::interrupt::{InterruptSink, MsiMessage};

use super::acpi::{PCI_GSI_BASE, pci_gsi};

/// Slots on the PCI bus.
const SLOTS: usize = 32;

/// KVM's in-kernel interrupt controllers, with what the board wires to them.
pub(super) struct KvmInterrupts {
    vm: Arc<VmFd>,
    /// For each of the GSIs that PCI slots share, the slots that assert it.
    lines: Mutex<[u32; 8]>,
    messages: Messages,
}

/// By slot and vector: the message to send.
#[derive(Default)]
struct Messages([Mutex<Vec<Option<MsiMessage>>>; SLOTS]);

impl Messages {
    fn set(&self, slot: u8, vector: u16, message: Option<MsiMessage>) {
        let Some(slot) = self.0.get(usize::from(slot)) else {
            return;
        };
        let mut vectors = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::from(vector);
        if vectors.len() <= index {
            vectors.resize(index + 1, None);
        }
        vectors[index] = message;
    }

    fn get(&self, slot: u8, vector: u16) -> Option<MsiMessage> {
        let vectors = self.0.get(usize::from(slot))?;
        let vectors = vectors.lock().unwrap_or_else(PoisonError::into_inner);
        *vectors.get(usize::from(vector))?
    }
}

impl KvmInterrupts {
    pub(super) fn new(vm: Arc<VmFd>) -> Self {
        KvmInterrupts {
            vm,
            lines: Mutex::default(),
            messages: Messages::default(),
        }
    }
}

impl InterruptSink for KvmInterrupts {
    fn route(&self, device: u8, vector: u16, message: Option<MsiMessage>) {
        self.messages.set(device, vector, message);
    }

    fn signal(&self, device: u8, vector: u16) {
        let Some(MsiMessage { address, data }) = self.messages.get(device, vector) else {
            return;
        };
        let msi = kvm_msi {
            address_lo: address as u32,
            address_hi: (address >> 32) as u32,
            data,
            ..Default::default()
        };
        // An address that is not an interrupt controller's was written by the guest: on a bus, the
        // message would reach nothing either.
        let _ = self.vm.signal_msi(msi);
    }

    fn set_pin(&self, device: u8, asserted: bool) {
        let gsi = pci_gsi(device, 0);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = lines.get_mut((gsi - PCI_GSI_BASE) as usize) else {
            return;
        };
        let before = *line != 0;
        *line = with_slot(*line, device, asserted);
        let after = *line != 0;
        if before != after {
            // Under the lock, so that KVM sees the changes in the order they were made. The line
            // exists: KVM has just been given its interrupt controllers.
            let _ = self.vm.set_irq_line(gsi, after);
        }
    }
}

/// The set of slots that assert a line, with `slot` in or out.
fn with_slot(line: u32, slot: u8, asserted: bool) -> u32 {
    let bit = 1 << (slot & 31);
    if asserted { line | bit } else { line & !bit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_has_the_message_it_was_last_given() {
        let messages = Messages::default();
        let message = |data| {
            Some(MsiMessage {
                address: 0xfee0_0000,
                data,
            })
        };
        messages.set(3, 2, message(0x41));
        messages.set(4, 2, message(0x42));
        messages.set(3, 2, message(0x43));
        assert_eq!(messages.get(3, 2), message(0x43));
        assert_eq!(messages.get(4, 2), message(0x42));
        for (slot, vector) in [(3, 1), (3, 3), (5, 0), (255, 0)] {
            assert_eq!(messages.get(slot, vector), None);
        }
        messages.set(3, 2, None);
        assert_eq!(messages.get(3, 2), None);
    }

    #[test]
    fn a_shared_line_stays_up_until_the_last_slot_lets_go() {
        assert_eq!(pci_gsi(1, 0), pci_gsi(9, 0));
        let line = with_slot(with_slot(0, 1, true), 9, true);
        let line = with_slot(line, 1, false);
        assert_ne!(line, 0);
        assert_eq!(with_slot(line, 9, false), 0);
    }
}
