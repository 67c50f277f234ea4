//! The console device (§5.3 of virtio 1.0).

use std::mem;

use super::Chapter;
use super::buffer::{Directions, room};
use super::read_only::ReadOnlyFields;
use crate::advice::advice;
use crate::device::DeviceKind;
use crate::device::console::port_of;
use crate::device::console::{CONTROL_LEN, event};
use crate::device::console::{CONTROL_RECEIVEQ, CONTROL_TRANSMITQ};
use crate::event::{
    Buffer, ChainEnd, ClockEvent, ConsoleEvent, ConsoleMessage, ControlEvent, DataEvent,
    QueueEvent, StatusEvent,
};
use crate::features::console;
use crate::judge::Verdicts;
use crate::layout::status;
use crate::obligation::{End, Obligation, Obligations, SETTLED, Unsettled};
use crate::requirement::requirements;
use crate::session::Session;

requirements! {
    chapter Console;

    RECEIVE = "console.receive.writable", Driver MustNot ["5.3.6.1-1"], Asserted,
        "The driver adds no device-readable buffers to a receiveq.";
    TRANSMIT = "console.transmit.readable", Driver MustNot ["5.3.6.1-2"], Asserted,
        "The driver adds no device-writable buffers to a transmitq.";
    CONTROL_RECEIVE = "console.control-receive.writable", Driver MustNot ["5.3.6.1-1", "5.3.6.2"], Asserted,
        "The driver adds no device-readable buffers to the control receiveq.";
    CONTROL_TRANSMIT = "console.control-transmit.readable", Driver MustNot ["5.3.6.1-2", "5.3.6.2"], Asserted,
        "The driver adds no device-writable buffers to the control transmitq.";
    RECEIVE_ROOM = "console.receive.room", Driver Should ["5.3.5", "5.3.6"], Asserted,
        "A buffer in a receiveq has room for input: at least one byte.";
    TRANSMIT_ADDED = "console.transmit.port-added", Driver ShouldNot ["5.3.6"], Asserted,
        "Output is sent only to port 0, which always exists, and to ports that the device has added.";
    CONTROL_ROOM = "console.control-receive.room", Driver Must ["5.3.6.2"], Asserted,
        "A buffer in the control receiveq has room for a message: at least 8 bytes.";
    FORMAT = "console.control.format", Driver Must ["5.3.6.2"], Asserted,
        "A control message has a port number, an event and a value: 8 bytes.";
    ALONE = "console.control.alone", Driver Should ["5.3.6.2"], Asserted,
        "A driver's control message has no bytes after the first 8.";
    EVENT = "console.control.event", Driver ShouldNot ["5.3.6.2"], Asserted,
        "A driver sends only DEVICE_READY, PORT_READY and PORT_OPEN.";
    READY_FIRST = "console.control.device-ready", Driver Must ["5.3.6.2.2-1", "5.3.5"], Asserted,
        "With VIRTIO_CONSOLE_F_MULTIPORT, the driver sends DEVICE_READY before any other control message.";
    READY_SENT = "console.control.device-ready-sent", Driver Must ["5.3.6.2.2-1"], Asserted,
        "With VIRTIO_CONSOLE_F_MULTIPORT, the driver sends DEVICE_READY once the device is live.",
        obligation READINGS;
    READY_VALUE = "console.control.device-ready-value", Driver Must ["5.3.6.2"], Asserted,
        "value of DEVICE_READY is 0 or 1.";
    PORT_READY_VALUE = "console.control.port-ready-value", Driver Must ["5.3.6.2"], Asserted,
        "value of PORT_READY is 0 or 1.";
    OPEN_VALUE = "console.control.port-open-value", Driver Must ["5.3.6.2"], Asserted,
        "value of PORT_OPEN is 0 or 1.";
    PORT_NUMBER = "console.control.port-number", Driver Must ["5.3.6.2", "5.3.4"], Asserted,
        "A port's number is below max_nr_ports.";
    PORT_READY_SENT = "console.control.port-ready-sent", Driver Should ["5.3.5", "5.3.6.2"], Asserted,
        "If the driver uses a port, it answers the device's DEVICE_ADD with PORT_READY.",
        obligation READINGS;
    PORT_READY_ADDED = "console.control.port-ready-added", Driver Must ["5.3.6.2"], Asserted,
        "PORT_READY is sent for a port that the device has added.";
    PORT_OPEN_ADDED = "console.control.port-open-added", Driver Must ["5.3.6.2"], Asserted,
        "PORT_OPEN is sent for a port that the device has added.";
    CONSOLE_PORT = "console.control.console-port-open", Driver Must ["5.3.6.2.2-2"], Asserted,
        "The answer to CONSOLE_PORT is PORT_OPEN with value 1 for that port.",
        readings [
            "may-cross": "A message that closes a port which was open may have been sent before the driver saw CONSOLE_PORT, and is no answer.",
            "next": "The next PORT_OPEN for that port is the answer.",
        ];
    CONSOLE_PORT_ANSWERED = "console.control.console-port-answered", Driver Must ["5.3.6.2.2-2"], Asserted,
        "CONSOLE_PORT is answered with PORT_OPEN for that port.",
        obligation READINGS;
    CONSOLE_READ_ONLY = "console.config.read-only", Driver ShouldNot ["5.3.4"], Asserted,
        "The driver writes no field of a console's configuration except emerg_wr.";
    QUEUES = "console.queue.negotiated", Driver MustNot ["5.3.2"], Asserted,
        "A console's queues beyond port 0's are enabled only with VIRTIO_CONSOLE_F_MULTIPORT.";
}

