//! How a request is returned to the driver: its status, and what its buffers hold (§5.2.6 of virtio
//! 1.0).

use stickler_conformance::device::block::status;
use stickler_conformance::event::LatitudeEvent;
use stickler_conformance::{Latitude, Witness};
use vm_memory::Bytes;

use super::BYTES_PER_CALL;
use super::disk::Segment;
use super::flight::Kind;
use super::request::Data;
use crate::memory::GuestRam;
use crate::virtio::queue::{BufferId, Queue};

/// Takes requests from the queue's driver and returns them.
pub(super) struct Responder<'a, W> {
    pub(super) ram: &'a GuestRam,
    pub(super) queue: &'a mut Queue,
    pub(super) witness: &'a mut W,
    /// The device does not know how much of a request that fails was written.
    pub(super) loses_count: bool,
}

impl<W: Witness> Responder<'_, W> {
    /// The request was served; what a read was to bring is in its buffers.
    pub(super) fn succeed(&mut self, id: BufferId, status_at: u64, data: &Data, kind: Kind) {
        let whole = kind == Kind::Read || self.fill(&data.writable, &[]);
        self.finish(id, status_at, data, status::OK, whole);
    }

    /// The request was not served.
    pub(super) fn fail(&mut self, id: BufferId, status_at: u64, data: &Data, status: u8) {
        if self.loses_count {
            self.witness
                .see(&LatitudeEvent::Shown(Latitude::UNKNOWN_LEN).into());
            return self.finish(id, status_at, data, status, false);
        }
        let whole = self.fill(&data.writable, &[]);
        self.finish(id, status_at, data, status, whole);
    }

    /// The request was for the device id string (§5.2.6 (1.2)).
    pub(super) fn identify(&mut self, id: BufferId, status_at: u64, data: &Data, string: &[u8]) {
        let whole = self.fill(&data.writable, string);
        self.finish(id, status_at, data, status::OK, whole);
    }

    /// Writes the status byte and returns the chain; `whole` says whether all data buffers were
    /// written.
    fn finish(&mut self, id: BufferId, status_at: u64, data: &Data, status: u8, whole: bool) {
        self.put_status(status_at, status);
        // §2.4.8.2: the first `len` device-writable bytes have been written, no less.
        let len = if whole { sum(&data.writable) + 1 } else { 0 };
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.queue.add_used(id, len, self.witness);
    }

    pub(super) fn put_status(&self, at: u64, status: u8) {
        if let Some(slice) = self.ram.slice(at, 1) {
            slice.copy_from(&[status]);
        }
    }

    /// Writes `start`, as far as there is room, and zeros behind it. A driver may rely on no byte
    /// beyond the used `len` (§2.4.8.3), and `len` counts from the first byte: to tell it of the
    /// status, all data before it has to be written, whatever became of the request. Returns whether
    /// that was done; for more data than a disk would transfer in one piece it is not.
    fn fill(&self, segments: &[Segment], start: &[u8]) -> bool {
        const ZEROS: [u8; 4096] = [0; 4096];
        if sum(segments) > BYTES_PER_CALL {
            return false;
        }
        let mut start = start;
        for s in segments {
            let Some(slice) = self.ram.slice(s.addr, s.len as usize) else {
                return false;
            };
            let (now, later) = start.split_at(start.len().min(slice.len()));
            start = later;
            let mut at = 0;
            while at < slice.len() {
                let from = if at < now.len() {
                    &now[at..]
                } else {
                    &ZEROS[..]
                };
                match slice.write(from, at) {
                    Ok(n) if n > 0 => at += n,
                    _ => return false,
                }
            }
        }
        true
    }
}

/// Bytes in all of `segments`.
fn sum(segments: &[Segment]) -> u64 {
    segments.iter().map(|s| u64::from(s.len)).sum()
}
