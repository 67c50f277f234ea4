//! Virtqueue registers, notifications, and the work they lead to.

use super::*;

#[test]
fn missing_queues_read_as_unavailable() {
    let rig = Rig::new();
    assert_eq!(rig.get(reg::NUM_QUEUES), 3);
    for (queue, size) in [(0, 16), (1, 0), (2, 8), (3, 0), (0xffff, 0)] {
        rig.set(reg::QUEUE_SELECT, queue);
        assert_eq!(rig.get(reg::QUEUE_SIZE), size);
        assert_eq!(rig.get(reg::QUEUE_ENABLE), 0);
    }
    // Nothing sticks to them.
    rig.events();
    rig.set(reg::QUEUE_SELECT, 1);
    rig.set(reg::QUEUE_SIZE, 4);
    rig.set(reg::QUEUE_DESC, 0x1000);
    rig.set(reg::QUEUE_MSIX_VECTOR, 0);
    rig.set(reg::QUEUE_ENABLE, 1);
    assert_eq!(
        rig.meanings(),
        [
            "Queue(SizeWritten { queue: 1, value: 4, max: 0 })",
            "Queue(AddressWritten { queue: 1, area: Descriptor, address: 4096 })",
            "Pci(VectorWritten { queue: Some(1), value: 0, vectors: 4, enabled: false })",
            "Queue(EnableWritten { queue: 1, value: 1, setup: None })",
        ]
    );
    assert_eq!(rig.get(reg::QUEUE_SIZE), 0);
    assert_eq!(rig.get(reg::QUEUE_DESC), 0);
    assert_eq!(rig.get(reg::QUEUE_MSIX_VECTOR), 0xffff);
    assert_eq!(rig.get(reg::QUEUE_ENABLE), 0);
}

#[test]
fn queue_size_takes_powers_of_two_up_to_the_maximum_and_0() {
    let rig = Rig::new();
    for (written, size) in [
        (8, 8),
        (6, 8),
        (32, 8),
        (0xffff, 8),
        (0, 0),
        (1, 1),
        (16, 16),
    ] {
        rig.set(reg::QUEUE_SIZE, written);
        assert_eq!(rig.get(reg::QUEUE_SIZE), size, "{written} written");
    }
}

#[test]
fn enabling_tells_the_set_up() {
    let rig = Rig::new();
    let [desc, avail, used] = ring_addresses(0);
    rig.write_memory(used, &[1, 0, 7, 0]);
    rig.enable_queue(0);
    rig.set(reg::QUEUE_ENABLE, 1);
    let told = rig.meanings();
    let setup = |enabled| {
        format!(
            "Queue(EnableWritten {{ queue: 0, value: 1, setup: Some(QueueSetup {{ size: 16, max: 16, \
             descriptor: {desc}, driver: {avail}, device: {used}, enabled: {enabled}, \
             in_memory: true, split: Some(SplitSetup {{ used_flags: 1, used_idx: 7 }}) }}) }})"
        )
    };
    assert_eq!(told[3..], [setup(false), setup(true)]);
    assert_eq!(rig.get(reg::QUEUE_ENABLE), 1);
}

#[test]
fn an_enabled_queue_cannot_be_changed() {
    let rig = Rig::new();
    rig.enable_queue(0);
    let [desc, ..] = ring_addresses(0);
    rig.events();
    rig.set(reg::QUEUE_SIZE, 4);
    rig.set(reg::QUEUE_DESC, 0x123_0000);
    rig.set(reg::QUEUE_ENABLE, 0);
    rig.set(reg::QUEUE_ENABLE, 2);
    let told = rig.meanings();
    assert_eq!(
        told[0],
        "Queue(SizeWritten { queue: 0, value: 4, max: 16 })"
    );
    assert_eq!(
        told[1],
        "Queue(AddressWritten { queue: 0, area: Descriptor, address: 19070976 })"
    );
    assert!(told[2].starts_with("Queue(EnableWritten { queue: 0, value: 0,"));
    assert!(told[3].starts_with("Queue(EnableWritten { queue: 0, value: 2,"));
    assert_eq!(rig.get(reg::QUEUE_SIZE), 16);
    assert_eq!(rig.get(reg::QUEUE_DESC), desc);
    assert_eq!(rig.get(reg::QUEUE_ENABLE), 1);
}

#[test]
fn only_1_enables() {
    let rig = Rig::new();
    rig.set(reg::QUEUE_ENABLE, 2);
    assert_eq!(rig.get(reg::QUEUE_ENABLE), 0);
}

