//! Numbers of the block device (§5.2).

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
