//! A port: bytes between its two virtqueues and what stands behind it on the host.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use stickler_conformance::Witness;
use stickler_conformance::event::Element;

use crate::memory::GuestRam;
use crate::virtio::Progress;
use crate::virtio::queue::{Broken, BufferId, Queue};
use crate::virtio::stream::{Reader, Writer};

/// What stands behind a port on the host. Its methods do not wait.
pub trait PortBackend: Send + 'static {
    /// A file descriptor that becomes readable when there may be something new: input, room for
    /// output after [`write`](Self::write) took less than it was given, or a [`Change`].
    fn fd(&self) -> Option<RawFd> {
        None
    }

    /// Whether there is somebody on the host's side, as the [changes](Self::change) taken so far
    /// amount to.
    fn is_open(&self) -> bool {
        true
    }

    /// The size of the terminal behind the port, if it is one.
    fn size(&self) -> Option<Size> {
        None
    }

    /// Looks at what has happened on the host and gives the next change that is yet to be told.
    fn change(&mut self) -> Option<Change> {
        None
    }

    /// Returns whether something has happened since the last call that [`change`](Self::change) has
    /// looked at, so that [`fd`](Self::fd) does not report it any more: there may be input, or room for
    /// output.
    fn take_activity(&mut self) -> bool {
        false
    }

    /// Takes input. Returns how many bytes, 0 if there are none at the moment.
    fn read(&mut self, into: &mut [u8]) -> usize;

    /// Takes output. Returns how many bytes were taken, 0 if there is no room at the moment. Bytes
    /// that nobody will ever get are taken, too.
    fn write(&mut self, from: &[u8]) -> usize;

    /// The run is over; `rest` is the last output. Only this method may wait, for a moment.
    fn finish(&mut self, rest: &[u8]) {
        self.write(rest);
    }
}

/// Something that happened on the host's side of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Somebody is there now.
    Opened,
    /// Nobody is there any more.
    Closed,
    /// The terminal has another size.
    Resized(Size),
}

/// Size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

/// Sees what a guest prints.
pub type Tap = Box<dyn FnMut(&[u8]) + Send>;

/// Output that is taken from the driver before the host takes it, bytes. Beyond it, buffers are not
/// returned until there is room.
pub(super) const OUTPUT_BUFFER: usize = 64 << 10;

/// What of it can be exceeded by emergency writes, bytes.
const EMERGENCY_BUFFER: usize = 4 << 10;

/// Bytes carried in one call in each direction.
const BYTES_PER_CALL: usize = 64 << 10;

/// Chains looked at in one call in each direction.
const CHAINS_PER_CALL: u32 = 64;

/// Bytes that are carried in one piece.
const PIECE: usize = 4096;

/// A port.
pub(super) struct Port {
    pub(super) backend: Box<dyn PortBackend>,
    output: Output,
    /// The chain being transmitted, while it has to wait for room.
    transmitting: HeldChain,
    /// How many of its bytes have been taken.
    transmitted: u64,
    /// The chain that the next input goes into.
    receiving: HeldChain,
    /// How many chains input was put into.
    pub(super) inputs: u64,
}

/// A chain taken from a queue and yet to be returned.
#[derive(Default)]
struct HeldChain {
    id: Option<BufferId>,
    /// Its buffers; kept for the allocation.
    buffers: Vec<Element>,
}

impl HeldChain {
    fn hold(&mut self, id: BufferId, buffers: &[Element]) {
        self.id = Some(id);
        self.buffers.clear();
        self.buffers.extend_from_slice(buffers);
    }
}

impl Port {
    pub(super) fn new(backend: Box<dyn PortBackend>) -> Self {
        Port {
            backend,
            output: Output::default(),
            transmitting: HeldChain::default(),
            transmitted: 0,
            receiving: HeldChain::default(),
            inputs: 0,
        }
    }

    pub(super) fn set_tap(&mut self, tap: Tap) {
        self.output.tap = Some(tap);
    }

    /// Lets go of all chains. Output taken from the driver stays on its way to the host.
    pub(super) fn reset(&mut self) {
        self.transmitting.id = None;
        self.receiving.id = None;
    }

    /// Outputs one byte, past all that waits in queues.
    pub(super) fn emergency_write(&mut self, byte: u8) {
        self.output.put(&mut *self.backend, &[byte]);
    }

    /// Returns the host what has been taken from the driver.
    pub(super) fn flush(&mut self) {
        self.output.flush(&mut *self.backend);
    }

