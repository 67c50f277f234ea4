//! The queue with a driver by hand, on a split ring.

mod behaviour;
mod chains;
mod exposure;
mod notifications;
mod rings;

use stickler_conformance::Tallies;
use stickler_conformance::event::{
    self, BufferPart, ChainEnd, ControlEvent, DataEvent, DescriptorField, Element,
    NotificationEvent, SplitRingEvent, UsedRingField,
};
use stickler_conformance::layout::desc::{INDIRECT, NEXT, WRITE};
use stickler_conformance::{Event, Unjudged, Witness};
use virtio_queue::desc::split::Descriptor;
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
        self.put(at, Descriptor::new(addr, len, flags, next));
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

/// Keeps what the queue reports.
#[derive(Default)]
struct Seen {
    chains: Vec<(u16, Vec<Element>, ChainEnd, bool)>,
    available: Vec<event::AvailableRead>,
    used: Vec<(u16, u32)>,
    altered: Vec<(BufferPart, u64, u64, Moment)>,
    withdrawn: Vec<u16>,
    overdue: Vec<(u16, u32)>,
    notified: Vec<event::LiveNotification>,
    used_altered: Vec<(UsedRingField, u32, u32)>,
}

impl Seen {
    fn data(&mut self, event: &DataEvent<'_>) {
        match event {
            DataEvent::Exposed(taken) => {
                let elements = taken.elements.to_vec();
                self.chains
                    .push((taken.id.0, elements, *taken.end, taken.in_flight));
            }
            DataEvent::AvailableRead(read) => self.available.push(*read),
            DataEvent::Returned { id, len, .. } => self.used.push((id.0, *len)),
            DataEvent::NetTransmit(_) | DataEvent::BlockRequest(_) => {}
        }
    }
}

impl Witness for Seen {
    const JUDGING: bool = true;

    fn see(&mut self, event: &Event<'_>) {
        match event {
            Event::Data(event) => self.data(event),
            Event::Control(ControlEvent::Notification(event)) => match event {
                NotificationEvent::Overdue {
                    position, ticks, ..
                } => self.overdue.push((*position, *ticks)),
                NotificationEvent::Live(n) => self.notified.push(*n),
                NotificationEvent::Sent { .. } => {}
            },
            Event::Control(ControlEvent::SplitRing(event)) => match event {
                SplitRingEvent::UsedRingAltered {
                    field,
                    written,
                    found,
                    ..
                } => self.used_altered.push((*field, *written, *found)),
                SplitRingEvent::Withdrawn { id, .. } => self.withdrawn.push(id.0),
                SplitRingEvent::BufferAltered(a) => {
                    self.altered.push((a.part, a.exposed, a.found, a.moment));
                }
            },
            Event::Control(_) | Event::OutsideReset => {}
        }
    }

    fn tallies(&self) -> Option<Tallies> {
        None
    }
}
