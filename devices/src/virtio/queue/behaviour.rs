//! What a device may do with a virtqueue otherwise than it usually does (§2.4.8, §2.4.9 of virtio
//! 1.0): when and in which order the driver sees what was used, and what the device asks about
//! notifications.

use std::time::Duration;

use stickler_conformance::Witness;
use stickler_conformance::event::{Element, LatitudeEvent, ShownLatitude, Told};
use stickler_conformance::latitude::Draw;

use super::{BufferId, Queue, split};
use crate::virtio::delays::{Delay, Delays};

/// The behaviour of one queue where it is not the usual one. A queue with the usual behaviour pays for
/// this with one look at an option.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueBehaviour {
    /// Used buffers are shown in another order than the device was done with them.
    pub any_order: Option<Draw>,
    /// Used buffers are held back for a while, so that several are shown at once.
    pub bursts: Option<Draw>,
    /// Used buffers are held back until no more follow, so that all are shown at once.
    pub whole_queue: bool,
    /// Each used buffer is shown by itself.
    pub one_by_one: bool,
    /// The interrupt comes a while after the used buffers it is for.
    pub late_interrupts: Option<Draw>,
    /// The device writes more into a buffer than it says (§2.4.8.2).
    pub beyond_len: bool,
    /// What the device asks about notifications changes with every buffer it takes; and fields that
    /// have no meaning with what was negotiated are written, too (§2.4.9.1).
    pub fickle_suppression: bool,
    /// The device looks for buffers whenever it likes, also while it has asked to be notified.
    pub unasked_looks: bool,
    /// Used buffers are held back for some time by the clock.
    pub slow_returns: Option<Delays>,
    /// The interrupt comes some time by the clock after the used buffers it is for.
    pub slow_interrupts: Option<Delays>,
}

/// A queue's behaviour, and what has come of it so far.
#[derive(Clone, Debug)]
pub(super) struct BehaviourState {
    behaviour: QueueBehaviour,
    /// Used and not shown yet, with the length.
    held: Vec<(BufferId, u32)>,
    /// The chain of the buffer that is used.
    scratch: Vec<Element>,
    /// How many more times the queue is settled before they are shown.
    wait: u32,
    /// The time by the device's clock.
    now: Duration,
    /// They are not shown before this time.
    slow: Option<(Duration, Delay)>,
    /// When an interrupt comes that the driver is owed.
    owed: Option<Owed>,
    /// Buffers taken.
    taken: u16,
    /// What the device last asked for.
    pub(super) wanted: bool,
    /// What has come of the order.
    order: Order,
}

/// When an interrupt comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    /// After the queue was settled so many times.
    Turns(u32),
    /// At this time by the device's clock.
    At(Duration, Delay),
}

/// What becomes of used buffers that are shown in another order.
#[derive(Clone, Debug, Default)]
struct Order {
    /// For each id, when the device has taken the buffer: how many it had taken by then. Empty where the order is
    /// the usual one.
    taken_at: Vec<u16>,
    /// The buffer that was shown alone while others wait that were made available earlier.
    alone: Option<BufferId>,
    /// One of these, and its length: until it is shown, what the device wrote is not there.
    veiled: Option<(BufferId, u32)>,
    /// The driver has made available again the one that was shown alone, and none that waits.
    answered: bool,
}

/// After so many times that a queue was settled and nothing followed, nothing more is expected.
const QUIET: u32 = 64;

/// For so many times that a queue is settled, a driver that was shown one buffer has time to use its
/// descriptors again before it is shown the others.
const ALONE: u32 = 4096;

/// What has come of [`Queue::settle`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The driver wants an interrupt for what it has been shown.
    pub interrupt: bool,
    /// There is more to show, later.
    pub later: bool,
    /// Several used buffers were shown together.
    pub several: bool,
    /// … in another order than the device was done with them.
    pub reordered: bool,
    /// The interrupt is for what was shown a while ago.
    pub late: bool,
    /// … by the clock, so long ago.
    pub slow: Option<Delay>,
    /// The driver knows which buffer was shown while earlier ones were in flight.
    pub identified: bool,
}

impl BehaviourState {
    pub(super) fn new(behaviour: QueueBehaviour, size: u16) -> Self {
        let mut order = Order::default();
        if behaviour.any_order.is_some() {
            order.taken_at = vec![0; usize::from(size)];
        }
        BehaviourState {
            behaviour,
            held: Vec::with_capacity(usize::from(size)),
            scratch: Vec::with_capacity(split::walk_capacity(size)),
            wait: 0,
            now: Duration::ZERO,
            slow: None,
            owed: None,
            taken: 0,
            wanted: false,
            order,
        }
    }

