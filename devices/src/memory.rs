//! The guest's memory, as devices reach it.
//!
//! [`GuestRam`] is a snapshot: which regions there are never changes in it, so that reaching memory
//! takes no lock. Where memory comes and goes while devices live, the host makes another snapshot and
//! hands it to each device with [`Serviced::memory_changed`](crate::virtio::Serviced::memory_changed).
//! A region stays mapped until the last snapshot with it is dropped: nothing that a device still
//! works on is unmapped.

use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;

use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionCollectionError, GuestRegionMmap, VolatileSlice,
};

/// Guest RAM: regions of guest-physical address space, each contiguous in ours.
///
/// Cloning is cheap; the mappings live as long as any clone. Every slice handed out lies in one
/// region: a buffer cannot span the hole below 4 GiB.
#[derive(Clone, Debug)]
pub struct GuestRam {
    memory: Arc<GuestMemoryMmap>,
    /// What keeps the regions mapped besides, see [`GuestRam::mapped_by`].
    owner: Option<Owner>,
    /// The regions again, in a form that is quick to search: the look-up is in the path of every
    /// buffer, and there are few regions.
    spans: Arc<[Span]>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    len: u64,
    host: NonNull<u8>,
}

type Owner = Arc<dyn Any + Send + Sync>;

// SAFETY: the pointer is into memory that `GuestRam` keeps mapped, and is only used to make
// `VolatileSlice`s, which are made for memory that others change at the same time.
unsafe impl Send for Span {}
// SAFETY: as above.
unsafe impl Sync for Span {}

impl GuestRam {
    /// Wraps the machine's memory.
    pub fn new(memory: GuestMemoryMmap) -> Self {
        GuestRam::with_owner(memory, None)
    }

    /// Wraps memory whose regions do not keep their own mappings: `owner` does. It is dropped with the last
    /// clone.
    pub fn mapped_by(memory: GuestMemoryMmap, owner: Arc<dyn Any + Send + Sync>) -> Self {
        GuestRam::with_owner(memory, Some(owner))
    }

    fn with_owner(memory: GuestMemoryMmap, owner: Option<Owner>) -> Self {
        let spans = memory
            .iter()
            .filter_map(|region| {
                let host = region.as_volatile_slice().ok()?.ptr_guard_mut().as_ptr();
                Some(Span {
                    start: region.start_addr().0,
                    len: region.len(),
                    host: NonNull::new(host)?,
                })
            })
            .collect();
        GuestRam {
            memory: Arc::new(memory),
            owner,
            spans,
        }
    }

