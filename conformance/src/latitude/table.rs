//! All latitudes, in no order that matters, and which of them go together.
//!
//! Two that one might look for are not among them:
//!
//! * A virtqueue that is missing between others of its device type. §4.1.4.3 knows of unavailable
//!   virtqueues; but which there are, the device types say: those of all max_virtqueue_pairs pairs
//!   (§5.1.2, §5.1.5) and of all max_nr_ports ports (§5.3.2, §5.3.5). A device that counts a pair or a
//!   port and has no virtqueues for it contradicts itself, and a driver that gives up on it does no
//!   wrong. Among those that no device type has, some are missing with `more-queues`.
//! * A len below what was written where a request succeeds. §2.4.8.2 permits it, but a driver may rely
//!   on nothing beyond len (§2.4.8.3), neither data nor status: there would be no use of the device.
//!   For requests that fail there is `unknown-len`.

/// What a latitude is about; no more than the heading it is listed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum About {
    /// The PCI function and the virtio-pci transport (§4.1).
    Transport,
    /// Feature bits, status and configuration (§2.1 to §2.3).
    Device,
    /// Virtqueues and interrupts (§2.4).
    Virtqueue,
    /// The network device (§5.1).
    Net,
    /// The block device (§5.2).
    Block,
    /// The console device (§5.3).
    Console,
    /// The entropy device (§5.4).
    Entropy,
}

impl About {
    /// All of them, in the order of the specification.
    pub const ALL: [About; 7] = [
        About::Transport,
        About::Device,
        About::Virtqueue,
        About::Net,
        About::Block,
        About::Console,
        About::Entropy,
    ];

    /// The heading.
    pub const fn name(self) -> &'static str {
        match self {
            About::Transport => "transport",
            About::Device => "device",
            About::Virtqueue => "virtqueue",
            About::Net => "net",
            About::Block => "block",
            About::Console => "console",
            About::Entropy => "entropy",
        }
    }
}

macro_rules! latitudes {
    ($(
        $id:ident = $name:literal, $about:ident [$($clause:literal),+ $(,)?],
            $text:literal,
            fails: $fails:literal;
    )+) => {
        /// A freedom that a device can make use of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Latitude {
            $(#[doc = concat!("`", $name, "`: ", $text)] $id,)+
        }

        impl Latitude {
            /// All of them.
            pub const ALL: &[Latitude] = &[$(Latitude::$id),+];

            /// Its name on the command line and in the catalogue.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Latitude::$id => $name,)+
                }
            }

            /// What it is about.
            pub const fn about(self) -> About {
                match self {
                    $(Latitude::$id => About::$about,)+
                }
            }

            /// The clauses of virtio 1.0 that grant it: row ids, or sections where it is their
            /// descriptive text that does. Those that begin with `PCI` are of PCI Local Bus 3.0.
            pub const fn clauses(self) -> &'static [&'static str] {
                match self {
                    $(Latitude::$id => &[$($clause),+],)+
                }
            }

            /// What the device does.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Latitude::$id => $text,)+
                }
            }

            /// What a driver that does not cope looks like.
            pub const fn fails(self) -> &'static str {
                match self {
                    $(Latitude::$id => $fails,)+
                }
            }
        }
    };
}

