//! A 4 KiB read through the block device, from the page cache.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::os::fd::AsRawFd;

use criterion::{Criterion, Throughput};
use stickler::backends::disk::{DiskImage, DiskSpec};
use stickler_conformance::device::block::{HEADER_LEN, SECTOR, kind, status};
use stickler_conformance::{DeviceKind, Unjudged, Witness};
use stickler_devices::block::Block;
use stickler_devices::virtio::VirtioDevice;
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryMmap};

use crate::driver::{DATA, Driver, Live, judge};

const REQUESTQ: u16 = 0;
const HEADER: u32 = HEADER_LEN as u32;
const BLOCK: u32 = 4096;
const SECTORS: u64 = 2048;

/// What a device does at the least: iterate, read the header, translate the buffer, read the file
/// into it, write the status, add used.
fn plain(memory: &GuestMemoryMmap, queue: &mut virtio_queue::Queue, file: &File) {
    while let Some(mut chain) = queue.pop_descriptor_chain(memory) {
        let head = chain.head_index();
        let (Some(header), Some(data), Some(status)) = (chain.next(), chain.next(), chain.next())
        else {
            panic!("three descriptors a request");
        };
        let [_kind, sector] = memory
            .read_obj::<[u64; 2]>(header.addr())
            .expect("in memory");
        let slice = memory
            .get_slice(data.addr(), data.len() as usize)
            .expect("in memory");
        let guard = slice.ptr_guard_mut();
        // SAFETY: the guard's pointer is good for the slice's length while the guard lives.
        let read = unsafe {
            libc::pread(
                file.as_raw_fd(),
                guard.as_ptr().cast(),
                slice.len(),
                sector as i64 * i64::from(SECTOR),
            )
        };
        assert_eq!(read, BLOCK as isize);
        memory
            .write_obj(status::OK, status.addr())
            .expect("in memory");
        queue.add_used(memory, head, BLOCK + 1).expect("in memory");
    }
    black_box(queue.needs_notification(memory).expect("in memory"));
}

/// `block-read-4k/…`
pub(crate) fn read(criterion: &mut Criterion) {
    let mut image = tempfile::NamedTempFile::new().expect("a temporary file");
    image
        .write_all(&vec![0x5a; SECTORS as usize * SECTOR as usize])
        .expect("room for an image");
    let driver = Driver::new(32, |number| {
        let at = DATA + 16384 * u64::from(number);
        vec![
            (at, HEADER, false),
            (at + 4096, BLOCK, true),
            (at + 8192, 1, true),
        ]
    });
    for number in 0..64_u64 {
        let request = [u64::from(kind::IN), number * 8 % SECTORS];
        let at = vm_memory::GuestAddress(DATA + 16384 * number);
        driver
            .ram
            .inner()
            .write_obj(request, at)
            .expect("in memory");
    }
    // The disk is opened once a contestant, one after the other: it is locked while it is open.
    let mut group = criterion.benchmark_group("block-read-4k");
    group.throughput(Throughput::Elements(1));
    {
        let device = disk(&image);
        let offered = VirtioDevice::<Unjudged>::features(&device);
        let mut judged = Live::new(&driver, device, REQUESTQ, judge(DeviceKind::Block, offered));
        driver.begin(|| work(&mut judged));
        group.bench_function("judged", |b| {
            b.iter_custom(|n| driver.time(n, || work(&mut judged)))
        });
    }
    {
        let mut unjudged = Live::new(&driver, disk(&image), REQUESTQ, Unjudged);
        group.bench_function("unjudged", |b| {
            b.iter_custom(|n| driver.time(n, || work(&mut unjudged)))
        });
    }
    let mut queue = driver.plain();
    group.bench_function("plain", |b| {
        b.iter_custom(|n| {
            driver.time(n, || plain(driver.ram.inner(), &mut queue, image.as_file()))
        });
    });
    group.finish();
}

fn work<W: Witness>(live: &mut Live<Block<DiskImage>, W>) {
    black_box(live.work());
}

fn disk(image: &tempfile::NamedTempFile) -> Block<DiskImage> {
    let spec = DiskSpec {
        path: image.path().to_owned(),
        read_only: false,
    };
    Block::new(DiskImage::open(&spec).expect("the image opens"))
}
