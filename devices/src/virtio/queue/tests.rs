use stickler_conformance::event::{self, ChainEnd, Element, IndirectFault};
use stickler_conformance::judge::Tallies;
use stickler_conformance::layout::desc::{INDIRECT, NEXT, WRITE};
use stickler_conformance::{Event, Unjudged, Witness};
use vm_memory::{Bytes, GuestAddress};

use super::*;

const SIZE: u16 = 8;
const DESC: u64 = 0x1000;
const AVAIL: u64 = 0x2000;
const USED: u64 = 0x3000;
const TABLE: u64 = 0x4001; // indirect tables need no alignment
const DATA: u64 = 0x8000;
const RAM: usize = 0x1_0000;

/// The driver's side, by hand.
struct Driver {
    ram: GuestRam,
    idx: u16,
}

impl Driver {
    fn new() -> Self {
        Driver {
            ram: GuestRam::anonymous(RAM),
            idx: 0,
        }
    }

    fn queue(&self, event_idx: bool) -> Queue {
        let config = QueueConfig {
            index: 3,
            size: SIZE,
            desc: DESC,
            avail: AVAIL,
            used: USED,
            event_idx,
        };
        Queue::new(&config, &self.ram).expect("well laid out")
    }

    fn put<T: vm_memory::ByteValued>(&self, address: u64, value: T) {
        self.ram
            .inner()
            .write_obj(value, GuestAddress(address))
            .expect("in memory");
    }

    fn get<T: vm_memory::ByteValued>(&self, address: u64) -> T {
        self.ram
            .inner()
            .read_obj(GuestAddress(address))
            .expect("in memory")
    }

    fn descriptor_at(&self, table: u64, index: u16, addr: u64, len: u32, flags: u16, next: u16) {
        let at = table + 16 * u64::from(index);
        self.put(at, addr);
        self.put(at + 8, len);
        self.put(at + 12, flags);
        self.put(at + 14, next);
    }

    fn descriptor(&self, index: u16, addr: u64, len: u32, flags: u16, next: u16) {
        self.descriptor_at(DESC, index, addr, len, flags, next);
    }

    fn expose(&mut self, head: u16) {
        self.put(AVAIL + 4 + 2 * u64::from(self.idx % SIZE), head);
        self.idx = self.idx.wrapping_add(1);
        self.put(AVAIL + 2, self.idx);
    }
}

/// Keeps what the queue tells.
#[derive(Default)]
struct Seen {
    chains: Vec<(u16, Vec<Element>, ChainEnd, bool)>,
    available: Vec<event::AvailableRead>,
    used: Vec<(u16, u32)>,
    compared: Vec<Option<u16>>,
    overdue: Vec<(u16, u32)>,
    notified: Vec<event::NotifiedLive>,
    used_altered: Vec<(&'static str, u16, u16)>,
}

impl Witness for Seen {
    const JUDGING: bool = true;

    fn see(&mut self, event: &Event<'_>) {
        match event {
            Event::Chain(c) => {
                self.chains
                    .push((c.head, c.elements.to_vec(), *c.end, c.head_in_flight));
            }
            Event::AvailableRead(a) => self.available.push(*a),
            Event::Used { head, len, .. } => self.used.push((*head, *len)),
            Event::Compared { altered, .. } => self.compared.push(altered.map(|e| e.index)),
            Event::NotNotified {
                position, ticks, ..
            } => self.overdue.push((*position, *ticks)),
            Event::NotifiedLive(n) => self.notified.push(*n),
            Event::UsedRingAltered {
                field,
                written,
                found,
                ..
            } => self.used_altered.push((field, *written, *found)),
            _ => {}
        }
    }

    fn tallies(&self) -> Option<Tallies> {
        None
    }
}

/// Exposes a chain of one descriptor, and has it taken and returned.
fn exchange(driver: &mut Driver, queue: &mut Queue, seen: &mut Seen) {
    driver.descriptor(1, DATA, 16, WRITE, 0);
    driver.expose(1);
    let chain = queue.pop(&driver.ram, seen).expect("sound");
    let head = chain.expect("there is one").head;
    queue.add_used(head, 16, seen);
    queue.publish();
    queue.want_notifications(true);
}

#[test]
fn what_is_written_into_the_used_ring_is_told() {
    const AVAIL_EVENT: u64 = USED + 4 + 8 * SIZE as u64;
    for event_idx in [false, true] {
        let (mut driver, mut seen) = (Driver::new(), Seen::default());
        // Not the device's: it has not written anything yet.
        driver.put(USED, 0x0009_0001_u32);
        let mut queue = driver.queue(event_idx);
        for _ in 0..3 {
            exchange(&mut driver, &mut queue, &mut seen);
        }
        assert_eq!(seen.used_altered, []);
        driver.put(USED + 2, 7_u16);
        driver.put(AVAIL_EVENT, 0x77_u16);
        driver.put(USED, 1_u16);
        exchange(&mut driver, &mut queue, &mut seen);
        exchange(&mut driver, &mut queue, &mut seen);
        let second = if event_idx {
            ("avail_event", 3, 0x77)
        } else {
            ("flags", 0, 1)
        };
        assert_eq!(seen.used_altered, [("idx", 3, 7), second]);
    }
}

/// Exposes one chain and takes it; gives how its walk ended.
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
    assert_eq!((chain.head, chain.readable, chain.writable), (5, 16, 513));
    assert_eq!(
        chain.buffers.iter().map(|b| b.addr).collect::<Vec<_>>(),
        [DATA, DATA + 100, DATA + 1000]
    );
    assert_eq!(queue.outstanding(), 1);
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
    queue.add_used(1, 0, &mut seen);
    driver.expose(1);
    assert!(queue.pop(&driver.ram, &mut seen).expect("sound").is_some());
    assert_eq!(
        seen.chains.iter().map(|c| c.3).collect::<Vec<_>>(),
        [false, true, false]
    );
}