advice! {
    "console.control.device-ready-sent":
        "VIRTIO_CONSOLE_F_MULTIPORT was accepted, and the driver never sends DEVICE_READY: the device adds no ports.";
        "After DRIVER_OK, add buffers to the control receiveq and send DEVICE_READY, with value 0 if the driver cannot set the device up.";
    "console.control.console-port-answered":
        "The device has said that a port is a console, and the driver never answers: no text console appears.";
        "Set the port up as a console, and send PORT_OPEN with value 1 for it.";
    "console.control.port-ready-sent":
        "A port is used, but the driver never sent PORT_READY: the device does not send its messages about the port, such as its name or that it is a console.";
        "Answer each DEVICE_ADD with PORT_READY, with value 1, or with 0 if the port cannot be set up.";
    "console.receive":
        "A receive queue gets buffers that are not device-writable, or that are empty.";
        "Add device-writable buffers of at least one byte.";
    "console.control-receive":
        "A buffer for control messages is not device-writable, or too small: messages that do not fit wait for a larger one.";
        "Add device-writable buffers of 8 bytes, with additional room for the size of a console or the name of a port.";
    "console":
        "The console driver uses ports that do not exist, or sends a control message at the wrong time.";
        "Wait for DEVICE_ADD before using a port, send DEVICE_READY first, answer CONSOLE_PORT with PORT_OPEN 1, and use port numbers below max_nr_ports.";
}

/// A driver that gives so many buffers for input in a second is filling a queue, and owes nothing meanwhile.
const FILLING: u32 = 16;

/// Ports beyond these are not tracked.
const MAX_PORTS: u32 = 64;

/// The state of this chapter's rules.
pub(crate) struct ConsoleRules {
    read_only: ReadOnlyFields,
    ports: Ports,
}

/// The state of ports and control queues since the last reset.
#[derive(Default)]
struct Ports {
    /// DEVICE_READY has been sent.
    ready: bool,
    /// Another message was sent before it; reported once.
    hasty: bool,
    /// Ports the device has added, a bit each. A port that was removed stays: the driver's message
    /// and the device's may cross.
    added: u64,
    /// Ports for which PORT_READY has been sent since they were added.
    ready_ports: u64,
    /// Ports for which the device has sent CONSOLE_PORT and that the driver has not opened since.
    consoles: u64,
    /// DEVICE_READY is due.
    ready_due: Obligation,
    /// PORT_READY is due for ports that are in use.
    port_ready_due: Obligations,
    /// The answer to CONSOLE_PORT is due.
    console_due: Obligations,
    /// Ports the driver has opened and not closed.
    open: u64,
    /// How many buffers for input the driver has given since the last second.
    filled: u32,
}

