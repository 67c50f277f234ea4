//! The block device, driven by hand. Citations are of virtio 1.0.

mod layouts;
mod rig;

use std::sync::Arc;

use stickler_conformance::features::block as feature;
use vm_memory::{GuestAddress, GuestRegionMmap};

use super::*;
use rig::{Asked, DATA, Rig, Seen};

const CAPACITY: u64 = 64;

fn page(i: u64) -> u64 {
    DATA + 4096 * i
}

/// The status byte of the request laid out in page `i`.
fn status_of(rig: &Rig, i: u64) -> u8 {
    rig.byte(page(i) + 16)
}

fn write(sector: u64, stable: bool) -> Asked {
    let offset = sector * SECTOR;
    Asked::Write { offset, stable }
}

fn read(sector: u64) -> Asked {
    Asked::Read {
        offset: sector * SECTOR,
    }
}

#[test]
fn a_request_is_told_as_the_driver_made_it() {
    let mut rig = Rig::new(CAPACITY, 16, false);
    rig.header(page(0), kind::OUT, 7);
    rig.offer(&[
        (page(0), 16 + 100, false),
        (page(1), 300, false),
        (page(2), 0, false),
        (page(2), 112, false),
        (page(3), 1, true),
    ]);
    let _ = rig.notify();
    let told = rig.seen.0[0];
    assert_eq!(told.header.map(|h| (h.kind, h.sector)), Some((1, 7)));
    assert_eq!((told.readable, told.writable), (512, 0));
    assert_eq!((told.segments, told.longest_segment), (3, 300));
    assert!(told.has_status);
    assert_eq!(told.capacity, CAPACITY);
    assert_eq!((told.seg_max, told.size_max), (14, 1 << 20));
}

#[test]
fn direction_counts_and_not_order() {
    // §2.4.4.2 is the driver's to keep; what it means is clear all the same.
    let mut rig = Rig::new(CAPACITY, 16, false);
    rig.header(page(0), kind::IN, 2);
    rig.offer(&[
        (page(1), 500, true),
        (page(0), 16, false),
        (page(1) + 500, 13, true),
    ]);
    let _ = rig.notify();
    assert_eq!(rig.used(), [(0, 513)]);
    assert_eq!(rig.read(page(1), 512), [2 ^ 0x40; 512]);
    assert_eq!(rig.byte(page(1) + 512), status::OK);
}

#[test]
fn the_last_sector_is_the_last() {
    let mut rig = Rig::new(CAPACITY, 64, false);
    let cases = [
        (CAPACITY - 1, 512, status::OK),
        (CAPACITY - 1, 1024, status::IOERR),
        (CAPACITY, 512, status::IOERR),
        (CAPACITY, 0, status::OK),
        (CAPACITY + 1, 0, status::IOERR),
        (u64::MAX, 512, status::IOERR),
        (u64::MAX, 1024, status::IOERR),
        (u64::MAX / 512 + 1, 512, status::IOERR),
    ];
    for (kind, page_of) in [(kind::IN, 0), (kind::OUT, 16)] {
        for (i, &(sector, len, _)) in cases.iter().enumerate() {
            rig.request(page(page_of + i as u64), kind, sector, len);
        }
        let _ = rig.notify();
        for (i, case) in cases.iter().enumerate() {
            assert_eq!(status_of(&rig, page_of + i as u64), case.2, "{case:?}");
        }
    }
    // Only what was within the capacity has reached the disk.
    assert_eq!(
        rig.disk().asked,
        [read(CAPACITY - 1), write(CAPACITY - 1, false)]
    );
}

