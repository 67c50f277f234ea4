//! What an access to a structure means (§4.1.4.3 to §4.1.4.6).
//!
//! Accesses of the widths the specification demands and all others are served alike: bytes of fields
//! are read and written where they stand. Each access is told as it came, and then what it means.

use stickler_conformance::event::{QueueSetup, Register, RingPart};
use stickler_conformance::layout::{Access, COMMON, Field, NO_VECTOR, Structure, common};
use stickler_conformance::{Event, Witness};

use super::core::{Core, QueueRegisters};
use super::layout::Part;
use crate::virtio::VirtioDevice;

impl<D: VirtioDevice<W>, W: Witness> Core<D, W> {
    /// Reads 1 to 8 bytes at `offset` of a BAR; where nothing is, zeros.
    pub(super) fn bar_read(&mut self, bar: u8, offset: u64, data: &mut [u8], through_window: bool) {
        data.fill(0);
        match (self.layout.at(bar, offset), &self.msix) {
            (Some((Part::Second(structure), at)), _) => {
                self.witness.see(&Event::SecondInstance { structure });
                self.structure_read(structure, at, data, through_window);
            }
            (Some((Part::Virtio(structure), at)), _) => {
                self.structure_read(structure, at, data, through_window);
            }
            (Some((Part::MsixTable, at)), Some(msix)) => msix.read_table(u64::from(at), data),
            (Some((Part::MsixPending, at)), Some(msix)) => msix.read_pending(u64::from(at), data),
            _ => {}
        }
    }

