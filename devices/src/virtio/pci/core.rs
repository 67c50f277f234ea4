//! The state of a device on its transport, and what moves it: status, queues, service.

use std::io;
use std::sync::Arc;

use stickler_conformance::event::RingPart;
use stickler_conformance::judge::Tallies;
use stickler_conformance::layout::{NO_VECTOR, status};
use stickler_conformance::{DeviceId, DeviceKind, Event, Latitude, Latitudes, Witness, features};

use super::Options;
use super::capabilities::{Capabilities, identity};
use super::latitude::{MAX_QUEUES, Plan};
use super::layout::Layout;
use crate::interrupt::InterruptSink;
use crate::memory::GuestRam;
use crate::pci::Decoded;
use crate::pci::config::{ConfigSpace, command, register};
use crate::pci::msix::Msix;
use crate::virtio::queue::{Queue, QueueConfig, part_len};
use crate::virtio::{Io, Progress, Signals, VirtioDevice, Wake};

/// Once in so many times that a queue is served.
const NOW_AND_THEN: u32 = 16;

/// All of a device, under its lock.
pub(super) struct Core<D, W> {
    pub(super) id: DeviceId,
    ram: GuestRam,
    pub(super) interrupts: Arc<dyn InterruptSink>,
    pub(super) device: D,
    pub(super) witness: W,

    // What the function is on the bus.
    pub(super) config: ConfigSpace,
    pub(super) layout: Layout,
    pub(super) capabilities: Capabilities,
    pub(super) msix: Option<Msix>,
    /// The level of the interrupt pin.
    pub(super) intx: bool,

    // The common configuration structure (§4.1.4.3).
    pub(super) device_feature_select: u32,
    pub(super) driver_feature_select: u32,
    /// What the driver wrote to `driver_feature`, the 64 bits that may mean something.
    pub(super) driver_features: u64,
    pub(super) msix_config: u16,
    pub(super) status: u8,
    pub(super) config_generation: u8,
    pub(super) queue_select: u16,
    pub(super) registers: Vec<QueueRegisters>,
    /// ISR status (§4.1.4.5).
    pub(super) isr: u8,

    pub(super) latitudes: Latitudes,
    pub(super) plan: Plan,
    /// How many more times status is read as it was before the reset that was asked for.
    resetting: u32,
    /// Notified queues that have been served, for what happens now and then.
    served: u32,
    /// … since the device went live.
    served_in_life: u32,
    /// How often `config_generation` was read, and whether something changes with the next read.
    generation_reads: u32,
    about_to_change: bool,
    offered: u64,
    /// The features in use, from FEATURES_OK on.
    negotiated: u64,
    /// The driver has read device-specific configuration since `config_generation` last changed.
    config_seen: bool,
    /// Queues may be worked: DRIVER_OK is set, features were negotiated and no reset is needed.
    live: bool,
    /// The live queues, by index.
    queues: Vec<Option<Queue>>,
    /// Queues that were notified, by index.
    pub(super) pending_queues: u64,
    /// Host file descriptors that may have become readable, by index.
    pub(super) pending_hosts: Vec<bool>,
    /// The worker has to be woken.
    pub(super) kick: bool,
}

/// What the common configuration structure holds of one virtqueue.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueRegisters {
    /// `queue_size` on reset; 0 if the queue is unavailable.
    pub(super) max: u16,
    pub(super) size: u16,
    pub(super) vector: u16,
    pub(super) enabled: bool,
    pub(super) desc: u64,
    pub(super) avail: u64,
    pub(super) used: u64,
}

impl QueueRegisters {
    fn fresh(max: u16) -> Self {
        QueueRegisters {
            max,
            size: max,
            // §4.1.5.1.2.1: unmapped upon reset.
            vector: NO_VECTOR,
            // §4.1.4.3.1
            enabled: false,
            desc: 0,
            avail: 0,
            used: 0,
        }
    }

    /// Whether all three parts lie in the guest's memory.
    pub(super) fn in_memory(&self, ram: &GuestRam) -> bool {
        [
            (RingPart::Descriptor, self.desc),
            (RingPart::Available, self.avail),
            (RingPart::Used, self.used),
        ]
        .into_iter()
        .all(|(part, address)| ram.contains(address, part_len(part, self.size)))
    }
}

