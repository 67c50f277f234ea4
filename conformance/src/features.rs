//! Feature bits (§2.2, §5, §6), as masks of the 64-bit feature word.

use crate::latitude::Draw;
use crate::layout::DeviceKind;

/// Buffers may use indirect descriptors (§2.4.5.3).
pub const RING_INDIRECT_DESC: u64 = 1 << 28;
/// `used_event` and `avail_event` are in use (§2.4.7, §2.4.9).
pub const RING_EVENT_IDX: u64 = 1 << 29;
/// The device complies with version 1.0 (§6).
pub const VERSION_1: u64 = 1 << 32;

/// Network device feature bits (§5.1.3).
pub mod net {
    /// Device handles packets with partial checksum.
    pub const CSUM: u64 = 1 << 0;
    /// Driver handles packets with partial checksum.
    pub const GUEST_CSUM: u64 = 1 << 1;
    /// Control channel offloads reconfiguration support.
    pub const CTRL_GUEST_OFFLOADS: u64 = 1 << 2;
    /// Device has given MAC address.
    pub const MAC: u64 = 1 << 5;
    /// Driver can receive TSOv4.
    pub const GUEST_TSO4: u64 = 1 << 7;
    /// Driver can receive TSOv6.
    pub const GUEST_TSO6: u64 = 1 << 8;
    /// Driver can receive TSO with ECN.
    pub const GUEST_ECN: u64 = 1 << 9;
    /// Driver can receive UFO.
    pub const GUEST_UFO: u64 = 1 << 10;
    /// Device can receive TSOv4.
    pub const HOST_TSO4: u64 = 1 << 11;
    /// Device can receive TSOv6.
    pub const HOST_TSO6: u64 = 1 << 12;
    /// Device can receive TSO with ECN.
    pub const HOST_ECN: u64 = 1 << 13;
    /// Device can receive UFO.
    pub const HOST_UFO: u64 = 1 << 14;
    /// Driver can merge receive buffers.
    pub const MRG_RXBUF: u64 = 1 << 15;
    /// Configuration status field is available.
    pub const STATUS: u64 = 1 << 16;
    /// Control channel is available.
    pub const CTRL_VQ: u64 = 1 << 17;
    /// Control channel RX mode support.
    pub const CTRL_RX: u64 = 1 << 18;
    /// Control channel VLAN filtering.
    pub const CTRL_VLAN: u64 = 1 << 19;
    /// Control channel RX extra mode support.
    pub const CTRL_RX_EXTRA: u64 = 1 << 20;
    /// Driver can send gratuitous packets.
    pub const GUEST_ANNOUNCE: u64 = 1 << 21;
    /// Device supports multiqueue with automatic receive steering.
    pub const MQ: u64 = 1 << 22;
    /// Set MAC address through control channel.
    pub const CTRL_MAC_ADDR: u64 = 1 << 23;
}

/// Block device feature bits (§5.2.3).
pub mod block {
    /// Maximum size of any single segment is in `size_max`.
    pub const SIZE_MAX: u64 = 1 << 1;
    /// Maximum number of segments in a request is in `seg_max`.
    pub const SEG_MAX: u64 = 1 << 2;
    /// Disk-style geometry specified in `geometry`.
    pub const GEOMETRY: u64 = 1 << 4;
    /// Device is read-only.
    pub const RO: u64 = 1 << 5;
    /// Block size of disk is in `blk_size`.
    pub const BLK_SIZE: u64 = 1 << 6;
    /// Cache flush command support.
    pub const FLUSH: u64 = 1 << 9;
    /// Device exports information on optimal I/O alignment.
    pub const TOPOLOGY: u64 = 1 << 10;
    /// Device can toggle its cache between writeback and writethrough modes.
    pub const CONFIG_WCE: u64 = 1 << 11;
}

/// Console device feature bits (§5.3.3).
pub mod console {
    /// Configuration `cols` and `rows` are valid.
    pub const SIZE: u64 = 1 << 0;
    /// Device has support for multiple ports.
    pub const MULTIPORT: u64 = 1 << 1;
    /// Device has support for emergency write.
    pub const EMERG_WRITE: u64 = 1 << 2;
}

