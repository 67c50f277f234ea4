//! A driver by hand, and a disk that does what a test says.
//!
//! Citations are of virtio 1.0.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard};

use stickler_conformance::Tallies;
use stickler_conformance::event::{BlockRequest, DataEvent};
use stickler_conformance::layout::desc::NEXT;
use stickler_conformance::{Event, Witness};
use stickler_mock_driver::{SplitLayout, Virtqueue};
use vm_memory::{Bytes, GuestAddress};

use crate::block::Block;
use crate::block::disk::{Completion, Disk, Operation, Properties, SECTOR, Segment, Submitted};
use crate::memory::GuestRam;
use crate::virtio::queue::{Queue, QueueConfig};
use crate::virtio::{Io, Progress, Signals, VirtioDevice};

/// The descriptor table begins here.
const DESC: u64 = 0x1000;
const AVAIL: u64 = 0x3000;
const USED: u64 = 0x4000;
/// Where a test may put its buffers.
pub(super) const DATA: u64 = 0x1_0000;
const RAM: usize = 16 << 20;

pub(super) const ID: [u8; 20] = *b"a disk of 20 letters";

/// What was asked of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Read { offset: u64 },
    Write { offset: u64, stable: bool },
    Flush,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) data: Vec<u8>,
    /// Operations are done when the test says so, not at once.
    pub(super) later: bool,
    /// Operations do not get going.
    pub(super) stalled: bool,
    /// Operations that wait cannot be cancelled.
    pub(super) hangs: bool,
    /// Operations fail.
    pub(super) failing: bool,
    pub(super) asked: Vec<Asked>,
    pub(super) cancelled: u32,
    pub(super) starts: u32,
    waiting: Vec<(u16, GuestRam, Asked, Vec<Segment>)>,
    completed: VecDeque<Completion>,
}

impl Inner {
    fn perform(&mut self, ram: &GuestRam, asked: &Asked, segments: &[Segment]) -> io::Result<()> {
        if self.failing {
            return Err(io::ErrorKind::Other.into());
        }
        let mut at = match asked {
            Asked::Read { offset } | Asked::Write { offset, .. } => *offset as usize,
            Asked::Flush => 0,
        };
        for s in segments {
            let bytes = &mut self.data[at..at + s.len as usize];
            at += s.len as usize;
            match asked {
                Asked::Read { .. } => ram.inner().write_slice(bytes, GuestAddress(s.addr)),
                _ => ram.inner().read_slice(bytes, GuestAddress(s.addr)),
            }
            .expect("in memory");
        }
        Ok(())
    }

    /// Lets the waiting operation `asked` end.
    pub(super) fn release(&mut self, asked: &Asked) {
        let position = self.waiting.iter().position(|w| w.2 == *asked);
        let (token, ram, asked, segments) = self.waiting.remove(position.expect("it waits"));
        let result = self.perform(&ram, &asked, &segments);
        self.completed.push_back(Completion { token, result });
    }

    pub(super) fn waiting(&self) -> Vec<Asked> {
        self.waiting.iter().map(|w| w.2.clone()).collect()
    }
}

#[derive(Clone)]
pub(super) struct FakeDisk {
    properties: Properties,
    inner: Arc<Mutex<Inner>>,
}

impl Disk for FakeDisk {
    fn properties(&self) -> Properties {
        self.properties
    }

    fn completion_fd(&self) -> RawFd {
        42
    }

    fn submit(&mut self, ram: &GuestRam, token: u16, operation: Operation<'_>) -> Submitted {
        let (asked, segments) = match operation {
            Operation::Read { offset, into } => (Asked::Read { offset }, into),
            Operation::Write {
                offset,
                from,
                stable,
            } => (Asked::Write { offset, stable }, from),
            Operation::Flush => (Asked::Flush, &[][..]),
        };
        let mut inner = self.inner.lock().unwrap();
        inner.asked.push(asked.clone());
        if inner.later {
            assert!(inner.waiting.iter().all(|w| w.0 != token), "token in use");
            inner
                .waiting
                .push((token, ram.clone(), asked, segments.to_vec()));
            return Submitted::Pending;
        }
        Submitted::Done(inner.perform(ram, &asked, segments))
    }

