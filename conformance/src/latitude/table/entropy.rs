//! Latitudes of the entropy device (§5.4 of virtio 1.0).

use super::latitudes;

latitudes! {
    table Entropy, chapter LatitudeEntropy;

    ONE_BYTE = "one-byte" ["5.4.6.2-1"] {
        does: "an entropy device puts one byte into each buffer",
        fails: "The driver takes the whole buffer for random, or fails for want of more bytes.",
        excludes: [
            SHORT_READS: "a buffer gets one number of bytes",
        ],
        shows: Used,
        provokes: [
            ONE_BYTE = "entropy.used.one-byte", Must ["5.4.6"],
                "The driver works with a device that puts one byte into each buffer.";
        ]
    }
    SHORT_READS = "short-reads" ["5.4.6.2-1"] {
        does: "an entropy device fills buffers in part only, each to another length",
        fails: "The driver takes the whole buffer for random, or fails for want of more bytes.",
        shows: Used,
        provokes: [
            SHORT = "entropy.used.short", Must ["5.4.6"],
                "The driver works with a device that does not fill its buffers.";
        ]
    }
}
