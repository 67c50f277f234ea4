//! Multiple ports and their messages (§5.3.6.2 of virtio 1.0).

use super::*;

#[test]
fn ports_are_introduced_as_the_driver_gets_ready() {
    let (mut bench, first, _second) = double();
    first.lock().size = Some(Size {
        cols: 100,
        rows: 30,
    });
    first.change(Change::Resized(Size {
        cols: 100,
        rows: 30,
    }));
    bench.host_ready(0);
    assert_eq!(told(&mut bench), [], "nothing before the driver is ready");
    tell(&mut bench, 77, event::DEVICE_READY, 1);
    let add = |id| (id, event::DEVICE_ADD, 0, vec![]);
    assert_eq!(told(&mut bench), [add(0), add(1)]);
    tell(&mut bench, 1, event::PORT_READY, 1);
    assert_eq!(
        told(&mut bench),
        [
            (1, event::PORT_NAME, 1, b"data".to_vec()),
            (1, event::PORT_OPEN, 1, vec![])
        ]
    );
    tell(&mut bench, 0, event::PORT_READY, 1);
    assert_eq!(
        told(&mut bench),
        [
            (0, event::CONSOLE_PORT, 1, vec![]),
            (0, event::RESIZE, 0, vec![100, 0, 30, 0]),
            (0, event::PORT_OPEN, 1, vec![])
        ]
    );
    // Saying it again changes nothing: ports that exist are not added.
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    tell(&mut bench, 0, event::PORT_READY, 1);
    assert_eq!(told(&mut bench), []);
    assert_eq!(bench.witness.of("Console(DriverMessage").len(), 5);
    assert_eq!(bench.witness.of("Console(DeviceMessage").len(), 7);
}

#[test]
fn messages_wait_for_buffers_large_enough() {
    let second = Host::new();
    let mut bench = console(&Host::new(), vec![second.port(Some("a long name"))]);
    bench.start(feature::MULTIPORT, 16);
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    let lens = |bench: &mut Bench<Console>| -> Vec<u32> {
        bench.notify(CONTROL_RECEIVEQ);
        let returned = bench.collect(CONTROL_RECEIVEQ);
        returned.iter().map(|r| r.len).collect()
    };
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(7)]);
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::Out(b"readable")]);
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(3), Buffer::In(5)]);
    assert_eq!(lens(&mut bench), [0, 0, 8]);
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(8)]);
    assert_eq!(lens(&mut bench), [8]);
    tell(&mut bench, 1, event::PORT_READY, 1);
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(18)]);
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(19)]);
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(19)]);
    assert_eq!(lens(&mut bench), [0, 19, 8]);
    // With nothing to tell, buffers stay.
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(19)]);
    assert!(lens(&mut bench).is_empty());
}

#[test]
fn input_waits_until_the_driver_has_opened_the_port() {
    let (mut bench, first, second) = double();
    for queue in [0, 4] {
        bench.offer(queue, &[Buffer::In(10)]);
        bench.offer(queue, &[Buffer::In(10)]);
        bench.notify(queue);
    }
    first.types("first");
    second.types("second");
    bench.host_ready(0);
    bench.host_ready(1);
    tell(&mut bench, 1, event::PORT_OPEN, 1);
    assert_eq!(
        second.lock().reads,
        0,
        "a port that was not added stays shut"
    );
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    tell(&mut bench, 1, event::PORT_OPEN, 1);
    assert_eq!(bench.collect(4)[0].bytes, b"second");
    assert_eq!(first.lock().reads, 0);
    tell(&mut bench, 1, event::PORT_OPEN, 0);
    second.types("more");
    bench.host_ready(1);
    assert_eq!(returned(&mut bench, 4), 0);
    tell(&mut bench, 1, event::PORT_OPEN, 1);
    assert_eq!(bench.collect(4)[0].bytes, b"more");
}

#[test]
fn output_of_every_port_goes_its_own_way() {
    let (mut bench, first, second) = double();
    bench.offer(1, &[Buffer::Out(b"one")]);
    bench.offer(5, &[Buffer::Out(b"two")]);
    bench.notify(1);
    bench.notify(5);
    assert_eq!(
        (first.printed(), second.printed()),
        ("one".into(), "two".into())
    );
}

