//! Buffers that a device has taken from a receive queue (§5.1.6.3, §5.1.6.4 of virtio 1.0).

use std::collections::VecDeque;

use stickler_conformance::Witness;
use stickler_conformance::event::Element;
use stickler_conformance::layout::desc;

use super::super::latitude::Split;
use crate::memory::GuestRam;
use crate::virtio::queue::{Broken, BufferId, Chain, Queue};

/// Buffers taken from a receive queue. They are taken before it is known how many a packet needs, and
/// stay here if they are too few.
#[derive(Default)]
pub(super) struct Stock {
    pub(super) chains: VecDeque<Stocked>,
    /// The chains' buffers, one chain behind the other.
    buffers: VecDeque<Element>,
    /// Bytes in all of them.
    room: u64,
    /// There has been a buffer since the device came to life.
    pub(super) populated: bool,
}

/// One of the chains.
pub(super) struct Stocked {
    id: BufferId,
    /// How many of [`Stock::buffers`] are its.
    buffers: usize,
    /// Bytes in them.
    room: u64,
}

/// A packet is spread over at most about so many buffers: fifty times what a driver needs.
const MAX_STOCKED: usize = 4096;

impl Stock {
    /// Adds a chain behind the others.
    pub(super) fn put(&mut self, chain: &Chain<'_>) {
        let before = self.buffers.len();
        self.buffers.extend(
            chain
                .buffers
                .iter()
                .filter(|buffer| buffer.flags & desc::WRITE != 0),
        );
        self.chains.push_back(Stocked {
            id: chain.id,
            buffers: self.buffers.len() - before,
            room: chain.writable,
        });
        self.room = self.room.saturating_add(chain.writable);
        self.populated = true;
    }

    /// How many of the chains a message of `len` bytes takes, if it fits.
    pub(super) fn chains_for(&self, len: u64, mergeable: bool) -> Option<u16> {
        // §5.1.6.3.2: a single one if VIRTIO_NET_F_MRG_RXBUF was not negotiated.
        let limit = if mergeable { usize::from(u16::MAX) } else { 1 };
        let mut room = 0_u64;
        for (index, chain) in self.chains.iter().take(limit).enumerate() {
            room = room.saturating_add(chain.room);
            if room >= len {
                return u16::try_from(index + 1).ok();
            }
        }
        None
    }

    /// Whether no more chains are to be taken: what these cannot hold is not delivered.
    pub(super) fn is_full(&self, queue_size: u16, mergeable: bool) -> bool {
        if mergeable {
            self.chains.len() >= usize::from(queue_size) || self.buffers.len() >= MAX_STOCKED
        } else {
            !self.chains.is_empty()
        }
    }

    /// How a message of `len` bytes is spread over more chains than it needs: the bytes in each. `None`
    /// if it does not come to an end so.
    pub(super) fn spread(&self, len: usize, split: Split) -> Option<Vec<usize>> {
        let count = self.chains.len().min(usize::from(split.buffers));
        let mut left = len;
        let mut pieces = Vec::with_capacity(count);
        for (index, chain) in self.chains.iter().take(count).enumerate() {
            let most = if index + 1 == count {
                left
            } else {
                split.piece
            };
            let piece = usize::try_from(chain.room).unwrap_or(usize::MAX).min(most);
            pieces.push(piece.min(left));
            left -= piece.min(left);
            if left == 0 {
                return Some(pieces);
            }
        }
        None
    }

    /// Takes the first chain out after writing to it what fits of `message`; returns its id and how
    /// much that was.
    pub(super) fn fill_first(
        &mut self,
        ram: &GuestRam,
        message: &[u8],
    ) -> Option<(BufferId, usize)> {
        let chain = self.chains.pop_front()?;
        self.room = self.room.saturating_sub(chain.room);
        let mut written = 0;
        for _ in 0..chain.buffers {
            let Some(buffer) = self.buffers.pop_front() else {
                break;
            };
            let rest = message.get(written..).unwrap_or_default();
            let len = rest.len().min(buffer.len as usize);
            if let (Some(slice), Some(bytes)) = (ram.slice(buffer.addr, len), rest.get(..len)) {
                slice.copy_from(bytes);
                written += len;
            }
        }
        Some((chain.id, written))
    }
}

/// Takes one more chain from a receive queue; false if there is none.
pub(super) fn stock_up<W: Witness>(
    stock: &mut Stock,
    queue: &mut Queue,
    ram: &GuestRam,
    witness: &mut W,
) -> Result<bool, Broken> {
    loop {
        if let Some(chain) = queue.pop(ram, witness)? {
            stock.put(&chain);
            queue.want_notifications(false);
            return Ok(true);
        }
        if !queue.want_notifications(true) {
            return Ok(false);
        }
    }
}
