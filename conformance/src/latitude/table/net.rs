//! Latitudes of the network device (§5.1 of virtio 1.0).

use super::latitudes;

latitudes! {
    table Net, chapter LatitudeNet;

    UNKNOWN_FLAGS = "unknown-flags" ["5.1.6.4.2-1"] {
        does: "flags of a received packet now and then has bits that are not defined, if VIRTIO_NET_F_GUEST_CSUM is negotiated",
        fails: "The driver drops the packet, or takes the bits for something: connections stall until the packet comes again.",
        shows: ByRule,
        provokes: []
    }
    STRAY_CHECKSUM_FIELDS = "stray-checksum-fields" ["5.1.6.4.2-2"] {
        does: "csum_start and csum_offset of a received packet now and then have some value though flags is 0",
        fails: "The driver writes a checksum into the packet, or drops it: connections stall until the packet comes again.",
        shows: ByRule,
        provokes: []
    }
    ODD_HDR_LEN = "odd-hdr-len" ["5.1.6.4.1-14", "5.1.6.4.2-4"] {
        does: "hdr_len of a received packet now and then is more than its headers have, and sometimes more than the packet has",
        fails: "The driver drops the packet, or takes data for headers: connections stall until the packet comes again.",
        shows: ByRule,
        provokes: []
    }
    DAMAGED_PACKETS = "damaged-packets" ["5.1.6.4.2-5"] {
        does: "a TCP segment now and then is damaged on its way, as on any wire, with flags 0 and the checksum of what it was",
        fails: "The driver says that the checksum is right, and wrong data reaches programs.",
        shows: ByRule,
        provokes: []
    }
    ANNOUNCE = "announce" ["5.1.6.5.4"] {
        does: "a network device asks the driver to announce itself as soon as it is live, and again later",
        fails: "The driver never acknowledges, or does so without having announced itself.",
        shows: ByRule,
        provokes: []
    }
    LINK_FLAPS = "link-flaps" ["5.1.4"] {
        does: "now and then VIRTIO_NET_S_LINK_UP is cleared in status, and set again a while later",
        fails: "The driver does not look at status again, or does not send again once the link is up.",
        shows: ByRule,
        provokes: []
    }
    SPLIT_PACKETS = "split-packets" ["5.1.6.3.2", "5.1.6.4"] {
        does: "a packet is spread over more receive buffers than it needs, if they may be merged",
        fails: "The driver takes the bytes of the first buffer for the packet, or counts on all but the last to be full.",
        shows: Used,
        provokes: [
            MERGED = "net.receive.merged", Must ["5.1.6.4"],
                "The driver puts a packet together from num_buffers buffers, of each as many bytes as were used.";
        ]
    }
    EARLY_PACKETS = "early-packets" ["5.1.6.3", "5.1.5"] {
        does: "packets wait for the driver already when it sets DRIVER_OK",
        fails: "The driver takes the first packet for an answer to what it sent, or fails for want of something to do with it.",
        shows: Used,
        provokes: [
            EARLY = "net.receive.unasked", Must ["5.1.6.3"],
                "The driver copes with packets from the moment it sets DRIVER_OK.";
        ]
    }
    LARGE_PACKETS = "large-packets" ["5.1.6.3", "5.1.6.4"] {
        does: "now and then a packet comes that is as large as the negotiated features allow",
        fails: "The driver has no room for the packet, cuts it off, or gives it to the wrong reader.",
        shows: Used,
        provokes: [
            LARGE = "net.receive.largest", Must ["5.1.6.3"],
                "The driver copes with packets as large as what it negotiated allows.";
        ]
    }
    CHECKSUM_STATES = "checksum-states" ["5.1.6.4.1-9", "5.1.6.4.1-15"] {
        does: "where VIRTIO_NET_F_GUEST_CSUM is negotiated, packets take turns to have a partial, a validated and a complete checksum",
        fails: "The driver takes a partial checksum for a wrong one, and drops the packet.",
        shows: Used,
        provokes: [
            CHECKSUMS = "net.receive.checksum-states", Must ["5.1.6.4"],
                "With VIRTIO_NET_F_GUEST_CSUM the driver takes packets whose checksum is partial, validated or neither.";
        ]
    }
}
