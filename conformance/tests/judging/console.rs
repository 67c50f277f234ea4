//! The console device (§5.3 of virtio 1.0).

use stickler_conformance::DeviceKind::Console;
use stickler_conformance::device::console::event::{
    CONSOLE_PORT, DEVICE_ADD, DEVICE_READY, PORT_OPEN, PORT_READY,
};
use stickler_conformance::event::{ConsoleEvent, ConsoleMessage};

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
        for _ in 0..300 {
            p.exchange(1, &[r(64)]);
        }
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
