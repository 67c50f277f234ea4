//! Buffers from the moment they are made available: all are told, and what the driver alters meanwhile.

use super::*;

/// A queue whose driver has made three buffers available, of 64 bytes, which wait.
fn waiting() -> (Driver, Queue, Seen) {
    let (mut driver, mut seen) = (Driver::new(), Seen::default());
    let mut queue = driver.queue(false);
    for head in 0..3 {
        driver.descriptor(head, DATA + 64 * u64::from(head), 64, WRITE, 0);
        driver.expose(head);
    }
    queue.observe(Moment::Notified, &driver.ram, &mut seen);
    (driver, queue, seen)
}

/// The device looks again, in each way. Returns what it found altered.
fn found(driver: &Driver, queue: &mut Queue, moment: Moment) -> Vec<(BufferPart, u64, u64)> {
    let mut seen = Seen::default();
    queue.observe(moment, &driver.ram, &mut seen);
    assert!(seen.altered.iter().all(|a| a.3 == moment));
    let found = seen.altered.iter().map(|a| (a.0, a.1, a.2)).collect();
    // Told once.
    let mut seen = Seen::default();
    queue.observe(moment, &driver.ram, &mut seen);
    assert_eq!(seen.altered, []);
    found
}

const LOOKS: [Moment; 3] = [Moment::Notified, Moment::Later, Moment::Last];

#[test]
fn buffers_are_told_once_while_they_wait() {
    let (mut driver, mut queue, mut seen) = waiting();
    let heads = |seen: &Seen| seen.chains.iter().map(|c| c.0).collect::<Vec<_>>();
    assert_eq!(heads(&seen), [0, 1, 2]);
    assert_eq!(seen.available.len(), 1);
    // The device takes them one after the other, and new ones come meanwhile.
    for head in 0..2 {
        let chain = queue.pop(&driver.ram, &mut seen).unwrap().unwrap();
        assert_eq!(chain.id, BufferId(head));
    }
    driver.descriptor(4, DATA, 64, WRITE, 0);
    driver.expose(4);
    queue.observe(Moment::Worked, &driver.ram, &mut seen);
    assert_eq!(heads(&seen), [0, 1, 2, 4]);
    for _ in 0..2 {
        assert!(queue.pop(&driver.ram, &mut seen).unwrap().is_some());
    }
    assert_eq!(heads(&seen), [0, 1, 2, 4]);
    assert_eq!(seen.altered, []);
}

#[test]
fn a_waiting_buffer_that_cannot_be_walked_is_told_and_breaks_nothing_yet() {
    let (mut driver, mut queue, mut seen) = waiting();
    driver.descriptor(5, DATA, 64, NEXT, 5);
    driver.expose(5);
    driver.descriptor(6, RAM as u64 - 8, 64, WRITE, 0);
    driver.expose(6);
    driver.expose(2);
    queue.observe(Moment::Notified, &driver.ram, &mut seen);
    let told: Vec<_> = seen.chains[3..].iter().map(|c| (c.2, c.3)).collect();
    assert_eq!(
        told,
        [
            (ChainEnd::TooLong, false),
            (ChainEnd::OutsideMemory, false),
            (ChainEnd::Complete, true)
        ]
    );
    for _ in 0..3 {
        assert!(queue.pop(&driver.ram, &mut seen).unwrap().is_some());
    }
    assert_eq!(
        queue.pop(&driver.ram, &mut seen).map(|_| ()),
        Err(Broken),
        "the one that loops"
    );
}

#[test]
fn each_field_of_a_waiting_descriptor_is_compared_at_each_look() {
    use DescriptorField::{Addr, Flags, Len};
    for moment in LOOKS {
        for (field, exposed, altered) in [
            (Addr, DATA + 64, (DATA, 64, WRITE)),
            (Len, 64, (DATA + 64, 32, WRITE)),
            (Flags, WRITE.into(), (DATA + 64, 64, 0)),
            (Addr, DATA + 64, (0, 0, 0)),
        ] {
            let (driver, mut queue, _) = waiting();
            assert_eq!(found(&driver, &mut queue, moment), []);
            let (addr, len, flags) = altered;
            driver.descriptor(1, addr, len, flags, 0);
            let now = match field {
                Addr => addr,
                Len => len.into(),
                _ => flags.into(),
            };
            let part = BufferPart::Descriptor(1, field);
            assert_eq!(found(&driver, &mut queue, moment), [(part, exposed, now)]);
        }
    }
}

