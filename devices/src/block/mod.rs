//! The block device (§5.2).
//!
//! * [`disk`]: the interface to what stands behind the device.
//! * `config`: what the driver reads of the disk (§5.2.3, §5.2.4).
//! * `request`: how a descriptor chain becomes a request (§5.2.6).
//! * `latitude`: what the device does otherwise where it makes use of latitudes.
//! * `flight`: requests that wait for the disk, and how flushes keep behind writes.
//!
//! Requests are served as they come and returned as they complete, in whatever order.

#![forbid(unsafe_code)]

mod config;
pub mod disk;
mod flight;
mod latitude;
mod request;
#[cfg(test)]
mod tests;

use std::os::fd::RawFd;

use stickler_conformance::event::{BlockRequest, DataEvent, LatitudeEvent};
use stickler_conformance::features::block as feature;
use stickler_conformance::protocol::block::{kind, status};
use stickler_conformance::{DeviceKind, Latitude, Latitudes, Witness};
use vm_memory::Bytes;

use crate::memory::GuestRam;
use crate::virtio::queue::{BufferId, Queue};
use crate::virtio::{Io, Progress, Signals, VirtioDevice};
use config::Shape;
use disk::{Disk, Operation, Properties, SECTOR, Segment, Submitted};
use flight::{Barriers, Flights, Kind};
use latitude::{Liberties, Served};
use request::{Data, Request};

/// The one virtqueue (§5.2.2).
const REQUESTQ: u16 = 0;

/// The queue's size unless another is asked for.
const QUEUE_SIZE: u16 = 256;

/// Requests taken, and requests completed, in one call.
const REQUESTS_PER_CALL: u32 = 64;

/// Bytes moved while the driver's vCPU may wait for the device, in one call and for one request that
/// fails.
const BYTES_PER_CALL: u64 = 4 << 20;

/// A block device with a disk behind it.
pub struct Block<D> {
    disk: D,
    properties: Properties,
    queue_sizes: [u16; 1],
    /// What the configuration is after a reset.
    shape: Shape,
    config: [u8; config::LEN],
    liberties: Liberties,
    /// Features negotiated.
    negotiated: u64,
    flights: Flights,
    barriers: Barriers,
    /// The data of the request being taken; kept for its allocations.
    data: Data,
    /// The queue cannot be worked any more.
    broken: bool,
}

impl<D: Disk> Block<D> {
    /// A device for `disk`.
    pub fn new(disk: D) -> Self {
        Block::with_queue_size(disk, QUEUE_SIZE)
    }

    /// A device for `disk` whose queue has `queue_size` descriptors, a power of two to 32768.
    pub fn with_queue_size(disk: D, queue_size: u16) -> Self {
        let properties = disk.properties();
        let shape = Shape::of(&properties, queue_size);
        Block {
            disk,
            properties,
            queue_sizes: [queue_size],
            shape,
            config: shape.config(),
            liberties: Liberties::none(&properties),
            negotiated: 0,
            flights: Flights::new(queue_size),
            barriers: Barriers::default(),
            data: Data::default(),
            broken: false,
        }
    }
}

