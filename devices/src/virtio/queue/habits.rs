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
    /// Each used buffer is shown by itself.
    pub one_by_one: bool,
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
    /// Buffers taken.
    pub(crate) taken: u16,
    /// What the device last asked for.
    pub(crate) wanted: bool,
}

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
}

impl Habits {
    /// Whether used buffers are held until the queue is settled.
    pub(super) fn holds(&self) -> bool {
        self.any_order.is_some() || self.bursts.is_some() || self.one_by_one
    }

    /// For how long what is held from now on is held.
    pub(super) fn next_wait(&mut self) -> u32 {
        match (&mut self.bursts, &mut self.any_order) {
            (Some(numbers), _) => 4 + numbers.below(28) as u32,
            (None, Some(numbers)) => 1 + numbers.below(4) as u32,
            (None, None) => 0,
        }
    }
}
