//! The way from devices to KVM's interrupt controllers.

use std::sync::{Arc, Mutex, PoisonError};

use kvm_bindings::kvm_msi;
use kvm_ioctls::VmFd;
use stickler_devices::interrupt::InterruptController;

use super::acpi::{PCI_GSI_BASE, pci_gsi};

/// KVM's in-kernel interrupt controllers, with what the board wires to them.
pub(super) struct KvmInterrupts {
    vm: Arc<VmFd>,
    /// For each of the GSIs that PCI slots share, the slots that assert it.
    lines: Mutex<[u32; 8]>,
}

impl KvmInterrupts {
    pub(super) fn new(vm: Arc<VmFd>) -> Self {
        KvmInterrupts {
            vm,
            lines: Mutex::default(),
        }
    }
}

impl InterruptController for KvmInterrupts {
    fn send_msi(&self, address: u64, data: u32) {
        let msi = kvm_msi {
            address_lo: address as u32,
            address_hi: (address >> 32) as u32,
            data,
            ..Default::default()
        };
        // An address that is no interrupt's is the guest's doing; on a bus it would go nowhere too.
        let _ = self.vm.signal_msi(msi);
    }

    fn set_intx(&self, slot: u8, asserted: bool) {
        let gsi = pci_gsi(slot, 0);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = lines.get_mut((gsi - PCI_GSI_BASE) as usize) else {
            return;
        };
        let before = *line != 0;
        *line = with_slot(*line, slot, asserted);
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
    fn a_shared_line_stays_up_until_the_last_slot_lets_go() {
        assert_eq!(pci_gsi(1, 0), pci_gsi(9, 0));
        let line = with_slot(with_slot(0, 1, true), 9, true);
        let line = with_slot(line, 1, false);
        assert_ne!(line, 0);
        assert_eq!(with_slot(line, 9, false), 0);
    }
}
