//! The console's queues and control messages (§5.3.6 of virtio 1.0).

use stickler_conformance::features::console;
use stickler_guest_tests::in_process::console::{CONTROL_RECEIVEQ, CONTROL_TRANSMITQ, event};
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts};

use crate::rogues;

/// Live, with control queues, and nothing said on them.
fn live(d: &mut Driver<'_>) {
    d.initialize(console::MULTIPORT, Interrupts::Msix);
}

/// … and the device has added its ports.
fn with_ports(d: &mut Driver<'_>) {
    live(d);
    d.expect_messages(8);
    d.send_message(0, event::DEVICE_READY, 1);
    assert_eq!(d.take_messages().len(), 2);
}

fn buffer(d: &Driver<'_>, writable: bool) -> Buffer {
    Buffer {
        writable,
        ..Buffer::readable(d.rig.allocate(64), 64)
    }
}

rogues! {
    readable_input: Console breaks "console.receive.writable" by |d| {
        d.initialize(0, Interrupts::Msix);
        d.submit(0, &[buffer(d, false)]);
    };
    writable_output: Console breaks "console.transmit.readable" by |d| {
        d.initialize(0, Interrupts::Msix);
        d.submit(1, &[buffer(d, true)]);
    };
    room_for_no_input: Console breaks "console.receive.room" by |d| {
        d.initialize(0, Interrupts::Msix);
        d.submit(0, &[Buffer { len: 0, ..buffer(d, true) }]);
        d.submit(1, &[buffer(d, false)]);
    };
    output_for_a_port_not_added: Console breaks "console.transmit.port-added" by |d| {
        live(d);
        d.send_message(0, event::DEVICE_READY, 1);
        d.submit(5, &[buffer(d, false)]);
    };
    room_for_half_a_message: Console breaks "console.control-receive.room" by |d| {
        live(d);
        d.submit(CONTROL_RECEIVEQ, &[Buffer { len: 7, ..buffer(d, true) }]);
        d.send_message(0, event::DEVICE_READY, 1);
    };
    more_than_a_message: Console breaks "console.control.alone" by |d| {
        live(d);
        let message = Buffer::readable(d.rig.allocate(12), 12);
        d.rig.write_bytes(message.addr, &[0, 0, 0, 0, 0, 0, 1, 0]);
        d.submit(CONTROL_TRANSMITQ, &[message]);
    };
    readable_room_for_messages: Console breaks "console.control-receive.writable" by |d| {
        live(d);
        d.submit(CONTROL_RECEIVEQ, &[buffer(d, false)]);
        d.send_message(0, event::DEVICE_READY, 1);
    };
    writable_message: Console breaks "console.control-transmit.readable" by |d| {
        live(d);
        let message = Buffer::readable(d.rig.allocate(8), 8);
        d.rig.write_bytes(message.addr, &[0, 0, 0, 0, 0, 0, 1, 0]);
        d.submit(CONTROL_TRANSMITQ, &[message, buffer(d, true)]);
    };
    half_a_message: Console breaks "console.control.format" by |d| {
        live(d);
        let half = Buffer::readable(d.rig.allocate(4), 4);
        d.submit(CONTROL_TRANSMITQ, &[half]);
    };
    a_message_of_the_device: Console breaks "console.control.event" by |d| {
        with_ports(d);
        d.send_message(0, event::PORT_NAME, 1);
    };
    // It goes on where the life before ended: the device has added no port, which is no fault of its own.
    ports_before_device_ready: Console breaks "console.control.device-ready" by |d| {
        live(d);
        d.expect_messages(8);
        d.send_message(0, event::PORT_READY, 1);
        d.take_messages();
        d.send_message(0, event::PORT_READY, 1);
        // It is served, so that its other faults show.
        let answers = d.take_messages();
        assert!(answers.iter().any(|m| m.event == event::CONSOLE_PORT));
        d.send_message(0, event::PORT_OPEN, 1);
        d.send_message(0, event::DEVICE_READY, 1);
    };
    device_half_ready: Console breaks "console.control.device-ready-value" by |d| {
        live(d);
        d.send_message(0, event::DEVICE_READY, 2);
    };
    port_half_ready: Console breaks "console.control.port-ready-value" by |d| {
        with_ports(d);
        d.send_message(1, event::PORT_READY, 2);
    };
    port_half_open: Console breaks "console.control.port-open-value" by |d| {
        with_ports(d);
        d.send_message(1, event::PORT_OPEN, 2);
    };
    a_port_too_many: Console breaks "console.control.port-number" by |d| {
        with_ports(d);
        d.send_message(2, event::PORT_READY, 1);
    };
    never_ready_for_a_port: Console breaks "console.control.port-ready-sent" by |d| {
        with_ports(d);
        d.send_message(1, event::PORT_OPEN, 1);
        d.submit(5, &[buffer(d, false)]);
        d.wait_used(5);
        d.pass(6);
    };
    // It uses port 0 all the same.
    never_ready: Console breaks "console.control.device-ready-sent" by |d| {
        live(d);
        d.submit(0, &[buffer(d, true)]);
        d.submit(1, &[buffer(d, false)]);
        d.pass(6);
    };
    // A program of a test: it waits for something that never comes.
    never_ready_and_quiet: Console breaks "console.control.device-ready-sent" by |d| {
        live(d);
        d.submit(1, &[buffer(d, false)]);
        d.rig.tick(6);
        d.reset();
    };
    never_ready_until_the_end: Console breaks "console.control.device-ready-sent" by |d| {
        live(d);
        d.rig.tick(6);
        d.rig.power_off();
    };
    console_port_never_answered: Console breaks "console.control.console-port-answered" by |d| {
        with_ports(d);
        for port in [0, 1] {
            d.send_message(port, event::PORT_READY, 1);
        }
        let answers = d.take_messages();
        assert!(answers.iter().any(|m| m.event == event::CONSOLE_PORT));
        d.send_message(1, event::PORT_OPEN, 1);
        d.pass(6);
    };
    ready_for_a_port_not_added: Console breaks "console.control.port-ready-added" by |d| {
        live(d);
        d.send_message(0, event::DEVICE_READY, 1);
        d.send_message(1, event::PORT_READY, 1);
    };
    opens_a_port_not_added: Console breaks "console.control.port-open-added" by |d| {
        live(d);
        d.send_message(0, event::DEVICE_READY, 1);
        d.send_message(1, event::PORT_OPEN, 1);
    };
    refuses_the_console_port: Console breaks "console.control.console-port-open" by |d| {
        with_ports(d);
        d.send_message(0, event::PORT_READY, 1);
        let answers = d.take_messages();
        assert!(answers.iter().any(|m| m.event == event::CONSOLE_PORT));
        d.send_message(0, event::PORT_OPEN, 0);
    };
    room_for_no_random_number: Entropy breaks "entropy.buffer.room" by |d| {
        d.initialize(0, Interrupts::Msix);
        d.submit(0, &[Buffer { len: 0, ..buffer(d, true) }]);
    };
    output_of_random_numbers: Entropy breaks "entropy.buffer.writable" by |d| {
        d.initialize(0, Interrupts::Msix);
        d.submit(0, &[buffer(d, false), buffer(d, true)]);
    };
}
