//! A small driver for tests of device types: it lays virtqueues out in guest memory, offers chains
//! and collects what the device returns; and a witness that keeps what it was told.

use std::collections::BTreeMap;

use stickler_conformance::Tallies;
use stickler_conformance::layout::desc;
use stickler_conformance::{Event, Witness};
use stickler_mock_driver::{Buffer as Placed, SplitLayout, Virtqueue};
use vm_memory::{Bytes, GuestAddress};

use crate::memory::GuestRam;
use crate::virtio::queue::{Queue, QueueConfig};
use crate::virtio::{Io, Progress, Signals, VirtioDevice};

const RAM: usize = 1 << 22;
/// Guest memory for each queue's rings.
const RINGS: u64 = 0x1_0000;
/// Guest memory for buffers and indirect tables begins here.
const BUFFERS: u64 = 0x10_0000;

/// An event as text, by its group: `Status(Read { value: 0 })`. Events that come with every buffer have
/// no group.
pub(crate) fn described(event: &Event<'_>) -> String {
    let (Event::Control(_) | Event::Data(_) | Event::OutsideReset) = event;
    let text = format!("{event:?}");
    let inner = text
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(&text).to_owned()
}

/// Keeps events as text.
#[derive(Default)]
pub(crate) struct VecWitness(pub(crate) Vec<String>);

impl Witness for VecWitness {
    const JUDGING: bool = true;

    fn see(&mut self, event: &Event<'_>) {
        self.0.push(described(event));
    }

    fn tallies(&self) -> Option<Tallies> {
        None
    }
}

impl VecWitness {
    /// The events of the kind `name`, in order.
    pub(crate) fn of(&self, name: &str) -> Vec<&str> {
        let of_kind = |e: &&String| {
            e.strip_prefix(name)
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
        };
        self.0.iter().filter(of_kind).map(String::as_str).collect()
    }
}

/// One buffer of a chain, the driver's side.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Buffer<'a> {
    /// Device-readable, with this content.
    Out(&'a [u8]),
    /// Device-writable, of so many bytes.
    In(u32),
}

/// A chain the device has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Returned {
    /// The head the driver gave it.
    pub(crate) head: u16,
    /// `len` of the used ring.
    pub(crate) len: u32,
    /// The device-writable bytes, up to `len`.
    pub(crate) bytes: Vec<u8>,
}

/// The driver's side of one virtqueue.
#[derive(Clone, Debug)]
struct Ring {
    queue: Virtqueue,
    /// The device-writable buffers of the chains the device holds, by head.
    writable: BTreeMap<u16, Vec<Placed>>,
}

/// A driver, the device it drives, and all that lies between.
pub(crate) struct Bench<D> {
    pub(crate) device: D,
    pub(crate) ram: GuestRam,
    pub(crate) witness: VecWitness,
    pub(crate) signals: Signals,
    queues: Vec<Option<Queue>>,
    rings: Vec<Option<Ring>>,
    next_buffer: u64,
}

impl<D: VirtioDevice<VecWitness>> Bench<D> {
    /// A device fresh from reset, and no queue enabled.
    pub(crate) fn new(device: D) -> Self {
        Bench {
            device,
            ram: GuestRam::anonymous(RAM),
            witness: VecWitness::default(),
            signals: Signals::default(),
            queues: Vec::new(),
            rings: Vec::new(),
            next_buffer: BUFFERS,
        }
    }

    /// Negotiates `features`, enables all queues with `size` descriptors each and sets DRIVER_OK.
    pub(crate) fn start(&mut self, features: u64, size: u16) {
        let count = self.device.queue_sizes().len();
        let enabled: Vec<u16> = (0..count as u16)
            .filter(|i| self.device.queue_sizes()[usize::from(*i)] != 0)
            .collect();
        self.start_with(features, size, &enabled);
    }

    /// As [`start`](Self::start), with only the queues `enabled`.
    pub(crate) fn start_with(&mut self, features: u64, size: u16, enabled: &[u16]) {
        assert!(self.device.accepts(features));
        self.device.negotiated(features);
        let count = self.device.queue_sizes().len() as u16;
        self.queues.clear();
        self.rings.clear();
        for index in 0..count {
            let (queue, ring) = match enabled.contains(&index) {
                true => self.lay_out(index, size),
                false => (None, None),
            };
            self.queues.push(queue);
            self.rings.push(ring);
        }
        self.with(|device, io| device.activate(io));
        for index in 0..self.device.host_fds().len() {
            self.host_ready(index);
        }
    }

    fn lay_out(&self, index: u16, size: u16) -> (Option<Queue>, Option<Ring>) {
        let desc = RINGS * u64::from(index);
        let avail = desc + 0x8000;
        let used = desc + 0xc000;
        assert!(size <= 0x800 && used < BUFFERS, "room for the rings");
        let layout = SplitLayout {
            size,
            desc,
            avail,
            used,
        };
        let config = QueueConfig {
            index,
            size,
            desc,
            avail,
            used,
            event_idx: false,
        };
        let ring = Ring {
            queue: Virtqueue::new(self.ram.inner(), layout, false),
            writable: BTreeMap::new(),
        };
        (Queue::new(&config, &self.ram), Some(ring))
    }

    /// The guest's memory is `ram` from now on; the rings are still in it.
    pub(crate) fn change_memory(&mut self, ram: GuestRam) {
        for queue in self.queues.iter_mut().flatten() {
            assert!(queue.remap(&ram), "the rings are in memory");
        }
        for ring in self.rings.iter_mut().flatten() {
            ring.queue.memory = ram.inner().clone();
        }
        self.ram = ram;
    }

