//! What a driver did, in the specification's terms.
//!
//! An event speaks of what happened, never of what was wrong. Events borrow what they describe, so
//! that telling one costs nothing; the frequent ones (those of the rings) are small.

use crate::latitude::Latitude;
use crate::layout::Structure;

/// One move of the driver, or the device's answer to one.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    // ---- What the device makes use of
    /// The device makes use of a latitude, from the start.
    Latitude(Latitude),
    /// The device has just done what this latitude is about, in sight of the driver.
    MadeUse(Latitude),
    /// The driver accessed a structure where a capability presents it that is not the first of its
    /// type (§4.1.4.1).
    SecondInstance {
        /// The structure.
        structure: Structure,
    },
    /// The device sent a virtqueue interrupt without having used a buffer (§2.4.7.1).
    SpuriousInterrupt,

    /// The device-specific configuration has changed between two reads of it, and config_generation
    /// with it (§2.3.1).
    ChangedUnderWay,

    // ---- PCI configuration space
    /// A byte range of one of the virtio capability structures in configuration space was written
    /// (§4.1.4). Writes to the PCI configuration access capability's own writable fields are told
    /// as [`Event::WindowAddressed`] and [`Event::WindowAccessed`] instead.
    CapabilityWritten {
        /// `cfg_type` of the capability.
        cfg_type: u8,
        /// Offset of the first byte written, within the capability.
        offset: u8,
        /// How many bytes were written.
        width: u8,
    },
    /// The driver wrote `cap.bar`, `cap.offset` or `cap.length` of the PCI configuration access
    /// capability (§4.1.4.7); these are the values after the write.
    WindowAddressed {
        /// `cap.bar`.
        bar: u8,
        /// `cap.offset`.
        offset: u32,
        /// `cap.length`.
        length: u32,
        /// Which of the three was written.
        field: WindowField,
    },
    /// The driver read or wrote `pci_cfg_data` (§4.1.4.7).
    WindowAccessed {
        /// Whether it wrote.
        write: bool,
        /// `cap.bar`.
        bar: u8,
        /// `cap.offset`.
        offset: u32,
        /// `cap.length`.
        length: u32,
        /// The structure, presented by another capability, in which all of these bytes lie.
        target: Option<Structure>,
        /// How many bytes of `pci_cfg_data` the access has, from the first on; 0 if not the first.
        bytes: u8,
    },

    // ---- Registers in BARs
    /// The driver read from a structure in a BAR.
    RegisterRead(Register),
    /// The driver wrote to a structure in a BAR. What the write means is told by a further event
    /// where the rules need it (status, features, queues, notifications).
    RegisterWritten(Register),

    // ---- Device status (§2.1)
    /// `device_status` was read.
    StatusRead {
        /// What the device presented.
        value: u8,
    },
    /// `device_status` was written. Zero asks for a reset.
    StatusWritten {
        /// What the device presented before.
        from: u8,
        /// What the driver wrote.
        to: u8,
    },
    /// The device has completed a reset the driver asked for.
    ResetDone,
    /// The device has set DEVICE_NEEDS_RESET (§2.1.2).
    NeedsReset,

    // ---- Features (§2.2)
    /// `device_feature` was read.
    DeviceFeaturesRead {
        /// `device_feature_select` at that time.
        select: u32,
    },
    /// `driver_feature` was written.
    DriverFeaturesWritten {
        /// `driver_feature_select` at that time.
        select: u32,
        /// The 32 bits written.
        value: u32,
    },
    /// The driver set FEATURES_OK, and the device decided.
    FeaturesDecided {
        /// What the device offers.
        offered: u64,
        /// What the driver has written to `driver_feature`, the first 64 bits.
        accepted: u64,
        /// Whether the device keeps FEATURES_OK set.
        kept: bool,
    },

    // ---- Queues (§2.4, §4.1.4.3, §4.1.5.1.3)
    /// `queue_size` was read.
    QueueSizeRead {
        /// `queue_select`.
        queue: u16,
    },
    /// `queue_size` was written.
    QueueSizeWritten {
        /// `queue_select`.
        queue: u16,
        /// What was written.
        value: u16,
        /// The size the device presented on reset, 0 if there is no such queue.
        max: u16,
    },
    /// One of `queue_desc`, `queue_avail`, `queue_used` was written, in whole or in half.
    QueueAddressWritten {
        /// `queue_select`.
        queue: u16,
        /// Which part of the virtqueue.
        part: RingPart,
        /// The address that the write makes of what was there. The device keeps the old one if the
        /// queue is enabled.
        address: u64,
    },
    /// `queue_enable` was written.
    QueueEnableWritten {
        /// `queue_select`.
        queue: u16,
        /// What was written.
        value: u16,
        /// What the device knows of the queue at that moment; `None` if there is no such queue.
        setup: Option<QueueSetup>,
    },
    /// `msix_config` or `queue_msix_vector` was written (§4.1.5.1.2).
    VectorWritten {
        /// The queue, or `None` for `msix_config`.
        queue: Option<u16>,
        /// What was written.
        value: u16,
        /// Number of vectors in the MSI-X table (0 without the capability).
        vectors: u16,
        /// Whether MSI-X is enabled.
        enabled: bool,
    },
    /// `msix_config` or `queue_msix_vector` was read.
    VectorRead {
        /// The queue, or `None` for `msix_config`.
        queue: Option<u16>,
        /// What the device presented.
        value: u16,
    },
    /// The driver wrote into the notification structure (§4.1.4.4, §4.1.5.2).
    Notified {
        /// The queues whose notify address this is: the one named by the value where several share
        /// it, else the one of the address; `None` if no enabled or existing queue matches.
        queue: Option<u16>,
        /// The value written.
        value: u32,
        /// Width of the write, bytes.
        width: u8,
        /// Whether that queue has been enabled.
        enabled: bool,
    },

    /// The notification was for a queue of a live device. Told after [`Event::Notified`].
    NotifiedLive(NotifiedLive),
    /// The device has asked to be notified of new buffers, and there have been some, and no
    /// notification, for `ticks` times a span that is too long for one to be under way (§2.4.9). What
    /// the driver was told had been the same since before it made them available.
    NotNotified {
        /// Which virtqueue.
        queue: u16,
        /// Whether it was `avail_event` that asked, rather than `flags`.
        event_idx: bool,
        /// The available ring's position of the first buffer there is; what avail_event is, if it is
        /// in use.
        position: u16,
        /// `idx` of the available ring.
        idx: u16,
        /// How many of these spans have passed.
        ticks: u32,
    },

    // ---- Interrupts
    /// The driver read ISR status (§4.1.4.5).
    IsrRead {
        /// What the device presented.
        value: u8,
        /// Whether MSI-X is enabled.
        msix_enabled: bool,
    },

    // ---- Device-specific configuration (§2.3)
    /// The device changed its configuration, and `config_generation` with it.
    ConfigChanged {
        /// The new generation.
        generation: u8,
    },

    // ---- Rings (§2.4)
    /// The device looked at the used ring of a live queue before it looked at the available ring, and
    /// did not find what it had written there. Told before [`Event::AvailableRead`].
    UsedRingAltered {
        /// Which virtqueue.
        queue: u16,
        /// The field: `flags`, `idx` or `avail_event`.
        field: &'static str,
        /// What the device had written.
        written: u16,
        /// What is there now.
        found: u16,
    },
    /// The device looked at the available ring's header.
    AvailableRead(AvailableRead),
    /// The device took a descriptor chain from the available ring.
    Chain(Chain<'a>),
    /// The device returned a chain through the used ring.
    Used {
        /// Which virtqueue.
        queue: u16,
        /// The head of the chain.
        head: u16,
        /// `len` as written to the used ring.
        len: u32,
    },
    /// Before it returned a chain, the device compared its descriptors, those of an indirect table as
    /// well, with what they were when it took it. It does so with some chains, not with all.
    Compared {
        /// Which virtqueue.
        queue: u16,
        /// The head of the chain.
        head: u16,
        /// The first descriptor that is not what it was, as it was.
        altered: Option<Element>,
    },

    // ---- Device types
    /// A network device has come to life with this address in its configuration (§5.1.4).
    NetAddress {
        /// `mac`.
        mac: [u8; 6],
    },
    /// There was a packet for a receive queue in use that has had no buffer since the device came to
    /// life. It is lost.
    NetUnpopulated {
        /// Which virtqueue.
        queue: u16,
    },
    /// The driver asked a network device to transmit a packet (§5.1.6.2).
    NetTransmit(NetTransmit<'a>),
    /// The network device handed the driver a packet (§5.1.6.4). Told where it makes use of a latitude
    /// that is about these.
    NetReceived(NetReceived<'a>),
    /// The driver gave a network device a receive buffer (§5.1.6.3).
    NetReceiveBuffer {
        /// Which virtqueue.
        queue: u16,
        /// Device-writable bytes.
        len: u64,
        /// Device-readable bytes.
        readable: u64,
    },
    /// The driver sent a command on the network device's control queue (§5.1.6.5).
    NetCommand(NetCommand<'a>),
    /// The driver made a request of a block device (§5.2.6).
    BlockRequest(BlockRequest),
    /// The driver sent a message on the console's control transmit queue (§5.3.6.2).
    ConsoleMessage(ConsoleMessage<'a>),
    /// The device sent a message on the console's control receive queue (§5.3.6.2).
    ConsoleMessageSent {
        /// Port number.
        id: u32,
        /// The event, `VIRTIO_CONSOLE_…`.
        event: u16,
        /// Its value.
        value: u16,
    },
}

impl Event<'_> {
    /// Whether the event comes with every buffer and changes no [session](crate::session) state.
    #[inline(always)]
    pub const fn is_frequent(&self) -> bool {
        matches!(
            self,
            Event::AvailableRead(_)
                | Event::Chain(_)
                | Event::Used { .. }
                | Event::Compared { .. }
                | Event::NetTransmit(_)
                | Event::NetReceiveBuffer { .. }
                | Event::BlockRequest(_)
        )
    }
}

/// A field of the PCI configuration access capability that selects what `pci_cfg_data` reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowField {
    /// `cap.bar`
    Bar,
    /// `cap.offset`
    Offset,
    /// `cap.length`
    Length,
}

/// An access to a structure in a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// The structure.
    pub structure: Structure,
    /// Offset in it, bytes.
    pub offset: u32,
    /// Width of the access, bytes.
    pub width: u8,
    /// What was written or presented, little-endian.
    pub value: u64,
    /// Whether it came through the PCI configuration access capability (§4.1.4.7).
    pub through_window: bool,
}

/// The three parts of a virtqueue (§2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingPart {
    /// Descriptor table.
    Descriptor,
    /// Available ring.
    Available,
    /// Used ring.
    Used,
}

