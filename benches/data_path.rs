//! What a buffer costs on its way through a device: judged, unjudged, and through the plain
//! virtio-queue + vm-memory loop, side by side in one run on one core.
//!
//! The driver's side is the same everywhere and as cheap as can be: the rings are filled once, and
//! making a batch available again is one write of `idx`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stickler_conformance::{DeviceId, DeviceKind, Judge, Unjudged, Witness, features};
use stickler_devices::memory::GuestRam;
use stickler_devices::virtio::queue::{Queue, QueueConfig};
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const SIZE: u16 = 256;
const BATCH: u16 = 64;
const DESC: u64 = 0x1_0000;
const AVAIL: u64 = 0x2_0000;
const USED: u64 = 0x3_0000;
const DATA: u64 = 0x10_0000;
const RAM: usize = 16 << 20;

/// Fills the rings: chain `i` at position `i`, one buffer of `len` bytes each.
fn lay_out(memory: &GuestMemoryMmap, len: u32) {
    for i in 0..SIZE {
        let at = GuestAddress(DESC + 16 * u64::from(i));
        memory
            .write_obj(DATA + 4096 * u64::from(i), at)
            .expect("in memory");
        memory
            .write_obj(u64::from(len), GuestAddress(at.0 + 8))
            .expect("in memory");
        memory
            .write_obj(i, GuestAddress(AVAIL + 4 + 2 * u64::from(i)))
            .expect("in memory");
    }
}

fn expose(memory: &GuestMemoryMmap, idx: u16) {
    memory
        .write_obj(idx, GuestAddress(AVAIL + 2))
        .expect("in memory");
}

/// Times `chains` chains, `BATCH` at a time, each batch worked by `work`.
fn time(ram: &GuestRam, chains: u64, mut work: impl FnMut()) -> Duration {
    let memory = ram.inner();
    let mut idx: u16 = memory.read_obj(GuestAddress(AVAIL + 2)).expect("in memory");
    let batches = chains.div_ceil(u64::from(BATCH));
    let start = Instant::now();
    for _ in 0..batches {
        idx = idx.wrapping_add(BATCH);
        expose(memory, idx);
        work();
    }
    // Criterion asked for `chains`; a last batch that is not full is counted for its share.
    start
        .elapsed()
        .mul_f64(chains as f64 / (batches * u64::from(BATCH)) as f64)
}

fn ours<W: Witness>(ram: &GuestRam, queue: &mut Queue, witness: &mut W) {
    while let Ok(Some(chain)) = queue.pop(ram, witness) {
        let head = chain.head;
        for buffer in chain.buffers {
            let slice = ram
                .slice(buffer.addr, buffer.len as usize)
                .expect("checked");
            black_box(slice.read_obj::<[u8; 12]>(0).expect("long enough"));
        }
        queue.add_used(head, 0, witness);
    }
    black_box(queue.publish());
}

fn plain(memory: &GuestMemoryMmap, queue: &mut virtio_queue::Queue) {
    while let Some(mut chain) = queue.pop_descriptor_chain(memory) {
        let head = chain.head_index();
        if let Some(descriptor) = chain.next() {
            black_box(
                memory
                    .read_obj::<[u8; 12]>(descriptor.addr())
                    .expect("in memory"),
            );
            black_box(
                memory
                    .get_slice(descriptor.addr(), descriptor.len() as usize)
                    .expect("in memory"),
            );
        }
        queue.add_used(memory, head, 0).expect("in memory");
    }
    black_box(queue.needs_notification(memory).expect("in memory"));
}

fn queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(1));
    let ram = GuestRam::anonymous(RAM);
    lay_out(ram.inner(), 76);
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
        Queue::new(&config, &ram).expect("well laid out")
    };
    let device = DeviceId {
        slot: 1,
        kind: DeviceKind::Net,
    };
    let mut judge = Judge::new(device, features::VERSION_1, Box::new(Vec::new()));

    let mut judged = fresh();
    group.bench_function("judged", |b| {
        b.iter_custom(|n| time(&ram, n, || ours(&ram, &mut judged, &mut judge)));
    });
    let mut unjudged = fresh();
    group.bench_function("unjudged", |b| {
        b.iter_custom(|n| time(&ram, n, || ours(&ram, &mut unjudged, &mut Unjudged)));
    });
    expose(ram.inner(), 0);
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
    group.bench_function("plain", |b| {
        b.iter_custom(|n| time(&ram, n, || plain(ram.inner(), &mut theirs)));
    });
    group.finish();
}

criterion_group!(benches, queue);
criterion_main!(benches);