/// Feature bits that need another one, each with those of which one must be there too.
pub const fn dependencies(kind: DeviceKind) -> &'static [(u64, u64)] {
    match kind {
        // §5.1.3.1
        DeviceKind::Net => &[
            (net::GUEST_TSO4, net::GUEST_CSUM),
            (net::GUEST_TSO6, net::GUEST_CSUM),
            (net::GUEST_ECN, net::GUEST_TSO4 | net::GUEST_TSO6),
            (net::GUEST_UFO, net::GUEST_CSUM),
            (net::HOST_TSO4, net::CSUM),
            (net::HOST_TSO6, net::CSUM),
            (net::HOST_ECN, net::HOST_TSO4 | net::HOST_TSO6),
            (net::HOST_UFO, net::CSUM),
            (net::CTRL_RX, net::CTRL_VQ),
            (net::CTRL_VLAN, net::CTRL_VQ),
            (net::GUEST_ANNOUNCE, net::CTRL_VQ),
            (net::MQ, net::CTRL_VQ),
            (net::CTRL_MAC_ADDR, net::CTRL_VQ),
        ],
        DeviceKind::Block | DeviceKind::Console | DeviceKind::Entropy => &[],
    }
}

/// The bits of `features` that need another one which is not there (§2.2.1).
pub fn unmet(kind: DeviceKind, features: u64) -> u64 {
    dependencies(kind)
        .iter()
        .filter(|(bit, needs)| features & bit != 0 && features & needs == 0)
        .fold(0, |unmet, (bit, _)| unmet | bit)
}

/// Feature bits to which no version of the specification gives a meaning: a device that offers them
/// is of a time to come.
pub const UNKNOWN: u64 = 0x1f << 44;

/// Takes from `features` those that need another one which is not there, and goes on until no such is
/// left (§2.2.2).
pub fn complete(kind: DeviceKind, mut features: u64) -> u64 {
    loop {
        match unmet(kind, features) {
            0 => return features,
            unmet => features &= !unmet,
        }
    }
}

/// A subset of `offered` that a device of type `kind` may offer as well: in some draws none of them
/// at all, in some all but one and those that require it. `kept` are those that say what the
/// device is, and stay.
pub fn subset(kind: DeviceKind, offered: u64, kept: u64, draw: &mut Draw) -> u64 {
    let bits: Vec<u64> = (0..64).map(|bit| 1 << bit).collect();
    let optional: Vec<u64> = bits
        .into_iter()
        .filter(|bit| offered & !kept & bit != 0)
        .collect();
    if optional.is_empty() {
        return offered;
    }
    let withheld = match draw.below(4) {
        0 => offered,
        1 => draw.of(&optional),
        _ => optional
            .iter()
            .filter(|_| draw.one_in(3))
            .fold(0, |all, bit| all | bit),
    };
    let mut features = offered & (kept | !withheld);
    match kind {
        // §5.2.5.2: CONFIG_WCE goes with FLUSH.
        DeviceKind::Block if features & block::FLUSH == 0 => features &= !block::CONFIG_WCE,
        // These are asked for by commands: not required by §5.1.3.1, but of no use without.
        DeviceKind::Net if features & net::CTRL_VQ == 0 => {
            features &= !(net::CTRL_RX_EXTRA | net::CTRL_GUEST_OFFLOADS);
        }
        _ => {}
    }
    complete(kind, features)
}

/// The set bits by name, for messages: `VIRTIO_NET_F_CSUM|VIRTIO_F_VERSION_1`.
pub fn names(kind: DeviceKind, bits: u64) -> String {
    let (prefix, own): (&str, &[(u64, &str)]) = match kind {
        DeviceKind::Net => ("VIRTIO_NET_F_", &NET_NAMES),
        DeviceKind::Block => ("VIRTIO_BLK_F_", &BLOCK_NAMES),
        DeviceKind::Console => ("VIRTIO_CONSOLE_F_", &CONSOLE_NAMES),
        DeviceKind::Entropy => ("", &[]),
    };
    let parts: Vec<String> = (0..64)
        .filter(|bit| bits >> bit & 1 != 0)
        .map(|bit| {
            let named = |(prefix, names): (&str, &[(u64, &str)])| {
                names
                    .iter()
                    .find(|(mask, _)| *mask == 1 << bit)
                    .map(|(_, name)| format!("{prefix}{name}"))
            };
            named((prefix, own))
                .or_else(|| named(("VIRTIO_F_", &RESERVED_NAMES)))
                .unwrap_or_else(|| format!("bit {bit}"))
        })
        .collect();
    if parts.is_empty() {
        "no feature".to_owned()
    } else {
        parts.join("|")
    }
}

