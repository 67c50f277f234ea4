//! Latitudes of the network device (§5.1 of virtio 1.0).

use super::latitudes;
use crate::rules::{buffer, notify, split_ring};

latitudes! {
    table Net, chapter LatitudeNet;

    UNKNOWN_FLAGS = "unknown-flags" ["5.1.6.4.2-1"] {
        does: "flags of a received packet occasionally has undefined bits, if VIRTIO_NET_F_GUEST_CSUM is negotiated",
        fails: "The driver drops the packet, or gives the bits a meaning: connections stall until the packet is sent again.",
        shows: ByRule,
        provokes: []
    }
    STRAY_CHECKSUM_FIELDS = "stray-checksum-fields" ["5.1.6.4.2-2"] {
        does: "csum_start and csum_offset of a received packet occasionally are not 0 although flags is 0",
        fails: "The driver writes a checksum into the packet, or drops it: connections stall until the packet is sent again.",
        shows: ByRule,
        provokes: []
    }
    ODD_HDR_LEN = "odd-hdr-len" ["5.1.6.4.1-14", "5.1.6.4.2-4"] {
        does: "hdr_len of a received packet is occasionally larger than its headers, and sometimes larger than the packet",
        fails: "The driver drops the packet, or treats data as headers: connections stall until the packet is sent again.",
        shows: ByRule,
        provokes: []
    }
    DAMAGED_PACKETS = "damaged-packets" ["5.1.6.4.2-5"] {
        does: "a received TCP segment is occasionally corrupted, as on any wire, with flags 0 and the checksum of the original segment",
        fails: "The driver reports the checksum as correct, and corrupted data reaches programs.",
        shows: ByRule,
        provokes: []
    }
    ANNOUNCE = "announce" ["5.1.6.5.4"] {
        does: "a network device asks the driver to announce itself as soon as it is live, and again later",
        fails: "The driver never acknowledges the request, or acknowledges it without announcing itself.",
        shows: ByRule,
        provokes: []
    }
    LINK_FLAPS = "link-flaps" ["5.1.4"] {
        does: "VIRTIO_NET_S_LINK_UP is occasionally cleared in status, and set again a while later",
        fails: "The driver does not read status again, or does not send packets after the link is up again.",
        shows: ByRule,
        provokes: []
    }
    SPLIT_PACKETS = "split-packets" ["5.1.6.3.2", "5.1.6.4"] {
        does: "a packet is spread over more receive buffers than it needs, if VIRTIO_NET_F_MRG_RXBUF is negotiated",
        fails: "The driver treats the first buffer as the whole packet, or assumes that all buffers except the last are full.",
        shows: Used,
        provokes: [
            MERGED = "net.receive.merged", Must ["5.1.6.4"],
                "The driver assembles a packet from num_buffers buffers, and takes from each as many bytes as the device wrote.";
        ]
    }
    EARLY_PACKETS = "early-packets" ["5.1.6.3", "5.1.5"] {
        does: "packets are already waiting when the driver sets DRIVER_OK",
        fails: "The driver treats the first packet as an answer to what it sent, or fails because it is not ready to receive.",
        shows: Used,
        provokes: [
            EARLY = "net.receive.unasked", Must ["5.1.6.3"],
                "The driver copes with packets from the moment it sets DRIVER_OK.";
        ]
    }
    LARGE_PACKETS = "large-packets" ["5.1.6.3", "5.1.6.4"] {
        does: "a received packet is occasionally as large as the negotiated features allow",
        fails: "The driver has no room for the packet, truncates it, or passes it to the wrong receiver.",
        shows: Used,
        provokes: [
            LARGE = "net.receive.largest", Must ["5.1.6.3"],
                "The driver copes with packets that are as large as the negotiated features allow.";
        ]
    }
    DRY_RECEIVE_QUEUES = "dry-receive-queues" ["5.1.6.3", "2.4.9.2"] {
        does: "occasionally, after the driver has sent a packet, so many packets arrive that they use up all buffers of a receive queue",
        fails: "The driver adds new receive buffers and does not notify the device of them, because it does not look whether it has to: nothing is received any more.",
        shows: Answered,
        unless: [notify::BY_FLAGS, notify::BY_EVENT],
        provokes: [
            DRY = "net.receive.refilled", Must ["2.4.9.1-2", "2.4.9.1-4", "2.4.9.1-6"],
                "The driver notifies the device of new receive buffers after the receive queue has run out of them.";
        ]
    }
    CHECKSUM_STATES = "checksum-states" ["5.1.6.4.1-9", "5.1.6.4.1-15"] {
        does: "received packets have in turn a partial, a validated and a complete checksum, if VIRTIO_NET_F_GUEST_CSUM is negotiated",
        fails: "The driver treats a partial checksum as wrong, and drops the packet.",
        shows: Used,
        provokes: [
            CHECKSUMS = "net.receive.checksum-states", Must ["5.1.6.4"],
                "With VIRTIO_NET_F_GUEST_CSUM, the driver accepts packets whose checksum is partial, validated or neither.";
        ]
    }
    SLOW_CONTROL = "slow-control" ["5.1.6.5", "3.2.2"] {
        does: "commands on the control virtqueue are answered late, by milliseconds to seconds",
        fails: "The driver gives up on the command after a fixed number of turns, or keeps a processor busy until the answer comes.",
        shows: Used,
        provokes: [
            SLOW_COMMAND = "net.control.slow", Must ["5.1.6.5", "3.2.2"],
                "The driver copes with commands that are answered only after seconds.";
        ]
    }
    SMALL_NET_QUEUES = "small-net-queues" ["2.4", "4.1.4.3", "5.1.2"] {
        does: "the virtqueues of a network device have 8 or 16 descriptors: fewer than a packet of many fragments may need",
        fails: "The driver waits for room that the virtqueue can never have, and sends nothing after the first packet.",
        excludes: [
            SMALL_QUEUES: "a queue has one size",
            TINY_QUEUES: "a queue has one size",
            LARGEST_QUEUES: "a queue has one size",
            RESIZED_QUEUES: "a queue has one size",
        ],
        may_end_use: true,
        choices: Of(&["8", "16"]),
        shows: Works,
        unless: [split_ring::OVERRUN, buffer::LENGTH],
        provokes: [
            SMALL_NET = "net.queue.small", May ["2.4", "4.1.4.3"],
                "The driver works with virtqueues of a network device that have 8 or 16 descriptors, or sets FAILED.";
        ]
    }
    SMALL_GSO_SIZE = "small-gso-size" ["5.1.6.4.1-13"] {
        does: "gso_size of a received TCP packet that may be segmented is occasionally between 8 and 536",
        fails: "The driver drops the packet, or fails to divide it into so many segments: connections stall until the packet is sent again.",
        choices: Of(&["8", "48", "128", "536"]),
        shows: Used,
        provokes: [
            SMALL_GSO = "net.receive.small-gso-size", Must ["5.1.6.4"],
                "The driver copes with any gso_size of a packet that it receives, however small.";
        ]
    }
}
