//! Initialization (§3.1.1 of virtio 1.0), step by step.

use stickler_conformance::device::net::config::MAX_VIRTQUEUE_PAIRS;
use stickler_conformance::layout::{NO_VECTOR, Structure, common, status};
use stickler_conformance::{DeviceKind, features};
use stickler_mock_driver::{SplitLayout, Virtqueue};

use super::{Driver, Interrupts};

/// Offset of `max_nr_ports` in `struct virtio_console_config` (§5.3.4).
const MAX_NR_PORTS: u32 = 4;

const MSIX_ENABLE: u16 = 1 << 15;

impl Driver<'_> {
    /// Resets the device and waits until it is done (§4.1.4.3.2).
    pub fn reset(&mut self) {
        self.set_common(common::DEVICE_STATUS, 0);
        for _ in 0..1000 {
            if self.status() == 0 {
                self.features = 0;
                self.queues.clear();
                return;
            }
            self.rig.run();
        }
        panic!("the device does not come out of reset");
    }

    /// Reads device status.
    pub fn status(&self) -> u8 {
        self.common(common::DEVICE_STATUS) as u8
    }

    /// Adds bits to device status.
    pub fn add_status(&self, bits: u8) {
        let now = self.status();
        self.set_common(common::DEVICE_STATUS, u32::from(now | bits));
    }

    /// Reset, ACKNOWLEDGE, DRIVER.
    pub fn begin(&mut self) {
        self.reset();
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
    }

    /// The features the device offers.
    pub fn offered(&self) -> u64 {
        self.set_common(common::DEVICE_FEATURE_SELECT, 0);
        let low = self.common(common::DEVICE_FEATURE);
        self.set_common(common::DEVICE_FEATURE_SELECT, 1);
        u64::from(self.common(common::DEVICE_FEATURE)) << 32 | u64::from(low)
    }

    /// Writes the features the driver accepts.
    pub fn accept(&mut self, features: u64) {
        self.set_common(common::DRIVER_FEATURE_SELECT, 0);
        self.set_common(common::DRIVER_FEATURE, features as u32);
        self.set_common(common::DRIVER_FEATURE_SELECT, 1);
        self.set_common(common::DRIVER_FEATURE, (features >> 32) as u32);
        self.features = features;
    }

    /// Sets FEATURES_OK and returns whether the device kept it.
    pub fn features_ok(&self) -> bool {
        self.add_status(status::FEATURES_OK);
        self.status() & status::FEATURES_OK != 0
    }

    /// All up to FEATURES_OK, accepting of what is offered what is in `wanted`, and VERSION_1.
    pub fn negotiate(&mut self, wanted: u64) {
        self.begin();
        let features = self.offered() & (wanted | features::VERSION_1);
        self.accept(features);
        assert!(self.features_ok(), "the device refused {features:#x}");
    }

    /// Enables MSI-X or leaves INTx on, maps configuration changes and verifies it (§4.1.5.1.2). If the
    /// device refuses that, the driver uses INTx (§4.1.5.1.2.2).
    pub fn set_up_interrupts(&mut self, interrupts: Interrupts) {
        self.interrupts = interrupts;
        if interrupts == Interrupts::Msix {
            self.enable_msix();
            self.set_common(common::MSIX_CONFIG, 0);
            if self.common(common::MSIX_CONFIG) == u32::from(NO_VECTOR) {
                self.disable_msix();
                self.interrupts = Interrupts::Intx;
            }
        }
    }

    /// Fills the MSI-X table (data = vector) and enables MSI-X.
    pub fn enable_msix(&self) {
        let capability = self.msix.expect("the device has MSI-X");
        let control = self.config_read(capability + 2, 2);
        let table = self.config_read(capability + 4, 4);
        let base = self.bar_address((table & 7) as u8) + u64::from(table & !7);
        for vector in 0..=u64::from(control & 0x7ff) {
            self.rig.mmio_write(base + 16 * vector, 4, 0xfee0_0000);
            self.rig.mmio_write(base + 16 * vector + 4, 4, 0);
            self.rig.mmio_write(base + 16 * vector + 8, 4, vector);
            self.rig.mmio_write(base + 16 * vector + 12, 4, 0);
        }
        self.config_write(capability + 2, 2, control | u32::from(MSIX_ENABLE));
    }

    /// Disables MSI-X, if there is any.
    pub fn disable_msix(&self) {
        if let Some(capability) = self.msix {
            let control = self.config_read(capability + 2, 2);
            self.config_write(capability + 2, 2, control & !u32::from(MSIX_ENABLE));
        }
    }

    /// Number of MSI-X vectors.
    pub fn vectors(&self) -> u16 {
        self.msix
            .map_or(0, |at| (self.config_read(at + 2, 2) as u16 & 0x7ff) + 1)
    }

    /// Number of queues.
    pub fn num_queues(&self) -> u16 {
        self.common(common::NUM_QUEUES) as u16
    }

    /// Selects a queue and returns its size, 0 if it does not exist.
    pub fn select_queue(&self, index: u16) -> u16 {
        self.set_common(common::QUEUE_SELECT, u32::from(index));
        self.common(common::QUEUE_SIZE) as u16
    }

    /// Lays out queue `index` with at most `size` descriptors and writes its addresses; does
    /// not enable it. Returns `false` if there is no such queue.
    pub fn configure_queue(&mut self, index: u16, size: u16) -> bool {
        let max = self.select_queue(index);
        if max == 0 {
            return false;
        }
        let size = size.min(max);
        let base = self.rig.allocate(SplitLayout::room(self.gap, size));
        let event_idx = self.features & features::RING_EVENT_IDX != 0;
        let queue = Virtqueue::lay_out(self.rig.ram.inner(), base, self.gap, size, event_idx);
        self.set_common(common::QUEUE_SIZE, u32::from(size));
        self.set_queue_address(common::QUEUE_DESC, queue.layout.desc);
        self.set_queue_address(common::QUEUE_AVAIL, queue.layout.avail);
        self.set_queue_address(common::QUEUE_USED, queue.layout.used);
        if self.interrupts == Interrupts::Msix {
            let vector = 1 + u32::from(index) % u32::from(self.vectors().max(2) - 1);
            let vector = vector.min(u32::from(self.vectors()) - 1);
            self.map_queue(vector);
        }
        self.queues.insert(index, queue);
        true
    }

    /// Maps the selected queue to `vector`, or, if the device refuses that, to one that others use
    /// already (§4.1.5.1.2.2): the first that can be had.
    fn map_queue(&self, vector: u32) {
        let low = 0..u32::from(self.vectors().min(64));
        for vector in [vector].into_iter().chain(low) {
            self.set_common(common::QUEUE_MSIX_VECTOR, vector);
            let mapped = self.common(common::QUEUE_MSIX_VECTOR);
            if mapped == vector {
                return;
            }
            assert_eq!(mapped, u32::from(NO_VECTOR), "§4.1.5.1.2.1");
        }
        panic!("the device refuses every vector");
    }

    /// Writes a 64-bit queue address in two halves (§4.1.3.1).
    pub fn set_queue_address(&self, field: u32, address: u64) {
        self.write(Structure::Common, field, 4, address & 0xffff_ffff);
        self.write(Structure::Common, field + 4, 4, address >> 32);
    }

    /// Enables the selected queue.
    pub fn enable_queue(&self) {
        self.set_common(common::QUEUE_ENABLE, 1);
    }

    /// The queues that exist with the negotiated features (§5.1.2, §5.2.2, §5.3.2, §5.4.2), of those
    /// the device has.
    pub fn usable_queues(&self) -> Vec<u16> {
        let has = |bit| self.features & bit != 0;
        match self.kind {
            DeviceKind::Net => {
                let pairs = if has(features::net::MQ) {
                    self.read(Structure::Device, MAX_VIRTQUEUE_PAIRS, 2) as u16
                } else {
                    1
                };
                let mut queues: Vec<u16> = (0..2 * pairs).collect();
                if has(features::net::CTRL_VQ) {
                    queues.push(2 * pairs);
                }
                queues
            }
            DeviceKind::Console if has(features::console::MULTIPORT) => {
                let ports = self.read(Structure::Device, MAX_NR_PORTS, 4) as u16;
                (0..2 * (ports + 1)).collect()
            }
            DeviceKind::Console => vec![0, 1],
            DeviceKind::Block | DeviceKind::Entropy => vec![0],
        }
    }

    /// Configures and enables all queues that exist.
    pub fn set_up_queues(&mut self, size: u16) {
        for index in self.usable_queues() {
            if self.configure_queue(index, size) {
                self.enable_queue();
            }
        }
    }

    /// Sets DRIVER_OK; the device is live.
    pub fn go(&self) {
        self.add_status(status::DRIVER_OK);
        self.rig.run();
    }

    /// The whole initialization.
    pub fn initialize(&mut self, wanted: u64, interrupts: Interrupts) {
        self.negotiate(wanted);
        self.set_up_interrupts(interrupts);
        self.set_up_queues(64);
        self.go();
    }
}

/// Of the features `wanted` those that a driver may accept together: what it should not do without is
/// among them, and nothing without what that needs (§2.2.1).
pub fn legal_subset(kind: DeviceKind, wanted: u64) -> u64 {
    let needed = match kind {
        DeviceKind::Net => features::net::MAC,
        DeviceKind::Block => features::block::RO,
        DeviceKind::Console | DeviceKind::Entropy => 0,
    };
    let mut legal = wanted | needed;
    while features::unmet(kind, legal) != 0 {
        legal &= !features::unmet(kind, legal);
    }
    legal
}
