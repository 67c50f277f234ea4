//! A 64-byte packet through the network device's transmit path.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use stickler_conformance::device::net::HEADER_LEN;
use stickler_conformance::{DeviceKind, Unjudged, Witness};
use stickler_devices::net::{Discard, Net};
use stickler_devices::virtio::VirtioDevice;
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryMmap};

use crate::driver::{DATA, Driver, Live, judge};

const TRANSMITQ1: u16 = 1;
const HEADER: u32 = HEADER_LEN as u32;
const PACKET: u32 = 64;

fn card() -> Net<Discard> {
    let (net, _link) = Net::new(Discard::default(), [2, 0, 0, 0, 0, 1]).expect("an eventfd");
    net
}

/// What a device does at the least: iterate, read the header, translate the buffer, add used.
fn plain(memory: &GuestMemoryMmap, queue: &mut virtio_queue::Queue) {
    while let Some(mut chain) = queue.pop_descriptor_chain(memory) {
        let head = chain.head_index();
        let mut first = true;
        for descriptor in chain.by_ref() {
            if first {
                black_box(
                    memory
                        .read_obj::<[u8; HEADER_LEN]>(descriptor.addr())
                        .expect("in memory"),
                );
                first = false;
            }
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

/// `net-transmit-64/…`: header and packet in one buffer, as Linux lays a small packet out;
/// `net-transmit-64-split/…`: in two.
pub(crate) fn transmit(criterion: &mut Criterion) {
    let at = |number: u16| DATA + 4096 * u64::from(number);
    let one = Driver::new(64, |n| vec![(at(n), HEADER + PACKET, false)]);
    let two = Driver::new(64, |n| {
        vec![(at(n), HEADER, false), (at(n) + 2048, PACKET, false)]
    });
    for (name, driver) in [("net-transmit-64", one), ("net-transmit-64-split", two)] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        let offered = VirtioDevice::<Unjudged>::features(&card());
        let mut judged = live(&driver, judge(DeviceKind::Net, offered));
        driver.begin(|| work(&mut judged));
        group.bench_function("judged", |b| {
            b.iter_custom(|n| driver.time(n, || work(&mut judged)))
        });
        let mut unjudged = live(&driver, Unjudged);
        group.bench_function("unjudged", |b| {
            b.iter_custom(|n| driver.time(n, || work(&mut unjudged)))
        });
        let mut queue = driver.plain();
        group.bench_function("plain", |b| {
            b.iter_custom(|n| driver.time(n, || plain(driver.ram.inner(), &mut queue)));
        });
        group.finish();
    }
}

fn live<W: Witness>(driver: &Driver, witness: W) -> Live<Net<Discard>, W> {
    Live::new(driver, card(), TRANSMITQ1, witness)
}

fn work<W: Witness>(live: &mut Live<Net<Discard>, W>) {
    black_box(live.work());
}