impl<D: Disk, W: Witness> VirtioDevice<W> for Block<D> {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Block
    }

    fn set_latitudes(&mut self, latitudes: Latitudes, slot: u8) {
        self.liberties = Liberties::new(latitudes, slot, &self.properties);
        self.liberties.form(latitudes, slot, &mut self.shape);
        self.config = self.shape.config();
    }

    fn features(&self) -> u64 {
        self.shape.features
    }

    fn offer(&mut self, offered: u64) {
        self.shape.features &= offered;
        self.config = self.shape.config();
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn write_config(&mut self, offset: u32, data: &[u8], _io: &mut Io<'_, W>) {
        // §5.2.6.1: with CONFIG_WCE the driver sets the cache mode, to 0 or 1; no other value has a
        // meaning, and no other field can be written.
        let index = config::WRITEBACK.checked_sub(offset as usize);
        if let Some(&value @ 0..=1) = index.and_then(|i| data.get(i))
            && self.negotiated & feature::CONFIG_WCE != 0
        {
            self.config[config::WRITEBACK] = value;
        }
    }

    fn negotiated(&mut self, features: u64) {
        self.negotiated = features;
        // §5.2.5.2: with CONFIG_WCE and without FLUSH the mode is writethrough to begin with.
        if features & feature::CONFIG_WCE != 0 && features & feature::FLUSH == 0 {
            self.config[config::WRITEBACK] = 0;
        }
    }

    fn config_before_change(&self, offset: u32, data: &mut [u8]) {
        // The low half of a capacity that was smaller.
        if offset as usize == config::CAPACITY
            && let Ok(low) = <&mut [u8; 4]>::try_from(data)
        {
            let before = u32::from_le_bytes(*low).saturating_sub(8);
            *low = before.to_le_bytes();
        }
    }

    fn essential_features(&self) -> u64 {
        // A disk that cannot be written has to say so (§5.2.3).
        feature::RO
    }

    fn complete_offer(&self, offered: u64) -> u64 {
        // §5.2.5.2: no CONFIG_WCE without FLUSH.
        let cache = feature::CONFIG_WCE | feature::FLUSH;
        if offered & cache == feature::CONFIG_WCE {
            offered & !cache
        } else {
            offered
        }
    }

    fn activate(&mut self, io: &mut Io<'_, W>) {
        self.liberties.activate(self.negotiated, io.witness);
    }

    fn reset(&mut self) {
        self.disk.cancel();
        let [queue_size] = self.queue_sizes;
        self.config = self.shape.config();
        self.liberties.reset();
        self.negotiated = 0;
        self.flights = Flights::new(queue_size);
        self.barriers = Barriers::default();
        self.broken = false;
    }

    fn notified(&mut self, queue: u16, io: &mut Io<'_, W>) -> Progress {
        match queue {
            REQUESTQ => self.serve(io),
            _ => Progress::Done,
        }
    }

    fn host_fds(&self) -> Vec<RawFd> {
        vec![self.disk.completion_fd()]
    }

    fn host_ready(&mut self, _index: usize, io: &mut Io<'_, W>) -> Progress {
        self.disk.acknowledge();
        self.serve(io)
    }
}

impl<D: Disk> Block<D> {
    /// Takes what is available and returns what is complete.
    fn serve<W: Witness>(&mut self, io: &mut Io<'_, W>) -> Progress {
        let Some(queue) = io
            .queues
            .get_mut(usize::from(REQUESTQ))
            .and_then(Option::as_mut)
        else {
            return Progress::Done;
        };
        let mut line = Line {
            ram: io.ram,
            queue,
            witness: io.witness,
            loses_count: self.liberties.loses_count(),
        };
        let taken = self.take_available(&mut line, io.signals);
        let stalled = self.flights.is_full();
        self.disk.start();
        // Some disks are quick, and what ends now needs no second call.
        let returned = self.return_completed(&mut line);
        if line.queue.publish() {
            io.signals.used(REQUESTQ);
        }
        let goes_on = stalled && !self.flights.is_full();
        match (taken, returned) {
            (Progress::Done, Progress::Done) if !goes_on => Progress::Done,
            _ => Progress::More,
        }
    }

    fn take_available<W: Witness>(
        &mut self,
        line: &mut Line<'_, W>,
        signals: &mut Signals,
    ) -> Progress {
        if self.broken {
            return Progress::Done;
        }
        line.queue.want_notifications(false);
        let mut bytes = 0;
        for _ in 0..REQUESTS_PER_CALL {
            if self.flights.is_full() {
                // Goes on when a request completes; until then notifications are of no use.
                return Progress::Done;
            }
            if bytes >= BYTES_PER_CALL {
                return Progress::More;
            }
            let (id, request) = match line.queue.pop(line.ram, line.witness) {
                Ok(Some(chain)) => (
                    chain.id,
                    request::parse(line.ram, chain.buffers, &mut self.data),
                ),
                Ok(None) => {
                    if line.queue.want_notifications(true) {
                        continue;
                    }
                    return Progress::Done;
                }
                Err(_) => {
                    self.broken = true;
                    signals.needs_reset = true;
                    return Progress::Done;
                }
            };
            if W::JUDGING {
                line.witness
                    .see(&DataEvent::BlockRequest(self.told(&request)).into());
            }
            bytes = bytes.saturating_add(request.readable + request.writable);
            if let Some(capacity) = self.liberties.changed_capacity(line.witness) {
                self.config[config::CAPACITY..8].copy_from_slice(&capacity.to_le_bytes());
                signals.config_changed = true;
            }
            self.begin(line, id, &request);
        }
        Progress::More
    }

