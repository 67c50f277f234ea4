//! Every buffer in flight as the driver made it available, to be compared with what is in the tables
//! later: until it is returned the driver may not alter it (§3.3.1 of virtio 1.0).

use stickler_conformance::event::{BufferPart, DescriptorField, Element};
use stickler_conformance::layout::desc;

use super::rings::{MappedRings, SplitDescriptor};
use super::walk;

/// Entries of indirect tables that are kept for one queue; of further tables only a hash is.
const KEPT_ENTRIES: usize = 1 << 16;

/// Entries for which a head keeps room that it does not need.
const MOST_SPARE: usize = 256;

/// The buffers of one queue that are in flight.
pub(super) struct InFlight {
    /// For each 64 heads, …
    heads: Vec<HeadBits>,
    /// The descriptor table, each entry in its two halves, which are written and compared whole; an entry
    /// has a meaning while a chain in flight contains it.
    table: Box<[[u64; 2]]>,
    /// The entries of the available ring, by position.
    entries: Box<[u16]>,
    /// The indirect tables, by head; empty until there is one.
    tables: Vec<IndirectCopy>,
    /// The number of entries for which all of them have room.
    kept: usize,
    /// The head at which the next round of comparisons begins.
    cursor: usize,
}

/// The state of 64 heads, a bit each.
#[derive(Clone, Copy, Default)]
struct HeadBits {
    /// In flight.
    in_flight: u64,
    /// … and the chain is compared: it is complete, and was not found altered yet.
    whole: u64,
}

/// An indirect table as it was.
#[derive(Clone, Default)]
struct IndirectCopy {
    addr: u64,
    /// How many entries the chain had.
    count: usize,
    /// Entries of the table up to the last one of the chain.
    span: usize,
    /// The indices of its entries in the order of the chain; none if only the hash is kept.
    indices: Vec<u16>,
    /// These entries.
    entries: Vec<SplitDescriptor>,
    hash: u64,
}

/// What differs in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) part: BufferPart,
    pub(super) exposed: u64,
    pub(super) found: u64,
}

impl InFlight {
    pub(super) fn new(size: u16) -> Self {
        let size = usize::from(size);
        InFlight {
            heads: vec![HeadBits::default(); size.div_ceil(64)],
            table: vec![[0; 2]; size].into_boxed_slice(),
            entries: vec![0; size].into_boxed_slice(),
            tables: Vec::new(),
            kept: 0,
            cursor: 0,
        }
    }

    /// The available ring's entry for `position`, as it was when the buffer was made available.
    #[inline(always)]
    pub(super) fn entry(&self, position: u16) -> u16 {
        let index = usize::from(position) & self.entries.len().wrapping_sub(1);
        self.entries.get(index).copied().unwrap_or_default()
    }

    /// Keeps a chain that was made available at `position`. Returns whether its head was in flight.
    #[inline(always)]
    pub(super) fn keep(
        &mut self,
        position: u16,
        head: u16,
        elements: &[Element],
        complete: bool,
    ) -> bool {
        let index = usize::from(position) & self.entries.len().wrapping_sub(1);
        if let Some(entry) = self.entries.get_mut(index) {
            *entry = head;
        }
        let Some(bits) = self.heads.get_mut(usize::from(head / 64)) else {
            // No descriptor of this table: told as HeadOutOfRange.
            return false;
        };
        let bit = 1 << (head % 64);
        if bits.in_flight & bit != 0 {
            return true;
        }
        bits.in_flight |= bit;
        if complete {
            bits.whole |= bit;
            self.keep_whole(head, elements);
        }
        false
    }

    #[inline(always)]
    fn keep_whole(&mut self, head: u16, elements: &[Element]) {
        for (position, element) in elements.iter().enumerate() {
            if let Some(slot) = self.table.get_mut(usize::from(element.index)) {
                *slot = SplitDescriptor::of(element).halves();
            }
            if element.flags & desc::INDIRECT != 0 {
                let table = elements.get(position + 1..).unwrap_or_default();
                self.keep_table(head, element.addr, table);
                return;
            }
        }
    }

