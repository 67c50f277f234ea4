//! Moves that time and order depend on: seconds that pass, pairs of queues that come into use, and a
//! driver's life as a whole.

use stickler_conformance::event::{
    ClockEvent, NetEvent, NetHeader, NetOutOfUse, NetRing, PciEvent,
};
use stickler_conformance::layout::NO_VECTOR;

use super::{Play, VECTORS};

impl Play {
    // ---- Time

    /// So many seconds pass, in each of which the driver does something.
    pub fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.read_generation();
            self.see(ClockEvent::Tick);
        }
    }

    /// So many seconds pass, and the driver does nothing.
    pub fn sleep(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.see(ClockEvent::Tick);
        }
    }

    // ---- Pairs of queues

    /// The driver sends a packet through `queue`, which is not in use, and the device finds so many
    /// `commands` waiting afterwards.
    pub fn send_out_of_use(&mut self, queue: u16, commands: u16) {
        self.send_through(queue, NetHeader::default(), &[0; 60]);
        self.see(NetEvent::OutOfUse(NetOutOfUse {
            queue,
            packets: 1,
            taken: self.idx[usize::from(queue)],
            commands,
        }));
    }

    /// The device looks at a queue for packets.
    pub fn read_ring(&mut self, queue: u16, populated: bool) {
        self.see(NetEvent::RingRead(NetRing {
            queue,
            available: self.idx[usize::from(queue)],
            populated,
        }));
    }

    /// The driver has filled `queue`, and the device has not looked.
    pub fn fill(&mut self, queue: u16) {
        self.populated |= 1 << queue;
    }

    /// The driver sends VQ_PAIRS_SET.
    pub fn set_pairs(&mut self, pairs: u8) {
        for queue in 0..4 {
            self.read_ring(queue, self.populated & 1 << queue != 0);
        }
        self.command(4, 0, &[pairs, 0]);
    }

    // ---- All of it

    /// A driver's life: initialization, work, removal, and again.
    pub fn life(&mut self) {
        for _ in 0..2 {
            self.boot();
            self.work();
            self.reset();
            self.see(PciEvent::VectorWritten {
                queue: Some(0),
                value: NO_VECTOR,
                vectors: VECTORS,
                enabled: true,
            });
        }
    }
}
