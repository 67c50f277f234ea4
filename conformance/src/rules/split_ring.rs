//! Available and used ring of split virtqueues (§2.4.6 to §2.4.8 of virtio 1.0).

use super::Chapter;
use crate::advice::advice;
use crate::device::DeviceKind;
use crate::event::{
    AlteredBuffer, AvailableRead, BufferPart, ControlEvent, DataEvent, SplitRingEvent,
};
use crate::features::RING_EVENT_IDX;
use crate::judge::Verdicts;
use crate::requirement::{Req, requirements};
use crate::session::Session;
use crate::tally::Tallies;

requirements! {
    chapter SplitRing;

    AVAIL_FLAGS = "available.flags.defined", Driver Must ["2.4.7.1-1"], Asserted,
        "Without VIRTIO_F_RING_EVENT_IDX, flags of the available ring is 0 or 1.";
    AVAIL_FLAGS_ZERO = "available.flags.zero", Driver Must ["2.4.7.1-3"], Asserted,
        "With VIRTIO_F_RING_EVENT_IDX, flags of the available ring is 0.";
    SUPPRESS = "available.flags.suppress", Driver May ["2.4.7.1-2"], Asserted,
        "Without VIRTIO_F_RING_EVENT_IDX, the driver may suppress interrupts by setting flags to 1.";
    DECREMENT = "available.idx.no-decrement", Driver MustNot ["3.3.1-2", "3.3.1-3"], Asserted,
        "idx of the available ring never decreases.";
    OVERRUN = "available.idx.at-most-queue-size", Driver MustNot ["2.4", "3.2.1"], Asserted,
        "The number of buffers in the available ring that the device has not taken is at most the queue size.";
    ENTRY = "available.entry.unaltered", Driver MustNot ["3.3.1-3", "2.4.6"], Asserted,
        "An entry of the available ring is not replaced before the device has taken the buffer, unless the device is reset first.";
    USED_BY_DEVICE = "used.read-only", Driver MustNot ["2.4.8"], Asserted,
        "The used ring of a live queue is written by the device only.";
    USED_EVENT = "available.used-event", Driver May ["2.4.7.1-4"], Asserted,
        "With VIRTIO_F_RING_EVENT_IDX, the driver may set used_event to the position of the buffer after which it needs an interrupt.";

    @unobservable {
        "available.idx.barrier", Driver Must ["3.2.1.3.1-1"],
            "a memory barrier is not visible; without it there is a race that a device may never lose",
            "Between filling the rings and writing idx, the driver has a memory barrier.";
        "used.len.nothing-assumed", Driver MustNot ["2.4.8.3-1"],
            "a device cannot see what a driver reads from its own memory, or how the driver uses it",
            "The driver makes no assumptions about device-writable bytes beyond len.";
    }
}

advice! {
    "available":
        "The available ring is not valid: a head beyond the table, or an idx that decreases or increases too far.";
        "Fill the entries, use a memory barrier, then increase idx by the number of entries; never have more entries in flight than the queue's size.";
    "used":
        "The driver handles a buffer as returned that the device has not returned, or the reverse.";
        "Follow idx of the used ring, and take buffers in the order of the used ring.";
    "available.entry":
        "The entry of a buffer that waits was overwritten: the device never gets that buffer, and maybe another one twice.";
        "Write an entry only at idx modulo the queue size, and only if fewer buffers than that are in flight; to take buffers back, reset the device first.";
    "used.read-only":
        "A field of the used ring is not what the device wrote there: the driver keeps its own counters there, or writes values that belong in the available ring; or the memory was freed and reused before the device was reset.";
        "Only read the used ring; suppress interrupts by flags and used_event of the available ring, and keep the driver's position in memory of its own.";
    "interrupt":
        "The driver does not continue after a spurious interrupt, or after one interrupt for two reasons.";
        "In the interrupt handler, check all possible causes, used rings and configuration, and do not treat an interrupt without a cause as an error.";
}

/// The requirements that hold whenever the available ring's idx has moved correctly.
static AVAILABLE: [Req; 2] = [DECREMENT, OVERRUN];

/// How often the rings broke no rule.
#[derive(Default)]
pub(crate) struct SplitRingRules {
    available: u64,
    used_altered: u64,
    entries_altered: u64,
    flags_with_event_idx: u64,
    flags_without: u64,
    suppressed: u64,
}

