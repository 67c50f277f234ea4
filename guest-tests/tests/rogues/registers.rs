//! Capabilities, the PCI configuration access window, read-only registers, vectors, notifications
//! (§4.1.4, §4.1.5 of virtio 1.0).

use stickler_conformance::features;
use stickler_conformance::layout::{Structure, common};
use stickler_guest_tests::in_process::Interrupts;

use crate::rogues;

/// Offsets in a virtio capability: `bar`, `offset`, `length`, and `pci_cfg_data` behind it.
const BAR: u16 = 4;
const OFFSET: u16 = 8;
const LENGTH: u16 = 12;
const DATA: u16 = 16;

rogues! {
    writes_a_capability: Entropy breaks "pci.capability.read-only" by |d| {
        let at = d.place(Structure::Common).capability;
        d.config_write(at + OFFSET, 4, 0x1000);
    };
    window_of_three_bytes: Entropy breaks "pci.window.length" by |d| {
        let common = d.place(Structure::Common);
        d.config_write(d.window + BAR, 1, u32::from(common.bar));
        d.config_write(d.window + OFFSET, 4, common.offset);
        d.config_write(d.window + LENGTH, 4, 3);
        d.config_read(d.window + DATA, 4);
    };
    window_misaligned: Entropy breaks "pci.window.aligned" by |d| {
        let common = d.place(Structure::Common);
        d.config_write(d.window + BAR, 1, u32::from(common.bar));
        d.config_write(d.window + LENGTH, 4, 4);
        d.config_write(d.window + OFFSET, 4, common.offset + 2);
        d.config_read(d.window + DATA, 4);
    };
    window_to_nowhere: Entropy breaks "pci.window.target" by |d| {
        let common = d.place(Structure::Common);
        d.config_write(d.window + BAR, 1, u32::from(common.bar));
        d.config_write(d.window + LENGTH, 4, 4);
        d.config_write(d.window + OFFSET, 4, 0x00ff_0000);
        d.config_read(d.window + DATA, 4);
    };
    half_an_access_through_the_window: Entropy breaks "pci.window.whole" by |d| {
        d.negotiate(0);
        let common = d.place(Structure::Common);
        d.config_write(d.window + BAR, 1, u32::from(common.bar));
        d.config_write(d.window + LENGTH, 4, 4);
        d.config_write(d.window + OFFSET, 4, common.offset + common::QUEUE_DESC);
        d.config_write(d.window + DATA, 2, 0x1000);
    };
    writes_device_feature: Entropy breaks "common.device-feature.read-only" by |d| {
        d.begin();
        d.set_common(common::DEVICE_FEATURE, 0);
    };
    writes_num_queues: Entropy breaks "common.num-queues.read-only" by |d| {
        d.begin();
        d.set_common(common::NUM_QUEUES, 4);
    };
    writes_config_generation: Entropy breaks "common.config-generation.read-only" by |d| {
        d.begin();
        d.set_common(common::CONFIG_GENERATION, 0);
    };
    writes_queue_notify_off: Entropy breaks "common.queue-notify-off.read-only" by |d| {
        d.begin();
        d.set_common(common::QUEUE_NOTIFY_OFF, 0);
    };
    // It means the upper half of queue_used, and is twice as wide.
    writes_behind_the_common_configuration: Entropy breaks "common.fields-only" by |d| {
        d.negotiate(0);
        d.write(Structure::Common, common::QUEUE_USED + 4, 8, 0);
    };
    writes_behind_writeback: Block breaks "config.fields-only" and "config.width.8-bit" by |d| {
        d.initialize(features::block::FLUSH | features::block::CONFIG_WCE, Interrupts::Msix);
        d.write(Structure::Device, 32, 4, 1);
    };
    writes_isr_status: Entropy breaks "isr.read-only" by |d| {
        d.initialize(0, Interrupts::Intx);
        d.write(Structure::Isr, 0, 1, 1);
    };
    reads_more_than_isr_status: Entropy breaks "isr.width" by |d| {
        d.initialize(0, Interrupts::Intx);
        d.read(Structure::Isr, 0, 8);
    };
    vector_outside_the_table: Entropy breaks "msix.vector.in-table" by |d| {
        d.negotiate(0);
        d.enable_msix();
        d.set_common(common::MSIX_CONFIG, u32::from(d.vectors()));
        d.common(common::MSIX_CONFIG);
    };
    vector_without_msix: Entropy breaks "msix.vector.while-enabled" by |d| {
        d.negotiate(0);
        d.set_common(common::MSIX_CONFIG, 0);
        d.common(common::MSIX_CONFIG);
        d.enable_msix();
    };
    config_vector_unverified: Entropy breaks "msix.vector.verified.config" by |d| {
        d.negotiate(0);
        d.enable_msix();
        d.set_common(common::MSIX_CONFIG, 0);
        d.interrupts = Interrupts::Msix;
        d.set_up_queues(8);
        d.go();
    };
    queue_vector_unverified: Entropy breaks "msix.vector.verified.queue" by |d| {
        d.negotiate(0);
        d.interrupts = Interrupts::Intx;
        d.configure_queue(0, 8);
        d.enable_msix();
        d.set_common(common::QUEUE_MSIX_VECTOR, 1);
        d.enable_queue();
        d.go();
    };
    notifies_early: Entropy breaks "notify.after-driver-ok" by |d| {
        d.negotiate(0);
        d.set_up_interrupts(Interrupts::Msix);
        d.set_up_queues(8);
        d.notify(0);
    };
    notifies_in_a_byte: Entropy breaks "notify.width" by |d| {
        d.initialize(0, Interrupts::Msix);
        let address = d.notify_address(0);
        d.rig.mmio_write(address, 1, 0);
    };
    notifies_with_a_wrong_value: Block breaks "notify.value" by |d| {
        d.initialize(features::block::FLUSH, Interrupts::Msix);
        let address = d.notify_address(0);
        d.rig.mmio_write(address, 2, 1);
    };
    notifies_a_queue_that_is_not_enabled: Console breaks "notify.queue-enabled" by |d| {
        d.negotiate(0);
        d.set_up_interrupts(Interrupts::Msix);
        d.configure_queue(1, 8);
        d.enable_queue();
        d.go();
        d.notify(0);
    };
    notifies_between_two_queues: Entropy breaks "notify.queue-exists" by |d| {
        d.initialize(0, Interrupts::Msix);
        let address = d.place(Structure::Notify).address;
        d.rig.mmio_write(address + 2, 2, 0);
    };
    looks_at_isr_with_msix: Entropy breaks "isr.unused-with-msi-x" by |d| {
        d.initialize(0, Interrupts::Msix);
        d.read(Structure::Isr, 0, 1);
    };
}