#[test]
fn a_read_only_disk_is_offered_as_such_and_never_written() {
    let mut rig = Rig::new(CAPACITY, 16, true);
    assert_ne!(VirtioDevice::<Seen>::features(&rig.block) & feature::RO, 0);
    // §5.2.6.2: whether or not RO was accepted.
    for features in [feature::RO | feature::FLUSH, feature::FLUSH] {
        rig.reset();
        rig.go_live(features);
        rig.request(page(0), kind::OUT, 0, 512);
        rig.request(page(1), kind::OUT, 0, 0);
        rig.request(page(2), kind::FLUSH, 0, 0);
        let _ = rig.notify();
        assert_eq!(status_of(&rig, 0), status::IOERR);
        assert_eq!(status_of(&rig, 1), status::IOERR);
        assert_eq!(status_of(&rig, 2), status::OK);
        assert_eq!(rig.used().iter().map(|u| u.1).collect::<Vec<_>>(), [1; 3]);
    }
    assert_eq!(rig.disk().asked, [Asked::Flush, Asked::Flush]);
}

#[test]
fn errors_of_the_disk_become_ioerr() {
    for later in [false, true] {
        let mut rig = Rig::new(CAPACITY, 16, false);
        rig.disk().failing = true;
        rig.disk().later = later;
        rig.write(page(0) + 512, &[0xbb; 512]);
        rig.request(page(0), kind::IN, 1, 512);
        rig.request(page(1), kind::OUT, 2, 512);
        let _ = rig.notify();
        if later {
            rig.disk().release(&read(1));
            rig.disk().release(&write(2, false));
            let _ = rig.host_ready();
        }
        rig.request(page(2), kind::FLUSH, 0, 0);
        let _ = rig.notify();
        if later {
            rig.disk().release(&Asked::Flush);
            let _ = rig.host_ready();
        }
        for i in 0..3 {
            assert_eq!(status_of(&rig, i), status::IOERR);
        }
        // The length includes the status, so all before it has been written.
        let lengths: Vec<u32> = rig.used().iter().map(|u| u.1).collect();
        assert_eq!(lengths, [513, 1, 1]);
        assert_eq!(rig.read(page(0) + 512, 512), [0; 512]);
    }
}

#[test]
fn a_failed_request_of_excessive_size_says_nothing_of_its_data() {
    let mut rig = Rig::new(CAPACITY, 16, false);
    rig.header(page(0), kind::IN, 0);
    rig.write(page(1), &[0xbb]);
    let status = page(2);
    rig.offer(&[
        (page(0), 16, false),
        (page(1), 8 << 20, true),
        (page(1), 8 << 20, true),
        (status, 1, true),
    ]);
    let _ = rig.notify();
    assert_eq!(rig.used(), [(0, 0)]);
    assert_eq!(rig.byte(status), status::IOERR);
    assert_eq!(rig.byte(page(1)), 0xbb);
}

/// §5.2.6.2: when writes must be stable, by features and `writeback`.
#[test]
fn writes_are_stable_where_the_specification_says() {
    const WCE: u64 = feature::CONFIG_WCE;
    const FLUSH: u64 = feature::FLUSH;
    let cases = [
        (0, None, true),
        (FLUSH, None, false),
        (WCE, None, true),
        (WCE, Some(1), true),
        (WCE | FLUSH, None, false),
        (WCE | FLUSH, Some(0), true),
        (WCE | FLUSH, Some(1), false),
        // Only with CONFIG_WCE may the driver write the field, and only 0 and 1 mean something.
        (FLUSH, Some(0), false),
        (WCE | FLUSH, Some(2), false),
    ];
    for (features, written, stable) in cases {
        let mut rig = Rig::new(CAPACITY, 16, false);
        rig.reset();
        rig.go_live(features);
        if let Some(value) = written {
            rig.with_io(|block, io| block.write_config(32, &[value], io));
        }
        rig.request(page(0), kind::OUT, 3, 512);
        let _ = rig.notify();
        assert_eq!(
            rig.disk().asked,
            [write(3, stable)],
            "features {features:#x}, writeback {written:?}"
        );
    }
}

