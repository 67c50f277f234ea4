//! The state of a virtio device on any transport: status, features, virtqueues, configuration, and the
//! work that waits (§2, §3 of virtio 1.0).
//!
//! A transport drives the core through its [registers](CoreRegister) and the methods of [`Core`]; the
//! core talks to its transport through [`Transport`]. Neither the core nor the device types know
//! which transport that is.
//!
//! * `registers`: what the driver reads and writes, on whatever transport.
//! * `queues`: virtqueues, from the registers that describe them to the live queue.
//! * `configuration`: the device-specific configuration and its generation (§2.3).
//! * `clock`: what it does by the clock.
//! * `work`: notifications, host file descriptors, and what the device does with them.
//! * `latitude`: what latitudes make of all this.

mod clock;
mod configuration;
mod latitude;
mod queues;
mod registers;
#[cfg(test)]
mod tests;
mod work;

use std::io;
use std::os::fd::RawFd;

use stickler_conformance::Tallies;
use stickler_conformance::event::{FeatureEvent, LatitudeEvent, PciEvent, StatusEvent};
use stickler_conformance::features::FeatureLimits;
use stickler_conformance::layout::status;
use stickler_conformance::{DeviceId, Event, Latitude, Latitudes, Witness, features};

use crate::memory::GuestRam;
use crate::virtio::queue::Queue;
use crate::virtio::{DeviceFeatures, VirtioDevice};

use clock::DeviceClock;
use configuration::{ConfigurationState, ToldConfigurations};
use latitude::CoreLatitudes;
use queues::QueueRegisters;
pub(crate) use registers::CoreRegister;
use work::PendingWork;

/// The most virtqueues that a device has here.
pub(crate) const MAX_QUEUES: usize = 64;

/// What the core needs of the transport that the device is on.
pub trait Transport: Send {
    /// Notifies the driver (§2.4.7, §2.3).
    fn interrupt(&mut self, cause: Interrupt);

    /// Whether the device may access guest memory at present. While it may not, a live device does no
    /// work.
    fn may_access_memory(&self) -> bool;

    /// What there is to tell of the driver at the end of the run.
    fn end_of_run(&self) -> Option<PciEvent> {
        None
    }

    /// The driver has reset the device: everything that the transport keeps for the driver is again
    /// as it was at first, except what the transport itself says survives a reset.
    fn reset(&mut self);
}

/// What an interrupt notifies the driver of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Used buffers in this queue.
    Queue(u16),
    /// A change of the configuration, or of DEVICE_NEEDS_RESET.
    Configuration,
    /// Both at once, by one interrupt if the transport can do so: used buffers in this queue, and a
    /// change of the configuration.
    QueueAndConfiguration(u16),
}

/// A virtio device without its transport.
pub(crate) struct Core<D, W> {
    pub(crate) id: DeviceId,
    ram: GuestRam,
    device: D,
    pub(crate) witness: W,
    latitudes: CoreLatitudes,
    status: u8,
    /// How many more times status is read as it was before the reset that was asked for.
    slow_reset_reads: u32,
    /// The reset that was asked for is not complete: the host may still use buffers.
    reset_waits: bool,
    features: FeatureState,
    configuration: ConfigurationState,
    told: ToldConfigurations,
    queue_select: u16,
    queue_registers: Vec<QueueRegisters>,
    /// Queues may be used: DRIVER_OK is set, features were negotiated and no reset is needed.
    live: bool,
    /// The live queues, by index.
    queues: Vec<Option<Queue>>,
    work: PendingWork,
    clock: DeviceClock,
}

/// Feature bits: what is offered, what the driver has written, what both agreed on.
#[derive(Clone, Copy, Debug)]
struct FeatureState {
    offered: u64,
    device_select: u32,
    driver_select: u32,
    /// What the driver has written, of the 64 bits that are defined.
    driver: u64,
    /// The features in use, from FEATURES_OK on.
    negotiated: u64,
    /// The features that were in use last, before any reset.
    last: Option<u64>,
}

