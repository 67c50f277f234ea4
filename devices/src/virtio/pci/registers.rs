//! What an access to a structure means (§4.1.4.3 to §4.1.4.6 of virtio 1.0).
//!
//! Accesses of the widths the specification demands and all others are served alike: bytes of fields
//! are read and written where they are. The witness sees each access as it came, and then what it means.

use stickler_conformance::Witness;
use stickler_conformance::event::{LatitudeEvent, PciEvent, QueueArea, Register, RegisterEvent};
use stickler_conformance::layout::{Access, COMMON, Field, NO_VECTOR, Structure, common};

use super::layout::Part;
use super::{PciState, PciTransport};
use crate::virtio::VirtioDevice;
use crate::virtio::core::CoreRegister;

impl<D: VirtioDevice<W>, W: Witness> PciState<D, W> {
    /// Reads 1 to 8 bytes at `offset` of a BAR; zeros where there is no register.
    pub(super) fn bar_read(&mut self, bar: u8, offset: u64, data: &mut [u8]) {
        data.fill(0);
        match (self.transport.layout.at(bar, offset), &self.transport.msix) {
            (Some((Part::Second(structure), at)), _) => {
                self.core
                    .witness
                    .see(&PciEvent::SecondInstance { structure }.into());
                self.structure_read(structure, at, data);
            }
            (Some((Part::Virtio(structure), at)), _) => {
                self.structure_read(structure, at, data);
            }
            (Some((Part::MsixTable, at)), Some(msix)) => msix.read_table(u64::from(at), data),
            (Some((Part::MsixPending, at)), Some(msix)) => msix.read_pending(u64::from(at), data),
            _ => {}
        }
    }

    /// Writes 1 to 8 bytes at `offset` of a BAR.
    pub(super) fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) {
        match (
            self.transport.layout.at(bar, offset),
            &mut self.transport.msix,
        ) {
            (Some((Part::Second(structure), at)), _) => {
                self.core
                    .witness
                    .see(&PciEvent::SecondInstance { structure }.into());
                self.structure_write(structure, at, data);
            }
            (Some((Part::Virtio(structure), at)), _) => {
                self.structure_write(structure, at, data);
            }
            (Some((Part::MsixTable, at)), Some(msix)) => {
                msix.write_table(u64::from(at), data, self.transport.sink.as_ref());
            }
            _ => {}
        }
    }

    /// Reads `data` (which is zeroed, 1 to 8 bytes) at `offset` of a structure.
    fn structure_read(&mut self, structure: Structure, offset: u32, data: &mut [u8]) {
        match structure {
            Structure::Common => {
                for field in fields_at(offset, data.len()) {
                    if let Some(CommonField::Core(register)) = CommonField::at(field.offset) {
                        self.core.before_read(register);
                    }
                    let value = self.common_field(field.offset).to_le_bytes();
                    for (at, byte) in bytes_of(field, offset, data.len()) {
                        data[byte] = value[at];
                    }
                }
            }
            Structure::Isr => {
                if let (0, Some(byte)) = (offset, data.first_mut()) {
                    *byte = self.transport.isr;
                }
            }
            Structure::Device => self.core.read_configuration(offset, data),
            // §4.1.4.4: there is nothing to read in the notification structure.
            Structure::Notify | Structure::PciCfg => {}
        }
        self.core
            .witness
            .see(&RegisterEvent::Read(register(structure, offset, data)).into());
        match structure {
            Structure::Common => {
                for field in fields_at(offset, data.len()) {
                    self.common_field_read(field.offset);
                }
            }
            Structure::Isr if offset == 0 => {
                // §4.1.4.5.1: reading resets it, and with it the interrupt goes.
                let value = self.transport.take_isr();
                let msix_enabled = self.transport.msix_enabled();
                self.core.witness.see(
                    &PciEvent::IsrRead {
                        value,
                        msix_enabled,
                    }
                    .into(),
                );
            }
            _ => {}
        }
    }

    /// Writes `data` (1 to 8 bytes) at `offset` of a structure.
    fn structure_write(&mut self, structure: Structure, offset: u32, data: &[u8]) {
        self.core
            .witness
            .see(&RegisterEvent::Written(register(structure, offset, data)).into());
        match structure {
            Structure::Common => {
                for field in fields_at(offset, data.len()) {
                    if field.access == Access::ReadOnly {
                        continue;
                    }
                    let mut value = self.common_field(field.offset).to_le_bytes();
                    for (at, byte) in bytes_of(field, offset, data.len()) {
                        value[at] = data[byte];
                    }
                    self.write_common_field(field.offset, u64::from_le_bytes(value));
                }
            }
            Structure::Notify => self.write_notify(offset, data),
            Structure::Device => {
                self.core
                    .write_configuration(offset, data, &mut self.transport);
            }
            // ISR status is the device's to set.
            Structure::Isr | Structure::PciCfg => {}
        }
    }

    // ---- Common configuration (§4.1.4.3)

    /// What the field at `offset` presents.
    fn common_field(&self, offset: u32) -> u64 {
        let queue = self.core.selected_queue();
        match CommonField::at(offset) {
            Some(CommonField::Core(register)) => self.core.value(register),
            Some(CommonField::ConfigVector) => self.transport.config_vector.into(),
            // §4.1.5.1.2.1: no vector if the queue does not exist.
            Some(CommonField::QueueVector) => {
                let vector = queue.map(|queue| self.transport.queue_vector(queue));
                vector.unwrap_or(NO_VECTOR).into()
            }
            Some(CommonField::QueueNotifyOff) => {
                let off = queue.map(|queue| self.transport.latitudes.notify_off(queue));
                off.unwrap_or(0).into()
            }
            None => 0,
        }
    }

    /// The driver has read the field at `offset`: tells the witness what that means.
    fn common_field_read(&mut self, offset: u32) {
        let queue = match CommonField::at(offset) {
            Some(CommonField::Core(register)) => return self.core.after_read(register),
            Some(CommonField::ConfigVector) => None,
            Some(CommonField::QueueVector) => Some(self.core.queue_select()),
            Some(CommonField::QueueNotifyOff) | None => return,
        };
        let value = self.common_field(offset) as u16;
        self.core
            .witness
            .see(&PciEvent::VectorRead { queue, value }.into());
    }

    fn write_common_field(&mut self, offset: u32, value: u64) {
        match CommonField::at(offset) {
            Some(CommonField::Core(register)) => {
                self.core.write(register, value, &mut self.transport);
            }
            Some(CommonField::ConfigVector) => {
                let value = value as u16;
                let mapped = self.transport.mapped(None, value, self.core.lives());
                self.transport.config_vector = mapped;
                self.tell_vector(None, value, mapped);
            }
            Some(CommonField::QueueVector) => {
                let (value, queue) = (value as u16, self.core.queue_select());
                let mapped = self.transport.mapped(Some(queue), value, self.core.lives());
                if let Some(queue) = self.core.selected_queue()
                    && let Some(vector) = self.transport.queue_vectors.get_mut(usize::from(queue))
                {
                    *vector = mapped;
                }
                self.tell_vector(Some(queue), value, mapped);
            }
            Some(CommonField::QueueNotifyOff) | None => {}
        }
    }

    /// The register's name in §4.1.4.3 is `msix_config`, elsewhere `config_msix_vector`.
    fn tell_vector(&mut self, queue: Option<u16>, value: u16, mapped: u16) {
        self.core.witness.see(
            &PciEvent::VectorWritten {
                queue,
                value,
                vectors: self.transport.vectors(),
                enabled: self.transport.msix_enabled(),
            }
            .into(),
        );
        if value < self.transport.vectors()
            && mapped != value
            && let Some(latitude) = self.transport.latitudes.refusing_vectors()
        {
            self.core
                .witness
                .see(&LatitudeEvent::Shown(latitude).into());
        }
    }

    // ---- Notifications (§4.1.4.4, §4.1.5.2)

    fn write_notify(&mut self, offset: u32, data: &[u8]) {
        let value = little_endian(data) as u32;
        let PciTransport {
            latitudes, layout, ..
        } = &self.transport;
        let queue = latitudes.notified_queue(offset, layout.notify_off_multiplier, value);
        let width = data.len() as u8;
        self.core.notify(queue, value, width, &self.transport);
    }
}

