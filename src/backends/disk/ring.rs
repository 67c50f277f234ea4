//! Disk operations by io_uring: no threads of ours, and one system call for many operations.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use io_uring::{IoUring, Probe, opcode, squeue, types};
use stickler_devices::block::disk::Completion;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::Work;
use super::transfer::{Buffers, Direction};

/// Entries of the submission queue; what does not fit waits.
const ENTRIES: u32 = 256;

/// Marks the completion of an attempt to cancel.
const CANCEL: u64 = u64::MAX;

/// A ring and the operations in it.
pub(super) struct Ring {
    ring: IoUring,
    file: Arc<File>,
    /// Signalled by the kernel when an operation completes.
    completed: EventFd,
    /// The operations begun, by token. The kernel uses what they own until they complete.
    works: Vec<Option<Work>>,
    /// Operations that have yet to get into the submission queue.
    backlog: VecDeque<u16>,
    /// Entries handed over, or in the submission queue, without a completion yet.
    outstanding: usize,
    spare: Vec<Buffers>,
}

impl Ring {
    /// A ring, if the host has io_uring with all that is needed and lets us use it.
    pub(super) fn new(file: Arc<File>) -> io::Result<Self> {
        let ring = IoUring::new(ENTRIES)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [
            opcode::Readv::CODE,
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
        let completed = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        ring.submitter().register_eventfd(completed.as_raw_fd())?;
        Ok(Ring {
            ring,
            file,
            completed,
            works: Vec::new(),
            backlog: VecDeque::new(),
            outstanding: 0,
            spare: Vec::new(),
        })
    }

    pub(super) fn completion_fd(&self) -> RawFd {
        self.completed.as_raw_fd()
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
        loop {
            self.fill_submission_queue();
            if self.ring.submission().is_empty() {
                return;
            }
            match self.ring.submit() {
                Ok(_) if self.backlog.is_empty() => return,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // The kernel is short of something: have the worker come back.
                    let _ = self.completed.write(1);
                    return;
                }
            }
        }
    }

    pub(super) fn acknowledge(&mut self) {
        // An error only says that it was not signalled.
        let _ = self.completed.read();
        // What an earlier attempt had to leave.
        self.start();
    }

    pub(super) fn next_completion(&mut self) -> Option<Completion> {
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
                Some(Work::Flush) => result.map(|_| true),
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
            if let Some(Work::Transfer(transfer)) = work.take() {
                self.spare.push(transfer.into_buffers());
            }
            break Some(Completion { token, result });
        };
        if completion.is_none() && !self.backlog.is_empty() {
            self.start();
        }
        completion
    }

    pub(super) fn cancel(&mut self) {
        self.backlog.clear();
        if self.outstanding > 0 {
            let any = types::CancelBuilder::any();
            let entry = opcode::AsyncCancel2::new(any).build().user_data(CANCEL);
            // If there is no room for it, or the kernel is too old for it, waiting does as well.
            self.push(&entry);
        }
        while self.outstanding > 0 {
            if let Err(e) = self.ring.submit_and_wait(1)
                && e.kind() != io::ErrorKind::Interrupted
            {
                thread::sleep(Duration::from_millis(1));
            }
            while self.next_entry().is_some() {}
        }
        for work in &mut self.works {
            if let Some(Work::Transfer(transfer)) = work.take() {
                self.spare.push(transfer.into_buffers());
            }
        }
        let _ = self.completed.read();
    }

    fn fill_submission_queue(&mut self) {
        while let Some(&token) = self.backlog.front() {
            let fd = types::Fd(self.file.as_raw_fd());
            let entry = match self.works.get_mut(usize::from(token)) {
                Some(Some(Work::Transfer(transfer))) => {
                    let (direction, offset) = (transfer.direction(), transfer.offset());
                    let window = transfer.window();
                    let (list, count) = (window.as_ptr(), window.len() as u32);
                    match direction {
                        Direction::Read => opcode::Readv::new(fd, list, count)
                            .offset(offset)
                            .rw_flags(direction.flags())
                            .build(),
                        Direction::Write { .. } => opcode::Writev::new(fd, list, count)
                            .offset(offset)
                            .rw_flags(direction.flags())
                            .build(),
                    }
                }
                Some(Some(Work::Flush)) => opcode::Fsync::new(fd)
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
        // taken (`next_completion`, `cancel`, and `drop` by way of it).
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
    }
}

/// Whether the kernel has put an operation off rather than tried it.
fn goes_on(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::EAGAIN | libc::ECANCELED)
    )
}
