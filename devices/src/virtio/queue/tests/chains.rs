//! Descriptor chains as they are taken: how they are walked, and whether they stay as they were.
//!
//! Citations are of virtio 1.0.

use stickler_conformance::event::IndirectFault;

use super::*;

/// Exposes one chain and takes it; returns how its walk ended.
fn end_of(driver: &mut Driver, head: u16) -> ChainEnd {
    let mut queue = driver.queue(false);
    driver.idx = 0;
    driver.expose(head);
    let mut seen = Seen::default();
    let taken = queue.pop(&driver.ram, &mut seen).is_ok();
    let end = seen.chains[0].2;
    assert_eq!(taken, end == ChainEnd::Complete);
    end
}

#[test]
fn a_chain_comes_through_as_it_was_made() {
    let mut driver = Driver::new();
    driver.descriptor(5, DATA, 16, NEXT, 2);
    driver.descriptor(2, DATA + 100, 512, NEXT | WRITE, 0);
    driver.descriptor(0, DATA + 1000, 1, WRITE, 77);
    driver.expose(5);
    let mut queue = driver.queue(false);
    let mut seen = Seen::default();
    let chain = queue
        .pop(&driver.ram, &mut seen)
        .expect("sound")
        .expect("there is one");
    assert_eq!(
        (chain.id, chain.readable, chain.writable),
        (BufferId(5), 16, 513)
    );
    assert_eq!(
        chain.buffers.iter().map(|b| b.addr).collect::<Vec<_>>(),
        [DATA, DATA + 100, DATA + 1000]
    );
    assert!(queue.pop(&driver.ram, &mut seen).expect("sound").is_none());
    assert_eq!(seen.available.len(), 1);
    assert_eq!((seen.available[0].previous, seen.available[0].idx), (0, 1));
}

#[test]
fn an_indirect_table_stands_for_its_descriptor() {
    let mut driver = Driver::new();
    // One normal descriptor, then the table (§2.4.5.3.2); WRITE on the referrer means nothing.
    driver.descriptor(0, DATA, 16, NEXT, 1);
    driver.descriptor(1, TABLE, 32, INDIRECT | WRITE, 0);
    driver.descriptor_at(TABLE, 0, DATA + 16, 8, NEXT, 1);
    driver.descriptor_at(TABLE, 1, DATA + 32, 4, WRITE, 0);
    driver.expose(0);
    let mut queue = driver.queue(false);
    let mut seen = Seen::default();
    let chain = queue
        .pop(&driver.ram, &mut seen)
        .expect("sound")
        .expect("there is one");
    assert_eq!(
        (chain.buffers.len(), chain.readable, chain.writable),
        (3, 24, 4)
    );
    assert_eq!(seen.chains[0].1.len(), 4);
    assert_eq!(seen.chains[0].1.iter().filter(|e| e.indirect).count(), 2);
}

#[test]
fn bad_chains_end_where_they_go_wrong() {
    let mut driver = Driver::new();
    assert_eq!(end_of(&mut driver, SIZE), ChainEnd::HeadOutOfRange);
    assert_eq!(end_of(&mut driver, u16::MAX), ChainEnd::HeadOutOfRange);

    driver.descriptor(0, DATA, 1, NEXT, SIZE);
    let (next, table) = (SIZE, u32::from(SIZE));
    assert_eq!(
        end_of(&mut driver, 0),
        ChainEnd::NextOutOfRange { next, table }
    );

    driver.descriptor(0, DATA, 1, NEXT, 1);
    driver.descriptor(1, DATA, 1, NEXT, 0);
    assert_eq!(end_of(&mut driver, 0), ChainEnd::TooLong);

    for (addr, len) in [
        (RAM as u64 - 1, 2),
        (RAM as u64, 1),
        (u64::MAX, 1),
        (u64::MAX - 1, u32::MAX),
    ] {
        driver.descriptor(0, addr, len, 0, 0);
        assert_eq!(end_of(&mut driver, 0), ChainEnd::OutsideMemory);
    }
    driver.descriptor(0, u64::MAX, 0, 0, 0);
    assert_eq!(
        end_of(&mut driver, 0),
        ChainEnd::Complete,
        "an empty buffer lies nowhere"
    );
}