impl<D: VirtioDevice<W>, W: Witness> Core<D, W> {
    pub(super) fn new(
        mut device: D,
        id: DeviceId,
        ram: GuestRam,
        interrupts: Arc<dyn InterruptSink>,
        options: &Options,
        witness: impl FnOnce(DeviceId, u64) -> W,
    ) -> io::Result<Self> {
        device.make_use_of(options.latitudes, id.slot);
        let mut plan = Plan::new(id, options.latitudes);
        // §6.2: VERSION_1 is offered. §2.2.2: what the device type offers is complete in itself.
        let offered = plan.offered(
            device.features()
                | features::VERSION_1
                | features::RING_INDIRECT_DESC
                | features::RING_EVENT_IDX,
        );
        device.offer(offered);
        let sizes = device.queue_sizes();
        if sizes.len() > MAX_QUEUES {
            return Err(io::Error::other(format!(
                "{} virtqueues are more than the {MAX_QUEUES} that can be",
                sizes.len()
            )));
        }
        let registers: Vec<_> = plan
            .queue_sizes(sizes)
            .into_iter()
            .map(QueueRegisters::fresh)
            .collect();
        let mut config = ConfigSpace::new(identity(id.kind, options.latitudes));
        config.add_interrupt_pin();
        let last_notify_off = plan.place_notifications(registers.len() as u16);
        let layout = Layout::place(
            &plan.options(options, sizes.len() as u16),
            &plan,
            (sizes.len() as u16, last_notify_off),
            device.config().len(),
            &mut config,
        )?;
        let capabilities = Capabilities::add(&layout, &plan, &mut config)?;
        let msix = capabilities
            .msix
            .map(|capability| Msix::new(layout.vectors, capability, id.slot));
        let mut witness = witness(id, offered);
        for latitude in options.latitudes.iter() {
            witness.see(&Event::Latitude(latitude));
        }
        let pending_hosts = vec![false; device.host_fds().len()];
        let mut core = Core {
            id,
            ram,
            interrupts,
            device,
            witness,
            latitudes: options.latitudes,
            plan,
            resetting: 0,
            served: 0,
            served_in_life: 0,
            generation_reads: 0,
            about_to_change: false,
            config,
            layout,
            capabilities,
            msix,
            intx: false,
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            msix_config: NO_VECTOR,
            status: 0,
            config_generation: 0,
            queue_select: 0,
            queues: registers.iter().map(|_| None).collect(),
            registers,
            isr: 0,
            offered,
            negotiated: 0,
            config_seen: false,
            live: false,
            pending_queues: 0,
            pending_hosts,
            kick: false,
        };
        if options.latitudes.has(Latitude::LiveAtArrival) {
            core.as_firmware_left_it();
        }
        Ok(core)
    }

    /// Some driver has used the device before and left it as it was: live, with interrupts that
    /// nobody has seen. Only that firmware lets interrupts through nowhere.
    fn as_firmware_left_it(&mut self) {
        self.status =
            status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
        self.driver_features = self.offered;
        if let Some(queue) = self.registers.first_mut() {
            queue.enabled = true;
        }
        self.queue_select = 1;
        self.isr = 0b11;
        let command = command::MEMORY_SPACE | command::BUS_MASTER | command::INTERRUPT_DISABLE;
        self.config.put(register::COMMAND, &command.to_le_bytes());
        self.update_pin();
    }

    pub(super) fn take_kick(&mut self) -> bool {
        std::mem::take(&mut self.kick)
    }

    pub(super) fn tallies(&self) -> Option<Tallies> {
        self.witness.tallies()
    }

    pub(super) fn decoded(&self) -> Vec<Decoded> {
        self.config.decoded()
    }

    pub(super) fn offered(&self) -> u64 {
        self.offered
    }

    // ---- Device status (§2.1)

    /// The driver writes `device_status`.
    pub(super) fn write_status(&mut self, to: u8) {
        let from = self.status;
        self.witness.see(&Event::StatusWritten { from, to });
        // §4.1.4.3.1: writing 0 asks for a reset.
        if to == 0 {
            self.reset();
            return;
        }
        // Bits that are set stay set until a reset. DEVICE_NEEDS_RESET is the device's, and the
        // reserved bits are nobody's.
        let new = to & status::DRIVERS & !from;
        self.status |= new & !status::FEATURES_OK;
        if new & status::FEATURES_OK != 0 {
            self.decide_features();
        }
        if new & status::DRIVER_OK != 0 {
            self.go_live();
        }
    }