/// A field of the common configuration structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CommonField {
    /// One that every transport has.
    Core(CoreRegister),
    /// `msix_config`
    ConfigVector,
    /// `queue_msix_vector`
    QueueVector,
    /// `queue_notify_off`
    QueueNotifyOff,
}

impl CommonField {
    /// The field at `offset` (§4.1.4.3).
    fn at(offset: u32) -> Option<Self> {
        use CoreRegister::{
            ConfigurationGeneration, DeviceFeatures, DeviceFeaturesSelect, DriverFeatures,
            DriverFeaturesSelect, QueueAddress, QueueCount, QueueEnable, QueueSelect, QueueSize,
            Status,
        };
        let register = match offset {
            common::DEVICE_FEATURE_SELECT => DeviceFeaturesSelect,
            common::DEVICE_FEATURE => DeviceFeatures,
            common::DRIVER_FEATURE_SELECT => DriverFeaturesSelect,
            common::DRIVER_FEATURE => DriverFeatures,
            common::MSIX_CONFIG => return Some(CommonField::ConfigVector),
            common::NUM_QUEUES => QueueCount,
            common::DEVICE_STATUS => Status,
            common::CONFIG_GENERATION => ConfigurationGeneration,
            common::QUEUE_SELECT => QueueSelect,
            common::QUEUE_SIZE => QueueSize,
            common::QUEUE_MSIX_VECTOR => return Some(CommonField::QueueVector),
            common::QUEUE_ENABLE => QueueEnable,
            common::QUEUE_NOTIFY_OFF => return Some(CommonField::QueueNotifyOff),
            common::QUEUE_DESC => QueueAddress(QueueArea::Descriptor),
            common::QUEUE_AVAIL => QueueAddress(QueueArea::Driver),
            common::QUEUE_USED => QueueAddress(QueueArea::Device),
            _ => return None,
        };
        Some(CommonField::Core(register))
    }
}

/// The fields of the common configuration structure that `len` bytes at `offset` touch.
fn fields_at(offset: u32, len: usize) -> impl Iterator<Item = &'static Field> {
    let end = offset.saturating_add(len as u32);
    COMMON
        .iter()
        .filter(move |f| f.offset < end && offset < f.offset + f.len())
}

/// Which bytes of `field` `len` bytes at `offset` touch: index in the field, index in the access.
fn bytes_of(field: &Field, offset: u32, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let (start, width) = (field.offset, field.width);
    (0..u32::from(width)).filter_map(move |at| {
        let byte = (start + at).checked_sub(offset)? as usize;
        (byte < len).then_some((at as usize, byte))
    })
}

fn register(structure: Structure, offset: u32, data: &[u8]) -> Register {
    Register {
        structure,
        offset,
        width: data.len() as u8,
        value: little_endian(data),
    }
}

/// Up to 8 bytes as a number.
fn little_endian(data: &[u8]) -> u64 {
    data.iter()
        .take(8)
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}
