//! The guest's memory, as devices reach it.

use std::sync::Arc;

use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, VolatileSlice,
};

/// Guest RAM: at most a few regions of guest-physical address space, each contiguous in ours.
///
/// Cloning is cheap; the mappings live as long as any clone. Every slice handed out lies in one
/// region: guests cannot make a buffer span the hole below 4 GiB.
#[derive(Clone, Debug)]
pub struct GuestRam {
    memory: Arc<GuestMemoryMmap>,
    /// The regions again, in a form that is quick to search.
    spans: Arc<[Span]>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    len: u64,
    index: usize,
}

impl GuestRam {
    /// Wraps the machine's memory.
    pub fn new(memory: GuestMemoryMmap) -> Self {
        let spans = memory
            .iter()
            .enumerate()
            .map(|(index, r)| Span {
                start: r.start_addr().0,
                len: r.len(),
                index,
            })
            .collect();
        GuestRam {
            memory: Arc::new(memory),
            spans,
        }
    }

    /// Anonymous memory of `len` bytes from guest-physical 0, for tests and benchmarks.
    pub fn anonymous(len: usize) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), len)])
            .expect("anonymous memory of a test's size can be mapped");
        GuestRam::new(memory)
    }

    /// The underlying memory, for those who load kernels or register it with KVM.
    pub fn inner(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// The `len` bytes at guest-physical `address`, if all of them are RAM of one region.
    #[inline]
    pub fn slice(&self, address: u64, len: usize) -> Option<VolatileSlice<'_>> {
        let span = self
            .spans
            .iter()
            .find(|s| address.wrapping_sub(s.start) < s.len)?;
        let offset = address - span.start;
        if len as u64 > span.len - offset {
            return None;
        }
        let region = self.memory.iter().nth(span.index)?;
        region
            .as_volatile_slice()
            .ok()?
            .subslice(offset as usize, len)
            .ok()
    }

    /// Whether all `len` bytes at `address` are RAM of one region.
    #[inline]
    pub fn contains(&self, address: u64, len: u64) -> bool {
        self.spans
            .iter()
            .any(|s| address.wrapping_sub(s.start) < s.len && len <= s.len - (address - s.start))
    }
}
