//! The bytes of a descriptor chain, as one stream. Citations are of virtio 1.0.
//!
//! How a driver cuts a message into descriptors says nothing about the message, and a device makes no
//! assumptions about it (§2.4.4.1). So device types read the device-readable bytes with a [`Reader`]
//! and write the device-writable ones with a [`Writer`], wherever they lie in the chain. Both skip
//! the buffers of the other kind (§2.4.5.1), so that they also work where a driver has mixed the
//! order.

use stickler_conformance::event::Element;
use stickler_conformance::layout::desc;
use vm_memory::VolatileSlice;

use crate::memory::GuestRam;

/// Reads the device-readable bytes of a chain, first to last.
#[derive(Clone, Debug)]
pub struct Reader<'a>(Cursor<'a>);

/// Writes the device-writable bytes of a chain, first to last.
#[derive(Clone, Debug)]
pub struct Writer<'a>(Cursor<'a>);

impl<'a> Reader<'a> {
    /// At the first device-readable byte of `buffers`.
    pub fn new(ram: &'a GuestRam, buffers: &'a [Element]) -> Self {
        Reader(Cursor::new(ram, buffers, 0))
    }

    /// How many bytes are left to read.
    pub fn remaining(&self) -> u64 {
        self.0.remaining
    }

    /// Reads as many bytes as there are and `into` has room for. Returns how many.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|r| !r.is_empty()) {
            let Some(slice) = self.0.take(rest.len() as u64) else {
                break;
            };
            done += slice.copy_to(rest);
        }
        done
    }

    /// Reads exactly `N` bytes; `None`, and nothing is read, if there are fewer.
    pub fn read_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        if self.0.remaining < N as u64 {
            return None;
        }
        (self.read(&mut bytes) == N).then_some(bytes)
    }

    /// Passes over `count` bytes, or all that are left if they are fewer. Returns how many.
    pub fn skip(&mut self, count: u64) -> u64 {
        self.0.skip(count)
    }

    /// The next `max` bytes (or all that are left) as pieces of guest memory, none of them empty,
    /// without moving on.
    pub fn slices(&self, max: u64) -> Slices<'a> {
        Slices::new(&self.0, max)
    }
}

impl<'a> Writer<'a> {
    /// At the first device-writable byte of `buffers`.
    pub fn new(ram: &'a GuestRam, buffers: &'a [Element]) -> Self {
        Writer(Cursor::new(ram, buffers, desc::WRITE))
    }

    /// How many bytes there is room for.
    pub fn remaining(&self) -> u64 {
        self.0.remaining
    }

    /// How many bytes have been written or passed over: the `len` of the used ring (§2.4.8), if
    /// nothing was passed over that was not written by other means.
    pub fn written(&self) -> u64 {
        self.0.passed
    }

    /// Writes as much of `from` as there is room for. Returns how many bytes.
    pub fn write(&mut self, from: &[u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = from.get(done..).filter(|r| !r.is_empty()) {
            let Some(slice) = self.0.take(rest.len() as u64) else {
                break;
            };
            slice.copy_from(rest);
            done += slice.len();
        }
        done
    }

    /// Passes over `count` bytes, or all that are left if they are fewer: they have been written
    /// through [`slices`](Self::slices). Returns how many.
    pub fn skip(&mut self, count: u64) -> u64 {
        self.0.skip(count)
    }

    /// The next `max` bytes (or all that are left) as pieces of guest memory, none of them empty,
    /// without moving on.
    pub fn slices(&self, max: u64) -> Slices<'a> {
        Slices::new(&self.0, max)
    }
}

/// Pieces of guest memory in the order of the stream; see [`Reader::slices`] and [`Writer::slices`].
#[derive(Clone, Debug)]
pub struct Slices<'a> {
    cursor: Cursor<'a>,
    left: u64,
}

