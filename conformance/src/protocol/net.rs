//! Numbers of the network device (§5.1).

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
    /// VIRTIO_NET_CTRL_VLAN_DEL: receives them no more.
    pub const DEL: u8 = 1;
}

/// The command of class VIRTIO_NET_CTRL_ANNOUNCE (§5.1.6.5.4).
pub mod announce {
    /// VIRTIO_NET_CTRL_ANNOUNCE_ACK: VIRTIO_NET_S_ANNOUNCE has been seen. It has no data.
    pub const ACK: u8 = 0;
}

/// The command of class VIRTIO_NET_CTRL_MQ (§5.1.6.5.5).
pub mod mq {
    /// VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET: uses so many queue pairs, 16 bits, little-endian.
    pub const VQ_PAIRS_SET: u8 = 0;
}

/// The command of class VIRTIO_NET_CTRL_GUEST_OFFLOADS (§5.1.6.5.6).
pub mod guest_offloads {
    /// VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET: turns on these offloads and no others; a 64-bit mask of
    /// feature bits, little-endian.
    pub const SET: u8 = 0;
}