#[test]
fn nothing_is_consumed_before_driver_ok() {
    let rig = Rig::new();
    rig.negotiate(features::VERSION_1);
    rig.enable_queue(0);
    rig.offer(0, 1);
    rig.events();
    rig.calls();
    rig.notify(0);
    rig.work();
    assert_eq!(
        rig.meanings(),
        ["Notification(Sent { queue: Some(0), value: 0, width: 2, enabled: true })"]
    );
    assert_eq!(rig.calls(), [""; 0]);
    assert_eq!(rig.used_idx(0), 0);
    // With DRIVER_OK, what waits is seen without another notification, and so is the host.
    rig.add_status(status::DRIVER_OK);
    rig.work();
    assert_eq!(
        rig.calls(),
        [
            "activate [true, false, false]",
            "notified 0",
            "host_ready 0 true",
            "host_ready 1 true",
        ]
    );
    assert_eq!(rig.used_idx(0), 1);
}

#[test]
fn notifications_lead_to_work() {
    let rig = Rig::new();
    rig.bring_up();
    rig.offer(2, 1);
    rig.notify(2);
    assert_eq!(rig.used_idx(2), 0, "the worker does it, not the vCPU");
    rig.work();
    assert_eq!(rig.calls(), ["notified 2"]);
    assert_eq!(rig.used_idx(2), 1);
    rig.work();
    assert_eq!(rig.calls(), [""; 0]);
}

#[test]
fn the_worker_is_woken_for_what_waits() {
    let rig = Rig::new();
    rig.bring_up();
    let woken = || rig.function.kick.read().is_ok();
    assert!(!woken());
    rig.notify(0);
    assert!(woken());
    // It is awake already.
    rig.notify(0);
    assert!(!woken());
    rig.work();
    rig.notify(0);
    assert!(woken());
}

#[test]
fn odd_notifications_are_told_and_do_no_harm() {
    let rig = Rig::new();
    rig.negotiate(features::VERSION_1);
    rig.enable_queue(0);
    rig.add_status(status::DRIVER_OK);
    rig.work();
    rig.calls();
    rig.events();
    let write = |offset, width, value| rig.write(Structure::Notify, offset, width, value);
    write(4, 2, 1); // does not exist
    write(8, 2, 2); // is not enabled
    write(2, 2, 0); // is nobody's address
    write(0, 4, 0xdead_0007); // wide, and not the index
    write(0, 1, 0);
    let told = |queue: &str, value: u32, width: u8, enabled: bool| {
        format!(
            "Notification(Sent {{ queue: {queue}, value: {value}, width: {width}, enabled: {enabled} }})"
        )
    };
    assert_eq!(
        rig.meanings(),
        [
            told("None", 1, 2, false),
            told("Some(2)", 2, 2, false),
            told("None", 0, 2, false),
            told("Some(0)", 0xdead_0007, 4, true),
            told("Some(0)", 0, 1, true),
        ]
    );
    rig.work();
    assert_eq!(rig.calls(), ["notified 0"]);
    assert_eq!(rig.status(), READY);
    assert_eq!(rig.read(Structure::Notify, 0, 4), 0);
}

#[test]
fn one_address_for_all_queues_goes_by_the_value() {
    let rig = Rig::with(&Options {
        notify_off_multiplier: 0,
        ..Options::default()
    });
    rig.bring_up();
    rig.write(Structure::Notify, 0, 2, 2);
    rig.write(Structure::Notify, 0, 2, 1);
    rig.write(Structure::Notify, 0, 4, 0x1_0002);
    assert_eq!(
        rig.meanings(),
        [
            "Notification(Sent { queue: Some(2), value: 2, width: 2, enabled: true })",
            "Notification(Sent { queue: None, value: 1, width: 2, enabled: false })",
            "Notification(Sent { queue: None, value: 65538, width: 4, enabled: false })",
        ]
    );
    rig.work();
    assert_eq!(rig.calls(), ["notified 2"]);
}

#[test]
fn a_queue_enabled_late_works() {
    let rig = Rig::new();
    rig.negotiate(features::VERSION_1);
    rig.add_status(status::DRIVER_OK);
    rig.work();
    rig.calls();
    rig.offer(2, 1);
    rig.enable_queue(2);
    rig.work();
    assert_eq!(rig.calls(), ["notified 2"]);
    assert_eq!(rig.used_idx(2), 1);
}