#[test]
fn used_entries_become_visible_together() {
    let driver = Driver::new();
    let mut queue = driver.queue(false);
    queue.add_used(4, 100, &mut Unjudged);
    queue.add_used(6, 200, &mut Unjudged);
    assert_eq!(driver.get::<u16>(USED + 2), 0);
    assert!(queue.publish());
    assert_eq!(driver.get::<u16>(USED + 2), 2);
    assert_eq!(driver.get::<[u32; 4]>(USED + 4), [4, 100, 6, 200]);
    assert!(!queue.publish(), "nothing new, nothing to tell");
}

#[test]
fn interrupts_are_suppressed_by_flags() {
    let driver = Driver::new();
    let mut queue = driver.queue(false);
    driver.put(AVAIL, 1_u16);
    queue.add_used(0, 0, &mut Unjudged);
    assert!(!queue.publish());
    driver.put(AVAIL, 0_u16);
    queue.add_used(0, 0, &mut Unjudged);
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
    queue.add_used(0, 0, &mut Unjudged);
    assert!(!queue.publish(), "entry 0, the event is at 1");
    queue.add_used(0, 0, &mut Unjudged);
    assert!(queue.publish(), "entry 1");
    queue.add_used(0, 0, &mut Unjudged);
    assert!(!queue.publish(), "past it");
    driver.put(used_event, 4_u16);
    for _ in 0..3 {
        queue.add_used(0, 0, &mut Unjudged);
    }
    assert!(queue.publish(), "entries 3 to 5 at once");
    // All the way round the 16-bit index.
    let mut interrupts = 0;
    driver.put(used_event, 65_535_u16);
    for _ in 6..0x1_0006 {
        queue.add_used(0, 0, &mut Unjudged);
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
        queue.add_used(5, 0, &mut seen);
        assert_eq!(seen.compared, [altered]);
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
        queue.add_used(5, 0, &mut seen);
        assert_eq!(seen.compared, [altered]);
    }
}

#[test]
fn some_chains_are_compared_for_ever() {
    let mut driver = Driver::new();
    let mut queue = driver.queue(false);
    driver.descriptor(0, DATA, 16, 0, 0);
    let mut seen = Seen::default();
    for _ in 0..160 {
        driver.expose(0);
        assert!(queue.pop(&driver.ram, &mut seen).unwrap().is_some());
        queue.add_used(0, 0, &mut seen);
    }
    assert_eq!(seen.compared, [None; 10]);
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
        queue.add_used(0, 0, &mut seen);
    }
    assert!(!queue.want_notifications(true));
    (driver, queue, Seen::default())
}

#[test]
fn a_notification_that_does_not_come_is_told() {
    for event_idx in [false, true] {
        let (mut driver, mut queue, mut seen) = asking(event_idx);
        queue.tick(&mut seen);
        assert_eq!(seen.overdue, []);
        driver.expose(0);
        driver.expose(0);
        queue.tick(&mut seen);
        queue.tick(&mut seen);
        assert_eq!(seen.overdue, [(u16::MAX, 1), (u16::MAX, 2)]);
        queue.tell_notified(&mut seen);
        queue.tick(&mut seen);
        assert_eq!(seen.overdue.len(), 2);
        assert!(seen.notified[0].asked);
    }
}

#[test]
fn what_the_device_found_by_itself_needs_no_notification() {
    for event_idx in [false, true] {
        let (mut driver, mut queue, mut seen) = asking(event_idx);
        driver.expose(0);
        assert!(queue.pop(&driver.ram, &mut seen).unwrap().is_some());
        // Of the next one the device has not asked to be notified.
        driver.expose(0);
        queue.tick(&mut seen);
        assert_eq!(seen.overdue, []);
        queue.tell_notified(&mut seen);
        assert!(!seen.notified[0].asked);
    }
}

#[test]
fn who_needs_no_notifications_waits_for_none() {
    for event_idx in [false, true] {
        let (mut driver, mut queue, mut seen) = asking(event_idx);
        queue.want_notifications(false);
        driver.expose(0);
        queue.tick(&mut seen);
        queue.tell_notified(&mut seen);
        queue.tell_notified(&mut seen);
        assert_eq!(seen.overdue, []);
        let since: Vec<_> = seen.notified.iter().map(|n| n.since).collect();
        assert_eq!(since, [1, 2]);
        assert_eq!(seen.notified[1].advised_against, !event_idx);
        // There is something by now: the device has not asked.
        assert!(queue.want_notifications(true));
        queue.tell_notified(&mut seen);
        assert_eq!(seen.notified[2].since, 1);
        assert!(!seen.notified[2].asked);
    }
}
