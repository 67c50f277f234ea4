//! The entropy device (§5.4).

use super::built;

built! {
    "device.entropy.one-byte", Must ["5.4.6.2-1"],
        "Every buffer comes back with one random byte at least.",
        choice "A buffer is filled up to 64 KiB; what has room for no byte comes back empty.",
        code "entropy/mod.rs",
        test "entropy/tests.rs" a_large_buffer_is_filled_in_part_and_the_length_says_so;
}
