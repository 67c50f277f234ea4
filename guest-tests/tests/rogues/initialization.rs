//! Device status, features and device configuration (§2.1, §2.2, §2.3, §3.1).

use stickler_conformance::features::{self, net};
use stickler_conformance::layout::{Structure, common, status};

use crate::rogues;

rogues! {
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
    tso_without_csum: Net breaks "net.features.dependency.host-tso4" by |d| {
        d.begin();
        let offered = d.offered();
        d.accept(offered & (features::VERSION_1 | net::HOST_TSO4 | net::MAC));
        let _ = d.features_ok();
    };
    mq_without_ctrl_vq: Net breaks "net.features.dependency.mq" by |d| {
        d.begin();
        let offered = d.offered();
        d.accept(offered & (features::VERSION_1 | net::MQ | net::MAC));
        let _ = d.features_ok();
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
}
