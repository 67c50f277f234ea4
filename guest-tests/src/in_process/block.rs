//! Requests of a block device, as a conforming driver makes them (§5.2.6 of virtio 1.0).

pub use stickler_conformance::device::block::{SECTOR, kind};
use stickler_mock_driver::Buffer;

use super::driver::Driver;

/// Bytes of a request's header.
pub const HEADER_LEN: u32 = stickler_conformance::device::block::HEADER_LEN as u32;

impl Driver<'_> {
    /// A header in memory.
    pub fn block_header(&self, kind: u32, sector: u64) -> Buffer {
        let at = self.rig.allocate(u64::from(HEADER_LEN));
        self.put_block_header(at, kind, sector);
        Buffer::readable(at, HEADER_LEN)
    }

    /// Writes a header to `at`.
    pub fn put_block_header(&self, at: u64, kind: u32, sector: u64) {
        let header = u128::from(kind) | u128::from(sector) << 64;
        self.rig.write_bytes(at, &header.to_le_bytes());
    }

    /// A byte for the status, which says that nothing has been written to it yet.
    pub fn block_status(&self) -> Buffer {
        let at = self.rig.allocate(1);
        self.rig.write_bytes(at, &[0xff]);
        Buffer::writable(at, 1)
    }

    /// The buffers of a request with this data.
    pub fn block_request(&self, kind: u32, sector: u64, data: &[Buffer]) -> Vec<Buffer> {
        let mut buffers = vec![self.block_header(kind, sector)];
        buffers.extend(data);
        buffers.push(self.block_status());
        buffers
    }

    /// Makes a request, waits for it and returns its status.
    pub fn block_do(&mut self, kind: u32, sector: u64, data: &[Buffer]) -> u8 {
        let buffers = self.block_request(kind, sector, data);
        self.submit(0, &buffers);
        self.wait_used(0);
        self.block_outcome(&buffers)
    }

    /// The status of a request that has been returned.
    pub fn block_outcome(&self, request: &[Buffer]) -> u8 {
        let status = request.last().expect("a request ends with its status");
        self.rig.read_bytes(status.addr, 1)[0]
    }

    /// Reads a sector.
    pub fn read_sector(&mut self, sector: u64) {
        let at = self.rig.allocate(u64::from(SECTOR));
        let read = self.block_do(kind::IN, sector, &[Buffer::writable(at, SECTOR)]);
        assert_eq!(read, 0);
    }

    /// Writes a sector, flushes if that was negotiated, reads the sector back and compares.
    pub fn write_and_read_back(&mut self, sector: u64, fill: u8) {
        let at = self.rig.allocate(u64::from(SECTOR));
        let data = vec![fill; SECTOR as usize];
        self.rig.write_bytes(at, &data);
        let written = self.block_do(kind::OUT, sector, &[Buffer::readable(at, SECTOR)]);
        assert_eq!(written, 0);
        if self.features & stickler_conformance::features::block::FLUSH != 0 {
            assert_eq!(self.block_do(kind::FLUSH, 0, &[]), 0);
        }
        self.rig.write_bytes(at, &vec![!fill; SECTOR as usize]);
        let read = self.block_do(kind::IN, sector, &[Buffer::writable(at, SECTOR)]);
        assert_eq!(read, 0);
        assert_eq!(self.rig.read_bytes(at, SECTOR as usize), data);
    }
}
