//! What the device has asked of the driver about notifications (§2.4.9 of virtio 1.0), for those who
//! judge what the driver does with it.

use stickler_conformance::Witness;
use stickler_conformance::event::{LiveNotification, NotificationEvent};

/// What the driver was last asked, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NotificationState {
    /// The device asked to be notified, and there was nothing to take.
    pub(super) asked: bool,
    /// The device advised against notifications by a flag.
    advised_against: bool,
    /// How many notifications came since the device last changed what it asks for.
    notifications: u32,
    /// For how many [ticks](super::Queue::tick) there has been something to take since the device
    /// asked, and no notification.
    pub(super) ticks: u32,
}

impl NotificationState {
    /// The device has asked for notifications, or against them.
    #[inline(always)]
    pub(super) fn asked_for(&mut self, want: bool, event_idx: bool) {
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
    }

    /// The driver has notified `queue`, in which there are `new` buffers or none.
    pub(super) fn tell_notified<W: Witness>(
        &mut self,
        queue: u16,
        event_idx: bool,
        new: bool,
        witness: &mut W,
    ) {
        self.notifications = self.notifications.saturating_add(1);
        self.ticks = 0;
        witness.see(
            &NotificationEvent::Live(LiveNotification {
                queue,
                event_idx,
                asked: self.asked && new,
                advised_against: self.advised_against,
                since: self.notifications,
            })
            .into(),
        );
        // The entries that were to be notified of have been.
        self.asked = false;
    }
}
