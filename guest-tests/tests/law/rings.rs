//! Virtqueues (§2.4 of virtio 1.0) and memory: seen from between driver and device, whatever the
//! driver does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use stickler_conformance::layout::{NO_VECTOR, Structure, common, desc};
use stickler_guest_tests::in_process::{Between, Driver, Move, Rig, Virtqueue};
use stickler_mock_driver::descriptor_at;

use crate::court::{Court, Row, Seen};
use crate::interrupts::{ExpectedInterrupts, InterruptState};

pub(crate) const ROWS: &[Row] = &[
    (
        "2.4.4.1-1",
        Seen::By("messages cut at odd places mean the same"),
    ),
    ("2.4.4.1-2", Seen::Permits),
    (
        "2.4.5.1-1",
        Seen::By(
            "no byte of memory changes but in used rings and device-writable buffers in flight",
        ),
    ),
    (
        "2.4.5.3.2-1",
        Seen::By("descriptors that refer to a table have WRITE now and then"),
    ),
    (
        "2.4.5.3.2-2",
        Seen::By("tables stand behind ordinary descriptors now and then"),
    ),
    (
        "2.4.8",
        Seen::By("used entries name chains in flight, each once"),
    ),
    (
        "2.4.8.2-1",
        Seen::By("entries below idx are complete and stay as they are"),
    ),
    (
        "2.4.8.2-2",
        Seen::By("len is within the buffers, and the bytes below it are not those of before"),
    ),
    ("2.4.8.2-3", Seen::Permits),
    (
        "2.4.9.2-1",
        Seen::By("flags of the used ring without EVENT_IDX, after every move"),
    ),
    ("2.4.9.2-2", Seen::Permits),
    (
        "2.4.9.2-3",
        Seen::By("flags of the used ring with EVENT_IDX, after every move"),
    ),
    ("2.4.9.2-4", Seen::Permits),
    (
        "2.1.2-2",
        Seen::By("no memory changes and no interrupt comes before DRIVER_OK"),
    ),
];

/// What device-writable buffers hold when they are exposed. No host here says this byte.
pub(crate) const BEFORE: u8 = 0xa5;

/// The lowest address that the rig gives.
const BASE: u64 = 1 << 20;

/// What the device may do at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has not been seen to be reset: whatever was before us may have set it up.
    Unknown,
    /// It has been reset, and DRIVER_OK is yet to be set.
    Fresh,
    /// DRIVER_OK is set, or about to be.
    Live,
    /// It has been told to reset.
    Resetting,
}

/// A chain in flight.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// Its device-readable buffers.
    pub(crate) readable: Vec<Range<u64>>,
    /// Its device-writable buffers, which hold [`BEFORE`] or not.
    pub(crate) writable: Vec<Range<u64>>,
    fresh: bool,
}

/// A virtqueue as the device uses it.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    pub(crate) queue: Virtqueue,
    pub(crate) vector: u16,
    /// Up to which position we know the available ring.
    exposed: u16,
    /// `idx` of the used ring.
    used: u16,
    in_flight: BTreeMap<u16, Chain>,
    /// The entries of the used ring that were filled last, the newest last.
    entries: Vec<(u32, u32)>,
    /// What the driver wants in the way of interrupts.
    pub(crate) expected: ExpectedInterrupts,
}

/// What stands between driver and device and sees to it that the device keeps to the law.
pub(crate) struct Observer {
    pub(crate) court: Rc<Court>,
    pub(crate) state: RefCell<ObservedState>,
}

#[derive(Debug)]
pub(crate) struct ObservedState {
    pub(crate) slot: u8,
    pub(crate) phase: Phase,
    /// Where `device_status` is.
    status: u64,
    /// What is written here can have the device do something.
    levers: Vec<Range<u64>>,
    pub(crate) queues: BTreeMap<u16, Ledger>,
    /// The most memory that was in use.
    end: u64,
    image: Vec<u8>,
    pub(crate) interrupts: InterruptState,
}

impl Observer {
    /// Observes the device that `driver` drives.
    pub(crate) fn over(driver: &Driver<'_>, court: &Rc<Court>) -> Rc<Self> {
        Rc::new(Observer {
            court: court.clone(),
            state: RefCell::new(ObservedState {
                slot: driver.slot,
                phase: Phase::Unknown,
                status: driver.place(Structure::Common).address + u64::from(common::DEVICE_STATUS),
                levers: levers(driver),
                queues: BTreeMap::new(),
                end: BASE,
                image: Vec::new(),
                interrupts: InterruptState::new(driver),
            }),
        })
    }

    /// The driver is about to bring the device to life, with these queues and vectors.
    pub(crate) fn will_live(&self, driver: &Driver<'_>, config: u16, vectors: &BTreeMap<u16, u16>) {
        let mut state = self.state.borrow_mut();
        state.phase = Phase::Live;
        // What was in use before the reset has been observed until now.
        state.end = BASE;
        state.interrupts.begin(driver, config);
        state.queues = (driver.queues.iter())
            .map(|(index, queue)| {
                let vector = vectors.get(index).copied().unwrap_or(NO_VECTOR);
                (*index, Ledger::new(queue.clone(), vector))
            })
            .collect();
    }