#[test]
fn rings_outside_memory_need_a_reset() {
    let rig = Rig::new();
    rig.negotiate(features::VERSION_1);
    rig.enable_queue(0);
    rig.set(reg::QUEUE_SELECT, 2);
    rig.set(reg::QUEUE_USED, u64::MAX - 3);
    rig.events();
    rig.set(reg::QUEUE_ENABLE, 1);
    let told = rig.meanings();
    assert!(
        told[0].contains("in_memory: false, split: None"),
        "{told:?}"
    );
    rig.calls();
    rig.add_status(status::DRIVER_OK);
    assert_eq!(rig.status(), READY | status::DEVICE_NEEDS_RESET);
    rig.offer(0, 1);
    rig.notify(0);
    rig.work();
    assert_eq!(rig.calls(), [""; 0]);
    assert_eq!(rig.used_idx(0), 0);
}

#[test]
fn a_broken_queue_needs_a_reset_and_a_reset_mends_it() {
    let rig = Rig::new();
    rig.bring_up();
    let [_, avail, _] = ring_addresses(0);
    rig.write_memory(avail + 2, &1000u16.to_le_bytes());
    rig.notify(0);
    rig.work();
    assert_eq!(rig.meanings().last().unwrap(), "Status(NeedsReset)");
    assert_eq!(rig.status(), READY | status::DEVICE_NEEDS_RESET);
    assert!(rig.pin());
    assert_eq!(rig.read(Structure::Isr, 0, 1), 2);
    rig.offer(2, 1);
    rig.notify(2);
    rig.work();
    assert_eq!(rig.used_idx(2), 0);

    for queue in [0, 2] {
        rig.write_memory(ring_addresses(queue)[1] + 2, &[0, 0]);
    }
    rig.bring_up();
    rig.offer(0, 1);
    rig.notify(0);
    rig.work();
    assert_eq!(rig.used_idx(0), 1);
}

#[test]
fn without_bus_mastering_no_buffer_is_touched() {
    let rig = Rig::new();
    rig.bring_up();
    rig.config_write(4, 2, 0x2);
    rig.offer(0, 1);
    rig.notify(0);
    rig.work();
    rig.host_ready();
    assert_eq!(rig.calls(), [""; 0]);
    assert_eq!(rig.used_idx(0), 0);
    // The worker is woken when the device may go on.
    let _ = rig.function.kick.read();
    rig.config_write(4, 2, 0x6);
    assert!(rig.function.kick.read().is_ok());
    rig.work();
    assert_eq!(rig.calls(), ["notified 0", "host_ready 1 true"]);
    assert_eq!(rig.used_idx(0), 1);
}

#[test]
fn work_goes_on_while_there_is_more() {
    let rig = Rig::new();
    rig.bring_up();
    rig.knobs.lock().unwrap().more = 2;
    rig.notify(0);
    assert_eq!(rig.function.service(Wake::Kick), Progress::More);
    assert_eq!(rig.function.service(Wake::Kick), Progress::More);
    assert_eq!(rig.function.service(Wake::Kick), Progress::Done);
    assert_eq!(rig.calls().len(), 3);
}

#[test]
fn the_host_is_heard_before_the_driver_is() {
    let rig = Rig::new();
    rig.host_ready();
    let _ = rig.function.service(Wake::Host(99));
    assert_eq!(rig.calls(), ["host_ready 1 false"]);
    assert_eq!(rig.function.host_fds(), [100, 101]);
}

#[test]
fn resets_race_with_work_without_harm() {
    let rig = Rig::new();
    std::thread::scope(|scope| {
        let driver = scope.spawn(|| {
            for _ in 0..200 {
                rig.negotiate(features::VERSION_1);
                for queue in [0, 2] {
                    rig.write_memory(ring_addresses(queue)[1] + 2, &[0, 0]);
                    rig.enable_queue(queue);
                }
                rig.add_status(status::DRIVER_OK);
                rig.offer(0, 1);
                rig.notify(0);
                rig.set(reg::DEVICE_STATUS, 0);
                // After the reset the rings are the driver's alone.
                let before = rig.used_idx(0);
                rig.write_memory(ring_addresses(0)[1] + 2, &5u16.to_le_bytes());
                rig.notify(0);
                assert_eq!(rig.used_idx(0), before);
                assert_eq!(rig.status(), 0);
            }
        });
        while !driver.is_finished() {
            let _ = rig.function.service(Wake::Kick);
            let _ = rig.function.service(Wake::Host(0));
        }
    });
}
