//! What a read of 4 KiB that is in the page cache costs on its way through the block device: judged,
//! unjudged, and through the plain virtio-queue + vm-memory loop with the same `pread`, side by side
//! in one run on one core.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stickler::backends::disk::{DiskImage, DiskSpec};
use stickler_conformance::layout::status;
use stickler_conformance::{DeviceId, DeviceKind, Event, Judge, Unjudged, Witness, features};
use stickler_devices::block::Block;
use stickler_devices::memory::GuestRam;
use stickler_devices::virtio::queue::{Queue, QueueConfig};
use stickler_devices::virtio::{Io, Signals, VirtioDevice};
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const SIZE: u16 = 256;
/// Requests at once; each has three descriptors.
const BATCH: u16 = 64;
const DESC: u64 = 0x1_0000;
const AVAIL: u64 = 0x2_0000;
const USED: u64 = 0x3_0000;
const HEADERS: u64 = 0x4_0000;
const STATUS: u64 = 0x5_0000;
const DATA: u64 = 0x10_0000;
const LEN: u32 = 4096;
const RAM: usize = 16 << 20;

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// Fills the rings: header, data and status in a descriptor each, as Linux does.
fn lay_out(memory: &GuestMemoryMmap) {
    let put = |index: u16, addr: u64, len: u32, flags: u16| {
        let at = DESC + 16 * u64::from(index);
        let rest = u64::from(len) | u64::from(flags) << 32 | u64::from(index + 1) << 48;
        memory
            .write_obj([addr, rest], GuestAddress(at))
            .expect("in memory");
    };
    for i in 0..BATCH {
        let n = u64::from(i);
        let header = [0, 8 * n];
        memory
            .write_obj(header, GuestAddress(HEADERS + 16 * n))
            .expect("in memory");
        put(3 * i, HEADERS + 16 * n, 16, NEXT);
        put(3 * i + 1, DATA + u64::from(LEN) * n, LEN, NEXT | WRITE);
        put(3 * i + 2, STATUS + n, 1, WRITE);
    }
    for position in 0..SIZE {
        memory
            .write_obj(
                3 * (position % BATCH),
                GuestAddress(AVAIL + 4 + 2 * u64::from(position)),
            )
            .expect("in memory");
    }
}

fn expose(memory: &GuestMemoryMmap, idx: u16) {
    memory
        .write_obj(idx, GuestAddress(AVAIL + 2))
        .expect("in memory");
}

/// Times `requests` requests, `BATCH` at a time, each batch worked by `work`.
fn time(ram: &GuestRam, requests: u64, mut work: impl FnMut()) -> Duration {
    let memory = ram.inner();
    let mut idx: u16 = memory.read_obj(GuestAddress(AVAIL + 2)).expect("in memory");
    let batches = requests.div_ceil(u64::from(BATCH));
    let start = Instant::now();
    for _ in 0..batches {
        idx = idx.wrapping_add(BATCH);
        expose(memory, idx);
        work();
        let used: u16 = memory.read_obj(GuestAddress(USED + 2)).expect("in memory");
        assert_eq!(used, idx, "all of the batch is done");
    }
    // Criterion asked for `requests`; a last batch that is not full is counted for its share.
    start
        .elapsed()
        .mul_f64(requests as f64 / (batches * u64::from(BATCH)) as f64)
}

fn ours<W: Witness>(
    ram: &GuestRam,
    block: &mut Block<DiskImage>,
    queues: &mut [Option<Queue>],
    witness: &mut W,
) {
    let mut signals = Signals::default();
    let mut io = Io {
        ram,
        queues,
        witness,
        signals: &mut signals,
    };
    let _ = block.notified(0, &mut io);
    black_box(signals);
}