impl RingPart {
    /// Required alignment, bytes (§2.4).
    pub const fn alignment(self) -> u64 {
        match self {
            RingPart::Descriptor => 16,
            RingPart::Available => 2,
            RingPart::Used => 4,
        }
    }

    /// Name of the register that holds its address.
    pub const fn register(self) -> &'static str {
        match self {
            RingPart::Descriptor => "queue_desc",
            RingPart::Available => "queue_avail",
            RingPart::Used => "queue_used",
        }
    }
}

/// A virtqueue's set-up, as the device sees it when the driver enables it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSetup {
    /// `queue_size`.
    pub size: u16,
    /// The size the device presented on reset.
    pub max: u16,
    /// `queue_desc`.
    pub desc: u64,
    /// `queue_avail`.
    pub avail: u64,
    /// `queue_used`.
    pub used: u64,
    /// Whether it was enabled already.
    pub enabled: bool,
    /// `flags` of the used ring as found in memory, `None` if the used ring is not in memory.
    pub used_flags: Option<u16>,
    /// Its `idx`.
    pub used_idx: Option<u16>,
    /// Whether all three parts lie in the guest's memory.
    pub in_memory: bool,
}

/// A notification of a live queue, against what the device has told the driver (§2.4.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifiedLive {
    /// Which virtqueue.
    pub queue: u16,
    /// Whether `avail_event` says when to notify, rather than `flags`.
    pub event_idx: bool,
    /// The device had asked for it, having had nothing to take, and now there is something.
    pub asked: bool,
    /// The device has `flags` at 1.
    pub advised_against: bool,
    /// The how-manieth notification since the device last changed `flags` or `avail_event`, from 1.
    /// Those under way when it did are among them.
    pub since: u32,
}