    /// The request as an event.
    fn told(&self, request: &Request) -> BlockRequest {
        BlockRequest {
            queue: REQUESTQ,
            header: request.header,
            readable: request.readable,
            writable: request.writable,
            has_status: request.status.is_some(),
            // Who has not seen it shrink yet does no wrong.
            capacity: self.liberties.reach,
            segments: (self.data.readable.len() + self.data.writable.len()) as u32,
            longest_segment: request.longest,
            seg_max: self.shape.seg_max,
            size_max: self.shape.size_max,
        }
    }

    /// Serves a request, as far as that is possible at once.
    fn begin<W: Witness>(&mut self, line: &mut Line<'_, W>, id: BufferId, request: &Request) {
        // Without a byte for the status nobody could be told whether the request was served.
        let Some(status_at) = request.status else {
            return line.queue.add_used(id, 0, line.witness);
        };
        let Some(header) = request.header else {
            line.put_status(status_at, status::IOERR);
            return line.queue.add_used(id, 0, line.witness);
        };
        let Some(token) = self.flights.next_token() else {
            return line.fail(id, status_at, &self.data, status::IOERR);
        };
        let stable = self.writes_are_stable();
        // §5.2.6
        let (kind, operation) = match header.kind {
            kind::GET_ID if self.liberties.refuses_id(line.witness) => {
                return line.fail(id, status_at, &self.data, status::UNSUPP);
            }
            kind::IN => match self.offset(header.sector, request.writable) {
                None => return line.fail(id, status_at, &self.data, status::IOERR),
                Some(_) if request.writable == 0 => {
                    return line.succeed(id, status_at, &self.data, Kind::Read);
                }
                Some(offset) => {
                    let into = &self.data.writable[..];
                    (Kind::Read, Operation::Read { offset, into })
                }
            },
            // §5.2.6.2: with RO offered, writes fail and nothing is written.
            kind::OUT if self.properties.read_only || self.liberties.is_read_only() => {
                return line.fail(id, status_at, &self.data, status::IOERR);
            }
            kind::OUT => match self.offset(header.sector, request.readable) {
                None => return line.fail(id, status_at, &self.data, status::IOERR),
                Some(_) if request.readable == 0 => {
                    let epoch = 0;
                    return line.succeed(id, status_at, &self.data, Kind::Write { epoch });
                }
                Some(offset) => {
                    let from = &self.data.readable[..];
                    let epoch = self.barriers.epoch();
                    let operation = Operation::Write {
                        offset,
                        from,
                        stable,
                    };
                    (Kind::Write { epoch }, operation)
                }
            },
            kind::FLUSH if self.barriers.must_wait() => {
                self.flights
                    .insert(Kind::Flush, id, status_at, &mut self.data);
                return self.barriers.wait(token);
            }
            kind::FLUSH => (Kind::Flush, Operation::Flush),
            kind::GET_ID => return line.identify(id, status_at, &self.data, &self.properties.id),
            _ => return line.fail(id, status_at, &self.data, status::UNSUPP),
        };
        let rest;
        let operation = match self.liberties.serve(line.ram, &operation, line.witness) {
            Served::Nothing => operation,
            Served::All => return line.succeed(id, status_at, &self.data, kind),
            Served::Failed => return line.fail(id, status_at, &self.data, status::IOERR),
            Served::Rest(segments) => {
                rest = segments;
                operation.with(&rest)
            }
        };
        match self.disk.submit(line.ram, token, operation) {
            Submitted::Done(Ok(())) => line.succeed(id, status_at, &self.data, kind),
            Submitted::Done(Err(_)) => line.fail(id, status_at, &self.data, status::IOERR),
            Submitted::Pending => {
                if let Kind::Write { .. } = kind {
                    self.barriers.write_submitted();
                }
                self.flights.insert(kind, id, status_at, &mut self.data);
            }
        }
    }

