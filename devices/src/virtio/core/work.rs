//! The work of a device: what waits for it, and what the driver learns of it afterwards.
//!
//! Citations are of virtio 1.0.

use stickler_conformance::event::{ClockEvent, LatitudeEvent, Moment, NotificationEvent};
use stickler_conformance::{Latitude, Witness};

use super::{Core, Interrupt, Transport};
use crate::virtio::delays::Delay;
use crate::virtio::queue::Queue;
use crate::virtio::{Io, Progress, Signals, VirtioDevice, Wake};

/// Spurious and shared interrupts come once in so many times that a queue is served.
const SERVICES_BETWEEN_INTERRUPTS: u32 = 16;

/// What waits for the device.
#[derive(Clone, Debug)]
pub(super) struct PendingWork {
    /// Queues that were notified, a bit each.
    pub(super) queues: u64,
    /// Host file descriptors that may have become readable, by index.
    pub(super) hosts: Vec<bool>,
    /// The worker has to be woken.
    pub(super) kick: bool,
    /// Notified queues that have been served.
    served: u32,
    /// … since the device went live.
    served_in_life: u32,
}

impl PendingWork {
    pub(super) fn new(hosts: usize) -> Self {
        PendingWork {
            queues: 0,
            hosts: vec![false; hosts],
            kick: false,
            served: 0,
            served_in_life: 0,
        }
    }

    pub(super) fn went_live(&mut self) {
        self.served_in_life = 0;
    }

    /// There are no queues any more that could be served. What the host has still waits.
    pub(super) fn forget_queues(&mut self) {
        self.queues = 0;
    }

    fn is_empty(&self) -> bool {
        self.queues == 0 && !self.hosts.contains(&true)
    }
}

impl<D: VirtioDevice<W>, W: Witness> Core<D, W> {
    /// Returns whether the worker has to be woken, once for each time.
    pub(crate) fn take_kick(&mut self) -> bool {
        std::mem::take(&mut self.work.kick)
    }

