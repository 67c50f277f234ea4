//! Commands on the network device's control virtqueue (§5.1.6.5 of virtio 1.0).

use crate::advice::advice;
use crate::device::DeviceKind;
use crate::device::net::{announce, class, guest_offloads, mac, mq, rx, vlan};
use crate::event::{ControlEvent, DataEvent, NetCommand, NetEvent};
use crate::features::net;
use crate::judge::Verdicts;
use crate::requirement::{Req, requirements};
use crate::rules::Chapter;
use crate::session::Session;

requirements! {
    chapter NetControl;

    FORMAT = "net.control.format", Driver Must ["5.1.6.5"], Asserted,
        "A command begins with two device-readable bytes, class and command.";
    ACK = "net.control.ack", Driver Must ["5.1.6.5"], Asserted,
        "A command ends with a device-writable byte for ack.";
    ACK_ALONE = "net.control.ack-alone", Driver Should ["5.1.6.5"], Asserted,
        "Only ack of a command is device-writable.";
    DEFINED = "net.control.defined", Driver ShouldNot ["5.1.6.5"], Asserted,
        "Only defined classes and commands are sent.";
    RX_NEGOTIATED = "net.control.rx.negotiated", Driver MustNot ["5.1.6.5.1.2-1"], Asserted,
        "PROMISC and ALLMULTI are sent only with VIRTIO_NET_F_CTRL_RX.";
    RX_EXTRA = "net.control.rx-extra.negotiated", Driver MustNot ["5.1.6.5.1.2-2"], Asserted,
        "ALLUNI, NOMULTI, NOUNI and NOBCAST are sent only with VIRTIO_NET_F_CTRL_RX_EXTRA.";
    RX_DATA = "net.control.rx.data", Driver Must ["5.1.6.5.1"], Asserted,
        "The data of a receive filter command is one byte, 0 or 1.";
    MAC_NEGOTIATED = "net.control.mac.negotiated", Driver MustNot ["5.1.6.5.2.2-1"], Asserted,
        "Commands for MAC address filtering are sent only with VIRTIO_NET_F_CTRL_RX.",
        readings [
            "by-command": "MAC_ADDR_SET may also be sent with CTRL_MAC_ADDR, which has no other purpose.",
            "by-class": "No command of the class may be sent without CTRL_RX.",
        ];
    MAC_TABLE = "net.control.mac-table.format", Driver Must ["5.1.6.5.2.2-3"], Asserted,
        "The data of MAC_TABLE_SET is two tables, each a 32-bit count and as many addresses of 6 bytes.";
    MAC_UNICAST = "net.control.mac-table.unicast", Driver Must ["5.1.6.5.2.2-3"], Asserted,
        "The first table of MAC_TABLE_SET has no multicast addresses.";
    MAC_MULTICAST = "net.control.mac-table.multicast", Driver Must ["5.1.6.5.2.2-3"], Asserted,
        "The second table of MAC_TABLE_SET has only multicast addresses.";
    MAC_EMPTY = "net.control.mac-table.empty", Driver May ["5.1.6.5.2.2-4"], Asserted,
        "Either table of MAC_TABLE_SET may be empty.";
    MAC_ADDRESS = "net.control.mac-address.data", Driver Must ["5.1.6.5.2"], Asserted,
        "The data of MAC_ADDR_SET is 6 bytes.";
    VLAN_NEGOTIATED = "net.control.vlan.negotiated", Driver MustNot ["5.1.6.5.3"], Asserted,
        "Commands for VLAN filtering are sent only with VIRTIO_NET_F_CTRL_VLAN.";
    VLAN_DATA = "net.control.vlan.data", Driver Must ["5.1.6.5.3"], Asserted,
        "The data of a VLAN command is a 16-bit VLAN id, below 4096.";
    ANNOUNCE_NEGOTIATED = "net.control.announce.negotiated", Driver MustNot ["5.1.6.5.4"], Asserted,
        "ANNOUNCE_ACK is sent only with VIRTIO_NET_F_GUEST_ANNOUNCE.";
    ANNOUNCE_DATA = "net.control.announce.data", Driver Should ["5.1.6.5.4"], Asserted,
        "ANNOUNCE_ACK has no data.";
    MQ_NEGOTIATED = "net.control.mq.negotiated", Driver MustNot ["5.1.6.5.5"], Asserted,
        "VQ_PAIRS_SET is sent only with VIRTIO_NET_F_MQ.";
    MQ_DATA = "net.control.mq.data", Driver Must ["5.1.6.5.5"], Asserted,
        "The data of VQ_PAIRS_SET is a 16-bit number.";
    MQ_PAIRS = "net.control.mq.pairs", Driver MustNot ["5.1.6.5.5.1-2"], Asserted,
        "VQ_PAIRS_SET asks for at least 1 and at most max_virtqueue_pairs pairs.";
    MQ_CONFIGURED = "net.control.mq.configured", Driver Must ["5.1.6.5.5.1-1"], Asserted,
        "The driver configures the virtqueues that VQ_PAIRS_SET enables before it sends the command.";
    OFFLOADS_NEGOTIATED = "net.control.offloads.negotiated", Driver MustNot ["5.1.6.5.6"], Asserted,
        "GUEST_OFFLOADS_SET is sent only with VIRTIO_NET_F_CTRL_GUEST_OFFLOADS.";
    OFFLOADS_DATA = "net.control.offloads.data", Driver Must ["5.1.6.5.6.1"], Asserted,
        "The data of GUEST_OFFLOADS_SET is a 64-bit mask.";
    OFFLOADS_SUBSET = "net.control.offloads.subset", Driver MustNot ["5.1.6.5.6.2-1"], Asserted,
        "GUEST_OFFLOADS_SET enables only offloads whose features were negotiated.";
}

