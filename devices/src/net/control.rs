//! The control virtqueue (§5.1.6.5 of virtio 1.0).

use stickler_conformance::Witness;
use stickler_conformance::device::net::{
    ack, announce, class, guest_offloads, mac, mq, rx, status, vlan,
};
use stickler_conformance::event::{NetCommand, NetEvent};
use stickler_conformance::features::net as feature;

use super::backend::NetBackend;
use super::{BUDGET, GUEST_OFFLOADS, Net};
use crate::memory::GuestRam;
use crate::virtio::queue::{Broken, Chain, Queue};
use crate::virtio::stream::{Reader, Writer};
use crate::virtio::{Io, Progress, Signals};

/// Command-specific data of more bytes than these is refused: a MAC table of 2,700 addresses.
pub(super) const MAX_COMMAND: usize = 16 * 1024;

/// A command that is not carried out.
struct Refused;

impl<B: NetBackend> Net<B> {
    /// Carries out the commands on the control virtqueue, which is `index`.
    pub(super) fn control<W: Witness>(&mut self, index: u16, io: &mut Io<'_, W>) -> Progress {
        let Some((packets, [Some(queue), ..])) = io.queues.split_at_mut_checked(usize::from(index))
        else {
            return Progress::Done;
        };
        let mut progress = Progress::More;
        for _ in 0..BUDGET {
            if queue.has_done_its_share() {
                break;
            }
            match queue.pop(io.ram, io.witness) {
                Ok(Some(chain)) => {
                    let ack = self.command(&chain, packets, io.ram, io.witness, io.signals);
                    let written = Writer::new(io.ram, chain.buffers).write(&[ack]);
                    let id = chain.id;
                    queue.add_used(id, written as u32, io.witness);
                }
                Ok(None) => {
                    if !queue.want_notifications(true) {
                        progress = Progress::Done;
                        break;
                    }
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
        progress
    }

    /// Carries out one command; returns what to acknowledge it with. All it changes is changed when it
    /// returns, before the buffer is used. `packets` are the queues for packets.
    fn command<W: Witness>(
        &mut self,
        chain: &Chain<'_>,
        packets: &[Option<Queue>],
        ram: &GuestRam,
        witness: &mut W,
        signals: &mut Signals,
    ) -> u8 {
        let mut message = Reader::new(ram, chain.buffers);
        let mut selector = [0; 2];
        let complete = message.read(&mut selector) == 2;
        let [class, command] = selector;
        let mut buffer = std::mem::take(&mut self.command);
        let filled = message.read(&mut buffer);
        let bytes = buffer.get(..filled).unwrap_or_default();
        let len = chain.readable.saturating_sub(2);
        if W::JUDGING {
            if complete && (class, command) == (class::MQ, mq::VQ_PAIRS_SET) {
                (0..).zip(packets).for_each(|(index, queue)| {
                    self.tell_ring(index, queue.as_ref(), witness);
                });
            }
            witness.see(
                &NetEvent::Command(NetCommand {
                    class: (chain.readable >= 1).then_some(class),
                    command: (chain.readable >= 2).then_some(command),
                    data: bytes,
                    len,
                    writable: chain.writable,
                    max_virtqueue_pairs: self.max_pairs,
                })
                .into(),
            );
        }
        let done = if complete && len == bytes.len() as u64 {
            self.execute(class, command, bytes, signals)
        } else {
            Err(Refused)
        };
        self.command = buffer;
        match done {
            Ok(()) => ack::OK,
            Err(Refused) => ack::ERR,
        }
    }

    fn execute(
        &mut self,
        class: u8,
        command: u8,
        data: &[u8],
        signals: &mut Signals,
    ) -> Result<(), Refused> {
        match (class, command) {
            (class::RX, _) => self.set_mode(command, data),
            (class::MAC, mac::TABLE_SET) => self.set_mac_table(data),
            (class::MAC, mac::ADDR_SET) => self.set_mac(data, signals),
            (class::VLAN, vlan::ADD) => self.set_vlan(data, true),
            (class::VLAN, vlan::DEL) => self.set_vlan(data, false),
            (class::ANNOUNCE, announce::ACK) => self.acknowledge_announce(signals),
            (class::MQ, mq::VQ_PAIRS_SET) => self.set_pairs(data),
            (class::GUEST_OFFLOADS, guest_offloads::SET) => self.set_guest_offloads(data),
            _ => Err(Refused),
        }
    }

    fn require(&self, feature: u64) -> Result<(), Refused> {
        if self.has(feature) {
            Ok(())
        } else {
            Err(Refused)
        }
    }

    /// §5.1.6.5.1.1: promiscuous and all-multicast mode with VIRTIO_NET_F_CTRL_RX, the others with
    /// VIRTIO_NET_F_CTRL_RX_EXTRA.
    fn set_mode(&mut self, command: u8, data: &[u8]) -> Result<(), Refused> {
        let on = match exactly::<1>(data)? {
            [0] => false,
            [1] => true,
            _ => return Err(Refused),
        };
        self.require(match command {
            rx::PROMISC | rx::ALLMULTI => feature::CTRL_RX,
            _ => feature::CTRL_RX_EXTRA,
        })?;
        let mode = match command {
            rx::PROMISC => &mut self.filter.promiscuous,
            rx::ALLMULTI => &mut self.filter.all_multicast,
            rx::ALLUNI => &mut self.filter.all_unicast,
            rx::NOMULTI => &mut self.filter.no_multicast,
            rx::NOUNI => &mut self.filter.no_unicast,
            rx::NOBCAST => &mut self.filter.no_broadcast,
            _ => return Err(Refused),
        };
        *mode = on;
        Ok(())
    }

    /// §5.1.6.5.2.1: the table is updated before the command is consumed.
    fn set_mac_table(&mut self, data: &[u8]) -> Result<(), Refused> {
        self.require(feature::CTRL_RX)?;
        let (unicast, data) = macs(data)?;
        let (multicast, data) = macs(data)?;
        if !data.is_empty() {
            return Err(Refused);
        }
        self.filter.set_table(unicast, multicast);
        Ok(())
    }

    fn set_mac(&mut self, data: &[u8], signals: &mut Signals) -> Result<(), Refused> {
        let in_config = self.has(feature::CTRL_MAC_ADDR);
        if !in_config {
            self.require(feature::CTRL_RX)?;
        }
        let mac = exactly::<6>(data)?;
        self.filter.set_mac(mac);
        // §5.1.6.5.2.1: mac in the configuration follows before the command is consumed, if
        // VIRTIO_NET_F_CTRL_MAC_ADDR has been negotiated.
        if in_config && self.config.mac() != mac {
            self.config.set_mac(mac);
            signals.config_changed = true;
        }
        Ok(())
    }

    /// §5.1.6.5.3
    fn set_vlan(&mut self, data: &[u8], wanted: bool) -> Result<(), Refused> {
        self.require(feature::CTRL_VLAN)?;
        let id = u16::from_le_bytes(exactly::<2>(data)?);
        if self.filter.set_vlan(id, wanted) {
            Ok(())
        } else {
            Err(Refused)
        }
    }

    /// §5.1.6.5.4.2: VIRTIO_NET_S_ANNOUNCE is cleared before the buffer is used.
    fn acknowledge_announce(&mut self, signals: &mut Signals) -> Result<(), Refused> {
        self.require(feature::GUEST_ANNOUNCE)?;
        let bits = self.config.status();
        if bits & status::ANNOUNCE != 0 {
            self.config.set_status(bits & !status::ANNOUNCE);
            signals.config_changed = true;
        }
        Ok(())
    }

    /// §5.1.6.5.5
    fn set_pairs(&mut self, data: &[u8]) -> Result<(), Refused> {
        self.require(feature::MQ)?;
        let pairs = u16::from_le_bytes(exactly::<2>(data)?);
        if !(1..=self.max_pairs).contains(&pairs) {
            return Err(Refused);
        }
        self.pairs = pairs;
        Ok(())
    }

    /// §5.1.6.5.6: each offload belongs to a feature that was negotiated.
    fn set_guest_offloads(&mut self, data: &[u8]) -> Result<(), Refused> {
        self.require(feature::CTRL_GUEST_OFFLOADS)?;
        let offloads = u64::from_le_bytes(exactly::<8>(data)?);
        if offloads & !(self.negotiated & GUEST_OFFLOADS) != 0 {
            return Err(Refused);
        }
        self.set_offloads(offloads);
        Ok(())
    }
}

fn exactly<const N: usize>(data: &[u8]) -> Result<[u8; N], Refused> {
    data.try_into().map_err(|_| Refused)
}

/// The addresses of the `struct virtio_net_ctrl_mac` at the beginning of `data`, one behind the
/// other, and what follows it (§5.1.6.5.2).
fn macs(data: &[u8]) -> Result<(&[u8], &[u8]), Refused> {
    let (entries, data) = data.split_first_chunk::<4>().ok_or(Refused)?;
    let len = usize::try_from(u32::from_le_bytes(*entries))
        .ok()
        .and_then(|entries| entries.checked_mul(6))
        .ok_or(Refused)?;
    data.split_at_checked(len).ok_or(Refused)
}
