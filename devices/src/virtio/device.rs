//! What a device type implements, and what it is given to work with.
//!
//! Citations are of virtio 1.0.

use std::os::fd::RawFd;

use stickler_conformance::{DeviceKind, Latitudes, Witness};

use super::queue::Queue;
use crate::memory::GuestRam;

/// A device type: network, block, console, entropy.
///
/// The transport calls these methods under the device's lock, one at a time; those that look at
/// queues are called only while DRIVER_OK is set. They never block: what takes long is handed to the
/// host and comes back through a [host file descriptor](Self::host_fds).
pub trait VirtioDevice<W: Witness>: Send + 'static {
    /// Which device type this is.
    fn kind(&self) -> DeviceKind;

    /// Which latitudes the device makes use of, and the slot it is in, from which it draws what they
    /// leave open. Called once, before any other method.
    fn set_latitudes(&mut self, latitudes: Latitudes, slot: u8) {
        let _ = (latitudes, slot);
    }

    /// The feature bits of the device type that are offered (bits 0 to 23). The transport adds the
    /// reserved ones (§6). Constant while a driver may look.
    fn features(&self) -> u64;

    /// Of [`features`](Self::features) just those in `offered` are offered (§2.2.2): fields and queues of
    /// others are not there. Called once, before a driver may look.
    fn offer(&mut self, offered: u64) {
        let _ = offered;
    }

    /// The size of each virtqueue on reset, by index: powers of two from 1 to 32768, or 0 for a queue
    /// that does not exist (§4.1.4.3). At most 64 queues.
    fn queue_sizes(&self) -> &[u16];

    /// The device-specific configuration as it stands (§2.3). Its length is constant.
    fn config(&self) -> &[u8];

    /// The driver wrote `data` at `offset` of the device-specific configuration; both lie within
    /// [`config`](Self::config). Read-only fields keep their value.
    fn write_config(&mut self, offset: u32, data: &[u8], io: &mut Io<'_, W>) {
        let _ = (offset, data, io);
    }

    /// The configuration has changed just after the driver read `data` from `offset` of it: makes `data`
    /// what was there before, where the device type knows a value that could have been (§2.3.1).
    fn config_before_change(&self, offset: u32, data: &mut [u8]) {
        let _ = (offset, data);
    }

    /// Whether the device can work with the accepted features (§2.2.2); if not, it will not keep
    /// FEATURES_OK set.
    fn accepts(&self, features: u64) -> bool {
        let _ = features;
        true
    }

    /// FEATURES_OK has been set and kept; `features` is what was negotiated.
    fn negotiated(&mut self, features: u64) {
        let _ = features;
    }

    /// DRIVER_OK has been set: the queues in `io` may be used from now on.
    fn activate(&mut self, io: &mut Io<'_, W>);

    /// The driver has asked for a reset. When this returns, the device's state is that of a fresh device (§2.1.2),
    /// and no buffer of any queue is touched any more, unless the device [is resetting](Self::is_resetting).
    fn reset(&mut self);

    /// Whether buffers may still be touched that were in use before the reset, because the host cannot stop what it
    /// does with them. The reset is not complete until then. Asked after [`reset`](Self::reset), and then after each
    /// [`host_ready`](Self::host_ready).
    fn is_resetting(&mut self) -> bool {
        false
    }

    /// The driver has notified `queue`, or there is more to do on it after [`Progress::More`]. Does a
    /// bounded amount of work.
    fn notified(&mut self, queue: u16, io: &mut Io<'_, W>) -> Progress;

    /// [`TICK`](super::TICK) has passed, for what is to come about even if nobody does anything. Called
    /// only while DRIVER_OK is set.
    fn tick(&mut self, io: &mut Io<'_, W>) {
        let _ = io;
    }

    /// File descriptors of the host whose becoming readable (edge-triggered) the device wants to
    /// know. Constant; valid as long as the device lives.
    fn host_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }

    /// The `index`th of [`host_fds`](Self::host_fds) may have become readable, or there is more to do
    /// on it after [`Progress::More`]. Called once for each after [`activate`](Self::activate), so
    /// that what arrived before is seen. Does a bounded amount of work. Called with no queues when
    /// the device is not live: `io.queue(_)` is `None` then.
    fn host_ready(&mut self, index: usize, io: &mut Io<'_, W>) -> Progress {
        let _ = (index, io);
        Progress::Done
    }

    // ---- What latitudes may do with the device type

    /// Queue sizes that are small and still of use to a driver: powers of two.
    fn small_queue_sizes(&self) -> &[u16] {
        &[16, 8, 32]
    }

    /// Whether buffers of `queue` may be returned in another order than they were made available
    /// (§2.4.8). They may not where their order is that of a stream.
    fn may_reorder(&self, queue: u16) -> bool {
        let _ = queue;
        true
    }

    /// Whether buffers of `queue` wait for what comes from the host, however long that takes.
    fn waits_for_host(&self, queue: u16) -> bool {
        let _ = queue;
        false
    }

    /// Whether the driver sends commands to the device on `queue`, beside those on which it does its work.
    fn takes_commands(&self, queue: u16) -> bool {
        let _ = queue;
        false
    }

    /// Whether a buffer of `queue` may be written beyond the `len` that the used ring says (§2.4.8.2).
    /// It may not where the end of the buffer has a meaning.
    fn may_write_beyond_len(&self, queue: u16) -> bool {
        let _ = queue;
        false
    }
}

/// Whether a device has done all there was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// All there was to do is done.
    Done,
    /// The call's share of work is used up: call again.
    More,
}

/// What a device is given for the length of one call.
pub struct Io<'a, W> {
    /// The guest's memory.
    pub ram: &'a GuestRam,
    /// The enabled virtqueues, by index; `None` where a queue is not enabled or the device not live.
    pub queues: &'a mut [Option<Queue>],
    /// Where to tell what the driver did.
    pub witness: &'a mut W,
    /// What the device wants to signal to the driver.
    pub signals: &'a mut Signals,
}

impl<W: Witness> Io<'_, W> {
    /// The virtqueue, if it is enabled and the device live.
    #[inline]
    pub fn queue(&mut self, index: u16) -> Option<&mut Queue> {
        self.queues.get_mut(usize::from(index))?.as_mut()
    }
}

/// What a device wants to signal to the driver. The transport turns it into interrupts and status
/// after the call, under the same lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Queues that need a virtqueue notification (§4.1.5.3), by index. Set it when
    /// [`Queue::publish`] says so.
    pub queues: u64,
    /// The device-specific configuration has changed (§4.1.5.4): the generation moves on and the
    /// driver is told.
    pub config_changed: bool,
    /// The device has entered an error state that only a reset ends (§2.1.2).
    pub needs_reset: bool,
}

impl Signals {
    /// The driver is to be told of used buffers on `queue`.
    #[inline]
    pub fn used(&mut self, queue: u16) {
        self.queues |= 1 << (queue & 63);
    }
}
