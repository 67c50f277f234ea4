//! The entropy device (§5.4 of virtio 1.0).

use super::built;

built! {
    chapter BuiltEntropy;

    "device.entropy.one-byte", Must ["5.4.6.2-1"],
        "Every buffer comes back with one random byte at least.",
        choice "A buffer is filled up to 64 KiB; what has room for no byte comes back empty.";
}