impl<D: VirtioDevice<W>, W: Witness> Core<D, W> {
    /// A device fresh from reset. `witness` is given the device's identity and all feature bits it
    /// offers.
    pub(crate) fn new(
        mut device: D,
        id: DeviceId,
        ram: GuestRam,
        latitudes: Latitudes,
        limits: FeatureLimits,
        witness: impl FnOnce(DeviceId, u64) -> W,
    ) -> io::Result<Self> {
        device.set_latitudes(latitudes, id.slot);
        let mut core_latitudes = CoreLatitudes::new(latitudes, id);
        // §6.2: VERSION_1 is offered. §2.2.2: what the device type offers is complete in itself.
        let all = device.features()
            | features::VERSION_1
            | features::RING_INDIRECT_DESC
            | features::RING_EVENT_IDX;
        let offered = core_latitudes.offered(limits.apply(id.kind, all));
        device.offer(offered);
        let sizes = device.queue_sizes();
        if sizes.len() > MAX_QUEUES {
            return Err(io::Error::other(format!(
                "{} virtqueues are more than the {MAX_QUEUES} that are supported",
                sizes.len()
            )));
        }
        let queue_registers: Vec<_> = core_latitudes
            .queue_sizes(sizes, device.small_queue_sizes())
            .into_iter()
            .map(QueueRegisters::fresh)
            .collect();
        let mut witness = witness(id, offered);
        for latitude in latitudes.iter() {
            witness.see(&LatitudeEvent::InUse(latitude).into());
        }
        let work = PendingWork::new(device.host_fds().len());
        let clock = DeviceClock::new(latitudes, id.slot, core_latitudes.doorbells());
        let mut core = Core {
            id,
            ram,
            device,
            witness,
            latitudes: core_latitudes,
            status: 0,
            slow_reset_reads: 0,
            reset_waits: false,
            features: FeatureState {
                offered,
                device_select: 0,
                driver_select: 0,
                driver: 0,
                negotiated: 0,
                last: None,
            },
            configuration: ConfigurationState::default(),
            told: ToldConfigurations::default(),
            queue_select: 0,
            queues: queue_registers.iter().map(|_| None).collect(),
            queue_registers,
            live: false,
            work,
            clock,
        };
        if latitudes.has(Latitude::LIVE_AT_ARRIVAL) {
            core.as_firmware_left_it();
        }
        Ok(core)
    }

    /// Firmware has used the device and left it as it was: live by its status, with a queue enabled.
    fn as_firmware_left_it(&mut self) {
        self.status =
            status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
        self.features.driver = self.features.offered;
        if let Some(queue) = self.queue_registers.first_mut() {
            queue.enabled = true;
        }
        self.queue_select = 1;
    }

    pub(crate) fn host_fds(&self) -> Vec<RawFd> {
        self.device.host_fds()
    }

    pub(crate) fn run_ended(&mut self, by_guest: bool, transport: &dyn Transport) {
        self.look_once_more(transport);
        if let Some(event) = transport.end_of_run() {
            self.witness.see(&event.into());
        }
        self.witness.see(&StatusEvent::RunEnded { by_guest }.into());
    }

    pub(crate) fn is_live(&self) -> bool {
        self.latitudes.is_living()
    }

    pub(crate) fn was_taken(&self) -> bool {
        self.latitudes.has_lived()
    }

    /// What the device offers, and what its driver has accepted last.
    pub(crate) fn features(&self) -> DeviceFeatures {
        DeviceFeatures {
            offered: self.features.offered,
            accepted: self.features.last,
        }
    }

    /// What the configuration contained while the device was live, each content once; `None` if there were too
    /// many.
    pub(crate) fn configurations(&self) -> Option<Vec<Vec<u8>>> {
        self.told.all().map(<[_]>::to_vec)
    }

    pub(crate) fn tallies(&self) -> Option<Tallies> {
        self.witness.tallies()
    }

    /// How many times a driver has set DRIVER_OK and reset the device afterwards.
    pub(crate) fn lives(&self) -> u64 {
        self.latitudes.lives()
    }

    // ---- Device status (§2.1)