/// The header of the available ring, as read (§2.4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvailableRead {
    /// Which virtqueue.
    pub queue: u16,
    /// Queue size.
    pub size: u16,
    /// `flags`.
    pub flags: u16,
    /// `idx` when it was read before.
    pub previous: u16,
    /// `idx` now.
    pub idx: u16,
    /// How many chains the device has taken so far, modulo 2^16: `idx` up to which it has worked.
    pub taken: u16,
}

/// A descriptor chain, walked as far as it can be.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a> {
    /// Which virtqueue.
    pub queue: u16,
    /// Queue size.
    pub size: u16,
    /// The ring entry: index of the first descriptor. May be anything a driver can write.
    pub head: u16,
    /// The descriptors in the order walked, those of an indirect table after the one that refers to
    /// it.
    pub elements: &'a [Element],
    /// How the walk ended. Borrowed, for it is rarely looked at beyond its being
    /// [complete](ChainEnd::Complete).
    pub end: &'a ChainEnd,
    /// Whether the device still holds a chain with this head (given before, and not returned).
    pub head_in_flight: bool,
}

/// One descriptor as read from a table (§2.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// `addr`.
    pub addr: u64,
    /// `len`.
    pub len: u32,
    /// `flags`.
    pub flags: u16,
    /// `next`.
    pub next: u16,
    /// Its index in its table.
    pub index: u16,
    /// Whether that is an indirect table.
    pub indirect: bool,
}

