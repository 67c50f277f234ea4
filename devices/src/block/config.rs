//! The device-specific configuration of a block device (§5.2.4 of virtio 1.0).

use stickler_conformance::DeviceKind;
use stickler_conformance::features::block as feature;

use super::disk::{Properties, SECTOR};

/// Offset of `capacity`.
pub(super) const CAPACITY: usize = 0;

/// Offset of `writeback`.
pub(super) const WRITEBACK: usize = 32;

/// Bytes of `struct virtio_blk_config` up to and including `writeback`.
pub(super) const LEN: usize = WRITEBACK + 1;

/// Largest segment, bytes (`size_max`): ample for what drivers merge, and small enough that no
/// segment's length ever comes near 32 bits.
const SIZE_MAX: u32 = 1 << 20;

/// Logical block size, bytes (`blk_size`).
const BLK_SIZE: u32 = SECTOR as u32;

/// The features a disk is offered with.
fn features(disk: &Properties) -> u64 {
    // §5.2.5.2: FLUSH should always be offered, and must be with CONFIG_WCE.
    let always = feature::SIZE_MAX
        | feature::SEG_MAX
        | feature::GEOMETRY
        | feature::BLK_SIZE
        | feature::FLUSH
        | feature::TOPOLOGY
        | feature::CONFIG_WCE;
    always | if disk.read_only { feature::RO } else { 0 }
}

/// What the configuration says of the disk after a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Features offered.
    pub(super) features: u64,
    pub(super) capacity: u64,
    pub(super) size_max: u32,
    pub(super) seg_max: u32,
    /// Cylinders, heads and sectors.
    pub(super) geometry: (u16, u8, u8),
    pub(super) blk_size: u32,
    pub(super) physical_block_exp: u8,
    pub(super) alignment_offset: u8,
    pub(super) min_io_size: u16,
    pub(super) opt_io_size: u32,
    pub(super) writeback: u8,
}

impl Shape {
    /// That of `disk`, with a queue of `queue_size`.
    pub(super) fn of(disk: &Properties, queue_size: u16) -> Self {
        let blocks = (disk.physical_block / BLK_SIZE).max(1);
        Shape {
            features: features(disk),
            capacity: disk.capacity,
            size_max: SIZE_MAX,
            // What fits into the queue, with one descriptor for the header and one for the status.
            seg_max: u32::from(queue_size).saturating_sub(2).max(1),
            geometry: geometry(disk.capacity),
            blk_size: BLK_SIZE,
            physical_block_exp: blocks.ilog2() as u8,
            alignment_offset: 0,
            min_io_size: u16::try_from(blocks).unwrap_or(u16::MAX),
            opt_io_size: SIZE_MAX / BLK_SIZE,
            writeback: 1,
        }
    }

    /// The configuration. All fields are little-endian; those without a feature are not there.
    pub(super) fn config(&self) -> [u8; LEN] {
        let (cylinders, heads, sectors) = self.geometry;
        let mut config = [0; LEN];
        let mut put = |offset: usize, bytes: &[u8]| {
            config[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(CAPACITY, &self.capacity.to_le_bytes());
        put(8, &self.size_max.to_le_bytes());
        put(12, &self.seg_max.to_le_bytes());
        put(16, &cylinders.to_le_bytes());
        put(18, &[heads, sectors]);
        put(20, &self.blk_size.to_le_bytes());
        put(24, &[self.physical_block_exp, self.alignment_offset]);
        put(26, &self.min_io_size.to_le_bytes());
        put(28, &self.opt_io_size.to_le_bytes());
        put(WRITEBACK, &[self.writeback]);
        DeviceKind::Block.clear_absent_fields(&mut config, self.features);
        config
    }
}

/// Cylinders, heads and sectors of a disk of `capacity` sectors, as an ATA disk would state them:
/// the largest that fit, none of them 0.
fn geometry(capacity: u64) -> (u16, u8, u8) {
    const SECTORS: u64 = 63;
    let heads = match capacity / SECTORS {
        0 => return (1, 1, capacity.max(1) as u8),
        tracks @ 1..16 => tracks,
        tracks if tracks / 16 <= u64::from(u16::MAX) => 16,
        _ => 255,
    };
    let cylinders = u16::try_from(capacity / (SECTORS * heads)).unwrap_or(u16::MAX);
    (cylinders, heads as u8, SECTORS as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(capacity: u64) -> Properties {
        Properties {
            capacity,
            read_only: false,
            physical_block: 4096,
            id: [0; 20],
        }
    }

    /// Reads a field by the name that the conformance crate gives it.
    fn field(config: &[u8], name: &str) -> u64 {
        let f = DeviceKind::Block
            .config_fields()
            .iter()
            .find(|f| f.name == name)
            .unwrap();
        let start = f.offset as usize;
        let mut le = [0; 8];
        le[..usize::from(f.width)].copy_from_slice(&config[start..start + usize::from(f.width)]);
        u64::from_le_bytes(le)
    }

    #[test]
    fn fields_stand_where_the_layout_says() {
        let c = Shape::of(&disk(0x1_2345_6789), 256).config();
        assert_eq!(field(&c, "capacity"), 0x1_2345_6789);
        assert_eq!(field(&c, "size_max"), 1 << 20);
        assert_eq!(field(&c, "seg_max"), 254);
        assert_eq!(field(&c, "blk_size"), 512);
        assert_eq!(field(&c, "topology.physical_block_exp"), 3);
        assert_eq!(field(&c, "topology.alignment_offset"), 0);
        assert_eq!(field(&c, "topology.min_io_size"), 8);
        assert_eq!(field(&c, "topology.opt_io_size"), 2048);
        assert_eq!(field(&c, "writeback"), 1);
        let last = DeviceKind::Block.config_fields().last().unwrap();
        assert_eq!((last.offset + last.len()) as usize, LEN);
    }

    #[test]
    fn geometry_is_that_of_a_disk_and_never_larger_than_it() {
        let c = Shape::of(&disk(2048 * 1024), 256).config();
        assert_eq!(field(&c, "geometry.cylinders"), 2080);
        assert_eq!(field(&c, "geometry.heads"), 16);
        assert_eq!(field(&c, "geometry.sectors"), 63);
        for capacity in [1, 62, 63, 64, 1007, 1008, 66_059_279, 66_060_288, 1 << 40] {
            let (c, h, s) = geometry(capacity);
            assert!(c > 0 && h > 0 && s > 0, "{capacity}");
            assert!(u64::from(c) * u64::from(h) * u64::from(s) <= capacity);
        }
        assert_eq!(geometry(u64::MAX), (u16::MAX, 255, 63));
    }

    #[test]
    fn a_tiny_queue_still_has_a_segment() {
        assert_eq!(Shape::of(&disk(8), 1).seg_max, 1);
        assert_eq!(Shape::of(&disk(8), 4).seg_max, 2);
    }
}
