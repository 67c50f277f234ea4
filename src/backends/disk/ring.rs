//! Disk operations by io_uring: no threads of ours, and one system call for many operations.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use io_uring::{IoUring, Probe, opcode, squeue, types};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stickler_devices::block::disk::Completion;

use super::flushes::Durability;
use super::transfer::{Buffers, Direction};
use super::{ImageFiles, PATIENCE, Work};

/// Entries of the submission queue; what does not fit waits.
const ENTRIES: u32 = 256;

/// The least number of operations for which one system call for all of them is faster despite the
/// cost of the ring. If there are fewer, reads are first tried one by one, from the page cache.
const MANY: usize = 8;

/// The image, as the ring knows it.
const IMAGE: types::Fixed = types::Fixed(0);

/// The image as it is flushed.
const SYNC: types::Fixed = types::Fixed(1);

/// How often to look for operations that were cancelled, whatever the kernel says.
const LOOK: Duration = Duration::from_millis(5);

/// Before a kernel is tried again that is short of something.
const PAUSE: Duration = Duration::from_micros(100);

/// Marks the completion of an attempt to cancel.
const CANCEL: u64 = u64::MAX;

/// A ring and the operations in it.
///
/// The ring's own descriptor is what becomes readable when there are completions. Unlike an eventfd
/// it does not stay so after they have been taken, and most are taken at once.
pub(super) struct Ring {
    ring: IoUring,
    file: Arc<File>,
    /// The operations begun, by token. The kernel uses what they own until they complete.
    works: Vec<Option<Work>>,
    /// Operations that have yet to get into the submission queue.
    backlog: VecDeque<u16>,
    /// Entries handed over, or in the submission queue, without a completion yet.
    pub(super) outstanding: usize,
    /// The kernel would not take what was handed over; it is to be tried again.
    is_stalled: bool,
    /// What the kernel says next, for tests.
    #[cfg(test)]
    pub(super) refusals: VecDeque<i32>,
    /// Reads done on the spot.
    done: VecDeque<Completion>,
    /// Whether the image can be read from the page cache without blocking, as far as is known.
    pub(super) reads_now: bool,
    /// Spent buffers, for their allocations.
    spare: Vec<Buffers>,
    durability: Arc<Durability>,
}

impl Ring {
    /// A ring, if the host has io_uring with all features we need and lets us use it.
    pub(super) fn new(image: &ImageFiles) -> io::Result<Self> {
        let file = image.data.clone();
        let ring = IoUring::new(ENTRIES)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [
            opcode::Read::CODE,
            opcode::Readv::CODE,
            opcode::Write::CODE,
            opcode::Writev::CODE,
            opcode::Fsync::CODE,
            opcode::AsyncCancel::CODE,
        ];
        // Without the feature, completions could be lost.
        if !needed.iter().all(|&code| probe.is_supported(code))
            || !ring.params().is_feature_nodrop()
        {
            return Err(io::ErrorKind::Unsupported.into());
        }
        ring.submitter()
            .register_files(&[file.as_raw_fd(), image.sync.as_raw_fd()])?;
        Ok(Ring {
            ring,
            file,
            works: Vec::new(),
            backlog: VecDeque::new(),
            outstanding: 0,
            is_stalled: false,
            #[cfg(test)]
            refusals: VecDeque::new(),
            done: VecDeque::new(),
            reads_now: true,
            spare: Vec::new(),
            durability: image.durability.clone(),
        })
    }

    pub(super) fn completion_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    pub(super) fn spare_buffers(&mut self) -> Buffers {
        self.spare.pop().unwrap_or_default()
    }

    pub(super) fn submit(&mut self, token: u16, work: Work) {
        let index = usize::from(token);
        if self.works.len() <= index {
            self.works.resize_with(index + 1, || None);
        }
        self.works[index] = Some(work);
        self.backlog.push_back(token);
    }