    #[inline(never)]
    fn keep_table(&mut self, head: u16, addr: u64, table: &[Element]) {
        if self.tables.is_empty() {
            self.tables
                .resize(self.table.len(), IndirectCopy::default());
        }
        let Some(copy) = self.tables.get_mut(usize::from(head)) else {
            return;
        };
        let spans = table.iter().map(|e| usize::from(e.index) + 1);
        (copy.addr, copy.count, copy.span) = (addr, table.len(), spans.max().unwrap_or(0));
        let kept = copy.entries.capacity();
        if table.len() > kept || kept > MOST_SPARE.max(table.len()) {
            // What is not needed is given back: a driver could have each head keep the largest table.
            self.kept -= kept;
            (copy.indices, copy.entries) = (Vec::new(), Vec::new());
            if self.kept + table.len() > KEPT_ENTRIES {
                copy.hash = hash(table.iter().map(SplitDescriptor::of));
                return;
            }
            copy.indices.reserve_exact(table.len());
            copy.entries.reserve_exact(table.len());
            self.kept += copy.entries.capacity();
        }
        copy.indices.clear();
        copy.entries.clear();
        copy.indices.extend(table.iter().map(|e| e.index));
        copy.entries.extend(table.iter().map(SplitDescriptor::of));
    }

    /// The buffer is in flight no more.
    #[inline(always)]
    pub(super) fn forget(&mut self, head: u16) {
        let mask = !(1 << (head % 64));
        if let Some(bits) = self.heads.get_mut(usize::from(head / 64)) {
            bits.in_flight &= mask;
            bits.whole &= mask;
        }
    }

    /// Compares the chain of `head` with what is in the tables now. What differs is returned once, and the
    /// chain not compared any more. Returns also how many descriptors were compared.
    #[inline(always)]
    pub(super) fn compare(
        &mut self,
        rings: &MappedRings,
        head: u16,
    ) -> (Option<Difference>, usize) {
        let bits = self.heads.get(usize::from(head / 64)).copied();
        if bits.unwrap_or_default().whole & 1 << (head % 64) == 0 {
            return (None, 0);
        }
        let (difference, compared) = self.compare_whole(rings, head);
        if difference.is_some()
            && let Some(bits) = self.heads.get_mut(usize::from(head / 64))
        {
            bits.whole &= !(1 << (head % 64));
        }
        (difference, compared)
    }

    /// Compares the chains in flight, one after the other, from where the last call ended, until about
    /// `budget` descriptors have been compared.
    pub(super) fn compare_round(
        &mut self,
        rings: &MappedRings,
        budget: usize,
        mut differs: impl FnMut(u16, Difference),
    ) {
        let mut left = budget;
        let words = self.heads.len();
        let begin = self.cursor % (64 * words);
        // Once around: the word in which it begins comes twice, in two parts.
        let before = (1_u64 << (begin % 64)) - 1;
        for round in 0..=words {
            let word = (begin / 64 + round) % words;
            let part = match round {
                0 => !before,
                _ if round == words => before,
                _ => u64::MAX,
            };
            let bits = self.heads.get(word).copied();
            let mut bits = bits.unwrap_or_default().whole & part;
            while bits != 0 {
                let head = (word * 64) as u16 + bits.trailing_zeros() as u16;
                bits &= bits - 1;
                let (difference, compared) = self.compare_whole(rings, head);
                left = left.saturating_sub(compared);
                if let Some(difference) = difference {
                    if let Some(bits) = self.heads.get_mut(word) {
                        bits.whole &= !(1 << (head % 64));
                    }
                    differs(head, difference);
                }
                if left == 0 {
                    self.cursor = usize::from(head) + 1;
                    return;
                }
            }
        }
    }

