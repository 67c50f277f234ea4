//! What stands behind a network device on the host.
//!
//! Citations are of virtio 1.0.

use std::os::fd::RawFd;

use stickler_conformance::event::{Element, NetHeader};
use stickler_conformance::layout::desc;
use vm_memory::VolatileSlice;

use super::header;
use crate::memory::GuestRam;

/// The longest packet that passes in either direction, header excluded: a TCP or UDP packet of
/// maximum length behind an Ethernet header with a VLAN tag (§5.1.6.3).
pub const MAX_PACKET: usize = 65550 + 4;

/// Carries packets between the device and the host. Nothing in it blocks: packets that cannot be
/// taken at once are dropped, as on a wire.
pub trait NetBackend: Send + 'static {
    /// The offloads it can do, as feature bits (§5.1.3): CSUM, HOST_TSO4, HOST_TSO6 and HOST_ECN for
    /// packets from the driver, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6 and GUEST_ECN for packets to it.
    fn features(&self) -> u64;

    /// Queue pairs to offer, from 1 to 31; VIRTIO_NET_F_MQ is offered if there are several.
    fn queue_pairs(&self) -> u16 {
        1
    }

    /// From now on packets to the driver may make use of just the offloads `guest`, a subset of the
    /// GUEST_ bits of [`features`](Self::features).
    fn set_offloads(&mut self, guest: u64) {
        let _ = guest;
    }

    /// Sends a packet the driver queued on transmitq`pair + 1`. Its header asks for nothing that
    /// [`features`](Self::features) does not offer, and `csum_start` and `csum_offset` lie within
    /// the packet if they are in use; the packet itself may be anything.
    fn transmit(&mut self, pair: u16, packet: &Packet<'_>);

    /// No more packets follow for the moment.
    fn transmitted(&mut self) {}

    /// Packets for the driver come from so many places, which are asked in turn.
    fn sources(&self) -> u16 {
        1
    }

    /// The next packet for the driver from `source`, written to `frame`, which has room for
    /// [`MAX_PACKET`] bytes; `None` if there is none for the moment.
    fn receive(&mut self, source: u16, frame: &mut [u8]) -> Option<Received>;

    /// File descriptors whose becoming readable (edge-triggered) may mean that there is something to
    /// receive. Constant.
    fn host_fds(&self) -> Vec<RawFd> {
        Vec::new()
    }

    /// The `index`th of [`host_fds`](Self::host_fds) has become readable. The device receives all
    /// there is afterwards.
    fn host_ready(&mut self, index: usize) {
        let _ = index;
    }
}

/// A packet for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// What is to be said of it; `num_buffers` does not matter.
    pub header: NetHeader,
    /// Its length in bytes.
    pub len: usize,
}

/// A packet from the driver, still in the guest's memory.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// What the driver says of it, reduced to what was negotiated.
    pub header: NetHeader,
    /// Its length in bytes, at most [`MAX_PACKET`].
    pub len: usize,
    /// Its bytes. The driver may change them while they are looked at.
    pub data: Gather<'a>,
}

/// The device-readable bytes of a descriptor chain, from some place on.
#[derive(Clone, Copy, Debug)]
pub struct Gather<'a> {
    ram: &'a GuestRam,
    /// What is left of the buffer where they begin.
    first: VolatileSlice<'a>,
    /// The buffers behind that one.
    rest: &'a [Element],
}

impl<'a> Gather<'a> {
    /// The device-readable bytes of `buffers`, from the first on.
    pub fn new(ram: &'a GuestRam, buffers: &'a [Element]) -> Self {
        Gather {
            ram,
            first: VolatileSlice::from(&mut [][..]),
            rest: buffers,
        }
    }