latitudes! {
    AnyRevision = "any-revision", Transport ["4.1.2.1", "4.1.2.2"],
        "PCI Revision ID is 0x5a",
        fails: "The driver does not take the device.";
    AnySubsystem = "any-subsystem", Transport ["4.1.2.1", "4.1.2.2"],
        "PCI Subsystem Vendor ID and Subsystem Device ID are those of nobody",
        fails: "The driver does not take the device.";
    TransitionalId = "transitional-id", Transport ["4.1.2.1"],
        "the device has the Transitional PCI Device ID",
        fails: "The driver does not take the device, or looks for the legacy interface.";
    ReservedCfgType = "reserved-cfg-type", Transport ["4.1.4.1"],
        "a capability with a reserved cfg_type comes before the others",
        fails: "The driver takes the capability for one it knows, or gives up on the device.";
    ReservedBar = "reserved-bar", Transport ["4.1.4.1"],
        "a capability of the common configuration in BAR 6 comes before the true one",
        fails: "The driver looks for the structure in a BAR that does not exist, and gives up.";
    LongCapabilities = "long-capabilities", Transport ["4.1.4.1"],
        "cap_len of each virtio capability is larger than its fields need",
        fails: "The driver wants cap_len to be what it knows, and does not find the structures.";
    SecondInstances = "second-instances", Transport ["4.1.4.1", "4.1.4.2"],
        "common and device-specific configuration are presented a second time, elsewhere",
        fails: "The driver uses the instance it finds last.";
    IoInstances = "io-instances", Transport ["4.1.4", "4.1.4.1-2", "4.1.4.2-3"],
        "common configuration and ISR status are presented a second time, in I/O space",
        fails: "The driver takes the port for an address in memory, or uses the instance it finds last.";
    OversizedStructures = "oversized-structures", Transport ["2.3.1", "4.1.4.1"],
        "each structure has a length of 64 KiB or more",
        fails: "The driver wants lengths to be what it knows, and gives up on the device.";
    OneVector = "one-vector", Transport ["4.1.5.1.2.1"],
        "the MSI-X table has one entry",
        fails: "The driver wants a vector for each virtqueue, and gives up or loses interrupts.";
    MostVectors = "most-vectors", Transport ["4.1.5.1.2.1"],
        "the MSI-X table has 0x800 entries",
        fails: "The driver gives up, or asks for more vectors than it can get.";
    RefusedVectors = "refused-vectors", Transport ["4.1.5.1.2.1", "4.1.5.1.2.1-8", "4.1.5.1.2.1-9"],
        "events can be mapped to two different MSI-X vectors at a time, whichever they are, for there are resources for no more",
        fails: "The driver does not read the vector back, and waits for interrupts that never come.";
    RefusedFeatures = "refused-features", Device ["2.2.2"],
        "FEATURES_OK never stays set",
        fails: "The driver goes on as if FEATURES_OK were set, or leaves without FAILED.";
    FewFeatures = "few-features", Device ["2.2", "6"],
        "neither indirect descriptors nor event indices are offered",
        fails: "The driver gives up, or uses what was not offered.";
    SpuriousInterrupts = "spurious-interrupts", Virtqueue ["2.4.7.1"],
        "now and then a virtqueue interrupts without having used a buffer",
        fails: "The driver takes a buffer from the used ring that is not there, or turns the interrupt off.";
    SharedInterrupts = "shared-interrupts", Transport ["4.1.4.5", "4.1.5.4.2"],
        "there is no MSI-X, and ISR status now and then has both bits set at once",
        fails: "The driver sees to one of the two causes only: a virtqueue stands still, or a change of the configuration goes unnoticed.";
    CapabilityOrder = "capability-order", Transport ["4.1.4", "PCI 6.7"],
        "the capabilities stand in an order that varies",
        fails: "The driver takes the first capability for the common configuration, the second for notifications, and so on, or wants MSI-X at one end.";
    ScatteredCapabilities = "scattered-capabilities", Transport ["4.1.4", "PCI 6.7"],
        "capabilities lie in configuration space in another order than in the list, with gaps where there is room",
        fails: "The driver goes on behind the end of a capability instead of following the pointer to the next.";
    ForeignCapabilities = "foreign-capabilities", Transport ["4.1.4", "4.1.4.1-1", "PCI 6.7"],
        "among the capabilities are one with an id that nobody knows and a vendor-specific one too short for a structure",
        fails: "The driver reads a structure from a capability that is none, or stops at the one it does not know.";
    ReservedLast = "reserved-last", Transport ["4.1.4.1"],
        "capabilities with a reserved cfg_type and with a reserved bar come after the others",
        fails: "The driver takes a later capability over an earlier one, and looks in a BAR that does not exist.";
    SeparateBars = "separate-bars", Transport ["4.1.4"],
        "each structure has a BAR of its own, and which varies",
        fails: "The driver maps one BAR and looks for all structures there.";
    OneBar = "one-bar", Transport ["4.1.4"],
        "all structures and the MSI-X table lie in one BAR that is not BAR 0",
        fails: "The driver looks in the BAR it knows, or cannot share a BAR with the MSI-X table.";
    WideBars = "wide-bars", Transport ["4.1.4", "PCI 6.2.5.1"],
        "all BARs are 64 bits wide",
        fails: "The driver reads half of an address, or takes the second half for a BAR.";
    NarrowBars = "narrow-bars", Transport ["4.1.4", "PCI 6.2.5.1"],
        "all BARs are 32 bits wide",
        fails: "The driver reads the next BAR as the upper half of an address.";
    PrefetchableBar = "prefetchable-bar", Transport ["4.1.4", "PCI 6.2.5.1"],
        "device-specific configuration lies in a prefetchable BAR",
        fails: "The driver takes the prefetchable bit for a bit of the address, or does not find the structure.";
    PackedStructures = "packed-structures", Transport ["4.1.4.3.1-1", "4.1.4.4.1-2", "4.1.4.5"],
        "structures lie close together, and no further aligned than they have to be",
        fails: "The driver wants each structure to have pages of its own, or offsets that are rounder.";
    DistantStructures = "distant-structures", Transport ["4.1.4"],
        "structures lie far apart in their BARs, in an order that varies, with nothing in between",
        fails: "The driver maps the beginning of a BAR and looks there.";
    RelocatedBars = "relocated-bars", Transport ["PCI 6.2.5.1"],
        "firmware has put the BARs at other addresses than usual, 64-bit ones also below 4 GiB",
        fails: "The driver knows the addresses instead of reading them.";
    OneNotifyAddress = "one-notify-address", Transport ["4.1.4.4", "4.1.4.4.1-3"],
        "notify_off_multiplier is 0, so that all virtqueues are notified at one address",
        fails: "The driver does not write the queue's index, or divides by the multiplier.";
    CloseNotifyAddresses = "close-notify-addresses", Transport ["4.1.4.4", "4.1.4.4.1-3"],
        "notify_off_multiplier is 2",
        fails: "The driver writes 32 bits, or knows a multiplier of 4.";
    DistantNotifyAddresses = "distant-notify-addresses", Transport ["4.1.4.4", "4.1.4.4.1-3"],
        "notify_off_multiplier is a larger power of two, up to 4096",
        fails: "The driver knows a multiplier of 4, or maps too little.";
    NotifyOffsets = "notify-offsets", Transport ["4.1.4.4"],
        "queue_notify_off is not the virtqueue's index: the offsets are permuted, with gaps",
        fails: "The driver notifies a queue at the place of its index.";
    SameNotifyOffset = "same-notify-offset", Transport ["4.1.4.4"],
        "queue_notify_off is the same for all virtqueues",
        fails: "The driver notifies a queue at the place of its index.";
    NoMsix = "no-msix", Transport ["4.1.5.1.2", "4.1.5.1.2.2-1"],
        "there is no MSI-X",
        fails: "The driver gives up without MSI-X.";
    SomeVectors = "some-vectors", Transport ["4.1.5.1.2.1"],
        "the MSI-X table has some other number of entries, fewer or more than there are events",
        fails: "The driver wants a vector for each virtqueue, or maps vectors that are not there.";
    NoVectorMaps = "no-vector-maps", Transport ["4.1.5.1.2.1", "4.1.5.1.2.1-8", "4.1.5.1.2.1-9"],
        "in every other life of the device, the first for one, no event can be mapped to any MSI-X vector, for what that takes is used up",
        fails: "The driver does not read the vector back, and waits for interrupts that never come.";
    LiveAtArrival = "live-at-arrival", Device ["2.1.2", "3.1.1-1"],
        "the device is live when the driver arrives, as firmware left it, with an interrupt pending",
        fails: "The driver does not reset the device first, or wants its status to be 0.";
    SlowReset = "slow-reset", Device ["4.1.4.3.1-7"],
        "it takes a number of reads of status after a reset until it is 0",
        fails: "The driver goes on before the reset is complete, or gives up too early.";
    FeatureSubset = "feature-subset", Device ["2.2", "2.2.2-1"],
        "of the features only some are offered, and which varies",
        fails: "The driver gives up, or uses what was not offered.";
    UnknownFeatures = "unknown-features", Device ["2.2", "4.1.4.3.1-3"],
        "feature bits are offered that no driver can know, above bit 63 as well",
        fails: "The driver accepts all that is offered.";
    PickyFeatures = "picky-features", Device ["2.2.2-2"],
        "FEATURES_OK does not stay set if one feature was accepted: VIRTIO_F_RING_EVENT_IDX, or, if the variation is odd, any other that a driver is not told to accept, or if two such were accepted together",
        fails: "The driver goes on as if FEATURES_OK were set, or leaves without FAILED.";
    SmallQueues = "small-queues", Virtqueue ["2.4", "4.1.4.3"],
        "virtqueues are small: 8 to 32 descriptors, those of a network device 32 or 64",
        fails: "The driver makes more available than there is room for, or chains longer than the queue.";
    TinyQueues = "tiny-queues", Virtqueue ["2.4", "4.1.4.3"],
        "virtqueues have 1 to 4 descriptors",
        fails: "The driver waits for room that there can never be, without saying that it cannot use the device.";
    LargestQueues = "largest-queues", Virtqueue ["2.4", "4.1.4.3"],
        "virtqueues have 32768 descriptors",
        fails: "The driver overflows on its way from the size to bytes, or cannot ask for less.";
    ResizedQueues = "resized-queues", Virtqueue ["4.1.4.3", "4.1.5.1.3"],
        "virtqueues have another size after each reset: queue_size says on reset what is supported from then on",
        fails: "The driver keeps the size it has read once.";
    MoreQueues = "more-queues", Transport ["4.1.4.3", "4.1.4.3.1-9"],
        "num_queues counts virtqueues that no device of this type has, some of them unavailable",
        fails: "The driver takes the number of queues for the number of ports or pairs.";
    UnknownFlags = "unknown-flags", Net ["5.1.6.4.2-1"],
        "flags of a received packet now and then has bits that are not defined, if VIRTIO_NET_F_GUEST_CSUM is negotiated",
        fails: "The driver drops the packet, or takes the bits for something: connections stall until the packet comes again.";
    StrayChecksumFields = "stray-checksum-fields", Net ["5.1.6.4.2-2"],
        "csum_start and csum_offset of a received packet now and then have some value though flags is 0",
        fails: "The driver writes a checksum into the packet, or drops it: connections stall until the packet comes again.";
    OddHdrLen = "odd-hdr-len", Net ["5.1.6.4.1-14", "5.1.6.4.2-4"],
        "hdr_len of a received packet now and then is more than its headers have, and sometimes more than the packet has",
        fails: "The driver drops the packet, or takes data for headers: connections stall until the packet comes again.";
    DamagedPackets = "damaged-packets", Net ["5.1.6.4.2-5"],
        "a TCP segment now and then is damaged on its way, as on any wire, with flags 0 and the checksum of what it was",
        fails: "The driver says that the checksum is right, and wrong data reaches programs.";
    OutOfOrder = "out-of-order", Virtqueue ["2.4.8", "3.2.2"],
        "buffers are used in another order than they were made available, where their order means nothing",
        fails: "The driver takes each used buffer for the oldest one, and mixes up requests.";
    Bursts = "bursts", Virtqueue ["2.4.8", "2.4.7.2"],
        "used buffers are held back for a while, and then shown together, with one interrupt",
        fails: "The driver takes one used buffer an interrupt, and waits for the others in vain.";
    WholeQueue = "whole-queue", Virtqueue ["2.4.8", "2.4.7.2"],
        "used buffers are held back until no more come for a while, and then shown together, up to all of the queue",
        fails: "The driver takes one used buffer an interrupt, or an idx that has moved far for one that has moved back.";
    LateInterrupts = "late-interrupts", Virtqueue ["2.4.8", "2.4.7.2"],
        "the interrupt comes a while after the used buffers that it is for were shown",
        fails: "The driver that has found the buffers by itself takes the interrupt for one of nobody, and turns it off, or waits for another one.";
    OneByOne = "one-by-one", Virtqueue ["2.4.8", "2.4.7.2"],
        "each used buffer is shown by itself, with an interrupt of its own where the driver wants one",
        fails: "The driver wants all that it made available together to come back together.";
    WritesBeyondLen = "writes-beyond-len", Virtqueue ["2.4.8.2-3"],
        "more is written into a buffer than len of the used ring says, where that is not data",
        fails: "The driver takes what lies beyond len for data, or for still being what it put there.";
    FickleSuppression = "fickle-suppression", Virtqueue ["2.4.9.2", "2.4.9.1-2"],
        "what the device says about notifications changes with each buffer it takes, and avail_event holds anything where it is not negotiated",
        fails: "The driver remembers what the device said once, or looks at avail_event without VIRTIO_F_RING_EVENT_IDX.";
    UnaskedLooks = "unasked-looks", Virtqueue ["2.4.9.2", "3.2.1.3"],
        "the device looks for new buffers whenever it is awake, notified or not",
        fails: "The driver completes a request after it has made it available, in the belief that nothing happens before the notification.";
    UnsettledConfiguration = "unsettled-configuration", Device ["2.3.1", "4.1.4.3.1-6"],
        "now and then the configuration changes between two reads of it, and config_generation with it",
        fails: "The driver puts a value together from halves of two.";
    NeedsReset = "needs-reset", Device ["2.1.2-3", "2.1.2-4"],
        "some time after the device went live, it needs a reset",
        fails: "The driver waits for the completion of what will never be complete.";
    Announce = "announce", Net ["5.1.6.5.4"],
        "a network device asks the driver to announce itself as soon as it is live, and again later",
        fails: "The driver never acknowledges, or does so without having announced itself.";
    LinkFlaps = "link-flaps", Net ["5.1.4"],
        "now and then VIRTIO_NET_S_LINK_UP is cleared in status, and set again a while later",
        fails: "The driver does not look at status again, or does not send again once the link is up.";
    SplitPackets = "split-packets", Net ["5.1.6.3.2", "5.1.6.4"],
        "a packet is spread over more receive buffers than it needs, if they may be merged",
        fails: "The driver takes the bytes of the first buffer for the packet, or counts on all but the last to be full.";
    EarlyPackets = "early-packets", Net ["5.1.6.3", "5.1.5"],
        "packets wait for the driver already when it sets DRIVER_OK",
        fails: "The driver takes the first packet for an answer to what it sent, or fails for want of something to do with it.";
    LargePackets = "large-packets", Net ["5.1.6.3", "5.1.6.4"],
        "now and then a packet comes that is as large as the negotiated features allow",
        fails: "The driver has no room for the packet, cuts it off, or gives it to the wrong reader.";
    ChecksumStates = "checksum-states", Net ["5.1.6.4.1-9", "5.1.6.4.1-15"],
        "where VIRTIO_NET_F_GUEST_CSUM is negotiated, packets take turns to have a partial, a validated and a complete checksum",
        fails: "The driver takes a partial checksum for a wrong one, and drops the packet.";
    FailingSectors = "failing-sectors", Block ["5.2.6"],
        "the disk has further sectors at its end, and requests that touch them fail",
        fails: "The driver does not tell its user, tries again without end, or does not go on with other requests.";
    UnknownLen = "unknown-len", Block ["2.4.8.2", "2.4.8.2-3"],
        "a request that fails is returned with len 0: what has been written of it, the device does not know",
        fails: "The driver wants len to tell of the status byte at least, and takes the device for broken or waits for more.";
    ReadOnly = "read-only", Block ["5.2.3", "5.2.6.2-1"],
        "VIRTIO_BLK_F_RO is offered, and writes fail, whatever disk there is",
        fails: "The driver does not accept VIRTIO_BLK_F_RO and writes, or does not tell its user.";
    CapacityChanges = "capacity-changes", Block ["5.2.4", "3.2.2"],
        "capacity grows and shrinks again while requests are served",
        fails: "The driver takes the change for a failure, or does not learn of the new capacity.";
    RefusedId = "refused-id", Block ["5.2.6"],
        "of requests, only reads, writes and flushes are supported",
        fails: "The driver gives up on the device for want of a device id string, or takes what is in the buffer for one.";
    FewSegments = "few-segments", Block ["5.2.3", "5.2.4"],
        "seg_max is between 1 and 4, and size_max a few KiB",
        fails: "The driver makes requests with more segments, or with larger ones.";
    SmallSegments = "small-segments", Block ["5.2.3", "5.2.4"],
        "size_max is 512, 1024 or 2048",
        fails: "The driver makes segments of a page nevertheless. One that cannot do with less gives up on the device.";
    BlockSizes = "block-sizes", Block ["5.2.4", "5.2.5"],
        "blk_size is between 1024 and 4096, and geometry and topology are out of the ordinary",
        fails: "The driver counts sector in units of blk_size, or relies on what topology suggests.";
    LargeBlocks = "large-blocks", Block ["5.2.4", "5.2.5"],
        "blk_size is 8 KiB or more",
        fails: "The driver counts sector in units of blk_size, or works with part of a block. One that cannot do with such blocks gives up on the device, though blk_size is a matter of performance only.";
    Writethrough = "writethrough", Block ["5.2.5"],
        "writeback is 0 after a reset",
        fails: "The driver takes the cache for a writeback cache without having read writeback.";
    PortsComeAndGo = "ports-come-and-go", Console ["5.3.6.2"],
        "a port other than port 0 is removed and added again when the driver has set it up, and when it has closed it",
        fails: "The driver does not know what to do with DEVICE_REMOVE, or takes no port twice.";
    PortsOpenAndClose = "ports-open-and-close", Console ["5.3.6.2"],
        "now and then the host's side of a port is closed and opened again",
        fails: "The driver takes a closed port for one that is gone, and never uses it again.";
    EarlyInput = "early-input", Console ["5.3.6"],
        "input for port 0 comes as soon as there are buffers for it, before the driver has opened the port",
        fails: "The driver throws the input away, or returns no buffer once it has come.";
    SizeChanges = "size-changes", Console ["5.3.4", "5.3.6"],
        "the console's size changes while it is used",
        fails: "The driver does not learn of the new size, or cannot have one that is out of the ordinary.";
    OneByte = "one-byte", Entropy ["5.4.6.2-1"],
        "an entropy device puts one byte into each buffer",
        fails: "The driver takes the whole buffer for random, or fails for want of more bytes.";
    ShortReads = "short-reads", Entropy ["5.4.6.2-1"],
        "an entropy device fills buffers in part only, each to another length",
        fails: "The driver takes the whole buffer for random, or fails for want of more bytes.";
}

