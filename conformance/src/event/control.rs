//! Events that every transport and every device type has. Sections are those of virtio 1.0.

use crate::latitude::Latitude;
use crate::layout::{Structure, status};

/// The device's use of latitudes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatitudeEvent {
    /// The device uses this latitude, from the start.
    InUse(Latitude),
    /// The device has just used this latitude in a way that the driver can see.
    Shown(Latitude),
    /// The same, where it is known how the driver learns of it, and what it does then.
    ShownAt(ShownLatitude),
    /// The driver has done what no driver does that does not know of this latitude's use.
    Answered(Latitude),
}

/// A latitude that was used in a way that the driver can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownLatitude {
    /// Which one.
    pub latitude: Latitude,
    /// How the driver learns of it; `None` if that is not known.
    pub told: Option<Told>,
    /// The virtqueue that a driver which copes continues to use; `None` if that is any.
    pub next: Option<u16>,
}

/// How a driver learns what the device did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// By a used buffer of this virtqueue.
    Buffer(u16),
    /// By the device-specific configuration.
    Configuration,
}

/// An access to a register. What it means is reported by a further event where the rules need it
/// (status, features, queues, notifications).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterEvent {
    /// The driver read from a structure.
    Read(Register),
    /// The driver wrote to a structure.
    Written(Register),
}

/// One access to a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// The structure.
    pub structure: Structure,
    /// Offset in it, bytes.
    pub offset: u32,
    /// Width of the access, bytes.
    pub width: u8,
    /// What was written or presented, little-endian.
    pub value: u64,
}

impl Register {
    /// Whether the access touches the byte at `offset` of its structure.
    pub fn covers(&self, offset: u32) -> bool {
        offset
            .checked_sub(self.offset)
            .is_some_and(|at| at < u32::from(self.width))
    }

    /// Whether the access touches one of `len` bytes at `offset` of its structure.
    pub fn overlaps(&self, offset: u32, len: u32) -> bool {
        let end = self.offset.saturating_add(self.width.into());
        self.offset < offset.saturating_add(len) && offset < end
    }

    /// The byte at `offset` of the structure as it was written or presented; `None` if the access does
    /// not touch it.
    pub fn byte(&self, offset: u32) -> Option<u8> {
        self.covers(offset)
            .then(|| (self.value >> (8 * (offset - self.offset))) as u8)
    }
}

/// Device status (§2.1), and the end of it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusEvent {
    /// `device_status` was read.
    Read {
        /// What the device presented.
        value: u8,
    },
    /// `device_status` was written. Zero asks for a reset.
    Written {
        /// What the device presented before.
        from: u8,
        /// What the driver wrote.
        to: u8,
    },
    /// Bits were set in `device_status` although the reset was not complete. The device completes it first:
    /// [`StatusEvent::ResetDone`] follows, and [`StatusEvent::Written`] with those of the bits that take
    /// effect: FEATURES_OK, for example, does not, where the device still presented it.
    WrittenDuringReset {
        /// What the driver wrote.
        to: u8,
    },
    /// The device has completed a reset the driver asked for.
    ResetDone,
    /// The device has set DEVICE_NEEDS_RESET (§2.1.2).
    NeedsReset,
    /// The run has ended: what the driver has not done by now, it never does.
    RunEnded {
        /// The guest has ended it, by power-off or reset. A guest that was stopped (at its time limit, by
        /// the user, after a panic) may have been in the middle of something.
        by_guest: bool,
    },
}

impl StatusEvent {
    /// Whether the driver asks for a reset.
    pub const fn asks_for_reset(self) -> bool {
        matches!(self, StatusEvent::Written { to: 0, .. })
    }

    /// Whether the driver sets DRIVER_OK: its initialization is complete, and a prohibition that applies
    /// until then has held.
    pub const fn sets_driver_ok(self) -> bool {
        self.added() & status::DRIVER_OK != 0
    }

    /// Whether the driver sets FAILED.
    pub const fn sets_failed(self) -> bool {
        self.added() & status::FAILED != 0
    }