    /// Reads the header at the beginning of the device-readable part of a chain and gives what is
    /// behind it. `None` if there is no complete header.
    #[inline(always)]
    pub(super) fn behind_header(
        ram: &'a GuestRam,
        buffers: &'a [Element],
    ) -> Option<(NetHeader, Self)> {
        // §2.4.4.1: no assumption about how the message is spread over buffers; but the header is
        // usually in one.
        let (first, rest) = buffers.split_first()?;
        if first.flags & desc::WRITE != 0 || (first.len as usize) < header::LEN {
            return Self::behind_split_header(ram, buffers);
        }
        let slice = ram.slice(first.addr, first.len as usize)?;
        let header = header::read(&slice)?;
        let first = slice.offset(header::LEN).ok()?;
        Some((header, Gather { ram, first, rest }))
    }

    #[cold]
    fn behind_split_header(ram: &'a GuestRam, buffers: &'a [Element]) -> Option<(NetHeader, Self)> {
        let mut bytes = [0; header::LEN];
        let mut filled = 0;
        let mut buffers = buffers.iter();
        while let Some(buffer) = buffers.next() {
            if buffer.flags & desc::WRITE != 0 {
                continue;
            }
            let slice = ram.slice(buffer.addr, buffer.len as usize)?;
            let wanted = bytes.get_mut(filled..)?;
            let taken = slice.copy_to(wanted);
            filled += taken;
            if filled == header::LEN {
                let rest = Gather {
                    ram,
                    first: slice.offset(taken).ok()?,
                    rest: buffers.as_slice(),
                };
                return Some((header::decode(bytes), rest));
            }
        }
        None
    }

    /// The bytes where they are in the guest's memory, in order. None of the slices is empty.
    #[inline]
    pub fn slices(&self) -> impl Iterator<Item = VolatileSlice<'a>> + use<'a> {
        let ram = self.ram;
        std::iter::once(self.first)
            .chain(
                self.rest
                    .iter()
                    .filter(|buffer| buffer.flags & desc::WRITE == 0)
                    .filter_map(move |buffer| ram.slice(buffer.addr, buffer.len as usize)),
            )
            .filter(|slice| !slice.is_empty())
    }

    /// Copies as many of the bytes as there are, and as fit, to `out`; returns how many.
    #[inline]
    pub fn copy_to(&self, out: &mut [u8]) -> usize {
        let mut filled = 0;
        for slice in self.slices() {
            let Some(room) = out.get_mut(filled..) else {
                break;
            };
            if room.is_empty() {
                break;
            }
            filled += slice.copy_to(room);
        }
        filled
    }
}

impl Packet<'_> {
    /// The packet in a vector of its own.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        let filled = self.data.copy_to(&mut bytes);
        bytes.truncate(filled);
        bytes
    }
}

/// A backend that drops every packet and has none: for a card without a network, and for benchmarks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard {
    /// Packets dropped.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
}

impl NetBackend for Discard {
    fn features(&self) -> u64 {
        use stickler_conformance::features::net;
        net::CSUM | net::HOST_TSO4 | net::HOST_TSO6 | net::HOST_ECN
    }

    #[inline]
    fn transmit(&mut self, _pair: u16, packet: &Packet<'_>) {
        self.packets += 1;
        // Each buffer is looked up, as by a backend that has a use for it.
        for slice in packet.data.slices() {
            self.bytes += slice.len() as u64;
        }
    }

    fn receive(&mut self, _source: u16, _frame: &mut [u8]) -> Option<Received> {
        None
    }
}

impl<B: NetBackend + ?Sized> NetBackend for Box<B> {
    fn features(&self) -> u64 {
        (**self).features()
    }

    fn queue_pairs(&self) -> u16 {
        (**self).queue_pairs()
    }

    fn set_offloads(&mut self, guest: u64) {
        (**self).set_offloads(guest);
    }

    fn transmit(&mut self, pair: u16, packet: &Packet<'_>) {
        (**self).transmit(pair, packet);
    }

    fn transmitted(&mut self) {
        (**self).transmitted();
    }

    fn sources(&self) -> u16 {
        (**self).sources()
    }

    fn receive(&mut self, source: u16, frame: &mut [u8]) -> Option<Received> {
        (**self).receive(source, frame)
    }

    fn host_fds(&self) -> Vec<RawFd> {
        (**self).host_fds()
    }

    fn host_ready(&mut self, index: usize) {
        (**self).host_ready(index);
    }
}