    fn start(&mut self) {
        self.inner.lock().unwrap().starts += 1;
    }

    fn is_stalled(&self) -> bool {
        self.inner.lock().unwrap().stalled
    }

    fn acknowledge(&mut self) {}

    fn next_completion(&mut self) -> Option<Completion> {
        self.inner.lock().unwrap().completed.pop_front()
    }

    fn cancel(&mut self) {
        let mut inner = self.inner.lock().unwrap();
        inner.cancelled += 1;
        inner.completed.clear();
        if !inner.hangs {
            inner.waiting.clear();
        }
    }

    fn is_quiet(&mut self) -> bool {
        let mut inner = self.inner.lock().unwrap();
        inner.completed.clear();
        inner.waiting.is_empty()
    }
}

/// Keeps the requests that are reported.
#[derive(Default)]
pub(super) struct Seen(pub(super) Vec<BlockRequest>);

impl Witness for Seen {
    const JUDGING: bool = true;

    fn see(&mut self, event: &Event<'_>) {
        if let Event::Data(DataEvent::BlockRequest(request)) = event {
            self.0.push(*request);
        }
    }

    fn tallies(&self) -> Option<Tallies> {
        None
    }
}

/// A buffer of a chain: address, length, whether device-writable.
pub(super) type Buffer = (u64, u32, bool);

/// An empty queue.
fn ring(ram: &GuestRam, size: u16) -> Virtqueue {
    let layout = SplitLayout {
        size,
        desc: DESC,
        avail: AVAIL,
        used: USED,
    };
    Virtqueue::new(ram.inner(), layout, false)
}

/// Device, driver and memory.
pub(super) struct Rig {
    pub(super) ram: GuestRam,
    pub(super) block: Block<FakeDisk>,
    pub(super) seen: Seen,
    pub(super) signals: Signals,
    disk: FakeDisk,
    queues: Vec<Option<Queue>>,
    size: u16,
    /// The driver's side of the queue. Descriptors are used in turn, whether or not they are free.
    ring: Virtqueue,
    next_descriptor: u16,
}

impl Rig {
    /// A device with a disk of `capacity` sectors, each filled with its number, and a queue of
    /// `size`; features as negotiated by a driver that takes all.
    pub(super) fn new(capacity: u64, size: u16, read_only: bool) -> Self {
        let data = (0..capacity * SECTOR)
            .map(|i| (i / SECTOR) as u8 ^ 0x40)
            .collect();
        let disk = FakeDisk {
            properties: Properties {
                capacity,
                read_only,
                physical_block: 4096,
                id: ID,
            },
            inner: Arc::new(Mutex::new(Inner {
                data,
                ..Inner::default()
            })),
        };
        let ram = GuestRam::anonymous(RAM);
        let mut rig = Rig {
            ring: ring(&ram, size),
            ram,
            block: Block::with_queue_size(disk.clone(), size),
            seen: Seen::default(),
            signals: Signals::default(),
            disk,
            queues: vec![None],
            size,
            next_descriptor: 0,
        };
        let offered = VirtioDevice::<Seen>::features(&rig.block);
        rig.go_live(offered);
        rig
    }

    /// Negotiates `features` and sets up the queue.
    pub(super) fn go_live(&mut self, features: u64) {
        VirtioDevice::<Seen>::negotiated(&mut self.block, features);
        self.ram
            .inner()
            .write_slice(&[0; 0x4000], GuestAddress(DESC))
            .unwrap();
        self.ring = ring(&self.ram, self.size);
        let config = QueueConfig {
            index: 0,
            size: self.size,
            desc: DESC,
            avail: AVAIL,
            used: USED,
            event_idx: false,
        };
        self.queues = vec![Queue::new(&config, &self.ram)];
        self.with_io(|block, io| block.activate(io));
    }