    /// What the device may do at present.
    pub(crate) fn phase(&self) -> Phase {
        self.state.borrow().phase
    }
}

impl Ledger {
    fn new(queue: Virtqueue, vector: u16) -> Self {
        Ledger {
            queue,
            vector,
            exposed: 0,
            used: 0,
            in_flight: BTreeMap::new(),
            entries: Vec::new(),
            expected: ExpectedInterrupts::default(),
        }
    }

    /// Notes what the driver has exposed.
    fn learn(&mut self, rig: &Rig) {
        let queue = &self.queue;
        let idx: u16 = queue.get(queue.layout.avail_idx());
        while self.exposed != idx {
            let head: u16 = queue.get(queue.layout.avail_entry(self.exposed));
            self.in_flight.insert(head, Chain::walk(rig, queue, head));
            self.exposed = self.exposed.wrapping_add(1);
        }
    }
}

impl Chain {
    fn walk(rig: &Rig, queue: &Virtqueue, head: u16) -> Self {
        let mut chain = Chain {
            readable: Vec::new(),
            writable: Vec::new(),
            fresh: false,
        };
        let (mut table, mut index) = (queue.layout.desc, head);
        // The driver makes no loops.
        loop {
            let at = descriptor_at(table, index);
            let addr: u64 = queue.get(at);
            let len: u32 = queue.get(at + 8);
            let flags: u16 = queue.get(at + 12);
            if flags & desc::INDIRECT != 0 {
                (table, index) = (addr, 0);
                continue;
            }
            let range = addr..addr + u64::from(len);
            if flags & desc::WRITE != 0 {
                chain.writable.push(range);
            } else {
                chain.readable.push(range);
            }
            if flags & desc::NEXT == 0 {
                break;
            }
            index = queue.get(at + 14);
        }
        chain.fresh = chain.bytes(rig, u64::MAX).iter().all(|b| *b == BEFORE);
        chain
    }

    /// Bytes of its device-writable part.
    pub(crate) fn room(&self) -> u64 {
        self.writable.iter().map(|r| r.end - r.start).sum()
    }

    /// The first `len` bytes of its device-writable part.
    pub(crate) fn bytes(&self, rig: &Rig, len: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for range in &self.writable {
            let left = len.saturating_sub(bytes.len() as u64);
            let len = (range.end - range.start).min(left);
            bytes.extend(rig.read_bytes(range.start, len as usize));
        }
        bytes
    }
}

impl Between for Observer {
    fn before(&self, rig: &Rig, what: &Move) {
        let mut state = self.state.borrow_mut();
        if !state.may_act(what) {
            return;
        }
        if state.phase == Phase::Live || state.phase == Phase::Resetting {
            state.queues.values_mut().for_each(|l| l.learn(rig));
        }
        state.end = state.end.max(rig.allocated().end);
        let len = (state.end - BASE) as usize;
        state.image = rig.read_bytes(BASE, len);
        let slot = state.slot;
        state.interrupts.before(rig, slot);
        if let Move::Write { address, value, .. } = *what
            && address == state.status
            && value == 0
        {
            state.phase = Phase::Resetting;
        }
    }

    fn after(&self, rig: &Rig, what: &mut Move) {
        let mut state = self.state.borrow_mut();
        if let Move::Read { address, value, .. } = *what
            && address == state.status
            && value & 0xff == 0
            && state.phase == Phase::Resetting
        {
            state.phase = Phase::Fresh;
            state.queues.clear();
        }
        if state.may_act(what) {
            self.look_at_memory(&state, rig);
            self.look_at_used(&mut state, rig);
            self.look_at_interrupts(&mut state, rig);
        } else if let Move::Read { address, value, .. } = *what {
            self.note_isr(&mut state, rig, address, value as u8);
        }
    }
}

/// The registers with which a driver has the device do something, but for the window.
fn levers(driver: &Driver<'_>) -> Vec<Range<u64>> {
    let common = driver.place(Structure::Common).address;
    let field = |offset: u32| common + u64::from(offset)..common + u64::from(offset) + 1;
    let mut levers = vec![field(common::DEVICE_STATUS), field(common::QUEUE_ENABLE)];
    for structure in [Structure::Notify, Structure::Device] {
        if let Some(place) = driver.structures.get(&structure.cfg_type()) {
            levers.push(place.address..place.address + u64::from(place.len));
        }
    }
    levers
}

impl ObservedState {
    /// Whether the device may come to do more than to answer.
    fn may_act(&self, what: &Move) -> bool {
        match what {
            Move::ConfigRead { .. } | Move::Read { .. } => false,
            Move::ConfigWrite { offset, .. } => *offset >= 0x40,
            Move::Write { address, .. } => self.levers.iter().any(|r| r.contains(address)),
            Move::Serve => true,
        }
    }
}

