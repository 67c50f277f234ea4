//! What the device wrote to the used ring, against what stands there: §2.4.8 has it written by the
//! device only.

use stickler_conformance::{Event, Witness};

use super::Queue;

/// The used ring's fields as the device wrote them last (§2.4.8); none, if it has not yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wrote {
    pub(super) flags: Option<u16>,
    pub(super) idx: Option<u16>,
    pub(super) avail_event: Option<u16>,
}

impl Queue {
    /// Compares the used ring with what the device wrote there, and tells what has become of it.
    #[inline(always)]
    pub(super) fn look_at_used<W: Witness>(&mut self, witness: &mut W) {
        let same = |wrote: Option<u16>, is: u16| wrote.is_none_or(|wrote| wrote == is);
        let right = same(self.wrote.idx, self.rings.used_idx())
            && if self.event_idx {
                same(self.wrote.avail_event, self.rings.avail_event())
            } else {
                same(self.wrote.flags, self.rings.used_flags())
            };
        if !right {
            self.tell_used_altered(witness);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_used_altered<W: Witness>(&mut self, witness: &mut W) {
        let queue = self.index;
        for (field, wrote, found) in [
            ("idx", &mut self.wrote.idx, self.rings.used_idx()),
            ("flags", &mut self.wrote.flags, self.rings.used_flags()),
            (
                "avail_event",
                &mut self.wrote.avail_event,
                self.rings.avail_event(),
            ),
        ] {
            if let Some(wrote) = wrote
                && *wrote != found
            {
                // Told once: it stays as it is until the device writes it again.
                let written = std::mem::replace(wrote, found);
                witness.see(&Event::UsedRingAltered {
                    queue,
                    field,
                    written,
                    found,
                });
            }
        }
    }
}
