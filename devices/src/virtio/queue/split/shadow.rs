//! What the device wrote to the used ring, against what is there: §2.4.8 has it written by the device
//! only.
//!
//! Citations are of virtio 1.0.

use stickler_conformance::Witness;
use stickler_conformance::event::{Moment, SplitRingEvent, UsedRingField};

use super::SplitRing;

/// Elements that are compared at one look.
const ELEMENTS: u16 = 32;

/// The used ring's fields as the device wrote them last (§2.4.8); none, if it has not yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UsedRingShadow {
    pub(super) flags: Option<u16>,
    pub(super) idx: Option<u16>,
    pub(super) avail_event: Option<u16>,
    /// The elements (id, len), by position.
    elements: Box<[(u32, u32)]>,
    /// The ring has been written round once: each element is the device's.
    round: bool,
    /// Where comparing goes on.
    cursor: u16,
}

impl UsedRingShadow {
    pub(super) fn new(size: u16) -> Self {
        UsedRingShadow {
            elements: vec![(0, 0); size.into()].into_boxed_slice(),
            ..UsedRingShadow::default()
        }
    }

    /// The device writes an element.
    #[inline(always)]
    pub(super) fn put(&mut self, position: u16, id: u32, len: u32) {
        let index = usize::from(position) & self.elements.len().wrapping_sub(1);
        self.round |= index + 1 == self.elements.len();
        if let Some(element) = self.elements.get_mut(index) {
            *element = (id, len);
        }
    }
}

impl SplitRing {
    /// Compares the used ring's header with what the device wrote there, and tells of each difference.
    #[inline(always)]
    pub(super) fn compare_used_ring<W: Witness>(&mut self, moment: Moment, witness: &mut W) {
        let same = |wrote: Option<u16>, is: u16| wrote.is_none_or(|wrote| wrote == is);
        let right = same(self.shadow.idx, self.rings.used_idx())
            & same(self.shadow.flags, self.rings.used_flags())
            & same(self.shadow.avail_event, self.rings.avail_event());
        if !right {
            self.tell_used_altered(moment, witness);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_used_altered<W: Witness>(&mut self, moment: Moment, witness: &mut W) {
        let queue = self.config.index;
        for (field, wrote, found) in [
            (
                UsedRingField::Idx,
                &mut self.shadow.idx,
                self.rings.used_idx(),
            ),
            (
                UsedRingField::Flags,
                &mut self.shadow.flags,
                self.rings.used_flags(),
            ),
            (
                UsedRingField::AvailEvent,
                &mut self.shadow.avail_event,
                self.rings.avail_event(),
            ),
        ] {
            if let Some(wrote) = wrote
                && *wrote != found
            {
                // Told once: it stays as it is until the device writes it again.
                let written = std::mem::replace(wrote, found);
                witness.see(
                    &SplitRingEvent::UsedRingAltered {
                        queue,
                        field,
                        written: written.into(),
                        found: found.into(),
                        moment,
                    }
                    .into(),
                );
                // A ring that was taken back differs everywhere: one field says so.
                if moment == Moment::Last {
                    return;
                }
            }
        }
    }

    /// Compares elements that the device has written with what is there, and tells of the first
    /// difference: some of them, in turns, or `all`.
    pub(super) fn compare_used_elements<W: Witness>(
        &mut self,
        all: bool,
        moment: Moment,
        witness: &mut W,
    ) {
        let size = self.size();
        let written = if self.shadow.round {
            size
        } else {
            self.next_used.min(size)
        };
        if written == 0 {
            return;
        }
        let count = if all { written } else { written.min(ELEMENTS) };
        for _ in 0..count {
            self.shadow.cursor = (self.shadow.cursor + 1) % written;
            let position = self.shadow.cursor;
            let Some(wrote) = self.shadow.elements.get_mut(usize::from(position)) else {
                return;
            };
            let found = self.rings.used_entry(position);
            if *wrote == found {
                continue;
            }
            let (written, found) = (std::mem::replace(wrote, found), found);
            let (field, written, found) = if written.0 == found.0 {
                (UsedRingField::ElementLen(position), written.1, found.1)
            } else {
                (UsedRingField::ElementId(position), written.0, found.0)
            };
            let queue = self.config.index;
            witness.see(
                &SplitRingEvent::UsedRingAltered {
                    queue,
                    field,
                    written,
                    found,
                    moment,
                }
                .into(),
            );
            return;
        }
    }
}
