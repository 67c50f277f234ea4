//! The common and the device-specific configuration: status, features, generation, widths.

use stickler_conformance::features::FeatureLimits;
use stickler_conformance::layout::{COMMON, NO_VECTOR};

use super::*;

#[test]
fn offered_features_show_for_any_select() {
    let rig = Rig::new();
    for (select, value) in [
        (0, OFFERED & 0xffff_ffff),
        (1, OFFERED >> 32),
        (2, 0),
        (0xffff_ffff, 0),
    ] {
        rig.set(reg::DEVICE_FEATURE_SELECT, select);
        assert_eq!(rig.get(reg::DEVICE_FEATURE), value);
        assert_eq!(
            rig.meanings(),
            [format!("Feature(DeviceRead {{ select: {select} }})")]
        );
    }
}

#[test]
fn features_that_are_left_out_are_not_offered() {
    let without = ["ring.event-idx".parse().expect("a feature")];
    let rig = Rig::with(&Options {
        features: FeatureLimits::new(&without, &[]).expect("it can be left out"),
        ..Options::default()
    });
    rig.set(reg::DEVICE_FEATURE_SELECT, 0);
    let offered = OFFERED & !stickler_conformance::features::RING_EVENT_IDX;
    assert_ne!(offered, OFFERED);
    assert_eq!(rig.get(reg::DEVICE_FEATURE), offered & 0xffff_ffff);
}

#[test]
fn accepted_features_show_for_any_select() {
    let rig = Rig::new();
    // Bit 1 is not offered, and shows all the same.
    for (select, value) in [(0, 0x1000_0003), (1, 1), (2, 0xffff_ffff)] {
        rig.set(reg::DRIVER_FEATURE_SELECT, select);
        rig.set(reg::DRIVER_FEATURE, value);
        assert_eq!(
            rig.meanings(),
            [format!(
                "Feature(DriverWritten {{ select: {select}, value: {value} }})"
            )]
        );
    }
    for (select, value) in [(0, 0x1000_0003), (1, 1), (2, 0)] {
        rig.set(reg::DRIVER_FEATURE_SELECT, select);
        assert_eq!(rig.get(reg::DRIVER_FEATURE), value);
    }
}

#[test]
fn features_are_decided_when_features_ok_is_set() {
    let decide = |accepted: u64, demands: u64| {
        let rig = Rig::new();
        rig.knobs.lock().unwrap().demands = demands;
        rig.add_status(status::ACKNOWLEDGE | status::DRIVER);
        rig.accept(accepted);
        rig.events();
        rig.add_status(status::FEATURES_OK);
        let kept = rig.status() & status::FEATURES_OK != 0;
        let told = rig.meanings();
        assert_eq!(told[1], "Status(Written { from: 3, to: 11 })");
        assert_eq!(
            told[2],
            format!(
                "Feature(Decided {{ offered: {OFFERED}, accepted: {accepted}, kept: {kept} }})"
            )
        );
        assert_eq!(told.len(), 4);
        assert_eq!(rig.calls().len(), usize::from(kept));
        kept
    };
    assert!(decide(OFFERED, 0));
    assert!(decide(features::VERSION_1, 0));
    // It could refuse these, without VERSION_1.
    assert!(decide(OFFERED & !features::VERSION_1, 0));
    assert!(decide(0, 0));
    assert!(!decide(OFFERED | 0b10, 0));
    assert!(!decide(OFFERED | 1 << 63, 0));
    assert!(!decide(features::VERSION_1, 4));
    assert!(decide(features::VERSION_1 | 4, 4));
}

#[test]
fn features_refused_can_be_mended() {
    let rig = Rig::new();
    rig.accept(0b10);
    rig.add_status(status::FEATURES_OK);
    assert_eq!(rig.status(), 0);
    rig.accept(features::VERSION_1);
    rig.add_status(status::FEATURES_OK);
    assert_eq!(rig.status(), status::FEATURES_OK);
    // It is decided once.
    rig.events();
    rig.set(reg::DEVICE_STATUS, status::FEATURES_OK.into());
    assert_eq!(rig.meanings(), ["Status(Written { from: 8, to: 8 })"]);
}

#[test]
fn status_bits_stay_until_reset() {
    let rig = Rig::new();
    rig.set(reg::DEVICE_STATUS, 3);
    rig.set(reg::DEVICE_STATUS, 1);
    assert_eq!(rig.status(), 3);
    // Reserved bits and DEVICE_NEEDS_RESET are not the driver's.
    rig.set(reg::DEVICE_STATUS, 0xf0);
    assert_eq!(rig.status(), 3 | status::FAILED);
    assert_eq!(
        rig.meanings(),
        [
            "Status(Written { from: 0, to: 3 })",
            "Status(Written { from: 3, to: 1 })",
            "Status(Read { value: 3 })",
            "Status(Written { from: 3, to: 240 })",
            "Status(Read { value: 131 })",
        ]
    );
    rig.set(reg::DEVICE_STATUS, 0);
    assert_eq!(rig.status(), 0);
}

