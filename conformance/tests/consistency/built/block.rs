//! Requirements on devices: the block device.

use super::declare;

declare! {
    "device.block.flush-offered":
        "block/config.rs", "block/tests/mod.rs" flush_is_offered_always;
    "device.block.writeback-off":
        "block/mod.rs", "block/tests/mod.rs" writeback_is_the_only_field_a_driver_writes;
    "device.block.read-only":
        "block/mod.rs", "block/tests/mod.rs" a_read_only_disk_is_offered_as_such_and_never_written;
    "device.block.stable":
        "block/mod.rs", "block/tests/mod.rs" writes_are_stable_where_the_specification_says;
    "device.block.early-commit":
        "block/mod.rs", "block/tests/mod.rs" writes_are_stable_where_the_specification_says;
}
