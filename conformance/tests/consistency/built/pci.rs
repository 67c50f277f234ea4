//! Requirements on devices: virtio over the PCI bus.

use super::declare;

declare! {
    "device.pci.conventional":
        "pci/config.rs", "pci/tests/mod.rs" header_bits_are_writable_where_they_should_be;
    "device.pci.id.vendor":
        "virtio/pci/capabilities.rs", "virtio/pci/tests/discovery.rs" every_device_type_has_its_identity;
    "device.pci.id.device":
        "virtio/pci/capabilities.rs", "virtio/pci/tests/discovery.rs" every_device_type_has_its_identity;
    "device.pci.id.subsystem-vendor":
        "virtio/pci/capabilities.rs", "virtio/pci/tests/discovery.rs" every_device_type_has_its_identity;
    "device.pci.id.non-transitional":
        "virtio/pci/capabilities.rs", "virtio/pci/tests/discovery.rs" every_device_type_has_its_identity;
    "device.pci.id.revision":
        "virtio/pci/capabilities.rs", "virtio/pci/tests/discovery.rs" every_device_type_has_its_identity;
    "device.pci.id.subsystem":
        "virtio/pci/capabilities.rs", "virtio/pci/tests/discovery.rs" every_device_type_has_its_identity;
    "device.pci.config.halves":
        "virtio/core/configuration.rs", "virtio/pci/tests/common.rs" halves_of_a_wide_field_can_be_accessed_alone;
    "device.pci.cap.len":
        "virtio/pci/capabilities.rs", "virtio/pci/tests/discovery.rs" all_structures_lie_in_bars_and_apart;
    "device.pci.cap.extra":
        "virtio/pci/layout.rs", "virtio/pci/tests/discovery.rs" all_structures_lie_in_bars_and_apart;
    "device.pci.cap.order":
        "virtio/pci/capabilities.rs", "virtio/pci/tests/discovery.rs" all_structures_lie_in_bars_and_apart;
    "device.pci.common.aligned":
        "virtio/pci/layout.rs", "virtio/pci/tests/discovery.rs" all_structures_lie_in_bars_and_apart;
    "device.pci.common.present":
        "virtio/pci/capabilities.rs", "virtio/pci/tests/discovery.rs" all_structures_lie_in_bars_and_apart;
    "device.pci.common.device-feature":
        "virtio/core/registers.rs", "virtio/pci/tests/common.rs" offered_features_show_for_any_select;
    "device.pci.common.driver-feature":
        "virtio/core/registers.rs", "virtio/pci/tests/common.rs" accepted_features_show_for_any_select;
    "device.pci.common.driver-feature-invalid":
        "virtio/core/registers.rs", "virtio/pci/tests/common.rs" accepted_features_show_for_any_select;
    "device.pci.common.generation":
        "virtio/core/configuration.rs", "virtio/pci/tests/common.rs" generation_changes_when_what_was_read_has_changed;
    "device.pci.common.reset":
        "virtio/core/mod.rs", "virtio/pci/tests/common.rs" reset_makes_the_device_fresh;
    "device.pci.common.queue-enable-reset":
        "virtio/core/queues.rs", "virtio/pci/tests/common.rs" reset_makes_the_device_fresh;
    "device.pci.common.queue-size-unavailable":
        "virtio/core/registers.rs", "virtio/pci/tests/queues.rs" missing_queues_read_as_unavailable;
    "device.pci.notify.present":
        "virtio/pci/capabilities.rs", "virtio/pci/tests/discovery.rs" all_structures_lie_in_bars_and_apart;
    "device.pci.notify.aligned":
        "virtio/pci/layout.rs", "virtio/pci/tests/discovery.rs" every_queue_has_its_place_in_the_notification_structure;
    "device.pci.notify.multiplier":
        "virtio/pci/layout.rs", "virtio/pci/tests/discovery.rs" options_that_cannot_be_are_refused;
    "device.pci.notify.length":
        "virtio/pci/layout.rs", "virtio/pci/tests/discovery.rs" every_queue_has_its_place_in_the_notification_structure;
    "device.pci.isr.present":
        "virtio/pci/capabilities.rs", "virtio/pci/tests/discovery.rs" all_structures_lie_in_bars_and_apart;
    "device.pci.isr.config-bit":
        "virtio/pci/interrupts.rs", "virtio/pci/tests/interrupts.rs" each_event_comes_by_its_vector;
    "device.pci.isr.queue-bit":
        "virtio/pci/interrupts.rs", "virtio/pci/tests/interrupts.rs" used_buffers_assert_the_pin_until_isr_is_read;
    "device.pci.isr.interrupt-status":
        "virtio/pci/interrupts.rs", "virtio/pci/tests/interrupts.rs" used_buffers_assert_the_pin_until_isr_is_read;
    "device.pci.isr.read-resets":
        "virtio/pci/interrupts.rs", "virtio/pci/tests/interrupts.rs" used_buffers_assert_the_pin_until_isr_is_read;
    "device.pci.device-config.aligned":
        "virtio/pci/layout.rs", "virtio/pci/tests/discovery.rs" all_structures_lie_in_bars_and_apart;
    "device.pci.window.present":
        "virtio/pci/capabilities.rs", "virtio/pci/tests/discovery.rs" all_structures_lie_in_bars_and_apart;
    "device.pci.window.write":
        "virtio/pci/window.rs", "virtio/pci/tests/window.rs" the_window_reads_and_writes_registers;
    "device.pci.window.read":
        "virtio/pci/window.rs", "virtio/pci/tests/window.rs" the_window_reads_and_writes_registers;
    "device.pci.msix.vectors":
        "virtio/pci/layout.rs", "virtio/pci/tests/discovery.rs" options_that_cannot_be_are_refused;
    "device.pci.msix.table-size":
        "virtio/pci/capabilities.rs", "virtio/pci/tests/discovery.rs" vectors_are_as_many_as_are_of_use_and_the_table_says_so;
    "device.pci.msix.useful":
        "virtio/pci/layout.rs", "virtio/pci/tests/discovery.rs" vectors_are_as_many_as_are_of_use_and_the_table_says_so;
    "device.pci.msix.map":
        "virtio/pci/interrupts.rs", "virtio/pci/tests/interrupts.rs" vectors_map_and_unmap;
    "device.pci.msix.unmap":
        "virtio/pci/interrupts.rs", "virtio/pci/tests/interrupts.rs" vectors_map_and_unmap;
    "device.pci.msix.read-back":
        "virtio/pci/registers.rs", "virtio/pci/tests/interrupts.rs" vectors_map_and_unmap;
    "device.pci.msix.unmapped-on-reset":
        "virtio/pci/transport.rs", "virtio/pci/tests/common.rs" reset_makes_the_device_fresh;
    "device.pci.msix.map-fails-rarely":
        "virtio/pci/interrupts.rs", "virtio/pci/tests/interrupts.rs" vectors_map_and_unmap;
    "device.pci.msix.map-failure":
        "virtio/pci/interrupts.rs", "virtio/pci/tests/interrupts.rs" vectors_map_and_unmap;
    "device.pci.msix.queue-unmapped-silent":
        "virtio/pci/interrupts.rs", "virtio/pci/tests/interrupts.rs" each_event_comes_by_its_vector;
    "device.pci.msix.config-unmapped-silent":
        "virtio/pci/interrupts.rs", "virtio/pci/tests/interrupts.rs" each_event_comes_by_its_vector;
}