    /// Byte offset of `len` bytes from `sector` on, if they are whole sectors within the capacity.
    fn offset(&self, sector: u64, len: u64) -> Option<u64> {
        let end = sector.checked_add(len / SECTOR)?;
        if !len.is_multiple_of(SECTOR) || end > self.liberties.reach {
            return None;
        }
        sector.checked_mul(SECTOR)
    }

    /// Whether a write has to be on persistent storage when it completes (§5.2.6.2).
    fn writes_are_stable(&self) -> bool {
        // Case 1 is that of neither feature. With CONFIG_WCE and without FLUSH a driver could choose
        // writeback, but never make a write stable; so we do it then, too.
        let no_flush = self.negotiated & feature::FLUSH == 0;
        // Case 2.
        let writethrough =
            self.negotiated & feature::CONFIG_WCE != 0 && self.config[config::WRITEBACK] == 0;
        no_flush || writethrough
    }

    fn return_completed<W: Witness>(&mut self, line: &mut Line<'_, W>) -> Progress {
        if self.flights.is_empty() {
            return Progress::Done;
        }
        for _ in 0..REQUESTS_PER_CALL {
            let Some(completion) = self.disk.next_completion() else {
                return Progress::Done;
            };
            self.complete(line, completion.token, completion.result.is_ok());
            while let Some(token) = self.barriers.ready() {
                match self.disk.submit(line.ram, token, Operation::Flush) {
                    Submitted::Done(result) => self.complete(line, token, result.is_ok()),
                    Submitted::Pending => self.disk.start(),
                }
            }
        }
        Progress::More
    }

    fn complete<W: Witness>(&mut self, line: &mut Line<'_, W>, token: u16, ok: bool) {
        let Some(flight) = self.flights.remove(token) else {
            return;
        };
        if let Kind::Write { epoch } = flight.kind {
            self.barriers.write_completed(epoch);
        }
        if ok {
            line.succeed(flight.id, flight.status, &flight.data, flight.kind);
        } else {
            line.fail(flight.id, flight.status, &flight.data, status::IOERR);
        }
        self.flights.recycle(flight.data);
    }
}

/// The way back to the driver.
struct Line<'a, W> {
    ram: &'a GuestRam,
    queue: &'a mut Queue,
    witness: &'a mut W,
    /// Of a request that fails nobody knows what was written.
    loses_count: bool,
}

impl<W: Witness> Line<'_, W> {
    /// The request was served; what a read was to bring is in its buffers.
    fn succeed(&mut self, id: BufferId, status_at: u64, data: &Data, kind: Kind) {
        let whole = kind == Kind::Read || self.fill(&data.writable, &[]);
        self.finish(id, status_at, data, status::OK, whole);
    }

    /// The request was not served.
    fn fail(&mut self, id: BufferId, status_at: u64, data: &Data, status: u8) {
        if self.loses_count {
            self.witness
                .see(&LatitudeEvent::Shown(Latitude::UNKNOWN_LEN).into());
            return self.finish(id, status_at, data, status, false);
        }
        let whole = self.fill(&data.writable, &[]);
        self.finish(id, status_at, data, status, whole);
    }

    /// The request was for the device id string (§5.2.6 (1.2)).
    fn identify(&mut self, id: BufferId, status_at: u64, data: &Data, string: &[u8]) {
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

    fn put_status(&self, at: u64, status: u8) {
        if let Some(slice) = self.ram.slice(at, 1) {
            slice.copy_from(&[status]);
        }
    }

    /// Writes `start`, as far as there is room, and zeros behind it. A driver may rely on no byte
    /// beyond the used `len` (§2.4.8.3), and `len` counts from the first byte: to tell it of the
    /// status, all data before it has to be written, whatever became of the request. Gives whether
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
