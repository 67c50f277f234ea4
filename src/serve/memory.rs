//! The guest's memory, as a client shares it: files, pieces of which are at addresses on the bus.
//!
//! Pieces that adjoin are mapped side by side, so that a ring or a buffer may lie across two of them: where a
//! monitor cuts its memory is not the guest's to know.

use std::io;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use stickler_devices::memory::GuestRam;
use stickler_vfio_user::{DmaMapping, DmaTable};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap};

/// The most bytes that one client may share: a machine's worth, and a small part of our address space.
const MOST: u64 = 1 << 44;

/// Where a run is mapped is the same as its address, but for multiples of this: so are the addresses of its
/// pieces multiples of every size of pages that their files may be made of.
const ALIGNMENT: u64 = 1 << 30;

/// The memory that one device reaches.
///
/// A monitor may take memory away and give it back while the guest waits, and cut it otherwise each time. So memory
/// that is taken away is let go of at the guest's next access: only then can the guest know that it is gone.
#[derive(Debug, Default)]
pub(super) struct SharedMemory {
    wanted: DmaTable,
    /// Addresses that are mapped now: first and end.
    mapped: Vec<(u64, u64)>,
    is_late: bool,
}

impl SharedMemory {
    /// The client shares this from now on.
    pub(super) fn share(&mut self, table: &DmaTable) {
        self.wanted = table.clone();
        self.is_late = true;
    }

    /// The client has nothing more to say for now. Returns the memory if it has become more, or was cut
    /// otherwise.
    pub(super) fn settle(&mut self) -> io::Result<Option<GuestRam>> {
        if self.is_late && self.loses_nothing() {
            self.update()
        } else {
            Ok(None)
        }
    }

    /// The guest is about to access the device. Returns the memory if it is another.
    pub(super) fn update(&mut self) -> io::Result<Option<GuestRam>> {
        if !std::mem::take(&mut self.is_late) {
            return Ok(None);
        }
        self.mapped.clear();
        let ram = map(&self.wanted)?;
        self.mapped = runs(&self.wanted).map(|run| (run.start, run.end)).collect();
        Ok(Some(ram))
    }

    /// Whether the device can reach any memory, and whether the client has named memory that it cannot reach.
    pub(super) fn reach(&self) -> (bool, bool) {
        let reachable = !self.mapped.is_empty();
        (reachable, self.wanted.iter().any(|m| m.file.is_none()))
    }

    fn loses_nothing(&self) -> bool {
        let runs: Vec<Run<'_>> = runs(&self.wanted).collect();
        self.mapped.iter().all(|(start, end)| {
            let within = |run: &Run<'_>| run.start <= *start && *end <= run.end;
            runs.iter().any(within)
        })
    }
}

/// Whether a piece can be mapped.
///
/// # Errors
/// ENODEV if it is not of a regular file, EINVAL if the file ends before, ENOMEM if it is more than a machine has,
/// and whatever the system says.
pub(super) fn check(table: &DmaTable, piece: &DmaMapping) -> Result<(), Errno> {
    let Some(file) = &piece.file else {
        return Ok(());
    };
    let stat = fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::NODEV);
    }
    // Behind its end there is nothing, and an access would end this process. A client that makes the file
    // shorter later does so to a device of its own; monitors seal their files against that.
    let len = u64::try_from(stat.st_size).unwrap_or(0);
    if piece.offset + piece.size > len {
        return Err(Errno::INVAL);
    }
    let all = table.iter().filter(|m| is_memory(m)).map(|m| m.size);
    if all.fold(0, u64::saturating_add) > MOST {
        return Err(Errno::NOMEM);
    }
    let run = Run {
        start: piece.address,
        end: piece.end(),
        pieces: vec![piece],
    };
    Span::of(&run).map(drop)
}

/// The device can read it.
fn is_memory(mapping: &DmaMapping) -> bool {
    mapping.readable && mapping.file.is_some()
}

/// Pieces that adjoin.
struct Run<'a> {
    start: u64,
    end: u64,
    pieces: Vec<&'a DmaMapping>,
}

