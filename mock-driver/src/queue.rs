//! A split virtqueue as its driver keeps it (§2.4, §3.2 of virtio 1.0).

use stickler_conformance::layout::desc;
use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::{Descriptor, VirtqUsedElem};
use vm_memory::{ByteValued, Bytes, GuestAddress, GuestMemoryMmap};

use crate::layout::{SplitLayout, descriptor_at};

/// The bit of a ring's `flags` by which one side does not want to hear from the other:
/// VIRTQ_AVAIL_F_NO_INTERRUPT and VIRTQ_USED_F_NO_NOTIFY (§2.4.7, §2.4.9).
const SUPPRESSED: u16 = 1;

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

    /// VIRTQ_DESC_F_WRITE, if it is device-writable.
    const fn flags(self) -> u16 {
        if self.writable { desc::WRITE } else { 0 }
    }
}

/// A split virtqueue as its driver keeps it. Fields are public, so that a driver can do wrong.
#[derive(Clone, Debug)]
pub struct Virtqueue {
    /// The guest's memory.
    pub memory: GuestMemoryMmap,
    /// Where its parts are.
    pub layout: SplitLayout,
    /// VIRTIO_F_RING_EVENT_IDX was negotiated.
    pub event_idx: bool,
    /// The driver's `idx` of the available ring.
    pub avail_idx: u16,
    /// `idx` of the used ring up to which the driver has looked.
    pub used_idx: u16,
    /// The driver's `idx` when the device was last notified, for event indices.
    pub notified_idx: u16,
    /// Descriptors not in use.
    pub free: Vec<u16>,
    /// For each head in flight, the descriptors of its chain.
    pub chains: Vec<Vec<u16>>,
}

impl Virtqueue {
    /// A queue in zeroed memory from `base` on, with at least `gap` unused bytes before each of its
    /// parts. It needs [`SplitLayout::room`].
    ///
    /// # Panics
    /// As all functions here, if an address is not in memory.
    pub fn lay_out(
        memory: &GuestMemoryMmap,
        base: u64,
        gap: u64,
        size: u16,
        event_idx: bool,
    ) -> Self {
        let zeros = vec![0; SplitLayout::room(gap, size) as usize];
        memory
            .write_slice(&zeros, GuestAddress(base))
            .expect("in memory");
        Virtqueue::new(memory, SplitLayout::lay_out(base, gap, size), event_idx)
    }

    /// A queue with this layout. Its rings are empty; the rest of it is as it was in memory.
    pub fn new(memory: &GuestMemoryMmap, layout: SplitLayout, event_idx: bool) -> Self {
        let size = layout.size;
        let queue = Virtqueue {
            memory: memory.clone(),
            layout,
            event_idx,
            avail_idx: 0,
            used_idx: 0,
            notified_idx: 0,
            free: (0..size).rev().collect(),
            chains: vec![Vec::new(); usize::from(size)],
        };
        for at in [
            layout.avail_flags(),
            layout.avail_idx(),
            layout.used_event(),
            layout.used_flags(),
            layout.used_idx(),
            layout.avail_event(),
        ] {
            queue.put(at, 0_u16);
        }
        queue
    }

    /// Writes a value into guest memory.
    pub fn put<T: ByteValued>(&self, address: u64, value: T) {
        put(&self.memory, address, value);
    }

    /// Reads a value from guest memory.
    pub fn get<T: ByteValued>(&self, address: u64) -> T {
        get(&self.memory, address)
    }

    /// Writes entry `index` of the table at `table`. `flags` are those beside VIRTQ_DESC_F_WRITE.
    pub fn put_descriptor(&self, table: u64, index: u16, buffer: Buffer, flags: u16, next: u16) {
        put_descriptor(&self.memory, table, index, buffer, flags, next);
    }

    /// What descriptor `index` of the queue's table holds.
    pub fn buffer(&self, index: u16) -> Buffer {
        let raw: RawDescriptor = self.get(self.layout.descriptor(index));
        let descriptor = Descriptor::from(raw);
        Buffer {
            addr: descriptor.addr().0,
            len: descriptor.len(),
            writable: descriptor.is_write_only(),
        }
    }

