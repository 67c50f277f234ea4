//! A console's ports, as a conforming driver uses them (§5.3 of virtio 1.0).

use std::collections::BTreeMap;

pub use stickler_conformance::device::console::event;
pub use stickler_conformance::device::console::{CONTROL_RECEIVEQ, CONTROL_TRANSMITQ};
use stickler_conformance::features::console as feature;
use stickler_mock_driver::Buffer;

use super::driver::Driver;

/// Room for a control message and a name.
const MESSAGE_ROOM: u32 = 256;

/// A control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Port number.
    pub id: u32,
    /// What it is about.
    pub event: u16,
    /// Its value.
    pub value: u16,
    /// What stands behind the fixed part.
    pub rest: Vec<u8>,
}

/// The receiveq of `port` (§5.3.2); its transmitq is the next one.
pub fn receiveq(port: u32) -> u16 {
    match port {
        0 => 0,
        _ => 2 * port as u16 + 2,
    }
}

impl Driver<'_> {
    /// Sends a control message.
    pub fn send_message(&mut self, id: u32, event: u16, value: u16) {
        let all = u64::from(id) | u64::from(event) << 32 | u64::from(value) << 48;
        let at = self.rig.allocate(8);
        self.rig.write_bytes(at, &all.to_le_bytes());
        self.submit(CONTROL_TRANSMITQ, &[Buffer::readable(at, 8)]);
        self.wait_used(CONTROL_TRANSMITQ);
    }

    /// Returns the device buffers for control messages.
    pub fn expect_messages(&mut self, count: u16) {
        for _ in 0..count {
            let at = self.rig.allocate(u64::from(MESSAGE_ROOM));
            self.submit(CONTROL_RECEIVEQ, &[Buffer::writable(at, MESSAGE_ROOM)]);
        }
    }

    /// Takes the messages that have come and gives their buffers back to the device.
    pub fn take_messages(&mut self) -> Vec<Message> {
        self.rig.run();
        let mut messages = Vec::new();
        loop {
            let returned = self.queue(CONTROL_RECEIVEQ).take_buffers();
            if returned.is_empty() {
                return messages;
            }
            for (buffer, len) in returned {
                let bytes = self.rig.read_bytes(buffer.addr, len as usize);
                let (fixed, rest) = bytes.split_first_chunk().expect("§5.3.6.2: 8 bytes");
                let fixed = u64::from_le_bytes(*fixed);
                messages.push(Message {
                    id: fixed as u32,
                    event: (fixed >> 32) as u16,
                    value: (fixed >> 48) as u16,
                    rest: rest.to_vec(),
                });
                self.submit(CONTROL_RECEIVEQ, &[buffer]);
            }
        }
    }

    /// Makes all ports known and opens them. Returns their names. With one port and no control queues
    /// there is nothing to do.
    pub fn open_ports(&mut self) -> BTreeMap<u32, String> {
        let mut names = BTreeMap::from([(0, String::new())]);
        if self.features & feature::MULTIPORT == 0 {
            return names;
        }
        let size = self.queue(CONTROL_RECEIVEQ).layout.size;
        self.expect_messages(size.min(16));
        self.send_message(0, event::DEVICE_READY, 1);
        loop {
            let messages = self.take_messages();
            if messages.is_empty() {
                return names;
            }
            for message in messages {
                let id = message.id;
                match message.event {
                    event::DEVICE_ADD => {
                        names.entry(id).or_default();
                        self.send_message(id, event::PORT_READY, 1);
                        if id != 0 {
                            self.send_message(id, event::PORT_OPEN, 1);
                        }
                    }
                    event::CONSOLE_PORT => self.send_message(id, event::PORT_OPEN, 1),
                    event::PORT_NAME => {
                        names.insert(id, String::from_utf8_lossy(&message.rest).into_owned());
                    }
                    _ => {}
                }
            }
        }
    }

    /// Prints `text` on a port whose far end sends back what it gets, and takes it from there. What
    /// was under way before comes first.
    pub fn print_and_read_back(&mut self, port: u32, text: &[u8]) {
        let (receive, transmit) = (receiveq(port), receiveq(port) + 1);
        let room = self.rig.allocate(4096);
        self.submit(receive, &[Buffer::writable(room, 4096)]);
        let at = self.rig.allocate(text.len() as u64);
        self.rig.write_bytes(at, text);
        self.submit(transmit, &[Buffer::readable(at, text.len() as u32)]);
        self.wait_used(transmit);
        let mut input = Vec::new();
        loop {
            for (buffer, len) in self.wait_buffers(receive) {
                input.extend(self.rig.read_bytes(buffer.addr, len as usize));
            }
            if input.ends_with(text) {
                return;
            }
            self.submit(receive, &[Buffer::writable(room, 4096)]);
        }
    }
}
