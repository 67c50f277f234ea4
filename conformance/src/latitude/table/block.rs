//! Latitudes of the block device (§5.2 of virtio 1.0).

use super::latitudes;

latitudes! {
    table Block, chapter LatitudeBlock;

    FAILING_SECTORS = "failing-sectors" ["5.2.6"] {
        does: "the disk has further sectors at its end, and requests that touch them fail",
        fails: "The driver does not tell its user, tries again without end, or does not go on with other requests.",
        shows: Used,
        provokes: [
            FAILED = "block.request.failed", Must ["5.2.6"],
                "The driver takes VIRTIO_BLK_S_IOERR for an answer, and goes on with other requests.";
        ]
    }
    UNKNOWN_LEN = "unknown-len" ["2.4.8.2", "2.4.8.2-3"] {
        does: "a request that fails is returned with len 0: what has been written of it, the device does not know",
        fails: "The driver wants len to tell of the status byte at least, and takes the device for broken or waits for more.",
        shows: Used,
        provokes: [
            UNKNOWN_LEN = "block.request.failed-len", MustNot ["2.4.8.3-1"],
                "The driver takes nothing for granted of a failed request of which len is 0, and goes on with others.";
        ]
    }
    READ_ONLY = "read-only" ["5.2.3", "5.2.6.2-1"] {
        does: "VIRTIO_BLK_F_RO is offered, and writes fail, whatever disk there is",
        fails: "The driver does not accept VIRTIO_BLK_F_RO and writes, or does not tell its user.",
        shows: Used,
        provokes: [
            READ_ONLY = "block.read-only", Should ["5.2.6.1-2"],
                "The driver works with a disk that is read-only.";
        ]
    }
    CAPACITY_CHANGES = "capacity-changes" ["5.2.4", "3.2.2"] {
        does: "capacity grows and shrinks again while requests are served",
        fails: "The driver takes the change for a failure, or does not learn of the new capacity.",
        shows: Used,
        provokes: [
            CAPACITY = "block.capacity.changed", Should ["3.2.2"],
                "The driver copes with a capacity that changes while it uses the disk.";
        ]
    }
    REFUSED_ID = "refused-id" ["5.2.6"] {
        does: "of requests, only reads, writes and flushes are supported",
        fails: "The driver gives up on the device for want of a device id string, or takes what is in the buffer for one.",
        shows: Used,
        provokes: [
            UNSUPPORTED = "block.request.unsupported", Must ["5.2.6"],
                "The driver takes VIRTIO_BLK_S_UNSUPP for an answer, and goes on with other requests.";
        ]
    }
    FEW_SEGMENTS = "few-segments" ["5.2.3", "5.2.4"] {
        does: "seg_max is between 1 and 4, and size_max a few KiB",
        fails: "The driver makes requests with more segments, or with larger ones.",
        excludes: [
            SMALL_SEGMENTS: "there is one size_max",
        ],
        shows: Used,
        provokes: [
            FEW_SEGMENTS = "block.seg-max.smallest", Must ["5.2.3"],
                "The driver works with a seg_max of 1, as far as it negotiates VIRTIO_BLK_F_SEG_MAX.";
        ]
    }
    SMALL_SEGMENTS = "small-segments" ["5.2.3", "5.2.4"] {
        does: "size_max is 512, 1024 or 2048",
        fails: "The driver makes segments of a page nevertheless. One that cannot do with less gives up on the device.",
        may_end_use: true,
        shows: Used,
        provokes: [
            SMALL_SEGMENTS = "block.size-max.smallest", May ["5.2.3"],
                "The driver works with a size_max of 512, as far as it negotiates VIRTIO_BLK_F_SIZE_MAX, or sets FAILED.";
        ]
    }
    BLOCK_SIZES = "block-sizes" ["5.2.4", "5.2.5"] {
        does: "blk_size is between 1024 and 4096, and geometry and topology are out of the ordinary",
        fails: "The driver counts sector in units of blk_size, or relies on what topology suggests.",
        excludes: [
            LARGE_BLOCKS: "there is one blk_size",
        ],
        shows: Used,
        provokes: [
            BLOCK_SIZE = "block.blk-size.any", Must ["5.2.5"],
                "The driver counts sectors in 512 bytes, whatever blk_size, geometry and topology are.";
        ]
    }
    LARGE_BLOCKS = "large-blocks" ["5.2.4", "5.2.5"] {
        does: "blk_size is 8 KiB or more",
        fails: "The driver counts sector in units of blk_size, or works with part of a block. One that cannot do with such blocks gives up on the device, though blk_size is a matter of performance only.",
        may_end_use: true,
        shows: Used,
        provokes: [
            LARGE_BLOCKS = "block.blk-size.large", May ["5.2.5"],
                "The driver works with a blk_size that is larger than it would choose, or sets FAILED.";
        ]
    }
    WRITETHROUGH = "writethrough" ["5.2.5"] {
        does: "writeback is 0 after a reset",
        fails: "The driver takes the cache for a writeback cache without having read writeback.",
        shows: Used,
        provokes: [
            WRITEBACK = "block.writeback.after-reset", Must ["5.2.5"],
                "The driver works with either cache mode after a reset.";
        ]
    }
}