    /// Writes 1 to 8 bytes at `offset` of a BAR.
    pub(super) fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8], through_window: bool) {
        match (self.layout.at(bar, offset), &mut self.msix) {
            (Some((Part::Second(structure), at)), _) => {
                self.witness.see(&Event::SecondInstance { structure });
                self.structure_write(structure, at, data, through_window);
            }
            (Some((Part::Virtio(structure), at)), _) => {
                self.structure_write(structure, at, data, through_window);
            }
            (Some((Part::MsixTable, at)), Some(msix)) => {
                msix.write_table(u64::from(at), data, self.interrupts.as_ref());
            }
            _ => {}
        }
    }

    /// Reads `data` (which is zeroed, 1 to 8 bytes) at `offset` of a structure.
    fn structure_read(
        &mut self,
        structure: Structure,
        offset: u32,
        data: &mut [u8],
        through_window: bool,
    ) {
        match structure {
            Structure::Common => {
                for field in fields_at(offset, data.len()) {
                    if field.offset == common::DEVICE_STATUS {
                        self.status_is_read();
                    }
                    let value = self.common_field(field.offset).to_le_bytes();
                    for (at, byte) in bytes_of(field, offset, data.len()) {
                        data[byte] = value[at];
                    }
                }
            }
            Structure::Isr => {
                if let (0, Some(byte)) = (offset, data.first_mut()) {
                    *byte = self.isr();
                }
            }
            Structure::Device => self.read_device_config(offset, data),
            // §4.1.4.4: there is nothing to read in the notification structure.
            Structure::Notify | Structure::PciCfg => {}
        }
        self.witness.see(&Event::RegisterRead(register(
            structure,
            offset,
            data,
            through_window,
        )));
        match structure {
            Structure::Common => {
                for field in fields_at(offset, data.len()) {
                    self.common_field_read(field.offset);
                }
            }
            Structure::Isr if offset == 0 => {
                // §4.1.4.5.1: reading resets it, and with it the interrupt goes.
                let value = self.take_isr();
                let msix_enabled = self.msix_enabled();
                self.witness.see(&Event::IsrRead {
                    value,
                    msix_enabled,
                });
            }
            _ => {}
        }
    }

    /// Writes `data` (1 to 8 bytes) at `offset` of a structure.
    fn structure_write(
        &mut self,
        structure: Structure,
        offset: u32,
        data: &[u8],
        through_window: bool,
    ) {
        self.witness.see(&Event::RegisterWritten(register(
            structure,
            offset,
            data,
            through_window,
        )));
        match structure {
            Structure::Common => {
                self.cut_reset_short();
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
            Structure::Device => self.write_device_config(offset, data),
            // ISR status is the device's to set.
            Structure::Isr | Structure::PciCfg => {}
        }
    }

    // ---- Common configuration (§4.1.4.3)

    /// What the field at `offset` presents.
    fn common_field(&self, offset: u32) -> u64 {
        let queue = self.selected();
        let of_queue = |f: fn(&QueueRegisters) -> u64| queue.map_or(0, f);
        match offset {
            common::DEVICE_FEATURE_SELECT => self.device_feature_select.into(),
            // §4.1.4.3.1: 32 bits of what is offered, for any select.
            common::DEVICE_FEATURE => match self.device_feature_select {
                select @ 0..=1 => window_of(self.offered(), select),
                select => self.plan.high_features(select).into(),
            },
            common::DRIVER_FEATURE_SELECT => self.driver_feature_select.into(),
            // §4.1.4.3.1: what the driver wrote, for any select; beyond the 64 bits nothing is
            // offered, and so nothing valid.
            common::DRIVER_FEATURE => window_of(self.driver_features, self.driver_feature_select),
            common::MSIX_CONFIG => self.msix_config.into(),
            common::NUM_QUEUES => self.registers.len() as u64,
            common::DEVICE_STATUS => self.status.into(),
            common::CONFIG_GENERATION => self.config_generation.into(),
            common::QUEUE_SELECT => self.queue_select.into(),
            // §4.1.4.3.1: 0 if the queue is unavailable.
            common::QUEUE_SIZE => of_queue(|q| q.size.into()),
            // §4.1.5.1.2.1
            common::QUEUE_MSIX_VECTOR => queue.map_or(NO_VECTOR, |q| q.vector).into(),
            common::QUEUE_ENABLE => of_queue(|q| q.enabled.into()),
            common::QUEUE_NOTIFY_OFF => {
                queue.map_or(0, |_| self.plan.notify_off(self.queue_select).into())
            }
            common::QUEUE_DESC => of_queue(|q| q.desc),
            common::QUEUE_AVAIL => of_queue(|q| q.avail),
            common::QUEUE_USED => of_queue(|q| q.used),
            _ => 0,
        }
    }

    /// Tells what reading the field at `offset` means.
    fn common_field_read(&mut self, offset: u32) {
        let event = match offset {
            common::CONFIG_GENERATION => {
                self.generation_is_read();
                return;
            }
            common::DEVICE_STATUS => Event::StatusRead { value: self.status },
            common::DEVICE_FEATURE => Event::DeviceFeaturesRead {
                select: self.device_feature_select,
            },
            common::MSIX_CONFIG => Event::VectorRead {
                queue: None,
                value: self.msix_config,
            },
            common::QUEUE_SIZE => Event::QueueSizeRead {
                queue: self.queue_select,
            },
            common::QUEUE_MSIX_VECTOR => Event::VectorRead {
                queue: Some(self.queue_select),
                value: self.selected().map_or(NO_VECTOR, |q| q.vector),
            },
            _ => return,
        };
        self.witness.see(&event);
    }

    fn write_common_field(&mut self, offset: u32, value: u64) {
        match offset {
            common::DEVICE_FEATURE_SELECT => self.device_feature_select = value as u32,
            common::DRIVER_FEATURE_SELECT => self.driver_feature_select = value as u32,
            common::DRIVER_FEATURE => self.write_driver_feature(value as u32),
            common::MSIX_CONFIG => {
                let value = value as u16;
                self.msix_config = self.mapped(None, value);
                self.tell_vector(None, value);
            }
            common::DEVICE_STATUS => self.write_status(value as u8),
            common::QUEUE_SELECT => self.queue_select = value as u16,
            common::QUEUE_SIZE => self.write_queue_size(value as u16),
            common::QUEUE_MSIX_VECTOR => {
                let value = value as u16;
                let mapped = self.mapped(Some(self.queue_select), value);
                if let Some(queue) = self.selected_mut() {
                    queue.vector = mapped;
                }
                self.tell_vector(Some(self.queue_select), value);
            }
            common::QUEUE_ENABLE => self.write_queue_enable(value as u16),
            common::QUEUE_DESC => self.write_queue_address(RingPart::Descriptor, value),
            common::QUEUE_AVAIL => self.write_queue_address(RingPart::Available, value),
            common::QUEUE_USED => self.write_queue_address(RingPart::Used, value),
            _ => {}
        }
    }

    fn write_driver_feature(&mut self, value: u32) {
        let select = self.driver_feature_select;
        // Invalid bits are mirrored too, up to 64, and looked at when FEATURES_OK is set. What is
        // negotiated by then does not change any more.
        if let 0 | 1 = select {
            let shift = 32 * select;
            let others = self.driver_features & !(0xffff_ffff << shift);
            self.driver_features = others | u64::from(value) << shift;
        }
        self.witness
            .see(&Event::DriverFeaturesWritten { select, value });
    }

    /// The register's name in §4.1.4.3 is `msix_config`, elsewhere `config_msix_vector`.
    fn tell_vector(&mut self, queue: Option<u16>, value: u16) {
        let (vectors, enabled) = (self.vectors(), self.msix_enabled());
        self.witness.see(&Event::VectorWritten {
            queue,
            value,
            vectors,
            enabled,
        });
    }

    fn write_queue_size(&mut self, value: u16) {
        let mut max = 0;
        // What cannot be a size, and a change of a queue in use, changes nothing. §4.1.4.3: 0 can be
        // written too, and makes a queue that cannot be used.
        if let Some(queue) = self.selected_mut() {
            max = queue.max;
            let possible = value == 0 || value.is_power_of_two();
            if !queue.enabled && possible && value <= max {
                queue.size = value;
            }
        }
        let queue = self.queue_select;
        self.witness
            .see(&Event::QueueSizeWritten { queue, value, max });
    }

    fn write_queue_address(&mut self, part: RingPart, address: u64) {
        // The rings of a queue in use stay where they are.
        if let Some(queue) = self.selected_mut()
            && !queue.enabled
        {
            match part {
                RingPart::Descriptor => queue.desc = address,
                RingPart::Available => queue.avail = address,
                RingPart::Used => queue.used = address,
            }
        }
        let queue = self.queue_select;
        self.witness.see(&Event::QueueAddressWritten {
            queue,
            part,
            address,
        });
    }

    fn write_queue_enable(&mut self, value: u16) {
        let queue = self.queue_select;
        let registers = self.selected().copied();
        let used = registers.filter(|_| W::JUDGING);
        let used = used.and_then(|q| self.used_header(&q));
        let setup = registers.map(|q| QueueSetup {
            size: q.size,
            max: q.max,
            desc: q.desc,
            avail: q.avail,
            used: q.used,
            enabled: q.enabled,
            used_flags: used.map(|[flags, _]| flags),
            used_idx: used.map(|[_, idx]| idx),
            in_memory: self.in_memory(&q),
        });
        self.witness.see(&Event::QueueEnableWritten {
            queue,
            value,
            setup,
        });
        // A queue is enabled by 1 and disabled by a reset only; any other value does nothing.
        if let (1, Some(QueueRegisters { enabled: false, .. })) = (value, registers) {
            if let Some(selected) = self.selected_mut() {
                selected.enabled = true;
            }
            // Late, but no harm: if the device is live already, the queue is from now on.
            self.open_queue(usize::from(queue));
        }
    }

    /// What `queue_select` selects, if the queue exists.
    fn selected(&self) -> Option<&QueueRegisters> {
        self.registers
            .get(usize::from(self.queue_select))
            .filter(|q| q.max != 0)
    }

    fn selected_mut(&mut self) -> Option<&mut QueueRegisters> {
        self.registers
            .get_mut(usize::from(self.queue_select))
            .filter(|q| q.max != 0)
    }

    // ---- Notifications (§4.1.4.4, §4.1.5.2)

    fn write_notify(&mut self, offset: u32, data: &[u8]) {
        let value = little_endian(data) as u32;
        let multiplier = self.layout.notify_off_multiplier;
        let index = self.plan.notified_queue(offset, multiplier, value);
        let queue = index.and_then(|index| {
            let index = u16::try_from(index).ok()?;
            let registers = self.registers.get(usize::from(index))?;
            (registers.max != 0).then_some((index, registers.enabled))
        });
        self.witness.see(&Event::Notified {
            queue: queue.map(|(index, _)| index),
            value,
            width: data.len() as u8,
            enabled: queue.is_some_and(|(_, enabled)| enabled),
        });
        if let Some((index, true)) = queue {
            self.notified(index);
        }
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

/// 32 bits of a feature word; nothing is beyond its 64.
fn window_of(features: u64, select: u32) -> u64 {
    match select {
        0 => features & 0xffff_ffff,
        1 => features >> 32,
        _ => 0,
    }
}

fn register(structure: Structure, offset: u32, data: &[u8], through_window: bool) -> Register {
    Register {
        structure,
        offset,
        width: data.len() as u8,
        value: little_endian(data),
        through_window,
    }
}

/// Up to 8 bytes as a number.
fn little_endian(data: &[u8]) -> u64 {
    data.iter()
        .take(8)
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}
