//! The network device (§5.1 of virtio 1.0).

use super::{DeviceFacts, FeatureBit};
use crate::layout::{Field, read_only};

/// The facts that the specification defines about it.
pub(super) static FACTS: DeviceFacts = DeviceFacts {
    id: 1,
    transitional_id: 0x1000,
    // Network controller, Ethernet.
    pci_class: 0x02_0000,
    name: "net",
    feature_prefix: "VIRTIO_NET_F_",
    // Dependencies: §5.1.3.1.
    features: &[
        FeatureBit::new(feature::CSUM, "CSUM"),
        FeatureBit::new(feature::GUEST_CSUM, "GUEST_CSUM"),
        // Offloads are set by a command, so this is useless without the control queue.
        FeatureBit::new(feature::CTRL_GUEST_OFFLOADS, "CTRL_GUEST_OFFLOADS").with(feature::CTRL_VQ),
        // §5.1.4.2
        FeatureBit::new(feature::MAC, "MAC").recommended(),
        FeatureBit::new(feature::GUEST_TSO4, "GUEST_TSO4").requires(feature::GUEST_CSUM),
        FeatureBit::new(feature::GUEST_TSO6, "GUEST_TSO6").requires(feature::GUEST_CSUM),
        FeatureBit::new(feature::GUEST_ECN, "GUEST_ECN")
            .requires(feature::GUEST_TSO4 | feature::GUEST_TSO6),
        FeatureBit::new(feature::GUEST_UFO, "GUEST_UFO").requires(feature::GUEST_CSUM),
        FeatureBit::new(feature::HOST_TSO4, "HOST_TSO4").requires(feature::CSUM),
        FeatureBit::new(feature::HOST_TSO6, "HOST_TSO6").requires(feature::CSUM),
        FeatureBit::new(feature::HOST_ECN, "HOST_ECN")
            .requires(feature::HOST_TSO4 | feature::HOST_TSO6),
        FeatureBit::new(feature::HOST_UFO, "HOST_UFO").requires(feature::CSUM),
        FeatureBit::new(feature::MRG_RXBUF, "MRG_RXBUF"),
        FeatureBit::new(feature::STATUS, "STATUS"),
        FeatureBit::new(feature::CTRL_VQ, "CTRL_VQ"),
        FeatureBit::new(feature::CTRL_RX, "CTRL_RX").requires(feature::CTRL_VQ),
        FeatureBit::new(feature::CTRL_VLAN, "CTRL_VLAN").requires(feature::CTRL_VQ),
        // As CTRL_GUEST_OFFLOADS.
        FeatureBit::new(feature::CTRL_RX_EXTRA, "CTRL_RX_EXTRA").with(feature::CTRL_VQ),
        FeatureBit::new(feature::GUEST_ANNOUNCE, "GUEST_ANNOUNCE").requires(feature::CTRL_VQ),
        FeatureBit::new(feature::MQ, "MQ").requires(feature::CTRL_VQ),
        FeatureBit::new(feature::CTRL_MAC_ADDR, "CTRL_MAC_ADDR").requires(feature::CTRL_VQ),
    ],
    config: CONFIG,
    queue_name,
    // §5.1.6.5.5.1: a driver configures additional pairs before it enables them, which it may do at any
    // time.
    may_enable_later: |queue, negotiated| queue >= 2 && negotiated & feature::MQ != 0,
};

/// §5.1.2: pairs of queues, and the control queue after them.
fn queue_name(queue: u16, negotiated: u64) -> String {
    match queue {
        2 if negotiated & (feature::MQ | feature::CTRL_VQ) == feature::CTRL_VQ => {
            "controlq".to_owned()
        }
        receive if receive % 2 == 0 => format!("receiveq{}", receive / 2 + 1),
        transmit => format!("transmitq{}", transmit / 2 + 1),
    }
}