impl Ports {
    /// A second has passed.
    fn tick(&mut self, acted: bool, verdicts: &mut Verdicts) {
        // It may fill queues of thousands before it says anything, which takes seconds on a slow machine.
        let fills = mem::take(&mut self.filled) >= FILLING;
        let acted = acted && !fills;
        never_ready(self.ready_due.tick(acted), verdicts);
        never_ready_for(self.port_ready_due.tick(acted), verdicts);
        never_answered(self.console_due.tick(acted), verdicts);
    }

    /// The driver does nothing more.
    fn end(&mut self, end: End, verdicts: &mut Verdicts) {
        never_ready(self.ready_due.end(end), verdicts);
        never_ready_for(self.port_ready_due.end(end), verdicts);
        never_answered(self.console_due.end(end), verdicts);
    }

    /// Judges a buffer that the driver has made available (§5.3.2: queues 2 and 3 are for control, else
    /// even ones receive and odd ones transmit).
    #[inline]
    fn taken(&mut self, buffer: &Buffer<'_>, verdicts: &mut Verdicts) {
        let directions = Directions::of(buffer);
        let (requirement, wrong, kind) = match buffer.queue {
            CONTROL_RECEIVEQ => (CONTROL_RECEIVE, directions.readable(), "device-readable"),
            CONTROL_TRANSMITQ => (CONTROL_TRANSMIT, directions.writable(), "device-writable"),
            q if q % 2 == 0 => (RECEIVE, directions.readable(), "device-readable"),
            _ => (TRANSMIT, directions.writable(), "device-writable"),
        };
        let (queue, id) = (Some(buffer.queue), buffer.id);
        verdicts.check(requirement, !wrong, queue, || {
            format!("chain {id} has {kind} buffers")
        });
        if wrong {
            return;
        }
        match buffer.queue {
            CONTROL_TRANSMITQ => {}
            CONTROL_RECEIVEQ => {
                self.filled = self.filled.saturating_add(1);
                let room = room(buffer);
                verdicts.check(CONTROL_ROOM, room >= CONTROL_LEN as u64, queue, || {
                    format!("chain {id} has room for {room} bytes")
                });
            }
            q if q % 2 == 0 => {
                self.filled = self.filled.saturating_add(1);
                verdicts.check(RECEIVE_ROOM, room(buffer) > 0, queue, || {
                    format!("chain {id} has no room")
                });
            }
            q => {
                let port = u32::from(port_of(q));
                let bit = 1_u64.checked_shl(port).unwrap_or(0);
                self.uses(port, bit);
                // §5.3.2: port 0's queues always exist.
                let added = port == 0 || self.added & bit != 0;
                verdicts.check(TRANSMIT_ADDED, added, queue, || {
                    format!("output for port {port}, which the device has not added")
                });
            }
        }
    }

    /// The driver uses `port`, whose bit is `bit`.
    #[inline]
    fn uses(&mut self, port: u32, bit: u64) {
        if self.added & !self.ready_ports & bit != 0 {
            self.port_ready_due.open(port);
        }
    }