#[test]
fn the_hosts_side_opens_and_closes() {
    let (mut bench, _first, second) = double();
    second.lock().open = false;
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    tell(&mut bench, 1, event::PORT_READY, 1);
    assert_eq!(told(&mut bench).len(), 3, "two ports and a name");
    let open = |value| vec![(1, event::PORT_OPEN, value, vec![])];
    for (change, value) in [
        (Change::Opened, 1),
        (Change::Closed, 0),
        (Change::Opened, 1),
    ] {
        second.change(change);
        bench.host_ready(1);
        assert_eq!(told(&mut bench), open(value));
    }
}

#[test]
fn only_port_0_exists_without_multiport() {
    let (first, second) = (Host::new(), Host::new());
    let mut bench = console(&first, vec![second.port(Some("data"))]);
    bench.start(0, 16);
    let ready = Message {
        id: 0,
        event: event::DEVICE_READY,
        value: 1,
    };
    bench.offer(CONTROL_TRANSMITQ, &[Buffer::Out(&ready.encode())]);
    bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(64)]);
    bench.offer(5, &[Buffer::Out(b"lost")]);
    bench.offer(4, &[Buffer::In(64)]);
    second.types("x");
    second.change(Change::Closed);
    bench.host_ready(1);
    for queue in 2..6 {
        bench.notify(queue);
        assert_eq!(returned(&mut bench, queue), 0);
    }
    // Port 0 needs no opening.
    first.types("input");
    bench.offer(0, &[Buffer::In(64)]);
    bench.notify(0);
    assert_eq!(bench.collect(0)[0].bytes, b"input");
}

#[test]
fn messages_that_make_no_sense_change_nothing() {
    let (mut bench, _first, second) = double();
    let send = |bench: &mut Bench<Console>, bytes: &[u8]| {
        bench.offer(CONTROL_TRANSMITQ, &[Buffer::Out(bytes)]);
        bench.notify(CONTROL_TRANSMITQ);
        assert_eq!(returned(bench, CONTROL_TRANSMITQ), 1);
    };
    send(&mut bench, b"");
    send(&mut bench, &[0; 7]);
    bench.offer(CONTROL_TRANSMITQ, &[Buffer::In(8)]);
    bench.notify(CONTROL_TRANSMITQ);
    assert_eq!(returned(&mut bench, CONTROL_TRANSMITQ), 1);
    tell(&mut bench, 0, event::DEVICE_READY, 0);
    assert_eq!(told(&mut bench), [], "a driver that failed is told nothing");
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    assert_eq!(told(&mut bench).len(), 2);
    for id in [2, 31, 0x8000_0000, u32::MAX] {
        for event in 1..9 {
            tell(&mut bench, id, event, 1);
        }
    }
    for event in [1, 2, 4, 5, 7, 8, u16::MAX] {
        tell(&mut bench, 1, event, 1);
    }
    tell(&mut bench, 1, event::PORT_READY, 0);
    second.change(Change::Closed);
    bench.host_ready(1);
    assert_eq!(told(&mut bench), []);
    assert!(!bench.signals.needs_reset);
    // The event says what was there.
    let mut long = Message {
        id: 1,
        event: 9,
        value: 3,
    }
    .encode()
    .to_vec();
    long.extend([7; 1000]);
    send(&mut bench, &long);
    let seen = bench.witness.of("Console(DriverMessage");
    assert!(seen[0].contains("id: None"));
    let last = seen.last().expect("one a message");
    assert!(last.contains("id: Some(1), event: 9, value: 3"), "{last}");
    assert_eq!(last.matches('7').count(), REST);
}

#[test]
fn a_reset_forgets_ports() {
    let (mut bench, _first, _second) = double();
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    assert_eq!(told(&mut bench).len(), 2);
    bench.reset();
    bench.start(feature::MULTIPORT, 16);
    for _ in 0..4 {
        bench.offer(CONTROL_RECEIVEQ, &[Buffer::In(64)]);
    }
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    assert_eq!(told(&mut bench).len(), 2, "added anew");
}

#[test]
fn queues_that_were_not_enabled_are_not_missed() {
    let (first, second) = (Host::new(), Host::new());
    let mut bench = console(&first, vec![second.port(Some("data"))]);
    bench.start_with(feature::MULTIPORT, 16, &[1, CONTROL_TRANSMITQ]);
    first.types("x");
    second.change(Change::Closed);
    tell(&mut bench, 0, event::DEVICE_READY, 1);
    tell(&mut bench, 0, event::PORT_OPEN, 1);
    for index in 0..6 {
        bench.notify(index);
        bench.host_ready(usize::from(index));
    }
    bench.offer(1, &[Buffer::Out(b"still")]);
    bench.notify(1);
    assert_eq!(first.printed(), "still");
}