    /// Whether the driver begins a further initialization without a reset: it takes back FEATURES_OK or
    /// DRIVER_OK, and writes bits of the first steps. Where FAILED is set, it is about giving up.
    pub const fn begins_again(self) -> bool {
        const LATER: u8 = status::FEATURES_OK | status::DRIVER_OK;
        match self {
            StatusEvent::Written { from, to } => {
                const FIRST: u8 = status::ACKNOWLEDGE | status::DRIVER;
                let left = from & LATER != 0 && to & LATER == 0;
                left && to & FIRST != 0 && (from | to) & status::FAILED == 0
            }
            StatusEvent::Read { .. }
            | StatusEvent::WrittenDuringReset { .. }
            | StatusEvent::ResetDone
            | StatusEvent::NeedsReset
            | StatusEvent::RunEnded { .. } => false,
        }
    }

    /// Whether the driver writes what a live device presents: nothing, or the first steps of a further
    /// initialization by a driver that adds to what it has read.
    pub const fn repeats_live(self) -> bool {
        match self {
            StatusEvent::Written { from, to } => {
                from == to && from & status::DRIVER_OK != 0 && from & status::FAILED == 0
            }
            StatusEvent::Read { .. }
            | StatusEvent::WrittenDuringReset { .. }
            | StatusEvent::ResetDone
            | StatusEvent::NeedsReset
            | StatusEvent::RunEnded { .. } => false,
        }
    }

    /// The bits that the driver adds to those the device presented.
    const fn added(self) -> u8 {
        match self {
            StatusEvent::Written { from, to } => to & !from,
            StatusEvent::Read { .. }
            | StatusEvent::WrittenDuringReset { .. }
            | StatusEvent::ResetDone
            | StatusEvent::NeedsReset
            | StatusEvent::RunEnded { .. } => 0,
        }
    }
}

/// Features (§2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureEvent {
    /// `device_feature` was read.
    DeviceRead {
        /// `device_feature_select` at that time.
        select: u32,
    },
    /// `driver_feature` was written.
    DriverWritten {
        /// `driver_feature_select` at that time.
        select: u32,
        /// The 32 bits written.
        value: u32,
    },
    /// The driver set FEATURES_OK, and the device decided.
    Decided {
        /// What the device offers.
        offered: u64,
        /// What the driver has written to `driver_feature`, the first 64 bits.
        accepted: u64,
        /// Whether the device keeps FEATURES_OK set.
        kept: bool,
    },
}

/// Device-specific configuration (§2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigEvent {
    /// The configuration has changed between two reads of it, and `config_generation` with it (§2.3.1).
    ChangedBetweenReads,
}

/// Configuration of virtqueues (§2.4, §4.1.4.3, §4.1.5.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueEvent {
    /// `queue_size` was read.
    SizeRead {
        /// `queue_select`.
        queue: u16,
    },
    /// `queue_size` was written.
    SizeWritten {
        /// `queue_select`.
        queue: u16,
        /// What was written.
        value: u16,
        /// The size the device presented on reset, 0 if there is no such queue.
        max: u16,
    },
    /// The address of one of a queue's three areas was written, in whole or in half.
    AddressWritten {
        /// `queue_select`.
        queue: u16,
        /// Which area of the virtqueue.
        area: QueueArea,
        /// The whole address after the write. The device keeps the old one if the queue is enabled.
        address: u64,
    },
    /// `queue_enable` was written.
    EnableWritten {
        /// `queue_select`.
        queue: u16,
        /// What was written.
        value: u16,
        /// The queue's setup at that moment; `None` if there is no such queue.
        setup: Option<QueueSetup>,
    },
}

/// The three areas of a virtqueue (§2.4). Later versions call the parts of a split virtqueue by these
/// names (§2.6 (1.1)), and a packed one has three as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueArea {
    /// The descriptor area: a split virtqueue's descriptor table.
    Descriptor,
    /// The driver area: a split virtqueue's available ring.
    Driver,
    /// The device area: a split virtqueue's used ring.
    Device,
}

impl QueueArea {
    /// All of them, in the order of their registers.
    pub const ALL: [QueueArea; 3] = [QueueArea::Descriptor, QueueArea::Driver, QueueArea::Device];

    /// Required alignment of a split virtqueue's area, bytes (§2.4).
    pub const fn alignment(self) -> u64 {
        match self {
            QueueArea::Descriptor => 16,
            QueueArea::Driver => 2,
            QueueArea::Device => 4,
        }
    }

