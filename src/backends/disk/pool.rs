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

use super::flushes::Durability;
use super::transfer::Buffers;
use super::{ImageFiles, PATIENCE, Work};
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
    sync: Arc<File>,
    durability: Arc<Durability>,
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
    /// A host that hangs, for tests: operations wait for it.
    #[cfg(test)]
    host: Arc<Mutex<()>>,
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
    pub(super) fn new(image: &ImageFiles) -> io::Result<Self> {
        let mut pool = Pool {
            shared: Arc::new(SharedState {
                file: image.data.clone(),
                sync: image.sync.clone(),
                durability: image.durability.clone(),
                completed: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
                state: Mutex::default(),
                work: Condvar::new(),
                finished: Condvar::new(),
                done: AtomicUsize::new(0),
                cancelled: AtomicBool::new(false),
                #[cfg(test)]
                host: Arc::default(),
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

    /// Waits until a thread is at an operation.
    #[cfg(test)]
    pub(super) fn wait_until_running(&self) {
        while self.shared.lock().running == 0 {
            thread::yield_now();
        }
    }

    #[cfg(test)]
    pub(super) fn host(&self) -> Arc<Mutex<()>> {
        self.shared.host.clone()
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
                        transfer.recycle(&mut self.spare);
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
        let waited = self
            .shared
            .finished
            .wait_timeout_while(state, PATIENCE, |state| state.running > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.is_quiet();
    }

    /// Whether all operations have ended, after [`cancel`](Self::cancel).
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut state = self.shared.lock();
        if state.running > 0 {
            return false;
        }
        // Nothing is submitted before this says so: all that is done is of the time before.
        if self.shared.cancelled.swap(false, Ordering::Relaxed) {
            state.done.clear();
            self.shared.done.store(0, Ordering::Release);
            self.spare.append(&mut state.spent);
        }
        true
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.cancel();
        let hangs = {
            let mut state = self.shared.lock();
            state.closing = true;
            state.running > 0
        };
        self.shared.work.notify_all();
        if hangs {
            // What hangs owns what it uses.
            return;
        }
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
                transfer.recycle(&mut state.spent);
            }
            self.finished.notify_all();
            // Fails only if the counter is at its end, and then it is readable anyway.
            let _ = self.completed.write(1);
        }
    }

    fn perform(&self, work: &mut Work) -> io::Result<()> {
        #[cfg(test)]
        drop(self.host.lock().unwrap_or_else(PoisonError::into_inner));
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let step = match work {
                Work::Transfer(transfer) => transfer.step(&self.file),
                Work::Flush => {
                    let result = self.sync.sync_data();
                    self.durability.note_flush(&result);
                    result.map(|()| true)
                }
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
