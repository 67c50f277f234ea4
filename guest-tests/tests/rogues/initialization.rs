//! Device status, features and device configuration (§2.1, §2.2, §2.3, §3.1 of virtio 1.0).

use stickler_conformance::features::{self, net};
use stickler_conformance::layout::{Structure, common, status};

use stickler_guest_tests::in_process::{Driver, Interrupts};

use crate::rogues;

/// Negotiates with VERSION_1, MAC and these features, as they come.
fn accepting(d: &mut Driver<'_>, features: u64) {
    d.begin();
    d.offered();
    d.accept(features::VERSION_1 | net::MAC | features);
    let _ = d.features_ok();
}

rogues! {
    features_ok_without_driver: Entropy
        breaks "status.sequence.driver" and "features.after-driver" by |d| {
        d.reset();
        d.add_status(status::ACKNOWLEDGE);
        let offered = d.offered();
        d.accept(offered);
        let _ = d.features_ok();
    };
    driver_ok_without_features_ok: Entropy breaks "status.sequence.features-ok" by |d| {
        d.begin();
        let offered = d.offered();
        d.accept(offered);
        d.set_up_interrupts(Interrupts::Msix);
        d.go();
    };
    goes_on_though_refused: FussyEntropy breaks "status.features-ok.refusal" by |d| {
        d.begin();
        let offered = d.offered();
        d.accept(offered);
        assert!(!d.features_ok());
        d.go();
    };
    // What takes FAILED back clears a bit.
    failed_taken_back: Entropy breaks "status.failed.reset" and "status.no-clear" by |d| {
        d.begin();
        d.add_status(status::FAILED);
        d.set_common(common::DEVICE_STATUS, u32::from(status::ACKNOWLEDGE | status::DRIVER));
    };
    sets_needs_reset: Entropy breaks "status.needs-reset.by-device" by |d| {
        d.begin();
        d.add_status(status::DEVICE_NEEDS_RESET);
    };
    clears_driver: Entropy breaks "status.no-clear" by |d| {
        d.begin();
        d.set_common(common::DEVICE_STATUS, u32::from(status::ACKNOWLEDGE));
    };
    starts_without_reset: Entropy breaks "status.sequence.reset" by |d| {
        d.add_status(status::ACKNOWLEDGE);
    };
    driver_before_acknowledge: Entropy breaks "status.sequence.acknowledge" by |d| {
        d.reset();
        d.set_common(common::DEVICE_STATUS, u32::from(status::DRIVER));
    };
    does_not_wait_for_reset: Entropy breaks "status.reset.wait" by |d| {
        d.set_common(common::DEVICE_STATUS, 0);
        d.set_common(common::DEVICE_STATUS, u32::from(status::ACKNOWLEDGE));
    };
    does_not_re_read: Entropy breaks "status.features-ok.re-read" by |d| {
        d.begin();
        let offered = d.offered();
        d.accept(offered);
        let so_far = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
        d.set_common(common::DEVICE_STATUS, u32::from(so_far));
        d.set_common(common::DEVICE_STATUS, u32::from(so_far | status::DRIVER_OK));
    };
    goes_on_after_failed: Entropy breaks "status.failed.stop" by |d| {
        d.begin();
        d.add_status(status::FAILED);
        let offered = d.offered();
        d.accept(offered);
        d.add_status(status::FEATURES_OK);
    };
    undefined_status_bit: Entropy breaks "status.undefined-bits" by |d| {
        d.begin();
        d.add_status(0x20);
    };
    accepts_what_is_not_offered: Entropy breaks "features.offered" by |d| {
        d.begin();
        let offered = d.offered();
        d.accept(offered | 1 << 5);
        let _ = d.features_ok();
    };
    accepts_unread: Entropy breaks "features.read-first" by |d| {
        d.begin();
        d.accept(features::VERSION_1);
        let _ = d.features_ok();
    };
    accepts_before_driver: Entropy breaks "features.after-driver" by |d| {
        d.reset();
        d.add_status(status::ACKNOWLEDGE);
        let offered = d.offered();
        d.accept(offered);
        d.add_status(status::DRIVER);
        assert!(d.features_ok());
    };
    accepts_late: Entropy breaks "features.none-after-features-ok" by |d| {
        d.negotiate(0);
        let offered = d.offered();
        d.accept(offered);
    };
    declines_version_1: Entropy breaks "features.version-1" by |d| {
        d.begin();
        let offered = d.offered();
        d.accept(offered & !features::VERSION_1);
        let _ = d.features_ok();
    };
    takes_features_back: Entropy breaks "features.renegotiate-by-reset" by |d| {
        d.negotiate(features::RING_INDIRECT_DESC);
        d.accept(features::VERSION_1);
    };
    does_not_care_for_read_only: ReadOnlyBlock breaks "block.features.ro" by |d| d.negotiate(0);
    does_not_care_for_the_mac: Net breaks "net.features.mac" by |d| d.negotiate(0);
    guest_tso4_alone: Net breaks "net.features.dependency.guest-tso4" by |d| {
        accepting(d, net::GUEST_TSO4);
    };
    guest_tso6_alone: Net breaks "net.features.dependency.guest-tso6" by |d| {
        accepting(d, net::GUEST_TSO6);
    };
    guest_ecn_alone: Net breaks "net.features.dependency.guest-ecn" by |d| {
        accepting(d, net::GUEST_ECN | net::GUEST_CSUM);
    };
    // Nor is it offered.
    guest_ufo_alone: Net
        breaks "net.features.dependency.guest-ufo" and "features.offered" by |d| {
        accepting(d, net::GUEST_UFO);
    };
    host_tso4_alone: Net breaks "net.features.dependency.host-tso4" by |d| {
        accepting(d, net::HOST_TSO4);
    };
    host_tso6_alone: Net breaks "net.features.dependency.host-tso6" by |d| {
        accepting(d, net::HOST_TSO6);
    };
    host_ecn_alone: Net breaks "net.features.dependency.host-ecn" by |d| {
        accepting(d, net::HOST_ECN | net::CSUM);
    };
    // Nor is it offered.
    host_ufo_alone: Net
        breaks "net.features.dependency.host-ufo" and "features.offered" by |d| {
        accepting(d, net::HOST_UFO);
    };
    ctrl_rx_alone: Net breaks "net.features.dependency.ctrl-rx" by |d| {
        accepting(d, net::CTRL_RX);
    };
    ctrl_vlan_alone: Net breaks "net.features.dependency.ctrl-vlan" by |d| {
        accepting(d, net::CTRL_VLAN);
    };
    guest_announce_alone: Net breaks "net.features.dependency.guest-announce" by |d| {
        accepting(d, net::GUEST_ANNOUNCE);
    };
    mq_alone: Net breaks "net.features.dependency.mq" by |d| {
        accepting(d, net::MQ);
    };
    ctrl_mac_addr_alone: Net breaks "net.features.dependency.ctrl-mac-addr" by |d| {
        accepting(d, net::CTRL_MAC_ADDR);
    };
    wide_access_to_bytes: Net breaks "config.width.8-bit" by |d| {
        d.negotiate(net::MAC);
        d.read(Structure::Device, 0, 4);
    };
    narrow_access_to_words: Net breaks "config.width.16-bit" by |d| {
        d.negotiate(net::MAC | net::STATUS);
        d.read(Structure::Device, 6, 1);
    };
    narrow_access_to_capacity: Block breaks "config.width.64-bit" by |d| {
        d.negotiate(0);
        d.read(Structure::Device, 0, 2);
    };
    narrow_access_to_double_words: Block breaks "config.width.32-bit" by |d| {
        d.negotiate(features::block::SIZE_MAX);
        d.read(Structure::Device, 8, 2);
    };
    reads_what_is_not_offered: PlainConsole breaks "config.optional.offered" by |d| {
        d.negotiate(0);
        d.read(Structure::Device, 4, 4);
    };
    reads_what_may_not_be_offered: Console breaks "config.optional.checked" by |d| {
        d.begin();
        d.read(Structure::Device, 4, 4);
    };
    capacity_without_generation: Block breaks "config.generation" by |d| {
        d.negotiate(0);
        d.read(Structure::Device, 0, 4);
        d.read(Structure::Device, 4, 4);
    };
    capacity_with_one_generation: Block breaks "config.generation" by |d| {
        d.negotiate(0);
        d.common(common::CONFIG_GENERATION);
        d.read(Structure::Device, 0, 4);
        d.read(Structure::Device, 4, 4);
        d.reset();
    };
    writes_configuration_early: Block breaks "config.no-early-write" by |d| {
        d.begin();
        d.offered();
        d.write(Structure::Device, 32, 1, 1);
    };
    writes_the_mac: Net breaks "net.config.read-only" by |d| {
        d.negotiate(net::MAC);
        d.write(Structure::Device, 0, 1, 2);
    };
    strange_cache_mode: Block breaks "block.config.writeback-value" by |d| {
        d.negotiate(features::block::CONFIG_WCE | features::block::FLUSH);
        d.write(Structure::Device, 32, 1, 2);
    };
    writes_the_capacity: Block breaks "block.config.read-only" by |d| {
        d.negotiate(0);
        d.write(Structure::Device, 0, 4, 0);
    };
    writes_the_size: Console breaks "console.config.read-only" by |d| {
        d.negotiate(features::console::SIZE);
        d.write(Structure::Device, 0, 2, 132);
    };
    looks_at_the_cache_early: Block breaks "block.config.writeback-read-early" by |d| {
        d.begin();
        d.offered();
        d.read(Structure::Device, 32, 1);
    };
    sets_a_cache_it_has_not_negotiated: Block breaks "block.config.writeback-negotiated" by |d| {
        d.negotiate(features::block::FLUSH);
        d.write(Structure::Device, 32, 1, 1);
    };
}