    fn sent(&mut self, message: &ConsoleMessage<'_>, session: &Session, verdicts: &mut Verdicts) {
        let queue = Some(CONTROL_TRANSMITQ);
        verdicts.check(FORMAT, message.id.is_some(), queue, || {
            "a control message of less than 8 bytes".to_owned()
        });
        let Some(id) = message.id else {
            return;
        };
        let ConsoleMessage { event, value, .. } = *message;
        let says = || format!("control message for port {id}: event {event}, value {value}");
        verdicts.check(ALONE, message.rest.is_empty(), queue, || {
            format!("{}, with additional bytes", says())
        });
        if event == event::DEVICE_READY {
            self.ready = true;
            if self.ready_due.settle().is_some() {
                verdicts.check_by(READY_SENT, SETTLED, queue, String::new);
            }
            if !self.hasty {
                verdicts.held(READY_FIRST);
            }
            verdicts.check(READY_VALUE, value <= 1, queue, says);
            return;
        }
        if !self.ready && !self.hasty && session.has(console::MULTIPORT) {
            self.hasty = true;
            verdicts.violated(
                READY_FIRST,
                queue,
                format!("{}, before DEVICE_READY", says()),
            );
        }
        let (value_rule, added_rule) = match event {
            event::PORT_READY => (PORT_READY_VALUE, PORT_READY_ADDED),
            event::PORT_OPEN => (OPEN_VALUE, PORT_OPEN_ADDED),
            _ => {
                verdicts.violated(EVENT, queue, says());
                return;
            }
        };
        verdicts.held(EVENT);
        verdicts.check(value_rule, value <= 1, queue, says);
        let exists = verdicts.check(PORT_NUMBER, id < message.max_nr_ports, queue, || {
            format!("{}; max_nr_ports is {}", says(), message.max_nr_ports)
        });
        if !exists || id >= MAX_PORTS {
            return;
        }
        // Where DEVICE_READY is missing no port can have been added, which has been reported.
        if self.hasty && !self.ready {
            self.added |= 1 << id;
        }
        verdicts.check(added_rule, self.added & 1 << id != 0, queue, || {
            format!("{}, which the device has not added", says())
        });
        if event == event::PORT_READY && self.added & 1 << id != 0 {
            self.ready_ports |= 1 << id;
            self.port_ready_due.close(id);
            verdicts.check_by(PORT_READY_SENT, SETTLED, queue, String::new);
        }
        if event == event::PORT_OPEN {
            self.opened(id, value, verdicts, says);
        }
    }

    /// The device has sent a message.
    fn received(&mut self, id: u32, event: u16) {
        if id >= MAX_PORTS {
            return;
        }
        match event {
            event::DEVICE_ADD => {
                self.added |= 1 << id;
                self.ready_ports &= !(1 << id);
            }
            event::CONSOLE_PORT => {
                self.consoles |= 1 << id;
                self.console_due.open(id);
            }
            event::DEVICE_REMOVE => {
                self.port_ready_due.close(id);
                self.console_due.close(id);
            }
            _ => {}
        }
    }

    /// The driver has sent whether the port `id` is open.
    fn opened(&mut self, id: u32, value: u16, verdicts: &mut Verdicts, says: impl Fn() -> String) {
        let port = 1 << id;
        let (asked, was_open) = (self.consoles & port != 0, self.open & port != 0);
        match value {
            1 => self.open |= port,
            0 => self.open &= !port,
            // Already reported.
            _ => return,
        }
        if asked {
            let answer = value == 1 || !was_open;
            if answer {
                self.consoles &= !port;
                if self.console_due.close(id) {
                    let queue = Some(CONTROL_TRANSMITQ);
                    verdicts.check_by(CONSOLE_PORT_ANSWERED, SETTLED, queue, String::new);
                }
            }
            let by = [answer.then_some(value == 1), Some(value == 1)];
            verdicts.check_by(CONSOLE_PORT, by, Some(CONTROL_TRANSMITQ), || {
                format!("{}, as the answer to CONSOLE_PORT", says())
            });
        }
    }
}

/// Judges a DEVICE_READY that was not sent.
fn never_ready(unsettled: Option<Unsettled<()>>, verdicts: &mut Verdicts) {
    if let Some(Unsettled { age, by, .. }) = unsettled {
        verdicts.check_by(READY_SENT, by, Some(CONTROL_TRANSMITQ), || {
            format!("no DEVICE_READY in {age} since the device went live")
        });
    }
}