fn plain(memory: &GuestMemoryMmap, queue: &mut virtio_queue::Queue, file: &File) {
    while let Some(mut chain) = queue.pop_descriptor_chain(memory) {
        let head = chain.head_index();
        let header = chain.next().expect("a header");
        let [_, sector] = memory
            .read_obj::<[u64; 2]>(header.addr())
            .expect("in memory");
        let data = chain.next().expect("data");
        let slice = memory
            .get_slice(data.addr(), data.len() as usize)
            .expect("in memory");
        let guard = slice.ptr_guard_mut();
        let at = u64::from_le(sector) as i64 * 512;
        // SAFETY: the slice's bytes are mapped while `memory` is borrowed.
        let n = unsafe { libc::pread(file.as_raw_fd(), guard.as_ptr().cast(), slice.len(), at) };
        assert_eq!(n, LEN as isize);
        let status = chain.next().expect("a status byte");
        memory.write_obj(0_u8, status.addr()).expect("in memory");
        queue.add_used(memory, head, LEN + 1).expect("in memory");
    }
    black_box(queue.needs_notification(memory).expect("in memory"));
}

/// A judge that has seen a driver set the device up.
fn judge() -> Judge {
    let offered = features::VERSION_1 | features::RING_EVENT_IDX | features::block::FLUSH;
    let device = DeviceId {
        slot: 1,
        kind: DeviceKind::Block,
    };
    let mut judge = Judge::new(device, offered, Box::new(Vec::new()));
    let steps = [
        status::ACKNOWLEDGE,
        status::DRIVER,
        status::FEATURES_OK,
        status::DRIVER_OK,
    ];
    let mut from = 0;
    for step in steps {
        let to = from | step;
        judge.see(&Event::StatusWritten { from, to });
        if step == status::FEATURES_OK {
            judge.see(&Event::FeaturesDecided {
                offered,
                accepted: offered,
                kept: true,
            });
        }
        from = to;
    }
    judge
}

fn read_4k(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("block/read-4k");
    group.throughput(Throughput::Elements(1));
    let ram = GuestRam::anonymous(RAM);
    lay_out(ram.inner());
    let mut image = tempfile::NamedTempFile::new().expect("a place for an image");
    image
        .write_all(&vec![0x5a; usize::from(BATCH) * LEN as usize])
        .expect("room for an image");
    let spec = DiskSpec {
        path: image.path().into(),
        read_only: true,
    };
    let config = QueueConfig {
        index: 0,
        size: SIZE,
        desc: DESC,
        avail: AVAIL,
        used: USED,
        event_idx: true,
    };
    let fresh = || {
        expose(ram.inner(), 0);
        ram.inner()
            .write_obj(0_u16, GuestAddress(USED + 2))
            .expect("in memory");
        let disk = DiskImage::open(&spec).expect("an image");
        let queue = Queue::new(&config, &ram).expect("well laid out");
        (Block::new(disk), [Some(queue)])
    };

    let (mut block, mut queues) = fresh();
    let mut judge = judge();
    group.bench_function("judged", |b| {
        b.iter_custom(|n| {
            time(&ram, n, || {
                ours(&ram, &mut block, &mut queues, &mut judge);
            })
        });
    });
    let (mut block, mut queues) = fresh();
    group.bench_function("unjudged", |b| {
        b.iter_custom(|n| {
            time(&ram, n, || {
                ours(&ram, &mut block, &mut queues, &mut Unjudged);
            })
        });
    });
    drop(fresh());
    let mut theirs = virtio_queue::Queue::new(SIZE).expect("a power of two");
    theirs.set_size(SIZE);
    theirs
        .try_set_desc_table_address(GuestAddress(DESC))
        .expect("aligned");
    theirs
        .try_set_avail_ring_address(GuestAddress(AVAIL))
        .expect("aligned");
    theirs
        .try_set_used_ring_address(GuestAddress(USED))
        .expect("aligned");
    theirs.set_event_idx(true);
    theirs.set_ready(true);
    let file = File::open(image.path()).expect("the image");
    group.bench_function("plain", |b| {
        b.iter_custom(|n| time(&ram, n, || plain(ram.inner(), &mut theirs, &file)));
    });
    group.finish();
}

criterion_group!(benches, read_4k);
criterion_main!(benches);
