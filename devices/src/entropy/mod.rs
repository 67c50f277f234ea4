//! The entropy device (§5.4 of virtio 1.0).
//!
//! * `latitude`: how many bytes a buffer gets, where that is left to the device.

#![forbid(unsafe_code)]

use std::io;

use stickler_conformance::{DeviceKind, Latitudes, Witness};

use crate::virtio::stream::Writer;
use crate::virtio::{Io, Progress, VirtioDevice};
use latitude::Portions;

mod latitude;
#[cfg(test)]
mod tests;

/// The one virtqueue (§5.4.2).
const REQUESTQ: u16 = 0;

/// The queue's size unless another is asked for.
const QUEUE_SIZE: u16 = 64;

/// Random bytes put into one buffer at most, unless another limit is asked for.
const BYTES_PER_BUFFER: u32 = 64 << 10;

/// Random bytes made in one call at most, not counting the last buffer.
const BYTES_PER_CALL: u64 = 128 << 10;

/// Buffers returned in one call at most.
const BUFFERS_PER_CALL: u32 = 64;

/// Where random bytes come from.
pub trait Source: Send + 'static {
    /// Fills all of `into` with random bytes, without waiting long.
    ///
    /// # Errors
    /// If there are none to be had.
    fn fill(&mut self, into: &mut [u8]) -> io::Result<()>;
}

/// An entropy device.
pub struct Entropy<S> {
    source: S,
    queue_sizes: [u16; 1],
    bytes_per_buffer: u32,
    /// What of its room a buffer gets, if not all.
    portions: Option<Portions>,
    /// The queue cannot be worked any more.
    broken: bool,
}

impl<S: Source> Entropy<S> {
    /// A device that gives what `source` has.
    pub fn new(source: S) -> Self {
        Entropy::with_limits(source, QUEUE_SIZE, BYTES_PER_BUFFER)
    }

    /// A device whose queue has `queue_size` descriptors, a power of two to 32768, and that puts at
    /// most `bytes_per_buffer` random bytes into one buffer, at least 1 (§5.4.6.2 lets it use less
    /// than the whole buffer).
    pub fn with_limits(source: S, queue_size: u16, bytes_per_buffer: u32) -> Self {
        Entropy {
            source,
            queue_sizes: [queue_size],
            bytes_per_buffer: bytes_per_buffer.max(1),
            portions: None,
            broken: false,
        }
    }

    /// Fills the buffers there are.
    fn serve<W: Witness>(&mut self, io: &mut Io<'_, W>) -> Progress {
        let ram = io.ram;
        let witness = &mut *io.witness;
        let Some(Some(queue)) = io.queues.get_mut(usize::from(REQUESTQ)) else {
            return Progress::Done;
        };
        let mut progress = Progress::More;
        let mut bytes = 0;
        for _ in 0..BUFFERS_PER_CALL {
            if self.broken || bytes >= BYTES_PER_CALL || queue.has_done_its_share() {
                break;
            }
            match queue.pop(ram, witness) {
                Ok(Some(chain)) => {
                    let mut writer = Writer::new(ram, chain.buffers);
                    let room = writer.remaining().min(u64::from(self.bytes_per_buffer));
                    let limit = match &mut self.portions {
                        None => room,
                        Some(portions) => portions.of(room, witness),
                    };
                    let filled = fill(&mut self.source, &mut writer, limit);
                    let (id, len) = (chain.id, writer.written() as u32);
                    // §5.4.6.2: one random byte at least. A chain that has room for one is not
                    // returned without it.
                    if filled.is_err() && len == 0 {
                        self.broken = true;
                    } else {
                        queue.add_used(id, len, witness);
                    }
                    bytes += u64::from(len);
                }
                Ok(None) => {
                    if !queue.want_notifications(true) {
                        progress = Progress::Done;
                        break;
                    }
                }
                Err(_) => self.broken = true,
            }
        }
        if queue.publish() {
            io.signals.used(REQUESTQ);
        }
        if self.broken {
            io.signals.needs_reset = true;
            progress = Progress::Done;
        }
        progress
    }
}

/// Puts `count` random bytes into the buffers of `writer`.
fn fill<S: Source>(source: &mut S, writer: &mut Writer<'_>, count: u64) -> io::Result<()> {
    let mut bytes = [0; 4096];
    let mut left = count as usize;
    while left > 0 {
        let part = &mut bytes[..left.min(4096)];
        source.fill(part)?;
        let written = writer.write(part);
        if written == 0 {
            break;
        }
        left -= written;
    }
    Ok(())
}

impl<S: Source, W: Witness> VirtioDevice<W> for Entropy<S> {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Entropy
    }

    fn set_latitudes(&mut self, latitudes: Latitudes, slot: u8) {
        self.portions = Portions::new(latitudes, slot);
    }

    fn features(&self) -> u64 {
        // §5.4.3: none.
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn config(&self) -> &[u8] {
        // §5.4.4: none.
        &[]
    }

    fn may_write_beyond_len(&self, _queue: u16) -> bool {
        true
    }

    fn activate(&mut self, _io: &mut Io<'_, W>) {}

    fn reset(&mut self) {
        self.broken = false;
    }

    fn notified(&mut self, queue: u16, io: &mut Io<'_, W>) -> Progress {
        match queue {
            REQUESTQ => self.serve(io),
            _ => Progress::Done,
        }
    }
}
