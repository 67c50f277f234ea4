//! Latitudes of the entropy device (§5.4 of virtio 1.0).

use super::latitudes;

latitudes! {
    table Entropy, chapter LatitudeEntropy;

    ONE_BYTE = "one-byte" ["5.4.6.2-1"] {
        does: "an entropy device puts one byte into each buffer",
        fails: "The driver treats the whole buffer as random bytes, or fails because it gets too few bytes.",
        excludes: [
            SHORT_READS: "one of them puts one byte into each buffer, the other more",
        ],
        shows: Used,
        provokes: [
            ONE_BYTE = "entropy.used.one-byte", Must ["5.4.6"],
                "The driver works with a device that puts one byte into each buffer.";
        ]
    }
    SHORT_READS = "short-reads" ["5.4.6.2-1"] {
        does: "an entropy device fills buffers only in part, each to a different length",
        fails: "The driver treats the whole buffer as random bytes, or fails because it gets too few bytes.",
        shows: Used,
        provokes: [
            SHORT = "entropy.used.short", Must ["5.4.6"],
                "The driver works with a device that does not fill its buffers.";
        ]
    }
}