    /// Carries output from the transmitq to the host.
    pub(super) fn transmit<W: Witness>(
        &mut self,
        queue: &mut Queue,
        ram: &GuestRam,
        witness: &mut W,
    ) -> Result<Progress, Broken> {
        self.flush();
        let backend = &mut *self.backend;
        let mut budget = BYTES_PER_CALL;
        if let Some(id) = self.transmitting.id {
            let mut reader = Reader::new(ram, &self.transmitting.buffers);
            self.transmitted = reader.skip(self.transmitted);
            match self.output.carry(backend, &mut reader, &mut budget) {
                Carried::All => {
                    self.transmitting.id = None;
                    queue.add_used(id, 0, witness);
                }
                Carried::Some(bytes, progress) => {
                    self.transmitted += bytes;
                    return Ok(progress);
                }
            }
        }
        for _ in 0..CHAINS_PER_CALL {
            if queue.has_done_its_share() {
                break;
            }
            let Some(chain) = queue.pop(ram, witness)? else {
                if queue.want_notifications(true) {
                    continue;
                }
                return Ok(Progress::Done);
            };
            let mut reader = Reader::new(ram, chain.buffers);
            match self.output.carry(backend, &mut reader, &mut budget) {
                // Nothing was written to the chain, even if the driver has put device-writable
                // buffers into it.
                Carried::All => {
                    let id = chain.id;
                    queue.add_used(id, 0, witness);
                }
                Carried::Some(bytes, progress) => {
                    self.transmitting.hold(chain.id, chain.buffers);
                    self.transmitted = bytes;
                    return Ok(progress);
                }
            }
        }
        Ok(Progress::More)
    }

    /// Carries input from the host to the receiveq. Input is taken from the host only when there is
    /// a buffer to put it into.
    pub(super) fn receive<W: Witness>(
        &mut self,
        queue: &mut Queue,
        ram: &GuestRam,
        witness: &mut W,
    ) -> Result<Progress, Broken> {
        let mut bytes = [0; PIECE];
        for _ in 0..CHAINS_PER_CALL {
            if queue.has_done_its_share() {
                break;
            }
            let Some(id) = self.receiving.id else {
                let Some(chain) = queue.pop(ram, witness)? else {
                    if queue.want_notifications(true) {
                        continue;
                    }
                    return Ok(Progress::Done);
                };
                if chain.writable == 0 {
                    // No input fits into it.
                    let id = chain.id;
                    queue.add_used(id, 0, witness);
                } else {
                    self.receiving.hold(chain.id, chain.buffers);
                }
                continue;
            };
            let mut writer = Writer::new(ram, &self.receiving.buffers);
            let room = writer.remaining().min(PIECE as u64) as usize;
            let count = self.backend.read(&mut bytes[..room]).min(room);
            if count == 0 {
                return Ok(Progress::Done);
            }
            writer.write(&bytes[..count]);
            self.receiving.id = None;
            self.inputs += 1;
            queue.add_used(id, writer.written() as u32, witness);
        }
        Ok(Progress::More)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.flush();
        if !self.output.waiting.is_empty() {
            let rest = self.output.waiting.make_contiguous();
            self.backend.finish(rest);
        }
    }
}

/// How far a chain could be carried to the host.
enum Carried {
    /// All of it.
    All,
    /// So many more bytes; the rest has to wait for room ([`Progress::Done`]) or for the next call
    /// ([`Progress::More`]).
    Some(u64, Progress),
}

/// Output on its way to the host.
#[derive(Default)]
struct Output {
    waiting: VecDeque<u8>,
    tap: Option<Tap>,
}

impl Output {
    fn carry(
        &mut self,
        backend: &mut dyn PortBackend,
        reader: &mut Reader<'_>,
        budget: &mut usize,
    ) -> Carried {
        let mut bytes = [0; PIECE];
        let mut carried = 0;
        while reader.remaining() > 0 {
            let room = OUTPUT_BUFFER.saturating_sub(self.waiting.len());
            if room == 0 {
                return Carried::Some(carried, Progress::Done);
            }
            if *budget == 0 {
                return Carried::Some(carried, Progress::More);
            }
            let count = reader.read(&mut bytes[..room.min(*budget).min(PIECE)]);
            if count == 0 {
                break;
            }
            self.put(backend, &bytes[..count]);
            *budget -= count;
            carried += count as u64;
        }
        Carried::All
    }

    /// Outputs `bytes`, keeping what the host does not take yet.
    fn put(&mut self, backend: &mut dyn PortBackend, bytes: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap(bytes);
        }
        self.flush(backend);
        let mut rest = bytes;
        while self.waiting.is_empty() && !rest.is_empty() {
            let taken = backend.write(rest).min(rest.len());
            if taken == 0 {
                break;
            }
            rest = &rest[taken..];
        }
        let room = (OUTPUT_BUFFER + EMERGENCY_BUFFER).saturating_sub(self.waiting.len());
        self.waiting.extend(rest.iter().take(room));
    }

    fn flush(&mut self, backend: &mut dyn PortBackend) {
        while !self.waiting.is_empty() {
            let (first, _) = self.waiting.as_slices();
            let taken = backend.write(first).min(first.len());
            if taken == 0 {
                return;
            }
            self.waiting.drain(..taken);
        }
    }
}
