//! Latitudes of virtqueues and interrupts (§2.4 of virtio 1.0).

use super::latitudes;

latitudes! {
    table Virtqueue, chapter LatitudeVirtqueue;

    SPURIOUS_INTERRUPTS = "spurious-interrupts" ["2.4.7.1"] {
        does: "now and then a virtqueue interrupts without having used a buffer",
        fails: "The driver takes a buffer from the used ring that is not there, or turns the interrupt off.",
        shows: Used,
        provokes: [
            SPURIOUS = "interrupt.spurious", Must ["2.4.7.1-5"],
                "The driver copes with interrupts for which there is no used buffer.";
        ]
    }
    SMALL_QUEUES = "small-queues" ["2.4", "4.1.4.3"] {
        does: "virtqueues are small: 8 to 32 descriptors, those of a network device 32 or 64",
        fails: "The driver makes more available than there is room for, or chains longer than the queue.",
        excludes: [
            TINY_QUEUES: "a queue has one size",
            LARGEST_QUEUES: "a queue has one size",
            RESIZED_QUEUES: "a queue has one size",
        ],
        shows: Live,
        provokes: [
            SMALL = "queue.size.small", May ["2.4", "4.1.4.3"],
                "The driver works with a small virtqueue.";
        ]
    }
    TINY_QUEUES = "tiny-queues" ["2.4", "4.1.4.3"] {
        does: "virtqueues have 1 to 4 descriptors",
        fails: "The driver waits for room that there can never be, without saying that it cannot use the device.",
        excludes: [
            LARGEST_QUEUES: "a queue has one size",
            RESIZED_QUEUES: "a queue has one size",
        ],
        may_end_use: true,
        shows: Live,
        provokes: [
            TINY = "queue.size.tiny", May ["2.4", "4.1.4.3"],
                "The driver works with a virtqueue of very few descriptors, or sets FAILED.";
        ]
    }
    LARGEST_QUEUES = "largest-queues" ["2.4", "4.1.4.3"] {
        does: "virtqueues have 32768 descriptors",
        fails: "The driver overflows on its way from the size to bytes, or cannot ask for less.",
        excludes: [
            RESIZED_QUEUES: "a queue has one size",
        ],
        shows: Live,
        provokes: [
            LARGEST = "queue.size.largest", May ["2.4", "4.1.4.3"],
                "The driver works with the largest virtqueue there can be, or asks for a smaller one.";
        ]
    }
    RESIZED_QUEUES = "resized-queues" ["4.1.4.3", "4.1.5.1.3"] {
        does: "virtqueues have another size after each reset: queue_size says on reset what is supported from then on",
        fails: "The driver keeps the size it has read once.",
        shows: Live,
        provokes: [
            RESIZED = "queue.size.after-reset", May ["4.1.4.3"],
                "The driver reads queue_size anew after a reset.";
        ]
    }
    OUT_OF_ORDER = "out-of-order" ["2.4.8", "3.2.2"] {
        does: "buffers are used in another order than they were made available, where their order means nothing",
        fails: "The driver takes each used buffer for the oldest one, and mixes up requests.",
        shows: Used,
        provokes: [
            IN_ANY_ORDER = "used.any-order", Must ["2.4.8"],
                "The driver knows by id which of its buffers was used.";
        ]
    }
    BURSTS = "bursts" ["2.4.8", "2.4.7.2"] {
        does: "used buffers are held back for a while, and then shown together, with one interrupt",
        fails: "The driver takes one used buffer an interrupt, and waits for the others in vain.",
        shows: Used,
        provokes: [
            IN_BURSTS = "used.bursts", Must ["2.4.8", "3.2.2"],
                "The driver takes all used buffers that it is shown, however few interrupts there were.";
        ]
    }
    WHOLE_QUEUE = "whole-queue" ["2.4.8", "2.4.7.2"] {
        does: "used buffers are held back until no more come for a while, and then shown together, up to all of the queue",
        fails: "The driver takes one used buffer an interrupt, or an idx that has moved far for one that has moved back.",
        excludes: [
            BURSTS: "used buffers wait for a time or for others",
            ONE_BY_ONE: "used buffers come together or one by one",
        ],
        shows: Used,
        provokes: [
            ALL_AT_ONCE = "used.whole-queue", Must ["2.4.8", "3.2.2"],
                "The driver takes all used buffers that it is shown, also when they are all there were.";
        ]
    }
    LATE_INTERRUPTS = "late-interrupts" ["2.4.8", "2.4.7.2"] {
        does: "the interrupt comes a while after the used buffers that it is for were shown",
        fails: "The driver that has found the buffers by itself takes the interrupt for one of nobody, and turns it off, or waits for another one.",
        shows: Used,
        provokes: [
            LATE = "interrupt.late", Must ["2.4.8", "3.2.2"],
                "The driver copes with an interrupt for used buffers that it has taken already.";
        ]
    }
    ONE_BY_ONE = "one-by-one" ["2.4.8", "2.4.7.2"] {
        does: "each used buffer is shown by itself, with an interrupt of its own where the driver wants one",
        fails: "The driver wants all that it made available together to come back together.",
        shows: Worked,
        provokes: [
            ALONE = "used.one-by-one", Must ["2.4.8", "3.2.2"],
                "The driver takes used buffers that come one by one.";
        ]
    }
    WRITES_BEYOND_LEN = "writes-beyond-len" ["2.4.8.2-3"] {
        does: "more is written into a buffer than len of the used ring says, where that is not data",
        fails: "The driver takes what lies beyond len for data, or for still being what it put there.",
        shows: Worked,
        provokes: [
            BEYOND = "used.len.more-written", Must ["2.4.8.3-1"],
                "The driver copes with a device that writes more than len bytes into a buffer.";
        ]
    }
    FICKLE_SUPPRESSION = "fickle-suppression" ["2.4.9.2", "2.4.9.1-2"] {
        does: "what the device says about notifications changes with each buffer it takes, and avail_event holds anything where it is not negotiated",
        fails: "The driver remembers what the device said once, or looks at avail_event without VIRTIO_F_RING_EVENT_IDX.",
        shows: Worked,
        provokes: [
            FICKLE = "notify.suppression.changes", Must ["2.4.9.1-2", "2.4.9.1-4", "2.4.9.1-6"],
                "Each time, the driver looks at what the device says about notifications, where it was agreed to say it.";
        ]
    }
    UNASKED_LOOKS = "unasked-looks" ["2.4.9.2", "3.2.1.3"] {
        does: "the device looks for new buffers whenever it is awake, notified or not",
        fails: "The driver completes a request after it has made it available, in the belief that nothing happens before the notification.",
        shows: Worked,
        provokes: [
            UNASKED = "available.complete-at-once", Must ["3.2.1.3"],
                "What the driver makes available is complete, for the device may look before it is notified.";
        ]
    }
}
