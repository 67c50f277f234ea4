//! Walking a descriptor chain (§2.4.5 of virtio 1.0), however it was made.

use stickler_conformance::event::{ChainEnd, Element, IndirectFault};
use stickler_conformance::layout::desc;
use vm_memory::{Bytes, VolatileSlice};

use super::rings::{MappedRings, SplitDescriptor};
use crate::memory::GuestRam;

/// What a walk found besides the elements.
pub(super) struct Walk {
    pub(super) end: ChainEnd,
    /// Position among the elements of the descriptor that refers to an indirect table.
    pub(super) referrer: Option<usize>,
    pub(super) readable: u64,
    pub(super) writable: u64,
}

/// The most elements a walk makes in a queue of `size`: each table is left after as many descriptors
/// as the queue has, and there are two at most, since indirect tables are not nested.
pub(in crate::virtio::queue) fn capacity(size: u16) -> usize {
    2 * usize::from(size)
}

/// Walks the chain that begins at `head`, filling `elements`, whose capacity is
/// [`capacity`] of the queue's size.
#[inline]
pub(super) fn walk(
    rings: &MappedRings,
    ram: &GuestRam,
    head: u16,
    elements: &mut Vec<Element>,
) -> Walk {
    elements.clear();
    let mut walk = Walk {
        end: ChainEnd::HeadOutOfRange,
        referrer: None,
        readable: 0,
        writable: 0,
    };
    let size = rings.size();
    if head >= size {
        return walk;
    }
    let mut index = head;
    // §2.4.4.1: a chain has a limit, the queue size. What is longer is a loop.
    for _ in 0..size {
        let descriptor = rings.descriptor(index);
        elements.push(element(descriptor, index, false));
        if descriptor.flags & desc::INDIRECT != 0 {
            // §2.4.5.3.2: WRITE is ignored here. What would follow a table is not part of the chain:
            // a driver must not set NEXT with INDIRECT (§2.4.5.3.1).
            walk.referrer = Some(elements.len() - 1);
            walk.indirect(descriptor, size, ram, elements);
            return walk;
        }
        if !walk.buffer(descriptor, ram) {
            return walk;
        }
        if descriptor.flags & desc::NEXT == 0 {
            walk.end = ChainEnd::Complete;
            return walk;
        }
        if descriptor.next >= size {
            let (next, table) = (descriptor.next, u32::from(size));
            walk.end = ChainEnd::NextOutOfRange { next, table };
            return walk;
        }
        index = descriptor.next;
    }
    walk.end = ChainEnd::TooLong;
    walk
}

impl Walk {
    /// Walks the table that `referrer` refers to (§2.4.5.3).
    #[inline]
    fn indirect(
        &mut self,
        referrer: SplitDescriptor,
        size: u16,
        ram: &GuestRam,
        elements: &mut Vec<Element>,
    ) {
        let len = referrer.len as usize;
        if len == 0 || !len.is_multiple_of(SplitDescriptor::LEN) {
            self.end = ChainEnd::Indirect(IndirectFault::Length);
            return;
        }
        let Some(table) = ram.slice(referrer.addr, len) else {
            self.end = ChainEnd::Indirect(IndirectFault::OutsideMemory);
            return;
        };
        let entries = referrer.len / desc::LEN;
        let mut index = 0;
        for _ in 0..size {
            let Some(descriptor) = table_entry(&table, index) else {
                self.end = ChainEnd::Indirect(IndirectFault::OutsideMemory);
                return;
            };
            elements.push(element(descriptor, index, true));
            if descriptor.flags & desc::INDIRECT != 0 {
                self.end = ChainEnd::Indirect(IndirectFault::Nested);
                return;
            }
            if !self.buffer(descriptor, ram) {
                return;
            }
            if descriptor.flags & desc::NEXT == 0 {
                self.end = ChainEnd::Complete;
                return;
            }
            if u32::from(descriptor.next) >= entries {
                self.end = ChainEnd::NextOutOfRange {
                    next: descriptor.next,
                    table: entries,
                };
                return;
            }
            index = descriptor.next;
        }
        self.end = ChainEnd::TooLong;
    }

    /// Counts a buffer. Returns whether it lies in memory.
    #[inline(always)]
    fn buffer(&mut self, descriptor: SplitDescriptor, ram: &GuestRam) -> bool {
        let len = u64::from(descriptor.len);
        if descriptor.flags & desc::WRITE == 0 {
            self.readable += len;
        } else {
            self.writable += len;
        }
        let inside = len == 0 || ram.contains(descriptor.addr, len);
        if !inside {
            self.end = ChainEnd::OutsideMemory;
        }
        inside
    }
}

#[inline(always)]
fn element(descriptor: SplitDescriptor, index: u16, indirect: bool) -> Element {
    let SplitDescriptor {
        addr,
        len,
        flags,
        next,
    } = descriptor;
    Element {
        addr,
        len,
        flags,
        next,
        index,
        indirect,
    }
}

/// An entry of an indirect table, which need not be aligned.
#[inline(always)]
pub(super) fn table_entry(table: &VolatileSlice<'_>, index: u16) -> Option<SplitDescriptor> {
    let offset = usize::from(index) * SplitDescriptor::LEN;
    let [addr, rest] = table.read_obj::<[u64; 2]>(offset).ok()?;
    Some(SplitDescriptor::from_halves(addr, rest))
}
