//! Where the parts of a split virtqueue are (§2.4 of virtio 1.0).

use std::ops::Range;

use stickler_conformance::layout::desc;

/// Bytes of `flags` and `idx`, before the entries of either ring.
const RING_HEADER: u64 = 4;
/// Bytes of `used_event` or `avail_event`, behind them.
const RING_EVENT: u64 = 2;
/// Bytes of an entry of the available ring: a head.
const AVAIL_ENTRY: u64 = 2;
/// Bytes of an entry of the used ring: a head and a length, 32 bits each.
const USED_ENTRY: u64 = 8;

/// Where the parts of a split virtqueue are. Addresses are guest-physical. Positions count on and on,
/// as `idx` does, and wrap around at the queue's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitLayout {
    /// Number of descriptors.
    pub size: u16,
    /// Address of the descriptor table (§2.4.5).
    pub desc: u64,
    /// Address of the available ring (§2.4.6).
    pub avail: u64,
    /// Address of the used ring (§2.4.8).
    pub used: u64,
}

impl SplitLayout {
    /// A queue of `size` descriptors from `base` on, with at least `gap` unused bytes before each of
    /// its parts, and each part aligned (§2.4). It needs [`SplitLayout::room`].
    pub const fn lay_out(base: u64, gap: u64, size: u16) -> Self {
        let desc = (base + gap).next_multiple_of(16);
        let avail = (desc + descriptor_at(0, size) + gap).next_multiple_of(2);
        let used = (avail + avail_len(size) + gap).next_multiple_of(4);
        SplitLayout {
            size,
            desc,
            avail,
            used,
        }
    }

    /// Bytes that [`SplitLayout::lay_out`] needs.
    pub const fn room(gap: u64, size: u16) -> u64 {
        let parts = descriptor_at(0, size) + avail_len(size) + used_len(size);
        // Each part may have to be moved to be aligned.
        parts + 3 * (gap + 16)
    }

    /// Address of descriptor `index`. It may be outside the table.
    pub const fn descriptor(&self, index: u16) -> u64 {
        descriptor_at(self.desc, index)
    }

    /// Address of `flags` of the available ring, 16 bits.
    pub const fn avail_flags(&self) -> u64 {
        self.avail
    }

    /// Address of `idx` of the available ring, 16 bits.
    pub const fn avail_idx(&self) -> u64 {
        self.avail + 2
    }

    /// Address of the available ring's entry for `position`: a head, 16 bits.
    pub const fn avail_entry(&self, position: u16) -> u64 {
        self.avail + RING_HEADER + AVAIL_ENTRY * (position % self.size) as u64
    }

    /// Address of `used_event`, 16 bits (§2.4.7).
    pub const fn used_event(&self) -> u64 {
        self.avail + avail_len(self.size) - RING_EVENT
    }

    /// Address of `flags` of the used ring, 16 bits.
    pub const fn used_flags(&self) -> u64 {
        self.used
    }

    /// Address of `idx` of the used ring, 16 bits.
    pub const fn used_idx(&self) -> u64 {
        self.used + 2
    }

    /// Address of the used ring's entry for `position`: a head and behind it a length, 32 bits each.
    pub const fn used_entry(&self, position: u16) -> u64 {
        self.used + RING_HEADER + USED_ENTRY * (position % self.size) as u64
    }

    /// Address of `avail_event`, 16 bits (§2.4.9).
    pub const fn avail_event(&self) -> u64 {
        self.used + used_len(self.size) - RING_EVENT
    }

    /// The used ring, `avail_event` included.
    pub const fn used_ring(&self) -> Range<u64> {
        self.used..self.used + used_len(self.size)
    }
}

/// Address of descriptor `index` of the table at `table`, which may be an indirect one.
pub const fn descriptor_at(table: u64, index: u16) -> u64 {
    table + desc::LEN as u64 * index as u64
}

const fn avail_len(size: u16) -> u64 {
    RING_HEADER + AVAIL_ENTRY * size as u64 + RING_EVENT
}

const fn used_len(size: u16) -> u64 {
    RING_HEADER + USED_ENTRY * size as u64 + RING_EVENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_specification_has_them() {
        let layout = SplitLayout {
            size: 8,
            desc: 0x1000,
            avail: 0x2000,
            used: 0x3000,
        };
        assert_eq!(layout.descriptor(3), 0x1030);
        assert_eq!(layout.avail_flags(), 0x2000);
        assert_eq!(layout.avail_idx(), 0x2002);
        assert_eq!(
            [7, 8, 9].map(|p| layout.avail_entry(p)),
            [0x2012, 0x2004, 0x2006]
        );
        assert_eq!(layout.used_event(), 0x2014);
        assert_eq!(layout.used_flags(), 0x3000);
        assert_eq!(layout.used_idx(), 0x3002);
        assert_eq!(
            [7, 8, 9].map(|p| layout.used_entry(p)),
            [0x303c, 0x3004, 0x300c]
        );
        assert_eq!(layout.avail_event(), 0x3044);
        assert_eq!(layout.used_ring(), 0x3000..0x3046);
    }

    #[test]
    fn parts_are_aligned_apart_and_in_the_room_they_need() {
        for size in [1, 2, 8, 64, 1024] {
            for gap in [0, 1, 7, 100] {
                for base in [0x1000, 0x1001, 0x100f] {
                    let SplitLayout {
                        desc, avail, used, ..
                    } = SplitLayout::lay_out(base, gap, size);
                    assert_eq!((desc % 16, avail % 2, used % 4), (0, 0, 0));
                    assert!(desc >= base + gap);
                    assert!(avail >= desc + 16 * u64::from(size) + gap);
                    assert!(used >= avail + 6 + 2 * u64::from(size) + gap);
                    let end = used + 6 + 8 * u64::from(size);
                    assert!(end <= base + SplitLayout::room(gap, size));
                }
            }
        }
    }
}
