//! Requests of the block device (§5.2.6 of virtio 1.0).

use stickler_conformance::features::block;
use stickler_guest_tests::in_process::block::{HEADER_LEN, SECTOR, kind};
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts};

use crate::{devices, rogues};

fn live(d: &mut Driver<'_>) {
    d.initialize(ALL, Interrupts::Msix);
}

const ALL: u64 = block::FLUSH | block::SEG_MAX | block::SIZE_MAX;

/// Room for `sectors`, which the device writes, …
fn into(d: &Driver<'_>, sectors: u32) -> Buffer {
    Buffer::writable(
        d.rig.allocate(u64::from(sectors * SECTOR)),
        sectors * SECTOR,
    )
}

/// … or reads.
fn from(d: &Driver<'_>, sectors: u32) -> Buffer {
    Buffer {
        writable: false,
        ..into(d, sectors)
    }
}

rogues! {
    half_a_header: Block breaks "block.request.header" by |d| {
        live(d);
        let mut flush = d.block_request(kind::FLUSH, 0, &[]);
        flush[0].len = 8;
        d.submit(0, &flush);
    };
    no_status: Block breaks "block.request.status" by |d| {
        live(d);
        let flush = d.block_request(kind::FLUSH, 0, &[]);
        d.submit(0, &flush[..1]);
    };
    unknown_request: Block breaks "block.request.type" by |d| {
        live(d);
        d.block_do(99, 0, &[]);
    };
    reads_into_readable: Block breaks "block.read.writable" by |d| {
        live(d);
        d.block_do(kind::IN, 0, &[from(d, 1)]);
    };
    writes_from_writable: Block breaks "block.write.readable" by |d| {
        live(d);
        d.block_do(kind::OUT, 0, &[into(d, 1)]);
    };
    half_a_sector: Block breaks "block.request.whole-sectors" by |d| {
        live(d);
        let half = Buffer { len: SECTOR / 2, ..into(d, 1) };
        d.block_do(kind::IN, 0, &[half]);
    };
    beyond_the_end: Block breaks "block.request.within-capacity" by |d| {
        live(d);
        d.block_do(kind::IN, devices::SECTORS - 1, &[into(d, 2)]);
    };
    sector_that_wraps_around: Block breaks "block.request.within-capacity" by |d| {
        live(d);
        d.block_do(kind::OUT, u64::MAX, &[from(d, 1)]);
    };
    // Header and first sector share a descriptor, or the queue would be too small for the request.
    too_many_segments: Block breaks "block.request.seg-max" by |d| {
        d.negotiate(ALL);
        d.set_up_interrupts(Interrupts::Msix);
        d.set_up_queues(256);
        d.go();
        let sector = from(d, 1);
        let first = Buffer::readable(d.rig.allocate(4096), HEADER_LEN + SECTOR);
        d.put_block_header(first.addr, kind::OUT, 0);
        let mut buffers = vec![first];
        buffers.extend([sector; 254]);
        buffers.push(d.block_status());
        d.submit(0, &buffers);
    };
    too_long_a_segment: Block breaks "block.request.size-max" by |d| {
        live(d);
        d.block_do(kind::IN, 0, &[into(d, 2049)]);
    };
    flush_of_a_sector: Block breaks "block.flush.sector" by |d| {
        live(d);
        d.block_do(kind::FLUSH, 1, &[]);
    };
    flush_with_data: Block breaks "block.flush.no-data" by |d| {
        live(d);
        d.block_do(kind::FLUSH, 0, &[from(d, 1)]);
    };
    flush_without_the_feature: Block breaks "block.flush.negotiated" by |d| {
        d.initialize(0, Interrupts::Msix);
        d.block_do(kind::FLUSH, 0, &[]);
    };
}
