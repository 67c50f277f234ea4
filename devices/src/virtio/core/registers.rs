//! The registers that the driver finds on every transport. A transport maps its own registers to them:
//! the common configuration structure of PCI (§4.1.4.3 of virtio 1.0), or the registers of MMIO.

use stickler_conformance::Witness;
use stickler_conformance::event::{FeatureEvent, QueueArea, QueueEvent, StatusEvent};

use super::{Core, Transport};
use crate::virtio::VirtioDevice;

/// A register that every transport has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CoreRegister {
    /// Which 32 bits `DeviceFeatures` presents.
    DeviceFeaturesSelect,
    /// 32 bits of what the device offers. Read-only.
    DeviceFeatures,
    /// Which 32 bits `DriverFeatures` presents.
    DriverFeaturesSelect,
    /// 32 bits of what the driver accepts.
    DriverFeatures,
    /// Number of virtqueues. Read-only.
    QueueCount,
    /// Device status (§2.1), 8 bits.
    Status,
    /// Changes when the driver may have read parts of two states of the configuration (§2.3.1), 8 bits.
    /// Read-only.
    ConfigurationGeneration,
    /// Index of the virtqueue that the registers below are about, 16 bits.
    QueueSelect,
    /// Number of descriptors, 16 bits.
    QueueSize,
    /// 1 if the queue is enabled, 16 bits.
    QueueEnable,
    /// Guest-physical address of a part of the queue, 64 bits.
    QueueAddress(QueueArea),
}

impl<D: VirtioDevice<W>, W: Witness> Core<D, W> {
    /// The driver is about to read `register`.
    pub(crate) fn before_read(&mut self, register: CoreRegister) {
        if register == CoreRegister::Status {
            self.count_status_read();
        }
    }

    /// What `register` presents.
    pub(crate) fn value(&self, register: CoreRegister) -> u64 {
        let queue = self.selected();
        match register {
            CoreRegister::DeviceFeaturesSelect => self.features.device_select.into(),
            // §4.1.4.3.1: 32 bits of what is offered, for any select.
            CoreRegister::DeviceFeatures => match self.features.device_select {
                select @ 0..=1 => window_of(self.features.offered, select),
                select => self.latitudes.high_features(select).into(),
            },
            CoreRegister::DriverFeaturesSelect => self.features.driver_select.into(),
            // §4.1.4.3.1: what the driver wrote, for any select; beyond the 64 bits nothing is
            // offered, and so nothing valid can be written.
            CoreRegister::DriverFeatures => {
                window_of(self.features.driver, self.features.driver_select)
            }
            CoreRegister::QueueCount => self.queue_registers.len() as u64,
            CoreRegister::Status => self.status.into(),
            CoreRegister::ConfigurationGeneration => self.configuration.generation.into(),
            CoreRegister::QueueSelect => self.queue_select.into(),
            // §4.1.4.3.1: 0 if the queue is unavailable.
            CoreRegister::QueueSize => queue.map_or(0, |q| q.size.into()),
            CoreRegister::QueueEnable => queue.map_or(0, |q| q.enabled.into()),
            CoreRegister::QueueAddress(part) => queue.map_or(0, |q| q.address(part)),
        }
    }

    /// The driver has read `register`: tells the witness what that means.
    pub(crate) fn after_read(&mut self, register: CoreRegister) {
        let event: stickler_conformance::Event<'_> = match register {
            CoreRegister::ConfigurationGeneration => {
                self.generation_is_read();
                return;
            }
            CoreRegister::Status => StatusEvent::Read { value: self.status }.into(),
            CoreRegister::DeviceFeatures => FeatureEvent::DeviceRead {
                select: self.features.device_select,
            }
            .into(),
            CoreRegister::QueueSize => QueueEvent::SizeRead {
                queue: self.queue_select,
            }
            .into(),
            _ => return,
        };
        self.witness.see(&event);
    }

    /// The driver writes `value` to `register`. What is wider than the register is cut off.
    pub(crate) fn write(
        &mut self,
        register: CoreRegister,
        value: u64,
        transport: &mut dyn Transport,
    ) {
        match register {
            CoreRegister::DeviceFeaturesSelect => self.features.device_select = value as u32,
            CoreRegister::DriverFeaturesSelect => self.features.driver_select = value as u32,
            CoreRegister::DriverFeatures => self.write_driver_features(value as u32),
            CoreRegister::Status => self.write_status(value as u8, transport),
            CoreRegister::QueueSelect => self.queue_select = value as u16,
            CoreRegister::QueueSize => self.write_queue_size(value as u16),
            CoreRegister::QueueEnable => self.write_queue_enable(value as u16, transport),
            CoreRegister::QueueAddress(part) => self.write_queue_address(part, value),
            CoreRegister::DeviceFeatures
            | CoreRegister::QueueCount
            | CoreRegister::ConfigurationGeneration => {}
        }
    }

    fn write_driver_features(&mut self, value: u32) {
        let select = self.features.driver_select;
        // Invalid bits are mirrored too, up to 64, and looked at when FEATURES_OK is set. Features that
        // are negotiated by then do not change any more.
        if let 0 | 1 = select {
            let shift = 32 * select;
            let others = self.features.driver & !(0xffff_ffff << shift);
            self.features.driver = others | u64::from(value) << shift;
        }
        self.witness
            .see(&FeatureEvent::DriverWritten { select, value }.into());
    }
}

/// 32 bits of a feature word; beyond its 64 bits there are zeros.
fn window_of(features: u64, select: u32) -> u64 {
    match select {
        0 => features & 0xffff_ffff,
        1 => features >> 32,
        _ => 0,
    }
}
