//! Requirements on devices: basic facilities and operation.

use super::declare;

declare! {
    "device.status.reset-to-zero":
        "virtio/core/mod.rs", "virtio/pci/tests/common.rs" reset_makes_the_device_fresh;
    "device.status.idle-before-driver-ok":
        "virtio/core/mod.rs", "virtio/pci/tests/queues.rs" nothing_is_consumed_before_driver_ok;
    "device.status.needs-reset":
        "virtio/core/mod.rs", "virtio/pci/tests/queues.rs" a_broken_queue_needs_a_reset_and_a_reset_mends_it;
    "device.status.needs-reset-told":
        "virtio/core/mod.rs", "virtio/pci/tests/interrupts.rs" needs_reset_is_told_to_the_driver_after_driver_ok_only;
    "device.features.complete":
        "net/mod.rs", "net/tests/mod.rs" what_is_offered_has_what_it_requires;
    "device.features.subset-accepted":
        "virtio/core/mod.rs", "virtio/pci/tests/common.rs" features_are_decided_when_features_ok_is_set;
    "device.config.early-read":
        "virtio/core/configuration.rs", "virtio/pci/tests/common.rs" device_configuration_can_be_read_at_any_time_in_any_width;
    "device.chain.any-layout":
        "block/request.rs", "block/tests/layouts.rs" every_place_to_cut;
    "device.chain.limit":
        "virtio/queue/split/walk.rs", "virtio/queue/tests/chains.rs" bad_chains_end_where_they_go_wrong;
    "device.chain.direction":
        "virtio/stream.rs", "virtio/stream.rs" a_writer_writes_over_buffers_and_nothing_else;
    "device.indirect.write-flag-ignored":
        "virtio/queue/split/walk.rs", "virtio/queue/tests/chains.rs" an_indirect_table_stands_for_its_descriptor;
    "device.indirect.behind-chain":
        "virtio/queue/split/walk.rs", "virtio/queue/tests/chains.rs" an_indirect_table_stands_for_its_descriptor;
    "device.interrupt.flags.used-event-ignored":
        "virtio/queue/split/mod.rs", "virtio/queue/tests/notifications.rs" interrupts_are_suppressed_by_flags;
    "device.interrupt.flags.suppressed":
        "virtio/queue/split/mod.rs", "virtio/queue/tests/notifications.rs" interrupts_are_suppressed_by_flags;
    "device.interrupt.flags.sent":
        "virtio/queue/split/mod.rs", "virtio/queue/tests/notifications.rs" interrupts_are_suppressed_by_flags;
    "device.interrupt.event.flags-ignored":
        "virtio/queue/split/mod.rs", "virtio/queue/tests/notifications.rs" interrupts_follow_used_event;
    "device.interrupt.event.sent":
        "virtio/queue/split/mod.rs", "virtio/queue/tests/notifications.rs" interrupts_follow_used_event;
    "device.interrupt.event.suppressed":
        "virtio/queue/split/mod.rs", "virtio/queue/tests/notifications.rs" interrupts_follow_used_event;
    "device.used.len-before-idx":
        "virtio/queue/split/rings.rs", "virtio/queue/tests/rings.rs" used_entries_become_visible_together;
    "device.used.len-written":
        "block/respond.rs", "block/tests/mod.rs" errors_of_the_disk_become_ioerr;
    "device.used.more-written":
        "block/respond.rs", "block/tests/mod.rs" a_failed_request_of_excessive_size_says_nothing_of_its_data;
    "device.notify.flags.values":
        "virtio/queue/split/mod.rs", "virtio/queue/tests/notifications.rs" notifications_are_asked_for_in_either_way;
    "device.notify.flags.suppressing":
        "virtio/queue/split/mod.rs", "virtio/queue/tests/notifications.rs" notifications_are_asked_for_in_either_way;
    "device.notify.event.flags-zero":
        "virtio/queue/split/mod.rs", "virtio/queue/tests/notifications.rs" notifications_are_asked_for_in_either_way;
    "device.notify.event.suppressing":
        "virtio/queue/split/mod.rs", "virtio/queue/tests/notifications.rs" notifications_are_asked_for_in_either_way;
    "device.notify.spurious":
        "virtio/core/work.rs", "virtio/pci/tests/queues.rs" odd_notifications_are_told_and_do_no_harm;
    "device.features.version-1-offered":
        "virtio/core/mod.rs", "virtio/pci/tests/common.rs" offered_features_show_for_any_select;
    "device.features.version-1-needed":
        "virtio/core/mod.rs", "virtio/pci/tests/common.rs" features_are_decided_when_features_ok_is_set;
}
