//! What the device has asked of the driver about notifications (§2.4.9 of virtio 1.0), and what the driver
//! owes by it.
//!
//! A device that has asked to be notified waits for the notification, and does not look by itself: so no
//! buffer that it happens to find hides that the driver did not notify. It looks before it waits, after
//! it has asked, so a driver that makes buffers available later has seen what was asked. What the device
//! asked for changes only once it has looked again; no race excuses or accuses.

use stickler_conformance::Witness;
use stickler_conformance::event::{LiveNotification, NotificationEvent};

/// After so many [ticks](super::Queue::tick) without a notification that is due, the device does not
/// wait any longer.
pub(super) const PATIENCE: u32 = 5;

/// What the driver was last asked, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NotificationState {
    /// The device asked to be notified, and there was nothing to take: it waits.
    asked: bool,
    /// The device advised against notifications by a flag.
    advised_against: bool,
    /// How many notifications came since the device last changed what it asks for.
    notifications: u32,
    /// For how many ticks there has been something to take since the device asked, and no
    /// notification.
    ticks: u32,
    /// The buffers that were available when the device went live have not been notified: for how many
    /// ticks.
    start: Option<u32>,
}

impl NotificationState {
    /// A queue that has gone live with buffers in it.
    pub(super) fn populated_at_start() -> Self {
        NotificationState {
            start: Some(0),
            ..NotificationState::default()
        }
    }

    /// The device waits to be notified.
    #[inline(always)]
    pub(super) fn waits(&self) -> bool {
        self.asked
    }

    /// The device has looked at the available ring without having been notified.
    #[inline(always)]
    pub(super) fn looked(&mut self) {
        self.asked = false;
    }

    /// The device has asked for notifications, or against them; there are `more` buffers already.
    #[inline(always)]
    pub(super) fn asked_for(&mut self, want: bool, more: bool, event_idx: bool) {
        // A device that asks for none excuses the driver from what it owed.
        let start = self.start.filter(|_| want);
        if event_idx {
            // An event index that lies behind asks for nothing and advises against nothing.
            if want {
                *self = NotificationState::default();
            }
        } else {
            if want == self.advised_against {
                *self = NotificationState::default();
            }
            self.advised_against = !want;
            self.ticks = 0;
        }
        self.start = start;
        self.asked = want && !more;
    }

    /// The driver has notified `queue`, in which there are `new` buffers or none.
    pub(super) fn notified<W: Witness>(
        &mut self,
        queue: u16,
        event_idx: bool,
        new: bool,
        witness: &mut W,
    ) {
        self.notifications = self.notifications.saturating_add(1);
        self.ticks = 0;
        if W::JUDGING {
            witness.see(
                &NotificationEvent::Live(LiveNotification {
                    queue,
                    event_idx,
                    asked: self.asked && new,
                    at_start: self.start.is_some(),
                    advised_against: self.advised_against,
                    since: self.notifications,
                })
                .into(),
            );
        }
        // The entries that were to be notified of have been.
        self.asked = false;
        self.start = None;
    }

    /// A tick has passed, and there are buffers that the device waits to be notified of, or none. Returns
    /// for how many ticks there have been, if there are.
    pub(super) fn tick(&mut self, new: bool) -> Option<u32> {
        if !self.asked || !new {
            return None;
        }
        self.ticks = self.ticks.saturating_add(1);
        // The driver will not notify any more. What it has made available is still wanted.
        if self.ticks > PATIENCE {
            self.asked = false;
        }
        Some(self.ticks)
    }

    /// For how many ticks the device has waited for a notification, if it waits.
    pub(super) fn owed(&self) -> Option<u32> {
        self.asked.then_some(self.ticks)
    }

    /// The same for the buffers that were available when the device went live.
    pub(super) fn owed_at_start(&self) -> Option<u32> {
        self.start
    }

    /// The same as [`tick`](Self::tick) for the buffers that were available when the device went live.
    pub(super) fn tick_at_start(&mut self) -> Option<u32> {
        let ticks = self.start.as_mut()?;
        *ticks = ticks.saturating_add(1);
        let ticks = *ticks;
        if ticks > PATIENCE {
            self.start = None;
        }
        Some(ticks)
    }
}
