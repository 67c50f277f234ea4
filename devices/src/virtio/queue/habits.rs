//! What a device may do with a virtqueue otherwise than it usually does (§2.4.8, §2.4.9): when and in
//! which order the driver sees what was used, and what the device says about notifications.

use stickler_conformance::event::Element;
use stickler_conformance::latitude::Draw;

/// The habits of one queue. A queue without any pays for them with one look at an option.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// Used buffers come in another order than the device was done with them.
    pub any_order: Option<Draw>,
    /// Used buffers are held back for a while, so that several come at once.
    pub bursts: Option<Draw>,
    /// Used buffers are held back until no more come, so that all come at once.
    pub whole_queue: bool,
    /// Each used buffer is shown by itself.
    pub one_by_one: bool,
    /// The interrupt comes a while after the used buffers it is for.
    pub late_interrupts: Option<Draw>,
    /// The device writes more into a buffer than it says (§2.4.8.2).
    pub beyond_len: bool,
    /// What the device says about notifications changes with every buffer it takes; and
    /// `avail_event` means nothing where it has not been negotiated (§2.4.9.1).
    pub fickle: bool,
    /// Used and not shown yet: head and length.
    pub(crate) held: Vec<(u16, u32)>,
    /// The chain of the buffer that is used.
    pub(crate) scratch: Vec<Element>,
    /// How many more times the queue is to be settled until they are shown.
    pub(crate) wait: u32,
    /// The same of an interrupt that the driver is owed.
    pub(crate) owed: Option<u32>,
    /// Buffers taken.
    pub(crate) taken: u16,
    /// What the device last asked for.
    pub(crate) wanted: bool,
}

/// So many times a queue is settled in vain before it is taken to have nothing more to come.
const QUIET: u32 = 64;

/// What has come of [`Queue::settle`](super::Queue::settle).
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
}

impl Habits {
    /// Whether used buffers are held until the queue is settled.
    pub(super) fn holds(&self) -> bool {
        self.any_order.is_some()
            || self.bursts.is_some()
            || self.whole_queue
            || self.one_by_one
            || self.late_interrupts.is_some()
    }

    /// For how long what is held from now on is held.
    pub(super) fn next_wait(&mut self) -> u32 {
        if self.whole_queue {
            return QUIET;
        }
        match (&mut self.bursts, &mut self.any_order) {
            (Some(numbers), _) => 4 + numbers.below(28) as u32,
            (None, Some(numbers)) => 1 + numbers.below(4) as u32,
            (None, None) => 0,
        }
    }

    /// When the driver is interrupted that is to be: now, or a while later.
    pub(super) fn put_off(&mut self, interrupt: bool) -> bool {
        let Some(numbers) = self.late_interrupts.as_mut().filter(|_| interrupt) else {
            return interrupt;
        };
        // One that is owed already is for these as well.
        self.owed.get_or_insert(4 + numbers.below(28) as u32);
        false
    }

    /// Whether an interrupt that was put off is due.
    pub(super) fn is_due(&mut self) -> bool {
        match self.owed {
            None => false,
            Some(0) => {
                self.owed = None;
                true
            }
            Some(wait) => {
                self.owed = Some(wait - 1);
                false
            }
        }
    }
}
