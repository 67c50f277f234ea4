//! Latitudes of the block device (§5.2 of virtio 1.0).

use super::latitudes;
use crate::rules::block;

latitudes! {
    table Block, chapter LatitudeBlock;

    FAILING_SECTORS = "failing-sectors" ["5.2.6"] {
        does: "the disk has additional sectors at its end, and requests that access them fail",
        fails: "The driver does not report the error, retries without end, or does not continue with other requests.",
        shows: Used,
        provokes: [
            FAILED = "block.request.failed", Must ["5.2.6"],
                "The driver accepts VIRTIO_BLK_S_IOERR as an answer, and continues with other requests.";
        ]
    }
    UNKNOWN_LEN = "unknown-len" ["2.4.8.2", "2.4.8.2-3"] {
        does: "a request that fails is returned with len 0, because the device does not know how much of it was written",
        fails: "The driver expects len to include at least the status byte, and treats the device as broken or waits for more.",
        shows: Used,
        provokes: [
            UNKNOWN_LEN = "block.request.failed-len", MustNot ["2.4.8.3-1"],
                "The driver makes no assumptions about the buffer of a failed request with len 0, and continues with other requests.";
        ]
    }
    READ_ONLY = "read-only" ["5.2.3", "5.2.6.2-1"] {
        does: "VIRTIO_BLK_F_RO is offered, and writes fail, even if the disk is writable",
        fails: "The driver does not accept VIRTIO_BLK_F_RO and writes, or does not report that the disk is read-only.",
        shows: Used,
        unless: [block::ACCEPT_RO],
        provokes: [
            READ_ONLY = "block.read-only", Should ["5.2.6.1-2"],
                "The driver works with a read-only disk.";
        ]
    }
    CAPACITY_CHANGES = "capacity-changes" ["5.2.4", "3.2.2"] {
        does: "capacity increases and decreases again while requests are processed",
        fails: "The driver treats the change as a failure, or does not notice the new capacity.",
        shows: Used,
        provokes: [
            CAPACITY = "block.capacity.changed", Should ["3.2.2"],
                "The driver copes with a capacity that changes while it uses the disk.";
        ]
    }
    REFUSED_ID = "refused-id" ["5.2.6"] {
        does: "only read, write and flush requests are supported",
        fails: "The driver gives up on the device because there is no device id string, or uses the content of the buffer as one.",
        shows: Used,
        provokes: [
            UNSUPPORTED = "block.request.unsupported", Must ["5.2.6"],
                "The driver accepts VIRTIO_BLK_S_UNSUPP as an answer, and continues with other requests.";
        ]
    }
    FEW_SEGMENTS = "few-segments" ["5.2.3", "5.2.4"] {
        does: "seg_max is between 1 and 4, and size_max is a few KiB",
        fails: "The driver makes requests with more segments, or with larger segments.",
        excludes: [
            SMALL_SEGMENTS: "there is one size_max",
        ],
        choices: Of(&["1", "2", "3", "4"]),
        shows: Answered,
        unless: [block::SEGMENTS, block::SEGMENT_SIZE],
        provokes: [
            FEW_SEGMENTS = "block.seg-max.smallest", Must ["5.2.3"],
                "The driver works with a seg_max of 1, if it negotiates VIRTIO_BLK_F_SEG_MAX.";
        ]
    }
    SMALL_SEGMENTS = "small-segments" ["5.2.3", "5.2.4"] {
        does: "size_max is 512, 1024 or 2048",
        fails: "The driver still makes segments of a page. A driver that needs larger segments gives up on the device.",
        may_end_use: true,
        choices: Of(&["512", "1024", "2048"]),
        shows: Answered,
        unless: [block::SEGMENT_SIZE],
        provokes: [
            SMALL_SEGMENTS = "block.size-max.smallest", May ["5.2.3"],
                "The driver works with a size_max of 512, if it negotiates VIRTIO_BLK_F_SIZE_MAX, or sets FAILED.";
        ]
    }
    BLOCK_SIZES = "block-sizes" ["5.2.4", "5.2.5"] {
        does: "blk_size is between 1024 and 4096, and geometry and topology are unusual",
        fails: "The driver counts sector in units of blk_size, or relies on topology.",
        excludes: [
            LARGE_BLOCKS: "there is one blk_size",
        ],
        choices: Of(&["1024", "2048", "4096"]),
        shows: Answered,
        provokes: [
            BLOCK_SIZE = "block.blk-size.any", Must ["5.2.5"],
                "The driver counts sectors in units of 512 bytes, whatever blk_size, geometry and topology are.";
        ]
    }
    LARGE_BLOCKS = "large-blocks" ["5.2.4", "5.2.5"] {
        does: "blk_size is 8 KiB or more",
        fails: "The driver counts sector in units of blk_size, or uses only a part of a block. A driver that does not support such blocks gives up on the device, although blk_size affects only performance.",
        may_end_use: true,
        choices: Of(&["8192", "65536", "1048576"]),
        shows: Answered,
        provokes: [
            LARGE_BLOCKS = "block.blk-size.large", May ["5.2.5"],
                "The driver works with a large blk_size, or sets FAILED.";
        ]
    }
    WRITETHROUGH = "writethrough" ["5.2.5"] {
        does: "writeback is 0 after a reset",
        fails: "The driver assumes a writeback cache without reading writeback.",
        shows: Used,
        provokes: [
            WRITEBACK = "block.writeback.after-reset", Must ["5.2.5"],
                "The driver works with either cache mode after a reset.";
        ]
    }
}