#[test]
fn writeback_is_the_only_field_a_driver_writes() {
    let mut rig = Rig::new(CAPACITY, 16, false);
    let fresh = rig.config();
    assert_eq!(fresh[32], 1);
    rig.with_io(|block, io| block.write_config(0, &[0xff; 32], io));
    assert_eq!(rig.config(), fresh);
    rig.with_io(|block, io| block.write_config(30, &[9, 9, 0], io));
    let mut expected = fresh.clone();
    expected[32] = 0;
    assert_eq!(rig.config(), expected);
    rig.with_io(|block, io| block.write_config(32, &[0x80], io));
    assert_eq!(rig.config(), expected);
    rig.reset();
    assert_eq!(rig.config(), fresh);
    // §5.2.5.2
    VirtioDevice::<Seen>::negotiated(&mut rig.block, feature::CONFIG_WCE);
    assert_eq!(rig.config()[32], 0);
}

#[test]
fn flush_is_offered_always() {
    let rig = Rig::new(CAPACITY, 16, false);
    let features = VirtioDevice::<Seen>::features(&rig.block);
    let all = feature::SIZE_MAX
        | feature::SEG_MAX
        | feature::GEOMETRY
        | feature::BLK_SIZE
        | feature::FLUSH
        | feature::TOPOLOGY
        | feature::CONFIG_WCE;
    assert_eq!(features, all);
}

#[test]
fn a_flush_begins_when_the_writes_before_it_have_ended() {
    let mut rig = Rig::new(CAPACITY, 32, false);
    rig.disk().later = true;
    rig.request(page(0), kind::OUT, 1, 512);
    rig.request(page(1), kind::OUT, 2, 512);
    rig.request(page(2), kind::IN, 9, 512);
    rig.request(page(3), kind::FLUSH, 0, 0);
    rig.request(page(4), kind::OUT, 3, 512);
    rig.request(page(5), kind::FLUSH, 0, 0);
    let _ = rig.notify();
    let begun = [write(1, false), write(2, false), read(9), write(3, false)];
    assert_eq!(rig.disk().asked, begun);
    rig.disk().release(&write(3, false));
    rig.disk().release(&write(2, false));
    let _ = rig.host_ready();
    assert_eq!(rig.disk().asked, begun);
    rig.disk().release(&write(1, false));
    let _ = rig.host_ready();
    // Both flushes cover what they must; the read keeps nobody waiting.
    assert_eq!(rig.disk().waiting(), [read(9), Asked::Flush, Asked::Flush]);
    assert_eq!(rig.used().len(), 3);
    rig.disk().release(&Asked::Flush);
    rig.disk().release(&Asked::Flush);
    let _ = rig.host_ready();
    assert_eq!(rig.used().len(), 2);
    assert_eq!((status_of(&rig, 3), status_of(&rig, 5)), (0, 0));
}

#[test]
fn a_waiting_flush_goes_on_after_a_write_that_failed() {
    let mut rig = Rig::new(CAPACITY, 32, false);
    rig.disk().later = true;
    rig.request(page(0), kind::OUT, 1, 512);
    rig.request(page(1), kind::FLUSH, 0, 0);
    let _ = rig.notify();
    rig.disk().failing = true;
    rig.disk().release(&write(1, false));
    rig.disk().failing = false;
    // And the disk may do a flush at once.
    rig.disk().later = false;
    let _ = rig.host_ready();
    assert_eq!(status_of(&rig, 0), status::IOERR);
    assert_eq!(status_of(&rig, 1), status::OK);
    assert_eq!(rig.used().len(), 2);
}

#[test]
fn requests_complete_in_any_order() {
    let mut rig = Rig::new(CAPACITY, 32, false);
    rig.disk().later = true;
    let heads: Vec<u32> = (0..5)
        .map(|i| rig.request(page(i), kind::IN, i, 512).into())
        .collect();
    let _ = rig.notify();
    assert!(rig.used().is_empty());
    for i in [3, 0, 4, 1, 2] {
        rig.disk().release(&read(i));
        let _ = rig.host_ready();
        assert_eq!(rig.used(), [(heads[i as usize], 513)]);
        assert_eq!(rig.read(page(i) + 512, 512), [i as u8 ^ 0x40; 512]);
    }
}

