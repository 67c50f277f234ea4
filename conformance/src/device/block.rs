//! The block device (§5.2 of virtio 1.0).

use super::{DeviceFacts, FeatureBit};
use crate::layout::{Field, read_only, read_write};

/// The facts that the specification defines about it.
pub(super) static FACTS: DeviceFacts = DeviceFacts {
    id: 2,
    transitional_id: 0x1001,
    // Mass storage controller, other.
    pci_class: 0x01_8000,
    name: "block",
    feature_prefix: "VIRTIO_BLK_F_",
    features: &[
        FeatureBit::new(feature::SIZE_MAX, "SIZE_MAX"),
        FeatureBit::new(feature::SEG_MAX, "SEG_MAX"),
        FeatureBit::new(feature::GEOMETRY, "GEOMETRY"),
        // §5.2.3: a device with a read-only disk has to offer it. §5.2.6.1: a driver should accept it.
        FeatureBit::new(feature::RO, "RO").essential().recommended(),
        FeatureBit::new(feature::BLK_SIZE, "BLK_SIZE"),
        FeatureBit::new(feature::FLUSH, "FLUSH"),
        FeatureBit::new(feature::TOPOLOGY, "TOPOLOGY"),
        // §5.2.5.2: a device that offers CONFIG_WCE offers FLUSH.
        FeatureBit::new(feature::CONFIG_WCE, "CONFIG_WCE").with(feature::FLUSH),
    ],
    config: CONFIG,
    queue_name: |queue, _| match queue {
        REQUESTQ => "requestq".to_owned(),
        other => format!("queue {other}"),
    },
    may_enable_later: |_, _| false,
};

/// The only virtqueue (§5.2.2).
pub const REQUESTQ: u16 = 0;

/// Feature bits (§5.2.3), as masks of the 64-bit feature word.
pub mod feature {
    /// Maximum size of any single segment is in `size_max`.
    pub const SIZE_MAX: u64 = 1 << 1;
    /// Maximum number of segments in a request is in `seg_max`.
    pub const SEG_MAX: u64 = 1 << 2;
    /// Disk-style geometry specified in `geometry`.
    pub const GEOMETRY: u64 = 1 << 4;
    /// Device is read-only.
    pub const RO: u64 = 1 << 5;
    /// Block size of disk is in `blk_size`.
    pub const BLK_SIZE: u64 = 1 << 6;
    /// Cache flush command support.
    pub const FLUSH: u64 = 1 << 9;
    /// Device exports information on optimal I/O alignment.
    pub const TOPOLOGY: u64 = 1 << 10;
    /// Device can toggle its cache between writeback and writethrough modes.
    pub const CONFIG_WCE: u64 = 1 << 11;
}

/// `struct virtio_blk_config` (§5.2.4).
static CONFIG: &[Field] = &[
    read_only("capacity", 0, 8, 0),
    read_only("size_max", 8, 4, feature::SIZE_MAX),
    read_only("seg_max", 12, 4, feature::SEG_MAX),
    read_only("geometry.cylinders", 16, 2, feature::GEOMETRY),
    read_only("geometry.heads", 18, 1, feature::GEOMETRY),
    read_only("geometry.sectors", 19, 1, feature::GEOMETRY),
    read_only("blk_size", 20, 4, feature::BLK_SIZE),
    read_only("topology.physical_block_exp", 24, 1, feature::TOPOLOGY),
    read_only("topology.alignment_offset", 25, 1, feature::TOPOLOGY),
    read_only("topology.min_io_size", 26, 2, feature::TOPOLOGY),
    read_only("topology.opt_io_size", 28, 4, feature::TOPOLOGY),
    read_write("writeback", WRITEBACK, 1, feature::CONFIG_WCE),
];

/// Offset of `writeback` in the configuration (§5.2.4), bytes.
pub const WRITEBACK: u32 = 32;

/// Bytes of a request's header: type and reserved, 32 bits each, and sector, 64 bits (§5.2.6).
pub const HEADER_LEN: usize = 16;

/// Bytes of a sector (§5.2.6). All sector numbers and `capacity` count in these.
pub const SECTOR: u32 = 512;

/// The `type` of requests, 32 bits (§5.2.6).
pub mod kind {
    /// VIRTIO_BLK_T_IN: reads.
    pub const IN: u32 = 0;
    /// VIRTIO_BLK_T_OUT: writes.
    pub const OUT: u32 = 1;
    /// VIRTIO_BLK_T_FLUSH: makes earlier writes stable.
    pub const FLUSH: u32 = 4;
    /// VIRTIO_BLK_T_GET_ID: reads the device's name. 1.0 does not have it, but it is older than 1.0 and
    /// drivers send it (§5.2.6 (1.2)).
    pub const GET_ID: u32 = 8;
}

/// The `status` of requests, 8 bits (§5.2.6).
pub mod status {
    /// VIRTIO_BLK_S_OK: success.
    pub const OK: u8 = 0;
    /// VIRTIO_BLK_S_IOERR: an error of the device or of the driver.
    pub const IOERR: u8 = 1;
    /// VIRTIO_BLK_S_UNSUPP: the device does not support the request.
    pub const UNSUPP: u8 = 2;
}