/// Judges a PORT_READY that was not sent.
fn never_ready_for(unsettled: Option<Unsettled<u32>>, verdicts: &mut Verdicts) {
    if let Some(Unsettled { subject, age, by }) = unsettled {
        verdicts.check_by(PORT_READY_SENT, by, Some(CONTROL_TRANSMITQ), || {
            format!(
                "output for port {subject}, which the device has added, and no PORT_READY in {age}"
            )
        });
    }
}

/// Judges a CONSOLE_PORT that was not answered.
fn never_answered(unsettled: Option<Unsettled<u32>>, verdicts: &mut Verdicts) {
    if let Some(Unsettled { subject, age, by }) = unsettled {
        verdicts.check_by(CONSOLE_PORT_ANSWERED, by, Some(CONTROL_TRANSMITQ), || {
            format!("CONSOLE_PORT for port {subject}, and no PORT_OPEN in {age}")
        });
    }
}

/// Judges whether the driver may enable a queue beyond port 0's (§5.3.2).
fn enabled(queue: u16, session: &Session, verdicts: &mut Verdicts) {
    // Without FEATURES_OK, the wrong time is reported instead.
    if queue >= CONTROL_RECEIVEQ && session.status & status::FEATURES_OK != 0 {
        let negotiated = session.has(console::MULTIPORT);
        verdicts.check(QUEUES, negotiated, Some(queue), || {
            "enabled without VIRTIO_CONSOLE_F_MULTIPORT".to_owned()
        });
    }
}

impl Chapter for ConsoleRules {
    fn new(_kind: DeviceKind) -> Self {
        ConsoleRules {
            read_only: ReadOnlyFields::new(CONSOLE_READ_ONLY),
            ports: Ports::default(),
        }
    }

    fn control(&mut self, event: &ControlEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        if session.kind != DeviceKind::Console {
            return;
        }
        match event {
            ControlEvent::Register(event) => self.read_only.register(event, session, verdicts),
            ControlEvent::Status(event) => {
                self.read_only.status(*event, verdicts);
                let works = session.status & status::DEVICE_NEEDS_RESET == 0;
                if event.sets_driver_ok() && session.has(console::MULTIPORT) && works {
                    self.ports.ready_due.open(());
                }
                if let Some(end) = End::of(*event) {
                    self.ports.end(end, verdicts);
                }
                // A device that needs a reset takes no messages.
                if event.asks_for_reset() || matches!(event, StatusEvent::NeedsReset) {
                    self.ports = Ports::default();
                }
            }
            ControlEvent::Clock(ClockEvent::Tick) => self.ports.tick(session.acted, verdicts),
            ControlEvent::Queue(QueueEvent::EnableWritten {
                queue,
                value: 1,
                setup: Some(setup),
            }) if !setup.enabled => enabled(*queue, session, verdicts),
            ControlEvent::Console(event) => match event {
                ConsoleEvent::DriverMessage(message) => self.ports.sent(message, session, verdicts),
                ConsoleEvent::DeviceMessage { id, event, .. } => self.ports.received(*id, *event),
            },
            ControlEvent::Queue(_)
            | ControlEvent::Latitude(_)
            | ControlEvent::Pci(_)
            | ControlEvent::Feature(_)
            | ControlEvent::Config(_)
            | ControlEvent::Notification(_)
            | ControlEvent::SplitRing(_)
            | ControlEvent::Net(_) => {}
        }
    }

    #[inline(always)]
    fn data(&mut self, event: &DataEvent<'_>, session: &Session, verdicts: &mut Verdicts) {
        match event {
            // The parts of an incomplete chain are not known.
            DataEvent::Exposed(buffer)
                if session.kind == DeviceKind::Console
                    && matches!(buffer.end, ChainEnd::Complete) =>
            {
                self.ports.taken(buffer, verdicts);
            }
            DataEvent::Exposed(_)
            | DataEvent::AvailableRead(_)
            | DataEvent::Returned { .. }
            | DataEvent::NetTransmit(_)
            | DataEvent::BlockRequest(_) => {}
        }
    }
}
