//! Requirements on devices: the entropy device.

use super::declare;

declare! {
    "device.entropy.one-byte":
        "entropy/mod.rs", "entropy/tests.rs" a_large_buffer_is_filled_in_part_and_the_length_says_so;
}