    /// Puts `buffers` into free descriptors, chained (§3.2.1.1). Returns the head.
    ///
    /// # Panics
    /// If there are not enough free descriptors: a driver waits for them.
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
            self.put_descriptor(self.layout.desc, *index, *buffer, flags, next);
        }
        let head = indices[0];
        self.chains[usize::from(head)] = indices;
        head
    }

    /// Puts `buffers` into an indirect table at `table` and refers to it from one free descriptor
    /// (§2.4.5.3). Returns the head.
    ///
    /// # Panics
    /// If there is no free descriptor.
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
        let refers = Buffer::readable(table, desc::LEN * buffers.len() as u32);
        self.put_descriptor(self.layout.desc, head, refers, desc::INDIRECT, 0);
        self.chains[usize::from(head)] = vec![head];
        head
    }

    /// Makes a head available (§3.2.1.2, §3.2.1.3).
    pub fn expose(&mut self, head: u16) {
        self.put(self.layout.avail_entry(self.avail_idx), head.to_le());
        self.set_avail_idx(self.avail_idx.wrapping_add(1));
    }

    /// Sets `idx` of the available ring, the driver's and the one in memory.
    pub fn set_avail_idx(&mut self, idx: u16) {
        self.avail_idx = idx;
        self.put(self.layout.avail_idx(), idx.to_le());
    }

    /// Sets `flags` of the available ring.
    pub fn set_avail_flags(&self, flags: u16) {
        self.put(self.layout.avail_flags(), flags.to_le());
    }

    /// Sets `used_event`.
    pub fn set_used_event(&self, position: u16) {
        self.put(self.layout.used_event(), position.to_le());
    }

    /// Whether the device wants to be notified of what was exposed since the last time this was
    /// asked (§2.4.9.1).
    pub fn notification_wanted(&mut self) -> bool {
        let (old, new) = (self.notified_idx, self.avail_idx);
        self.notified_idx = new;
        if self.event_idx {
            let event = u16::from_le(self.get(self.layout.avail_event()));
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            u16::from_le(self.get(self.layout.used_flags())) & SUPPRESSED == 0
        }
    }

    /// The used ring's entry for `position`: head and length.
    pub fn used_entry(&self, position: u16) -> (u32, u32) {
        let entry: VirtqUsedElem = self.get(self.layout.used_entry(position));
        (entry.id(), entry.len())
    }

    /// Takes what the device has returned since the last time (§3.2.2): heads and lengths. Their
    /// descriptors are free again.
    pub fn take_used(&mut self) -> Vec<(u16, u32)> {
        let idx = u16::from_le(self.get(self.layout.used_idx()));
        let mut taken = Vec::new();
        while self.used_idx != idx {
            let (head, len) = self.used_entry(self.used_idx);
            let head = head as u16;
            taken.push((head, len));
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
}

/// Writes a value into guest memory.
///
/// # Panics
/// If it is not in memory.
pub fn put<T: ByteValued>(memory: &GuestMemoryMmap, address: u64, value: T) {
    memory
        .write_obj(value, GuestAddress(address))
        .expect("in memory");
}

/// Reads a value from guest memory.
///
/// # Panics
/// If it is not in memory.
pub fn get<T: ByteValued>(memory: &GuestMemoryMmap, address: u64) -> T {
    memory.read_obj(GuestAddress(address)).expect("in memory")
}

/// Writes entry `index` of the descriptor table at `table`. `flags` are those beside
/// VIRTQ_DESC_F_WRITE.
///
/// # Panics
/// If it is not in memory.
pub fn put_descriptor(
    memory: &GuestMemoryMmap,
    table: u64,
    index: u16,
    buffer: Buffer,
    flags: u16,
    next: u16,
) {
    let descriptor = Descriptor::new(buffer.addr, buffer.len, flags | buffer.flags(), next);
    put(
        memory,
        descriptor_at(table, index),
        RawDescriptor::from(descriptor),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u16 = 4;

    fn queue(event_idx: bool) -> Virtqueue {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1_0000)]).expect("memory");
        let layout = SplitLayout::lay_out(0x1000, 0, SIZE);
        Virtqueue::new(&memory, layout, event_idx)
    }

    /// The device returns a chain.
    fn give_back(queue: &Virtqueue, head: u16, len: u32) {
        let idx: u16 = queue.get(queue.layout.used_idx());
        let entry = [u32::from(head), len];
        queue.put(queue.layout.used_entry(idx), entry);
        queue.put(queue.layout.used_idx(), idx.wrapping_add(1));
    }

    #[test]
    fn descriptors_are_written_as_the_specification_has_them() {
        let mut queue = queue(false);
        let buffers = [
            Buffer::readable(0x1122_3344_5566, 7),
            Buffer::writable(9, 8),
        ];
        let head = queue.chain(&buffers);
        let second = queue.chains[usize::from(head)][1];
        let bytes: [u8; 16] = queue.get(queue.layout.descriptor(head));
        let expected = [
            0x66,
            0x55,
            0x44,
            0x33,
            0x22,
            0x11,
            0,
            0,
            7,
            0,
            0,
            0,
            1,
            0,
            second as u8,
            0,
        ];
        assert_eq!(bytes, expected);
        let bytes: [u8; 16] = queue.get(queue.layout.descriptor(second));
        assert_eq!(bytes, [9, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!([head, second].map(|index| queue.buffer(index)), buffers);
        let head = queue.indirect(0x8000, &buffers);
        assert_eq!(queue.buffer(head), Buffer::readable(0x8000, 32));
        let bytes: [u8; 16] = queue.get(0x8000);
        assert_eq!(bytes[12..], [1, 0, 1, 0]);
    }

    #[test]
    fn chains_go_round_and_their_descriptors_come_back() {
        for event_idx in [false, true] {
            let mut queue = queue(event_idx);
            queue.set_avail_idx(u16::MAX - 2);
            queue.put(queue.layout.used_idx(), u16::MAX - 2);
            queue.used_idx = u16::MAX - 2;
            for len in 0..3 * u32::from(SIZE) {
                let head = queue.chain(&[Buffer::readable(0, 1), Buffer::writable(0x8000, 4)]);
                queue.expose(head);
                let position = queue.avail_idx.wrapping_sub(1);
                assert_eq!(queue.get::<u16>(queue.layout.avail_entry(position)), head);
                assert_eq!(queue.get::<u16>(queue.layout.avail_idx()), queue.avail_idx);
                assert_eq!(queue.free.len(), usize::from(SIZE) - 2);
                give_back(&queue, head, len);
                assert_eq!(queue.take_used(), [(head, len)]);
                assert_eq!(queue.take_used(), []);
                assert_eq!(queue.free.len(), usize::from(SIZE));
                let event: u16 = queue.get(queue.layout.used_event());
                assert_eq!(event, if event_idx { queue.used_idx } else { 0 });
            }
        }
    }

    #[test]
    fn the_device_says_when_it_wants_a_notification() {
        let mut flags = queue(false);
        flags.expose(0);
        assert!(flags.notification_wanted());
        flags.put(flags.layout.used_flags(), 1_u16);
        flags.expose(0);
        assert!(!flags.notification_wanted());

        let mut events = queue(true);
        events.put(events.layout.avail_event(), 1_u16);
        let wanted = [(); 3].map(|()| {
            events.expose(0);
            events.notification_wanted()
        });
        assert_eq!(wanted, [false, true, false]);
    }

    #[test]
    fn a_buffer_is_cut_into_pieces_that_are_not_empty() {
        let pieces = Buffer::writable(100, 7).cut(3);
        let expected = [(100, 2), (102, 2), (104, 3)].map(|(a, l)| Buffer::writable(a, l));
        assert_eq!(pieces, expected);
        assert_eq!(Buffer::readable(5, 2).cut(9).len(), 2);
        assert_eq!(Buffer::readable(5, 0).cut(9), [Buffer::readable(5, 0)]);
    }
}
