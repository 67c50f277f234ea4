//! What a device does by the clock: looks late after a notification, and sends storms of interrupts.
//!
//! Citations are of virtio 1.0.

use std::collections::BTreeMap;
use std::time::Duration;

use stickler_conformance::event::{LatitudeEvent, ShownLatitude, Told};
use stickler_conformance::{Latitude, Latitudes, Witness};

use super::{Core, Interrupt, Transport};
use crate::virtio::call_timer::CallTimer;
use crate::virtio::delays::{Delay, Delays};
use crate::virtio::queue::Queue;
use crate::virtio::{Progress, VirtioDevice};

/// The spurious interrupts of a storm, …
const STORM: u32 = 100_000;
/// … and for how long it goes on at most.
const STORM_TIME: Duration = Duration::from_millis(500);
/// Interrupts that are sent in one share of work.
const STORM_SHARE: u32 = 256;
/// A storm of fewer interrupts, because the host is slow, says nothing of a driver.
const NOTABLE_STORM: u32 = 10_000;
/// Queues are served so many times from one storm to the next, on average, before storms become fewer.
const BETWEEN_STORMS: u64 = 32;

/// The time that has passed for a device, and what waits for it.
pub(super) struct DeviceClock {
    now: Duration,
    /// Some notifications are heard late.
    doorbells: Option<Delays>,
    /// The queues that were notified, and when the device hears of it.
    unheard: BTreeMap<u16, (Duration, Delay)>,
    storms: Option<CallTimer>,
    storm: Option<Storm>,
    /// The device has kept the driver waiting since the last tick.
    kept_waiting: bool,
}

/// Spurious interrupts, one after the other.
#[derive(Clone, Copy, Debug)]
struct Storm {
    queue: u16,
    sent: u32,
    until: Duration,
}

impl DeviceClock {
    pub(super) fn new(latitudes: Latitudes, slot: u8, doorbells: Option<Delays>) -> Self {
        let storm = Latitude::INTERRUPT_STORM;
        DeviceClock {
            now: Duration::ZERO,
            doorbells,
            unheard: BTreeMap::new(),
            storms: CallTimer::new(latitudes, storm, slot, BETWEEN_STORMS),
            storm: None,
            kept_waiting: false,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// There are no queues any more.
    pub(super) fn forget_queues(&mut self) {
        self.unheard.clear();
        self.storm = None;
    }

    /// The driver has notified `queue`. Returns whether the device hears of it now.
    pub(super) fn hears(&mut self, queue: u16) -> bool {
        if self.unheard.contains_key(&queue) {
            return false;
        }
        let Some(delay) = self.doorbells.as_mut().and_then(Delays::next_delay) else {
            return true;
        };
        self.unheard.insert(queue, (self.now + delay.time, delay));
        false
    }

    /// The queues of which the device hears now, and how late that is.
    fn take_heard(&mut self) -> BTreeMap<u16, (Duration, Delay)> {
        let now = self.now;
        let all = std::mem::take(&mut self.unheard);
        let (heard, unheard) = all.into_iter().partition(|(_, (at, _))| *at <= now);
        self.unheard = unheard;
        heard
    }

    /// Whether a second that ends now does not count for what the driver owes.
    pub(super) fn take_kept_waiting(&mut self) -> bool {
        std::mem::take(&mut self.kept_waiting)
    }
}

impl<D: VirtioDevice<W>, W: Witness> Core<D, W> {
    /// Whether anything of the device goes by the clock.
    pub(crate) fn keeps_time(&self) -> bool {
        self.latitudes.takes_time()
    }

    /// So much time has passed. What is due now is work.
    pub(super) fn pass_time(&mut self, elapsed: Duration) {
        let before = self.clock.now;
        let now = before + elapsed;
        self.clock.now = now;
        for queue in self.queues.iter_mut().flatten() {
            queue.set_time(now);
        }
        let waits = |at: Option<Duration>| at.is_some_and(|at| at > before);
        let held = self.queues.iter().flatten().any(|q| waits(q.alarm()));
        let busy = held || !self.clock.unheard.is_empty() || self.clock.storm.is_some();
        self.clock.kept_waiting |= busy;
        for (queue, (_, delay)) in self.clock.take_heard() {
            self.work.queues |= 1 << (queue % 64);
            self.work.kick = true;
            if delay.is_notable() && !self.device.waits_for_host(queue) {
                let shown = ShownLatitude {
                    latitude: delay.latitude,
                    told: Some(Told::Buffer(queue)),
                    next: None,
                };
                self.witness.see(&LatitudeEvent::ShownAt(shown).into());
            }
        }
        self.work.kick |= self.queues.iter().flatten().any(Queue::is_unsettled);
    }

    /// In how long something of the device is due that waits for the clock.
    pub(crate) fn alarm(&self, transport: &dyn Transport) -> Option<Duration> {
        if self.is_paused(transport) {
            return None;
        }
        let queues = self.queues.iter().flatten().filter_map(Queue::alarm);
        let bells = self.clock.unheard.values().map(|(at, _)| *at);
        // What is due already is work that waits.
        let later = queues.chain(bells).filter(|at| *at > self.clock.now);
        later.min().map(|at| at - self.clock.now)
    }

    /// A queue was served: there may be a storm of interrupts now (§2.4.7.1).
    pub(super) fn may_begin_storm(&mut self, queue: u16) {
        let Some(timer) = &mut self.clock.storms else {
            return;
        };
        if self.clock.storm.is_none() && timer.elapses() {
            timer.slow_down();
            self.clock.storm = Some(Storm {
                queue,
                sent: 0,
                until: self.clock.now + STORM_TIME,
            });
        }
    }

    /// Sends a share of the interrupts of a storm, if there is one.
    pub(super) fn storm(&mut self, transport: &mut dyn Transport) -> Progress {
        let Some(storm) = &mut self.clock.storm else {
            return Progress::Done;
        };
        let over = storm.sent >= STORM || self.clock.now >= storm.until || !self.live;
        if over {
            let notable = storm.sent >= NOTABLE_STORM;
            self.clock.storm = None;
            if notable {
                self.witness
                    .see(&LatitudeEvent::Shown(Latitude::INTERRUPT_STORM).into());
            }
            return Progress::Done;
        }
        for _ in 0..STORM_SHARE {
            transport.interrupt(Interrupt::Queue(storm.queue));
        }
        storm.sent += STORM_SHARE;
        Progress::More
    }
}