#[test]
fn bad_indirect_tables_end_the_walk() {
    let mut driver = Driver::new();
    for len in [0, 1, 15, 17, u32::MAX] {
        driver.descriptor(0, TABLE, len, INDIRECT, 0);
        assert_eq!(
            end_of(&mut driver, 0),
            ChainEnd::Indirect(IndirectFault::Length)
        );
    }
    driver.descriptor(0, RAM as u64 - 8, 16, INDIRECT, 0);
    assert_eq!(
        end_of(&mut driver, 0),
        ChainEnd::Indirect(IndirectFault::OutsideMemory)
    );

    driver.descriptor(0, TABLE, 16, INDIRECT, 0);
    driver.descriptor_at(TABLE, 0, TABLE, 16, INDIRECT, 0);
    assert_eq!(
        end_of(&mut driver, 0),
        ChainEnd::Indirect(IndirectFault::Nested)
    );

    driver.descriptor_at(TABLE, 0, DATA, 1, NEXT, 1);
    assert_eq!(
        end_of(&mut driver, 0),
        ChainEnd::NextOutOfRange { next: 1, table: 1 }
    );

    driver.descriptor_at(TABLE, 0, DATA, 1, NEXT, 0);
    assert_eq!(end_of(&mut driver, 0), ChainEnd::TooLong);
}

#[test]
fn a_head_given_twice_is_told() {
    let mut driver = Driver::new();
    driver.descriptor(1, DATA, 1, 0, 0);
    driver.expose(1);
    driver.expose(1);
    let mut queue = driver.queue(false);
    let mut seen = Seen::default();
    for _ in 0..2 {
        assert!(queue.pop(&driver.ram, &mut seen).expect("sound").is_some());
    }
    queue.add_used(BufferId(1), 0, &mut seen);
    driver.expose(1);
    assert!(queue.pop(&driver.ram, &mut seen).expect("sound").is_some());
    assert_eq!(
        seen.chains.iter().map(|c| c.3).collect::<Vec<_>>(),
        [false, true, false]
    );
}

#[test]
fn what_is_altered_in_flight_is_told() {
    for altered in [None, Some(2)] {
        let mut driver = Driver::new();
        let mut queue = driver.queue(false);
        driver.descriptor(5, DATA, 16, NEXT, 2);
        driver.descriptor(2, DATA + 100, 512, WRITE, 0);
        driver.expose(5);
        let mut seen = Seen::default();
        assert!(queue.pop(&driver.ram, &mut seen).unwrap().is_some());
        // What is not in use may change: another descriptor, and next where it means nothing.
        driver.descriptor(3, DATA, 1, 0, 0);
        driver.descriptor(2, DATA + 100, 512, WRITE, 7);
        if let Some(index) = altered {
            driver.descriptor(index, DATA + 100, 511, WRITE, 0);
        }
        queue.add_used(BufferId(5), 0, &mut seen);
        let told = altered.map(|index| {
            let part = BufferPart::Descriptor(index, DescriptorField::Len);
            (part, 512, 511, Moment::Worked)
        });
        assert_eq!(seen.altered, Vec::from_iter(told));
    }
}

#[test]
fn what_is_altered_in_an_indirect_table_is_told() {
    for altered in [None, Some(1)] {
        let mut driver = Driver::new();
        let mut queue = driver.queue(false);
        let table = DATA + 0x1008;
        driver.descriptor(5, table, 48, INDIRECT, 0);
        driver.descriptor_at(table, 0, DATA, 16, NEXT, 1);
        driver.descriptor_at(table, 1, DATA + 100, 512, WRITE, 0);
        driver.expose(5);
        let mut seen = Seen::default();
        assert!(queue.pop(&driver.ram, &mut seen).unwrap().is_some());
        // Not part of the chain: an entry of the table, and one of the queue's table.
        driver.descriptor_at(table, 2, DATA, 9, 0, 0);
        driver.descriptor(1, DATA, 9, 0, 0);
        if let Some(index) = altered {
            driver.descriptor_at(table, index, DATA + 100, 511, WRITE, 0);
        }
        queue.add_used(BufferId(5), 0, &mut seen);
        let told = altered.map(|index| {
            let part = BufferPart::IndirectDescriptor(index, DescriptorField::Len);
            (part, 512, 511, Moment::Worked)
        });
        assert_eq!(seen.altered, Vec::from_iter(told));
    }
}
