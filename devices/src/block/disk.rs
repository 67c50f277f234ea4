//! What stands behind a block device: the interface between the device and its host side.
//!
//! Citations are of virtio 1.0.

use std::io;
use std::os::fd::RawFd;

use crate::memory::GuestRam;

/// Bytes of a sector, the unit of `capacity` and of requests (§5.2.4, §5.2.6).
pub const SECTOR: u64 = stickler_conformance::device::block::SECTOR as u64;

/// Bytes of the device id string (§5.2.6 (1.2)).
pub const ID_LEN: usize = 20;

/// A disk on the host: moves data between itself and guest memory, some of it later than asked.
///
/// The device names each operation with a token, which it does not use for another one before the
/// operation is complete. Operations may complete in any order, and one is never split in the
/// driver's eyes: it succeeds as a whole or fails. None of the methods blocks but
/// [`cancel`](Self::cancel), for a moment.
pub trait Disk: Send + 'static {
    /// What the disk is. Constant.
    fn properties(&self) -> Properties;

    /// A file descriptor that becomes readable when an operation completes. Constant.
    fn completion_fd(&self) -> RawFd;

    /// Begins an operation, or does all of it where that is certain not to block. The segments are
    /// copied; guest memory is used until the operation is complete.
    fn submit(&mut self, ram: &GuestRam, token: u16, operation: Operation<'_>) -> Submitted;

    /// All that was submitted gets going: called after a batch of [`submit`](Self::submit).
    fn start(&mut self);

    /// Whether the host was too busy to get something going: [`start`](Self::start) is to be called again.
    fn is_stalled(&self) -> bool {
        false
    }

    /// Makes the completion descriptor unreadable until the next completion. Called before
    /// [`next_completion`](Self::next_completion), so that none is missed.
    fn acknowledge(&mut self);

    /// Takes the outcome of one pending operation that has completed.
    fn next_completion(&mut self) -> Option<Completion>;

    /// Ends all operations, and waits a moment for those that cannot be stopped. No outcome of an operation
    /// submitted before will be reported. Nothing is submitted until the disk [is quiet](Self::is_quiet).
    fn cancel(&mut self);

    /// Whether, after [`cancel`](Self::cancel), guest memory is not used any more. An operation that hangs on the
    /// host may use it for as long as it hangs. When one has ended, the completion descriptor becomes readable.
    fn is_quiet(&mut self) -> bool;
}

/// What a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Size in sectors of 512 bytes.
    pub capacity: u64,
    /// Whether it cannot be written.
    pub read_only: bool,
    /// Bytes that it writes at once without reading the rest of a block first: a power of two, at
    /// least 512.
    pub physical_block: u32,
    /// The device id string, filled up with NULs.
    pub id: [u8; ID_LEN],
}

/// A contiguous piece of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Guest-physical address.
    pub addr: u64,
    /// Bytes, not 0.
    pub len: u32,
}

/// Something to do on a disk. Offsets are in bytes, offsets and total lengths multiples of 512, and
/// what is read or written lies within the capacity.
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// Read into guest memory.
    Read {
        /// Where on the disk.
        offset: u64,
        /// Where to.
        into: &'a [Segment],
    },
    /// Write from guest memory.
    Write {
        /// Where on the disk.
        offset: u64,
        /// Where from.
        from: &'a [Segment],
        /// Whether the data must be on persistent storage before the write completes.
        stable: bool,
    },
    /// Bring all writes that have completed before to persistent storage.
    Flush,
}

impl Operation<'_> {
    /// The same with other segments.
    pub(super) fn with<'a>(&self, segments: &'a [Segment]) -> Operation<'a> {
        match *self {
            Operation::Read { offset, .. } => Operation::Read {
                offset,
                into: segments,
            },
            Operation::Write { offset, stable, .. } => Operation::Write {
                offset,
                from: segments,
                stable,
            },
            Operation::Flush => Operation::Flush,
        }
    }
}

/// What became of a submitted operation.
#[derive(Debug)]
#[must_use]
pub enum Submitted {
    /// It is complete; there will be no [`Completion`].
    Done(io::Result<()>),
    /// It goes on; its [`Completion`] follows.
    Pending,
}

/// The outcome of a pending operation.
#[derive(Debug)]
pub struct Completion {
    /// The operation.
    pub token: u16,
    /// How it ended.
    pub result: io::Result<()>,
}
