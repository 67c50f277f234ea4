//! Takes the descriptor chain of a request apart (§5.2.6 of virtio 1.0).

use stickler_conformance::device::block::HEADER_LEN;
use stickler_conformance::event::{BlockHeader, Element};
use stickler_conformance::layout::desc;

use super::disk::Segment;
use crate::memory::GuestRam;

/// The data of a request.
#[derive(Debug, Default)]
pub(super) struct Data {
    /// Device-readable segments behind the header.
    pub(super) readable: Vec<Segment>,
    /// Device-writable segments before the status byte.
    pub(super) writable: Vec<Segment>,
}

/// What a request consists of, besides its [`Data`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// `None` if the device-readable part is too short for a header.
    pub(super) header: Option<BlockHeader>,
    /// Guest-physical address of the status byte, the last device-writable one; `None` if no byte is
    /// device-writable.
    pub(super) status: Option<u64>,
    /// Bytes of device-readable data.
    pub(super) readable: u64,
    /// Bytes of device-writable data.
    pub(super) writable: u64,
    /// Length of the longest segment of data, bytes.
    pub(super) longest: u32,
}

/// Takes `buffers` apart. §2.4.4.1: nothing is assumed of how header, data and status are arranged
/// into descriptors; they are found by counting bytes. `data` is overwritten.
pub(super) fn parse(ram: &GuestRam, buffers: &[Element], data: &mut Data) -> Request {
    let Data { readable, writable } = data;
    readable.clear();
    writable.clear();
    let mut header = [0; HEADER_LEN];
    let mut have = 0;
    for b in buffers {
        if b.flags & desc::WRITE != 0 {
            if b.len > 0 {
                writable.push(Segment {
                    addr: b.addr,
                    len: b.len,
                });
            }
            continue;
        }
        let mut part = 0;
        if have < HEADER_LEN {
            part = (HEADER_LEN - have).min(b.len as usize);
            if let Some(slice) = ram.slice(b.addr, part) {
                slice.copy_to(&mut header[have..have + part]);
            }
            have += part;
        }
        if b.len as usize > part {
            readable.push(Segment {
                addr: b.addr.wrapping_add(part as u64),
                len: b.len - part as u32,
            });
        }
    }
    let mut status = None;
    if let Some(last) = writable.last_mut() {
        last.len -= 1;
        status = Some(last.addr.wrapping_add(u64::from(last.len)));
        if last.len == 0 {
            writable.pop();
        }
    }
    let total = |segments: &[Segment]| segments.iter().map(|s| u64::from(s.len)).sum();
    let longest = |segments: &[Segment]| segments.iter().map(|s| s.len).max().unwrap_or(0);
    Request {
        header: (have == HEADER_LEN).then(|| decode(&header)),
        status,
        readable: total(readable),
        writable: total(writable),
        longest: longest(readable).max(longest(writable)),
    }
}

fn decode(header: &[u8; HEADER_LEN]) -> BlockHeader {
    let all = u128::from_le_bytes(*header);
    BlockHeader {
        kind: all as u32,
        reserved: (all >> 32) as u32,
        sector: (all >> 64) as u64,
    }
}