/// How the walk of a chain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainEnd {
    /// At a descriptor without NEXT: the chain is complete.
    Complete,
    /// At a head that is no descriptor of the table; there are no elements.
    HeadOutOfRange,
    /// At a `next` that is no descriptor of its table.
    NextOutOfRange {
        /// That `next`.
        next: u16,
        /// Number of descriptors in the table.
        table: u32,
    },
    /// After as many descriptors as the walk allows (the queue size for each table), with NEXT still
    /// set: a loop or an over-long chain.
    TooLong,
    /// At a descriptor with INDIRECT whose table the device cannot walk: nested, of a length that is
    /// not a multiple of 16 or is 0, or outside memory. The refering element is the last one.
    Indirect(IndirectFault),
    /// At a buffer that does not lie in the guest's memory; it is the last element.
    OutsideMemory,
}

/// Why an indirect table cannot be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndirectFault {
    /// The descriptor itself stands in an indirect table.
    Nested,
    /// Its `len` is 0 or no multiple of 16.
    Length,
    /// The table does not lie in the guest's memory.
    OutsideMemory,
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

/// A packet to be sent (§5.1.6.2).
#[derive(Clone, Copy, Debug)]
pub struct NetTransmit<'a> {
    /// Which virtqueue.
    pub queue: u16,
    /// The header, if the device-readable part is long enough for one.
    pub header: Option<NetHeader>,
    /// Bytes of the packet behind the header.
    pub len: u64,
    /// Device-writable bytes in the chain.
    pub writable: u64,
    /// The packet's first bytes: all of it, its headers, or nothing, as the device has shown it.
    pub bytes: &'a [u8],
}

/// A packet handed to the driver (§5.1.6.4).
#[derive(Clone, Copy, Debug)]
pub struct NetReceived<'a> {
    /// The packet.
    pub bytes: &'a [u8],
    /// The latitude that the device made use of with this packet.
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
    /// Device-readable bytes behind the header.
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
    /// Reserved field behind `type`.
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
    /// Bytes behind the fixed part, bounded.
    pub rest: &'a [u8],
    /// `max_nr_ports` as presented.
    pub max_nr_ports: u32,
}
