//! The block device (§5.2 of virtio 1.0).

use super::built;

built! {
    chapter BuiltBlock;

    "device.block.flush-offered", Should ["5.2.5.2-1"],
        "FLUSH is offered, in any case where CONFIG_WCE is.",
        choice "Both are offered always.";
    "device.block.writeback-off", Must ["5.2.5.2-2"],
        "With CONFIG_WCE and without FLUSH negotiated, writeback is 0 to begin with.";
    "device.block.read-only", Must ["5.2.6.2-1"],
        "With RO offered, writes fail with IOERR and write nothing.",
        choice "Also empty ones.";
    "device.block.stable", Must ["5.2.6.2-2"],
        "A stable write is on persistent storage before it, or the flush it is stable by, completes.",
        choice "A flush covers all writes made available before it, also those that had not completed.";
    "device.block.early-commit", May ["5.2.6.2-3"],
        "Where FLUSH was not offered, writes may be committed to persistent storage before they complete.",
        choice "FLUSH is always offered; for a driver that does not accept it writes are committed so.";
}