    /// Returns what differs, and how many descriptors were compared.
    #[inline(always)]
    fn compare_whole(&self, rings: &MappedRings, head: u16) -> (Option<Difference>, usize) {
        let mut index = head;
        let mut compared = 0;
        while compared < self.table.len() {
            let Some(&then) = self.table.get(usize::from(index)) else {
                break;
            };
            compared += 1;
            let now = rings.halves(index);
            let descriptor = SplitDescriptor::from_halves(then[0], then[1]);
            if then != now
                && let Some((field, exposed, found)) =
                    descriptor.difference(SplitDescriptor::from_halves(now[0], now[1]))
            {
                let difference = Difference {
                    part: BufferPart::Descriptor(index, field),
                    exposed,
                    found,
                };
                return (Some(difference), compared);
            }
            if descriptor.flags & desc::INDIRECT != 0 {
                let (difference, more) = self.compare_table(rings, head);
                return (difference, compared + more);
            }
            if descriptor.flags & desc::NEXT == 0 {
                break;
            }
            index = descriptor.next;
        }
        (None, compared)
    }

    #[inline(never)]
    fn compare_table(&self, rings: &MappedRings, head: u16) -> (Option<Difference>, usize) {
        let Some(copy) = self.tables.get(usize::from(head)) else {
            return (None, 0);
        };
        let count = copy.count;
        // Where memory is gone, there is nothing to compare.
        let table = rings
            .ram()
            .slice(copy.addr, copy.span * SplitDescriptor::LEN);
        let Some(table) = table else {
            return (None, count);
        };
        let now = |index: &u16| walk::table_entry(&table, *index).unwrap_or_default();
        if copy.entries.is_empty() {
            // The chain as it is now: the first entry that is altered is on the way that it had.
            let mut next = Some(0);
            let chain = std::iter::from_fn(|| {
                let descriptor = now(&next?);
                next = (descriptor.flags & desc::NEXT != 0).then_some(descriptor.next);
                Some(descriptor)
            });
            let found = hash(chain.take(count));
            let difference = (found != copy.hash).then_some(Difference {
                part: BufferPart::IndirectTable,
                exposed: copy.hash,
                found,
            });
            return (difference, count);
        }
        for (index, then) in copy.indices.iter().zip(&copy.entries) {
            if let Some((field, exposed, found)) = then.difference(now(index)) {
                let part = BufferPart::IndirectDescriptor(*index, field);
                let difference = Difference {
                    part,
                    exposed,
                    found,
                };
                return (Some(difference), count);
            }
        }
        (None, count)
    }
}

/// A hash of descriptors, without what has no meaning in them.
fn hash(descriptors: impl Iterator<Item = SplitDescriptor>) -> u64 {
    // The multiplier of FNV-1a; a driver does not choose its tables to collide.
    const PRIME: u64 = 0x0100_0000_01b3;
    let add = |hash: u64, value: u64| (hash ^ value).wrapping_mul(PRIME).rotate_left(23);
    descriptors.fold(0xcbf2_9ce4_8422_2325, |hash, d| {
        let next = if d.flags & desc::NEXT != 0 { d.next } else { 0 };
        let rest = u64::from(d.len) | u64::from(d.flags) << 32 | u64::from(next) << 48;
        add(add(hash, d.addr), rest)
    })
}

impl SplitDescriptor {
    #[inline(always)]
    fn of(element: &Element) -> Self {
        SplitDescriptor {
            addr: element.addr,
            len: element.len,
            flags: element.flags,
            next: element.next,
        }
    }

    /// The first field that differs in `now`: as it was, as it is. next has no meaning without NEXT.
    #[cold]
    fn difference(self, now: SplitDescriptor) -> Option<(DescriptorField, u64, u64)> {
        let goes_on = self.flags & desc::NEXT != 0;
        let fields = [
            (DescriptorField::Addr, self.addr, now.addr),
            (DescriptorField::Len, self.len.into(), now.len.into()),
            (DescriptorField::Flags, self.flags.into(), now.flags.into()),
            (DescriptorField::Next, self.next.into(), now.next.into()),
        ];
        fields
            .into_iter()
            .find(|(field, then, now)| then != now && (goes_on || *field != DescriptorField::Next))
    }
}
