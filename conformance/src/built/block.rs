//! The block device (§5.2 of virtio 1.0).

use super::built;

built! {
    chapter BuiltBlock;

    "device.block.flush-offered", Should ["5.2.5.2-1"],
        "FLUSH is offered, and always if CONFIG_WCE is offered.",
        choice "Both are always offered.";
    "device.block.writeback-off", Must ["5.2.5.2-2"],
        "With CONFIG_WCE and without FLUSH negotiated, writeback is initially 0.";
    "device.block.read-only", Must ["5.2.6.2-1"],
        "With RO offered, writes fail with IOERR and write nothing.",
        choice "Empty writes fail as well.";
    "device.block.stable", Must ["5.2.6.2-2"],
        "A stable write is on persistent storage before the write, or the flush that makes it stable, completes.",
        choice "A flush covers all writes made available before it, also those that were not completed.";
    "device.block.early-commit", May ["5.2.6.2-3"],
        "If FLUSH was not offered, writes may be committed to persistent storage before they complete.",
        choice "FLUSH is always offered; for a driver that does not accept it, writes are committed before they complete.";
}
