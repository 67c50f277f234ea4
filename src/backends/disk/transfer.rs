//! Moves data between an image and guest memory, without a copy in between.
//!
//! With `ring`, this is where disks need `unsafe`: the kernel is given addresses in guest memory.
//! They stay valid because their owner also holds a [`GuestRam`], which keeps all of guest
//! memory mapped. That the guest may change or read the same bytes meanwhile is between it and the
//! kernel: no reference to them exists here.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use stickler_devices::block::disk::Segment;
use stickler_devices::memory::GuestRam;

/// Bytes handed to the kernel at once: more would keep a reset waiting, and a driver's vCPU with it.
const WINDOW: usize = 4 << 20;

/// The most bytes of a read that may be done at once, from the page cache: copying them takes less
/// than handing them over, and the driver's vCPU never has to wait long.
const READ_NOW: usize = 128 << 10;

/// Buffers for which there is room in a list that is kept: more than drivers usually need.
const BUFFERS_KEPT: usize = 512;

/// Buffers the kernel takes at once (`UIO_MAXIOV`).
const WINDOW_BUFFERS: usize = 1024;

/// Which way the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the image.
    Read,
    /// To the image; if `stable`, to persistent storage.
    Write { stable: bool },
}

impl Direction {
    /// `RWF_…` flags.
    pub(super) fn flags(self) -> i32 {
        match self {
            Direction::Write { stable: true } => libc::RWF_DSYNC,
            _ => 0,
        }
    }
}

/// Our addresses of segments of guest memory, and how far their transfer has come.
#[derive(Default)]
pub(super) struct Buffers {
    list: Vec<libc::iovec>,
    /// The first that is not finished.
    first: usize,
    /// Bytes of the first that the present window leaves out.
    held_back: usize,
}

// SAFETY: the addresses are of guest memory, which any thread may reach.
unsafe impl Send for Buffers {}

impl Buffers {
    /// Makes these the buffers of `segments`. Gives `false` if one is not in guest memory.
    fn set(&mut self, ram: &GuestRam, segments: &[Segment]) -> bool {
        self.list.clear();
        self.first = 0;
        self.held_back = 0;
        for s in segments {
            let len = s.len as usize;
            let Some(slice) = ram.slice(s.addr, len) else {
                return false;
            };
            self.list.push(libc::iovec {
                iov_base: slice.ptr_guard_mut().as_ptr().cast(),
                iov_len: len,
            });
        }
        true
    }

    /// For how many there is room.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.list.capacity()
    }

    /// What to hand to the kernel next. Stays where it is until [`advance`](Self::advance), even if
    /// `self` moves.
    pub(super) fn window(&mut self) -> &[libc::iovec] {
        let rest = self.list.get_mut(self.first..).unwrap_or_default();
        let mut bytes = 0;
        let mut count = 0;
        for buffer in rest.iter().take(WINDOW_BUFFERS) {
            bytes += buffer.iov_len;
            if bytes > WINDOW {
                break;
            }
            count += 1;
        }
        if count == 0
            && let Some(large) = rest.first_mut()
        {
            self.held_back += large.iov_len - WINDOW;
            large.iov_len = WINDOW;
            count = 1;
        }
        &rest[..count]
    }

    /// So many bytes of the window have been transferred.
    fn advance(&mut self, mut bytes: usize) {
        let held_back = std::mem::take(&mut self.held_back);
        let rest = self.list.get_mut(self.first..).unwrap_or_default();
        if let Some(first) = rest.first_mut() {
            first.iov_len += held_back;
        }
        for buffer in rest {
            if bytes < buffer.iov_len {
                buffer.iov_base = buffer.iov_base.wrapping_byte_add(bytes);
                buffer.iov_len -= bytes;
                return;
            }
            bytes -= buffer.iov_len;
            self.first += 1;
        }
    }

    fn is_finished(&self) -> bool {
        self.first >= self.list.len()
    }
}

