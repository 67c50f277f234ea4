//! The console device (§5.3 of virtio 1.0).

use stickler_conformance::DeviceKind::Console;
use stickler_conformance::device::console::event::{
    CONSOLE_PORT, DEVICE_ADD, DEVICE_READY, DEVICE_REMOVE, PORT_OPEN, PORT_READY,
};
use stickler_conformance::event::{ConsoleEvent, ConsoleMessage, StatusEvent};

use crate::parts::{r, w};
use crate::play::Play;
use crate::table::{Case, case};

pub const CASES: &[Case] = &[
    case("console.receive.writable", Console, |p| {
        p.boot();
        p.exchange(4, &[r(64), w(64)]);
    }),
    case("console.receive.room", Console, |p| {
        p.boot();
        p.exchange(4, &[w(0), w(0)]);
    }),
    case("console.transmit.readable", Console, |p| {
        p.boot();
        p.exchange(5, &[r(64), w(64)]);
    }),
    case("console.transmit.port-added", Console, |p| {
        ready(p);
        p.exchange(5, &[r(64)]);
    }),
    case("console.control-receive.writable", Console, |p| {
        p.boot();
        p.exchange(2, &[r(64), w(64)]);
    }),
    case("console.control-receive.room", Console, |p| {
        p.boot();
        p.exchange(2, &[w(4), w(3)]);
    }),
    case("console.control-transmit.readable", Console, |p| {
        p.boot();
        p.exchange(3, &[w(8)]);
    }),
    case("console.control.format", Console, |p| {
        p.boot();
        p.see(ConsoleEvent::DriverMessage(ConsoleMessage {
            id: None,
            event: 0,
            value: 0,
            rest: &[],
            max_nr_ports: 4,
        }));
    }),
    case("console.control.alone", Console, |p| {
        p.boot();
        p.see(ConsoleEvent::DriverMessage(ConsoleMessage {
            id: Some(0),
            event: DEVICE_READY,
            value: 1,
            rest: &[0; 4],
            max_nr_ports: 4,
        }));
    }),
    case("console.control.event", Console, |p| {
        ready(p);
        p.message(0, DEVICE_ADD, 0);
    }),
    case("console.control.device-ready", Console, |p| {
        p.boot();
        p.message_sent(0, DEVICE_ADD, 0);
        p.message(0, PORT_READY, 1);
        p.message(0, DEVICE_READY, 1);
    }),
    case("console.control.device-ready-sent", Console, |p| {
        p.boot();
        p.exchange(0, &[w(64)]);
        p.exchange(1, &[r(64)]);
        p.pass(6);
    }),
    case("console.control.device-ready-value", Console, |p| {
        p.boot();
        p.message(0, DEVICE_READY, 2);
    }),
    case("console.control.port-ready-value", Console, |p| {
        ready(p);
        p.message(0, PORT_READY, 2);
    }),
    case("console.control.port-open-value", Console, |p| {
        ready(p);
        p.message(0, PORT_OPEN, 2);
    }),
    case("console.control.port-number", Console, |p| {
        ready(p);
        p.message(4, PORT_OPEN, 1);
    }),
    case("console.control.port-ready-sent", Console, |p| {
        p.boot();
        p.message(u32::MAX, DEVICE_READY, 1);
        p.message_sent(0, DEVICE_ADD, 0);
        p.message(0, PORT_OPEN, 1);
        p.exchange(1, &[r(64)]);
        p.pass(6);
    }),
    case("console.control.port-ready-added", Console, |p| {
        ready(p);
        p.message(1, PORT_READY, 1);
    }),
    case("console.control.port-open-added", Console, |p| {
        ready(p);
        p.message(1, PORT_OPEN, 1);
    }),
    case("console.control.console-port-open", Console, |p| {
        ready(p);
        p.message_sent(0, CONSOLE_PORT, 1);
        p.message(0, PORT_OPEN, 0);
    }),
    case("console.control.console-port-answered", Console, |p| {
        ready(p);
        p.message_sent(0, CONSOLE_PORT, 1);
        p.message_sent(1, DEVICE_ADD, 0);
        p.message(1, PORT_READY, 1);
        p.pass(6);
    }),
];

/// Up to a port 0 that has been added.
fn ready(p: &mut Play) {
    p.boot();
    p.message(u32::MAX, DEVICE_READY, 1);
    p.message_sent(0, DEVICE_ADD, 0);
    p.message(0, PORT_READY, 1);
}