const RESERVED_NAMES: [(u64, &str); 3] = [
    (RING_INDIRECT_DESC, "RING_INDIRECT_DESC"),
    (RING_EVENT_IDX, "RING_EVENT_IDX"),
    (VERSION_1, "VERSION_1"),
];

const NET_NAMES: [(u64, &str); 21] = [
    (net::CSUM, "CSUM"),
    (net::GUEST_CSUM, "GUEST_CSUM"),
    (net::CTRL_GUEST_OFFLOADS, "CTRL_GUEST_OFFLOADS"),
    (net::MAC, "MAC"),
    (net::GUEST_TSO4, "GUEST_TSO4"),
    (net::GUEST_TSO6, "GUEST_TSO6"),
    (net::GUEST_ECN, "GUEST_ECN"),
    (net::GUEST_UFO, "GUEST_UFO"),
    (net::HOST_TSO4, "HOST_TSO4"),
    (net::HOST_TSO6, "HOST_TSO6"),
    (net::HOST_ECN, "HOST_ECN"),
    (net::HOST_UFO, "HOST_UFO"),
    (net::MRG_RXBUF, "MRG_RXBUF"),
    (net::STATUS, "STATUS"),
    (net::CTRL_VQ, "CTRL_VQ"),
    (net::CTRL_RX, "CTRL_RX"),
    (net::CTRL_VLAN, "CTRL_VLAN"),
    (net::CTRL_RX_EXTRA, "CTRL_RX_EXTRA"),
    (net::GUEST_ANNOUNCE, "GUEST_ANNOUNCE"),
    (net::MQ, "MQ"),
    (net::CTRL_MAC_ADDR, "CTRL_MAC_ADDR"),
];

const BLOCK_NAMES: [(u64, &str); 8] = [
    (block::SIZE_MAX, "SIZE_MAX"),
    (block::SEG_MAX, "SEG_MAX"),
    (block::GEOMETRY, "GEOMETRY"),
    (block::RO, "RO"),
    (block::BLK_SIZE, "BLK_SIZE"),
    (block::FLUSH, "FLUSH"),
    (block::TOPOLOGY, "TOPOLOGY"),
    (block::CONFIG_WCE, "CONFIG_WCE"),
];

const CONSOLE_NAMES: [(u64, &str); 3] = [
    (console::SIZE, "SIZE"),
    (console::MULTIPORT, "MULTIPORT"),
    (console::EMERG_WRITE, "EMERG_WRITE"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_whole_and_every_bit_is_missing_from_some_and_in_some() {
        let every = |kind: DeviceKind, bits: u64, kept: u64| {
            let mut draw = Draw::new(3, 1);
            let (mut all, mut some) = (u64::MAX, 0);
            for _ in 0..1000 {
                let subset = subset(kind, bits, kept, &mut draw);
                assert_eq!(subset & !bits, 0);
                assert_eq!(subset & kept, kept);
                assert_eq!(unmet(kind, subset), 0);
                if kind == DeviceKind::Block {
                    assert!(subset & block::CONFIG_WCE == 0 || subset & block::FLUSH != 0);
                }
                all &= subset;
                some |= subset;
            }
            assert_eq!((all, some), (kept, bits));
        };
        every(DeviceKind::Net, 0xff_ffa7, 0);
        every(DeviceKind::Block, 0xe76, block::RO);
        every(DeviceKind::Console, 0b111, 0);
        every(DeviceKind::Entropy, 0, 0);
    }
}
