//! The available and the used ring: their entries, indices and addresses.

use super::*;

/// Exposes a chain of one descriptor, and has it taken and returned.
fn exchange(driver: &mut Driver, queue: &mut Queue, seen: &mut Seen) {
    driver.descriptor(1, DATA, 16, WRITE, 0);
    driver.expose(1);
    queue.notified(seen);
    let chain = queue.pop(&driver.ram, seen).expect("sound");
    let id = chain.expect("there is one").id;
    queue.add_used(id, 16, seen);
    queue.publish();
    queue.want_notifications(true);
}

#[test]
fn what_is_written_into_the_used_ring_is_told() {
    const AVAIL_EVENT: u64 = USED + 4 + 8 * SIZE as u64;
    for event_idx in [false, true] {
        let (mut driver, mut seen) = (Driver::new(), Seen::default());
        // As the driver hands it over, so it stays.
        driver.put(USED, 0x0009_0001_u32);
        let mut queue = driver.queue(event_idx);
        for _ in 0..3 {
            exchange(&mut driver, &mut queue, &mut seen);
        }
        assert_eq!(seen.used_altered, []);
        driver.put(USED + 2, 7_u16);
        driver.put(AVAIL_EVENT, 0x77_u16);
        driver.put(USED, 9_u16);
        exchange(&mut driver, &mut queue, &mut seen);
        exchange(&mut driver, &mut queue, &mut seen);
        let flags = (UsedRingField::Flags, if event_idx { 1 } else { 0 }, 9);
        let mut told = vec![(UsedRingField::Idx, 3, 7), flags];
        if event_idx {
            told.push((UsedRingField::AvailEvent, 3, 0x77));
        }
        assert_eq!(seen.used_altered, told);
    }
}

#[test]
fn an_index_that_jumps_breaks_the_queue() {
    let mut driver = Driver::new();
    let mut queue = driver.queue(false);
    driver.put(AVAIL + 2, SIZE + 1);
    assert_eq!(
        queue.pop(&driver.ram, &mut Unjudged).map(|_| ()),
        Err(Broken)
    );
    // Backwards is a jump as well.
    driver.descriptor(0, DATA, 1, 0, 0);
    let mut queue = driver.queue(false);
    driver.put(AVAIL + 2, 0_u16);
    driver.idx = 0;
    driver.expose(0);
    assert!(
        queue
            .pop(&driver.ram, &mut Unjudged)
            .expect("sound")
            .is_some()
    );
    driver.put(AVAIL + 2, 0_u16);
    assert_eq!(
        queue.pop(&driver.ram, &mut Unjudged).map(|_| ()),
        Err(Broken)
    );
}

#[test]
fn used_entries_become_visible_together() {
    let driver = Driver::new();
    let mut queue = driver.queue(false);
    queue.add_used(BufferId(4), 100, &mut Unjudged);
    queue.add_used(BufferId(6), 200, &mut Unjudged);
    assert_eq!(driver.get::<u16>(USED + 2), 0);
    assert!(queue.publish());
    assert_eq!(driver.get::<u16>(USED + 2), 2);
    assert_eq!(driver.get::<[u32; 4]>(USED + 4), [4, 100, 6, 200]);
    assert!(!queue.publish(), "nothing new, nothing to tell");
}

#[test]
fn rings_that_cannot_be_used_are_refused() {
    let ram = GuestRam::anonymous(RAM);
    let good = QueueConfig {
        index: 0,
        size: SIZE,
        desc: DESC,
        avail: AVAIL,
        used: USED,
        event_idx: false,
    };
    assert!(Queue::new(&good, &ram).is_some());
    for bad in [
        QueueConfig { size: 0, ..good },
        QueueConfig { size: 7, ..good },
        QueueConfig {
            desc: DESC + 8,
            ..good
        },
        QueueConfig {
            avail: AVAIL + 1,
            ..good
        },
        QueueConfig {
            used: USED + 2,
            ..good
        },
        QueueConfig {
            desc: RAM as u64 - 16,
            ..good
        },
        QueueConfig {
            avail: RAM as u64 - 4,
            ..good
        },
        QueueConfig { used: !3, ..good },
    ] {
        assert!(Queue::new(&bad, &ram).is_none(), "{bad:?}");
    }
}
