//! The driver's side, the same for every contestant and as cheap as can be: the rings are filled
//! once, and making a batch available again is one write of `idx`.

use std::time::{Duration, Instant};

use stickler_conformance::event::{Moment, QueueArea, QueueEvent, QueueSetup};
use stickler_conformance::layout::desc;
use stickler_conformance::{DeviceId, DeviceKind, Judge, Witness, features};
use stickler_devices::memory::GuestRam;
use stickler_devices::virtio::queue::{Queue, QueueConfig};
use stickler_devices::virtio::{Io, Progress, Signals, VirtioDevice};
use stickler_mock_driver::{Buffer, SplitLayout, get, put, put_descriptor};
use virtio_queue::QueueT;
use vm_memory::GuestAddress;

/// Where the queue is.
const QUEUE: SplitLayout = SplitLayout {
    size: 256,
    desc: 0x1_0000,
    avail: 0x2_0000,
    used: 0x3_0000,
};
/// Where buffers are.
pub(crate) const DATA: u64 = 0x10_0000;
const RAM: usize = 16 << 20;

/// One descriptor of a chain: address, length, whether the device writes it.
pub(crate) type Descriptor = (u64, u32, bool);

/// Rules watch some things only at the beginning; after so many chains nobody does any more.
const WATCHED: u64 = 4096;

/// Guest memory with a filled queue.
pub(crate) struct Driver {
    pub(crate) ram: GuestRam,
    batch: u16,
}

impl Driver {
    /// Chains as long as the one `chain` gives for each, `batch` of them made available at a time.
    pub(crate) fn new(batch: u16, chain: impl Fn(u16) -> Vec<Descriptor>) -> Self {
        let ram = GuestRam::anonymous(RAM);
        let memory = ram.inner();
        let length = chain(0).len() as u16;
        let chains = QUEUE.size / length.next_power_of_two();
        for position in 0..QUEUE.size {
            let head = position % chains * length;
            put(memory, QUEUE.avail_entry(position), head);
        }
        for number in 0..chains {
            for (i, (addr, len, writable)) in (0..).zip(chain(number)) {
                let index = number * length + i;
                let buffer = Buffer {
                    addr,
                    len,
                    writable,
                };
                let (flags, next) = if i + 1 < length {
                    (desc::NEXT, index + 1)
                } else {
                    (0, 0)
                };
                put_descriptor(memory, QUEUE.desc, index, buffer, flags, next);
            }
        }
        Driver {
            ram,
            batch: batch.min(chains),
        }
    }

    /// Has `work` do what is not to be measured: the first chains.
    pub(crate) fn begin(&self, work: impl FnMut()) {
        self.time(WATCHED, work);
    }

    /// Times `chains` chains, a batch at a time, each batch worked by `work`.
    pub(crate) fn time(&self, chains: u64, mut work: impl FnMut()) -> Duration {
        let memory = self.ram.inner();
        let mut idx: u16 = get(memory, QUEUE.avail_idx());
        let batches = chains.div_ceil(u64::from(self.batch));
        let start = Instant::now();
        for _ in 0..batches {
            idx = idx.wrapping_add(self.batch);
            put(memory, QUEUE.avail_idx(), idx);
            work();
        }
        // Criterion asked for `chains`; a last batch that is not full counts for its share.
        let share = chains as f64 / (batches * u64::from(self.batch)) as f64;
        start.elapsed().mul_f64(share)
    }

    fn rewind(&self) {
        put(self.ram.inner(), QUEUE.avail_idx(), 0_u16);
    }

    /// The queue as our devices have it, fresh.
    fn ours(&self, index: u16) -> Queue {
        self.rewind();
        let config = QueueConfig {
            index,
            size: QUEUE.size,
            desc: QUEUE.desc,
            avail: QUEUE.avail,
            used: QUEUE.used,
            event_idx: true,
        };
        Queue::new(&config, &self.ram).expect("well laid out")
    }

    /// The queue as virtio-queue has it, fresh.
    pub(crate) fn plain(&self) -> virtio_queue::Queue {
        self.rewind();
        let mut queue = virtio_queue::Queue::new(QUEUE.size).expect("a power of two");
        queue.set_size(QUEUE.size);
        queue
            .try_set_desc_table_address(GuestAddress(QUEUE.desc))
            .expect("aligned");
        queue
            .try_set_avail_ring_address(GuestAddress(QUEUE.avail))
            .expect("aligned");
        queue
            .try_set_used_ring_address(GuestAddress(QUEUE.used))
            .expect("aligned");
        queue.set_event_idx(true);
        queue.set_ready(true);
        queue
    }
}

/// A device brought to life as its transport does it, with one queue.
pub(crate) struct Live<D, W> {
    ram: GuestRam,
    device: D,
    witness: W,
    index: u16,
    queues: Vec<Option<Queue>>,
}