#[test]
fn an_entry_that_is_replaced_while_it_waits_is_told() {
    for moment in LOOKS {
        let (driver, mut queue, _) = waiting();
        driver.descriptor(7, DATA, 64, WRITE, 0);
        driver.put(AVAIL + 4 + 2, 7_u16);
        let told = [(BufferPart::RingEntry(1), 1, 7)];
        assert_eq!(found(&driver, &mut queue, moment), told);
    }
    // So it is if the device is the first to see it.
    let (driver, mut queue, mut seen) = waiting();
    driver.put(AVAIL + 4, 6_u16);
    let chain = queue.pop(&driver.ram, &mut seen).unwrap().unwrap();
    assert_eq!(chain.id, BufferId(6));
    let told = (BufferPart::RingEntry(0), 0, 6, Moment::Worked);
    assert_eq!(seen.altered, [told]);
    assert_eq!(seen.chains.last().unwrap().0, 6);
}

#[test]
fn an_index_that_is_taken_back_is_told_and_what_it_named_is_free() {
    for moment in LOOKS {
        let (mut driver, mut queue, mut seen) = waiting();
        driver.idx = 1;
        driver.put(AVAIL + 2, 1_u16);
        queue.observe(moment, &driver.ram, &mut seen);
        let read = seen.available.last().unwrap();
        assert_eq!((read.previous, read.idx), (3, 1));
        driver.expose(2);
        queue.observe(moment, &driver.ram, &mut seen);
        let (head, _, _, in_flight) = seen.chains.last().unwrap();
        assert_eq!((*head, *in_flight), (2, false));
        assert_eq!(seen.withdrawn, [2, 1]);
        assert_eq!(seen.altered, []);
    }
}

#[test]
fn rings_that_were_zeroed_are_told_at_the_reset() {
    let (driver, mut queue, mut seen) = waiting();
    assert!(queue.pop(&driver.ram, &mut seen).unwrap().is_some());
    queue.want_notifications(false);
    for at in (DESC..USED + 0x100).step_by(8) {
        driver.put(at, 0_u64);
    }
    let mut seen = Seen::default();
    queue.observe(Moment::Last, &driver.ram, &mut seen);
    assert_eq!(seen.available[0].idx, 0);
    assert_eq!(seen.used_altered, [(UsedRingField::Flags, 1, 0)]);
    let part = BufferPart::Descriptor(0, DescriptorField::Addr);
    assert_eq!(seen.altered, [(part, DATA, 0, Moment::Last)]);
}

#[test]
fn elements_that_the_device_wrote_are_compared() {
    use UsedRingField::{ElementId, ElementLen};
    for (at, told) in [(0, (ElementId(0), 0, 9)), (4, (ElementLen(0), 64, 9))] {
        let (driver, mut queue, mut seen) = waiting();
        for _ in 0..2 {
            let id = queue.pop(&driver.ram, &mut seen).unwrap().unwrap().id;
            queue.add_used(id, 64, &mut seen);
        }
        queue.publish();
        // Not written by the device yet: it is nobody's.
        driver.put(USED + 4 + 8 * 2, 9_u32);
        queue.observe(Moment::Notified, &driver.ram, &mut seen);
        assert_eq!(seen.used_altered, []);
        driver.put(USED + 4 + at, 9_u32);
        for _ in 0..2 {
            queue.observe(Moment::Notified, &driver.ram, &mut seen);
        }
        assert_eq!(seen.used_altered, [told]);
    }
}

#[test]
fn entries_of_a_large_queue_are_compared_in_parts() {
    let size = 4096_u16;
    let ram = GuestRam::anonymous(1 << 20);
    let config = QueueConfig {
        index: 0,
        size,
        desc: 0,
        avail: 0x1_0000,
        used: 0x2_0000,
        event_idx: false,
    };
    for replaced in [0, 1023, 1024, 2999, 3000, 4094] {
        let driver = Driver {
            ram: ram.clone(),
            idx: 0,
        };
        let mut seen = Seen::default();
        for head in 0..size {
            driver.descriptor_at(0, head, 0x8_0000, 64, WRITE, 0);
            driver.put(config.avail + 4 + 2 * u64::from(head), head);
        }
        driver.put(config.avail + 2, size - 1);
        let mut queue = Queue::new(&config, &ram).expect("well laid out");
        queue.observe(Moment::Worked, &ram, &mut seen);
        assert_eq!(seen.chains.len(), usize::from(size - 1));
        driver.put(config.avail + 4 + 2 * replaced, size - 1);
        for _ in 0..4 {
            queue.observe(Moment::Later, &ram, &mut seen);
        }
        let told: Vec<_> = seen.altered.iter().map(|a| a.0).collect();
        assert_eq!(told, [BufferPart::RingEntry(replaced as u16)]);
    }
}