advice! {
    "net.control":
        "A command on the control queue needs a feature that was not negotiated, has wrong data for its class and command, or has no byte for the answer.";
        "Build the command, its data and a device-writable byte for ack as the command's section specifies; send each command only if its feature was negotiated.";
}

/// The features that GUEST_OFFLOADS_SET enables and disables (§5.1.6.5.6.1).
const OFFLOADS: u64 =
    net::GUEST_CSUM | net::GUEST_TSO4 | net::GUEST_TSO6 | net::GUEST_ECN | net::GUEST_UFO;

/// The number of pairs that a VQ_PAIRS_SET command enables, if a device accepts the command.
pub(super) fn pairs_set(command: &NetCommand<'_>) -> Option<u16> {
    match (command.class, command.command, command.data) {
        (Some(class::MQ), Some(mq::VQ_PAIRS_SET), &[low, high]) => {
            let pairs = u16::from_le_bytes([low, high]);
            (1..=command.max_virtqueue_pairs)
                .contains(&pairs)
                .then_some(pairs)
        }
        _ => None,
    }
}

/// These rules have no state.
pub(crate) struct NetControlRules;

/// Describes a command and its error `what`.
fn says(command: &NetCommand<'_>, what: &str) -> String {
    let NetCommand {
        class,
        command,
        data,
        len,
        writable,
        ..
    } = *command;
    let shown = data.get(..data.len().min(16)).unwrap_or_default();
    format!(
        "command {command:?} of class {class:?} with {len} bytes of data ({shown:02x?}) and {writable} device-writable bytes: {what}"
    )
}

impl Chapter for NetControlRules {
    fn new(_kind: DeviceKind) -> Self {
        NetControlRules
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            ControlEvent::Net(NetEvent::Command(command)) => Command {
                command,
                session,
                verdicts,
            }
            .judge(),
            ControlEvent::Net(_)
            | ControlEvent::Latitude(_)
            | ControlEvent::Clock(_)
            | ControlEvent::Register(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Status(_)
            | ControlEvent::Feature(_)
            | ControlEvent::Config(_)
            | ControlEvent::Queue(_)
            | ControlEvent::Notification(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Console(_) => {}
        }
    }

    #[inline(always)]
    fn data(&mut self, _: &DataEvent<'_>, _: &Session, _: &mut Verdicts) {}
}

/// One command that is judged.
struct Command<'a> {
    command: &'a NetCommand<'a>,
    session: &'a Session,
    verdicts: &'a mut Verdicts,
}

impl Command<'_> {
    fn judge(&mut self) {
        let NetCommand {
            class,
            command,
            writable,
            ..
        } = *self.command;
        if self.check(ACK, writable > 0, "no device-writable byte") {
            self.check(
                ACK_ALONE,
                writable == 1,
                "more device-writable bytes than ack",
            );
        }
        let (Some(class), Some(command)) = (class, command) else {
            self.check(FORMAT, false, "no command");
            return;
        };
        self.check(FORMAT, true, "");
        match (class, command) {
            (class::RX, rx::PROMISC | rx::ALLMULTI) => {
                self.negotiated(RX_NEGOTIATED, net::CTRL_RX);
                self.receive_filter();
            }
            (class::RX, rx::ALLUNI | rx::NOMULTI | rx::NOUNI | rx::NOBCAST) => {
                self.negotiated(RX_EXTRA, net::CTRL_RX_EXTRA);
                self.receive_filter();
            }
            (class::MAC, mac::TABLE_SET) => {
                let class = self.session.has(net::CTRL_RX);
                self.mac_negotiated([class, class]);
                self.mac_table();
            }
            (class::MAC, mac::ADDR_SET) => {
                let class = self.session.has(net::CTRL_RX);
                let command = class || self.session.has(net::CTRL_MAC_ADDR);
                self.mac_negotiated([command, class]);
                let whole = self.command.len == 6;
                self.check(MAC_ADDRESS, whole, "not the length of a MAC address");
            }
            (class::VLAN, vlan::ADD | vlan::DEL) => {
                self.negotiated(VLAN_NEGOTIATED, net::CTRL_VLAN);
                let id = self.le16();
                self.check(VLAN_DATA, id.is_some_and(|id| id < 4096), "no VLAN id");
            }
            (class::ANNOUNCE, announce::ACK) => {
                self.negotiated(ANNOUNCE_NEGOTIATED, net::GUEST_ANNOUNCE);
                self.check(
                    ANNOUNCE_DATA,
                    self.command.len == 0,
                    "the command has no data",
                );
            }
            (class::MQ, mq::VQ_PAIRS_SET) => {
                self.negotiated(MQ_NEGOTIATED, net::MQ);
                self.pairs();
            }
            (class::GUEST_OFFLOADS, guest_offloads::SET) => {
                self.negotiated(OFFLOADS_NEGOTIATED, net::CTRL_GUEST_OFFLOADS);
                self.offloads();
            }
            _ => {
                self.check(DEFINED, false, "no such command");
                return;
            }
        }
        self.check(DEFINED, true, "");
    }