    /// The driver writes the status.
    fn write_status(&mut self, to: u8, transport: &mut dyn Transport) {
        if !self.reset_waits && self.slow_reset_reads == 0 || to == 0 {
            self.take_status(to, transport);
            return;
        }
        if self.reset_waits {
            // Nothing can make the host faster: what is written meanwhile has no effect.
            self.witness
                .see(&StatusEvent::WrittenDuringReset { to }.into());
            return;
        }
        // §4.1.4.3.2: a driver waits before it initializes the device. One that does not is too early, and
        // its write takes effect when the reset is complete, so that the driver can continue. What it
        // has only read, and writes back, is not what it has come to.
        const FIRST_STEPS: u8 = status::ACKNOWLEDGE | status::DRIVER;
        let stale = self.status & !FIRST_STEPS;
        self.witness
            .see(&StatusEvent::WrittenDuringReset { to }.into());
        self.finish_reset();
        if to & !stale != 0 {
            self.take_status(to & !stale, transport);
        }
    }

    /// The status is written, and not while a reset is on its way.
    fn take_status(&mut self, to: u8, transport: &mut dyn Transport) {
        let from = self.status;
        if to == 0 {
            self.look_once_more(transport);
        }
        self.witness.see(&StatusEvent::Written { from, to }.into());
        // §4.1.4.3.1: writing 0 asks for a reset.
        if to == 0 {
            self.reset(transport);
            return;
        }
        // Bits that are set stay set until a reset. DEVICE_NEEDS_RESET is the device's bit, and the
        // reserved bits are unassigned.
        let new = to & status::DRIVERS & !from;
        self.status |= new & !status::FEATURES_OK;
        if new & status::FEATURES_OK != 0 {
            self.decide_features();
        }
        if new & status::DRIVER_OK != 0 {
            self.go_live(transport);
        }
    }

    /// §2.2.2: the device accepts features that it can work with, else FEATURES_OK does not stay set.
    fn decide_features(&mut self) {
        let (offered, accepted) = (self.features.offered, self.features.driver);
        // §2.2.1 binds the driver to what was offered, and to whole sets. §6.2 lets a device refuse a driver
        // that does not accept VERSION_1; a refusal would hide what else is wrong with that driver.
        let kept = accepted & !offered == 0
            && features::unmet(self.id.kind, accepted) == 0
            && self.latitudes.accepts(offered, accepted)
            && self.device.accepts(accepted);
        if kept {
            self.status |= status::FEATURES_OK;
            self.features.negotiated = accepted;
            self.features.last = Some(accepted);
        }
        self.witness.see(
            &FeatureEvent::Decided {
                offered,
                accepted,
                kept,
            }
            .into(),
        );
        if kept {
            self.device.negotiated(accepted);
        }
    }

    /// DRIVER_OK has been set.
    fn go_live(&mut self, transport: &mut dyn Transport) {
        if self.status & status::DEVICE_NEEDS_RESET != 0 {
            return;
        }
        if self.status & status::FEATURES_OK == 0 {
            // Nothing was negotiated, so the device does not know what the driver means.
            self.need_reset(transport);
            return;
        }
        self.live = true;
        self.note_configuration();
        self.latitudes.went_live();
        self.work.went_live();
        for index in 0..self.queue_registers.len() {
            self.open_queue(index, transport);
        }
        if !self.live {
            return;
        }
        self.call(transport, |device, io| device.activate(io));
        // What is available already, or came from the host before, is looked at once.
        self.work.hosts.fill(true);
        self.work.kick = true;
    }

    /// §2.1.2: the device is in an error state that only a reset ends.
    fn need_reset(&mut self, transport: &mut dyn Transport) {
        if self.status & status::DEVICE_NEEDS_RESET != 0 {
            return;
        }
        self.status |= status::DEVICE_NEEDS_RESET;
        // §2.4.7.2: the driver is notified of used buffers that it can see, however late.
        for (index, queue) in (0..).zip(&self.queues) {
            if queue.as_ref().is_some_and(Queue::owes_interrupt) {
                transport.interrupt(Interrupt::Queue(index));
            }
        }
        self.close_queues();
        self.witness.see(&StatusEvent::NeedsReset.into());
        // §2.1.2: the driver is notified if DRIVER_OK is set.
        self.interrupt_configuration(transport);
    }

    fn interrupt_configuration(&self, transport: &mut dyn Transport) {
        // §2.1.2: nothing is sent before DRIVER_OK.
        if self.status & status::DRIVER_OK != 0 {
            transport.interrupt(Interrupt::Configuration);
        }
    }

