//! Latitudes of the PCI function and the virtio-pci transport (§4.1 of virtio 1.0).

use super::latitudes;
use crate::rules::notify;

latitudes! {
    table Transport, chapter LatitudeTransport;

    ANY_REVISION = "any-revision" ["4.1.2.1", "4.1.2.2"] {
        does: "PCI Revision ID is 0x5a",
        fails: "The driver does not bind to the device.",
        shows: Live,
        provokes: [
            DEVICE_ID = "pci.match.device-id", Must ["4.1.2.2-1"],
                "The driver binds to a device with vendor ID 0x1af4 and a PCI Device ID of 0x1040 plus the virtio device ID.";
            REVISION = "pci.match.any-revision", Must ["4.1.2.2-3"],
                "The driver binds to a device with any PCI Revision ID.";
        ]
    }
    ANY_SUBSYSTEM = "any-subsystem" ["4.1.2.1", "4.1.2.2"] {
        does: "PCI Subsystem Vendor ID and Subsystem Device ID are unassigned values",
        fails: "The driver does not bind to the device.",
        shows: Live,
        provokes: [
            SUBSYSTEM = "pci.match.any-subsystem", May ["4.1.2.2-4"],
                "The driver may bind to a device with any PCI Subsystem Vendor ID and Subsystem Device ID.";
        ]
    }
    TRANSITIONAL_ID = "transitional-id" ["4.1.2.1"] {
        does: "the device has the Transitional PCI Device ID",
        fails: "The driver does not bind to the device, or uses the legacy interface.",
        shows: Live,
        provokes: [
            TRANSITIONAL = "pci.match.transitional-id", Must ["4.1.2.2-2"],
                "The driver binds to a device with vendor ID 0x1af4 and the Transitional PCI Device ID of its type.";
        ]
    }
    RESERVED_CFG_TYPE = "reserved-cfg-type" ["4.1.4.1"] {
        does: "a capability with a reserved cfg_type comes before the others",
        fails: "The driver treats the capability as one that it knows, or gives up on the device.",
        shows: Works,
        provokes: [
            CFG_TYPE = "pci.capability.reserved-cfg-type", Must ["4.1.4.1-1"],
                "The driver ignores a capability with a reserved cfg_type.";
        ]
    }
    RESERVED_BAR = "reserved-bar" ["4.1.4.1"] {
        does: "a capability for the common configuration in the reserved BAR 6 comes before the valid one",
        fails: "The driver looks for the structure in a BAR that does not exist, and gives up.",
        shows: Works,
        provokes: [
            BAR = "pci.capability.reserved-bar", Must ["4.1.4.1-4"],
                "The driver ignores a capability with a reserved bar.";
        ]
    }
    LONG_CAPABILITIES = "long-capabilities" ["4.1.4.1"] {
        does: "cap_len of each virtio capability is larger than its fields need",
        fails: "The driver expects a fixed cap_len, and does not find the structures.",
        shows: Works,
        provokes: [
            CAP_LEN = "pci.capability.larger-cap-len", Must ["4.1.4.1-3"],
                "The driver accepts a cap_len that is larger than the fields need.";
        ]
    }
    SECOND_INSTANCES = "second-instances" ["4.1.4.1", "4.1.4.2"] {
        does: "common and device-specific configuration are presented a second time, elsewhere",
        fails: "The driver uses the last instance that it finds.",
        excludes: [
            IO_INSTANCES: "configuration space has no room for the capabilities of both",
            FOREIGN_CAPABILITIES: "configuration space has no room for the capabilities of both",
        ],
        shows: Live,
        provokes: [
            FIRST = "pci.capability.first-instance", Should ["4.1.4.1-2"],
                "If several capabilities describe structures of the same type, the driver uses the first.";
        ]
    }
    IO_INSTANCES = "io-instances" ["4.1.4", "4.1.4.1-2", "4.1.4.2-3"] {
        does: "common configuration and ISR status are presented a second time, in I/O space",
        fails: "The driver uses the I/O port as a memory address, or uses the last instance that it finds.",
        shows: Works,
        provokes: [
            IO = "pci.capability.io-space", Must ["4.1.4"],
                "The driver distinguishes structures in I/O space from structures in memory space.";
        ]
    }
    OVERSIZED_STRUCTURES = "oversized-structures" ["2.3.1", "4.1.4.1"] {
        does: "each structure has a length of 64 KiB or more",
        fails: "The driver expects fixed lengths, and gives up on the device.",
        shows: Works,
        provokes: [
            LENGTH = "pci.structure.larger-length", Must ["4.1.4.1-6"],
                "The driver copes with a structure of any length that is large enough.";
            NO_LIMIT = "config.size.no-limit", MustNot ["2.3.1-3"],
                "The driver does not limit the size of structures or of device configuration space.";
            LARGE_ENOUGH = "config.size.large-enough", Should ["2.3.1-4"],
                "The driver checks only that device configuration space is large enough.";
        ]
    }
    ONE_VECTOR = "one-vector" ["4.1.5.1.2.1"] {
        does: "the MSI-X table has one entry",
        fails: "The driver requires a vector for each virtqueue, and gives up or loses interrupts.",
        excludes: [
            MOST_VECTORS: "there is one MSI-X table",
            SOME_VECTORS: "there is one MSI-X table",
        ],
        shows: Works,
        provokes: [
            SMALL_TABLE = "msix.table-size.smallest", Must ["4.1.5.1.2.2-1"],
                "The driver copes with an MSI-X table of one entry.";
            FALL_BACK = "msix.table-size.fall-back", May ["4.1.5.1.2.2-2"],
                "If there is only one MSI-X vector, the driver may use the interrupt pin.";
        ]
    }
    MOST_VECTORS = "most-vectors" ["4.1.5.1.2.1"] {
        does: "the MSI-X table has 0x800 entries",
        fails: "The driver gives up, or requests more vectors than the guest can provide.",
        excludes: [
            SOME_VECTORS: "there is one MSI-X table",
        ],
        shows: Works,
        provokes: [
            LARGE_TABLE = "msix.table-size.largest", Must ["4.1.5.1.2.2-1"],
                "The driver copes with an MSI-X table of 0x800 entries.";
            HINT = "msix.table-size.hint", May ["4.1.5.1.2.2-3"],
                "The driver may use the size of the MSI-X table as a hint for the number of vectors.";
        ]
    }
    REFUSED_VECTORS = "refused-vectors" ["4.1.5.1.2.1", "4.1.5.1.2.1-8", "4.1.5.1.2.1-9"] {
        does: "events can be mapped to at most two different MSI-X vectors at a time, because the device has no resources for more",
        fails: "The driver does not read the vector back, and waits for interrupts that never come.",
        shows: Answered,
        provokes: [
            REFUSED = "msix.vector.refused", May ["4.1.5.1.2.2-6"],
                "If a vector cannot be mapped, the driver may try fewer vectors, use none, or give up.";
        ]
    }
    SHARED_INTERRUPTS = "shared-interrupts" ["4.1.4.5", "4.1.5.4.2"] {
        does: "there is no MSI-X, and ISR status occasionally has both bits set at once",
        fails: "The driver handles only one of the two causes: a virtqueue stalls, or the driver misses a configuration change.",
        excludes: [
            ONE_VECTOR: "one of them has no MSI-X",
            MOST_VECTORS: "one of them has no MSI-X",
            SOME_VECTORS: "one of them has no MSI-X",
            REFUSED_VECTORS: "one of them has no MSI-X",
            NO_VECTOR_MAPS: "one of them has no MSI-X",
        ],
        shows: Answered,
        provokes: [
            SHARED = "interrupt.shared", Must ["4.1.5.4.2-1"],
                "The driver copes with one interrupt for both a configuration change and used buffers.";
        ]
    }
    CAPABILITY_ORDER = "capability-order" ["4.1.4", "PCI 6.7"] {
        does: "the order of the capabilities varies",
        fails: "The driver treats the first capability as the common configuration, the second as notifications, and so on, or expects MSI-X to be the first or the last one.",
        shows: Works,
        provokes: [
            ORDER = "pci.capability.any-order", Must ["4.1.4"],
                "The driver finds structures by cfg_type, whatever the order of their capabilities is.";
        ]
    }
    SCATTERED_CAPABILITIES = "scattered-capabilities" ["4.1.4", "PCI 6.7"] {
        does: "the order of capabilities in configuration space differs from their order in the list, with gaps where there is room",
        fails: "The driver continues after the end of a capability instead of following the pointer to the next one.",
        shows: Works,
        provokes: [
            PLACE = "pci.capability.any-place", Must ["4.1.4"],
                "The driver follows the pointer from each capability to the next, whatever its offset is.";
        ]
    }
    FOREIGN_CAPABILITIES = "foreign-capabilities" ["4.1.4", "4.1.4.1-1", "PCI 6.7"] {
        does: "the list of capabilities includes one with an unassigned capability ID, and a vendor-specific one that is too short for a structure",
        fails: "The driver reads a structure from the short capability, or stops at the one that it does not know.",
        excludes: [
            LONG_CAPABILITIES: "configuration space has no room for the capabilities of both",
        ],
        shows: Works,
        provokes: [
            FOREIGN = "pci.capability.foreign", Must ["4.1.4.1-1"],
                "The driver skips capabilities that it does not know.";
        ]
    }
    RESERVED_LAST = "reserved-last" ["4.1.4.1"] {
        does: "capabilities with a reserved cfg_type and with a reserved bar come after the others",
        fails: "The driver prefers a later capability to an earlier one, and accesses a BAR that does not exist.",
        excludes: [
            LONG_CAPABILITIES: "configuration space has no room for the capabilities of both",
            SECOND_INSTANCES: "configuration space has no room for the capabilities of both",
            IO_INSTANCES: "configuration space may have no room for the capabilities of both",
        ],
        shows: Works,
        provokes: [
            LAST = "pci.capability.reserved-last", Must ["4.1.4.1-1", "4.1.4.1-4"],
                "The driver ignores capabilities with reserved values, also after it has found the structures.";
        ]
    }
    SEPARATE_BARS = "separate-bars" ["4.1.4"] {
        does: "each structure has a BAR of its own, and the numbers of the BARs vary",
        fails: "The driver maps one BAR and expects all structures there.",
        excludes: [
            ONE_BAR: "structures are in one BAR or in several",
            WIDE_BARS: "a function has registers for only three 64-bit BARs",
        ],
        shows: Works,
        provokes: [
            OWN_BAR = "pci.structure.separate-bars", Must ["4.1.4"],
                "The driver finds each structure in the BAR that its capability names.";
        ]
    }
    ONE_BAR = "one-bar" ["4.1.4"] {
        does: "all structures and the MSI-X table are in one BAR that is not BAR 0",
        fails: "The driver uses a fixed BAR, or cannot share a BAR with the MSI-X table.",
        excludes: [
            PREFETCHABLE_BAR: "not all structures can be prefetched",
        ],
        shows: Works,
        provokes: [
            ONE_BAR = "pci.structure.one-bar", Must ["4.1.4"],
                "The driver finds structures in any BAR, also in the BAR of the MSI-X table.";
        ]
    }
    WIDE_BARS = "wide-bars" ["4.1.4", "PCI 6.2.5.1"] {
        does: "all BARs are 64 bits wide",
        fails: "The driver reads only half of an address, or treats the upper half as another BAR.",
        excludes: [
            IO_INSTANCES: "a function has registers for only three 64-bit BARs",
            NARROW_BARS: "a BAR has one width",
        ],
        shows: Works,
        provokes: [
            WIDE = "pci.structure.wide-bars", Must ["4.1.4"],
                "The driver finds structures in 64-bit BARs.";
        ]
    }
    NARROW_BARS = "narrow-bars" ["4.1.4", "PCI 6.2.5.1"] {
        does: "all BARs are 32 bits wide",
        fails: "The driver reads the next BAR as the upper half of an address.",
        shows: Works,
        provokes: [
            NARROW = "pci.structure.narrow-bars", Must ["4.1.4"],
                "The driver finds structures in 32-bit BARs.";
        ]
    }
    PREFETCHABLE_BAR = "prefetchable-bar" ["4.1.4", "PCI 6.2.5.1"] {
        does: "device-specific configuration is in a prefetchable BAR",
        fails: "The driver treats the prefetchable bit as a bit of the address, or does not find the structure.",
        shows: Works,
        provokes: [
            PREFETCHABLE = "pci.structure.prefetchable-bar", Must ["4.1.4"],
                "The driver finds structures in a prefetchable BAR.";
        ]
    }
    PACKED_STRUCTURES = "packed-structures" ["4.1.4.3.1-1", "4.1.4.4.1-2", "4.1.4.5"] {
        does: "structures are close together, with no more alignment than the specification requires",
        fails: "The driver expects each structure to have pages of its own, or a larger alignment.",
        excludes: [
            DISTANT_STRUCTURES: "structures are either close together or far apart",
        ],
        shows: Works,
        provokes: [
            PACKED = "pci.structure.least-alignment", Must ["4.1.4.3", "4.1.4.4", "4.1.4.5", "4.1.4.6"],
                "The driver finds structures that have only the required alignment.";
        ]
    }
    DISTANT_STRUCTURES = "distant-structures" ["4.1.4"] {
        does: "structures are far apart in their BARs, in an order that varies, with nothing between them",
        fails: "The driver maps only the beginning of a BAR.",
        shows: Works,
        provokes: [
            DISTANT = "pci.structure.any-offset", Must ["4.1.4"],
                "The driver finds structures at any offset in a BAR.";
        ]
    }
    RELOCATED_BARS = "relocated-bars" ["PCI 6.2.5.1"] {
        does: "firmware has placed the BARs at unusual addresses, 64-bit ones also below 4 GiB",
        fails: "The driver uses fixed addresses instead of reading them.",
        shows: Works,
        provokes: [
            RELOCATED = "pci.structure.any-address", Must ["4.1.4"],
                "The driver finds BARs at the addresses that their registers contain.";
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
        unless: [notify::BY_FLAGS, notify::BY_EVENT],
        provokes: [
            SHARED_ADDRESS = "notify.address.one", Must ["4.1.4.4"],
                "With a notify_off_multiplier of 0, the driver notifies all virtqueues at one address.";
        ]
    }
    CLOSE_NOTIFY_ADDRESSES = "close-notify-addresses" ["4.1.4.4", "4.1.4.4.1-3"] {
        does: "notify_off_multiplier is 2",
        fails: "The driver writes 32 bits, or assumes a multiplier of 4.",
        excludes: [
            DISTANT_NOTIFY_ADDRESSES: "there is one notify_off_multiplier",
        ],
        shows: Notified,
        unless: [notify::BY_FLAGS, notify::BY_EVENT],
        provokes: [
            CLOSE_ADDRESS = "notify.address.close", Must ["4.1.4.4"],
                "With a notify_off_multiplier of 2, the driver notifies each virtqueue at its address.";
        ]
    }
    DISTANT_NOTIFY_ADDRESSES = "distant-notify-addresses" ["4.1.4.4", "4.1.4.4.1-3"] {
        does: "notify_off_multiplier is a larger power of two, up to 4096",
        fails: "The driver assumes a multiplier of 4, or maps too little.",
        choices: Of(&["4096", "1024", "256", "64"]),
        shows: Notified,
        unless: [notify::BY_FLAGS, notify::BY_EVENT],
        provokes: [
            DISTANT_ADDRESS = "notify.address.distant", Must ["4.1.4.4"],
                "With a large notify_off_multiplier, the driver notifies each virtqueue at its address.";
        ]
    }
    NOTIFY_OFFSETS = "notify-offsets" ["4.1.4.4"] {
        does: "queue_notify_off is not the virtqueue's index: the offsets are permuted, with gaps",
        fails: "The driver uses the index of a virtqueue instead of its queue_notify_off.",
        excludes: [
            SAME_NOTIFY_OFFSET: "the offsets are either different or the same",
        ],
        shows: Notified,
        unless: [notify::BY_FLAGS, notify::BY_EVENT],
        provokes: [
            OFFSETS = "notify.address.offsets", Must ["4.1.4.4"],
                "The driver reads queue_notify_off of each virtqueue, and notifies the virtqueue at that offset.";
        ]
    }
    SAME_NOTIFY_OFFSET = "same-notify-offset" ["4.1.4.4"] {
        does: "queue_notify_off is the same for all virtqueues",
        fails: "The driver uses the index of a virtqueue instead of its queue_notify_off.",
        shows: Notified,
        unless: [notify::BY_FLAGS, notify::BY_EVENT],
        provokes: [
            SAME_OFFSET = "notify.address.same-offset", Must ["4.1.4.4"],
                "The driver notifies virtqueues at the same address where queue_notify_off is the same.";
        ]
    }
    NO_MSIX = "no-msix" ["4.1.5.1.2", "4.1.5.1.2.2-1"] {
        does: "there is no MSI-X",
        fails: "The driver gives up without MSI-X.",
        excludes: [
            ONE_VECTOR: "one of them has no MSI-X",
            MOST_VECTORS: "one of them has no MSI-X",
            SOME_VECTORS: "one of them has no MSI-X",
            REFUSED_VECTORS: "one of them has no MSI-X",
            NO_VECTOR_MAPS: "one of them has no MSI-X",
        ],
        shows: Works,
        provokes: [
            NO_MSIX = "msix.table-size.none", Must ["4.1.5.1.2.2-1"],
                "The driver copes with a device without MSI-X.";
        ]
    }
    SOME_VECTORS = "some-vectors" ["4.1.5.1.2.1"] {
        does: "the number of entries of the MSI-X table varies, and is smaller or larger than the number of events",
        fails: "The driver requires a vector for each virtqueue, or maps vectors that do not exist.",
        choices: Of(&["few", "67", "500"]),
        shows: Works,
        provokes: [
            SOME_VECTORS = "msix.table-size.any", Must ["4.1.5.1.2.2-1"],
                "The driver copes with an MSI-X table of any size.";
        ]
    }
    NO_VECTOR_MAPS = "no-vector-maps" ["4.1.5.1.2.1", "4.1.5.1.2.1-8", "4.1.5.1.2.1-9"] {
        does: "in every second use of the device, beginning with the first, no event can be mapped to any MSI-X vector, because the device has no resources for it",
        fails: "The driver does not read the vector back, and waits for interrupts that never come.",
        excludes: [
            REFUSED_VECTORS: "one of them refuses all vectors, the other only some",
        ],
        shows: Answered,
        provokes: [
            NONE_MAPPED = "msix.vector.all-refused", May ["4.1.5.1.2.2-6"],
                "If no vector can be mapped, the driver may disable MSI-X.";
        ]
    }
    MORE_QUEUES = "more-queues" ["4.1.4.3", "4.1.4.3.1-9"] {
        does: "num_queues includes virtqueues that a device of this type does not have, some of them unavailable",
        fails: "The driver uses num_queues as the number of ports or of queue pairs.",
        shows: Works,
        provokes: [
            MORE = "queue.count.larger", May ["4.1.4.3"],
                "The driver uses the virtqueues of its device type, whatever num_queues is.";
        ]
    }
}
