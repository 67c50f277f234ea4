//! Status, work and reset.

use super::*;
use stickler_conformance::event::QueueArea;

#[test]
fn a_driver_uses_a_device_without_any_transport_of_ours() {
    let mut rig = Rig::new();
    assert_eq!(rig.read(CoreRegister::QueueCount), 2);
    rig.bring_up();
    rig.send(1, 1);
    assert!(rig.core.take_kick());
    rig.work();
    assert_eq!(rig.used_idx(1), 1);
    assert_eq!(rig.transport.calls, [Call::Interrupt(Interrupt::Queue(1))]);
    let generation = rig.read(CoreRegister::ConfigurationGeneration);
    let mut config = [0xff; 4];
    rig.core.read_configuration(0, &mut config);
    let _ = rig.core.service(Wake::Host(0), &mut rig.transport);
    assert_ne!(rig.read(CoreRegister::ConfigurationGeneration), generation);
    assert_eq!(
        rig.transport.calls[1..],
        [Call::Interrupt(Interrupt::Configuration)]
    );
}

#[test]
fn a_device_that_may_not_access_memory_waits_and_goes_on_later() {
    let mut rig = Rig::new();
    rig.bring_up();
    rig.transport.may_access_memory = false;
    rig.send(0, 1);
    rig.work();
    assert_eq!(rig.used_idx(0), 0);
    rig.core.memory_access_changed(&rig.transport);
    assert!(!rig.core.take_kick());
    rig.transport.may_access_memory = true;
    rig.core.memory_access_changed(&rig.transport);
    assert!(rig.core.take_kick());
    rig.work();
    assert_eq!(rig.used_idx(0), 1);
}

#[test]
fn a_reset_reaches_the_device_and_the_transport_and_every_register() {
    let mut rig = Rig::new();
    let registers = [
        CoreRegister::DeviceFeaturesSelect,
        CoreRegister::DriverFeaturesSelect,
        CoreRegister::DriverFeatures,
        CoreRegister::Status,
        CoreRegister::QueueSelect,
        CoreRegister::QueueSize,
        CoreRegister::QueueEnable,
        CoreRegister::QueueAddress(QueueArea::Descriptor),
        CoreRegister::QueueAddress(QueueArea::Driver),
        CoreRegister::QueueAddress(QueueArea::Device),
    ];
    let fresh = registers.map(|register| rig.core.value(register));
    rig.bring_up();
    rig.write(CoreRegister::DeviceFeaturesSelect, 1);
    let used = registers.map(|register| rig.core.value(register));
    for ((register, fresh), used) in registers.iter().zip(fresh).zip(used) {
        // The size is what it was at first.
        assert!(
            fresh != used || *register == CoreRegister::QueueSize,
            "{register:?}"
        );
    }
    let resets = rig.core.device.resets;
    rig.set_status(0);
    assert_eq!(registers.map(|register| rig.core.value(register)), fresh);
    assert_eq!(rig.core.device.resets, resets + 1);
    assert_eq!(rig.transport.calls, [Call::Reset]);
    rig.send(0, 1);
    assert!(!rig.core.take_kick());
}

#[test]
fn shared_interrupts_are_the_transports_to_merge() {
    let mut rig = Rig::with(Latitudes::default().with(Latitude::SHARED_INTERRUPTS));
    rig.bring_up();
    for count in 1..=40 {
        rig.send(0, count);
        rig.work();
    }
    let both = Call::Interrupt(Interrupt::QueueAndConfiguration(0));
    assert!(rig.transport.calls.contains(&both));
}

#[test]
fn the_end_of_the_run_is_told() {
    let mut rig = Rig::new();
    rig.bring_up();
    rig.core.run_ended(true, &rig.transport);
    let last = rig.core.witness.0.last().map(String::as_str);
    assert_eq!(last, Some("Status(RunEnded { by_guest: true })"));
}

/// A live device whose reset takes a while, and the events since it was asked for.
fn asked_for_a_slow_reset() -> Rig {
    let mut rig = Rig::with(Latitudes::default().with(Latitude::SLOW_RESET));
    rig.bring_up();
    rig.set_status(0);
    rig
}

#[test]
fn only_reads_of_status_complete_a_slow_reset() {
    let mut rig = asked_for_a_slow_reset();
    let mut fresh = Rig::new();
    for register in [
        CoreRegister::DeviceFeaturesSelect,
        CoreRegister::DriverFeatures,
        CoreRegister::QueueSelect,
        CoreRegister::QueueSize,
    ] {
        // They are those of the fresh device, and keep what is written.
        rig.write(register, 1);
        fresh.write(register, 1);
        assert_eq!(rig.read(register), fresh.read(register), "{register:?}");
    }
    let _ = rig.core.service(Wake::Tick, &mut rig.transport);
    let reads = (1..100).find(|_| rig.status() == 0).expect("it ends");
    assert!(reads > 1, "{reads} reads");
    assert_eq!(rig.read(CoreRegister::QueueSelect), 1);
    assert_eq!(rig.core.witness.of("Status(ResetDone").len(), 2);
}

#[test]
fn a_slow_reset_that_is_asked_for_again_is_not_longer() {
    let mut rig = asked_for_a_slow_reset();
    let reads = (1..100).find(|_| {
        rig.set_status(0);
        rig.status() == 0
    });
    assert!(
        reads.is_some(),
        "a driver that repeats itself waits for ever"
    );
}

