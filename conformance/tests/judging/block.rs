//! Requests of the block device (§5.2.6 of virtio 1.0).

use stickler_conformance::DeviceKind::Block;
use stickler_conformance::event::{BlockRequest, DataEvent};
use stickler_conformance::features::block;

use crate::parts::{CAPACITY, request};
use crate::play::Play;
use crate::table::{Case, case, may};

pub const CASES: &[Case] = &[
    may("block.cache.deduce-writethrough", Block, |p| {
        p.boot_with(p.offered & !(block::CONFIG_WCE | block::FLUSH));
        p.request(1, 0, 512, 0);
    }),
    case("block.request.header", Block, |p| {
        see(p, |r| r.header = None);
    }),
    case("block.request.status", Block, |p| {
        see(p, |r| {
            r.has_status = false;
            r.writable = 0;
        });
    }),
    case("block.request.type", Block, |p| {
        p.boot();
        p.request(11, 0, 512, 0);
    }),
    case("block.read.writable", Block, |p| {
        p.boot();
        p.request(0, 0, 512, 0);
    }),
    case("block.write.readable", Block, |p| {
        p.boot();
        p.request(1, 0, 512, 512);
    }),
    case("block.request.whole-sectors", Block, |p| {
        p.boot();
        p.request(0, 0, 0, 700);
    }),
    case("block.request.within-capacity", Block, |p| {
        p.boot();
        p.request(0, CAPACITY - 1, 0, 1024);
    }),
    case("block.request.seg-max", Block, |p| {
        see(p, |r| r.segments = 5);
    }),
    case("block.request.size-max", Block, |p| {
        see(p, |r| r.longest_segment = 8192);
    }),
    case("block.flush.sector", Block, |p| {
        p.boot();
        p.request(4, 1, 0, 0);
    }),
    case("block.flush.no-data", Block, |p| {
        p.boot();
        p.request(4, 0, 512, 0);
    }),
    case("block.flush.negotiated", Block, |p| {
        p.boot_with(p.offered & !(block::FLUSH | block::CONFIG_WCE));
        p.request(4, 0, 0, 0);
    }),
];

fn see(p: &mut Play, change: fn(&mut BlockRequest)) {
    p.boot();
    let mut request = request(0, 8, 0, 4096);
    change(&mut request);
    p.see(DataEvent::BlockRequest(request));
}

#[test]
fn limits_bind_only_where_they_were_negotiated() {
    let mut p = Play::new(Block);
    p.boot_with(p.offered & !(block::SEG_MAX | block::SIZE_MAX));
    p.see(DataEvent::BlockRequest(BlockRequest {
        segments: 100,
        longest_segment: 1 << 20,
        ..request(0, 8, 0, 4096)
    }));
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn the_last_sector_is_within_capacity_and_a_sector_beyond_all_is_not() {
    let mut p = Play::new(Block);
    p.boot();
    p.request(1, CAPACITY - 1, 512, 0);
    p.request(1, CAPACITY, 0, 0);
    assert_eq!(p.messages(), [""; 0]);
    p.request(1, u64::MAX, 512, 0);
    assert_eq!(p.found(), ["block.request.within-capacity"]);
}