#[test]
fn driver_ok_without_features_needs_a_reset() {
    let rig = Rig::new();
    rig.enable_queue(0);
    rig.offer(0, 1);
    rig.events();
    rig.set(reg::DEVICE_STATUS, 7);
    assert_eq!(
        rig.meanings(),
        ["Status(Written { from: 0, to: 7 })", "Status(NeedsReset)"]
    );
    assert_eq!(rig.status(), 7 | status::DEVICE_NEEDS_RESET);
    assert_eq!(rig.read(Structure::Isr, 0, 1), 2);
    rig.notify(0);
    rig.work();
    assert_eq!(rig.used_idx(0), 0);
    assert_eq!(rig.calls(), [""; 0]);
}

#[test]
fn reset_makes_the_device_fresh() {
    let rig = Rig::new();
    rig.enable_msix();
    let registers = |rig: &Rig| -> Vec<u64> {
        let mut values: Vec<u64> = COMMON
            .iter()
            .filter(|f| f.name != "config_generation")
            .map(|f| rig.read(Structure::Common, f.offset, f.width.into()))
            .collect();
        rig.set(reg::QUEUE_SELECT, 2);
        values.extend(
            COMMON
                .iter()
                .filter(|f| f.name.starts_with("queue_"))
                .map(|f| rig.read(Structure::Common, f.offset, f.width.into())),
        );
        rig.set(reg::QUEUE_SELECT, 0);
        values
    };
    let fresh = registers(&rig);
    rig.set(reg::MSIX_CONFIG, 1);
    rig.set(reg::QUEUE_SELECT, 2);
    rig.set(reg::QUEUE_MSIX_VECTOR, 2);
    rig.set(reg::QUEUE_SIZE, 4);
    rig.set(reg::DEVICE_FEATURE_SELECT, 1);
    rig.negotiate(features::VERSION_1);
    rig.set(reg::MSIX_CONFIG, 1);
    rig.set(reg::QUEUE_SELECT, 2);
    rig.set(reg::QUEUE_MSIX_VECTOR, 2);
    rig.set(reg::QUEUE_SIZE, 4);
    rig.enable_queue(2);
    rig.add_status(status::DRIVER_OK);
    rig.events();
    rig.calls();
    rig.set(reg::DEVICE_STATUS, 0);
    assert_eq!(rig.calls(), ["reset"]);
    assert_eq!(
        rig.meanings(),
        ["Status(Written { from: 15, to: 0 })", "Status(ResetDone)"]
    );
    assert_eq!(registers(&rig), fresh);
    // Nothing is live any more.
    rig.offer(2, 1);
    rig.notify(2);
    rig.work();
    assert_eq!(rig.used_idx(2), 0);
    assert_eq!(rig.get(reg::MSIX_CONFIG), u64::from(NO_VECTOR));
}

#[test]
fn read_only_fields_stay() {
    let rig = Rig::new();
    for field in [
        reg::DEVICE_FEATURE,
        reg::NUM_QUEUES,
        reg::CONFIG_GENERATION,
        reg::QUEUE_NOTIFY_OFF,
    ] {
        let before = rig.get(field);
        rig.set(field, !before);
        assert_eq!(rig.get(field), before);
        let mut events = rig.events();
        events.retain(|e| !e.starts_with("Register(Read") && !e.starts_with("Feature(DeviceRead"));
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0].starts_with("Register(Written"), "{events:?}");
    }
}