    /// Name of the register that holds its address (§4.1.4.3).
    pub const fn register(self) -> &'static str {
        match self {
            QueueArea::Descriptor => "queue_desc",
            QueueArea::Driver => "queue_avail",
            QueueArea::Device => "queue_used",
        }
    }
}

/// A virtqueue's set-up, as the device sees it when the driver enables it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSetup {
    /// `queue_size`.
    pub size: u16,
    /// The size the device presented on reset.
    pub max: u16,
    /// Guest-physical address of the descriptor area.
    pub descriptor: u64,
    /// Guest-physical address of the driver area.
    pub driver: u64,
    /// Guest-physical address of the device area.
    pub device: u64,
    /// Whether it was enabled already.
    pub enabled: bool,
    /// Whether all three areas lie in the guest's memory.
    pub in_memory: bool,
    /// The memory of a split virtqueue; `None` if the device cannot read its used ring.
    pub split: Option<SplitSetup>,
}

impl QueueSetup {
    /// Guest-physical address of `area`.
    pub const fn address(&self, area: QueueArea) -> u64 {
        match area {
            QueueArea::Descriptor => self.descriptor,
            QueueArea::Driver => self.driver,
            QueueArea::Device => self.device,
        }
    }
}

/// The header of a split virtqueue's used ring when the driver enables the queue (§2.4.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitSetup {
    /// `flags`, as found in memory.
    pub used_flags: u16,
    /// `idx`, as found in memory.
    pub used_idx: u16,
}

/// Notifications of available buffers (§2.4.9, §4.1.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotificationEvent {
    /// The driver sent a notification.
    Sent {
        /// The queue that it is for: the one named by the value where several share an address, else
        /// the one of the address; `None` if no existing queue matches.
        queue: Option<u16>,
        /// The value written.
        value: u32,
        /// Width of the write, bytes.
        width: u8,
        /// Whether that queue has been enabled.
        enabled: bool,
    },
    /// The notification was for a queue of a live device. Comes after [`NotificationEvent::Sent`].
    Live(LiveNotification),
    /// The device needs a notification of new buffers, and the driver has added some without a
    /// notification, for `ticks` times a span that is too long for one to be on its way (§2.4.9). The
    /// device has needed it since before the driver made the buffers available.
    Overdue {
        /// Which virtqueue.
        queue: u16,
        /// Whether `avail_event` says when to notify, rather than `flags`.
        event_idx: bool,
        /// The available ring's position of the first new buffer; what avail_event is, if it is in
        /// use.
        position: u16,
        /// `idx` of the available ring.
        idx: u16,
        /// The buffers are those that were available when the device went live: it needed no
        /// notification to find them.
        at_start: bool,
        /// How many of these spans have passed.
        ticks: u32,
        /// The driver resets the device now, or the run has ended: it will not be notified any more.
        last: bool,
    },
}

/// A notification of a live queue, compared with what the device has requested (§2.4.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveNotification {
    /// Which virtqueue.
    pub queue: u16,
    /// Whether `avail_event` says when to notify, rather than `flags`.
    pub event_idx: bool,
    /// The device had requested it when the queue was empty, and now there is a buffer.
    pub asked: bool,
    /// There were buffers when the device went live, of which the driver has not notified it yet.
    pub at_start: bool,
    /// The device has set `flags` to 1.
    pub advised_against: bool,
    /// The number of this notification, counted from 1, since the device last changed `flags` or
    /// `avail_event`. Notifications that were on their way at that time are counted.
    pub since: u32,
}

/// Events of split virtqueues (§2.4) that do not come with every buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitRingEvent {
    /// The device looked at the used ring of a live queue, and did not find what it had written there.
    UsedRingAltered {
        /// Which virtqueue.
        queue: u16,
        /// The field.
        field: super::UsedRingField,
        /// What the device had written.
        written: u32,
        /// What is there now.
        found: u32,
        /// When that was found.
        moment: super::Moment,
    },
    /// The device looked at a buffer that it has not returned, and did not find what the driver had made
    /// available.
    BufferAltered(super::AlteredBuffer),
    /// The driver has taken back a buffer that it had made available and that the device had not taken: by
    /// `idx`, or by another entry in its place.
    Withdrawn {
        /// Which virtqueue.
        queue: u16,
        /// Which buffer.
        id: super::BufferId,
    },
}
