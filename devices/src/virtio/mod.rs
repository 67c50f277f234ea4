//! What is common to all virtio devices. Citations are of virtio 1.0.
//!
//! * [`device`]: what a device type implements.
//! * [`queue`]: split virtqueues (§2.4).
//! * [`delays`]: real time that a device takes.
//! * [`stream`]: the bytes of a descriptor chain, as one stream.
//! * `core`: the state of a device on any transport: status, features, queues, configuration, work.
//! * [`pci`]: the virtio-pci transport (§4.1), thin over the core.
//! * `locked`: a device on its transport, behind one lock.

use std::os::fd::RawFd;
use std::time::Duration;

use stickler_conformance::DeviceId;
use stickler_conformance::Tallies;

use crate::memory::GuestRam;

pub(crate) mod call_timer;
mod core;
pub mod delays;
pub mod device;
mod locked;
pub mod pci;
pub mod queue;
pub mod stream;

pub use self::core::{Interrupt, Transport};
pub use device::{Io, Progress, Signals, VirtioDevice};
pub use locked::LockedDevice;
pub use pci::VirtioPci;

/// A virtio device on its transport, as the worker thread that serves it sees it. The worker waits
/// for the file descriptors (edge-triggered) and calls [`service`](Self::service).
pub trait Serviced: Send + Sync {
    /// Slot and type.
    fn id(&self) -> DeviceId;

    /// An eventfd that is signalled when there is work for the device: a queue was notified, or the
    /// device went live.
    fn kick_fd(&self) -> RawFd;

    /// What the device wants to know of on the host, see [`VirtioDevice::host_fds`].
    fn host_fds(&self) -> Vec<RawFd>;

    /// Does a bounded amount of the work that waits: for `Wake::Kick` on the notified queues, for
    /// `Wake::Host(i)` on the `i`th host file descriptor, for `Wake::Tick` it looks for buffers that the
    /// driver should have notified the device of, and does what is due by then. Call again after
    /// [`Progress::More`].
    fn service(&self, wake: Wake) -> Progress;

    /// Whether the device takes real time for something: it is to be told of the time that passes by
    /// [`Wake::Elapsed`]. Constant.
    fn keeps_time(&self) -> bool {
        false
    }

    /// In how long at the latest the device wants to be served with [`Wake::Elapsed`], if something of it
    /// waits for the clock.
    fn alarm(&self) -> Option<Duration> {
        None
    }

    /// The guest's memory is `ram` from now on. When this returns, the device finds no other memory, and
    /// its queues use none: a device whose rings are gone needs a reset (§2.1.2). An operation that the
    /// host has begun before may still use memory that is gone, and keeps it mapped until then.
    fn memory_changed(&self, ram: GuestRam);

    /// The run has ended; `by_guest` says whether the guest has ended it. Call it once, before
    /// [`tallies`](Self::tallies), when no driver can access the device any more.
    fn run_ended(&self, by_guest: bool);

    /// Whether the device can be asked within `time`. If not, the thread that works on it hangs with the host, and the
    /// other methods may not return either.
    fn answers_within(&self, time: Duration) -> bool {
        let _ = time;
        true
    }

    /// Whether a driver has brought the device to life and has not reset it since.
    fn is_live(&self) -> bool;

    /// Whether a driver has ever brought the device to life: the device was live at some time.
    fn was_taken(&self) -> bool;

    /// What the device offers, and what its driver has accepted.
    fn features(&self) -> DeviceFeatures {
        DeviceFeatures::default()
    }

    /// What its device-specific configuration contained while the device was live, as bytes, each content once;
    /// `None` if there were too many, or where nobody remembers.
    fn configurations(&self) -> Option<Vec<Vec<u8>>> {
        None
    }

    /// What has been counted of the driver so far, where anyone judges.
    fn tallies(&self) -> Option<Tallies>;
}

/// The features of a device and its driver, as 64-bit feature words (§2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceFeatures {
    /// What the device offers.
    pub offered: u64,
    /// What its driver has accepted when FEATURES_OK was kept last; `None` if it never was.
    pub accepted: Option<u64>,
}

/// How long after the last [`Wake::Tick`] the next one comes: far longer than a driver takes from
/// writing `idx` to notifying.
pub const TICK: Duration = Duration::from_secs(1);

/// Why the worker was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The kick eventfd.
    Kick,
    /// A host file descriptor, by index.
    Host(usize),
    /// [`TICK`] has passed.
    Tick,
    /// So much time has passed since the last call with this. If something is due by now, the kick eventfd
    /// is signalled.
    Elapsed(Duration),
}