const WITHOUT: &str = "one of them is without MSI-X";
const NO_ROOM: &str = "configuration space has no room for what both add";
const ONE_MULTIPLIER: &str = "there is one notify_off_multiplier";
const ONE_SIZE: &str = "a queue has one size";

/// Pairs of which a device can make use of one only, with the reason.
pub(super) const EXCLUSIVE: &[(Latitude, Latitude, &str)] = {
    use Latitude::*;
    &[
        (OneVector, MostVectors, "there is one MSI-X table"),
        (OneVector, SomeVectors, "there is one MSI-X table"),
        (MostVectors, SomeVectors, "there is one MSI-X table"),
        (SharedInterrupts, OneVector, WITHOUT),
        (SharedInterrupts, MostVectors, WITHOUT),
        (SharedInterrupts, SomeVectors, WITHOUT),
        (SharedInterrupts, RefusedVectors, WITHOUT),
        (SharedInterrupts, NoVectorMaps, WITHOUT),
        (NoMsix, OneVector, WITHOUT),
        (NoMsix, MostVectors, WITHOUT),
        (NoMsix, SomeVectors, WITHOUT),
        (NoMsix, RefusedVectors, WITHOUT),
        (NoMsix, NoVectorMaps, WITHOUT),
        (
            NoVectorMaps,
            RefusedVectors,
            "one of them refuses all, the other some",
        ),
        (ForeignCapabilities, LongCapabilities, NO_ROOM),
        (ReservedLast, LongCapabilities, NO_ROOM),
        (ReservedLast, SecondInstances, NO_ROOM),
        (SecondInstances, IoInstances, NO_ROOM),
        (SecondInstances, ForeignCapabilities, NO_ROOM),
        (
            WideBars,
            IoInstances,
            "there are registers for three such BARs",
        ),
        (
            SeparateBars,
            OneBar,
            "structures are in one BAR or in several",
        ),
        (
            SeparateBars,
            WideBars,
            "there are registers for three such BARs",
        ),
        (WideBars, NarrowBars, "a BAR has one width"),
        (
            OneBar,
            PrefetchableBar,
            "not all structures can be prefetched",
        ),
        (
            PackedStructures,
            DistantStructures,
            "they are close or far apart",
        ),
        (OneNotifyAddress, CloseNotifyAddresses, ONE_MULTIPLIER),
        (OneNotifyAddress, DistantNotifyAddresses, ONE_MULTIPLIER),
        (CloseNotifyAddresses, DistantNotifyAddresses, ONE_MULTIPLIER),
        (
            NotifyOffsets,
            SameNotifyOffset,
            "the offsets differ or do not",
        ),
        (SmallQueues, TinyQueues, ONE_SIZE),
        (SmallQueues, LargestQueues, ONE_SIZE),
        (SmallQueues, ResizedQueues, ONE_SIZE),
        (TinyQueues, LargestQueues, ONE_SIZE),
        (TinyQueues, ResizedQueues, ONE_SIZE),
        (LargestQueues, ResizedQueues, ONE_SIZE),
        (
            WholeQueue,
            Bursts,
            "used buffers wait for a time or for others",
        ),
        (
            WholeQueue,
            OneByOne,
            "used buffers come together or one by one",
        ),
        (FewSegments, SmallSegments, "there is one size_max"),
        (BlockSizes, LargeBlocks, "there is one blk_size"),
        (OneByte, ShortReads, "a buffer gets one number of bytes"),
    ]
};

/// Those with which a conforming driver may well give up on the device, so that nothing else is
/// provoked besides.
pub(super) const GIVING_UP: &[Latitude] = &[
    Latitude::RefusedFeatures,
    Latitude::PickyFeatures,
    Latitude::TinyQueues,
    Latitude::NeedsReset,
    Latitude::SmallSegments,
    Latitude::LargeBlocks,
];