impl<W: Witness, D: VirtioDevice<W>> Live<D, W> {
    pub(crate) fn new(driver: &Driver, mut device: D, index: u16, witness: W) -> Self {
        let wanted = device.features() | features::VERSION_1 | features::RING_EVENT_IDX;
        device.negotiated(wanted);
        let mut queues: Vec<Option<Queue>> = (0..index).map(|_| None).collect();
        queues.push(Some(driver.ours(index)));
        let mut live = Live {
            ram: driver.ram.clone(),
            device,
            witness,
            index,
            queues,
        };
        let mut signals = Signals::default();
        let mut io = Io {
            ram: &live.ram,
            queues: &mut live.queues,
            witness: &mut live.witness,
            signals: &mut signals,
        };
        live.device.activate(&mut io);
        live
    }

    /// Works the queue until there is nothing to do.
    pub(crate) fn work(&mut self) -> Signals {
        let mut signals = Signals::default();
        let mut io = Io {
            ram: &self.ram,
            queues: &mut self.queues,
            witness: &mut self.witness,
            signals: &mut signals,
        };
        // As the core does it.
        let queue = usize::from(self.index);
        if let Some(queue) = &mut io.queues[queue] {
            queue.notified(io.witness);
        }
        while self.device.notified(self.index, &mut io) == Progress::More {}
        if let Some(queue) = &mut io.queues[queue] {
            queue.observe(Moment::Notified, io.ram, io.witness);
        }
        assert!(!signals.needs_reset, "a conforming driver");
        signals
    }
}

/// A judge that has seen its driver initialize the device.
pub(crate) fn judge(kind: DeviceKind, offered: u64) -> Judge {
    use stickler_conformance::device::net;
    use stickler_conformance::event::{FeatureEvent, Register, RegisterEvent, StatusEvent};
    use stickler_conformance::layout::{Structure, status};
    let offered = offered | features::VERSION_1 | features::RING_EVENT_IDX;
    let mut judge = Judge::new(DeviceId { slot: 1, kind }, offered, Box::new(Panics));
    judge.see(&StatusEvent::Written { from: 0, to: 0 }.into());
    judge.see(&StatusEvent::ResetDone.into());
    judge.see(&StatusEvent::Read { value: 0 }.into());
    let mut from = 0;
    for bit in [status::ACKNOWLEDGE, status::DRIVER] {
        judge.see(
            &StatusEvent::Written {
                from,
                to: from | bit,
            }
            .into(),
        );
        from |= bit;
    }
    for select in 0..2 {
        judge.see(&FeatureEvent::DeviceRead { select }.into());
        let value = (offered >> (32 * select)) as u32;
        judge.see(&FeatureEvent::DriverWritten { select, value }.into());
    }
    judge.see(
        &StatusEvent::Written {
            from,
            to: from | status::FEATURES_OK,
        }
        .into(),
    );
    judge.see(
        &FeatureEvent::Decided {
            offered,
            accepted: offered,
            kept: true,
        }
        .into(),
    );
    from |= status::FEATURES_OK;
    judge.see(&StatusEvent::Read { value: from }.into());
    for queue in 0..2 {
        configure(queue, &mut judge);
    }
    judge.see(
        &StatusEvent::Written {
            from,
            to: from | status::DRIVER_OK,
        }
        .into(),
    );
    if kind == DeviceKind::Net {
        // The driver looks whether the link is up.
        judge.see(
            &RegisterEvent::Read(Register {
                structure: Structure::Device,
                offset: net::config::STATUS,
                width: 2,
                value: net::status::LINK_UP.into(),
            })
            .into(),
        );
    }
    judge
}

/// A queue is configured and enabled that is laid out as here.
fn configure(queue: u16, judge: &mut Judge) {
    // The judge has never seen two queues in one place.
    let apart = u64::from(queue) * 0x4_0000;
    let addresses = [QUEUE.desc, QUEUE.avail, QUEUE.used].map(|address| address + apart);
    judge.see(&QueueEvent::SizeRead { queue }.into());
    for (area, address) in QueueArea::ALL.into_iter().zip(addresses) {
        let written = QueueEvent::AddressWritten {
            queue,
            area,
            address,
        };
        judge.see(&written.into());
    }
    let [descriptor, driver, device] = addresses;
    let enabled = QueueEvent::EnableWritten {
        queue,
        value: 1,
        setup: Some(QueueSetup {
            size: QUEUE.size,
            max: QUEUE.size,
            descriptor,
            driver,
            device,
            enabled: false,
            split: None,
            in_memory: true,
        }),
    };
    judge.see(&enabled.into());
}

/// The benchmarks' driver conforms: a finding means that something else is measured.
struct Panics;

impl stickler_conformance::Recorder for Panics {
    fn record(&mut self, finding: stickler_conformance::Finding) {
        panic!("{}: {}", finding.requirement, finding.message);
    }
}