#[test]
fn long_chains_of_nothing_take_their_turns() {
    const SIZE: u16 = 256;
    let mut rig = Rig::new(CAPACITY, SIZE, false);
    // One long chain, which begins at many places.
    let nothing = vec![(0, 0, false); usize::from(SIZE)];
    let head = rig.offer(&nothing);
    for other in (0..SIZE).filter(|other| *other != head).take(63) {
        rig.expose(other);
    }
    let mut returned = 0;
    let mut calls = 0;
    loop {
        let progress = rig.notify();
        calls += 1;
        returned += rig.used().len();
        if progress == Progress::Done {
            break;
        }
        assert!(returned < 64);
    }
    assert_eq!(returned, 64);
    assert!(calls > 1);
}

#[test]
fn a_host_that_is_too_busy_is_tried_again() {
    let mut rig = Rig::new(CAPACITY, 16, false);
    rig.disk().later = true;
    rig.disk().stalled = true;
    rig.request(page(0), kind::IN, 1, 512);
    assert_eq!(rig.notify(), Progress::More);
    assert_eq!(rig.host_ready(), Progress::More);
    rig.disk().stalled = false;
    assert_eq!(rig.host_ready(), Progress::Done);
}

#[test]
fn what_hangs_on_the_host_is_not_returned_after_a_reset() {
    let mut rig = Rig::new(CAPACITY, 16, false);
    rig.disk().later = true;
    rig.disk().hangs = true;
    rig.request(page(0), kind::IN, 1, 512);
    let _ = rig.notify();
    rig.reset();
    assert!(rig.is_resetting());
    rig.disk().release(&read(1));
    assert_eq!(rig.host_ready(), Progress::Done);
    assert!(!rig.is_resetting());
    rig.go_live(feature::FLUSH);
    let _ = rig.host_ready();
    assert_eq!(status_of(&rig, 0), 0xff);
    assert!(rig.used().is_empty());
}

#[test]
fn a_reset_ends_what_is_in_flight() {
    let mut rig = Rig::new(CAPACITY, 16, false);
    rig.disk().later = true;
    rig.request(page(0), kind::OUT, 1, 512);
    rig.request(page(1), kind::FLUSH, 0, 0);
    rig.request(page(2), kind::IN, 2, 512);
    let _ = rig.notify();
    rig.disk().release(&read(2));
    rig.reset();
    assert_eq!(rig.disk().cancelled, 1);
    assert_eq!(rig.host_ready(), Progress::Done);
    assert_eq!(status_of(&rig, 2), 0xff);

    // A fresh device: the flush does not wait for the write before the reset.
    rig.disk().asked.clear();
    rig.go_live(feature::FLUSH);
    rig.request(page(3), kind::FLUSH, 0, 0);
    let _ = rig.notify();
    assert_eq!(rig.disk().asked, [Asked::Flush]);
    rig.disk().release(&Asked::Flush);
    let _ = rig.host_ready();
    assert_eq!(rig.used().len(), 1);
    assert_eq!(status_of(&rig, 3), status::OK);
    assert_eq!(status_of(&rig, 0), 0xff);
}

#[test]
fn a_call_does_a_bounded_share_of_the_work() {
    let mut rig = Rig::new(CAPACITY, 256, false);
    for i in 0..100 {
        rig.request(page(i), kind::FLUSH, 0, 0);
    }
    assert_eq!(rig.notify(), Progress::More);
    assert_eq!(rig.used().len(), 64);
    assert_eq!(rig.notify(), Progress::Done);
    assert_eq!(rig.used().len(), 36);
    // As many completions.
    rig.disk().later = true;
    for i in 0..80 {
        rig.request(page(i), kind::IN, i % CAPACITY, 512);
    }
    while rig.notify() == Progress::More {}
    for i in 0..80 {
        rig.disk().release(&read(i % CAPACITY));
    }
    assert_eq!(rig.host_ready(), Progress::More);
    assert_eq!(rig.used().len(), 64);
    assert_eq!(rig.host_ready(), Progress::Done);
    assert_eq!(rig.used().len(), 16);
}

