//! The console device (§5.3 of virtio 1.0).

use stickler_conformance::features::console;
use stickler_conformance::layout::Structure;
use stickler_guest_tests::in_process::console::{Message, event, receiveq};
use stickler_guest_tests::in_process::{Buffer, Driver, Interrupts};

use crate::cases;

cases! {
    a_port_stays: PORTS_COME_AND_GO on Console,
        |d| sets_up_ports(d, |message| {
            assert_ne!(message.event, event::DEVICE_REMOVE, "an unknown event");
        }),
        Stops "an unknown event", copes with uses_a_port_again;
    a_closed_port_is_gone: PORTS_OPEN_AND_CLOSE on Console,
        |d| {
            sets_up_ports(d, |_| {});
            for _ in 0..20 {
                d.print_and_read_back(1, b"hello");
                for message in d.take_messages() {
                    let closed = message.event == event::PORT_OPEN && message.value == 0;
                    assert!(!closed, "gone");
                }
            }
        },
        Stops "gone", copes with prints_whoever_is_there;
    there_is_nothing_before_a_port_is_open: EARLY_INPUT on Console,
        |d| {
            prints_before_it_opens(d);
            // A new port has had no input.
            d.queue(0).take_used();
            d.open_ports();
            let at = d.rig.allocate(4096);
            d.submit(0, &[Buffer::writable(at, 4096)]);
            d.wait_used(0);
        },
        Stops "the device returns nothing", copes with takes_what_has_come;
    a_terminal_has_one_size: SIZE_CHANGES on Console,
        |d| {
            d.initialize(console::SIZE | console::MULTIPORT, Interrupts::Msix);
            let known = size(d);
            d.open_ports();
            assert_eq!(size(d), known, "the screen is cut off");
            for _ in 0..40 {
                d.print_and_read_back(0, b"hello");
                assert_eq!(size(d), known, "the screen is cut off");
            }
        },
        Stops "the screen is cut off", copes with follows_the_size;
}

/// `cols` and `rows`.
fn size(d: &Driver<'_>) -> [u64; 2] {
    d.consistently(|d| [0, 2].map(|offset| d.read(Structure::Device, offset, 2)))
}

/// Answers the messages about ports until there are no more.
fn answers(d: &mut Driver<'_>, see: fn(&Message)) {
    loop {
        let messages = d.take_messages();
        if messages.is_empty() {
            return;
        }
        for message in messages {
            see(&message);
            match message.event {
                event::DEVICE_ADD => {
                    d.send_message(message.id, event::PORT_READY, 1);
                }
                event::CONSOLE_PORT => d.send_message(message.id, event::PORT_OPEN, 1),
                _ => {}
            }
        }
    }
}

/// Makes all ports known, and opens port 1.
fn sets_up_ports(d: &mut Driver<'_>, see: fn(&Message)) {
    d.initialize(console::MULTIPORT, Interrupts::Msix);
    d.expect_messages(16);
    d.send_message(0, event::DEVICE_READY, 1);
    answers(d, see);
    d.send_message(1, event::PORT_OPEN, 1);
    answers(d, see);
    d.print_and_read_back(1, b"hello");
}

/// Closes port 1 and opens it again, whatever became of it in between.
fn uses_a_port_again(d: &mut Driver<'_>) {
    sets_up_ports(d, |_| {});
    for text in [&b"once"[..], b"twice", b"and again"] {
        d.send_message(1, event::PORT_OPEN, 0);
        answers(d, |_| {});
        d.send_message(1, event::PORT_OPEN, 1);
        answers(d, |_| {});
        d.print_and_read_back(1, text);
        d.print_and_read_back(0, text);
    }
    d.reset();
}

fn prints_whoever_is_there(d: &mut Driver<'_>) {
    sets_up_ports(d, |_| {});
    let mut closed = 0;
    for number in 0..40 {
        for port in [0, 1] {
            d.print_and_read_back(port, format!("line {number}\n").as_bytes());
        }
        let messages = d.take_messages();
        closed += messages.iter().filter(|m| m.value == 0).count();
    }
    assert!(closed > 0);
    d.reset();
}

const EARLY: &[u8] = b"is anybody there?";

/// Gives port 0 a buffer and prints, before it is open; what is printed comes back.
fn prints_before_it_opens(d: &mut Driver<'_>) {
    d.initialize(console::MULTIPORT, Interrupts::Msix);
    let room = d.rig.allocate(4096);
    d.submit(receiveq(0), &[Buffer::writable(room, 4096)]);
    let at = d.rig.allocate(EARLY.len() as u64);
    d.rig.write_bytes(at, EARLY);
    d.submit(1, &[Buffer::readable(at, EARLY.len() as u32)]);
    d.wait_used(1);
}

fn takes_what_has_come(d: &mut Driver<'_>) {
    prints_before_it_opens(d);
    let input = d.wait_buffers(0);
    let (buffer, len) = input[0];
    assert_eq!(d.rig.read_bytes(buffer.addr, len as usize), EARLY);
    for port in d.open_ports().into_keys() {
        for _ in 0..3 {
            d.print_and_read_back(port, b"hello");
        }
    }
    d.reset();
}

/// Learns of each size, by the configuration and by a message.
fn follows_the_size(d: &mut Driver<'_>) {
    d.initialize(console::SIZE | console::MULTIPORT, Interrupts::Msix);
    d.open_ports();
    let mut sizes = vec![size(d)];
    let mut told = 0;
    for _ in 0..60 {
        d.print_and_read_back(0, b"hello");
        let now = size(d);
        if sizes.last() != Some(&now) {
            sizes.push(now);
        }
        let messages = d.take_messages();
        if let Some(resize) = messages.iter().rfind(|m| m.event == event::RESIZE) {
            let told_size = [0, 2].map(|at| {
                let bytes = &resize.rest[at..at + 2];
                u64::from(u16::from_le_bytes([bytes[0], bytes[1]]))
            });
            assert!(sizes.contains(&told_size) || told_size == size(d));
            told += 1;
        }
    }
    assert!(sizes.len() > 1 && told > 0);
    d.reset();
}
