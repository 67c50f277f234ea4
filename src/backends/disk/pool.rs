//! Disk operations by a few threads that block: works on every Linux.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use stickler_devices::block::disk::{Completion, Submitted};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::Work;
use super::transfer::Buffers;
use crate::confine::Role;

/// Threads for each disk.
const THREADS: usize = 4;

/// The threads and what they share.
pub(super) struct Pool {
    shared: Arc<SharedState>,
    threads: Vec<JoinHandle<()>>,
    /// Spent buffers, for their allocations.
    spare: Vec<Buffers>,
    /// Whether the image can be read from the page cache without blocking, as far as is known.
    pub(super) reads_now: bool,
}

struct SharedState {
    file: Arc<File>,
    /// Signalled when an operation completes.
    completed: EventFd,
    state: Mutex<PoolQueues>,
    /// Signalled when there is work, or no more of it to come.
    work: Condvar,
    /// Signalled when a thread has finished an operation.
    finished: Condvar,
    /// Length of `PoolQueues::done`, to be looked at without the lock.
    done: AtomicUsize,
    /// Operations are to end where they stand.
    cancelled: AtomicBool,
}

#[derive(Default)]
struct PoolQueues {
    waiting: VecDeque<(u16, Work)>,
    /// Operations that threads are at.
    running: usize,
    done: VecDeque<Completion>,
    /// Spent buffers, on their way back.
    spent: Vec<Buffers>,
    /// The disk is going away.
    closing: bool,
}

impl Pool {
    pub(super) fn new(file: Arc<File>) -> io::Result<Self> {
        let mut pool = Pool {
            shared: Arc::new(SharedState {
                file,
                completed: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
                state: Mutex::default(),
                work: Condvar::new(),
                finished: Condvar::new(),
                done: AtomicUsize::new(0),
                cancelled: AtomicBool::new(false),
            }),
            threads: Vec::with_capacity(THREADS),
            spare: Vec::new(),
            reads_now: true,
        };
        for _ in 0..THREADS {
            let shared = pool.shared.clone();
            let thread = thread::Builder::new().name("disk".to_owned());
            pool.threads.push(thread.spawn(move || shared.serve())?);
        }
        Ok(pool)
    }

    pub(super) fn completion_fd(&self) -> RawFd {
        self.shared.completed.as_raw_fd()
    }

    pub(super) fn spare_buffers(&mut self) -> Buffers {
        self.spare.pop().unwrap_or_default()
    }

    pub(super) fn submit(&mut self, token: u16, mut work: Work) -> Submitted {
        // One system call, no other thread.
        if self.reads_now
            && let Work::Transfer(transfer) = &mut work
        {
            match transfer.read_now(&self.shared.file) {
                Ok(true) => {
                    if let Work::Transfer(transfer) = work {
                        self.spare.push(transfer.into_buffers());
                    }
                    return Submitted::Done(Ok(()));
                }
                Ok(false) => {}
                Err(_) => self.reads_now = false,
            }
        }
        self.shared.lock().waiting.push_back((token, work));
        self.shared.work.notify_one();
        Submitted::Pending
    }

    pub(super) fn acknowledge(&mut self) {
        // An error only says that it was not signalled.
        let _ = self.shared.completed.read();
    }

    pub(super) fn next_completion(&mut self) -> Option<Completion> {
        if self.shared.done.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut state = self.shared.lock();
        let completion = state.done.pop_front();
        self.spare.append(&mut state.spent);
        self.shared.done.store(state.done.len(), Ordering::Release);
        completion
    }

    pub(super) fn cancel(&mut self) {
        let mut state = self.shared.lock();
        state.waiting.clear();
        self.shared.cancelled.store(true, Ordering::Relaxed);
        while state.running > 0 {
            state = self
                .shared
                .finished
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.shared.cancelled.store(false, Ordering::Relaxed);
        state.done.clear();
        self.shared.done.store(0, Ordering::Release);
        drop(state);
        self.acknowledge();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.cancel();
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // It cannot have panicked, and if it has, there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}

impl SharedState {
    fn lock(&self) -> MutexGuard<'_, PoolQueues> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does.
    fn serve(&self) {
        let mut state = self.lock();
        while !state.closing {
            let Some((token, mut work)) = state.waiting.pop_front() else {
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.running += 1;
            drop(state);
            // Now, because this thread was started before the process was confined.
            let result = Role::Disk.take().and_then(|()| self.perform(&mut work));
            state = self.lock();
            state.running -= 1;
            state.done.push_back(Completion { token, result });
            self.done.store(state.done.len(), Ordering::Release);
            if let Work::Transfer(transfer) = work {
                state.spent.push(transfer.into_buffers());
            }
            self.finished.notify_all();
            // Fails only if the counter is at its end, and then it is readable anyway.
            let _ = self.completed.write(1);
        }
    }

    fn perform(&self, work: &mut Work) -> io::Result<()> {
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let step = match work {
                Work::Transfer(transfer) => transfer.step(&self.file),
                Work::Flush => self.file.sync_data().map(|()| true),
            };
            match step {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}