    pub(super) fn start(&mut self) {
        if self.backlog.len() < MANY {
            self.read_now();
        }
        self.enter();
    }

    /// Does what can be done of the backlog's reads from the page cache.
    fn read_now(&mut self) {
        for _ in 0..self.backlog.len() {
            let Some(token) = self.backlog.pop_front() else {
                return;
            };
            if self.reads_now
                && let Some(Some(Work::Transfer(transfer))) = self.works.get_mut(usize::from(token))
            {
                match transfer.read_now(&self.file) {
                    Ok(true) => {
                        let completion = self.end(token, Ok(()));
                        self.done.push_back(completion);
                        continue;
                    }
                    Ok(false) => {}
                    Err(_) => self.reads_now = false,
                }
            }
            self.backlog.push_back(token);
        }
    }

    /// Hands the backlog to the kernel.
    fn enter(&mut self) {
        self.is_stalled = false;
        loop {
            self.fill_submission_queue();
            if self.ring.submission().is_empty() {
                return;
            }
            match self.hand_over() {
                Ok(_) if self.backlog.is_empty() => return,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The kernel wants completions to be taken first, or is short of memory.
                Err(_) => {
                    self.is_stalled = true;
                    thread::sleep(PAUSE);
                    return;
                }
            }
        }
    }

    fn hand_over(&mut self) -> io::Result<usize> {
        #[cfg(test)]
        if let Some(refusal) = self.refusals.pop_front() {
            return Err(io::Error::from_raw_os_error(refusal));
        }
        self.ring.submit()
    }

    /// Whether the kernel would not take what was handed over.
    pub(super) fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    pub(super) fn next_completion(&mut self) -> Option<Completion> {
        if let Some(completion) = self.done.pop_front() {
            return Some(completion);
        }
        if self.outstanding == 0 {
            return None;
        }
        let completion = loop {
            let Some((token, result)) = self.next_entry() else {
                break None;
            };
            let Some(work) = self.works.get_mut(usize::from(token)) else {
                continue;
            };
            let step = match work {
                Some(Work::Transfer(transfer)) => result.and_then(|n| transfer.advance(n)),
                Some(Work::Flush) => {
                    self.durability.note_flush(&result);
                    result.map(|_| true)
                }
                None => continue,
            };
            let result = match step {
                Ok(true) => Ok(()),
                // Not all of it, or not at all because the thread that began it has ended: go on.
                Ok(false) => {
                    self.backlog.push_back(token);
                    continue;
                }
                Err(e) if goes_on(&e) => {
                    self.backlog.push_back(token);
                    continue;
                }
                Err(e) => Err(e),
            };
            break Some(self.end(token, result));
        };
        if completion.is_none() && !self.backlog.is_empty() {
            self.enter();
        }
        completion
    }

    /// The operation is complete.
    fn end(&mut self, token: u16, result: io::Result<()>) -> Completion {
        let work = self.works.get_mut(usize::from(token));
        if let Some(Work::Transfer(transfer)) = work.and_then(Option::take) {
            transfer.recycle(&mut self.spare);
        }
        Completion { token, result }
    }