    /// Resets the device; its queues are gone.
    pub(crate) fn reset(&mut self) {
        self.device.reset();
        self.queues.clear();
        self.rings.clear();
        self.signals = Signals::default();
    }

    /// Makes a chain of `buffers` available on `queue`, without notifying. Returns its head.
    pub(crate) fn offer(&mut self, queue: u16, buffers: &[Buffer<'_>]) -> u16 {
        let placed: Vec<Placed> = buffers.iter().map(|b| self.place(*b)).collect();
        let ring = self.ring(queue);
        let head = ring.queue.chain(&placed);
        ring.expose(head, placed);
        head
    }

    /// As [`offer`](Self::offer), with the buffers in an indirect table.
    pub(crate) fn offer_indirect(&mut self, queue: u16, buffers: &[Buffer<'_>]) -> u16 {
        let placed: Vec<Placed> = buffers.iter().map(|b| self.place(*b)).collect();
        let table = self.allocate(u64::from(desc::LEN) * buffers.len() as u64);
        let ring = self.ring(queue);
        let head = ring.queue.indirect(table, &placed);
        ring.expose(head, placed);
        head
    }

    /// Writes `head` to the next entry of the available ring as it is.
    pub(crate) fn offer_head(&mut self, queue: u16, head: u16) {
        self.ring(queue).queue.expose(head);
    }

    /// Notifies `queue` until the device says that it is done.
    pub(crate) fn notify(&mut self, queue: u16) {
        self.send_notification(queue);
        for _ in 0..10_000 {
            if self.with(|device, io| device.notified(queue, io)) == Progress::Done {
                return;
            }
        }
        panic!("the device never finds an end");
    }

    /// Notifies `queue`; the device has yet to do something.
    pub(crate) fn send_notification(&mut self, queue: u16) {
        self.with(|_, io| {
            let live = io.queues.get_mut(usize::from(queue));
            if let Some(live) = live.and_then(Option::as_mut) {
                live.notified(io.witness);
            }
        });
    }

    /// Tells the device that a host file descriptor is readable, until it says that it is done.
    pub(crate) fn host_ready(&mut self, index: usize) {
        for _ in 0..10_000 {
            if self.with(|device, io| device.host_ready(index, io)) == Progress::Done {
                return;
            }
        }
        panic!("the device never finds an end");
    }

    /// The chains returned on `queue` since the last call.
    pub(crate) fn collect(&mut self, queue: u16) -> Vec<Returned> {
        let ram = self.ram.clone();
        let ring = self.ring(queue);
        let mut returned = Vec::new();
        for (head, len) in ring.queue.take_used() {
            let mut bytes = Vec::new();
            for buffer in ring.writable.remove(&head).unwrap_or_default() {
                let count = (len as usize - bytes.len()).min(buffer.len as usize);
                let mut part = vec![0; count];
                ram.inner()
                    .read_slice(&mut part, GuestAddress(buffer.addr))
                    .expect("in memory");
                bytes.extend(part);
            }
            returned.push(Returned { head, len, bytes });
        }
        returned
    }

    /// Calls the device with everything it may use.
    pub(crate) fn with<R>(&mut self, call: impl FnOnce(&mut D, &mut Io<'_, VecWitness>) -> R) -> R {
        let mut io = Io {
            ram: &self.ram,
            queues: &mut self.queues,
            witness: &mut self.witness,
            signals: &mut self.signals,
        };
        call(&mut self.device, &mut io)
    }

    /// As [`with`](Self::with), with a witness of the test's own.
    pub(crate) fn with_witness<W: Witness, R>(
        &mut self,
        witness: &mut W,
        call: impl FnOnce(&mut D, &mut Io<'_, W>) -> R,
    ) -> R {
        let mut io = Io {
            ram: &self.ram,
            queues: &mut self.queues,
            witness,
            signals: &mut self.signals,
        };
        call(&mut self.device, &mut io)
    }

    /// Guest-physical address of `idx` of a queue's used ring.
    pub(crate) fn used_idx_at(&mut self, queue: u16) -> u64 {
        self.ring(queue).queue.layout.used_idx()
    }

    fn ring(&mut self, queue: u16) -> &mut Ring {
        self.rings[usize::from(queue)]
            .as_mut()
            .expect("an enabled queue")
    }

    /// Puts a buffer somewhere in memory.
    fn place(&mut self, buffer: Buffer<'_>) -> Placed {
        match buffer {
            Buffer::Out(bytes) => {
                let addr = self.allocate(bytes.len() as u64);
                self.ram
                    .inner()
                    .write_slice(bytes, GuestAddress(addr))
                    .expect("in memory");
                Placed::readable(addr, bytes.len() as u32)
            }
            Buffer::In(len) => Placed::writable(self.allocate(u64::from(len)), len),
        }
    }

    /// Fresh memory. It comes round again after a while: tests hold few buffers at a time.
    fn allocate(&mut self, len: u64) -> u64 {
        let len = len.next_multiple_of(16);
        if self.next_buffer + len > RAM as u64 {
            self.next_buffer = BUFFERS;
        }
        let at = self.next_buffer;
        self.next_buffer += len;
        at
    }
}

impl Ring {
    fn expose(&mut self, head: u16, mut buffers: Vec<Placed>) {
        buffers.retain(|buffer| buffer.writable);
        self.writable.insert(head, buffers);
        self.queue.expose(head);
    }
}