#[test]
fn more_requests_than_descriptors_have_to_wait() {
    let mut rig = Rig::new(CAPACITY, 4, false);
    rig.disk().later = true;
    rig.header(page(0), kind::IN, 1);
    let head = rig.offer(&[(page(0), 16, false), (page(1), 513, true)]);
    let _ = rig.notify();
    // The same chain again and again, though the device still has it.
    for _ in 0..4 {
        rig.expose(head);
        assert_eq!(rig.notify(), Progress::Done);
    }
    assert_eq!(rig.disk().asked.len(), 4);
    assert!(!rig.wants_notifications());
    rig.disk().release(&read(1));
    // There is room again, and a notification will not come.
    assert_eq!(rig.host_ready(), Progress::More);
    assert_eq!(rig.host_ready(), Progress::Done);
    assert_eq!(rig.disk().asked.len(), 5);
    for _ in 0..4 {
        rig.disk().release(&read(1));
    }
    while rig.host_ready() == Progress::More {}
    assert!(rig.wants_notifications());
}

#[test]
fn a_ring_that_makes_no_sense_needs_a_reset() {
    let mut rig = Rig::new(CAPACITY, 4, false);
    rig.disk().later = true;
    rig.request(page(0), kind::IN, 1, 512);
    rig.expose(77);
    assert_eq!(rig.notify(), Progress::Done);
    assert!(rig.signals.needs_reset);
    // Not again, and what is in flight ends as it should.
    rig.signals.needs_reset = false;
    rig.disk().release(&read(1));
    assert_eq!(rig.host_ready(), Progress::Done);
    assert!(!rig.signals.needs_reset);
    assert_eq!(rig.used().len(), 1);
    rig.reset();
    rig.disk().later = false;
    rig.go_live(0);
    rig.request(page(0), kind::IN, 1, 512);
    let _ = rig.notify();
    assert_eq!(rig.used().len(), 1);
}

#[test]
fn the_driver_is_interrupted_for_what_is_returned() {
    let mut rig = Rig::new(CAPACITY, 16, false);
    let _ = rig.notify();
    assert_eq!(rig.signals.queues, 0);
    rig.request(page(0), kind::FLUSH, 0, 0);
    let _ = rig.notify();
    assert_eq!(rig.signals.queues, 1);
    assert!(rig.disk().starts > 0);
    assert_eq!(
        VirtioDevice::<Seen>::host_fds(&rig.block),
        [42],
        "the disk's completions are waited for"
    );
}

#[test]
fn a_request_whose_memory_vanishes_ends_and_touches_nothing_else() {
    const FAR: u64 = 1 << 30;
    let mut rig = Rig::new(CAPACITY, 16, false);
    let region = GuestRegionMmap::from_range(GuestAddress(FAR), 0x1000, None);
    let ram = rig.ram.with_region(Arc::new(region.expect("a page")));
    rig.change_memory(ram.expect("nothing is there"));
    rig.disk().later = true;
    // One request with all of its buffers there, and one with its data.
    let first = rig.request(FAR, kind::IN, 3, 512);
    rig.header(page(1), kind::IN, 4);
    let status = (page(1) + 16, 1, true);
    let second = rig.offer(&[(page(1), 16, false), (FAR + 2048, 512, true), status]);
    let _ = rig.notify();
    let (ram, region) = rig.ram.without_region(FAR, 0x1000).expect("it is there");
    rig.change_memory(ram);
    // The disk still works on it; it is not unmapped under the disk's hands.
    assert!(Arc::strong_count(&region) > 1);
    rig.disk().release(&read(3));
    rig.disk().release(&read(4));
    let _ = rig.host_ready();
    assert_eq!(Arc::strong_count(&region), 1);
    let heads: Vec<u32> = rig.used().iter().map(|(head, _)| *head).collect();
    assert_eq!(heads, [u32::from(first), u32::from(second)]);
    assert_eq!(status_of(&rig, 1), status::OK);
    assert!(!rig.signals.needs_reset);
}
