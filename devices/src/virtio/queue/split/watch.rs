//! A chain that is looked at again when the device returns it: until then the driver may not alter it.

use stickler_conformance::Witness;
use stickler_conformance::event::{BufferId, DataEvent, Element};
use stickler_conformance::layout::desc;

use super::rings::MappedRings;
use super::walk;

/// Of the chains that could be watched, one in so many is.
const WATCHED: u32 = 16;

/// A chain of more descriptors than this is not watched.
const WATCHED_ELEMENTS: usize = 8;

/// One chain in flight, as it was taken.
pub(super) struct ChainWatch {
    /// Its head, and its descriptors, those of an indirect table as well; none, if no chain is watched.
    head: u16,
    elements: Vec<Element>,
    /// Where its indirect table is, if it has one.
    table: u64,
    /// Chains taken while none was watched.
    seen: u32,
}

impl ChainWatch {
    pub(super) fn new() -> Self {
        ChainWatch {
            head: 0,
            elements: Vec::with_capacity(WATCHED_ELEMENTS),
            table: 0,
            seen: 0,
        }
    }

    /// A chain was taken: remembers it now and then, unless it is long or another one is watched.
    #[inline(always)]
    pub(super) fn see(&mut self, head: u16, elements: &[Element]) {
        if !self.elements.is_empty() {
            return;
        }
        let due = self.seen.is_multiple_of(WATCHED);
        self.seen = self.seen.wrapping_add(1);
        if due && elements.len() <= WATCHED_ELEMENTS {
            self.head = head;
            self.elements.extend(elements);
            let referrer = elements.iter().find(|e| e.flags & desc::INDIRECT != 0);
            self.table = referrer.map_or(0, |e| e.addr);
        }
    }

    /// Whether the chain at `head` is watched.
    #[inline(always)]
    pub(super) fn is_of(&self, head: u16) -> bool {
        self.head == head && !self.elements.is_empty()
    }

    /// Compares the chain that is watched with what is in its tables now, and watches it no more.
    #[inline(never)]
    pub(super) fn compare<W: Witness>(&mut self, rings: &MappedRings, queue: u16, witness: &mut W) {
        let altered = self.elements.iter().find(|then| {
            let now = if then.indirect {
                walk::table_entry_at(rings.ram(), self.table, then.index)
            } else {
                Some(rings.descriptor(then.index))
            };
            let Some(now) = now else {
                return false;
            };
            // next has no meaning without NEXT.
            let goes_on = then.flags & desc::NEXT != 0;
            (now.addr, now.len, now.flags) != (then.addr, then.len, then.flags)
                || goes_on && now.next != then.next
        });
        witness.see(
            &DataEvent::Compared {
                queue,
                id: BufferId(self.head),
                altered: altered.copied(),
            }
            .into(),
        );
        self.elements.clear();
    }
}