#[test]
fn large_tables_are_compared_by_a_hash() {
    // Sixteen tables of 32768 entries are more than are kept.
    const ENTRIES: u16 = 32_767;
    let (mut seen, size) = (Seen::default(), 32_768_u16);
    let ram = GuestRam::anonymous(16 << 20);
    let mut driver = Driver { ram, idx: 0 };
    let (avail, used, table) = (0x10_0000, 0x20_0000, 0x30_0000);
    let config = QueueConfig {
        index: 0,
        size,
        desc: 0,
        avail,
        used,
        event_idx: false,
    };
    let mut queue = Queue::new(&config, &driver.ram).expect("well laid out");
    for entry in 0..ENTRIES {
        let flags = if entry + 1 < ENTRIES { NEXT } else { 0 };
        driver.descriptor_at(table, entry, 0x80_0000, 1, flags, entry + 1);
    }
    for head in 0..3 {
        let len = 16 * u32::from(ENTRIES);
        driver.descriptor_at(0, head, table, len, INDIRECT, 0);
        driver.put(avail + 4 + 2 * u64::from(head), head);
        driver.put(avail + 2, head + 1);
        driver.idx += 1;
        queue.observe(Moment::Worked, &driver.ram, &mut seen);
    }
    let mut parts = |driver: &Driver| {
        let mut seen = Seen::default();
        // Each look has a bound.
        for _ in 0..4 {
            queue.observe(Moment::Later, &driver.ram, &mut seen);
        }
        seen.altered.iter().map(|a| a.0).collect::<Vec<_>>()
    };
    assert_eq!(parts(&driver), []);
    driver.descriptor_at(table, 7, 0x80_0000, 2, NEXT, 8);
    let kept = BufferPart::IndirectDescriptor(7, DescriptorField::Len);
    let parts = parts(&driver);
    let count = |part| parts.iter().filter(|other| **other == part).count();
    assert_eq!((count(kept), count(BufferPart::IndirectTable)), (2, 1));
    assert_eq!(parts.len(), 3);
}

#[test]
fn long_chains_are_compared_a_few_at_a_look() {
    // Chains in flight of 500 descriptors each, with heads next to each other: every chain is altered.
    const ENTRIES: u16 = 500;
    let (mut seen, size) = (Seen::default(), 512_u16);
    let driver = Driver {
        ram: GuestRam::anonymous(16 << 20),
        idx: 0,
    };
    let (avail, used) = (0x10_0000, 0x20_0000);
    let table = |head: u16| 0x30_0000 + 0x4000 * u64::from(head);
    let config = QueueConfig {
        index: 0,
        size,
        desc: 0,
        avail,
        used,
        event_idx: false,
    };
    let mut queue = Queue::new(&config, &driver.ram).expect("well laid out");
    for head in 0..64 {
        for entry in 0..ENTRIES {
            let flags = if entry + 1 < ENTRIES { NEXT } else { 0 };
            driver.descriptor_at(table(head), entry, 0x80_0000, 1, flags, entry + 1);
        }
        let len = 16 * u32::from(ENTRIES);
        driver.descriptor_at(0, head, table(head), len, INDIRECT, 0);
        driver.put(avail + 4 + 2 * u64::from(head), head);
        driver.put(avail + 2, head + 1);
        queue.observe(Moment::Worked, &driver.ram, &mut seen);
    }
    for head in 0..64 {
        driver.descriptor_at(table(head), ENTRIES - 1, 0x80_0000, 2, 0, 0);
    }
    let mut looks = 0;
    while seen.altered.len() < 64 {
        let before = seen.altered.len();
        queue.observe(Moment::Later, &driver.ram, &mut seen);
        let found = seen.altered.len() - before;
        assert!((1..=3).contains(&found), "{found} at a look");
        looks += 1;
    }
    assert!(looks > 20);
}

#[test]
fn flags_are_looked_at_when_buffers_are_returned() {
    for event_idx in [true, false] {
        let (mut driver, mut seen) = (Driver::new(), Seen::default());
        let mut queue = driver.queue(event_idx);
        for head in 0..2 {
            driver.descriptor(head, DATA, 64, WRITE, 0);
            driver.expose(head);
            queue.pop(&driver.ram, &mut seen).unwrap();
        }
        // It is written and written back while nothing else happens.
        for (head, flags) in [(0, 1), (1, 0)] {
            driver.put(AVAIL, flags as u16);
            queue.add_used(BufferId(head), 64, &mut seen);
        }
        let flags: Vec<u16> = seen.available.iter().map(|read| read.flags).collect();
        // Without event indices, the driver writes it as it likes.
        let expected: &[u16] = if event_idx { &[0, 0, 1, 0] } else { &[0, 0] };
        assert_eq!(flags, expected);
    }
}