impl SplitRingRules {
    /// Judges the available ring's header.
    #[inline(always)]
    fn available(&mut self, read: &AvailableRead, session: &Session, verdicts: &mut Verdicts) {
        let event_idx = session.has(RING_EVENT_IDX);
        let ahead = read.idx.wrapping_sub(read.previous);
        let waiting = read.idx.wrapping_sub(read.taken);
        let allowed = if event_idx { 0 } else { 1 };
        if read.flags > allowed || ahead > read.size || waiting > read.size {
            return wrong(read, event_idx, verdicts);
        }
        self.available += u64::from(ahead != 0);
        if event_idx {
            self.flags_with_event_idx += 1;
        } else {
            self.flags_without += 1;
            self.suppressed += u64::from(read.flags);
        }
    }
}

/// Judges an available ring's header that breaks a rule, requirement by requirement.
#[cold]
#[inline(never)]
fn wrong(read: &AvailableRead, event_idx: bool, verdicts: &mut Verdicts) {
    let AvailableRead {
        queue,
        size,
        flags,
        previous,
        idx,
        taken,
    } = *read;
    let queue = Some(queue);
    if event_idx {
        verdicts.check(AVAIL_FLAGS_ZERO, flags == 0, queue, || {
            format!("flags of the available ring is {flags:#x} with VIRTIO_F_RING_EVENT_IDX")
        });
    } else {
        verdicts.check(AVAIL_FLAGS, flags <= 1, queue, || {
            format!("flags of the available ring is {flags:#x}")
        });
    }
    let back = previous.wrapping_sub(idx);
    let ahead = idx.wrapping_sub(previous);
    // Memory that was taken back is often zeroed.
    if ahead > size && (back <= size || idx == 0) {
        verdicts.violated(
            DECREMENT,
            queue,
            format!("idx of the available ring went from {previous} back to {idx}"),
        );
        return;
    }
    let waiting = idx.wrapping_sub(taken);
    let fits = ahead <= size && waiting <= size;
    if verdicts.check(OVERRUN, fits, queue, || {
        format!(
            "idx of the available ring went from {previous} to {idx} while the device had taken {taken}: more than the {size} descriptors of the queue"
        )
    }) {
        verdicts.held(DECREMENT);
    }
}

impl Chapter for SplitRingRules {
    fn new(_kind: DeviceKind) -> Self {
        SplitRingRules::default()
    }

    fn control(&mut self, event: &ControlEvent<'_>, _: &Session, verdicts: &mut Verdicts) {
        match *event {
            ControlEvent::SplitRing(event) => match event {
                SplitRingEvent::UsedRingAltered {
                    queue,
                    field,
                    written,
                    found,
                    moment,
                } => {
                    self.used_altered += 1;
                    let message = format!(
                        "{field} of the used ring is {found:#x}; the device wrote {written:#x} ({})",
                        moment.says()
                    );
                    verdicts.violated(USED_BY_DEVICE, Some(queue), message);
                }
                SplitRingEvent::BufferAltered(AlteredBuffer {
                    queue,
                    part: BufferPart::RingEntry(position),
                    exposed,
                    found,
                    moment,
                    ..
                }) => {
                    self.entries_altered += 1;
                    let message = format!(
                        "entry {position} of the available ring went from {exposed} to {found} while buffer {exposed} waited there ({})",
                        moment.says()
                    );
                    verdicts.violated(ENTRY, Some(queue), message);
                }
                SplitRingEvent::BufferAltered(_) | SplitRingEvent::Withdrawn { .. } => {}
            },
            ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Register(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Status(_)
            | ControlEvent::Feature(_)
            | ControlEvent::Config(_)
            | ControlEvent::Queue(_)
            | ControlEvent::Notification(_)
            | ControlEvent::Net(_)
            | ControlEvent::Console(_) => {}
        }
    }

    #[inline(always)]
    fn data(&mut self, event: &DataEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            DataEvent::AvailableRead(read) => self.available(read, session, verdicts),
            DataEvent::Exposed(_)
            | DataEvent::Returned { .. }
            | DataEvent::NetTransmit(_)
            | DataEvent::BlockRequest(_) => {}
        }
    }

    fn tally(&self, tallies: &mut Tallies) {
        for (requirements, times) in [
            (&AVAILABLE[..], self.available),
            (
                &[USED_BY_DEVICE],
                self.available.saturating_sub(self.used_altered),
            ),
            (
                &[ENTRY],
                self.available.saturating_sub(self.entries_altered),
            ),
            (&[AVAIL_FLAGS_ZERO, USED_EVENT], self.flags_with_event_idx),
            (&[AVAIL_FLAGS], self.flags_without),
            (&[SUPPRESS], self.suppressed),
        ] {
            for requirement in requirements {
                tallies.add_held(*requirement, times);
            }
        }
    }
}
