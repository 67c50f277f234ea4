//! A driver's side of a split virtqueue (§2.4).

use stickler_conformance::layout::desc;
use stickler_devices::memory::GuestRam;
use vm_memory::{ByteValued, Bytes, GuestAddress};

/// A buffer to expose: a guest-physical range and its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Guest-physical address.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// Whether the device may write it (else it reads it).
    pub writable: bool,
}

impl Buffer {
    /// A device-readable buffer.
    pub const fn readable(addr: u64, len: u32) -> Self {
        Buffer {
            addr,
            len,
            writable: false,
        }
    }

    /// A device-writable buffer.
    pub const fn writable(addr: u64, len: u32) -> Self {
        Buffer {
            addr,
            len,
            writable: true,
        }
    }

    /// The same bytes in `count` buffers one behind the other, or fewer: none is empty.
    pub fn cut(self, count: u32) -> Vec<Buffer> {
        let count = count.min(self.len).max(1);
        let part = self.len / count;
        (0..count)
            .map(|i| Buffer {
                addr: self.addr + u64::from(i * part),
                len: if i + 1 == count {
                    self.len - i * part
                } else {
                    part
                },
                writable: self.writable,
            })
            .collect()
    }
}

/// A virtqueue as its driver keeps it. Fields are public: rogues reach for them.
#[derive(Clone, Debug)]
pub struct Virtqueue {
    /// The guest's memory.
    pub ram: GuestRam,
    /// Number of descriptors.
    pub size: u16,
    /// Guest-physical address of the descriptor table.
    pub desc: u64,
    /// Guest-physical address of the available ring.
    pub avail: u64,
    /// Guest-physical address of the used ring.
    pub used: u64,
    /// VIRTIO_F_RING_EVENT_IDX was negotiated.
    pub event_idx: bool,
    /// Our `idx` of the available ring.
    pub avail_idx: u16,
    /// `idx` of the used ring up to which we have looked.
    pub used_idx: u16,
    /// Our `idx` when the device was last notified, for event indices.
    pub notified_idx: u16,
    /// Descriptors not in use.
    pub free: Vec<u16>,
    /// For each head in flight, the descriptors of its chain.
    pub chains: Vec<Vec<u16>>,
}

impl Virtqueue {
    /// A queue laid out in zeroed memory from `base` on, with at least `gap` unused bytes before each
    /// of its parts. It needs [`Virtqueue::bytes`] of room.
    pub fn lay_out(ram: &GuestRam, base: u64, gap: u64, size: u16, event_idx: bool) -> Self {
        let desc = (base + gap).next_multiple_of(16);
        let avail = (desc + 16 * u64::from(size) + gap).next_multiple_of(2);
        let used = (avail + 6 + 2 * u64::from(size) + gap).next_multiple_of(4);
        let queue = Virtqueue {
            ram: ram.clone(),
            size,
            desc,
            avail,
            used,
            event_idx,
            avail_idx: 0,
            used_idx: 0,
            notified_idx: 0,
            free: (0..size).rev().collect(),
            chains: vec![Vec::new(); usize::from(size)],
        };
        let zeros = vec![0; Self::bytes(gap, size) as usize];
        ram.inner()
            .write_slice(&zeros, GuestAddress(base))
            .expect("the rig's heap is in memory");
        queue
    }

    /// Bytes that [`Virtqueue::lay_out`] takes.
    pub fn bytes(gap: u64, size: u16) -> u64 {
        let size = u64::from(size);
        let parts = 16 * size + (6 + 2 * size) + (6 + 8 * size);
        // Each part may have to be moved to be aligned.
        parts + 3 * (gap + 16)
    }

    /// Writes a value into guest memory.
    pub fn put<T: ByteValued>(&self, address: u64, value: T) {
        self.ram
            .inner()
            .write_obj(value, GuestAddress(address))
            .expect("in memory");
    }

    /// Reads a value from guest memory.
    pub fn get<T: ByteValued>(&self, address: u64) -> T {
        self.ram
            .inner()
            .read_obj(GuestAddress(address))
            .expect("in memory")
    }

    /// Writes entry `index` of the table at `table`.
    pub fn put_descriptor(&self, table: u64, index: u16, buffer: Buffer, flags: u16, next: u16) {
        let at = table + u64::from(desc::LEN) * u64::from(index);
        let write = if buffer.writable { desc::WRITE } else { 0 };
        self.put(at, buffer.addr);
        self.put(at + 8, buffer.len);
        self.put(at + 12, flags | write);
        self.put(at + 14, next);
    }