    /// Calls the device and does what it wants done.
    pub(super) fn call<R>(
        &mut self,
        transport: &mut dyn Transport,
        f: impl FnOnce(&mut D, &mut Io<'_, W>) -> R,
    ) -> R {
        let mut signals = Signals::default();
        let mut io = Io {
            ram: &self.ram,
            queues: &mut self.queues,
            witness: &mut self.witness,
            signals: &mut signals,
        };
        let result = f(&mut self.device, &mut io);
        self.deliver(signals, transport);
        if self.latitudes.settles() && self.queues.iter().flatten().any(Queue::is_unsettled) {
            self.work.kick = true;
        }
        result
    }

    fn deliver(&mut self, signals: Signals, transport: &mut dyn Transport) {
        let mut queues = if self.live { signals.queues } else { 0 };
        while queues != 0 {
            transport.interrupt(Interrupt::Queue(queues.trailing_zeros() as u16));
            queues &= queues - 1;
        }
        if signals.config_changed {
            self.configuration_changed(transport);
        }
        if signals.needs_reset {
            self.need_reset(transport);
        }
    }

    /// The driver writes an available buffer notification (§4.1.5.2): `width` bytes with this
    /// `value`, by which it means `queue`, if that is any.
    pub(crate) fn notify(
        &mut self,
        queue: Option<u32>,
        value: u32,
        width: u8,
        transport: &dyn Transport,
    ) {
        let queue = queue.and_then(|index| {
            let index = u16::try_from(index).ok()?;
            Some((index, self.is_enabled(index)?))
        });
        self.witness.see(
            &NotificationEvent::Sent {
                queue: queue.map(|(index, _)| index),
                value,
                width,
                enabled: queue.is_some_and(|(_, enabled)| enabled),
            }
            .into(),
        );
        if let Some((index, true)) = queue {
            self.notified(index, transport);
        }
    }

    /// The driver has notified `queue`, which exists and is enabled.
    fn notified(&mut self, queue: u16, transport: &dyn Transport) {
        // §2.1.2: nothing is consumed before DRIVER_OK. §2.4.9.2: spurious ones do no harm.
        let paused = self.is_paused(transport);
        let Some(Some(live)) = self.queues.get_mut(usize::from(queue)) else {
            return;
        };
        let bit = 1u64.checked_shl(queue.into()).unwrap_or(0);
        if self.work.queues & bit == 0 && self.clock.hears(queue) {
            self.work.queues |= bit;
            self.work.kick = true;
        }
        if paused {
            live.notified_in_pause();
        } else {
            live.notified(&mut self.witness);
        }
    }

    /// Tells what the driver has done to `queue`, if it is live.
    fn observe(&mut self, queue: u16, moment: Moment) {
        if let Some(Some(queue)) = self.queues.get_mut(usize::from(queue)) {
            queue.observe(moment, &self.ram, &mut self.witness);
        }
    }

    /// The driver is about to reset the device, or the run has ended: looks at the queues once more.
    pub(super) fn look_once_more(&mut self, transport: &dyn Transport) {
        if W::JUDGING && transport.may_access_memory() {
            for queue in self.queues.iter_mut().flatten() {
                queue.observe_last(&self.ram, &mut self.witness);
            }
        }
    }

    /// Whether the device is live and may not access memory: its work waits.
    pub(super) fn is_paused(&self, transport: &dyn Transport) -> bool {
        self.live && !transport.may_access_memory()
    }

    /// The transport may have allowed the device to access memory.
    pub(crate) fn memory_access_changed(&mut self, transport: &dyn Transport) {
        if !self.work.is_empty() && !self.is_paused(transport) {
            self.work.kick = true;
        }
    }

    /// Does a bounded amount of the work that waits.
    pub(crate) fn service(&mut self, wake: Wake, transport: &mut dyn Transport) -> Progress {
        if let Wake::Host(index) = wake
            && let Some(pending) = self.work.hosts.get_mut(index)
        {
            *pending = true;
        }
        if let Wake::Elapsed(elapsed) = wake {
            self.pass_time(elapsed);
            return Progress::Done;
        }
        if self.is_paused(transport) {
            return Progress::Done;
        }
        if wake == Wake::Tick {
            self.reset_may_be_complete();
            self.tick(transport);
            return Progress::Done;
        }
        if self.latitudes.has(Latitude::UNASKED_LOOKS) {
            for (index, _) in (0..).zip(&self.queues).filter(|(_, queue)| queue.is_some()) {
                self.work.queues |= 1 << index;
            }
        }
        let mut queues = std::mem::take(&mut self.work.queues);
        while queues != 0 {
            let index = queues.trailing_zeros() as u16;
            queues &= queues - 1;
            let known = usize::from(index) < self.device.queue_sizes().len();
            if self.live
                && known
                && self.call(transport, |device, io| device.notified(index, io)) == Progress::More
            {
                self.note_more(index);
            }
            self.observe(index, Moment::Notified);
            self.count_service(index, transport);
        }
        for index in 0..self.work.hosts.len() {
            if std::mem::take(&mut self.work.hosts[index])
                && self.call(transport, |device, io| device.host_ready(index, io)) == Progress::More
            {
                self.work.hosts[index] = true;
            }
        }
        self.reset_may_be_complete();
        let mut later = self.latitudes.settles() && self.settle(transport);
        later |= self.storm(transport) == Progress::More;
        // The device may have looked at others than those that were notified.
        for index in 0..self.queue_count() {
            self.observe(index, Moment::Worked);
        }
        if later || !self.work.is_empty() {
            Progress::More
        } else {
            Progress::Done
        }
    }

    /// There is more to do on `queue`, unless the device has needed a reset meanwhile.
    fn note_more(&mut self, queue: u16) {
        if self.live {
            self.work.queues |= 1 << queue;
        }
    }

    /// Time has passed: looks for buffers that the driver should have notified the device of.
    fn tick(&mut self, transport: &mut dyn Transport) {
        // A driver that the device keeps waiting may be late with all that it owes.
        let counts = !self.clock.take_kept_waiting();
        for (index, queue) in (0..).zip(&mut self.queues) {
            if let Some(queue) = queue {
                queue.observe(Moment::Later, &self.ram, &mut self.witness);
                if counts && queue.tick(&mut self.witness) {
                    self.work.queues |= 1 << index;
                    self.work.kick = true;
                }
            }
        }
        if self.live {
            self.call(transport, |device, io| device.tick(io));
        }
        if W::JUDGING && counts {
            self.witness.see(&ClockEvent::Tick.into());
        }
    }

    /// Shows the driver the used buffers that were held back long enough. Returns whether there is more
    /// to show later.
    fn settle(&mut self, transport: &mut dyn Transport) -> bool {
        let mut later = false;
        for (index, queue) in (0..).zip(&mut self.queues) {
            let Some(queue) = queue else {
                continue;
            };
            let settled = queue.settle(&mut self.witness);
            later |= settled.later;
            let made_use = [
                (Latitude::OUT_OF_ORDER, settled.reordered),
                (
                    Latitude::BURSTS,
                    settled.several && self.latitudes.has(Latitude::BURSTS),
                ),
                (
                    Latitude::WHOLE_QUEUE,
                    settled.several && self.latitudes.has(Latitude::WHOLE_QUEUE),
                ),
                (Latitude::LATE_INTERRUPTS, settled.late),
                (
                    Latitude::SLOW_INTERRUPTS,
                    settled.slow.is_some_and(Delay::is_notable),
                ),
            ];
            for (latitude, _) in made_use.iter().filter(|(_, made_use)| *made_use) {
                self.witness.see(&LatitudeEvent::Shown(*latitude).into());
            }
            if settled.identified {
                self.witness
                    .see(&LatitudeEvent::Answered(Latitude::OUT_OF_ORDER).into());
            }
            if settled.interrupt {
                transport.interrupt(Interrupt::Queue(index));
            }
        }
        later
    }

    /// A queue was served. Now and then the device needs a reset or interrupts the driver, which has to
    /// cope with it (§2.1.2, §2.4.7.1, §4.1.5.4.2).
    fn count_service(&mut self, queue: u16, transport: &mut dyn Transport) {
        if !self.live {
            return;
        }
        self.may_begin_storm(queue);
        self.work.served = self.work.served.wrapping_add(1);
        self.work.served_in_life = self.work.served_in_life.wrapping_add(1);
        if self.latitudes.needs_reset_after() == Some(self.work.served_in_life) {
            self.need_reset(transport);
            return;
        }
        if !self.work.served.is_multiple_of(SERVICES_BETWEEN_INTERRUPTS) {
            return;
        }
        if self.latitudes.has(Latitude::SHARED_INTERRUPTS) {
            transport.interrupt(Interrupt::QueueAndConfiguration(queue));
        }
        if self.latitudes.has(Latitude::SPURIOUS_INTERRUPTS) {
            self.witness
                .see(&LatitudeEvent::Shown(Latitude::SPURIOUS_INTERRUPTS).into());
            transport.interrupt(Interrupt::Queue(queue));
        }
    }
}
