//! Whether a buffer overlaps the parts of its own queue, which the device would then overwrite.
//!
//! Citations are of virtio 1.0.

use crate::event::{Buffer, Element, QueueSetup};
use crate::layout::desc;
use crate::rules::queue_setup::{extents, overlap};

/// Where the parts of a queue are (§2.4): start and end of each, and of all together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RingPlaces {
    parts: [(u64, u64); 3],
    start: u64,
    end: u64,
}

impl RingPlaces {
    /// The places of a queue that is enabled as `setup` says. The event fields, which the queue may not
    /// have, do not count.
    pub(super) fn of(setup: &QueueSetup) -> Self {
        let parts = extents(setup, false);
        RingPlaces {
            parts,
            start: parts.iter().map(|(start, _)| *start).min().unwrap_or(0),
            end: parts.iter().map(|(_, end)| *end).max().unwrap_or(0),
        }
    }

    /// Whether a descriptor's buffer may overlap a part: `false` is certain.
    #[inline(always)]
    pub(super) fn is_near(&self, element: &Element) -> bool {
        (element.addr < self.end) & (element.addr.saturating_add(element.len.into()) > self.start)
    }

    /// The first device-writable descriptor whose buffer overlaps a part.
    #[inline(never)]
    pub(super) fn overwritten_by<'b>(&self, buffer: &Buffer<'b>) -> Option<&'b Element> {
        let writable = |e: &&Element| e.flags & (desc::WRITE | desc::INDIRECT) == desc::WRITE;
        buffer.elements.iter().filter(writable).find(|element| {
            let end = element.addr.saturating_add(element.len.into());
            let parts = self.parts.iter();
            parts
                .into_iter()
                .any(|part| overlap(*part, (element.addr, end)))
        })
    }
}