    /// Whether used buffers are held until the queue is settled.
    fn holds(&self) -> bool {
        let behaviour = &self.behaviour;
        behaviour.any_order.is_some()
            || behaviour.bursts.is_some()
            || behaviour.whole_queue
            || behaviour.one_by_one
            || behaviour.late_interrupts.is_some()
            || behaviour.slow_returns.is_some()
            || behaviour.slow_interrupts.is_some()
    }

    /// Holds a used buffer back.
    fn hold(&mut self, id: BufferId, len: u32, size: u16) {
        let (size, whole_queue) = (usize::from(size), self.behaviour.whole_queue);
        if let Some(delay) = self
            .behaviour
            .slow_returns
            .as_mut()
            .and_then(Delays::next_delay)
        {
            let now = self.now;
            self.slow.get_or_insert((now + delay.time, delay));
        }
        if self.held.is_empty() || whole_queue {
            self.wait = self.next_wait();
        }
        // A driver cannot have more in flight than there are descriptors; if a wild driver seems to,
        // the rest is lost.
        if self.held.len() < size {
            self.held.push((id, len));
        }
        if whole_queue && self.held.len() == size {
            self.wait = 0;
        }
    }

    /// For how long a buffer that is held from now on is held.
    fn next_wait(&mut self) -> u32 {
        let behaviour = &mut self.behaviour;
        if behaviour.whole_queue {
            return QUIET;
        }
        match (&mut behaviour.bursts, &mut behaviour.any_order) {
            (Some(numbers), _) => 4 + numbers.below(28) as u32,
            (None, Some(numbers)) => 1 + numbers.below(4) as u32,
            (None, None) => 0,
        }
    }

    /// The device has taken a buffer.
    fn took(&mut self, id: BufferId) {
        let taken = self.taken;
        if let Some(at) = self.order.taken_at.get_mut(usize::from(id.0)) {
            *at = taken;
        }
        if self.order.alone == Some(id) {
            self.order.answered = true;
            self.wait = 0;
        }
    }

    /// Puts the buffers that are held into another order. Returns how many of them are shown now, and
    /// whether the order is another one.
    fn reorder(&mut self) -> (usize, bool) {
        let all = self.held.len();
        let Some(numbers) = &mut self.behaviour.any_order else {
            return (all, false);
        };
        let first = self.held.first().copied();
        numbers.shuffle(&mut self.held);
        let again = self.order.alone.take().is_some();
        if !again && all > 1 && numbers.one_in(2) {
            // The one that was taken last, so that all that wait were made available earlier.
            let (taken_at, now) = (&self.order.taken_at, self.taken);
            let age = |(id, _): &(BufferId, u32)| {
                let at = taken_at.get(usize::from(id.0)).copied().unwrap_or_default();
                now.wrapping_sub(at)
            };
            self.held.sort_by_key(age);
            self.order.alone = self.held.first().map(|(id, _)| *id);
            self.order.veiled = self.held.last().copied();
            self.wait = ALONE;
            return (1, true);
        }
        (all, self.held.first().copied() != first)
    }

    /// The driver wants an `interrupt` or none. Returns whether it is sent now; it may be sent later.
    fn put_off(&mut self, interrupt: bool) -> bool {
        if !interrupt {
            return false;
        }
        let slow = self.behaviour.slow_interrupts.as_mut();
        let (late, now) = (&mut self.behaviour.late_interrupts, self.now);
        let owed = match (slow.and_then(Delays::next_delay), late) {
            (Some(delay), _) => Owed::At(now + delay.time, delay),
            (None, Some(numbers)) => Owed::Turns(4 + numbers.below(28) as u32),
            // One that is owed already is for these as well.
            (None, None) => return self.owed.is_none(),
        };
        self.owed.get_or_insert(owed);
        false
    }

    /// The interrupt that was put off, if it is due.
    fn take_due(&mut self) -> Option<Owed> {
        match self.owed? {
            Owed::Turns(0) => self.owed.take(),
            Owed::Turns(wait) => {
                self.owed = Some(Owed::Turns(wait - 1));
                None
            }
            Owed::At(time, _) if time <= self.now => self.owed.take(),
            Owed::At(..) => None,
        }
    }

    /// What waits for the clock: until when.
    fn alarm(&self) -> Option<Duration> {
        let shown = self.slow.map(|(until, _)| until);
        let sent = match self.owed {
            Some(Owed::At(time, _)) => Some(time),
            Some(Owed::Turns(_)) | None => None,
        };
        shown.into_iter().chain(sent).min()
    }

    /// Whether used buffers wait for the clock.
    fn is_slow(&self) -> bool {
        self.slow.is_some_and(|(until, _)| until > self.now)
    }
}

