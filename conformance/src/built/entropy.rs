//! The entropy device (§5.4 of virtio 1.0).

use super::built;

built! {
    chapter BuiltEntropy;

    "device.entropy.one-byte", Must ["5.4.6.2-1"],
        "Every buffer is returned with at least one random byte.",
        choice "A buffer is filled up to 64 KiB; a buffer without room is returned empty.";
}
