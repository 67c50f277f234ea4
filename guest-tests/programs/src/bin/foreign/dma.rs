//! Memory that devices can reach: one huge page, whose physical address the kernel reports.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::mm::{MapFlags, ProtFlags};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use crate::bus;

/// Size in bytes of a huge page.
const SIZE: usize = 2 << 20;

const PAGES: usize = SIZE / PAGE_SIZE;

static POOL: OnceLock<Mutex<Pool>> = OnceLock::new();

/// Gets the huge page.
pub(crate) fn set_up() -> Result<()> {
    fs::write("/proc/sys/vm/nr_hugepages", "2").context("cannot ask for huge pages")?;
    // SAFETY: A new mapping, wherever there is room, overlaps no other memory.
    let base = unsafe {
        rustix::mm::mmap_anonymous(
            ptr::null_mut(),
            SIZE,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::POPULATE | MapFlags::LOCKED,
        )
    }
    .context("the kernel has no huge page")?;
    let virt = base.expose_provenance();
    let pool = Pool {
        virt,
        phys: physical_address(virt)?,
        taken: [false; PAGES],
    };
    POOL.set(Mutex::new(pool))
        .map_err(|_| anyhow!("the memory for devices has been set up before"))
}

/// What `/proc/self/pagemap` says of the page at `address`.
fn physical_address(address: usize) -> Result<u64> {
    let mut entry = [0; size_of::<u64>()];
    File::open("/proc/self/pagemap")?
        .read_exact_at(&mut entry, (address / PAGE_SIZE * size_of::<u64>()) as u64)?;
    let entry = u64::from_le_bytes(entry);
    let frame = entry & ((1 << 55) - 1);
    ensure!(
        entry >> 63 == 1 && frame != 0,
        "the kernel does not tell where the huge page is"
    );
    Ok(frame * PAGE_SIZE as u64)
}

/// The pages of the huge page.
struct Pool {
    virt: usize,
    phys: u64,
    taken: [bool; PAGES],
}

impl Pool {
    /// Takes `count` pages that follow each other, zeroed.
    fn take(&mut self, count: usize) -> Option<(PhysAddr, NonNull<u8>)> {
        let first = self
            .taken
            .windows(count)
            .position(|pages| pages.iter().all(|&taken| !taken))?;
        self.taken[first..first + count].fill(true);
        let offset = first * PAGE_SIZE;
        let pages: *mut u8 = ptr::with_exposed_provenance_mut(self.virt + offset);
        // SAFETY: The pages are inside the mapping, which is never unmapped, and were not in use.
        unsafe { pages.write_bytes(0, count * PAGE_SIZE) };
        Some((self.phys + offset as u64, NonNull::new(pages)?))
    }

    fn give_back(&mut self, physical: PhysAddr, count: usize) {
        let first = ((physical - self.phys) / PAGE_SIZE as u64) as usize;
        self.taken[first..first + count].fill(false);
    }

    fn at(&self, physical: PhysAddr) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.virt + (physical - self.phys) as usize)
    }
}

fn pool() -> std::sync::MutexGuard<'static, Pool> {
    POOL.get()
        .expect("the memory for devices is set up before any driver is made")
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// What the crate's drivers require of their host. Buffers it shares are copied to and from the huge page,
/// as its documentation allows.
pub(crate) struct Memory;

// SAFETY: `dma_alloc` returns zeroed, page-aligned memory that nothing else uses until
// `dma_dealloc`; `mmio_phys_to_virt` returns mapped BARs only, each structure in a place of its
// own; `share` returns memory that stays as it is until `unshare`.
unsafe impl Hal for Memory {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // Address 0 means that there is none.
        pool().take(pages).unwrap_or((0, NonNull::dangling()))
    }

    unsafe fn dma_dealloc(physical: PhysAddr, _virtual: NonNull<u8>, pages: usize) -> i32 {
        pool().give_back(physical, pages);
        0
    }

    unsafe fn mmio_phys_to_virt(physical: PhysAddr, size: usize) -> NonNull<u8> {
        bus::mapped(physical, size).expect("the crate looks for structures in BARs only")
    }

    unsafe fn share(buffer: NonNull<[u8]>, direction: BufferDirection) -> PhysAddr {
        let (physical, copy) = pool()
            .take(buffer.len().div_ceil(PAGE_SIZE))
            .expect("the huge page is large enough for what is in flight at a time");
        if direction != BufferDirection::DeviceToDriver {
            // SAFETY: The caller promises that the buffer is valid; the copy is as large.
            unsafe {
                copy.as_ptr()
                    .copy_from_nonoverlapping(buffer.as_ptr().cast(), buffer.len());
            }
        }
        physical
    }

    unsafe fn unshare(physical: PhysAddr, buffer: NonNull<[u8]>, direction: BufferDirection) {
        let mut pool = pool();
        if direction != BufferDirection::DriverToDevice {
            // SAFETY: The caller promises that the buffer is valid and was shared; the copy is as
            // large.
            unsafe {
                pool.at(physical)
                    .copy_to_nonoverlapping(buffer.as_ptr().cast(), buffer.len());
            }
        }
        pool.give_back(physical, buffer.len().div_ceil(PAGE_SIZE));
    }
}