/// A transfer that goes on while the device does something else.
pub(super) struct Transfer {
    buffers: Buffers,
    /// Keeps what `buffers` names mapped.
    _ram: GuestRam,
    direction: Direction,
    /// Where in the image the window begins, bytes.
    offset: u64,
}

impl Transfer {
    /// A transfer of all of `segments`. `buffers` gives its allocation.
    pub(super) fn new(
        ram: &GuestRam,
        direction: Direction,
        offset: u64,
        segments: &[Segment],
        mut buffers: Buffers,
    ) -> io::Result<Self> {
        if !buffers.set(ram, segments) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Transfer {
            buffers,
            _ram: ram.clone(),
            direction,
            offset,
        })
    }

    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// See [`Buffers::window`]. The memory it names is mapped as long as `self` lives.
    pub(super) fn window(&mut self) -> &[libc::iovec] {
        self.buffers.window()
    }

    /// The kernel has transferred this many bytes of the window, not 0 of them unless the end of the
    /// image came too early. Gives whether all is done.
    pub(super) fn advance(&mut self, bytes: usize) -> io::Result<bool> {
        if bytes == 0 && !self.buffers.is_finished() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffers.advance(bytes);
        self.offset += bytes as u64;
        Ok(self.buffers.is_finished())
    }

    /// Reads what is in the page cache, without blocking, if this is a read that is small enough to
    /// be done on the spot. Gives whether that was all; if not, the transfer goes on where it
    /// stands.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] if the image's file system cannot tell what would block.
    pub(super) fn read_now(&mut self, file: &File) -> io::Result<bool> {
        let offset = self.offset;
        let window = self.buffers.window();
        let bytes: usize = window.iter().map(|b| b.iov_len).sum();
        if self.direction != Direction::Read || bytes > READ_NOW {
            return Ok(false);
        }
        // SAFETY: the buffers are of `self._ram`.
        match unsafe { transfer(file, Direction::Read, libc::RWF_NOWAIT, window, offset) } {
            // The end of the image is for the other way to find.
            Ok(0) => Ok(false),
            Ok(bytes) => self.advance(bytes),
            Err(e) if e.kind() == io::ErrorKind::Unsupported => Err(e),
            Err(_) => Ok(false),
        }
    }

    /// Transfers a window's worth, blocking. Gives whether all is done.
    pub(super) fn step(&mut self, file: &File) -> io::Result<bool> {
        let (direction, offset) = (self.direction, self.offset);
        let window = self.buffers.window();
        // SAFETY: the buffers are of `self._ram`.
        let bytes = unsafe { transfer(file, direction, direction.flags(), window, offset) }?;
        self.advance(bytes)
    }

    /// Ends it. Its allocation goes to `spare`, unless it is large: all operations together could have hundreds of MiB.
    pub(super) fn recycle(self, spare: &mut Vec<Buffers>) {
        if self.buffers.list.capacity() <= BUFFERS_KEPT {
            spare.push(self.buffers);
        }
    }
}

/// One `preadv2` or `pwritev2`.
///
/// # Safety
/// The buffers are mapped for as long as the call takes.
unsafe fn transfer(
    file: &File,
    direction: Direction,
    flags: i32,
    buffers: &[libc::iovec],
    offset: u64,
) -> io::Result<usize> {
    let fd = file.as_raw_fd();
    let (list, count) = (buffers.as_ptr(), buffers.len() as i32);
    let offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let bytes = match direction {
        // SAFETY: `list` has `count` entries, and what they name is mapped, says the caller.
        Direction::Read => unsafe { libc::preadv2(fd, list, count, offset, flags) },
        // SAFETY: as above; the kernel only reads the buffers.
        Direction::Write { .. } => unsafe { libc::pwritev2(fd, list, count, offset, flags) },
    };
    usize::try_from(bytes).map_err(|_| io::Error::last_os_error())
}
