//! Virtqueues, from the registers that describe them to the live queue.
//!
//! Citations are of virtio 1.0.

use stickler_conformance::event::{QueueArea, QueueEvent, QueueSetup, SplitSetup};
use stickler_conformance::{Witness, features};

use super::{Core, Transport};
use crate::memory::GuestRam;
use crate::virtio::VirtioDevice;
use crate::virtio::queue::{Queue, QueueConfig, part_len};

/// What the registers hold of one virtqueue.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueRegisters {
    /// `queue_size` on reset; 0 if the queue is unavailable.
    max: u16,
    pub(super) size: u16,
    pub(super) enabled: bool,
    desc: u64,
    avail: u64,
    used: u64,
}

impl QueueRegisters {
    pub(super) fn fresh(max: u16) -> Self {
        QueueRegisters {
            max,
            size: max,
            // §4.1.4.3.1
            enabled: false,
            desc: 0,
            avail: 0,
            used: 0,
        }
    }

    pub(super) fn address(&self, part: QueueArea) -> u64 {
        match part {
            QueueArea::Descriptor => self.desc,
            QueueArea::Driver => self.avail,
            QueueArea::Device => self.used,
        }
    }

    /// Whether all three parts lie in the guest's memory.
    fn in_memory(&self, ram: &GuestRam) -> bool {
        [QueueArea::Descriptor, QueueArea::Driver, QueueArea::Device]
            .into_iter()
            .all(|part| ram.contains(self.address(part), part_len(part, self.size)))
    }
}

impl<D: VirtioDevice<W>, W: Witness> Core<D, W> {
    /// Number of virtqueues, those that do not exist included.
    pub(crate) fn queue_count(&self) -> u16 {
        self.queue_registers.len() as u16
    }

    /// Number of virtqueues that the device type itself has.
    pub(crate) fn device_queue_count(&self) -> u16 {
        self.device.queue_sizes().len() as u16
    }

    /// The index in `QueueSelect`, whether or not there is such a queue.
    pub(crate) fn queue_select(&self) -> u16 {
        self.queue_select
    }

    /// The index in `QueueSelect`, if the queue exists.
    pub(crate) fn selected_queue(&self) -> Option<u16> {
        self.selected().map(|_| self.queue_select)
    }

    /// What `QueueSelect` selects, if the queue exists.
    pub(super) fn selected(&self) -> Option<&QueueRegisters> {
        self.queue_registers
            .get(usize::from(self.queue_select))
            .filter(|q| q.max != 0)
    }

    fn selected_mut(&mut self) -> Option<&mut QueueRegisters> {
        self.queue_registers
            .get_mut(usize::from(self.queue_select))
            .filter(|q| q.max != 0)
    }

    /// Whether `queue` is enabled, if it exists.
    pub(super) fn is_enabled(&self, queue: u16) -> Option<bool> {
        let registers = self.queue_registers.get(usize::from(queue))?;
        (registers.max != 0).then_some(registers.enabled)
    }

    pub(super) fn write_queue_size(&mut self, value: u16) {
        let mut max = 0;
        // A value that cannot be a size, or a change of a queue in use, changes nothing. §4.1.4.3: 0
        // can be written too, and makes a queue that cannot be used.
        if let Some(queue) = self.selected_mut() {
            max = queue.max;
            let possible = value == 0 || value.is_power_of_two();
            if !queue.enabled && possible && value <= max {
                queue.size = value;
            }
        }
        let queue = self.queue_select;
        self.witness
            .see(&QueueEvent::SizeWritten { queue, value, max }.into());
    }

    pub(super) fn write_queue_address(&mut self, area: QueueArea, address: u64) {
        // The rings of a queue in use stay where they are.
        if let Some(queue) = self.selected_mut()
            && !queue.enabled
        {
            match area {
                QueueArea::Descriptor => queue.desc = address,
                QueueArea::Driver => queue.avail = address,
                QueueArea::Device => queue.used = address,
            }
        }
        let queue = self.queue_select;
        self.witness.see(
            &QueueEvent::AddressWritten {
                queue,
                area,
                address,
            }
            .into(),
        );
    }

    pub(super) fn write_queue_enable(&mut self, value: u16, transport: &mut dyn Transport) {
        let queue = self.queue_select;
        let registers = self.selected().copied();
        let used = registers.filter(|_| W::JUDGING && transport.may_access_memory());
        let used = used.and_then(|q| self.used_header(&q));
        let setup = registers.map(|q| QueueSetup {
            size: q.size,
            max: q.max,
            descriptor: q.desc,
            driver: q.avail,
            device: q.used,
            enabled: q.enabled,
            split: used.map(|[used_flags, used_idx]| SplitSetup {
                used_flags,
                used_idx,
            }),
            in_memory: q.in_memory(&self.ram),
        });
        self.witness.see(
            &QueueEvent::EnableWritten {
                queue,
                value,
                setup,
            }
            .into(),
        );
        // A queue is enabled by 1 and disabled by a reset only; any other value does nothing.
        if let (1, Some(QueueRegisters { enabled: false, .. })) = (value, registers) {
            if let Some(selected) = self.selected_mut() {
                selected.enabled = true;
            }
            // Late, but it does no harm: if the device is live already, the queue is live from now on.
            self.open_queue(usize::from(queue), transport);
        }
    }

    /// `flags` and `idx` of the used ring as they are in memory.
    fn used_header(&self, registers: &QueueRegisters) -> Option<[u16; 2]> {
        let mut header = [0; 4];
        let slice = self.ram.slice(registers.used, header.len())?;
        slice.copy_to(&mut header);
        let [a, b, c, d] = header;
        Some([u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])])
    }

    /// Makes an enabled queue of a live device usable.
    pub(super) fn open_queue(&mut self, index: usize, transport: &mut dyn Transport) {
        let (Some(registers), Some(queue)) =
            (self.queue_registers.get(index), self.queues.get_mut(index))
        else {
            return;
        };
        if !self.live || !registers.enabled {
            return;
        }
        let config = QueueConfig {
            index: index as u16,
            size: registers.size,
            desc: registers.desc,
            avail: registers.avail,
            used: registers.used,
            event_idx: self.features.negotiated & features::RING_EVENT_IDX != 0,
        };
        *queue = Queue::new(&config, &self.ram).map(|queue| {
            queue.with_behaviour(self.latitudes.behaviour::<D, W>(&self.device, index as u16))
        });
        if let Some(queue) = queue {
            queue.set_time(self.clock.now());
            if queue.start() {
                self.work.queues |= 1 << index;
                self.work.kick = true;
            }
        } else {
            // Its rings are not in memory, or at an address where no ring can be.
            self.need_reset(transport);
        }
    }

    pub(super) fn close_queues(&mut self) {
        self.live = false;
        self.queues.fill_with(|| None);
        self.work.forget_queues();
        self.clock.forget_queues();
    }
}