#[test]
fn a_driver_that_does_not_wait_finds_a_fresh_device() {
    let mut rig = asked_for_a_slow_reset();
    rig.core.witness.0.clear();
    rig.set_status(status::ACKNOWLEDGE);
    assert_eq!(
        rig.core.witness.0,
        [
            "Status(WrittenDuringReset { to: 1 })",
            "Status(ResetDone)",
            "Status(Written { from: 0, to: 1 })"
        ]
    );
    assert_eq!(rig.status(), status::ACKNOWLEDGE);
    rig.bring_up();
}

#[test]
fn what_a_driver_reads_during_a_reset_and_writes_back_is_not_set() {
    let mut rig = asked_for_a_slow_reset();
    let read = rig.status();
    assert_eq!(read, DRIVER_OK);
    rig.set_status(read | status::ACKNOWLEDGE);
    assert_eq!(rig.status(), status::ACKNOWLEDGE | status::DRIVER);
    rig.set_status(0);
    rig.bring_up();
    rig.set_status(status::FAILED | DRIVER_OK);
    rig.set_status(0);
    rig.set_status(status::FAILED);
    assert_eq!(rig.status(), 0);
}

#[test]
fn a_configuration_is_unsettled_for_a_driver_without_the_generation() {
    let mut rig = Rig::with(Latitudes::default().with(Latitude::UNSETTLED_CONFIGURATION));
    rig.core.id.kind = DeviceKind::Block;
    let mut generations = Vec::new();
    for _ in 0..4 {
        rig.core.read_configuration(0, &mut [0; 4]);
        rig.core.read_configuration(4, &mut [0; 4]);
        generations.push(rig.core.value(CoreRegister::ConfigurationGeneration));
    }
    assert_eq!(generations, [1, 1, 1, 2]);
    // A driver that reads the generation is told what its reads are worth, and so is the judge.
    assert_eq!(rig.core.witness.of("Config(").len(), 0);
    rig.read(CoreRegister::ConfigurationGeneration);
    rig.core.read_configuration(0, &mut [0; 4]);
    assert_eq!(
        rig.core.witness.0.last().map(String::as_str),
        Some("Config(ChangedBetweenReads)")
    );
    // No single access is atomic, if it is wide.
    rig.set_status(0);
    for _ in 0..4 {
        rig.core.read_configuration(0, &mut [0; 8]);
        rig.core.read_configuration(8, &mut [0; 4]);
    }
    assert_eq!(rig.core.value(CoreRegister::ConfigurationGeneration), 4);
}

#[test]
fn what_was_accepted_last_is_known_after_a_reset() {
    let mut rig = Rig::new();
    let offered = features::VERSION_1 | features::RING_INDIRECT_DESC | features::RING_EVENT_IDX;
    let known = |accepted| DeviceFeatures { offered, accepted };
    assert_eq!(rig.core.features(), known(None));
    rig.bring_up();
    rig.set_status(0);
    assert_eq!(rig.core.features(), known(Some(features::VERSION_1)));
}

#[test]
fn what_the_configuration_contained_is_known_at_the_end() {
    let mut rig = Rig::new();
    assert_eq!(rig.core.configurations(), Some(vec![]), "it was never live");
    rig.bring_up();
    let first = rig.core.configurations().expect("it is known");
    assert!(!first.is_empty());
    rig.set_status(0);
    rig.bring_up();
    let all = rig.core.configurations().expect("it is known");
    assert!(
        all.starts_with(&first),
        "what was told in an earlier life stays"
    );
}

#[test]
fn a_reset_is_complete_when_the_host_has_let_go_of_the_last_buffer() {
    let mut rig = Rig::new();
    rig.bring_up();
    rig.core.device.hangs = true;
    rig.core.witness.0.clear();
    for _ in 0..3 {
        rig.set_status(0);
        assert_eq!(rig.status(), DRIVER_OK);
    }
    // What a driver writes that does not wait has no effect.
    rig.set_status(status::ACKNOWLEDGE);
    rig.set_status(DRIVER_OK);
    rig.enable_queue(0);
    rig.send(0, 1);
    rig.work();
    assert_eq!(rig.status(), DRIVER_OK);
    assert_eq!(rig.used_idx(0), 0);
    assert!(rig.core.witness.of("Status(ResetDone").is_empty());
    rig.core.device.hangs = false;
    let _ = rig.core.service(Wake::Host(0), &mut rig.transport);
    assert_eq!(rig.core.witness.of("Status(ResetDone").len(), 1);
    assert_eq!(rig.status(), 0);
    rig.put(rings(0)[1] + 2, &[0, 0]);
    rig.bring_up();
}

#[test]
fn what_hangs_outlives_a_reset_from_outside() {
    let mut rig = Rig::new();
    rig.bring_up();
    rig.core.device.hangs = true;
    rig.core.outside_reset();
    assert_eq!(rig.status(), DRIVER_OK);
    rig.core.device.hangs = false;
    let _ = rig.core.service(Wake::Tick, &mut rig.transport);
    assert_eq!(rig.status(), 0);
    rig.bring_up();
}
