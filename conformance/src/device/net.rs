//! The network device (§5.1 of virtio 1.0).

use super::{DeviceFacts, FeatureBit};
use crate::layout::{Field, read_only};

/// What the specification fixes of it.
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
        // A command turns offloads on and off: of no use without the control queue.
        FeatureBit::new(feature::CTRL_GUEST_OFFLOADS, "CTRL_GUEST_OFFLOADS").with(feature::CTRL_VQ),
        FeatureBit::new(feature::MAC, "MAC"),
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
    // §5.1.6.5.5.1 has a driver configure further pairs before it asks for them, which it may do at
    // any time.
    may_enable_later: |queue, negotiated| queue >= 2 && negotiated & feature::MQ != 0,
};

/// §5.1.2: pairs of queues, and the control queue behind them.
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
    read_only("mac", 0, 1, feature::MAC).times(6).always_there(),
    read_only("status", STATUS, 2, feature::STATUS),
    read_only("max_virtqueue_pairs", 8, 2, feature::MQ),
];

/// Offset of `status` in the configuration (§5.1.4), bytes.
pub const STATUS: u32 = 6;