impl<'a> Slices<'a> {
    fn new(cursor: &Cursor<'a>, max: u64) -> Self {
        Slices {
            cursor: cursor.clone(),
            left: max,
        }
    }
}

impl<'a> Iterator for Slices<'a> {
    type Item = VolatileSlice<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let slice = self.cursor.take(self.left)?;
        self.left -= slice.len() as u64;
        Some(slice)
    }
}

/// A position among the buffers of one direction.
#[derive(Clone, Debug)]
struct Cursor<'a> {
    ram: &'a GuestRam,
    /// The buffers from the one with the position on.
    buffers: &'a [Element],
    /// WRITE for device-writable buffers, 0 for device-readable ones.
    direction: u16,
    /// Bytes of the first of `buffers` that lie before the position.
    offset: u32,
    /// Bytes from the position on.
    remaining: u64,
    /// Bytes before the position.
    passed: u64,
}

impl<'a> Cursor<'a> {
    fn new(ram: &'a GuestRam, buffers: &'a [Element], direction: u16) -> Self {
        let remaining = buffers
            .iter()
            .filter(|b| b.flags & desc::WRITE == direction)
            .map(|b| u64::from(b.len))
            .sum();
        Cursor {
            ram,
            buffers,
            direction,
            offset: 0,
            remaining,
            passed: 0,
        }
    }

