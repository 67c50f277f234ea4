//! The block device (§5.2).

use super::built;

built! {
    "device.block.flush-offered", Should ["5.2.5.2-1"],
        "FLUSH is offered, in any case where CONFIG_WCE is.",
        choice "Both are offered always.",
        code "block/config.rs", test "block/tests/mod.rs" flush_is_offered_always;
    "device.block.writeback-off", Must ["5.2.5.2-2"],
        "With CONFIG_WCE and without FLUSH negotiated, writeback is 0 to begin with.",
        code "block/mod.rs", test "block/tests/mod.rs" writeback_is_the_only_field_a_driver_writes;
    "device.block.read-only", Must ["5.2.6.2-1"],
        "With RO offered, writes fail with IOERR and write nothing.",
        choice "Also empty ones.",
        code "block/mod.rs",
        test "block/tests/mod.rs" a_read_only_disk_is_offered_as_such_and_never_written;
    "device.block.stable", Must ["5.2.6.2-2"],
        "A stable write is on persistent storage before it, or the flush it is stable by, completes.",
        choice "A flush covers all writes made available before it, also those that had not completed.",
        code "block/mod.rs", test "block/tests/mod.rs" writes_are_stable_where_the_specification_says;
    "device.block.early-commit", May ["5.2.6.2-3"],
        "Where FLUSH was not offered, writes may be committed to persistent storage before they complete.",
        choice "FLUSH is always offered; for a driver that does not accept it writes are committed so.",
        code "block/mod.rs", test "block/tests/mod.rs" writes_are_stable_where_the_specification_says;
}
