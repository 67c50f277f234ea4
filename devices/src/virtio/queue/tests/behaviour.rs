//! What a device may do otherwise than usual.

use stickler_conformance::event::BufferId;
use stickler_conformance::latitude::Draw;

use super::*;

/// A queue with this behaviour and `count` chains of one descriptor, of which all have been taken.
fn taken(behaviour: QueueBehaviour, count: u16) -> (Driver, Queue) {
    let mut driver = Driver::new();
    let mut queue = driver.queue(false).with_behaviour(behaviour);
    for head in 0..count {
        driver.descriptor(head, DATA + 64 * u64::from(head), 16, WRITE, 0);
        driver.expose(head);
    }
    for _ in 0..count {
        let chain = queue.pop(&driver.ram, &mut Unjudged).expect("sound");
        assert!(chain.is_some());
    }
    (driver, queue)
}

/// The ids in the used ring, up to its `idx`.
fn shown(driver: &Driver) -> Vec<u32> {
    let idx: u16 = driver.get(USED + 2);
    let entry = |position| driver.get::<u32>(USED + 4 + 8 * u64::from(position));
    (0..idx).map(entry).collect()
}

#[test]
fn held_buffers_are_shown_together_when_their_time_has_come() {
    let (driver, mut queue) = taken(
        QueueBehaviour {
            bursts: Some(Draw::new(1, 2)),
            ..QueueBehaviour::default()
        },
        3,
    );
    for head in 0..3 {
        queue.add_used(BufferId(head), 16, &mut Unjudged);
        assert!(!queue.publish());
    }
    assert_eq!(shown(&driver), [0; 0]);
    assert!(queue.is_unsettled());
    let mut settled = queue.settle(&mut Unjudged);
    let mut times = 0;
    while settled.later {
        assert_eq!((settled.interrupt, shown(&driver).len()), (false, 0));
        settled = queue.settle(&mut Unjudged);
        times += 1;
    }
    assert!((4..32).contains(&times), "{times}");
    assert!(settled.interrupt && settled.several && !settled.reordered);
    assert_eq!(shown(&driver), [0, 1, 2]);
    assert!(!queue.is_unsettled());
}

#[test]
fn buffers_are_shown_one_by_one() {
    let (driver, mut queue) = taken(
        QueueBehaviour {
            one_by_one: true,
            ..QueueBehaviour::default()
        },
        3,
    );
    for head in [2, 0, 1] {
        queue.add_used(BufferId(head), 16, &mut Unjudged);
    }
    for (count, later) in [(1, true), (2, true), (3, false)] {
        let settled = queue.settle(&mut Unjudged);
        assert!(settled.interrupt && settled.later == later);
        assert_eq!(shown(&driver), [2, 0, 1][..count]);
    }
}

#[test]
fn an_interrupt_comes_late_but_once() {
    let (driver, mut queue) = taken(
        QueueBehaviour {
            late_interrupts: Some(Draw::new(1, 2)),
            ..QueueBehaviour::default()
        },
        1,
    );
    queue.add_used(BufferId(0), 16, &mut Unjudged);
    assert!(!queue.settle(&mut Unjudged).interrupt);
    assert_eq!(shown(&driver), [0]);
    assert!(queue.owes_interrupt());
    let late: Vec<bool> = (0..40).map(|_| queue.settle(&mut Unjudged).late).collect();
    assert_eq!(late.iter().filter(|late| **late).count(), 1);
    assert!(!queue.owes_interrupt());
}

#[test]
fn what_is_behind_len_is_written_and_nothing_else() {
    let (driver, mut queue) = taken(
        QueueBehaviour {
            beyond_len: true,
            ..QueueBehaviour::default()
        },
        1,
    );
    queue.add_used(BufferId(0), 4, &mut Unjudged);
    assert!(queue.publish());
    assert_eq!(driver.get::<u32>(DATA), 0);
    assert_eq!(driver.get::<[u32; 3]>(DATA + 4), [0xa5a5_a5a5; 3]);
    assert_eq!(driver.get::<u32>(DATA + 16), 0);
}

#[test]
fn a_fickle_device_asks_for_what_it_wants_in_the_end() {
    let mut driver = Driver::new();
    let mut queue = driver.queue(false).with_behaviour(QueueBehaviour {
        fickle_suppression: true,
        ..QueueBehaviour::default()
    });
    // avail_event has no meaning without VIRTIO_F_RING_EVENT_IDX.
    let avail_event = USED + 4 + 8 * u64::from(SIZE);
    assert_eq!(driver.get::<u16>(avail_event), 0x5a5a);
    driver.descriptor(0, DATA, 16, WRITE, 0);
    for _ in 0..4 {
        driver.expose(0);
    }
    queue.want_notifications(false);
    let mut flags = Vec::new();
    while queue
        .pop(&driver.ram, &mut Unjudged)
        .expect("sound")
        .is_some()
    {
        flags.push(driver.get::<u16>(USED));
    }
    assert_eq!(flags, [1, 0, 1, 1]);
    assert_ne!(driver.get::<u16>(avail_event), 0x5a5a);
}
