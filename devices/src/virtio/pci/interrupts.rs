//! How the device interrupts the driver: ISR status with the pin, or MSI-X (§4.1.4.5, §4.1.5.1.2,
//! §4.1.5.3, §4.1.5.4 of virtio 1.0).

use stickler_conformance::layout::NO_VECTOR;

use super::transport::PciTransport;
use crate::pci::msix::Msix;

/// Bits of ISR status (§4.1.4.5).
const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

impl PciTransport {
    pub(super) fn msix_enabled(&self) -> bool {
        self.msix.as_ref().is_some_and(Msix::enabled)
    }

    /// Number of vectors in the MSI-X table.
    pub(super) fn vectors(&self) -> u16 {
        self.msix.as_ref().map_or(0, Msix::vectors)
    }

    /// To which vector the event of `queue` (none: configuration changes) is mapped if `vector` is asked
    /// for. `lives` is how many times a driver has used the device before.
    ///
    /// §4.1.5.1.2.1: every vector of the table can be mapped; beyond it there is none, and then no vector
    /// is mapped.
    pub(super) fn mapped(&self, queue: Option<u16>, vector: u16, lives: u64) -> u16 {
        let queues = (0..).zip(&self.queue_vectors).map(|(q, v)| (Some(q), *v));
        // An event that maps to the same vector takes no more resources than the first.
        let others = queues
            .chain([(None, self.config_vector)])
            .filter(|(other, _)| *other != queue)
            .map(|(_, mapped)| mapped)
            .filter(|mapped| *mapped != NO_VECTOR && *mapped != vector);
        // §4.1.5.1.2.1: a mapping may fail.
        if vector < self.vectors() && !self.latitudes.refuses_vector(others, lives) {
            vector
        } else {
            NO_VECTOR
        }
    }

    /// The vector to which the event of `queue` is mapped.
    pub(super) fn queue_vector(&self, queue: u16) -> u16 {
        let vector = self.queue_vectors.get(usize::from(queue));
        vector.copied().unwrap_or(NO_VECTOR)
    }

    pub(super) fn interrupt_queue(&mut self, queue: u16) {
        if self.msix_enabled() {
            self.send(self.queue_vector(queue));
        } else {
            // §4.1.4.5.1: the bit first.
            self.isr |= ISR_QUEUE;
            self.update_pin();
        }
    }

    /// One interrupt by the pin for used buffers and for a change of the configuration (§4.1.5.4.2).
    pub(super) fn interrupt_both(&mut self, queue: u16) {
        if !self.msix_enabled() {
            self.isr |= ISR_CONFIG;
        }
        self.interrupt_queue(queue);
    }

    pub(super) fn interrupt_config(&mut self) {
        // §4.1.4.5.1: the bit first, whichever way the notification goes.
        self.isr |= ISR_CONFIG;
        if self.msix_enabled() {
            self.send(self.config_vector);
        } else {
            self.update_pin();
        }
    }

    /// §4.1.5.3.1, §4.1.5.4.1: NO_VECTOR, which no table has, sends nothing.
    fn send(&mut self, vector: u16) {
        if let Some(msix) = &mut self.msix {
            msix.request(vector, self.sink.as_ref());
        }
    }

    /// §4.1.4.5.1: reading ISR status resets it.
    pub(super) fn take_isr(&mut self) -> u8 {
        let isr = std::mem::take(&mut self.isr);
        self.update_pin();
        isr
    }

    /// §4.1.4.5.1: without MSI-X, Interrupt Status is whether any bit of ISR status is set, and the
    /// pin follows unless PCI forbids it.
    pub(super) fn update_pin(&mut self) {
        let wanted = self.isr != 0 && !self.msix_enabled();
        self.config.set_interrupt_status(wanted);
        let asserted = wanted && self.config.intx_allowed();
        if asserted != self.pin {
            self.pin = asserted;
            self.sink.set_pin(self.slot, asserted);
        }
    }
}