    /// Puts `buffers` into free descriptors, chained (§3.2.1.1). Gives the head.
    pub fn chain(&mut self, buffers: &[Buffer]) -> u16 {
        assert!(
            buffers.len() <= self.free.len(),
            "a driver waits for free descriptors"
        );
        let indices: Vec<u16> = buffers.iter().filter_map(|_| self.free.pop()).collect();
        for (position, (buffer, index)) in buffers.iter().zip(&indices).enumerate() {
            let (flags, next) = match indices.get(position + 1) {
                Some(next) => (desc::NEXT, *next),
                None => (0, 0),
            };
            self.put_descriptor(self.desc, *index, *buffer, flags, next);
        }
        let head = indices[0];
        self.chains[usize::from(head)] = indices;
        head
    }

    /// Puts `buffers` into an indirect table at `table` and refers to it from one free descriptor
    /// (§2.4.5.3). Gives the head.
    pub fn indirect(&mut self, table: u64, buffers: &[Buffer]) -> u16 {
        for (index, buffer) in (0..).zip(buffers) {
            let last = usize::from(index) + 1 == buffers.len();
            let (flags, next) = if last {
                (0, 0)
            } else {
                (desc::NEXT, index + 1)
            };
            self.put_descriptor(table, index, *buffer, flags, next);
        }
        let head = self
            .free
            .pop()
            .expect("a driver waits for free descriptors");
        let len = desc::LEN * buffers.len() as u32;
        self.put_descriptor(
            self.desc,
            head,
            Buffer::readable(table, len),
            desc::INDIRECT,
            0,
        );
        self.chains[usize::from(head)] = vec![head];
        head
    }

    /// Makes a head available (§3.2.1.2, §3.2.1.3).
    pub fn expose(&mut self, head: u16) {
        self.put(
            self.avail + 4 + 2 * u64::from(self.avail_idx % self.size),
            head,
        );
        self.set_avail_idx(self.avail_idx.wrapping_add(1));
    }

    /// Sets `idx` of the available ring, ours and the device's view of it.
    pub fn set_avail_idx(&mut self, idx: u16) {
        self.avail_idx = idx;
        self.put(self.avail + 2, idx);
    }

    /// Sets `flags` of the available ring.
    pub fn set_avail_flags(&self, flags: u16) {
        self.put(self.avail, flags);
    }

    /// Sets `used_event`.
    pub fn set_used_event(&self, position: u16) {
        self.put(self.avail + 4 + 2 * u64::from(self.size), position);
    }

    /// Whether the device wants to be notified of what was exposed since the last time this was
    /// asked (§2.4.9.1).
    pub fn notification_wanted(&mut self) -> bool {
        let (old, new) = (self.notified_idx, self.avail_idx);
        self.notified_idx = new;
        if self.event_idx {
            let event: u16 = self.get(self.used + 4 + 8 * u64::from(self.size));
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            self.get::<u16>(self.used) & 1 == 0
        }
    }

    /// Takes what the device has returned since the last time (§3.2.2): heads and lengths. Their
    /// descriptors are free again.
    pub fn take_used(&mut self) -> Vec<(u16, u32)> {
        let idx: u16 = self.get(self.used + 2);
        let mut taken = Vec::new();
        while self.used_idx != idx {
            let entry = self.used + 4 + 8 * u64::from(self.used_idx % self.size);
            let head = self.get::<u32>(entry) as u16;
            taken.push((head, self.get::<u32>(entry + 4)));
            self.used_idx = self.used_idx.wrapping_add(1);
            let chain = std::mem::take(&mut self.chains[usize::from(head)]);
            self.free.extend(chain);
        }
        if self.event_idx {
            self.set_used_event(self.used_idx);
        }
        taken
    }

    /// As [`Virtqueue::take_used`], with the first buffer of each chain in place of its head.
    pub fn take_buffers(&mut self) -> Vec<(Buffer, u32)> {
        let used = self.take_used();
        used.into_iter()
            .map(|(head, len)| (self.buffer(head), len))
            .collect()
    }

    /// What descriptor `index` of the queue's table holds.
    pub fn buffer(&self, index: u16) -> Buffer {
        let at = self.desc + u64::from(desc::LEN) * u64::from(index);
        Buffer {
            addr: self.get(at),
            len: self.get(at + 8),
            writable: self.get::<u16>(at + 12) & desc::WRITE != 0,
        }
    }
}