    /// The guest's memory is `ram` from now on; the rings are still in it.
    pub(super) fn change_memory(&mut self, ram: GuestRam) {
        for queue in self.queues.iter_mut().flatten() {
            assert!(queue.remap(&ram));
        }
        self.ring.memory = ram.inner().clone();
        self.ram = ram;
    }

    pub(super) fn is_resetting(&mut self) -> bool {
        VirtioDevice::<Seen>::is_resetting(&mut self.block)
    }

    pub(super) fn reset(&mut self) {
        self.queues = vec![None];
        VirtioDevice::<Seen>::reset(&mut self.block);
    }

    pub(super) fn with_io<T>(
        &mut self,
        f: impl FnOnce(&mut Block<FakeDisk>, &mut Io<'_, Seen>) -> T,
    ) -> T {
        let mut io = Io {
            ram: &self.ram,
            queues: &mut self.queues,
            witness: &mut self.seen,
            signals: &mut self.signals,
        };
        f(&mut self.block, &mut io)
    }

    pub(super) fn disk(&self) -> MutexGuard<'_, Inner> {
        self.disk.inner.lock().unwrap()
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) {
        self.ram
            .inner()
            .write_slice(bytes, GuestAddress(at))
            .unwrap();
    }

    pub(super) fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram
            .inner()
            .read_slice(&mut bytes, GuestAddress(at))
            .unwrap();
        bytes
    }

    pub(super) fn byte(&self, at: u64) -> u8 {
        self.read(at, 1)[0]
    }

    /// Makes a chain of these buffers available; returns its head.
    pub(super) fn offer(&mut self, buffers: &[Buffer]) -> u16 {
        let head = self.next_descriptor % self.size;
        for (i, &(addr, len, write)) in buffers.iter().enumerate() {
            let index = self.next_descriptor % self.size;
            self.next_descriptor = index + 1;
            let last = i + 1 == buffers.len();
            let flags = if last { 0 } else { NEXT };
            let next = self.next_descriptor % self.size;
            let buffer = stickler_mock_driver::Buffer {
                addr,
                len,
                writable: write,
            };
            self.ring.put_descriptor(DESC, index, buffer, flags, next);
        }
        self.expose(head);
        head
    }

    /// Makes `head` available.
    pub(super) fn expose(&mut self, head: u16) {
        self.ring.expose(head);
    }

    /// Writes a header at `at`.
    pub(super) fn header(&self, at: u64, kind: u32, sector: u64) {
        self.write(at, &kind.to_le_bytes());
        self.write(at + 4, &[0; 4]);
        self.write(at + 8, &sector.to_le_bytes());
    }

    /// Offers a request laid out the usual way in the page at `at`: header, status, and data from
    /// 512 on.
    pub(super) fn request(&mut self, at: u64, kind: u32, sector: u64, data: u32) -> u16 {
        self.header(at, kind, sector);
        self.write(at + 16, &[0xff]);
        let status = (at + 16, 1, true);
        match data {
            0 => self.offer(&[(at, 16, false), status]),
            _ => self.offer(&[(at, 16, false), (at + 512, data, kind != 1), status]),
        }
    }

    pub(super) fn notify(&mut self) -> Progress {
        self.with_io(|block, io| {
            if let Some(queue) = io.queues.first_mut().and_then(Option::as_mut) {
                queue.notified(io.witness);
            }
            block.notified(0, io)
        })
    }

    pub(super) fn host_ready(&mut self) -> Progress {
        self.with_io(|block, io| block.host_ready(0, io))
    }

    /// What has been returned since the last call: heads and lengths.
    pub(super) fn used(&mut self) -> Vec<(u32, u32)> {
        let used = self.ring.take_used();
        used.into_iter()
            .map(|(head, len)| (head.into(), len))
            .collect()
    }

    /// Whether the device asks for notifications (§2.4.9).
    pub(super) fn wants_notifications(&mut self) -> bool {
        self.ring.notification_wanted()
    }

    pub(super) fn config(&self) -> Vec<u8> {
        VirtioDevice::<Seen>::config(&self.block).to_vec()
    }
}