    pub(super) fn cancel(&mut self) {
        self.backlog.clear();
        self.done.clear();
        if self.outstanding > 0 {
            let any = types::CancelBuilder::any();
            let entry = opcode::AsyncCancel2::new(any).build().user_data(CANCEL);
            // If there is no room for it, or the kernel is too old for it, waiting does as well.
            self.push(&entry);
        }
        let end = Instant::now() + PATIENCE;
        while !self.is_quiet() {
            // What is in the submission queue may not have got to the kernel yet.
            let _ = self.ring.submit();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let left = Timespec::try_from(left.min(LOOK)).unwrap_or_default();
            // SAFETY: The descriptor is the ring's, which is open meanwhile.
            let ring = unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) };
            let mut fds = [PollFd::from_borrowed_fd(ring, PollFlags::IN)];
            // Whatever it says, the loop looks.
            let _ = poll(&mut fds, Some(&left));
        }
    }

    /// Whether the kernel has let go of all operations, after [`cancel`](Self::cancel).
    pub(super) fn is_quiet(&mut self) -> bool {
        while let Some((token, result)) = self.next_entry() {
            if let Some(Some(Work::Flush)) = self.works.get(usize::from(token)) {
                self.durability.note_flush(&result);
            }
        }
        if self.outstanding > 0 {
            return false;
        }
        for work in &mut self.works {
            if let Some(Work::Transfer(transfer)) = work.take() {
                transfer.recycle(&mut self.spare);
            }
        }
        true
    }

    fn fill_submission_queue(&mut self) {
        while let Some(&token) = self.backlog.front() {
            let entry = match self.works.get_mut(usize::from(token)) {
                Some(Some(Work::Transfer(transfer))) => {
                    let (direction, offset) = (transfer.direction(), transfer.offset());
                    let flags = direction.flags();
                    let window = transfer.window();
                    let (list, count) = (window.as_ptr(), window.len() as u32);
                    // Where there is one buffer, the kernel is spared the list.
                    match (direction, window) {
                        (Direction::Read, [one]) => {
                            opcode::Read::new(IMAGE, one.iov_base.cast(), one.iov_len as u32)
                                .offset(offset)
                                .build()
                        }
                        (Direction::Read, _) => opcode::Readv::new(IMAGE, list, count)
                            .offset(offset)
                            .build(),
                        (Direction::Write { .. }, [one]) => {
                            opcode::Write::new(IMAGE, one.iov_base.cast(), one.iov_len as u32)
                                .offset(offset)
                                .rw_flags(flags)
                                .build()
                        }
                        (Direction::Write { .. }, _) => opcode::Writev::new(IMAGE, list, count)
                            .offset(offset)
                            .rw_flags(flags)
                            .build(),
                    }
                }
                Some(Some(Work::Flush)) => opcode::Fsync::new(SYNC)
                    .flags(types::FsyncFlags::DATASYNC)
                    .build(),
                _ => {
                    self.backlog.pop_front();
                    continue;
                }
            };
            if !self.push(&entry.user_data(u64::from(token))) {
                return;
            }
            self.backlog.pop_front();
        }
    }

    /// Puts an entry into the submission queue, if there is room.
    fn push(&mut self, entry: &squeue::Entry) -> bool {
        let mut queue = self.ring.submission();
        // SAFETY: the file is open as long as `self.file`; list and buffers of a transfer belong to a
        // `Transfer` in `self.works`, which stays there until the completion of this entry has been
        // taken (`next_completion`, `is_quiet`), and which `drop` leaves behind if it never comes.
        let pushed = unsafe { queue.push(entry) }.is_ok();
        drop(queue);
        self.outstanding += usize::from(pushed);
        pushed
    }

    /// The next completion of an operation: its token, and what the kernel says.
    fn next_entry(&mut self) -> Option<(u16, io::Result<usize>)> {
        loop {
            let Some(entry) = self.ring.completion().next() else {
                // Completions that found no room wait in the kernel to be called for.
                if self.ring.submission().cq_overflow() && self.ring.submit().is_ok() {
                    continue;
                }
                return None;
            };
            self.outstanding = self.outstanding.saturating_sub(1);
            if entry.user_data() != CANCEL {
                let result = usize::try_from(entry.result())
                    .map_err(|_| io::Error::from_raw_os_error(-entry.result()));
                return Some((entry.user_data() as u16, result));
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.cancel();
        if self.outstanding > 0 {
            // The kernel may use what hangs until the process ends, and guest memory stays mapped with it.
            std::mem::forget(std::mem::take(&mut self.works));
        }
    }
}

/// Whether the kernel has put an operation off rather than tried it.
fn goes_on(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::EAGAIN | libc::ECANCELED)
    )
}
