//! Virtio over the PCI bus (§4.1 of virtio 1.0).

use super::built;

built! {
    chapter BuiltPci;

    "device.pci.conventional", Must ["4.1.1-1"],
        "The function conforms to the PCI specification: header, BARs, capability list.",
        choice "A conventional type 0 function that is also a PCI Express root complex integrated endpoint.";

    // ---- §4.1.2 Discovery
    "device.pci.id.vendor", Must ["4.1.2.1-1"],
        "The PCI Vendor ID is 0x1af4.";
    "device.pci.id.device", Must ["4.1.2.1-2"],
        "The PCI Device ID is 0x1040 plus the virtio device ID, or the type's transitional ID.",
        choice "All devices are non-transitional, except with the latitude transitional-id.";
    "device.pci.id.subsystem-vendor", May ["4.1.2.1-3"],
        "The subsystem IDs may be those of the environment.",
        choice "The subsystem vendor ID is 0x1af4, the subsystem device ID that of the function.";
    "device.pci.id.non-transitional", Should ["4.1.2.1-4"],
        "A non-transitional device has a PCI Device ID from 0x1040 to 0x107f.";
    "device.pci.id.revision", Should ["4.1.2.1-5"],
        "A non-transitional device has a PCI Revision ID of at least 1.",
        choice "It is 1.";
    "device.pci.id.subsystem", Should ["4.1.2.1-6"],
        "A non-transitional device has a PCI Subsystem Device ID of at least 0x40.";

    // ---- §4.1.3 Device initialization, §4.1.4 Layout
    "device.pci.config.halves", Must ["4.1.3.2-1"],
        "The 32-bit halves of a 64-bit field of the device-specific configuration can be accessed separately.",
        choice "Any bytes of a field can be accessed separately.";
    "device.pci.cap.len", Must ["4.1.4.2-1"],
        "cap_len is the length of the whole capability, from cap_vndr to the end of the fields after the common part.";
    "device.pci.cap.extra", May ["4.1.4.2-2"],
        "Structures may be longer than specified.",
        choice "Each is as long as specified, and has a page to itself.";
    "device.pci.cap.order", Should ["4.1.4.2-3"],
        "If there are several structures of one type, the preferred one comes first.",
        choice "There is one of each type.";

    // ---- §4.1.4.3 Common configuration structure
    "device.pci.common.aligned", Must ["4.1.4.3.1-1"],
        "The common configuration structure's offset is a multiple of 4.";
    "device.pci.common.present", Must ["4.1.4.3.1-2"],
        "There is a common configuration capability.",
        choice "There is one.";
    "device.pci.common.device-feature", Must ["4.1.4.3.1-3"],
        "device_feature presents the 32 offered bits that device_feature_select selects, for every value of it.",
        choice "No bits above 63 are offered, except with the latitude unknown-features.";
    "device.pci.common.driver-feature", Must ["4.1.4.3.1-4"],
        "driver_feature presents the valid bits that the driver has written for the selected word.";
    "device.pci.common.driver-feature-invalid", May ["4.1.4.3.1-5"],
        "driver_feature may present invalid bits that the driver has written.",
        choice "It presents them up to bit 63, and 0 beyond.";
    "device.pci.common.generation", Must ["4.1.4.3.1-6"],
        "config_generation changes if the driver reads a value of the device-specific configuration that has changed since its last read.",
        choice "It changes with every change of the configuration that the driver may have noticed, by the host or by the driver.";
    "device.pci.common.reset", Must ["4.1.4.3.1-7"],
        "Writing 0 to device_status resets the device, and device_status reads 0 when the reset is complete.",
        choice "The reset is complete when the write is, except with the latitude slow-reset.";
    "device.pci.common.queue-enable-reset", Must ["4.1.4.3.1-8"],
        "After a reset, queue_enable reads 0 for every queue.";
    "device.pci.common.queue-size-unavailable", Must ["4.1.4.3.1-9"],
        "queue_size reads 0 if queue_select selects no queue.";

    // ---- §4.1.4.4 Notification structure
    "device.pci.notify.present", Must ["4.1.4.4.1-1"],
        "There is a notification capability.",
        choice "There is one.";
    "device.pci.notify.aligned", Must ["4.1.4.4.1-2"],
        "The notification structure's offset is a multiple of 2.";
    "device.pci.notify.multiplier", Must ["4.1.4.4.1-3"],
        "notify_off_multiplier is 0, or a power of two that is even.",
        choice "It is 4 (an even number, and an even power); latitudes make it 0, or any power of two \
            from 2 to 4096.";
    "device.pci.notify.length", Must ["4.1.4.4.1-4", "4.1.4.4.1-5"],
        "The notification structure has at least 2 bytes, and room for a 16-bit write at every queue's address.";

    // ---- §4.1.4.5 ISR status
    "device.pci.isr.present", Must ["4.1.4.5.1-1"],
        "There is an ISR status capability.",
        choice "There is one.";
    "device.pci.isr.config-bit", Must ["4.1.4.5.1-2"],
        "The configuration bit of ISR status is set before a configuration change notification is sent.",
        choice "Also when the notification goes by MSI-X.";
    "device.pci.isr.queue-bit", Must ["4.1.4.5.1-3"],
        "Without MSI-X, the queue bit of ISR status is set before a virtqueue notification is sent.",
        choice "With MSI-X, it is not changed.";
    "device.pci.isr.interrupt-status", Must ["4.1.4.5.1-4"],
        "Without MSI-X, Interrupt Status of the PCI Status register is 1 exactly while a bit of ISR status is 1.",
        choice "With MSI-X, it is 0.";
    "device.pci.isr.read-resets", Must ["4.1.4.5.1-5"],
        "Reading ISR status sets it to 0.";

    // ---- §4.1.4.6 Device-specific configuration
    "device.pci.device-config.aligned", Must ["4.1.4.6.1-1"],
        "The device-specific configuration's offset is a multiple of 4.";

    // ---- §4.1.4.7 PCI configuration access capability
    "device.pci.window.present", Must ["4.1.4.7.1-1"],
        "There is a PCI configuration access capability.",
        choice "There is one.";
    "device.pci.window.write", Must ["4.1.4.7.1-2"],
        "A write of pci_cfg_data writes its first cap.length bytes at cap.offset of BAR cap.bar.",
        choice "Accesses with a length other than 1, 2 or 4, or outside of a BAR, are not executed.";
    "device.pci.window.read", Must ["4.1.4.7.1-3"],
        "A read of pci_cfg_data first fetches cap.length bytes at cap.offset of BAR cap.bar into it.",
        choice "Accesses with a length other than 1, 2 or 4, or outside of a BAR, are not executed.";

    // ---- §4.1.5.1.2 MSI-X vectors
    "device.pci.msix.vectors", Should ["4.1.5.1.2.1-1"],
        "An MSI-X capability has from 2 to 0x800 vectors.",
        choice "There are at least 2, except with latitudes; options for more than 0x800 are refused.";
    "device.pci.msix.table-size", Must ["4.1.5.1.2.1-2"],
        "Table Size of the MSI-X capability gives the number of vectors.";
    "device.pci.msix.useful", Should ["4.1.5.1.2.1-3"],
        "There are no more vectors than the device can use.",
        choice "There is one for each virtqueue and one for configuration changes.";
    "device.pci.msix.map", Must ["4.1.5.1.2.1-4"],
        "Every event can be mapped to every vector of the table.";
    "device.pci.msix.unmap", Must ["4.1.5.1.2.1-5"],
        "Every event can be unmapped again.";
    "device.pci.msix.read-back", Must ["4.1.5.1.2.1-6"],
        "The vector registers read as the mapped vector, or as NO_VECTOR.";
    "device.pci.msix.unmapped-on-reset", Must ["4.1.5.1.2.1-7"],
        "After a reset, no event is mapped.";
    "device.pci.msix.map-fails-rarely", ShouldNot ["4.1.5.1.2.1-8"],
        "Mapping to a vector of the table fails only where the device cannot do it.",
        choice "It fails only with the latitudes refused-vectors and no-vector-maps.";
    "device.pci.msix.map-failure", Must ["4.1.5.1.2.1-9"],
        "A mapping that failed reads back as NO_VECTOR.";
    "device.pci.msix.queue-unmapped-silent", MustNot ["4.1.5.3.1-1"],
        "With MSI-X, a virtqueue whose vector is NO_VECTOR causes no interrupt.";
    "device.pci.msix.config-unmapped-silent", MustNot ["4.1.5.4.1-1"],
        "With MSI-X, configuration changes cause no interrupt while their vector is NO_VECTOR.";
}
