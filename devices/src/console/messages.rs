//! Control messages on their virtqueues (§5.3.6.2 of virtio 1.0).

use stickler_conformance::Witness;
use stickler_conformance::device::console::{CONTROL_LEN, event};
use stickler_conformance::device::console::{CONTROL_RECEIVEQ, CONTROL_TRANSMITQ};
use stickler_conformance::event::{ConsoleEvent, ConsoleMessage, Told};

use super::control::{Message, Notice, PortControl, PortFacts};
use super::port::Size;
use super::{Console, MESSAGES_PER_CALL, REST, on_queue, transmitq};
use crate::virtio::stream::{Reader, Writer};
use crate::virtio::{Io, Progress};

impl Console {
    /// Takes the driver's messages.
    pub(super) fn take_messages<W: Witness>(&mut self, io: &mut Io<'_, W>) -> Progress {
        on_queue(io, CONTROL_TRANSMITQ, |queue, ram, witness| {
            for _ in 0..MESSAGES_PER_CALL {
                if queue.has_done_its_share() {
                    break;
                }
                let Some(chain) = queue.pop(ram, witness)? else {
                    if queue.want_notifications(true) {
                        continue;
                    }
                    return Ok(Progress::Done);
                };
                let id = chain.id;
                let mut reader = Reader::new(ram, chain.buffers);
                let message = reader.read_array().map(Message::decode);
                let mut rest = [0; REST];
                let count = reader.read(&mut rest);
                if W::JUDGING {
                    witness.see(
                        &ConsoleEvent::DriverMessage(ConsoleMessage {
                            id: message.map(|m| m.id),
                            event: message.map_or(0, |m| m.event),
                            value: message.map_or(0, |m| m.value),
                            rest: &rest[..count],
                            max_nr_ports: self.ports.len() as u32,
                        })
                        .into(),
                    );
                }
                if let Some(message) = message {
                    self.take_message(message);
                }
                queue.add_used(id, 0, witness);
            }
            Ok(Progress::More)
        })
    }

    /// Acts on a message; those that make no sense change nothing.
    fn take_message(&mut self, message: Message) {
        let success = message.value == 1;
        let is_ready = message.event == event::DEVICE_READY;
        if is_ready || !self.asked {
            self.asked = true;
            // Where the driver has failed there is nobody to tell of ports. One that goes on where an earlier
            // life of the device ended sends no DEVICE_READY; it is told of the ports all the same, so that
            // what else it does is seen.
            if success {
                self.control.iter_mut().for_each(PortControl::device_ready);
            }
        }
        if is_ready {
            return;
        }
        let id = message.id as usize;
        let size = self.size();
        let (Some(control), Some(port)) = (self.control.get_mut(id), self.ports.get(id)) else {
            return;
        };
        let mut goes = self.latitudes.goes(id);
        match message.event {
            event::PORT_READY => {
                control.port_ready(
                    success,
                    PortFacts {
                        console: id == 0,
                        named: self.names.get(id).is_some_and(Option::is_some),
                        size: size.or(self.latitudes.changes_size().then_some(self.terminal)),
                        open: port.backend.is_open(),
                    },
                );
                goes &= !control.was_removed();
            }
            event::PORT_OPEN => {
                control.guest_opened(success);
                self.attention |= 1 << id;
                goes &= !success;
            }
            _ => goes = false,
        }
        if goes {
            control.remove();
        }
    }

    /// Sends what the driver has to be told, as far as it has given buffers for it.
    pub(super) fn send_messages<W: Witness>(&mut self, io: &mut Io<'_, W>) -> Progress {
        on_queue(io, CONTROL_RECEIVEQ, |queue, ram, witness| {
            for _ in 0..MESSAGES_PER_CALL {
                if queue.has_done_its_share() {
                    break;
                }
                let due = self.control.iter().enumerate();
                let Some((id, notice)) = due.filter_map(|(id, c)| Some((id, c.next_due()?))).next()
                else {
                    return Ok(Progress::Done);
                };
                let (event, value) = notice.event_and_value();
                // §5.3.6.2.1: ids are less than max_nr_ports, which is how many ports there are.
                let message = Message {
                    id: id as u32,
                    event,
                    value,
                };
                let Some(chain) = queue.pop(ram, witness)? else {
                    if queue.want_notifications(true) {
                        continue;
                    }
                    return Ok(Progress::Done);
                };
                let buffer = chain.id;
                let fixed = message.encode();
                let Size { cols, rows } = self.terminal;
                let size = [cols.to_le_bytes(), rows.to_le_bytes()].concat();
                let behind = match notice {
                    Notice::Resize => &size[..],
                    Notice::Name => self.names[id].as_deref().unwrap_or_default().as_bytes(),
                    _ => &[],
                };
                let mut writer = Writer::new(ram, chain.buffers);
                // A buffer that is too small for the message comes back empty; the message waits
                // for a larger one.
                if writer.remaining() >= (CONTROL_LEN + behind.len()) as u64 {
                    writer.write(&fixed);
                    writer.write(behind);
                    if let Some(control) = self.control.get_mut(id) {
                        control.sent(notice);
                    }
                    if let Some(latitude) = notice.latitude() {
                        let told = Told::Buffer(CONTROL_RECEIVEQ);
                        let next = Some(transmitq(id));
                        self.latitudes.tell(latitude, told, next, witness);
                    }
                    if W::JUDGING {
                        let id = message.id;
                        witness.see(&ConsoleEvent::DeviceMessage { id, event, value }.into());
                    }
                }
                let written = writer.written() as u32;
                queue.add_used(buffer, written, witness);
            }
            Ok(Progress::More)
        })
    }
}
