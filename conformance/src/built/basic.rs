//! Basic facilities and reserved feature bits (§2, §6 of virtio 1.0).

use super::built;

built! {
    chapter BuiltBasic;

    // ---- §2.1 Device status
    "device.status.reset-to-zero", Must ["2.1.2-1"],
        "After a reset, device_status reads 0.";
    "device.status.idle-before-driver-ok", MustNot ["2.1.2-2"],
        "Until DRIVER_OK is set, the device takes no buffers and sends no notification.";
    "device.status.needs-reset", Should ["2.1.2-3"],
        "In an error state that only a reset can end, the device sets DEVICE_NEEDS_RESET.",
        choice "The device sets it if an error of a ring, of a chain or of its own source of data \
            does not let it continue; a single bad request gets an error status.";
    "device.status.needs-reset-told", Must ["2.1.2-4"],
        "If DRIVER_OK is set, DEVICE_NEEDS_RESET is followed by a configuration change notification.";

    // ---- §2.2 Feature bits
    "device.features.complete", MustNot ["2.2.2-1"],
        "No feature is offered without the features that it requires.";
    "device.features.subset-accepted", Should ["2.2.2-2"],
        "Every valid subset of the offered features is accepted; for any other subset, FEATURES_OK does not stay set.",
        choice "A subset is valid if it has VERSION_1 and all features that its features require. \
            The device refuses all other subsets, and no valid one.";

    // ---- §2.3 Device configuration space
    "device.config.early-read", Must ["2.3.2-1"],
        "Every field of the device-specific configuration can be read before FEATURES_OK is set.",
        choice "The fields of all offered features exist, whatever the driver accepts later.";

    // ---- §2.4 Virtqueues
    "device.chain.any-layout", MustNot ["2.4.4.1-1"],
        "The device makes no assumptions about how a message is divided into descriptors.";
    "device.chain.limit", May ["2.4.4.1-2"],
        "The device may limit the number of descriptors of a chain.",
        choice "The limit is the queue size, in the queue's table and again in an indirect table: a \
            longer chain is a loop.";
    "device.chain.direction", MustNot ["2.4.5.1-1"],
        "The device does not write device-readable buffers, and does not read device-writable ones.",
        choice "Device-writable buffers are not read, not even for diagnosis.";
    "device.indirect.write-flag-ignored", Must ["2.4.5.3.2-1"],
        "WRITE on a descriptor that refers to an indirect table is ignored.";
    "device.indirect.behind-chain", Must ["2.4.5.3.2-2"],
        "A chain of ordinary descriptors may end with an indirect table, and the device follows it.";

    "device.interrupt.flags.used-event-ignored", Must ["2.4.7.2-1"],
        "Without EVENT_IDX, the value of used_event is ignored.";
    "device.interrupt.flags.suppressed", ShouldNot ["2.4.7.2-2"],
        "Without EVENT_IDX, used buffers cause no interrupt while flags of the available ring is 1.",
        choice "None is sent then.";
    "device.interrupt.flags.sent", Must ["2.4.7.2-3"],
        "Without EVENT_IDX, used buffers cause an interrupt while flags of the available ring is 0.",
        choice "One interrupt is sent for all buffers that are returned together.";
    "device.interrupt.event.flags-ignored", Must ["2.4.7.2-4"],
        "With EVENT_IDX, the lower bit of the available ring's flags is ignored.";
    "device.interrupt.event.sent", Must ["2.4.7.2-5"],
        "With EVENT_IDX, filling the used ring's entry at used_event causes an interrupt.";
    "device.interrupt.event.suppressed", ShouldNot ["2.4.7.2-6"],
        "With EVENT_IDX, filling other entries of the used ring causes no interrupt.",
        choice "None is sent then.";

    "device.used.len-before-idx", Must ["2.4.8.2-1"],
        "A used entry is complete, len included, before idx makes it visible.";
    "device.used.len-written", Must ["2.4.8.2-2"],
        "At least the first len device-writable bytes are written before the chain is returned.",
        choice "A failed request has zeros in place of its data, so that len includes its status; if \
            that is too much to write, len is 0.";
    "device.used.more-written", May ["2.4.8.2-3"],
        "The device may write more bytes than len says.",
        choice "Only a failed request of excessive size is returned so: len is 0, and its status is \
            still written.";

    "device.notify.flags.values", Must ["2.4.9.2-1"],
        "Without EVENT_IDX, flags of the used ring is 0 or 1.";
    "device.notify.flags.suppressing", May ["2.4.9.2-2"],
        "Without EVENT_IDX, the device may set flags of the used ring to 1 if it needs no notification.",
        choice "It sets flags while it processes a queue, and for receive queues until a packet waits for buffers.";
    "device.notify.event.flags-zero", Must ["2.4.9.2-3"],
        "With EVENT_IDX, flags of the used ring is 0.";
    "device.notify.event.suppressing", May ["2.4.9.2-4"],
        "With EVENT_IDX, the device may set avail_event to the entry for which it needs a notification.",
        choice "avail_event is the next entry that the device takes, and is not updated while the \
            device processes the queue.";
    "device.notify.spurious", Must ["2.4.9.2-5"],
        "The device tolerates spurious notifications.";

    // ---- §6 Reserved feature bits
    "device.features.version-1-offered", Must ["6.2-1"],
        "VIRTIO_F_VERSION_1 is offered.";
    "device.features.version-1-needed", May ["6.2-2"],
        "The device may refuse to work for a driver that does not accept VIRTIO_F_VERSION_1.",
        choice "It does not refuse: that would hide what else is wrong with the driver.";
}