    fn receive_filter(&mut self) {
        let ok = self.command.len == 1 && matches!(self.command.data, [0 | 1]);
        self.check(RX_DATA, ok, "not one byte of 0 or 1");
    }

    fn mac_table(&mut self) {
        let NetCommand { data, len, .. } = *self.command;
        let count = |at: usize| {
            let bytes = data.get(at..)?.first_chunk()?;
            Some(u64::from(u32::from_le_bytes(*bytes)))
        };
        let unicast = count(0);
        let second = unicast.map(|n| 4 + 6 * n);
        // The data beyond the reported part cannot be judged.
        let at_hand = second.is_some_and(|at| at + 4 <= data.len() as u64);
        let multicast = if at_hand {
            second.and_then(|at| count(at as usize))
        } else {
            None
        };
        let ok = match (second, multicast) {
            (Some(second), Some(n)) => second + 4 + 6 * n == len,
            (Some(second), None) => data.len() as u64 != len && second + 4 <= len,
            (None, _) => false,
        };
        if !self.check(MAC_TABLE, ok, "not two tables") {
            return;
        }
        if unicast == Some(0) || multicast == Some(0) {
            self.verdicts.held(MAC_EMPTY);
        }
        let end = second.unwrap_or(0).min(data.len() as u64) as usize;
        let first = addresses(data.get(4..end));
        if !first.is_empty() {
            let ok = first.iter().all(|mac| mac[0] & 1 == 0);
            self.check(MAC_UNICAST, ok, "a multicast address in the first table");
        }
        let other = addresses(data.get(end + 4..));
        if !other.is_empty() {
            let ok = other.iter().all(|mac| mac[0] & 1 == 1);
            self.check(MAC_MULTICAST, ok, "a unicast address in the second table");
        }
    }

    fn pairs(&mut self) {
        let pairs = self.le16();
        if !self.check(MQ_DATA, pairs.is_some(), "not a 16-bit number") {
            return;
        }
        let max = self.command.max_virtqueue_pairs;
        let pairs = pairs.unwrap_or(0);
        if self.check(
            MQ_PAIRS,
            (1..=max).contains(&pairs),
            "not a number of pairs that the device has",
        ) {
            let configured = (0..pairs.saturating_mul(2)).all(|q| self.session.is_enabled(q));
            self.check(MQ_CONFIGURED, configured, "a queue is not enabled");
        }
    }

    fn offloads(&mut self) {
        let mask = (self.command.len == 8)
            .then(|| self.command.data.first_chunk())
            .flatten()
            .map(|bytes| u64::from_le_bytes(*bytes));
        if self.check(OFFLOADS_DATA, mask.is_some(), "not a 64-bit mask") {
            let surplus = mask.unwrap_or(0) & !(self.session.negotiated & OFFLOADS);
            self.check(
                OFFLOADS_SUBSET,
                surplus == 0,
                "an offload that was not negotiated",
            );
        }
    }

    fn le16(&self) -> Option<u16> {
        match (self.command.len, self.command.data) {
            (2, &[low, high]) => Some(u16::from_le_bytes([low, high])),
            _ => None,
        }
    }

    fn negotiated(&mut self, requirement: Req, feature: u64) {
        let ok = self.session.has(feature);
        self.check(requirement, ok, "the feature was not negotiated");
    }

    /// Judges by each reading whether a command of the MAC class has the feature that it needs.
    fn mac_negotiated(&mut self, by: [bool; 2]) {
        let command = self.command;
        self.verdicts.check_by(MAC_NEGOTIATED, by, None, || {
            says(command, "the feature was not negotiated")
        });
    }

    fn check(&mut self, requirement: Req, ok: bool, what: &str) -> bool {
        let command = self.command;
        self.verdicts
            .check(requirement, ok, None, || says(command, what))
    }
}

/// The whole MAC addresses in a table.
fn addresses(table: Option<&[u8]>) -> &[[u8; 6]] {
    table.unwrap_or_default().as_chunks().0
}
