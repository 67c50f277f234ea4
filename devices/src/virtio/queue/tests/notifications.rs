//! Interrupts and notifications, and how either side suppresses them (§2.4.7, §2.4.9 of virtio 1.0).

use super::*;

#[test]
fn interrupts_are_suppressed_by_flags() {
    let driver = Driver::new();
    let mut queue = driver.queue(false);
    driver.put(AVAIL, 1_u16);
    queue.add_used(BufferId(0), 0, &mut Unjudged);
    assert!(!queue.publish());
    driver.put(AVAIL, 0_u16);
    queue.add_used(BufferId(0), 0, &mut Unjudged);
    assert!(queue.publish());
}

#[test]
fn interrupts_follow_used_event() {
    let driver = Driver::new();
    let mut queue = driver.queue(true);
    // flags means nothing with event indices (§2.4.7.2).
    driver.put(AVAIL, 1_u16);
    let used_event = AVAIL + 4 + 2 * u64::from(SIZE);
    driver.put(used_event, 1_u16);
    queue.add_used(BufferId(0), 0, &mut Unjudged);
    assert!(!queue.publish(), "entry 0, the event is at 1");
    queue.add_used(BufferId(0), 0, &mut Unjudged);
    assert!(queue.publish(), "entry 1");
    queue.add_used(BufferId(0), 0, &mut Unjudged);
    assert!(!queue.publish(), "past it");
    driver.put(used_event, 4_u16);
    for _ in 0..3 {
        queue.add_used(BufferId(0), 0, &mut Unjudged);
    }
    assert!(queue.publish(), "entries 3 to 5 at once");
    // All the way round the 16-bit index.
    let mut interrupts = 0;
    driver.put(used_event, 65_535_u16);
    for _ in 6..0x1_0006 {
        queue.add_used(BufferId(0), 0, &mut Unjudged);
        interrupts += u32::from(queue.publish());
    }
    assert_eq!(interrupts, 1);
}

#[test]
fn notifications_are_asked_for_in_either_way() {
    let mut driver = Driver::new();
    let avail_event = USED + 4 + 8 * u64::from(SIZE);
    driver.descriptor(0, DATA, 1, 0, 0);

    let mut queue = driver.queue(false);
    assert!(!queue.want_notifications(false));
    assert_eq!(driver.get::<u16>(USED), 1);
    assert!(!queue.want_notifications(true), "nothing there");
    assert_eq!(driver.get::<u16>(USED), 0);

    let mut queue = driver.queue(true);
    driver.expose(0);
    assert!(queue.want_notifications(true), "something came meanwhile");
    assert!(
        queue
            .pop(&driver.ram, &mut Unjudged)
            .expect("sound")
            .is_some()
    );
    assert!(!queue.want_notifications(true));
    assert_eq!(driver.get::<u16>(avail_event), 1);
    assert_eq!(driver.get::<u16>(USED), 0, "flags stays 0 (§2.4.9.2)");
}

/// A queue whose device has asked to be notified, having found nothing; it stands before the
/// wrap-around of idx.
fn asking(event_idx: bool) -> (Driver, Queue, Seen) {
    let mut driver = Driver::new();
    let mut queue = driver.queue(event_idx);
    let mut seen = Seen::default();
    driver.descriptor(0, DATA, 16, 0, 0);
    for _ in 0..u16::MAX {
        driver.expose(0);
        assert!(queue.pop(&driver.ram, &mut seen).unwrap().is_some());
        queue.add_used(BufferId(0), 0, &mut seen);
    }
    assert!(!queue.want_notifications(true));
    (driver, queue, Seen::default())
}

#[test]
fn a_notification_that_does_not_come_is_told() {
    for event_idx in [false, true] {
        let (mut driver, mut queue, mut seen) = asking(event_idx);
        assert!(!queue.tick(&mut seen));
        assert_eq!(seen.overdue, []);
        driver.expose(0);
        driver.expose(0);
        for _ in 0..2 {
            assert!(!queue.tick(&mut seen));
        }
        assert_eq!(seen.overdue, [(u16::MAX, 1), (u16::MAX, 2)]);
        // Nobody waits for it any more.
        queue.observe_last(&driver.ram, &mut seen);
        assert_eq!(seen.overdue[2..], [(u16::MAX, 2)]);
        queue.notified(&mut seen);
        assert!(!queue.tick(&mut seen));
        queue.observe_last(&driver.ram, &mut seen);
        assert_eq!(seen.overdue.len(), 3);
        assert!(seen.notified[0].asked);
    }
}

#[test]
fn a_device_that_waits_does_not_find_buffers_by_itself() {
    for event_idx in [false, true] {
        let (mut driver, mut queue, mut seen) = asking(event_idx);
        driver.expose(0);
        assert!(queue.pop(&driver.ram, &mut seen).unwrap().is_none());
        assert!(!queue.want_notifications(true), "it does not look again");
        queue.want_notifications(false);
        assert!(queue.pop(&driver.ram, &mut seen).unwrap().is_none());
        // The notification, or the end of its patience.
        if event_idx {
            queue.notified(&mut seen);
        } else {
            let waits = (0..6).filter(|_| !queue.tick(&mut seen)).count();
            assert_eq!(waits, 5);
        }
        assert!(queue.pop(&driver.ram, &mut seen).unwrap().is_some());
        // Of the next one the device has not asked to be notified.
        driver.expose(0);
        assert!(!queue.tick(&mut seen));
        queue.notified(&mut seen);
        assert!(!seen.notified.last().unwrap().asked);
    }
}

#[test]
fn what_was_there_when_the_device_went_live_is_owed_until_it_asks_for_none() {
    for excused in [false, true] {
        let (mut driver, mut seen) = (Driver::new(), Seen::default());
        driver.descriptor(0, DATA, 16, 0, 0);
        let mut queue = driver.queue(false);
        assert!(!queue.start());
        let mut queue = driver.queue(false);
        driver.expose(0);
        assert!(queue.start());
        assert!(queue.pop(&driver.ram, &mut seen).unwrap().is_some());
        queue.want_notifications(!excused);
        assert!(!queue.tick(&mut seen));
        let told = if excused { vec![] } else { vec![(0, 1)] };
        assert_eq!(seen.overdue, told);
        queue.notified(&mut seen);
        assert_eq!(seen.notified[0].at_start, !excused);
    }
}

#[test]
fn who_needs_no_notifications_waits_for_none() {
    for event_idx in [false, true] {
        let (mut driver, mut queue, mut seen) = asking(event_idx);
        queue.want_notifications(false);
        driver.expose(0);
        assert!(!queue.tick(&mut seen));
        queue.notified(&mut seen);
        queue.notified(&mut seen);
        assert_eq!(seen.overdue, []);
        let since: Vec<_> = seen.notified.iter().map(|n| n.since).collect();
        assert_eq!(since, [1, 2]);
        assert_eq!(seen.notified[1].advised_against, !event_idx);
        // There is something by now: the device has not asked.
        assert!(queue.want_notifications(true));
        queue.notified(&mut seen);
        assert_eq!(seen.notified[2].since, 1);
        assert!(!seen.notified[2].asked);
    }
}