impl Observer {
    /// §2.4.5.1, §2.1.2: what may have changed, and what may not.
    fn look_at_memory(&self, state: &ObservedState, rig: &Rig) {
        if state.phase == Phase::Unknown {
            return;
        }
        let mut allowed: Vec<Range<u64>> = Vec::new();
        for ledger in state.queues.values() {
            allowed.push(ledger.queue.layout.used_ring());
            let chains = ledger.in_flight.values();
            allowed.extend(chains.flat_map(|c| c.writable.iter().cloned()));
        }
        let now = rig.read_bytes(BASE, state.image.len());
        let row = if state.phase == Phase::Fresh {
            "2.1.2-2"
        } else {
            "2.4.5.1-1"
        };
        let stray = differences(&state.image, &now)
            .map(|at| BASE + at as u64)
            .find(|at| !allowed.iter().any(|range| range.contains(at)));
        self.court.rule(row, stray.is_none(), || {
            let at = stray.unwrap_or_default();
            format!("{:?}: the device wrote to {at:#x}", state.phase)
        });
    }

    /// §2.4.8, §2.4.9.2.
    fn look_at_used(&self, state: &mut ObservedState, rig: &Rig) {
        let live = state.phase == Phase::Live;
        for (index, ledger) in &mut state.queues {
            let queue = ledger.queue.clone();
            let flags: u16 = queue.get(queue.layout.used_flags());
            if queue.event_idx {
                self.court.rule("2.4.9.2-3", flags == 0, || {
                    format!("queue {index}: flags of the used ring is {flags:#x} with EVENT_IDX")
                });
            } else {
                self.court.rule("2.4.9.2-1", flags <= 1, || {
                    format!("queue {index}: flags of the used ring is {flags:#x}")
                });
            }
            let (old, new) = (ledger.used, queue.get::<u16>(queue.layout.used_idx()));
            let count = new.wrapping_sub(old);
            let outstanding = ledger.in_flight.len();
            let possible = usize::from(count) <= outstanding;
            self.court.rule("2.4.8", possible, || {
                format!("queue {index}: idx goes from {old} to {new}, {outstanding} are in flight")
            });
            if !possible {
                ledger.used = new;
                continue;
            }
            // Entries of chains that are still in flight may be in the making.
            let kept = usize::from(queue.layout.size) - outstanding;
            let kept = kept.min(ledger.entries.len());
            let first = ledger.entries.len() - kept;
            for (back, then) in ledger.entries[first..].iter().rev().enumerate() {
                let position = old.wrapping_sub(back as u16 + 1);
                let now = ledger.queue.used_entry(position);
                self.court.rule("2.4.8.2-1", now == *then, || {
                    format!("queue {index}: entry {position} was {then:?} and is {now:?}")
                });
            }
            for position in (0..count).map(|i| old.wrapping_add(i)) {
                let (id, len) = ledger.queue.used_entry(position);
                ledger.entries.push((id, len));
                let head = u16::try_from(id).ok();
                let chain = head.and_then(|head| ledger.in_flight.remove(&head));
                self.court.rule("2.4.8", chain.is_some(), || {
                    format!("queue {index}: entry {position} returns {id}, which is not in flight")
                });
                let Some(chain) = chain else { continue };
                let room = chain.room();
                self.court.rule("2.4.8.2-2", u64::from(len) <= room, || {
                    format!("queue {index}: len is {len} for a chain with room for {room}")
                });
                let bytes = chain.bytes(rig, len.into());
                if chain.fresh && !bytes.is_empty() {
                    let run = bytes.len().min(3);
                    let untouched = bytes
                        .windows(run)
                        .position(|w| w.iter().all(|b| *b == BEFORE));
                    self.court.rule("2.4.8.2-2", untouched.is_none(), || {
                        let at = untouched.unwrap_or_default();
                        format!("queue {index}: len is {len}, and byte {at} was not written")
                    });
                }
            }
            let drop = ledger
                .entries
                .len()
                .saturating_sub(usize::from(queue.layout.size));
            ledger.entries.drain(..drop);
            ledger.used = new;
            if count > 0 && live {
                ledger.note_expected(old, new);
            }
        }
    }
}

/// Where two images differ.
fn differences(then: &[u8], now: &[u8]) -> impl Iterator<Item = usize> {
    const PAGE: usize = 4096;
    const LINE: usize = 64;
    let pages = then.chunks(PAGE).zip(now.chunks(PAGE)).enumerate();
    pages
        .filter(|(_, (then, now))| then != now)
        .flat_map(|(page, (then, now))| {
            let lines = then.chunks(LINE).zip(now.chunks(LINE)).enumerate();
            lines
                .filter(|(_, (then, now))| then != now)
                .flat_map(move |(line, (then, now))| {
                    let bytes = then.iter().zip(now).enumerate();
                    bytes
                        .filter(|(_, (then, now))| then != now)
                        .map(move |(at, _)| PAGE * page + LINE * line + at)
                })
        })
}