#[test]
fn a_port_closed_while_it_becomes_a_console_is_no_answer() {
    let mut p = Play::new(Console);
    ready(&mut p);
    p.message(0, PORT_OPEN, 1);
    p.message_sent(0, CONSOLE_PORT, 1);
    p.message(0, PORT_OPEN, 0);
    p.message(0, PORT_OPEN, 1);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn output_needs_a_port() {
    let mut p = Play::new(Console);
    p.boot();
    p.exchange(1, &[r(64)]);
    p.message(0, DEVICE_READY, 1);
    p.message_sent(1, DEVICE_ADD, 0);
    p.exchange(5, &[r(64)]);
    assert_eq!(p.messages(), [""; 0]);
    // After a reset, ports are added anew.
    p.boot();
    p.exchange(5, &[r(64)]);
    assert_eq!(p.found(), ["console.transmit.port-added"]);
}

#[test]
fn a_driver_may_say_that_it_failed() {
    let mut p = Play::new(Console);
    p.boot();
    p.message(0, DEVICE_READY, 0);
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn what_a_driver_owes_has_time_until_it_is_overdue() {
    let mut p = Play::new(Console);
    p.boot();
    p.pass(5);
    p.message(u32::MAX, DEVICE_READY, 1);
    for id in [0, 1] {
        p.message_sent(id, DEVICE_ADD, 0);
    }
    for queue in [1, 5] {
        p.exchange(queue, &[r(64)]);
    }
    p.pass(5);
    // The next port begins anew.
    p.message(0, PORT_READY, 1);
    p.pass(5);
    p.message(1, PORT_READY, 1);
    for id in [0, 1] {
        p.message_sent(id, CONSOLE_PORT, 1);
    }
    p.pass(5);
    p.message(1, PORT_OPEN, 1);
    p.message(0, PORT_OPEN, 1);
    p.pass(100);
    p.reset();
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn a_quiet_driver_is_accused_when_it_ends() {
    let ends: [fn(&mut Play); 3] = [
        |p| p.reset(),
        |p| p.see(StatusEvent::RunEnded { by_guest: true }),
        |p| p.see(StatusEvent::RunEnded { by_guest: false }),
    ];
    for end in ends {
        for (seconds, accused) in [(5, false), (6, true)] {
            let mut p = Play::new(Console);
            p.boot();
            p.sleep(seconds);
            assert_eq!(p.messages(), [""; 0], "it was quiet");
            end(&mut p);
            let found = p.messages();
            let message = "console.control.device-ready-sent: no DEVICE_READY in 6 seconds since the device went live";
            assert_eq!(found == [message], accused, "{found:?}");
            assert_eq!(found.is_empty(), !accused, "{found:?}");
        }
    }
}

#[test]
fn each_port_that_waits_is_found() {
    let mut p = Play::new(Console);
    p.boot();
    p.message(u32::MAX, DEVICE_READY, 1);
    for (id, queue) in [(0, 1), (1, 5)] {
        p.message_sent(id, DEVICE_ADD, 0);
        p.exchange(queue, &[r(64)]);
    }
    p.pass(12);
    let port = |id| {
        format!(
            "console.control.port-ready-sent: output for port {id}, which the device has added, and no PORT_READY in 6 seconds"
        )
    };
    assert_eq!(p.messages(), [port(0), port(1)]);
}

#[test]
fn nothing_is_owed_for_a_port_that_is_gone() {
    let mut p = Play::new(Console);
    ready(&mut p);
    p.message_sent(0, CONSOLE_PORT, 1);
    p.message_sent(0, DEVICE_REMOVE, 0);
    p.message_sent(1, DEVICE_ADD, 0);
    p.exchange(5, &[r(64)]);
    p.message_sent(1, DEVICE_REMOVE, 0);
    p.pass(100);
    // A port that nobody uses need not be set up.
    p.message_sent(1, DEVICE_ADD, 0);
    p.pass(100);
    p.reset();
    assert_eq!(p.messages(), [""; 0]);
}

#[test]
fn a_device_that_needs_a_reset_is_owed_nothing() {
    let mut p = Play::new(Console);
    p.boot();
    p.see(StatusEvent::NeedsReset);
    p.pass(6);
    assert_eq!(p.messages(), [""; 0]);
}