    /// Anonymous memory of `len` bytes from guest-physical 0, for tests and benchmarks.
    ///
    /// # Panics
    /// If the host has no memory to give.
    #[cfg(not(miri))]
    pub fn anonymous(len: usize) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), len)])
            .expect("anonymous memory of a test's size can be mapped");
        GuestRam::new(memory)
    }

    /// The same under Miri, which maps no memory. The allocation that vm-memory makes there instead is
    /// not aligned to a page, so this makes one that is, and never gives it back.
    #[cfg(miri)]
    pub fn anonymous(len: usize) -> Self {
        #[derive(Clone)]
        #[repr(C, align(4096))]
        struct Page([u8; 4096]);

        let pages = Box::leak(vec![Page([0; 4096]); len.div_ceil(4096)].into_boxed_slice());
        // SAFETY: the pages are leaked, so they stay, and nothing else refers to them.
        let region = unsafe {
            vm_memory::mmap::MmapRegionBuilder::new(len)
                .with_raw_mmap_pointer(pages.as_mut_ptr().cast())
        };
        let region = GuestRegionMmap::new(region.build().expect("aligned"), GuestAddress(0));
        let memory = GuestMemoryMmap::from_regions(vec![region.expect("from 0 on")]);
        GuestRam::new(memory.expect("one region"))
    }

    /// The same memory and `region` besides.
    ///
    /// # Errors
    /// If it overlaps another region.
    pub fn with_region(
        &self,
        region: Arc<GuestRegionMmap>,
    ) -> Result<Self, GuestRegionCollectionError> {
        let memory = self.memory.insert_region(region)?;
        Ok(GuestRam::with_owner(memory, self.owner.clone()))
    }

    /// The same memory without the region of `len` bytes at guest-physical `start`, and that region.
    /// The last reference to it goes away with the devices' last use of it.
    ///
    /// # Errors
    /// If there is no region of just these bytes.
    pub fn without_region(
        &self,
        start: u64,
        len: u64,
    ) -> Result<(Self, Arc<GuestRegionMmap>), GuestRegionCollectionError> {
        let (memory, region) = self.memory.remove_region(GuestAddress(start), len)?;
        Ok((GuestRam::with_owner(memory, self.owner.clone()), region))
    }

    /// The underlying memory, for those who load kernels or register it with KVM.
    pub fn inner(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// The `len` bytes at guest-physical `address`, if all of them are RAM of one region.
    #[inline]
    pub fn slice(&self, address: u64, len: usize) -> Option<VolatileSlice<'_>> {
        let host = self.host(address, len as u64)?;
        // SAFETY: `host` is the address of `len` bytes that are mapped for as long as `self` lives,
        // to which the slice's lifetime is tied.
        Some(unsafe { VolatileSlice::new(host.as_ptr(), len) })
    }

    /// Whether all `len` bytes at `address` are RAM of one region.
    #[inline]
    pub fn contains(&self, address: u64, len: u64) -> bool {
        self.host(address, len).is_some()
    }

    /// Our address of the `len` bytes at guest-physical `address`, if all of them are RAM of one
    /// region. Valid as long as any clone of `self` lives.
    #[inline]
    pub(crate) fn host(&self, address: u64, len: u64) -> Option<NonNull<u8>> {
        for span in self.spans.iter() {
            let offset = address.wrapping_sub(span.start);
            if offset < span.len {
                if len > span.len - offset {
                    return None;
                }
                // SAFETY: `offset` is less than the span's length, which is mapped at `host`.
                return Some(unsafe { span.host.add(offset as usize) });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    #[test]
    fn slices_stay_inside_one_region() {
        let memory = GuestMemoryMmap::from_ranges(&[
            (GuestAddress(0), 0x1_0000),
            (GuestAddress(0x1_0000_0000), 0x1_0000),
        ])
        .expect("small");
        let ram = GuestRam::new(memory);
        assert!(ram.slice(0, 0x1_0000).is_some());
        assert!(ram.slice(0, 0x1_0001).is_none());
        assert!(ram.slice(0x1_0000, 1).is_none());
        assert!(ram.slice(0xffff_ffff, 2).is_none());
        assert!(ram.slice(0x1_0000_fff0, 0x10).is_some());
        assert!(ram.slice(0x1_0000_fff0, 0x11).is_none());
        assert!(ram.slice(u64::MAX, 2).is_none());
        assert!(!ram.contains(0xfff0, u64::MAX));
    }

    #[test]
    fn a_region_stays_mapped_for_those_who_still_use_it() {
        let region = GuestRegionMmap::from_range(GuestAddress(0x10_0000), 0x1000, None);
        let region = Arc::new(region.expect("a page"));
        let small = GuestRam::anonymous(0x1000);
        let large = small.with_region(region).expect("it overlaps nothing");
        let slice = large.slice(0x10_0000, 4).expect("in memory");
        assert!(!small.contains(0x10_0000, 1));
        let (without, region) = large.without_region(0x10_0000, 0x1000).expect("just that");
        assert!(!without.contains(0x10_0000, 1) && without.contains(0, 0x1000));
        // One who holds the old snapshot goes on; then the region is the caller's alone.
        slice.copy_from(&[1_u8, 2, 3, 4]);
        assert_eq!(slice.read_obj::<u32>(0).expect("in slice"), 0x0403_0201);
        assert_eq!(Arc::strong_count(&region), 2);
        drop(large);
        assert_eq!(Arc::strong_count(&region), 1);
    }

    #[test]
    fn an_owner_stays_for_those_who_still_use_the_memory() {
        let owner = Arc::new(0_u8);
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).expect("a page");
        let ram = GuestRam::mapped_by(memory, owner.clone());
        let user = ram.clone();
        let (without, _) = ram.without_region(0, 0x1000).expect("it is there");
        drop((ram, without));
        assert_eq!(Arc::strong_count(&owner), 2);
        drop(user);
        assert_eq!(Arc::strong_count(&owner), 1);
    }

    #[test]
    fn regions_that_are_not_there_or_are_twice_are_refused() {
        let ram = GuestRam::anonymous(0x1000);
        assert!(ram.without_region(0, 0x800).is_err());
        assert!(ram.without_region(0x1000, 0x1000).is_err());
        let overlapping = GuestRegionMmap::from_range(GuestAddress(0), 0x2000, None);
        let overlapping = Arc::new(overlapping.expect("two pages"));
        assert!(ram.with_region(overlapping).is_err());
        let (empty, _) = ram.without_region(0, 0x1000).expect("all of it");
        assert!(empty.slice(0, 1).is_none());
    }

    #[test]
    fn slices_reach_the_memory_they_name() {
        let ram = GuestRam::anonymous(0x1_0000);
        ram.inner()
            .write_obj(0x1234_5678_u32, GuestAddress(0x8004))
            .expect("in memory");
        let slice = ram.slice(0x8000, 8).expect("in memory");
        assert_eq!(slice.read_obj::<u32>(4).expect("in slice"), 0x1234_5678);
    }
}
