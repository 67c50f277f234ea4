//! A device on its transport, behind one lock: what vCPUs and the device's worker share.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use stickler_conformance::Tallies;
use stickler_conformance::{DeviceId, Witness};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::core::{Core, Transport};
use super::{DeviceFeatures, Progress, Serviced, VirtioDevice, Wake};
use crate::memory::GuestRam;

/// A device of type `D`, whose driver `W` watches, on transport `T`.
pub struct LockedDevice<D, W, T> {
    id: DeviceId,
    pub(super) kick: EventFd,
    host_fds: Vec<RawFd>,
    /// One lock around all of the device: its registers, its queues, and the judge of its driver, so
    /// that events are told in the order in which they happened.
    state: Mutex<DeviceState<D, W, T>>,
    /// How many vCPUs wait for the lock.
    waiting: AtomicUsize,
    keeps_time: bool,
}

/// What the lock protects.
pub(crate) struct DeviceState<D, W, T> {
    pub(crate) core: Core<D, W>,
    pub(crate) transport: T,
}

/// How often the worker lets others go first before it takes the lock again.
const YIELDS: usize = 64;

impl<D: VirtioDevice<W>, W: Witness, T: Transport> LockedDevice<D, W, T> {
    /// Fails if there is no file descriptor left for an eventfd.
    pub(crate) fn from_parts(core: Core<D, W>, transport: T) -> io::Result<Arc<Self>> {
        Ok(Arc::new(LockedDevice {
            id: core.id,
            kick: EventFd::new(EFD_NONBLOCK)?,
            host_fds: core.host_fds(),
            keeps_time: core.keeps_time(),
            state: Mutex::new(DeviceState { core, transport }),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Lets `f` work on the device for a vCPU, which goes before the worker.
    pub(crate) fn access<R>(&self, f: impl FnOnce(&mut DeviceState<D, W, T>) -> R) -> R {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.with(|state| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            f(state)
        })
    }

    /// Lets `f` work on the locked device, and then wakes the worker if there is work for it.
    fn with<R>(&self, f: impl FnOnce(&mut DeviceState<D, W, T>) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut state);
        let kick = state.core.take_kick();
        drop(state);
        if kick {
            // It can only fail for a counter at its limit, and then the worker is awake anyway.
            let _ = self.kick.write(1);
        }
        result
    }
}

impl<D: VirtioDevice<W>, W: Witness, T: Transport> Serviced for LockedDevice<D, W, T> {
    fn id(&self) -> DeviceId {
        self.id
    }

    fn kick_fd(&self) -> RawFd {
        self.kick.as_raw_fd()
    }

    fn host_fds(&self) -> Vec<RawFd> {
        self.host_fds.clone()
    }

    fn service(&self, wake: Wake) -> Progress {
        if wake == Wake::Kick {
            // A kick from here on is for work that was left under the lock by then, or is left later
            // and kicks again. An error means that there was no kick.
            let _ = self.kick.read();
        }
        // The lock is not fair: a busy worker would keep a vCPU from it for long.
        for _ in 0..YIELDS {
            if self.waiting.load(Ordering::Relaxed) == 0 {
                break;
            }
            thread::yield_now();
        }
        self.with(|DeviceState { core, transport }| core.service(wake, transport))
    }

    fn keeps_time(&self) -> bool {
        self.keeps_time
    }

    fn alarm(&self) -> Option<Duration> {
        if !self.keeps_time {
            return None;
        }
        self.with(|DeviceState { core, transport }| core.alarm(transport))
    }

    fn memory_changed(&self, ram: GuestRam) {
        self.with(|DeviceState { core, transport }| core.memory_changed(ram, transport));
    }

    fn run_ended(&self, by_guest: bool) {
        self.with(|DeviceState { core, transport }| core.run_ended(by_guest, transport));
    }

    fn answers_within(&self, time: Duration) -> bool {
        const PAUSE: Duration = Duration::from_millis(2);
        let begun = Instant::now();
        loop {
            match self.state.try_lock() {
                Ok(_) | Err(TryLockError::Poisoned(_)) => return true,
                Err(TryLockError::WouldBlock) if begun.elapsed() >= time => return false,
                Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            }
        }
    }

    fn is_live(&self) -> bool {
        self.with(|state| state.core.is_live())
    }

    fn was_taken(&self) -> bool {
        self.with(|state| state.core.was_taken())
    }

    fn features(&self) -> DeviceFeatures {
        self.with(|state| state.core.features())
    }

    fn configurations(&self) -> Option<Vec<Vec<u8>>> {
        self.with(|state| state.core.configurations())
    }

    fn tallies(&self) -> Option<Tallies> {
        self.with(|state| state.core.tallies())
    }
}
