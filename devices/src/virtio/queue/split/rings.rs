//! The three parts of a split ring in the guest's memory, mapped once. Citations are of virtio 1.0.
//!
//! This is the one place in the queue that uses raw pointers. vm-memory's checked accessors translate
//! the address at every access; here it is translated when the queue is enabled, and each access that
//! follows is in bounds by construction, because indices are taken modulo the queue size.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use virtio_queue::desc::split::{Descriptor, VirtqUsedElem};

use crate::memory::GuestRam;
use crate::virtio::queue::QueueConfig;

/// One descriptor table entry (§2.4.5), in our byte order. virtio-queue's [`Descriptor`] has the same
/// fields in the guest's byte order; this one is made from the two halves that are read at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SplitDescriptor {
    pub(super) addr: u64,
    pub(super) len: u32,
    pub(super) flags: u16,
    pub(super) next: u16,
}

impl SplitDescriptor {
    /// Bytes in a table.
    pub(super) const LEN: usize = size_of::<Descriptor>();

    /// From its two little-endian halves.
    #[inline(always)]
    pub(super) fn from_halves(addr: u64, rest: u64) -> Self {
        let rest = u64::from_le(rest);
        SplitDescriptor {
            addr: u64::from_le(addr),
            len: rest as u32,
            flags: (rest >> 32) as u16,
            next: (rest >> 48) as u16,
        }
    }

    /// Its two little-endian halves.
    #[inline(always)]
    pub(super) fn halves(self) -> [u64; 2] {
        let rest = u64::from(self.len) | u64::from(self.flags) << 32 | u64::from(self.next) << 48;
        [self.addr.to_le(), rest.to_le()]
    }
}

/// Descriptor table, available ring and used ring of one live queue.
pub(super) struct MappedRings {
    /// Keeps the memory mapped.
    ram: GuestRam,
    /// Number of descriptors less one; the queue size is a power of two.
    mask: u16,
    /// `struct virtq_desc[size]`, aligned to 16.
    desc: NonNull<[u64; 2]>,
    /// `struct virtq_avail`: flags, idx, `ring[size]`, used_event; aligned to 2.
    avail: NonNull<u16>,
    /// `struct virtq_used`: flags, idx, `ring[size]`, avail_event; aligned to 4.
    used: NonNull<u32>,
}

// SAFETY: the pointers are into guest memory, which `ram` keeps mapped and which any thread may
// reach; all accesses are volatile or atomic.
unsafe impl Send for MappedRings {}

/// Bytes of the available ring of a queue of `size`, `used_event` included (§2.4).
pub(super) const fn available_len(size: u16) -> u64 {
    6 + 2 * size as u64
}

/// Bytes of the used ring of a queue of `size`, `avail_event` included (§2.4).
pub(super) const fn used_len(size: u16) -> u64 {
    6 + size_of::<VirtqUsedElem>() as u64 * size as u64
}

/// Bytes of the descriptor table of a queue of `size` (§2.4).
pub(super) const fn table_len(size: u16) -> u64 {
    SplitDescriptor::LEN as u64 * size as u64
}

impl MappedRings {
    /// Maps the parts at their guest-physical addresses. `None` if `size` is no power of two from 1
    /// to 32768, or a part is misaligned (§2.4.1) or not in memory.
    pub(super) fn map(ram: &GuestRam, config: &QueueConfig) -> Option<Self> {
        let QueueConfig {
            size,
            desc,
            avail,
            used,
            ..
        } = *config;
        if !size.is_power_of_two() || size > 32768 {
            return None;
        }
        // Regions are page-aligned on both sides, so what is aligned in the guest is aligned here.
        Some(MappedRings {
            mask: size - 1,
            desc: aligned(ram, desc, table_len(size), 16)?.cast(),
            avail: aligned(ram, avail, available_len(size), 2)?.cast(),
            used: aligned(ram, used, used_len(size), 4)?.cast(),
            ram: ram.clone(),
        })
    }

    /// The memory they are in.
    pub(super) fn ram(&self) -> &GuestRam {
        &self.ram
    }

    #[inline(always)]
    pub(super) fn size(&self) -> u16 {
        self.mask + 1
    }

    /// Entry `index` of the descriptor table, modulo the queue size.
    #[inline(always)]
    pub(super) fn descriptor(&self, index: u16) -> SplitDescriptor {
        let [addr, rest] = self.halves(index);
        SplitDescriptor::from_halves(addr, rest)
    }

    /// The two halves of entry `index` of the descriptor table, modulo the queue size, as they are in
    /// memory: little-endian.
    #[inline(always)]
    pub(super) fn halves(&self, index: u16) -> [u64; 2] {
        // SAFETY: the table has `mask + 1` entries.
        let entry = unsafe { self.desc.add(usize::from(index & self.mask)) }.cast::<u64>();
        // SAFETY: an entry is 16 mapped bytes, aligned to 16.
        let addr = unsafe { entry.read_volatile() };
        // SAFETY: the second half of the same entry.
        let second = unsafe { entry.add(1) };
        // SAFETY: as above.
        let rest = unsafe { second.read_volatile() };
        [addr, rest]
    }

    /// `flags` of the available ring (§2.4.6).
    #[inline(always)]
    pub(super) fn available_flags(&self) -> u16 {
        u16::from_le(self.avail_word(0).load(Ordering::Relaxed))
    }

