//! The block device (§5.2 of virtio 1.0).
//!
//! * [`disk`]: the interface to what stands behind the device.
//! * `config`: what the driver reads of the disk (§5.2.3, §5.2.4).
//! * `request`: how a descriptor chain becomes a request (§5.2.6).
//! * `latitude`: the latitudes that the device makes use of.
//! * `respond`: how a request is returned, with its status and its data.
//! * `flight`: requests that wait for the disk, and how flushes keep behind writes.
//!
//! Requests are served as they come and returned as they complete, in whatever order.

#![forbid(unsafe_code)]

mod config;
pub mod disk;
mod flight;
mod latitude;
mod request;
mod respond;
#[cfg(test)]
mod tests;

use std::os::fd::RawFd;

use stickler_conformance::device::block::{kind, status};
use stickler_conformance::event::{BlockRequest, DataEvent};
use stickler_conformance::features::block as feature;
use stickler_conformance::{DeviceKind, Latitudes, Witness};

use crate::virtio::queue::BufferId;
use crate::virtio::{Io, Progress, Signals, VirtioDevice};
use config::Shape;
use disk::{Disk, Operation, Properties, SECTOR, Submitted};
use flight::{Barriers, Flights, Kind};
use latitude::{BlockLatitudes, Served};
use request::{Data, Request};
use respond::Responder;

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
    latitudes: BlockLatitudes,
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
            latitudes: BlockLatitudes::none(&properties),
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
        self.latitudes = BlockLatitudes::new(latitudes, slot, &self.properties);
        self.latitudes.form(latitudes, slot, &mut self.shape);
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

    fn activate(&mut self, io: &mut Io<'_, W>) {
        self.latitudes.activate(self.negotiated, io.witness);
    }

    fn reset(&mut self) {
        // Every field is named, so that a new one is not forgotten.
        let Block {
            disk,
            properties: _,
            queue_sizes: [queue_size],
            shape,
            config,
            latitudes,
            negotiated,
            flights,
            barriers,
            data: _,
            broken,
        } = self;
        disk.cancel();
        *config = shape.config();
        latitudes.reset();
        *negotiated = 0;
        *flights = Flights::new(*queue_size);
        *barriers = Barriers::default();
        *broken = false;
    }

    fn is_resetting(&mut self) -> bool {
        !self.disk.is_quiet()
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
        let mut responder = Responder {
            ram: io.ram,
            queue,
            witness: io.witness,
            loses_count: self.latitudes.loses_count(),
        };
        let taken = self.take_available(&mut responder, io.signals);
        let stalled = self.flights.is_full();
        self.disk.start();
        // Some disks are quick, and what ends now needs no second call.
        let returned = self.return_completed(&mut responder);
        if responder.queue.publish() {
            io.signals.used(REQUESTQ);
        }
        let goes_on = stalled && !self.flights.is_full() || self.disk.is_stalled();
        match (taken, returned) {
            (Progress::Done, Progress::Done) if !goes_on => Progress::Done,
            _ => Progress::More,
        }
    }

    fn take_available<W: Witness>(
        &mut self,
        responder: &mut Responder<'_, W>,
        signals: &mut Signals,
    ) -> Progress {
        if self.broken {
            return Progress::Done;
        }
        responder.queue.want_notifications(false);
        let mut bytes = 0;
        for _ in 0..REQUESTS_PER_CALL {
            if self.flights.is_full() {
                // Goes on when a request completes; until then notifications are of no use.
                return Progress::Done;
            }
            if bytes >= BYTES_PER_CALL || responder.queue.has_done_its_share() {
                return Progress::More;
            }
            let (id, request) = match responder.queue.pop(responder.ram, responder.witness) {
                Ok(Some(chain)) => (
                    chain.id,
                    request::parse(responder.ram, chain.buffers, &mut self.data),
                ),
                Ok(None) => {
                    if responder.queue.want_notifications(true) {
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
                responder
                    .witness
                    .see(&DataEvent::BlockRequest(self.told(&request)).into());
            }
            bytes = bytes.saturating_add(request.readable + request.writable);
            if let Some(capacity) = self.latitudes.changed_capacity(responder.witness) {
                self.config[config::CAPACITY..8].copy_from_slice(&capacity.to_le_bytes());
                signals.config_changed = true;
            }
            self.begin(responder, id, &request);
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
            capacity: self.latitudes.reach,
            segments: (self.data.readable.len() + self.data.writable.len()) as u32,
            longest_segment: request.longest,
            seg_max: self.shape.seg_max,
            size_max: self.shape.size_max,
        }
    }

    /// Serves a request, as far as that is possible at once.
    fn begin<W: Witness>(
        &mut self,
        responder: &mut Responder<'_, W>,
        id: BufferId,
        request: &Request,
    ) {
        // Without a byte for the status nobody could be told whether the request was served.
        let Some(status_at) = request.status else {
            return responder.queue.add_used(id, 0, responder.witness);
        };
        let Some(header) = request.header else {
            responder.put_status(status_at, status::IOERR);
            return responder.queue.add_used(id, 0, responder.witness);
        };
        let Some(token) = self.flights.next_token() else {
            return responder.fail(id, status_at, &self.data, status::IOERR);
        };
        let stable = self.writes_are_stable();
        // §5.2.6
        let (kind, operation) = match header.kind {
            kind::GET_ID if self.latitudes.refuses_id(responder.witness) => {
                return responder.fail(id, status_at, &self.data, status::UNSUPP);
            }
            kind::IN => match self.offset(header.sector, request.writable) {
                None => return responder.fail(id, status_at, &self.data, status::IOERR),
                Some(_) if request.writable == 0 => {
                    return responder.succeed(id, status_at, &self.data, Kind::Read);
                }
                Some(offset) => {
                    let into = &self.data.writable[..];
                    (Kind::Read, Operation::Read { offset, into })
                }
            },
            // §5.2.6.2: with RO offered, writes fail and nothing is written.
            kind::OUT if self.properties.read_only || self.latitudes.is_read_only() => {
                return responder.fail(id, status_at, &self.data, status::IOERR);
            }
            kind::OUT => match self.offset(header.sector, request.readable) {
                None => return responder.fail(id, status_at, &self.data, status::IOERR),
                Some(_) if request.readable == 0 => {
                    let epoch = 0;
                    return responder.succeed(id, status_at, &self.data, Kind::Write { epoch });
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
            kind::GET_ID => {
                return responder.identify(id, status_at, &self.data, &self.properties.id);
            }
            _ => return responder.fail(id, status_at, &self.data, status::UNSUPP),
        };
        let rest;
        let operation = match self
            .latitudes
            .serve(responder.ram, &operation, responder.witness)
        {
            Served::Nothing => operation,
            Served::All => return responder.succeed(id, status_at, &self.data, kind),
            Served::Failed => return responder.fail(id, status_at, &self.data, status::IOERR),
            Served::Rest(segments) => {
                rest = segments;
                operation.with(&rest)
            }
        };
        match self.disk.submit(responder.ram, token, operation) {
            Submitted::Done(Ok(())) => responder.succeed(id, status_at, &self.data, kind),
            Submitted::Done(Err(_)) => responder.fail(id, status_at, &self.data, status::IOERR),
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
        if !len.is_multiple_of(SECTOR) || end > self.latitudes.reach {
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

    fn return_completed<W: Witness>(&mut self, responder: &mut Responder<'_, W>) -> Progress {
        if self.flights.is_empty() {
            return Progress::Done;
        }
        for returned in 0..REQUESTS_PER_CALL {
            // One at least, however much was taken.
            if returned > 0 && responder.queue.has_done_its_share() {
                return Progress::More;
            }
            let Some(completion) = self.disk.next_completion() else {
                return Progress::Done;
            };
            self.complete(responder, completion.token, completion.result.is_ok());
            while let Some(token) = self.barriers.ready() {
                match self.disk.submit(responder.ram, token, Operation::Flush) {
                    Submitted::Done(result) => self.complete(responder, token, result.is_ok()),
                    Submitted::Pending => self.disk.start(),
                }
            }
        }
        Progress::More
    }

    fn complete<W: Witness>(&mut self, responder: &mut Responder<'_, W>, token: u16, ok: bool) {
        let Some(flight) = self.flights.remove(token) else {
            return;
        };
        if let Kind::Write { epoch } = flight.kind {
            self.barriers.write_completed(epoch);
        }
        if ok {
            responder.succeed(flight.id, flight.status, &flight.data, flight.kind);
        } else {
            responder.fail(flight.id, flight.status, &flight.data, status::IOERR);
        }
        self.flights.recycle(flight.data);
    }
}
