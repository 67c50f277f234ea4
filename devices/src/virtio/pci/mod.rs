//! The virtio-pci transport: a virtio device as a function on the PCI bus (§4.1).
//!
//! * [`layout`]: where the structures are in the BARs, and what of that is free to choose.
//! * `latitude`: what latitudes make of all this.
//! * `capabilities`: what a driver finds in configuration space (§4.1.2, §4.1.4).
//! * `core`: the state of the device and what moves it: status, queues, service.
//! * `interrupts`: how it interrupts the driver (§4.1.4.5, §4.1.5.3, §4.1.5.4).
//! * `registers`: what an access to a structure means (§4.1.4.3 to §4.1.4.6).
//! * `window`: the same by way of configuration space (§4.1.4.7).

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use stickler_conformance::judge::Tallies;
use stickler_conformance::latitude::Draw;
use stickler_conformance::{DeviceId, Witness};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{Progress, Serviced, VirtioDevice, Wake};
use crate::interrupt::InterruptSink;
use crate::memory::GuestRam;
use crate::pci::{Decoded, PciFunction};
use core::Core;

mod capabilities;
mod core;
mod interrupts;
mod latitude;
pub mod layout;
mod registers;
#[cfg(test)]
mod tests;
mod window;

pub use layout::Options;

/// A virtio device on the PCI bus.
pub struct VirtioPci<D, W> {
    id: DeviceId,
    kick: EventFd,
    host_fds: Vec<RawFd>,
    /// One lock around all of the device: its registers, its queues, and who judges its driver, so
    /// that events are told in the order in which they happened.
    core: Mutex<Core<D, W>>,
    /// How many vCPUs wait for the lock.
    waiting: AtomicUsize,
}

/// How often the worker lets others go first before it takes the lock again.
const YIELDS: usize = 64;

impl<D: VirtioDevice<W>, W: Witness> VirtioPci<D, W> {
    /// Puts `device` on the plain transport; [`with_options`](Self::with_options) says the rest.
    pub fn new(
        device: D,
        slot: u8,
        ram: GuestRam,
        interrupts: Arc<dyn InterruptSink>,
        witness: impl FnOnce(DeviceId, u64) -> W,
    ) -> io::Result<Arc<Self>> {
        VirtioPci::with_options(device, slot, ram, interrupts, &Options::default(), witness)
    }

    /// Makes `device` the function that will stand in `slot` of PCI bus 0. `witness` is given who the
    /// device is and all feature bits it offers, and makes the one who sees what its driver does.
    ///
    /// Fails if the options contradict each other, or there is no file descriptor left for an
    /// eventfd.
    pub fn with_options(
        device: D,
        slot: u8,
        ram: GuestRam,
        interrupts: Arc<dyn InterruptSink>,
        options: &Options,
        witness: impl FnOnce(DeviceId, u64) -> W,
    ) -> io::Result<Arc<Self>> {
        let id = DeviceId {
            slot,
            kind: device.kind(),
        };
        let host_fds = device.host_fds();
        let core = Core::new(device, id, ram, interrupts, options, witness)?;
        Ok(Arc::new(VirtioPci {
            id,
            kick: EventFd::new(EFD_NONBLOCK)?,
            host_fds,
            core: Mutex::new(core),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Lets `f` work on the device for a vCPU, which goes before the worker.
    fn access<R>(&self, f: impl FnOnce(&mut Core<D, W>) -> R) -> R {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.with(|core| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            f(core)
        })
    }

    /// Lets `f` work on the locked device, and then wakes the worker if there is something for it.
    fn with<R>(&self, f: impl FnOnce(&mut Core<D, W>) -> R) -> R {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut core);
        let kick = core.take_kick();
        drop(core);
        if kick {
            // It can only fail for a counter at its limit, and then the worker is awake anyway.
            let _ = self.kick.write(1);
        }
        result
    }
}

impl<D: VirtioDevice<W>, W: Witness> PciFunction for VirtioPci<D, W> {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        self.access(|core| core.config_read(offset, data));
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        self.access(|core| core.config_write(offset, data));
    }

    fn decoded(&self) -> Vec<Decoded> {
        self.access(|core| core.decoded())
    }

    fn placement(&self) -> Option<Draw> {
        self.access(|core| core.plan.placement())
    }

    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) {
        self.access(|core| core.bar_read(bar, offset, data, false));
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) {
        self.access(|core| core.bar_write(bar, offset, data, false));
    }
}

impl<D: VirtioDevice<W>, W: Witness> Serviced for VirtioPci<D, W> {
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
            // Whoever kicks from here on has left its work under the lock by then, or does so later
            // and kicks again. An error means that nobody has kicked.
            let _ = self.kick.read();
        }
        // The lock is not fair: a busy worker would keep a vCPU from it for long.
        for _ in 0..YIELDS {
            if self.waiting.load(Ordering::Relaxed) == 0 {
                break;
            }
            thread::yield_now();
        }
        self.with(|core| core.service(wake))
    }

    fn tallies(&self) -> Option<Tallies> {
        self.with(|core| core.tallies())
    }
}
