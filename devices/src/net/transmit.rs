//! Packets from the driver (§5.1.6.2 of virtio 1.0).

use stickler_conformance::Witness;
use stickler_conformance::device::net::{flags, gso};
use stickler_conformance::event::{DataEvent, NetEvent, NetHeader, NetOutOfUse, NetTransmit};
use stickler_conformance::features::net as feature;
use stickler_conformance::packet::Headers;

use super::backend::{Gather, MAX_PACKET, NetBackend, Packet};
use super::header;
use super::steering;
use super::{BUDGET, Net, NetQueue};
use crate::virtio::queue::{Broken, Chain};
use crate::virtio::{Io, Progress};

/// The first bytes of a packet are copied for rules that look into it: all of an ordinary packet
/// where the driver has to checksum it, else its headers, where they matter.
pub(super) struct Peek(Box<[u8; PEEK]>);

const PEEK: usize = 2048;
const PEEK_HEADERS: usize = 256;

impl Peek {
    pub(super) fn new() -> Self {
        Peek(Box::new([0; PEEK]))
    }

    #[inline]
    fn fill(&mut self, data: &Gather<'_>, len: usize) -> &[u8] {
        let room = self.0.get_mut(..len.min(PEEK)).unwrap_or_default();
        let filled = data.copy_to(room);
        self.first(filled)
    }

    #[inline]
    fn first(&self, len: usize) -> &[u8] {
        self.0.get(..len).unwrap_or_default()
    }
}

/// Bytes that the driver gives, in one call. Those to be segmented become few times as many at most.
const BYTES_PER_CALL: u64 = 4 << 20;

impl<B: NetBackend> Net<B> {
    /// Sends what the driver has queued on transmit queue `index`, of queue pair `pair`.
    pub(super) fn transmit<W: Witness>(
        &mut self,
        index: u16,
        pair: u16,
        io: &mut Io<'_, W>,
    ) -> Progress {
        let Some(queue) = io
            .queues
            .get_mut(usize::from(index))
            .and_then(Option::as_mut)
        else {
            return Progress::Done;
        };
        queue.want_notifications(false);
        let before = queue.exposure().taken;
        let mut progress = Progress::More;
        let mut bytes = 0;
        for _ in 0..BUDGET {
            if bytes >= BYTES_PER_CALL || queue.has_done_its_share() {
                break;
            }
            match queue.pop(io.ram, io.witness) {
                Ok(Some(chain)) => {
                    let id = chain.id;
                    bytes += chain.readable;
                    self.send(index, pair, &chain, io.ram, io.witness);
                    // §2.4.8.2: nothing was written.
                    queue.add_used(id, 0, io.witness);
                }
                Ok(None) => {
                    if !queue.want_notifications(true) {
                        progress = Progress::Done;
                        break;
                    }
                    queue.want_notifications(false);
                }
                Err(Broken) => {
                    io.signals.needs_reset = true;
                    progress = Progress::Done;
                    break;
                }
            }
        }
        if queue.publish() {
            io.signals.used(index);
        }
        let taken = queue.exposure().taken;
        if W::JUDGING && pair >= self.pairs && taken != before {
            self.tell_out_of_use(index, taken, taken.wrapping_sub(before), io);
        }
        self.backend.transmitted();
        progress
    }

    /// Tells that the driver has sent `packets` through a transmit queue that is not in use, up to the position
    /// `taken`. What it has made available on the control queue is read after that, so that a command which
    /// it sent first is among it.
    #[cold]
    fn tell_out_of_use<W: Witness>(
        &self,
        queue: u16,
        taken: u16,
        packets: u16,
        io: &mut Io<'_, W>,
    ) {
        let mut queues = (0..).zip(io.queues.iter());
        let control = queues.find(|(index, _)| self.role(*index) == Some(NetQueue::Control));
        let commands = control
            .and_then(|(_, queue)| queue.as_ref())
            .map_or(0, |queue| queue.exposure().waiting());
        io.witness.see(
            &NetEvent::OutOfUse(NetOutOfUse {
                queue,
                packets,
                taken,
                commands,
            })
            .into(),
        );
    }