fn runs(table: &DmaTable) -> impl Iterator<Item = Run<'_>> {
    let mut pieces = table.iter().filter(|m| is_memory(m)).peekable();
    std::iter::from_fn(move || {
        let first = pieces.next()?;
        let mut run = Run {
            start: first.address,
            end: first.end(),
            pieces: vec![first],
        };
        while let Some(next) = pieces.next_if(|next| next.address == run.end) {
            run.end = next.end();
            run.pieces.push(next);
        }
        Some(run)
    })
}

/// Maps all that a client shares.
fn map(table: &DmaTable) -> io::Result<GuestRam> {
    let mut spans = Vec::new();
    let mut regions = Vec::new();
    for run in runs(table) {
        let span = Span::of(&run)?;
        let len = (run.end - run.start) as usize;
        // SAFETY: the span has `len` bytes that are mapped from there on. They stay so as long as the span
        // does, which is kept with every reference to the region.
        let region =
            unsafe { MmapRegionBuilder::new(len).with_raw_mmap_pointer(span.start.as_ptr()) };
        let region = region.build().map_err(io::Error::other)?;
        let region = GuestRegionMmap::new(region, GuestAddress(run.start))
            .ok_or_else(|| io::Error::other("the memory reaches beyond the last address"))?;
        regions.push(region);
        spans.push(span);
    }
    let memory = GuestMemoryMmap::from_regions(regions);
    let memory = match memory {
        Ok(memory) => memory,
        // What refuses to be made of nothing.
        Err(_) if spans.is_empty() => GuestMemoryMmap::new(),
        Err(error) => return Err(io::Error::other(error)),
    };
    Ok(GuestRam::mapped_by(memory, Arc::new(spans)))
}

/// A part of our address space with files in it.
#[derive(Debug)]
struct Span {
    /// What is reserved.
    reserved: NonNull<u8>,
    reserved_len: usize,
    /// Where the first piece is.
    start: NonNull<u8>,
}

// SAFETY: a span is only an address, which any thread may unmap at last.
unsafe impl Send for Span {}
// SAFETY: as above.
unsafe impl Sync for Span {}

impl Span {
    fn of(run: &Run<'_>) -> Result<Span, Errno> {
        let len = run.end - run.start;
        let reserved_len = usize::try_from(len + ALIGNMENT).map_err(|_| Errno::NOMEM)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: without an address to begin with, it takes what is free.
        let reserved = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                reserved_len,
                ProtFlags::empty(),
                flags,
            )
        }?;
        let reserved = NonNull::new(reserved.cast::<u8>()).ok_or(Errno::NOMEM)?;
        let gap = run.start.wrapping_sub(reserved.addr().get() as u64) % ALIGNMENT;
        // SAFETY: the gap is less than what was reserved besides `len`.
        let start = unsafe { reserved.add(gap as usize) };
        let span = Span {
            reserved,
            reserved_len,
            start,
        };
        for piece in &run.pieces {
            if let Some(file) = &piece.file {
                span.place(file, piece, piece.address - run.start)?;
            }
        }
        Ok(span)
    }

    /// Maps a piece at `offset` in the span.
    fn place(&self, file: &OwnedFd, piece: &DmaMapping, offset: u64) -> Result<(), Errno> {
        // What the device must not write is as a ROM to it: writes have no effect that anybody else sees.
        let sharing = match piece.writable {
            true => MapFlags::SHARED,
            false => MapFlags::PRIVATE | MapFlags::NORESERVE,
        };
        // SAFETY: the piece lies in the run, for the length of which there is room from `start` on.
        let at = unsafe { self.start.add(offset as usize) };
        // SAFETY: what is replaced there is reserved by this span alone.
        unsafe {
            mmap(
                at.as_ptr().cast(),
                piece.size as usize,
                ProtFlags::READ | ProtFlags::WRITE,
                sharing | MapFlags::FIXED,
                file,
                piece.offset,
            )
        }?;
        Ok(())
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // SAFETY: it is this span's, and nobody refers to it any more: what is mapped in it lives as long as
        // the span. It can only fail for what is not mapped.
        let _ = unsafe { munmap(self.reserved.as_ptr().cast(), self.reserved_len) };
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
