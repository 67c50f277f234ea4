//! What the device wrote to the used ring, against what is there: §2.4.8 has it written by the device
//! only.
//!
//! Citations are of virtio 1.0.

use stickler_conformance::Witness;
use stickler_conformance::event::{SplitRingEvent, UsedRingField};

use super::SplitRing;

/// The used ring's fields as the device wrote them last (§2.4.8); none, if it has not yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UsedRingShadow {
    pub(super) flags: Option<u16>,
    pub(super) idx: Option<u16>,
    pub(super) avail_event: Option<u16>,
}

impl SplitRing {
    /// Compares the used ring with what the device wrote there, and tells of each difference.
    #[inline(always)]
    pub(super) fn compare_used_ring<W: Witness>(&mut self, witness: &mut W) {
        let same = |wrote: Option<u16>, is: u16| wrote.is_none_or(|wrote| wrote == is);
        let right = same(self.shadow.idx, self.rings.used_idx())
            && if self.config.event_idx {
                same(self.shadow.avail_event, self.rings.avail_event())
            } else {
                same(self.shadow.flags, self.rings.used_flags())
            };
        if !right {
            self.tell_used_altered(witness);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_used_altered<W: Witness>(&mut self, witness: &mut W) {
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
                        written,
                        found,
                    }
                    .into(),
                );
            }
        }
    }
}
