//! Latitudes of virtqueues and interrupts (§2.4 of virtio 1.0).

use super::latitudes;
use crate::rules::{buffer, notify, split_ring};

latitudes! {
    table Virtqueue, chapter LatitudeVirtqueue;

    SPURIOUS_INTERRUPTS = "spurious-interrupts" ["2.4.7.1"] {
        does: "a virtqueue occasionally sends an interrupt without a used buffer",
        fails: "The driver takes a buffer that does not exist from the used ring, or disables the interrupt.",
        shows: Used,
        provokes: [
            SPURIOUS = "interrupt.spurious", Must ["2.4.7.1-5"],
                "The driver copes with interrupts for which there is no used buffer.";
        ]
    }
    SMALL_QUEUES = "small-queues" ["2.4", "4.1.4.3"] {
        does: "virtqueues have 8 to 32 descriptors, those of a network device 32 or 64",
        fails: "The driver makes more buffers available than the virtqueue has room for, or chains that are longer than the virtqueue.",
        excludes: [
            TINY_QUEUES: "a queue has one size",
            LARGEST_QUEUES: "a queue has one size",
            RESIZED_QUEUES: "a queue has one size",
        ],
        choices: Of(&["8", "16", "32", "64"]),
        shows: Works,
        unless: [split_ring::OVERRUN, buffer::LENGTH],
        provokes: [
            SMALL = "queue.size.small", May ["2.4", "4.1.4.3"],
                "The driver works with a small virtqueue.";
        ]
    }
    TINY_QUEUES = "tiny-queues" ["2.4", "4.1.4.3"] {
        does: "virtqueues have 1 to 4 descriptors",
        fails: "The driver waits for room that the virtqueue can never have, and does not set FAILED.",
        excludes: [
            LARGEST_QUEUES: "a queue has one size",
            RESIZED_QUEUES: "a queue has one size",
        ],
        may_end_use: true,
        choices: Of(&["1", "2", "4"]),
        shows: Works,
        unless: [split_ring::OVERRUN, buffer::LENGTH],
        provokes: [
            TINY = "queue.size.tiny", May ["2.4", "4.1.4.3"],
                "The driver works with a virtqueue that has very few descriptors, or sets FAILED.";
        ]
    }
    LARGEST_QUEUES = "largest-queues" ["2.4", "4.1.4.3"] {
        does: "virtqueues have 32768 descriptors",
        fails: "The driver's calculation of the size in bytes overflows, or the driver cannot select a smaller size.",
        excludes: [
            RESIZED_QUEUES: "a queue has one size",
        ],
        shows: Works,
        provokes: [
            LARGEST = "queue.size.largest", May ["2.4", "4.1.4.3"],
                "The driver works with the largest possible virtqueue, or selects a smaller size.";
        ]
    }
    RESIZED_QUEUES = "resized-queues" ["4.1.4.3", "4.1.5.1.3"] {
        does: "the size of virtqueues changes with each reset, and queue_size then presents the new maximum",
        fails: "The driver reads queue_size only once, and keeps the size.",
        shows: Works,
        provokes: [
            RESIZED = "queue.size.after-reset", May ["4.1.4.3"],
                "The driver reads queue_size again after a reset.";
        ]
    }
    OUT_OF_ORDER = "out-of-order" ["2.4.8", "3.2.2"] {
        does: "buffers are used in a different order than they were made available, some while earlier ones are still in flight, where their order has no meaning",
        fails: "The driver treats each used buffer as the oldest one, and confuses requests.",
        shows: Answered,
        unless: [buffer::HEAD_FREE, buffer::DESCRIPTOR_FREE, buffer::UNALTERED],
        provokes: [
            IN_ANY_ORDER = "used.any-order", Must ["2.4.8"],
                "The driver identifies each used buffer by its id.";
        ]
    }
    BURSTS = "bursts" ["2.4.8", "2.4.7.2"] {
        does: "used buffers are delayed for a while, and then returned together, with one interrupt",
        fails: "The driver takes only one used buffer for each interrupt, and waits for the others without end.",
        shows: Used,
        provokes: [
            IN_BURSTS = "used.bursts", Must ["2.4.8", "3.2.2"],
                "The driver takes all used buffers, even if there were fewer interrupts than buffers.";
        ]
    }
    WHOLE_QUEUE = "whole-queue" ["2.4.8", "2.4.7.2"] {
        does: "used buffers are delayed until no more follow for a while, and then returned together, up to the whole queue",
        fails: "The driver takes only one used buffer for each interrupt, or treats an idx that has moved far forward as one that has moved back.",
        excludes: [
            BURSTS: "used buffers are delayed either for a fixed time or until no more follow",
            ONE_BY_ONE: "used buffers are returned either together or one by one",
        ],
        shows: Used,
        provokes: [
            ALL_AT_ONCE = "used.whole-queue", Must ["2.4.8", "3.2.2"],
                "The driver takes all used buffers, even if they fill the whole queue.";
        ]
    }
    LATE_INTERRUPTS = "late-interrupts" ["2.4.8", "2.4.7.2"] {
        does: "the interrupt for used buffers is sent a while after they were returned",
        fails: "The driver finds the buffers before the interrupt, treats the interrupt as spurious and disables it, or waits for another one.",
        shows: Used,
        provokes: [
            LATE = "interrupt.late", Must ["2.4.8", "3.2.2"],
                "The driver copes with an interrupt for used buffers that it has already taken.";
        ]
    }
    SLOW_COMPLETIONS = "slow-completions" ["2.4.8", "3.2.2"] {
        does: "buffers are occasionally used late, by milliseconds to seconds",
        fails: "The driver waits for a fixed time or a fixed number of turns, gives up on the request, and uses its memory or its descriptors for something else.",
        shows: Used,
        unless: [buffer::HEAD_FREE, buffer::DESCRIPTOR_FREE, buffer::UNALTERED],
        provokes: [
            SLOW = "used.slow", Must ["2.4.8", "3.2.2"],
                "The driver copes with a device that takes seconds to use a buffer: the buffer is the device's until then.";
        ]
    }
    SLOW_INTERRUPTS = "slow-interrupts" ["2.4.8", "2.4.7.2"] {
        does: "the interrupt for used buffers is occasionally sent milliseconds to seconds after they were returned",
        fails: "The driver treats the device as broken, or treats the interrupt as spurious when it comes.",
        shows: Used,
        provokes: [
            SLOW_INTERRUPT = "interrupt.slow", Must ["2.4.8", "3.2.2"],
                "The driver copes with an interrupt that comes seconds after the used buffers it is for.";
        ]
    }
    INTERRUPT_STORM = "interrupt-storm" ["2.4.7.1", "2.4.7.1-5"] {
        does: "a virtqueue occasionally sends 100,000 interrupts without a used buffer in half a second",
        fails: "The driver, or the kernel around it, disables the interrupt, and requests are not completed any more.",
        shows: Used,
        provokes: [
            STORM = "interrupt.storm", Must ["2.4.7.1-5"],
                "The driver copes with any number of interrupts for which there is no used buffer.";
        ]
    }
    DELAYED_DOORBELL = "delayed-doorbell" ["2.4.9.2", "3.2.1.4"] {
        does: "the device occasionally looks at a virtqueue only milliseconds to seconds after it was notified",
        fails: "The driver expects that the device has taken the buffers when the notification was sent, or gives up on them.",
        shows: Used,
        unless: [buffer::HEAD_FREE, buffer::DESCRIPTOR_FREE, buffer::UNALTERED],
        provokes: [
            DELAYED = "notify.heard-late", Must ["3.2.1.4", "3.2.2"],
                "The driver copes with a device that looks at a virtqueue seconds after it was notified.";
        ]
    }
    ONE_BY_ONE = "one-by-one" ["2.4.8", "2.4.7.2"] {
        does: "each used buffer is returned by itself, with an interrupt of its own unless the driver suppresses it",
        fails: "The driver expects that buffers which it made available together are returned together.",
        shows: Worked,
        provokes: [
            ALONE = "used.one-by-one", Must ["2.4.8", "3.2.2"],
                "The driver takes used buffers that are returned one by one.";
        ]
    }
    WRITES_BEYOND_LEN = "writes-beyond-len" ["2.4.8.2-3"] {
        does: "the device writes more bytes into a buffer than len of the used ring says, where these bytes are not data",
        fails: "The driver treats bytes beyond len as data, or assumes that they are unchanged.",
        shows: Worked,
        provokes: [
            BEYOND = "used.len.more-written", Must ["2.4.8.3-1"],
                "The driver copes with a device that writes more than len bytes into a buffer.";
        ]
    }
    FICKLE_SUPPRESSION = "fickle-suppression" ["2.4.9.2", "2.4.9.1-2"] {
        does: "the device changes whether it needs notifications with each buffer that it takes, and avail_event has any value where it is not negotiated",
        fails: "The driver checks only once whether the device needs notifications, or uses avail_event without VIRTIO_F_RING_EVENT_IDX.",
        shows: Worked,
        unless: [notify::BY_FLAGS, notify::BY_EVENT],
        provokes: [
            FICKLE = "notify.suppression.changes", Must ["2.4.9.1-2", "2.4.9.1-4", "2.4.9.1-6"],
                "Each time it makes buffers available, the driver checks whether the device needs a notification, in the field that was negotiated.";
        ]
    }
    UNASKED_LOOKS = "unasked-looks" ["2.4.9.2", "3.2.1.3"] {
        does: "the device looks for new buffers whenever it is active, even if it was not notified",
        fails: "The driver makes a request available before it is complete, and assumes that the device waits for the notification.",
        shows: Worked,
        provokes: [
            UNASKED = "available.complete-at-once", Must ["3.2.1.3"],
                "The driver makes only complete requests available, because the device may look before it is notified.";
        ]
    }
}