/// Feature bits (§5.1.3), as masks of the 64-bit feature word.
pub mod feature {
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

/// `struct virtio_net_config` (§5.1.4).
static CONFIG: &[Field] = &[
    // §5.1.4: mac always exists, though it is valid only with VIRTIO_NET_F_MAC.
    read_only("mac", config::MAC, 1, feature::MAC)
        .times(6)
        .always_there(),
    read_only("status", config::STATUS, 2, feature::STATUS),
    read_only(
        "max_virtqueue_pairs",
        config::MAX_VIRTQUEUE_PAIRS,
        2,
        feature::MQ,
    ),
];

/// Bytes of `struct virtio_net_hdr` (§5.1.6). With VIRTIO_F_VERSION_1 it always ends in `num_buffers`.
pub const HEADER_LEN: usize = 12;

/// The `flags` of `struct virtio_net_hdr`, 8 bits (§5.1.6).
pub mod flags {
    /// VIRTIO_NET_HDR_F_NEEDS_CSUM: the packet is partially checksummed.
    pub const NEEDS_CSUM: u8 = 1;
    /// VIRTIO_NET_HDR_F_DATA_VALID: the packet's checksum has been validated (device to driver only).
    pub const DATA_VALID: u8 = 2;
    /// All flags that are defined.
    pub const DEFINED: u8 = NEEDS_CSUM | DATA_VALID;
}

/// The `gso_type` of `struct virtio_net_hdr`, 8 bits (§5.1.6).
pub mod gso {
    /// VIRTIO_NET_HDR_GSO_NONE: not a packet to be segmented.
    pub const NONE: u8 = 0;
    /// VIRTIO_NET_HDR_GSO_TCPV4: TCP over IPv4.
    pub const TCPV4: u8 = 1;
    /// VIRTIO_NET_HDR_GSO_UDP: UDP, to be fragmented by IP.
    pub const UDP: u8 = 3;
    /// VIRTIO_NET_HDR_GSO_TCPV6: TCP over IPv6.
    pub const TCPV6: u8 = 4;
    /// VIRTIO_NET_HDR_GSO_ECN: a bit beside the type. The TCP packet has an ECN bit set.
    pub const ECN: u8 = 0x80;
}

/// Offsets of fields in `struct virtio_net_config` (§5.1.4), in bytes.
pub mod config {
    /// `mac`, 6 bytes.
    pub const MAC: u32 = 0;
    /// `status`, 16 bits.
    pub const STATUS: u32 = 6;
    /// `max_virtqueue_pairs`, 16 bits.
    pub const MAX_VIRTQUEUE_PAIRS: u32 = 8;
}

/// The bits of `status` in `struct virtio_net_config`, 16 bits (§5.1.4).
pub mod status {
    /// VIRTIO_NET_S_LINK_UP: the link is up.
    pub const LINK_UP: u16 = 1;
    /// VIRTIO_NET_S_ANNOUNCE: the driver should announce itself (§5.1.6.5.4).
    pub const ANNOUNCE: u16 = 2;
}

/// The `ack` of a command on the control virtqueue, 8 bits (§5.1.6.5).
pub mod ack {
    /// VIRTIO_NET_OK: the command has been carried out.
    pub const OK: u8 = 0;
    /// VIRTIO_NET_ERR: it has not.
    pub const ERR: u8 = 1;
}

/// The `class` of commands on the control virtqueue, 8 bits (§5.1.6.5).
pub mod class {
    /// VIRTIO_NET_CTRL_RX: receive filter modes (§5.1.6.5.1); see [`rx`](super::rx).
    pub const RX: u8 = 0;
    /// VIRTIO_NET_CTRL_MAC: MAC address filtering (§5.1.6.5.2); see [`mac`](super::mac).
    pub const MAC: u8 = 1;
    /// VIRTIO_NET_CTRL_VLAN: VLAN filtering (§5.1.6.5.3); see [`vlan`](super::vlan).
    pub const VLAN: u8 = 2;
    /// VIRTIO_NET_CTRL_ANNOUNCE: gratuitous packets (§5.1.6.5.4); see [`announce`](super::announce).
    pub const ANNOUNCE: u8 = 3;
    /// VIRTIO_NET_CTRL_MQ: queue pairs in use (§5.1.6.5.5); see [`mq`](super::mq).
    pub const MQ: u8 = 4;
    /// VIRTIO_NET_CTRL_GUEST_OFFLOADS: offloads of received packets (§5.1.6.5.6); see
    /// [`guest_offloads`](super::guest_offloads).
    pub const GUEST_OFFLOADS: u8 = 5;
}

/// Commands of class VIRTIO_NET_CTRL_RX (§5.1.6.5.1). Their data is one byte, 0 or 1.
pub mod rx {
    /// VIRTIO_NET_CTRL_RX_PROMISC: all packets.
    pub const PROMISC: u8 = 0;
    /// VIRTIO_NET_CTRL_RX_ALLMULTI: all multicast packets.
    pub const ALLMULTI: u8 = 1;
    /// VIRTIO_NET_CTRL_RX_ALLUNI: all unicast packets.
    pub const ALLUNI: u8 = 2;
    /// VIRTIO_NET_CTRL_RX_NOMULTI: no multicast packets.
    pub const NOMULTI: u8 = 3;
    /// VIRTIO_NET_CTRL_RX_NOUNI: no unicast packets.
    pub const NOUNI: u8 = 4;
    /// VIRTIO_NET_CTRL_RX_NOBCAST: no broadcast packets.
    pub const NOBCAST: u8 = 5;
}

/// Commands of class VIRTIO_NET_CTRL_MAC (§5.1.6.5.2).
pub mod mac {
    /// VIRTIO_NET_CTRL_MAC_TABLE_SET: sets the tables of unicast and multicast addresses.
    pub const TABLE_SET: u8 = 0;
    /// VIRTIO_NET_CTRL_MAC_ADDR_SET: sets the default address.
    pub const ADDR_SET: u8 = 1;
}

/// Commands of class VIRTIO_NET_CTRL_VLAN (§5.1.6.5.3). Their data is a 16-bit VLAN id, little-endian.
pub mod vlan {
    /// VIRTIO_NET_CTRL_VLAN_ADD: receives packets of the VLAN.
    pub const ADD: u8 = 0;
    /// VIRTIO_NET_CTRL_VLAN_DEL: does not receive them any more.
    pub const DEL: u8 = 1;
}

/// The command of class VIRTIO_NET_CTRL_ANNOUNCE (§5.1.6.5.4).
pub mod announce {
    /// VIRTIO_NET_CTRL_ANNOUNCE_ACK: VIRTIO_NET_S_ANNOUNCE has been seen. It has no data.
    pub const ACK: u8 = 0;
}

/// The command of class VIRTIO_NET_CTRL_MQ (§5.1.6.5.5).
pub mod mq {
    /// VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET: sets the number of queue pairs in use, 16 bits, little-endian.
    pub const VQ_PAIRS_SET: u8 = 0;
}

/// The command of class VIRTIO_NET_CTRL_GUEST_OFFLOADS (§5.1.6.5.6).
pub mod guest_offloads {
    /// VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET: turns on these offloads and no others; a 64-bit mask of
    /// feature bits, little-endian.
    pub const SET: u8 = 0;
}