    /// Sends one packet, or drops it.
    #[inline]
    fn send<W: Witness>(
        &mut self,
        index: u16,
        pair: u16,
        chain: &Chain<'_>,
        ram: &crate::memory::GuestRam,
        witness: &mut W,
    ) {
        let Some((told, data)) = Gather::behind_header(ram, chain.buffers) else {
            if W::JUDGING {
                witness.see(
                    &DataEvent::NetTransmit(NetTransmit {
                        queue: index,
                        header: None,
                        len: 0,
                        writable: chain.writable,
                        bytes: &[],
                    })
                    .into(),
                );
            }
            return;
        };
        let len = chain.readable.saturating_sub(header::LEN as u64);
        if W::JUDGING {
            witness.see(
                &DataEvent::NetTransmit(NetTransmit {
                    queue: index,
                    header: Some(told),
                    len,
                    writable: chain.writable,
                    bytes: self.peek(&told, &data),
                })
                .into(),
            );
        }
        let Some(header) = self.vet(&told, len) else {
            return;
        };
        if self.pairs > 1 {
            let mut first = [0; steering::PEEK];
            let filled = data.copy_to(&mut first);
            self.flows
                .learn(first.get(..filled).unwrap_or_default(), pair);
        }
        if !self.link.is_up() {
            return;
        }
        self.backend.transmit(
            pair,
            &Packet {
                header,
                len: len as usize,
                data,
            },
        );
    }

    /// What rules get to see of a packet: nothing of most that ask for nothing.
    #[inline]
    fn peek(&mut self, header: &NetHeader, data: &Gather<'_>) -> &[u8] {
        if self.negotiated & feature::CSUM == 0 {
            self.peek.fill(data, PEEK)
        } else if header.flags != 0 || header.gso_type != gso::NONE {
            let first = self.peek.fill(data, PEEK_HEADERS);
            let filled = first.len();
            let start = Headers::parse(first).map(|headers| headers.transport);
            if start == Some(header.csum_start.into()) {
                self.peek.first(filled)
            } else {
                // What comes of the checksum depends on the whole packet.
                self.peek.fill(data, PEEK)
            }
        } else if self.to_show > 0 {
            self.to_show -= 1;
            self.peek.fill(data, PEEK_HEADERS)
        } else {
            &[]
        }
    }

    /// What the device goes by of a header, or `None` if the packet is to be dropped.
    #[inline]
    fn vet(&self, told: &NetHeader, len: u64) -> Option<NetHeader> {
        if len == 0 || len > MAX_PACKET as u64 {
            return None;
        }
        // §5.1.6.2.2: flag bits it does not recognize, or that were not negotiated, are ignored.
        let flags = if self.negotiated & feature::CSUM != 0 {
            told.flags & flags::NEEDS_CSUM
        } else {
            0
        };
        if flags == 0 && told.gso_type == gso::NONE {
            // §5.1.6.2.2: csum_start and csum_offset are not used, and nobody relies on the
            // packet's checksum.
            return Some(NetHeader::default());
        }
        self.vet_offloads(told, flags, len)
    }

    #[inline(never)]
    fn vet_offloads(&self, told: &NetHeader, flags: u8, len: u64) -> Option<NetHeader> {
        let mut header = NetHeader::default();
        if flags & flags::NEEDS_CSUM != 0 {
            // The checksum's place is in the packet.
            let at = u64::from(told.csum_start) + u64::from(told.csum_offset);
            if at + 2 > len {
                return None;
            }
            header.flags = flags::NEEDS_CSUM;
            header.csum_start = told.csum_start;
            header.csum_offset = told.csum_offset;
        }
        let needs = match told.gso_type & !gso::ECN {
            gso::NONE => return Some(header),
            gso::TCPV4 => feature::HOST_TSO4,
            gso::TCPV6 => feature::HOST_TSO6,
            // Never negotiated, or never defined.
            _ => return None,
        };
        // Such a packet has its checksum incomplete, and says how it is to be cut.
        if !self.has(needs) || header.flags & flags::NEEDS_CSUM == 0 || told.gso_size == 0 {
            return None;
        }
        header.gso_type = told.gso_type;
        header.gso_size = told.gso_size;
        // §5.1.6.2.2: a hint, and nothing more. Hosts refuse one that is longer than the packet.
        header.hdr_len = u16::try_from(len).map_or(told.hdr_len, |len| told.hdr_len.min(len));
        Some(header)
    }
}
