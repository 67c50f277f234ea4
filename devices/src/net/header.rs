//! `struct virtio_net_hdr` (§5.1.6 of virtio 1.0) and its bytes.

use stickler_conformance::event::NetHeader;
use vm_memory::{VolatileMemory, VolatileSlice};

pub use stickler_conformance::device::net::HEADER_LEN as LEN;

/// The header in its bytes.
#[inline]
pub fn decode(bytes: [u8; LEN]) -> NetHeader {
    let [flags, gso_type, a, b, c, d, e, f, g, h, i, j] = bytes;
    NetHeader {
        flags,
        gso_type,
        hdr_len: u16::from_le_bytes([a, b]),
        gso_size: u16::from_le_bytes([c, d]),
        csum_start: u16::from_le_bytes([e, f]),
        csum_offset: u16::from_le_bytes([g, h]),
        num_buffers: u16::from_le_bytes([i, j]),
    }
}

/// The bytes of a header.
#[inline]
pub fn encode(header: &NetHeader) -> [u8; LEN] {
    let [a, b] = header.hdr_len.to_le_bytes();
    let [c, d] = header.gso_size.to_le_bytes();
    let [e, f] = header.csum_start.to_le_bytes();
    let [g, h] = header.csum_offset.to_le_bytes();
    let [i, j] = header.num_buffers.to_le_bytes();
    [header.flags, header.gso_type, a, b, c, d, e, f, g, h, i, j]
}

/// Reads the header at the beginning of `slice`, each of its bytes once; `None` if it is too short.
#[inline(always)]
pub(super) fn read(slice: &VolatileSlice<'_>) -> Option<NetHeader> {
    let low = slice.get_ref::<u64>(0).ok()?.load();
    let high = slice.get_ref::<u32>(8).ok()?.load();
    let mut bytes = [0; LEN];
    let (first, last) = bytes.split_at_mut(8);
    first.copy_from_slice(&low.to_ne_bytes());
    last.copy_from_slice(&high.to_ne_bytes());
    Some(decode(bytes))
}

#[cfg(test)]
mod tests {
    use stickler_conformance::device::net::{flags, gso};

    use super::*;

    #[test]
    fn fields_stand_where_the_specification_has_them() {
        let bytes = [1, 0x84, 0x36, 0, 0xb4, 5, 0x22, 0, 0x10, 0, 2, 1];
        let header = NetHeader {
            flags: flags::NEEDS_CSUM,
            gso_type: gso::TCPV6 | gso::ECN,
            hdr_len: 54,
            gso_size: 1460,
            csum_start: 34,
            csum_offset: 16,
            num_buffers: 0x102,
        };
        assert_eq!(decode(bytes), header);
        assert_eq!(encode(&header), bytes);
    }
}