impl Queue {
    /// Whether the device does not wait for notifications that it has asked for.
    #[inline(always)]
    pub(super) fn looks_unasked(&self) -> bool {
        let behaviour = self.behaviour.as_ref();
        behaviour.is_some_and(|state| state.behaviour.unasked_looks)
    }

    /// Shows the driver the used buffers that were held back long enough.
    pub fn settle<W: Witness>(&mut self, witness: &mut W) -> Settled {
        let mut settled = Settled::default();
        let Some(state) = &mut self.behaviour else {
            return settled;
        };
        match state.take_due() {
            Some(Owed::At(_, delay)) => settled.slow = Some(delay),
            Some(Owed::Turns(_)) => settled.late = true,
            None => {}
        }
        settled.identified = std::mem::take(&mut state.order.answered);
        if state.held.is_empty() || state.is_slow() {
            // Nothing to show, or not yet.
        } else if state.wait > 0 {
            state.wait -= 1;
            settled.later = true;
        } else {
            if let Some((_, delay)) = state.slow.take().filter(|(_, delay)| delay.is_notable()) {
                let shown = ShownLatitude {
                    latitude: delay.latitude,
                    told: Some(Told::Buffer(self.index)),
                    next: None,
                };
                witness.see(&LatitudeEvent::ShownAt(shown).into());
            }
            let unveiled = state.order.veiled.take();
            let (count, reordered) = state.reorder();
            let veiled = state.order.veiled;
            settled.reordered = reordered;
            settled.several = count > 1;
            let count = if state.behaviour.one_by_one { 1 } else { count };
            // What was veiled twice is there again.
            for (id, len) in [unveiled, veiled].into_iter().flatten() {
                self.ring.veil(id, len, &mut state.scratch);
            }
            let rest = state.held.split_off(count);
            let shown = std::mem::replace(&mut state.held, rest);
            for (id, len) in &shown {
                self.put_used(*id, *len, witness);
            }
            let interrupt = self.ring.publish();
            if let Some(state) = &mut self.behaviour {
                settled.interrupt = state.put_off(interrupt);
                settled.later = !state.held.is_empty();
            }
        }
        let Some(state) = &self.behaviour else {
            return settled;
        };
        settled.interrupt |= settled.late || settled.slow.is_some();
        settled.later |= matches!(state.owed, Some(Owed::Turns(_)));
        settled
    }

    /// It is `now`, by the device's clock.
    pub fn set_time(&mut self, now: Duration) {
        if let Some(state) = &mut self.behaviour {
            state.now = now;
        }
    }

    /// The time by the device's clock for which something of this queue waits. It may be in the past.
    pub fn alarm(&self) -> Option<Duration> {
        self.behaviour.as_ref()?.alarm()
    }

    /// Whether there is something that [`settle`](Self::settle) will show.
    #[inline]
    pub fn is_unsettled(&self) -> bool {
        self.behaviour.as_ref().is_some_and(|state| {
            let shows = !state.held.is_empty() && !state.is_slow();
            let sends = match state.owed {
                Some(Owed::At(time, _)) => time <= state.now,
                owed => owed.is_some(),
            };
            shows || sends
        })
    }

    /// Whether the driver is owed an interrupt for used buffers that it was shown a while ago.
    pub fn owes_interrupt(&self) -> bool {
        let state = self.behaviour.as_ref();
        state.is_some_and(|state| state.owed.is_some())
    }

    /// Returns a chain as [`add_used`](Self::add_used) does with the usual behaviour.
    #[cold]
    pub(super) fn use_otherwise<W: Witness>(&mut self, id: BufferId, len: u32, witness: &mut W) {
        let size = self.size();
        let Some(state) = &mut self.behaviour else {
            return;
        };
        if state.behaviour.beyond_len {
            self.ring.write_beyond(id, len, &mut state.scratch);
        }
        if state.holds() {
            state.hold(id, len, size);
        } else {
            self.put_used(id, len, witness);
        }
    }

    /// Notes that a buffer was taken, and asks something else about notifications than with the buffer
    /// before.
    #[cold]
    pub(super) fn after_taking(&mut self, id: BufferId) {
        let Some(state) = &mut self.behaviour else {
            return;
        };
        state.taken = state.taken.wrapping_add(1);
        state.took(id);
        if !state.behaviour.fickle_suppression {
            return;
        }
        let (taken, wanted) = (state.taken, state.wanted);
        self.ring.write_unused_fields(taken.wrapping_mul(0x6b43));
        // What the device asked for is asked for again when it has taken the last one.
        let last = !self.ring.has_known_buffers();
        let want = if last { wanted } else { taken % 2 == 0 };
        self.ask_for_notifications(want);
    }
}
