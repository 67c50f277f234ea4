//! Latitudes of the PCI function and the virtio-pci transport (§4.1 of virtio 1.0).

use super::latitudes;

latitudes! {
    table Transport, chapter LatitudeTransport;

    ANY_REVISION = "any-revision" ["4.1.2.1", "4.1.2.2"] {
        does: "PCI Revision ID is 0x5a",
        fails: "The driver does not take the device.",
        shows: Live,
        provokes: [
            DEVICE_ID = "pci.match.device-id", Must ["4.1.2.2-1"],
                "The driver takes a device by vendor 0x1af4 and a device ID of 0x1040 plus the virtio device ID.";
            REVISION = "pci.match.any-revision", Must ["4.1.2.2-3"],
                "The driver takes a device of any PCI Revision ID.";
        ]
    }
    ANY_SUBSYSTEM = "any-subsystem" ["4.1.2.1", "4.1.2.2"] {
        does: "PCI Subsystem Vendor ID and Subsystem Device ID are those of nobody",
        fails: "The driver does not take the device.",
        shows: Live,
        provokes: [
            SUBSYSTEM = "pci.match.any-subsystem", May ["4.1.2.2-4"],
                "The driver may take a device of any PCI Subsystem Vendor and Device ID.";
        ]
    }
    TRANSITIONAL_ID = "transitional-id" ["4.1.2.1"] {
        does: "the device has the Transitional PCI Device ID",
        fails: "The driver does not take the device, or looks for the legacy interface.",
        shows: Live,
        provokes: [
            TRANSITIONAL = "pci.match.transitional-id", Must ["4.1.2.2-2"],
                "The driver takes a device by vendor 0x1af4 and the Transitional PCI Device ID of its type.";
        ]
    }
    RESERVED_CFG_TYPE = "reserved-cfg-type" ["4.1.4.1"] {
        does: "a capability with a reserved cfg_type comes before the others",
        fails: "The driver takes the capability for one it knows, or gives up on the device.",
        shows: Live,
        provokes: [
            CFG_TYPE = "pci.capability.reserved-cfg-type", Must ["4.1.4.1-1"],
                "The driver ignores a capability with a reserved cfg_type.";
        ]
    }
    RESERVED_BAR = "reserved-bar" ["4.1.4.1"] {
        does: "a capability of the common configuration in BAR 6 comes before the true one",
        fails: "The driver looks for the structure in a BAR that does not exist, and gives up.",
        shows: Live,
        provokes: [
            BAR = "pci.capability.reserved-bar", Must ["4.1.4.1-4"],
                "The driver ignores a capability with a reserved bar.";
        ]
    }
    LONG_CAPABILITIES = "long-capabilities" ["4.1.4.1"] {
        does: "cap_len of each virtio capability is larger than its fields need",
        fails: "The driver wants cap_len to be what it knows, and does not find the structures.",
        shows: Live,
        provokes: [
            CAP_LEN = "pci.capability.larger-cap-len", Must ["4.1.4.1-3"],
                "The driver accepts a cap_len that is larger than the fields need.";
        ]
    }
    SECOND_INSTANCES = "second-instances" ["4.1.4.1", "4.1.4.2"] {
        does: "common and device-specific configuration are presented a second time, elsewhere",
        fails: "The driver uses the instance it finds last.",
        excludes: [
            IO_INSTANCES: "configuration space has no room for what both add",
            FOREIGN_CAPABILITIES: "configuration space has no room for what both add",
        ],
        shows: Live,
        provokes: [
            FIRST = "pci.capability.first-instance", Should ["4.1.4.1-2"],
                "Of several capabilities of the same structure the driver uses the first.";
        ]
    }
    IO_INSTANCES = "io-instances" ["4.1.4", "4.1.4.1-2", "4.1.4.2-3"] {
        does: "common configuration and ISR status are presented a second time, in I/O space",
        fails: "The driver takes the port for an address in memory, or uses the instance it finds last.",
        shows: Live,
        provokes: [
            IO = "pci.capability.io-space", Must ["4.1.4"],
                "The driver tells structures in I/O space from those in memory space.";
        ]
    }
    OVERSIZED_STRUCTURES = "oversized-structures" ["2.3.1", "4.1.4.1"] {
        does: "each structure has a length of 64 KiB or more",
        fails: "The driver wants lengths to be what it knows, and gives up on the device.",
        shows: Live,
        provokes: [
            LENGTH = "pci.structure.larger-length", Must ["4.1.4.1-6"],
                "The driver copes with a structure of any length that is large enough.";
            NO_LIMIT = "config.size.no-limit", MustNot ["2.3.1-3"],
                "The driver sets no limit to the size of structures and of device configuration space.";
            LARGE_ENOUGH = "config.size.large-enough", Should ["2.3.1-4"],
                "Of the size of device configuration space the driver checks only that it is large enough.";
        ]
    }
    ONE_VECTOR = "one-vector" ["4.1.5.1.2.1"] {
        does: "the MSI-X table has one entry",
        fails: "The driver wants a vector for each virtqueue, and gives up or loses interrupts.",
        excludes: [
            MOST_VECTORS: "there is one MSI-X table",
            SOME_VECTORS: "there is one MSI-X table",
        ],
        shows: Live,
        provokes: [
            SMALL_TABLE = "msix.table-size.smallest", Must ["4.1.5.1.2.2-1"],
                "The driver copes with an MSI-X table of one entry.";
            FALL_BACK = "msix.table-size.fall-back", May ["4.1.5.1.2.2-2"],
                "With one MSI-X vector only the driver may use the interrupt pin.";
        ]
    }
    MOST_VECTORS = "most-vectors" ["4.1.5.1.2.1"] {
        does: "the MSI-X table has 0x800 entries",
        fails: "The driver gives up, or asks for more vectors than it can get.",
        excludes: [
            SOME_VECTORS: "there is one MSI-X table",
        ],
        shows: Live,
        provokes: [
            LARGE_TABLE = "msix.table-size.largest", Must ["4.1.5.1.2.2-1"],
                "The driver copes with an MSI-X table of 0x800 entries.";
            HINT = "msix.table-size.hint", May ["4.1.5.1.2.2-3"],
                "The driver may take the size of the MSI-X table for a hint as to how many vectors to use.";
        ]
    }
    REFUSED_VECTORS = "refused-vectors" ["4.1.5.1.2.1", "4.1.5.1.2.1-8", "4.1.5.1.2.1-9"] {
        does: "events can be mapped to two different MSI-X vectors at a time, whichever they are, for there are resources for no more",
        fails: "The driver does not read the vector back, and waits for interrupts that never come.",
        shows: Live,
        provokes: [
            REFUSED = "msix.vector.refused", May ["4.1.5.1.2.2-6"],
                "Where a vector cannot be mapped the driver may try with fewer, use none, or give up.";
        ]
    }
    SHARED_INTERRUPTS = "shared-interrupts" ["4.1.4.5", "4.1.5.4.2"] {
        does: "there is no MSI-X, and ISR status now and then has both bits set at once",
        fails: "The driver sees to one of the two causes only: a virtqueue stands still, or a change of the configuration goes unnoticed.",
        excludes: [
            ONE_VECTOR: "one of them is without MSI-X",
            MOST_VECTORS: "one of them is without MSI-X",
            SOME_VECTORS: "one of them is without MSI-X",
            REFUSED_VECTORS: "one of them is without MSI-X",
            NO_VECTOR_MAPS: "one of them is without MSI-X",
        ],
        shows: Used,
        provokes: [
            SHARED = "interrupt.shared", Must ["4.1.5.4.2-1"],
                "The driver copes with one interrupt for a change of the configuration and for used buffers.";
        ]
    }
    CAPABILITY_ORDER = "capability-order" ["4.1.4", "PCI 6.7"] {
        does: "the capabilities stand in an order that varies",
        fails: "The driver takes the first capability for the common configuration, the second for notifications, and so on, or wants MSI-X at one end.",
        shows: Live,
        provokes: [
            ORDER = "pci.capability.any-order", Must ["4.1.4"],
                "The driver finds structures by cfg_type, in whatever order their capabilities stand.";
        ]
    }
    SCATTERED_CAPABILITIES = "scattered-capabilities" ["4.1.4", "PCI 6.7"] {
        does: "capabilities lie in configuration space in another order than in the list, with gaps where there is room",
        fails: "The driver goes on behind the end of a capability instead of following the pointer to the next.",
        shows: Live,
        provokes: [
            PLACE = "pci.capability.any-place", Must ["4.1.4"],
                "The driver follows the pointers from one capability to the next, wherever they lead.";
        ]
    }
    FOREIGN_CAPABILITIES = "foreign-capabilities" ["4.1.4", "4.1.4.1-1", "PCI 6.7"] {
        does: "among the capabilities are one with an id that nobody knows and a vendor-specific one too short for a structure",
        fails: "The driver reads a structure from a capability that is none, or stops at the one it does not know.",
        excludes: [
            LONG_CAPABILITIES: "configuration space has no room for what both add",
        ],
        shows: Live,
        provokes: [
            FOREIGN = "pci.capability.foreign", Must ["4.1.4.1-1"],
                "The driver passes over capabilities that it does not know.";
        ]
    }
    RESERVED_LAST = "reserved-last" ["4.1.4.1"] {
        does: "capabilities with a reserved cfg_type and with a reserved bar come after the others",
        fails: "The driver takes a later capability over an earlier one, and looks in a BAR that does not exist.",
        excludes: [
            LONG_CAPABILITIES: "configuration space has no room for what both add",
            SECOND_INSTANCES: "configuration space has no room for what both add",
        ],
        shows: Live,
        provokes: [
            LAST = "pci.capability.reserved-last", Must ["4.1.4.1-1", "4.1.4.1-4"],
                "The driver ignores capabilities with reserved values also where it has found the structures.";
        ]
    }
    SEPARATE_BARS = "separate-bars" ["4.1.4"] {
        does: "each structure has a BAR of its own, and which varies",
        fails: "The driver maps one BAR and looks for all structures there.",
        excludes: [
            ONE_BAR: "structures are in one BAR or in several",
            WIDE_BARS: "there are registers for three such BARs",
        ],
        shows: Live,
        provokes: [
            OWN_BAR = "pci.structure.separate-bars", Must ["4.1.4"],
                "The driver finds each structure in the BAR that its capability names.";
        ]
    }
    ONE_BAR = "one-bar" ["4.1.4"] {
        does: "all structures and the MSI-X table lie in one BAR that is not BAR 0",
        fails: "The driver looks in the BAR it knows, or cannot share a BAR with the MSI-X table.",
        excludes: [
            PREFETCHABLE_BAR: "not all structures can be prefetched",
        ],
        shows: Live,
        provokes: [
            ONE_BAR = "pci.structure.one-bar", Must ["4.1.4"],
                "The driver finds structures in any BAR, also in that of the MSI-X table.";
        ]
    }
    WIDE_BARS = "wide-bars" ["4.1.4", "PCI 6.2.5.1"] {
        does: "all BARs are 64 bits wide",
        fails: "The driver reads half of an address, or takes the second half for a BAR.",
        excludes: [
            IO_INSTANCES: "there are registers for three such BARs",
            NARROW_BARS: "a BAR has one width",
        ],
        shows: Live,
        provokes: [
            WIDE = "pci.structure.wide-bars", Must ["4.1.4"],
                "The driver finds structures in 64-bit BARs.";
        ]
    }
    NARROW_BARS = "narrow-bars" ["4.1.4", "PCI 6.2.5.1"] {
        does: "all BARs are 32 bits wide",
        fails: "The driver reads the next BAR as the upper half of an address.",
        shows: Live,
        provokes: [
            NARROW = "pci.structure.narrow-bars", Must ["4.1.4"],
                "The driver finds structures in 32-bit BARs.";
        ]
    }
    PREFETCHABLE_BAR = "prefetchable-bar" ["4.1.4", "PCI 6.2.5.1"] {
        does: "device-specific configuration lies in a prefetchable BAR",
        fails: "The driver takes the prefetchable bit for a bit of the address, or does not find the structure.",
        shows: Live,
        provokes: [
            PREFETCHABLE = "pci.structure.prefetchable-bar", Must ["4.1.4"],
                "The driver finds structures in a prefetchable BAR.";
        ]
    }
    PACKED_STRUCTURES = "packed-structures" ["4.1.4.3.1-1", "4.1.4.4.1-2", "4.1.4.5"] {
        does: "structures lie close together, and no further aligned than they have to be",
        fails: "The driver wants each structure to have pages of its own, or offsets that are rounder.",
        excludes: [
            DISTANT_STRUCTURES: "they are close or far apart",
        ],
        shows: Live,
        provokes: [
            PACKED = "pci.structure.least-alignment", Must ["4.1.4.3", "4.1.4.4", "4.1.4.5", "4.1.4.6"],
                "The driver finds structures that are aligned no further than they have to be.";
        ]
    }
    DISTANT_STRUCTURES = "distant-structures" ["4.1.4"] {
        does: "structures lie far apart in their BARs, in an order that varies, with nothing in between",
        fails: "The driver maps the beginning of a BAR and looks there.",
        shows: Live,
        provokes: [
            DISTANT = "pci.structure.any-offset", Must ["4.1.4"],
                "The driver finds structures at any offset in a BAR.";
        ]
    }
    RELOCATED_BARS = "relocated-bars" ["PCI 6.2.5.1"] {
        does: "firmware has put the BARs at other addresses than usual, 64-bit ones also below 4 GiB",
        fails: "The driver knows the addresses instead of reading them.",
        shows: Live,
        provokes: [
            RELOCATED = "pci.structure.any-address", Must ["4.1.4"],
                "The driver finds BARs where their registers say.";
        ]
    }
    ONE_NOTIFY_ADDRESS = "one-notify-address" ["4.1.4.4", "4.1.4.4.1-3"] {
        does: "notify_off_multiplier is 0, so that all virtqueues are notified at one address",
        fails: "The driver does not write the queue's index, or divides by the multiplier.",
        excludes: [
            CLOSE_NOTIFY_ADDRESSES: "there is one notify_off_multiplier",
            DISTANT_NOTIFY_ADDRESSES: "there is one notify_off_multiplier",
        ],
        shows: Notified,
        provokes: [
            SHARED_ADDRESS = "notify.address.one", Must ["4.1.4.4"],
                "With a notify_off_multiplier of 0 the driver notifies all virtqueues at one address.";
        ]
    }
    CLOSE_NOTIFY_ADDRESSES = "close-notify-addresses" ["4.1.4.4", "4.1.4.4.1-3"] {
        does: "notify_off_multiplier is 2",
        fails: "The driver writes 32 bits, or knows a multiplier of 4.",
        excludes: [
            DISTANT_NOTIFY_ADDRESSES: "there is one notify_off_multiplier",
        ],
        shows: Notified,
        provokes: [
            CLOSE_ADDRESS = "notify.address.close", Must ["4.1.4.4"],
                "With a notify_off_multiplier of 2 the driver notifies each virtqueue at its address.";
        ]
    }
    DISTANT_NOTIFY_ADDRESSES = "distant-notify-addresses" ["4.1.4.4", "4.1.4.4.1-3"] {
        does: "notify_off_multiplier is a larger power of two, up to 4096",
        fails: "The driver knows a multiplier of 4, or maps too little.",
        shows: Notified,
        provokes: [
            DISTANT_ADDRESS = "notify.address.distant", Must ["4.1.4.4"],
                "With a large notify_off_multiplier the driver notifies each virtqueue at its address.";
        ]
    }
    NOTIFY_OFFSETS = "notify-offsets" ["4.1.4.4"] {
        does: "queue_notify_off is not the virtqueue's index: the offsets are permuted, with gaps",
        fails: "The driver notifies a queue at the place of its index.",
        excludes: [
            SAME_NOTIFY_OFFSET: "the offsets differ or do not",
        ],
        shows: Notified,
        provokes: [
            OFFSETS = "notify.address.offsets", Must ["4.1.4.4"],
                "The driver reads queue_notify_off of each virtqueue, and notifies the queue there.";
        ]
    }
    SAME_NOTIFY_OFFSET = "same-notify-offset" ["4.1.4.4"] {
        does: "queue_notify_off is the same for all virtqueues",
        fails: "The driver notifies a queue at the place of its index.",
        shows: Notified,
        provokes: [
            SAME_OFFSET = "notify.address.same-offset", Must ["4.1.4.4"],
                "The driver notifies virtqueues at the same address where queue_notify_off is the same.";
        ]
    }
    NO_MSIX = "no-msix" ["4.1.5.1.2", "4.1.5.1.2.2-1"] {
        does: "there is no MSI-X",
        fails: "The driver gives up without MSI-X.",
        excludes: [
            ONE_VECTOR: "one of them is without MSI-X",
            MOST_VECTORS: "one of them is without MSI-X",
            SOME_VECTORS: "one of them is without MSI-X",
            REFUSED_VECTORS: "one of them is without MSI-X",
            NO_VECTOR_MAPS: "one of them is without MSI-X",
        ],
        shows: Live,
        provokes: [
            NO_MSIX = "msix.table-size.none", Must ["4.1.5.1.2.2-1"],
                "The driver copes with a device without MSI-X.";
        ]
    }
    SOME_VECTORS = "some-vectors" ["4.1.5.1.2.1"] {
        does: "the MSI-X table has some other number of entries, fewer or more than there are events",
        fails: "The driver wants a vector for each virtqueue, or maps vectors that are not there.",
        shows: Live,
        provokes: [
            SOME_VECTORS = "msix.table-size.any", Must ["4.1.5.1.2.2-1"],
                "The driver copes with an MSI-X table of any size.";
        ]
    }
    NO_VECTOR_MAPS = "no-vector-maps" ["4.1.5.1.2.1", "4.1.5.1.2.1-8", "4.1.5.1.2.1-9"] {
        does: "in every other life of the device, the first for one, no event can be mapped to any MSI-X vector, for what that takes is used up",
        fails: "The driver does not read the vector back, and waits for interrupts that never come.",
        excludes: [
            REFUSED_VECTORS: "one of them refuses all, the other some",
        ],
        shows: Live,
        provokes: [
            NONE_MAPPED = "msix.vector.all-refused", May ["4.1.5.1.2.2-6"],
                "Where no vector can be mapped the driver may disable MSI-X.";
        ]
    }
    MORE_QUEUES = "more-queues" ["4.1.4.3", "4.1.4.3.1-9"] {
        does: "num_queues counts virtqueues that no device of this type has, some of them unavailable",
        fails: "The driver takes the number of queues for the number of ports or pairs.",
        shows: Live,
        provokes: [
            MORE = "queue.count.larger", May ["4.1.4.3"],
                "The driver uses the virtqueues of its device type, however many there are.";
        ]
    }
}