#[test]
fn every_width_reaches_the_bytes_it_covers() {
    let rig = Rig::new();
    // A word at a time, and a byte in the middle.
    rig.write(Structure::Common, reg::DRIVER_FEATURE, 2, 0x2211);
    rig.write(Structure::Common, reg::DRIVER_FEATURE + 2, 2, 0x4433);
    rig.write(Structure::Common, reg::DRIVER_FEATURE + 1, 1, 0x55);
    assert_eq!(rig.get(reg::DRIVER_FEATURE), 0x4433_5511);
    assert_eq!(
        rig.read(Structure::Common, reg::DRIVER_FEATURE + 2, 1),
        0x33
    );
    // Two fields at once: queue_select and then queue_size of that queue.
    rig.write(Structure::Common, reg::QUEUE_SELECT, 4, 4 << 16 | 2);
    assert_eq!(rig.get(reg::QUEUE_SELECT), 2);
    assert_eq!(rig.get(reg::QUEUE_SIZE), 4);
    // Halves of a 64-bit field, whole, and across two of them.
    rig.write(Structure::Common, reg::QUEUE_DESC + 4, 4, 0x1234_5678);
    rig.write(Structure::Common, reg::QUEUE_DESC, 4, 0x9abc_def0);
    assert_eq!(
        rig.read(Structure::Common, reg::QUEUE_DESC, 8),
        0x1234_5678_9abc_def0
    );
    rig.write(
        Structure::Common,
        reg::QUEUE_DESC + 4,
        8,
        0x1111_1111_2222_2222,
    );
    assert_eq!(
        rig.read(Structure::Common, reg::QUEUE_DESC + 4, 8),
        0x1111_1111_2222_2222
    );
    // Over the end of the structure there is nothing.
    rig.write(Structure::Common, reg::LEN - 4, 8, u64::MAX);
    assert_eq!(rig.read(Structure::Common, reg::LEN - 4, 8), 0xffff_ffff);
}

#[test]
fn accesses_are_told_before_what_they_mean() {
    let rig = Rig::new();
    rig.set(reg::QUEUE_SELECT, 2);
    rig.set(reg::QUEUE_SIZE, 4);
    assert_eq!(
        rig.events(),
        [
            "Register(Written(Register { structure: Common, offset: 22, width: 2, value: 2 }))",
            "Register(Written(Register { structure: Common, offset: 24, width: 2, value: 4 }))",
            "Queue(SizeWritten { queue: 2, value: 4, max: 8 })",
        ]
    );
    rig.get(reg::MSIX_CONFIG);
    assert_eq!(
        rig.events(),
        [
            "Register(Read(Register { structure: Common, offset: 16, width: 2, value: 65535 }))",
            "Pci(VectorRead { queue: None, value: 65535 })",
        ]
    );
}

#[test]
fn device_configuration_can_be_read_at_any_time_in_any_width() {
    let rig = Rig::new();
    assert_eq!(rig.read(Structure::Device, 0, 4), 0x0403_0201);
    assert_eq!(rig.read(Structure::Device, 5, 2), 0x0706);
    assert_eq!(rig.read(Structure::Device, 4, 8), 0x0c0b_0a09_0807_0605);
    assert_eq!(rig.read(Structure::Device, 11, 4), 12);
}

#[test]
fn halves_of_a_wide_field_can_be_accessed_alone() {
    let rig = Rig::new();
    // The first field of a block device's configuration is 64 bits wide.
    let [low, high] = [0, 4].map(|offset| rig.read(Structure::Device, offset, 4));
    assert_eq!((low, high), (0x0403_0201, 0x0807_0605));
    assert_eq!(rig.read(Structure::Device, 0, 8), high << 32 | low);
    rig.write(Structure::Device, 4, 4, 0x1122_3344);
    assert_eq!(rig.calls(), ["write_config 4 [68, 51, 34, 17]"]);
}

#[test]
fn device_configuration_writes_stay_within_it() {
    let rig = Rig::new();
    rig.write(Structure::Device, 8, 1, 0x77);
    rig.write(Structure::Device, 10, 4, 0x1122_3344);
    assert_eq!(
        rig.calls(),
        ["write_config 8 [119]", "write_config 10 [68, 51]"]
    );
    assert_eq!(rig.read(Structure::Device, 8, 4), 0x0c0b_0a77);
}

#[test]
fn generation_changes_when_what_was_read_has_changed() {
    let rig = Rig::new();
    let change = |value: u8| {
        rig.knobs.lock().unwrap().config = Some(vec![value; 12]);
        rig.host_ready();
    };
    let generation = || rig.get(reg::CONFIG_GENERATION);
    let first = generation();
    rig.read(Structure::Device, 0, 4);
    change(1);
    let second = generation();
    assert_ne!(second, first);
    // Nobody has looked in between: however often it changes, no number comes back.
    for value in 0..=255 {
        change(value);
    }
    assert_eq!(generation(), second);
    rig.read(Structure::Device, 0, 4);
    assert_eq!(generation(), second);
    change(7);
    assert_ne!(generation(), second);
    // What the driver itself changed counts as well; writing what is there already does not.
    rig.read(Structure::Device, 8, 1);
    let third = generation();
    rig.write(Structure::Device, 8, 1, 9);
    let fourth = generation();
    assert_ne!(fourth, third);
    rig.read(Structure::Device, 8, 1);
    rig.write(Structure::Device, 8, 1, 9);
    assert_eq!(generation(), fourth);
}
