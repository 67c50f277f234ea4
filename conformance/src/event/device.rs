//! Events of the device types (§5). Sections are those of virtio 1.0.

use crate::latitude::Latitude;

/// The network device (§5.1).
#[derive(Clone, Copy, Debug)]
pub enum NetEvent<'a> {
    /// The device has gone live with this address in its configuration (§5.1.4).
    Address {
        /// `mac`.
        mac: [u8; 6],
    },
    /// The device has gone live with these virtqueues as its receive queues (§5.1.2).
    ReceiveQueues {
        /// A bit for each virtqueue, by index.
        queues: u64,
    },
    /// The device has looked how far the driver has made buffers available on a queue for packets. It does so
    /// for receiveq1 when it goes live, before [`NetEvent::Address`]; for all of them when it takes a
    /// VQ_PAIRS_SET command, before [`NetEvent::Command`]; and at each tick for receive queues in use that
    /// have had no buffer yet.
    RingRead(NetRing),
    /// The driver has sent packets through a transmit queue that is not in use. Comes after them.
    OutOfUse(NetOutOfUse),
    /// The device delivered a packet to the driver (§5.1.6.4). Reported if the device uses a latitude
    /// that changes packets.
    Received(NetReceived<'a>),
    /// The driver sent a command on the control queue (§5.1.6.5).
    Command(NetCommand<'a>),
}

/// The console device (§5.3).
#[derive(Clone, Copy, Debug)]
pub enum ConsoleEvent<'a> {
    /// The driver sent a message on the control transmit queue (§5.3.6.2).
    DriverMessage(ConsoleMessage<'a>),
    /// The device sent a message on the control receive queue (§5.3.6.2).
    DeviceMessage {
        /// Port number.
        id: u32,
        /// The event, `VIRTIO_CONSOLE_…`.
        event: u16,
        /// Its value.
        value: u16,
    },
}

/// `struct virtio_net_hdr` (§5.1.6) with `num_buffers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NetHeader {
    /// `VIRTIO_NET_HDR_F_…`
    pub flags: u8,
    /// `VIRTIO_NET_HDR_GSO_…`
    pub gso_type: u8,
    /// Ethernet, IP and transport header bytes.
    pub hdr_len: u16,
    /// Bytes of payload per segment.
    pub gso_size: u16,
    /// Where checksumming starts.
    pub csum_start: u16,
    /// Where the checksum goes, from `csum_start`.
    pub csum_offset: u16,
    /// Number of merged receive buffers.
    pub num_buffers: u16,
}

/// What the driver has made available on a queue for packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetRing {
    /// Which virtqueue.
    pub queue: u16,
    /// Up to which position of the queue; positions run freely.
    pub available: u16,
    /// Whether there has been any buffer since the device went live.
    pub populated: bool,
}

/// Packets on a transmit queue that is not in use (§5.1.6.5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetOutOfUse {
    /// Which virtqueue.
    pub queue: u16,
    /// How many packets the device has just taken.
    pub packets: u16,
    /// Up to which position of the queue it has taken them.
    pub taken: u16,
    /// How many commands the driver had made available on the control queue, when the device looked after it
    /// had taken the packets, that the device had not taken. One may be the command that brings the queue
    /// into use.
    pub commands: u16,
}

/// A packet to be sent (§5.1.6.2).
#[derive(Clone, Copy, Debug)]
pub struct NetTransmit<'a> {
    /// Which virtqueue.
    pub queue: u16,
    /// The header, if the device-readable part is long enough for one.
    pub header: Option<NetHeader>,
    /// Bytes of the packet after the header.
    pub len: u64,
    /// Device-writable bytes in the chain.
    pub writable: u64,
    /// The packet's first bytes: all of it, its headers, or nothing, as the device has shown it.
    pub bytes: &'a [u8],
}

/// A packet delivered to the driver (§5.1.6.4).
#[derive(Clone, Copy, Debug)]
pub struct NetReceived<'a> {
    /// The packet.
    pub bytes: &'a [u8],
    /// The latitude that the device used with this packet.
    pub unusual: Option<Latitude>,
}

/// A control command (§5.1.6.5).
#[derive(Clone, Copy, Debug)]
pub struct NetCommand<'a> {
    /// `class`, if there is one.
    pub class: Option<u8>,
    /// `command`, if there is one.
    pub command: Option<u8>,
    /// Command-specific data, bounded to what the device reads of it.
    pub data: &'a [u8],
    /// All bytes of command-specific data.
    pub len: u64,
    /// Device-writable bytes (for `ack`).
    pub writable: u64,
    /// `max_virtqueue_pairs` as presented.
    pub max_virtqueue_pairs: u16,
}

/// A block request (§5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRequest {
    /// Which virtqueue.
    pub queue: u16,
    /// `type` and `sector`, if the device-readable part is long enough for the header.
    pub header: Option<BlockHeader>,
    /// Device-readable bytes after the header.
    pub readable: u64,
    /// Device-writable bytes before the status byte (all of them, if there is no status byte).
    pub writable: u64,
    /// Whether there is a device-writable byte for the status.
    pub has_status: bool,
    /// Capacity in 512-byte sectors as presented.
    pub capacity: u64,
    /// Number of data segments (descriptors with data).
    pub segments: u32,
    /// Length of the longest data segment, bytes.
    pub longest_segment: u32,
    /// `seg_max` as presented, 0 if none.
    pub seg_max: u32,
    /// `size_max` as presented, 0 if none.
    pub size_max: u32,
}

/// The header of a block request (§5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// `VIRTIO_BLK_T_…`
    pub kind: u32,
    /// Reserved field after `type`.
    pub reserved: u32,
    /// Sector, of 512 bytes.
    pub sector: u64,
}

/// A console control message (§5.3.6.2).
#[derive(Clone, Copy, Debug)]
pub struct ConsoleMessage<'a> {
    /// Port number, if the buffer is long enough for a message.
    pub id: Option<u32>,
    /// The event, `VIRTIO_CONSOLE_…`.
    pub event: u16,
    /// Its value.
    pub value: u16,
    /// Bytes after the fixed part, bounded.
    pub rest: &'a [u8],
    /// `max_nr_ports` as presented.
    pub max_nr_ports: u32,
}
