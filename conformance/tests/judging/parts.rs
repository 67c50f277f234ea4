//! What the moves of a [play](crate::play) are made of: accesses, descriptor chains, requests.

use stickler_conformance::event::{
    BlockHeader, BlockRequest, Buffer, BufferId, ChainEnd, Element, QueueSetup, Register,
    SplitSetup,
};
use stickler_conformance::layout::{Structure, desc};

pub fn register(structure: Structure, offset: u32, width: u8, value: u64) -> Register {
    Register {
        structure,
        offset,
        width,
        value,
    }
}

/// Descriptors in each queue.
pub const SIZE: u16 = 16;
/// The size the device presents.
pub const MAX_SIZE: u16 = 64;

/// `mac` of the network device.
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// `capacity` of the block device.
pub const CAPACITY: u64 = 2048;

/// One unicast address, and two multicast ones.
pub const MAC_TABLES: &[u8] = &[
    1, 0, 0, 0, 2, 0, 0, 0, 0, 7, // unicast
    2, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1, 0x33, 0x33, 0, 0, 0, 1, // multicast
];

/// Where a conforming driver puts queue `index`.
pub fn setup(index: u16) -> QueueSetup {
    let base = 0x10_0000 + u64::from(index) * 0x1_0000;
    QueueSetup {
        size: SIZE,
        max: MAX_SIZE,
        descriptor: base,
        driver: base + 0x4000,
        device: base + 0x8000,
        enabled: false,
        split: Some(SplitSetup {
            used_flags: 0,
            used_idx: 0,
        }),
        in_memory: true,
    }
}

/// A part of a buffer: its length, and its flags but NEXT.
pub type Part = (u32, u16);

/// A device-readable buffer.
pub const fn r(len: u32) -> Part {
    (len, 0)
}

/// A device-writable buffer.
pub const fn w(len: u32) -> Part {
    (len, desc::WRITE)
}

/// Descriptors from `head` on, each followed by the next.
pub fn chain(head: u16, buffers: &[Part]) -> Vec<Element> {
    let last = buffers.len() - 1;
    let element = |(i, (len, flags)): (usize, &Part)| {
        let index = head + i as u16;
        let next = if i < last { desc::NEXT } else { 0 };
        Element {
            addr: 0x20_0000 + 0x1000 * u64::from(index),
            len: *len,
            flags: flags | next,
            next: index + 1,
            index,
            indirect: false,
        }
    };
    buffers.iter().enumerate().map(element).collect()
}

/// A chain from `head` on that ends in an indirect table of `buffers`.
pub fn indirect_chain(head: u16, buffers: &[Part]) -> Vec<Element> {
    let table = chain(0, buffers).into_iter().map(|e| Element {
        indirect: true,
        ..e
    });
    let len = desc::LEN * buffers.len() as u32;
    let referrer = Element {
        next: 0,
        ..chain(head, &[(len, desc::INDIRECT)])[0]
    };
    [referrer].into_iter().chain(table).collect()
}

/// The chain `elements` of `queue`, whose walk ended with `end`.
pub fn exposed<'a>(queue: u16, elements: &'a [Element], end: &'a ChainEnd) -> Buffer<'a> {
    let bytes = |direction: u16| {
        let parts = elements.iter().filter(|e| e.flags & desc::INDIRECT == 0);
        let parts = parts.filter(|e| e.flags & desc::WRITE == direction);
        parts.map(|e| u64::from(e.len)).sum()
    };
    Buffer {
        queue,
        size: SIZE,
        id: BufferId(elements.first().map_or(SIZE, |e| e.index)),
        elements,
        end,
        readable: bytes(0),
        writable: bytes(desc::WRITE),
        in_flight: false,
    }
}

/// A block request with all its parts.
pub fn request(kind: u32, sector: u64, readable: u64, writable: u64) -> BlockRequest {
    let data = readable + writable;
    BlockRequest {
        queue: 0,
        header: Some(BlockHeader {
            kind,
            reserved: 0,
            sector,
        }),
        readable,
        writable,
        has_status: true,
        capacity: CAPACITY,
        segments: u32::from(data > 0),
        longest_segment: data as u32,
        seg_max: 4,
        size_max: 4096,
    }
}