    /// §2.2.2: the device accepts what it can work with, else FEATURES_OK does not stay.
    fn decide_features(&mut self) {
        let accepted = self.driver_features;
        // §2.2.1 binds the driver to what was offered, and to whole sets. §6.2: without VERSION_1
        // there is no use of a device that knows nothing else.
        let kept = accepted & !self.offered == 0
            && accepted & features::VERSION_1 != 0
            && features::unmet(self.id.kind, accepted) == 0
            && self.plan.accepts(self.offered, accepted)
            && self.device.accepts(accepted);
        if kept {
            self.status |= status::FEATURES_OK;
            self.negotiated = accepted;
        }
        self.witness.see(&Event::FeaturesDecided {
            offered: self.offered,
            accepted,
            kept,
        });
        if kept {
            self.device.negotiated(accepted);
        }
    }

    /// DRIVER_OK has been set.
    fn go_live(&mut self) {
        if self.status & status::DEVICE_NEEDS_RESET != 0 {
            return;
        }
        if self.status & status::FEATURES_OK == 0 {
            // Nothing was negotiated, so nothing can be understood.
            self.need_reset();
            return;
        }
        self.live = true;
        self.plan.went_live();
        self.served_in_life = 0;
        for index in 0..self.registers.len() {
            self.open_queue(index);
        }
        if !self.live {
            return;
        }
        self.call(|device, io| device.activate(io));
        // What is available already, or came from the host before, is looked at once.
        self.pending_hosts.fill(true);
        self.kick = true;
    }

    /// Makes an enabled queue of a live device usable.
    pub(super) fn open_queue(&mut self, index: usize) {
        let (Some(registers), Some(queue)) =
            (self.registers.get(index), self.queues.get_mut(index))
        else {
            return;
        };
        if !self.live || !registers.enabled {
            return;
        }
        *queue = Queue::new(
            &QueueConfig {
                index: index as u16,
                size: registers.size,
                desc: registers.desc,
                avail: registers.avail,
                used: registers.used,
                event_idx: self.negotiated & features::RING_EVENT_IDX != 0,
            },
            &self.ram,
        )
        .map(|queue| queue.with_habits(self.plan.habits(index)));
        if queue.is_some() {
            self.pending_queues |= 1 << index;
            self.kick = true;
        } else {
            // Its rings are not in memory, or nowhere a ring can be.
            self.need_reset();
        }
    }

    /// §2.1.2: the device is in an error state that only a reset ends.
    fn need_reset(&mut self) {
        if self.status & status::DEVICE_NEEDS_RESET != 0 {
            return;
        }
        self.status |= status::DEVICE_NEEDS_RESET;
        // §2.4.7.2: used buffers that the driver sees are told of, however late.
        for index in 0..self.queues.len() {
            if self.queues[index]
                .as_ref()
                .is_some_and(Queue::owes_interrupt)
            {
                self.interrupt_queue(index);
            }
        }
        self.close_queues();
        self.witness.see(&Event::NeedsReset);
        // §2.1.2: the driver is told if DRIVER_OK is set.
        self.interrupt_config();
    }

    fn close_queues(&mut self) {
        self.live = false;
        self.queues.fill_with(|| None);
        self.pending_queues = 0;
    }

    /// §2.1.2, §4.1.4.3.1: when this returns, the device is as fresh.
    fn reset(&mut self) {
        let before = self.device.config().to_vec();
        self.plan.end_life();
        self.device.reset();
        self.close_queues();
        self.negotiated = 0;
        self.device_feature_select = 0;
        self.driver_feature_select = 0;
        self.driver_features = 0;
        self.queue_select = 0;
        // §4.1.5.1.2.1: all events are unmapped.
        self.msix_config = NO_VECTOR;
        // §4.1.4.3.1: no queue is enabled, and queue_size is what the device supports.
        self.registers.clear();
        let sizes = self.plan.queue_sizes(self.device.queue_sizes());
        let sizes = sizes.into_iter().take(self.queues.len());
        self.registers.extend(sizes.map(QueueRegisters::fresh));
        self.isr = 0;
        if let Some(msix) = &mut self.msix {
            msix.clear_pending();
        }
        self.update_pin();
        self.note_config_change(&before);
        self.resetting = self.plan.slow_reset();
        // What was reset before has nothing to do.
        if self.resetting == 0 || self.status == 0 {
            self.finish_reset();
        }
    }

    /// §4.1.4.3.1: a 0 in device_status once the reset is done.
    fn finish_reset(&mut self) {
        self.resetting = 0;
        self.status = 0;
        self.witness.see(&Event::ResetDone);
    }

    /// The driver reads `device_status`: a slow reset takes a number of reads.
    pub(super) fn status_is_read(&mut self) {
        if self.resetting != 0 {
            self.resetting -= 1;
            if self.resetting == 0 {
                self.finish_reset();
            }
        }
    }