    /// The guest's memory has changed. Live queues go on where their rings are; a device whose rings are
    /// gone needs a reset. When this returns, nothing here refers to memory that is not in `ram`.
    pub(crate) fn memory_changed(&mut self, ram: GuestRam, transport: &mut dyn Transport) {
        self.ram = ram;
        let mut lost = false;
        for queue in self.queues.iter_mut().flatten() {
            lost |= !queue.remap(&self.ram);
        }
        if lost {
            self.need_reset(transport);
        }
    }

    // ---- Reset (§2.1, §4.1.4.3.1)

    /// The device was reset from outside, by whatever it is part of. There is no driver who waits for the end of
    /// it, and none who asked for it.
    pub(crate) fn outside_reset(&mut self) {
        self.witness.see(&Event::OutsideReset);
        self.clear();
        self.slow_reset_reads = 0;
        if self.reset_waits {
            return;
        }
        self.status = 0;
        if self.latitudes.has(Latitude::LIVE_AT_ARRIVAL) {
            self.as_firmware_left_it();
        }
    }

    /// When this returns, the device is fresh, except that a slow reset may still show the old status, and so does
    /// one that waits for the host: so
    /// other registers that are written meanwhile are those of the fresh device. Only reads of status
    /// complete it, and a write that sets bits of status. Writing 0 again does not make it longer.
    fn reset(&mut self, transport: &mut dyn Transport) {
        let before = self.device.config().to_vec();
        self.clear();
        transport.reset();
        self.note_configuration_change(&before);
        let slow = self.latitudes.slow_reset();
        if self.slow_reset_reads == 0 {
            self.slow_reset_reads = slow;
        }
        // A device that was reset before has nothing to do.
        if !self.reset_waits && (self.slow_reset_reads == 0 || self.status == 0) {
            self.finish_reset();
        }
    }

    /// The host may have let go of the last buffer.
    pub(super) fn reset_may_be_complete(&mut self) {
        if self.reset_waits && !self.device.is_resetting() {
            self.reset_waits = false;
            if self.slow_reset_reads == 0 {
                self.finish_reset();
            }
        }
    }

    /// Takes everything back to how it was at first. Every field is named, so that a new one is not
    /// forgotten.
    fn clear(&mut self) {
        let Core {
            // What the device is does not change.
            id: _,
            ram: _,
            witness: _,
            device,
            latitudes,
            // The driver sees the old status until the reset is complete.
            status: _,
            slow_reset_reads: _,
            reset_waits,
            features:
                FeatureState {
                    offered: _,
                    device_select,
                    driver_select,
                    driver,
                    negotiated,
                    // For reports.
                    last: _,
                },
            configuration,
            // Whatever life it was told in, somebody can ask for it at the end.
            told: _,
            queue_select,
            queue_registers,
            live,
            queues,
            work,
            clock,
        } = self;
        latitudes.end_life();
        device.reset();
        *reset_waits = device.is_resetting();
        configuration.reset();
        *device_select = 0;
        *driver_select = 0;
        *driver = 0;
        *negotiated = 0;
        *queue_select = 0;
        // §4.1.4.3.1: no queue is enabled, and queue_size is what the device supports.
        queue_registers.clear();
        let sizes = latitudes.queue_sizes(device.queue_sizes(), device.small_queue_sizes());
        let sizes = sizes.into_iter().take(queues.len());
        queue_registers.extend(sizes.map(QueueRegisters::fresh));
        *live = false;
        queues.fill_with(|| None);
        work.forget_queues();
        clock.forget_queues();
    }

    /// §4.1.4.3.1: status reads 0 once the reset is complete.
    fn finish_reset(&mut self) {
        self.slow_reset_reads = 0;
        self.status = 0;
        self.witness.see(&StatusEvent::ResetDone.into());
    }

    /// The driver reads the status: a slow reset takes a number of reads.
    fn count_status_read(&mut self) {
        if self.slow_reset_reads != 0 {
            self.slow_reset_reads -= 1;
            if self.slow_reset_reads == 0 && !self.reset_waits {
                self.finish_reset();
            }
        }
    }
}