    /// Moves past the next bytes: at most `max`, and those that lie in one buffer. Returns where they
    /// lie, `None` at the end. Buffers of chains lie in memory; if one does not, the stream ends.
    fn take(&mut self, max: u64) -> Option<VolatileSlice<'a>> {
        if max == 0 {
            return None;
        }
        let (address, len) = self.next_piece(max)?;
        match self.ram.slice(address, len as usize) {
            Some(slice) => {
                self.advance(len);
                Some(slice)
            }
            None => {
                self.buffers = &[];
                self.remaining = 0;
                None
            }
        }
    }

    fn skip(&mut self, count: u64) -> u64 {
        let mut left = count.min(self.remaining);
        let skipped = left;
        while left > 0
            && let Some((_, len)) = self.next_piece(left)
        {
            self.advance(len);
            left -= u64::from(len);
        }
        skipped - left
    }

    /// Address and length of the next bytes that lie in one buffer, at most `max`.
    fn next_piece(&mut self, max: u64) -> Option<(u64, u32)> {
        loop {
            let buffer = self.buffers.first()?;
            let left = buffer.len.saturating_sub(self.offset);
            if buffer.flags & desc::WRITE == self.direction && left > 0 {
                let len = u32::try_from(max).map_or(left, |max| left.min(max));
                return Some((buffer.addr.wrapping_add(u64::from(self.offset)), len));
            }
            self.buffers = self.buffers.get(1..).unwrap_or_default();
            self.offset = 0;
        }
    }

    /// Moves by `len`, which [`next_piece`](Self::next_piece) gave.
    fn advance(&mut self, len: u32) {
        self.offset += len;
        self.remaining = self.remaining.saturating_sub(u64::from(len));
        self.passed += u64::from(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestAddress};

    const RAM: usize = 0x1_0000;

    /// Buffers of the given direction, address and length.
    fn buffers(parts: &[(u16, u64, u32)]) -> Vec<Element> {
        let element = |&(flags, addr, len): &(u16, u64, u32)| Element {
            addr,
            len,
            flags,
            next: 0,
            index: 0,
            indirect: false,
        };
        parts.iter().map(element).collect()
    }

    const R: u16 = 0;
    const W: u16 = desc::WRITE;

    fn ram_with(text: &[(u64, &[u8])]) -> GuestRam {
        let ram = GuestRam::anonymous(RAM);
        for (at, bytes) in text {
            ram.inner()
                .write_slice(bytes, GuestAddress(*at))
                .expect("in memory");
        }
        ram
    }

    fn bytes(ram: &GuestRam, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        ram.inner()
            .read_slice(&mut bytes, GuestAddress(at))
            .expect("in memory");
        bytes
    }

    #[test]
    fn a_reader_reads_over_buffers_however_they_are_cut_and_mixed() {
        let ram = ram_with(&[(0x100, b"he"), (0x200, b"l"), (0x300, b"lo, world")]);
        // Empty buffers may have any address: they lie nowhere.
        let b = buffers(&[
            (R, u64::MAX, 0),
            (R, 0x100, 2),
            (W, 0x400, 100),
            (R, 0x200, 1),
            (R, 0, 0),
            (R, 0x300, 9),
            (W, 0x500, 1),
        ]);
        let mut reader = Reader::new(&ram, &b);
        assert_eq!(reader.remaining(), 12);
        assert_eq!(reader.read_array::<4>(), Some(*b"hell"));
        let mut rest = [0; 100];
        assert_eq!(reader.clone().read(&mut rest), 8);
        assert_eq!(&rest[..8], b"o, world");
        assert_eq!(reader.skip(3), 3);
        assert_eq!(reader.read_array::<6>(), None);
        assert_eq!(reader.read_array::<5>(), Some(*b"world"));
        assert_eq!((reader.remaining(), reader.read(&mut rest)), (0, 0));
        assert_eq!(reader.skip(1), 0);
    }

    #[test]
    fn a_writer_writes_over_buffers_and_nothing_else() {
        let ram = GuestRam::anonymous(RAM);
        let b = buffers(&[(R, 0x100, 8), (W, 0x200, 3), (W, 9, 0), (W, 0x300, 4)]);
        let mut writer = Writer::new(&ram, &b);
        assert_eq!(writer.remaining(), 7);
        assert_eq!(writer.write(b"ab"), 2);
        assert_eq!(writer.write(b"cdefghij"), 5);
        assert_eq!((writer.remaining(), writer.written()), (0, 7));
        assert_eq!(writer.write(b"x"), 0);
        assert_eq!(bytes(&ram, 0x100, 8), [0; 8]);
        assert_eq!(bytes(&ram, 0x200, 4), b"abc\0");
        assert_eq!(bytes(&ram, 0x300, 5), b"defg\0");
    }

    #[test]
    fn slices_begin_at_the_position_and_do_not_move_it() {
        let ram = GuestRam::anonymous(RAM);
        let b = buffers(&[(W, 0x200, 3), (R, 0, 5), (W, 0x300, 4), (W, 0x400, 10)]);
        let mut writer = Writer::new(&ram, &b);
        assert_eq!(writer.skip(1), 1);
        let lens: Vec<usize> = writer.slices(9).map(|s| s.len()).collect();
        assert_eq!(lens, [2, 4, 3]);
        assert_eq!(writer.slices(u64::MAX).map(|s| s.len()).sum::<usize>(), 16);
        assert_eq!(writer.slices(0).count(), 0);
        assert_eq!((writer.remaining(), writer.written()), (16, 1));
    }

    #[test]
    fn a_stream_ends_where_memory_ends() {
        let ram = GuestRam::anonymous(RAM);
        let b = buffers(&[(W, 0x200, 3), (W, RAM as u64 - 1, 2), (W, 0x300, 4)]);
        let mut writer = Writer::new(&ram, &b);
        assert_eq!(writer.write(&[1; 20]), 3);
        assert_eq!((writer.remaining(), writer.written()), (0, 3));
        // The longest buffers a driver can describe.
        let b = buffers(&[(R, 0, u32::MAX), (R, 0, u32::MAX), (R, u64::MAX, u32::MAX)]);
        let mut reader = Reader::new(&ram, &b);
        assert_eq!(reader.remaining(), 3 * u64::from(u32::MAX));
        assert_eq!(reader.skip(u64::MAX), 3 * u64::from(u32::MAX));
        assert_eq!(Reader::new(&ram, &b).read(&mut [0; 7]), 7);
    }
}
