//! What PCI adds to a virtio device: configuration space, BARs, and the registers that only this
//! transport has (§4.1.4 of virtio 1.0).

use std::io;
use std::sync::Arc;

use stickler_conformance::event::PciEvent;
use stickler_conformance::layout::NO_VECTOR;
use stickler_conformance::{DeviceKind, Latitude};

use super::Options;
use super::capabilities::{Capabilities, identity};
use super::latitude::PciLatitudes;
use super::layout::Layout;
use crate::interrupt::InterruptSink;
use crate::pci::config::{ConfigSpace, command, register};
use crate::pci::msix::Msix;
use crate::virtio::core::{Interrupt, Transport};

/// A virtio device's function on the PCI bus.
pub struct PciTransport {
    pub(super) slot: u8,
    pub(super) sink: Arc<dyn InterruptSink>,
    pub(super) latitudes: PciLatitudes,

    // What the function is on the bus.
    pub(super) config: ConfigSpace,
    /// … as it was at first.
    fresh_config: ConfigSpace,
    pub(super) layout: Layout,
    pub(super) capabilities: Capabilities,
    /// `cfg_type` of a virtio capability has been read.
    pub(super) capabilities_read: bool,
    pub(super) msix: Option<Msix>,
    /// Whether INTA# is asserted.
    pub(super) pin: bool,

    // Registers that the core does not have.
    /// `msix_config` (§4.1.4.3).
    pub(super) config_vector: u16,
    /// `queue_msix_vector` (§4.1.4.3) of each queue.
    pub(super) queue_vectors: Vec<u16>,
    /// ISR status (§4.1.4.5).
    pub(super) isr: u8,
}

/// What a function is made for.
pub(super) struct PciDevice {
    pub(super) slot: u8,
    pub(super) kind: DeviceKind,
    /// Virtqueues of the device type.
    pub(super) device_queues: u16,
    /// All virtqueues.
    pub(super) queues: u16,
    /// Bytes of device-specific configuration.
    pub(super) config_len: usize,
}

impl PciTransport {
    /// Fails if the options contradict each other.
    pub(super) fn new(
        device: &PciDevice,
        sink: Arc<dyn InterruptSink>,
        options: &Options,
    ) -> io::Result<Self> {
        let mut latitudes = PciLatitudes::new(options.latitudes, device.slot);
        let mut config = ConfigSpace::new(identity(device.kind, options.latitudes));
        config.add_interrupt_pin();
        let last_notify_off = latitudes.place_notifications(device.queues);
        let layout = Layout::place(
            &latitudes.options(options, device.device_queues),
            &latitudes,
            (device.device_queues, last_notify_off),
            device.config_len,
            &mut config,
        )?;
        let capabilities = Capabilities::add(&layout, &latitudes, &mut config)?;
        let msix = capabilities
            .msix
            .map(|capability| Msix::new(layout.vectors, capability, device.slot));
        let mut transport = PciTransport {
            slot: device.slot,
            sink,
            latitudes,
            fresh_config: config.clone(),
            config,
            layout,
            capabilities,
            capabilities_read: false,
            msix,
            pin: false,
            config_vector: NO_VECTOR,
            queue_vectors: vec![NO_VECTOR; usize::from(device.queues)],
            isr: 0,
        };
        if options.latitudes.has(Latitude::LIVE_AT_ARRIVAL) {
            transport.as_firmware_left_it();
        }
        Ok(transport)
    }

    /// The function is reset from outside: besides what a reset of the device does, configuration space and the
    /// vectors are as they were at first.
    pub(super) fn outside_reset(&mut self) {
        self.reset();
        self.config = self.fresh_config.clone();
        self.capabilities_read = false;
        self.msix = self
            .capabilities
            .msix
            .map(|capability| Msix::new(self.layout.vectors, capability, self.slot));
        self.update_pin();
        if self.latitudes.has(Latitude::LIVE_AT_ARRIVAL) {
            self.as_firmware_left_it();
        }
    }

    /// Firmware has used the device and left interrupts behind that it never took. Only that it left
    /// the pin disabled.
    fn as_firmware_left_it(&mut self) {
        self.isr = 0b11;
        let command = command::MEMORY_SPACE | command::BUS_MASTER | command::INTERRUPT_DISABLE;
        self.config.put(register::COMMAND, &command.to_le_bytes());
        self.update_pin();
    }
}

impl Transport for PciTransport {
    fn interrupt(&mut self, cause: Interrupt) {
        match cause {
            Interrupt::Queue(queue) => self.interrupt_queue(queue),
            Interrupt::Configuration => self.interrupt_config(),
            Interrupt::QueueAndConfiguration(queue) => self.interrupt_both(queue),
        }
    }

    /// PCI 6.2.2: a function may access memory if it may be bus master.
    fn may_access_memory(&self) -> bool {
        self.config.bus_master()
    }

    fn end_of_run(&self) -> Option<PciEvent> {
        self.capabilities_read.then_some(PciEvent::CapabilityRead)
    }

    fn reset(&mut self) {
        // Every field is named, so that a new one is not forgotten.
        let PciTransport {
            // A reset of the device is none of the function: the bus sees no difference.
            slot: _,
            sink: _,
            latitudes: _,
            config: _,
            fresh_config: _,
            layout: _,
            capabilities: _,
            capabilities_read: _,
            msix,
            // Follows below.
            pin: _,
            config_vector,
            queue_vectors,
            isr,
        } = self;
        // §4.1.5.1.2.1: all events are unmapped.
        *config_vector = NO_VECTOR;
        queue_vectors.fill(NO_VECTOR);
        *isr = 0;
        if let Some(msix) = msix {
            msix.clear_pending();
        }
        self.update_pin();
    }
}