    /// A driver that writes to a device whose reset is not complete finds it complete then.
    pub(super) fn cut_reset_short(&mut self) {
        if self.resetting != 0 {
            self.finish_reset();
        }
    }

    // ---- Work

    /// Calls the device and does what it wants done.
    pub(super) fn call<R>(&mut self, f: impl FnOnce(&mut D, &mut Io<'_, W>) -> R) -> R {
        let mut signals = Signals::default();
        let mut io = Io {
            ram: &self.ram,
            queues: &mut self.queues,
            witness: &mut self.witness,
            signals: &mut signals,
        };
        let result = f(&mut self.device, &mut io);
        self.deliver(signals);
        if self.plan.settles() && self.queues.iter().flatten().any(Queue::is_unsettled) {
            self.kick = true;
        }
        result
    }

    fn deliver(&mut self, signals: Signals) {
        let mut queues = if self.live { signals.queues } else { 0 };
        while queues != 0 {
            self.interrupt_queue(queues.trailing_zeros() as usize);
            queues &= queues - 1;
        }
        if signals.config_changed {
            self.move_generation();
            self.witness.see(&Event::ConfigChanged {
                generation: self.config_generation,
            });
            self.interrupt_config();
        }
        if signals.needs_reset {
            self.need_reset();
        }
    }

    /// The driver has notified `queue`, which exists.
    pub(super) fn notified(&mut self, queue: u16) {
        // §2.1.2: nothing is consumed before DRIVER_OK. §2.4.9.2: spurious ones do no harm.
        let live = matches!(self.queues.get(usize::from(queue)), Some(Some(_)));
        let bit = 1u64.checked_shl(queue.into()).unwrap_or(0);
        if live && self.pending_queues & bit == 0 {
            self.pending_queues |= bit;
            self.kick = true;
        }
        if W::JUDGING
            && !self.is_held()
            && let Some(Some(queue)) = self.queues.get_mut(usize::from(queue))
        {
            queue.tell_notified(&mut self.witness);
        }
    }

    /// Time has passed: looks for what should have been notified of.
    fn tick(&mut self) {
        if W::JUDGING && !self.is_held() {
            for queue in self.queues.iter_mut().flatten() {
                queue.tick(&mut self.witness);
            }
        }
    }

    /// Works once on all that waits.
    pub(super) fn service(&mut self, wake: Wake) -> Progress {
        if let Wake::Host(index) = wake
            && let Some(pending) = self.pending_hosts.get_mut(index)
        {
            *pending = true;
        }
        if wake == Wake::Tick {
            self.tick();
            if self.live && !self.is_held() {
                self.call(|device, io| device.tick(io));
            }
            return Progress::Done;
        }
        if self.is_held() {
            return Progress::Done;
        }
        if self.latitudes.has(Latitude::UnaskedLooks) {
            for (index, _) in (0..).zip(&self.queues).filter(|(_, queue)| queue.is_some()) {
                self.pending_queues |= 1 << index;
            }
        }
        let mut queues = std::mem::take(&mut self.pending_queues);
        while queues != 0 {
            let index = queues.trailing_zeros() as u16;
            queues &= queues - 1;
            let known = usize::from(index) < self.device.queue_sizes().len();
            if self.live
                && known
                && self.call(|device, io| device.notified(index, io)) == Progress::More
            {
                self.note_more(index);
            }
            self.now_and_then(index);
        }
        for index in 0..self.pending_hosts.len() {
            if std::mem::take(&mut self.pending_hosts[index])
                && self.call(|device, io| device.host_ready(index, io)) == Progress::More
            {
                self.pending_hosts[index] = true;
            }
        }
        let later = self.plan.settles() && self.settle();
        if later || self.pending_queues != 0 || self.pending_hosts.contains(&true) {
            Progress::More
        } else {
            Progress::Done
        }
    }

    /// Shows the driver what was held back, when the time has come. Gives whether there is more to
    /// show later.
    fn settle(&mut self) -> bool {
        let mut later = false;
        for index in 0..self.queues.len() {
            if let Some(queue) = &mut self.queues[index] {
                let settled = queue.settle();
                later |= settled.later;
                if settled.reordered {
                    self.witness.see(&Event::MadeUse(Latitude::OutOfOrder));
                }
                if settled.several && self.latitudes.has(Latitude::Bursts) {
                    self.witness.see(&Event::MadeUse(Latitude::Bursts));
                }
                if settled.several && self.latitudes.has(Latitude::WholeQueue) {
                    self.witness.see(&Event::MadeUse(Latitude::WholeQueue));
                }
                if settled.late {
                    self.witness.see(&Event::MadeUse(Latitude::LateInterrupts));
                }
                if settled.interrupt {
                    self.interrupt_queue(index);
                }
            }
        }
        later
    }

    /// Interrupts that the specification has drivers cope with (§2.4.7.1, §4.1.5.4.2).
    fn now_and_then(&mut self, queue: u16) {
        if !self.live {
            return;
        }
        self.served = self.served.wrapping_add(1);
        self.served_in_life = self.served_in_life.wrapping_add(1);
        if self.plan.needs_reset_after() == Some(self.served_in_life) {
            self.need_reset();
            return;
        }
        if !self.served.is_multiple_of(NOW_AND_THEN) {
            return;
        }
        if self.latitudes.has(Latitude::SharedInterrupts) {
            self.interrupt_both(usize::from(queue));
        }
        if self.latitudes.has(Latitude::SpuriousInterrupts) {
            self.witness.see(&Event::SpuriousInterrupt);
            self.interrupt_queue(usize::from(queue));
        }
    }

    fn note_more(&mut self, queue: u16) {
        if self.live {
            self.pending_queues |= 1 << queue;
        }
    }

    /// A live device may not touch memory until it may be bus master; what waits goes on waiting.
    pub(super) fn is_held(&self) -> bool {
        self.live && !self.config.bus_master()
    }

    // ---- Device-specific configuration (§2.3, §4.1.4.6)

    /// The driver reads device-specific configuration. §2.3.2: at any time. §4.1.3.2: any part of a
    /// field.
    pub(super) fn read_device_config(&mut self, offset: u32, data: &mut [u8]) {
        let from = self
            .device
            .config()
            .get(offset as usize..)
            .unwrap_or_default();
        for (byte, value) in data.iter_mut().zip(from) {
            *byte = *value;
        }
        self.config_seen = true;
        if std::mem::take(&mut self.about_to_change) {
            self.change_under_way(offset, data);
        }
    }

    /// The driver reads `config_generation`.
    pub(super) fn generation_is_read(&mut self) {
        self.generation_reads = self.generation_reads.wrapping_add(1);
        self.about_to_change = self.plan.unsettles(self.generation_reads);
    }

    /// The configuration has changed just after this was read (§2.3.1): the generation moves on, and
    /// the capacity of a disk was another.
    fn change_under_way(&mut self, offset: u32, data: &mut [u8]) {
        if self.id.kind == DeviceKind::Block
            && offset == 0
            && let Ok(low) = <&mut [u8; 4]>::try_from(data)
        {
            let before = u32::from_le_bytes(*low).saturating_sub(8);
            *low = before.to_le_bytes();
        }
        self.move_generation();
        self.witness.see(&Event::ChangedUnderWay);
    }

    /// The driver writes device-specific configuration.
    pub(super) fn write_device_config(&mut self, offset: u32, data: &[u8]) {
        let before = self.device.config().to_vec();
        let room = before.len().saturating_sub(offset as usize);
        let data = &data[..data.len().min(room)];
        if !data.is_empty() {
            self.call(|device, io| device.write_config(offset, data, io));
            self.note_config_change(&before);
        }
    }

    fn note_config_change(&mut self, before: &[u8]) {
        if self.device.config() != before {
            self.move_generation();
        }
    }

    /// §4.1.4.3.1: config_generation differs after the driver has read a value that changed since it
    /// last read any. It moves only if the driver has read since it moved last: what nobody saw
    /// needs no other number, and the eight bits do not wrap within one reading.
    fn move_generation(&mut self) {
        if std::mem::take(&mut self.config_seen) {
            self.config_generation = self.config_generation.wrapping_add(1);
        }
    }

    // ---- For those who judge

    /// `flags` and `idx` of the used ring as they lie in memory; the device reads them only if it may
    /// read memory at all.
    pub(super) fn used_header(&self, registers: &QueueRegisters) -> Option<[u16; 2]> {
        if !self.config.bus_master() {
            return None;
        }
        let mut header = [0; 4];
        let slice = self.ram.slice(registers.used, header.len())?;
        slice.copy_to(&mut header);
        let [a, b, c, d] = header;
        Some([u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])])
    }

    pub(super) fn in_memory(&self, registers: &QueueRegisters) -> bool {
        registers.in_memory(&self.ram)
    }
}