    /// `idx` of the available ring. What the driver wrote before it is seen after this (§3.2.1.3.1).
    #[inline(always)]
    pub(super) fn available_idx(&self) -> u16 {
        u16::from_le(self.avail_word(1).load(Ordering::Acquire))
    }

    /// The available ring's entry for position `position`, modulo the queue size.
    #[inline(always)]
    pub(super) fn available_entry(&self, position: u16) -> u16 {
        let word = 2 + usize::from(position & self.mask);
        u16::from_le(self.avail_word(word).load(Ordering::Relaxed))
    }

    /// `used_event` (§2.4.7).
    #[inline(always)]
    pub(super) fn used_event(&self) -> u16 {
        let word = 2 + usize::from(self.mask) + 1;
        u16::from_le(self.avail_word(word).load(Ordering::Relaxed))
    }

    /// Sets `flags` of the used ring (§2.4.9.2).
    #[inline(always)]
    pub(super) fn set_used_flags(&self, flags: u16) {
        self.used_half(0).store(flags.to_le(), Ordering::Relaxed);
    }

    /// `flags` of the used ring, as anybody may have written it.
    #[inline(always)]
    pub(super) fn used_flags(&self) -> u16 {
        u16::from_le(self.used_half(0).load(Ordering::Relaxed))
    }

    /// `idx` of the used ring, as anybody may have written it.
    #[inline(always)]
    pub(super) fn used_idx(&self) -> u16 {
        u16::from_le(self.used_half(1).load(Ordering::Relaxed))
    }

    /// `avail_event`, as anybody may have written it.
    #[inline(always)]
    pub(super) fn avail_event(&self) -> u16 {
        let half = 2 + 4 * (usize::from(self.mask) + 1);
        u16::from_le(self.used_half(half).load(Ordering::Relaxed))
    }

    /// Fills the used ring's entry for position `position`, modulo the queue size (§2.4.8).
    #[inline(always)]
    pub(super) fn set_used_entry(&self, position: u16, id: u32, len: u32) {
        // One header word, then two words an entry.
        let word = 1 + 2 * usize::from(position & self.mask);
        // SAFETY: the ring has a header and `mask + 1` entries of two words.
        let entry = unsafe { self.used.add(word) };
        // SAFETY: the entry's first word, aligned to 4.
        unsafe { entry.write_volatile(id.to_le()) };
        // SAFETY: the entry's second word.
        let second = unsafe { entry.add(1) };
        // SAFETY: as above.
        unsafe { second.write_volatile(len.to_le()) };
    }

    /// The used ring's entry for position `position`, modulo the queue size, as anybody may have written
    /// it: `id` and `len`.
    #[inline(always)]
    pub(super) fn used_entry(&self, position: u16) -> (u32, u32) {
        let word = 1 + 2 * usize::from(position & self.mask);
        // SAFETY: the ring has a header and `mask + 1` entries of two words.
        let entry = unsafe { self.used.add(word) };
        // SAFETY: the entry's first word, aligned to 4.
        let id = unsafe { entry.read_volatile() };
        // SAFETY: the entry's second word.
        let second = unsafe { entry.add(1) };
        // SAFETY: as above.
        let len = unsafe { second.read_volatile() };
        (u32::from_le(id), u32::from_le(len))
    }

    /// Sets `idx` of the used ring; the entries written before are seen with it (§2.4.8.2).
    #[inline(always)]
    pub(super) fn set_used_idx(&self, idx: u16) {
        self.used_half(1).store(idx.to_le(), Ordering::Release);
    }

    /// Sets `avail_event` (§2.4.9).
    #[inline(always)]
    pub(super) fn set_avail_event(&self, position: u16) {
        let half = 2 + 4 * (usize::from(self.mask) + 1);
        self.used_half(half)
            .store(position.to_le(), Ordering::Relaxed);
    }

    /// 16-bit word `word` of the available ring; callers pass 0, 1, or 2 + a masked index, or the
    /// one behind the last.
    #[inline(always)]
    fn avail_word(&self, word: usize) -> &AtomicU16 {
        debug_assert!(word <= usize::from(self.mask) + 3);
        // SAFETY: the ring has `mask + 4` words.
        let pointer = unsafe { self.avail.add(word) };
        // SAFETY: mapped while `self` lives, aligned to 2, and an atomic may be shared with a guest.
        unsafe { AtomicU16::from_ptr(pointer.as_ptr()) }
    }

    /// 16-bit half-word `half` of the used ring: 0, 1, or the one behind the last entry.
    #[inline(always)]
    fn used_half(&self, half: usize) -> &AtomicU16 {
        debug_assert!(half <= 4 * (usize::from(self.mask) + 1) + 2);
        // SAFETY: the ring has 2 half-words of header, 4 an entry, and 1 behind.
        let pointer = unsafe { self.used.cast::<u16>().add(half) };
        // SAFETY: mapped while `self` lives, aligned to 2, and an atomic may be shared with a guest.
        unsafe { AtomicU16::from_ptr(pointer.as_ptr()) }
    }
}

fn aligned(ram: &GuestRam, address: u64, len: u64, alignment: u64) -> Option<NonNull<u8>> {
    if !address.is_multiple_of(alignment) {
        return None;
    }
    let host = ram.host(address, len)?;
    (host.as_ptr() as usize)
        .is_multiple_of(alignment as usize)
        .then_some(host)
}
