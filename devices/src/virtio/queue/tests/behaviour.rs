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

/// What a queue in any order makes of four buffers of 16 bytes, settled until something is shown.
fn reordered(seed: u64) -> (Driver, Queue, Settled) {
    let behaviour = QueueBehaviour {
        any_order: Some(Draw::new(seed, 3)),
        ..QueueBehaviour::default()
    };
    let (driver, mut queue) = taken(behaviour, 4);
    for head in 0..4 {
        driver.put(DATA + 64 * u64::from(head), [0x11_u8; 16]);
        queue.add_used(BufferId(head), 16, &mut Unjudged);
    }
    for _ in 0..8 {
        let settled = queue.settle(&mut Unjudged);
        if settled.interrupt {
            return (driver, queue, settled);
        }
    }
    panic!("nothing is shown");
}

/// The first of the seeds with which a buffer is shown alone.
fn one_alone() -> (Driver, Queue) {
    let alone = |seed| {
        let (driver, queue, settled) = reordered(seed);
        (shown(&driver).len() == 1).then(|| {
            assert!(settled.reordered && settled.later && !settled.several);
            (driver, queue)
        })
    };
    (0..16).find_map(alone).expect("one in two")
}

/// The first bytes of the buffers.
fn first_bytes(driver: &Driver) -> [u8; 4] {
    [0, 1, 2, 3].map(|head| driver.get(DATA + 64 * head))
}

#[test]
fn a_buffer_is_shown_while_earlier_ones_are_in_flight() {
    let (mut driver, mut queue) = one_alone();
    // The last one; and what was written for the first is not there.
    assert_eq!(shown(&driver), [3]);
    assert_eq!(first_bytes(&driver), [0x11 ^ 0xa5, 0x11, 0x11, 0x11]);
    assert!(!queue.settle(&mut Unjudged).identified);
    assert_eq!(shown(&driver), [3]);
    // The driver makes it available again.
    driver.expose(3);
    queue.notified(&mut Unjudged);
    let chain = queue.pop(&driver.ram, &mut Unjudged).expect("sound");
    assert_eq!(chain.map(|chain| chain.id), Some(BufferId(3)));
    let settled = queue.settle(&mut Unjudged);
    assert!(settled.identified && settled.several);
    let mut all = shown(&driver);
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    assert_eq!(first_bytes(&driver), [0x11; 4]);
    assert!(!queue.settle(&mut Unjudged).identified);
}

#[test]
fn a_driver_that_waits_for_the_earlier_ones_is_shown_them() {
    let (mut driver, mut queue) = one_alone();
    // One that is in flight is no answer.
    driver.expose(0);
    queue.notified(&mut Unjudged);
    queue.pop(&driver.ram, &mut Unjudged).expect("sound");
    for _ in 0..8192 {
        let settled = queue.settle(&mut Unjudged);
        assert!(!settled.identified);
        if !settled.later {
            break;
        }
    }
    assert_eq!(shown(&driver).len(), 4);
    assert_eq!(first_bytes(&driver), [0x11; 4]);
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
