//! What device and driver tell each other about ports (§5.3.6.2 of virtio 1.0).

use stickler_conformance::Latitude;
use stickler_conformance::device::console::{CONTROL_LEN, event};

use super::port::{Change, Size};

/// `struct virtio_console_control`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) id: u32,
    pub(super) event: u16,
    pub(super) value: u16,
}

impl Message {
    pub(super) fn decode(bytes: [u8; CONTROL_LEN]) -> Self {
        let all = u64::from_le_bytes(bytes);
        Message {
            id: all as u32,
            event: (all >> 32) as u16,
            value: (all >> 48) as u16,
        }
    }

    pub(super) fn encode(self) -> [u8; CONTROL_LEN] {
        let all = u64::from(self.id) | u64::from(self.event) << 32 | u64::from(self.value) << 48;
        all.to_le_bytes()
    }
}

/// A message the device has to send about a port. They are sent in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Add,
    ConsolePort,
    Resize,
    Name,
    Closed,
    Opened,
    Remove,
}

impl Notice {
    const ALL: [Notice; 7] = [
        Notice::Add,
        Notice::ConsolePort,
        Notice::Resize,
        Notice::Name,
        Notice::Closed,
        Notice::Opened,
        Notice::Remove,
    ];

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// What the device makes use of by sending it, if it does so of its own accord.
    pub(super) const fn latitude(self) -> Option<Latitude> {
        match self {
            Notice::Remove => Some(Latitude::PORTS_COME_AND_GO),
            Notice::Closed => Some(Latitude::PORTS_OPEN_AND_CLOSE),
            _ => None,
        }
    }

    /// The message's `event` and `value`.
    pub(super) const fn event_and_value(self) -> (u16, u16) {
        match self {
            Notice::Add => (event::DEVICE_ADD, 0),
            // The value means nothing, but there are drivers that look for a 1.
            Notice::ConsolePort => (event::CONSOLE_PORT, 1),
            Notice::Resize => (event::RESIZE, 0),
            Notice::Name => (event::PORT_NAME, 1),
            Notice::Closed => (event::PORT_OPEN, 0),
            Notice::Opened => (event::PORT_OPEN, 1),
            Notice::Remove => (event::DEVICE_REMOVE, 0),
        }
    }
}

/// What device and driver have told each other about one port since the last reset.
///
/// Messages wait for buffers as *what has to be told*, not as a list: a port that is opened and
/// closed a thousand times while the driver gives no buffers costs no memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PortControl {
    /// Bits of [`Notice`]s to be sent.
    due: u8,
    /// The driver has been told of the port.
    added: bool,
    /// The driver has said that it is ready for the port.
    ready: bool,
    /// The driver has last been told that the host's side is open.
    told_open: bool,
    /// The driver has last told that the guest's side is open.
    guest_open: bool,
    /// The port has been removed, and added again.
    again: bool,
}

/// What there is to say about a port that has become ready.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortFacts {
    pub(super) console: bool,
    pub(super) named: bool,
    pub(super) size: Option<Size>,
    pub(super) open: bool,
}

impl PortControl {
    /// The driver wants to know of ports.
    pub(super) fn device_ready(&mut self) {
        // §5.3.6.2.1: a port that exists is not added.
        if !self.added {
            self.due |= Notice::Add.bit();
        }
    }

    /// The driver has, or has not, set the port up.
    pub(super) fn port_ready(&mut self, success: bool, facts: PortFacts) {
        if !self.added || self.ready {
            return;
        }
        self.ready = success;
        if !success {
            return;
        }
        for (notice, due) in [
            (Notice::ConsolePort, facts.console),
            (Notice::Resize, facts.console && facts.size.is_some()),
            (Notice::Name, facts.named),
            (Notice::Opened, facts.open),
        ] {
            if due {
                self.due |= notice.bit();
            }
        }
    }

    /// The driver has opened or closed the guest's side.
    pub(super) fn guest_opened(&mut self, open: bool) {
        // What a driver says of the port as it was before may come after it was added again.
        let known = self.added && (self.ready || !self.again);
        self.guest_open = known && open;
        if self.guest_open {
            // It is in use.
            self.due &= !Notice::Remove.bit();
        }
    }

    /// The port is to go, and to come back, if nobody in the guest uses it. §5.3.6.2.1: only a port
    /// that was added can be removed.
    pub(super) fn remove(&mut self) {
        if self.ready && !self.guest_open {
            self.due |= Notice::Remove.bit();
        }
    }

    /// Whether the port has been removed once.
    pub(super) fn was_removed(&self) -> bool {
        self.again
    }

    /// Whether somebody in the guest takes input.
    pub(super) fn takes_input(&self) -> bool {
        self.guest_open
    }

    /// Something happened on the host.
    pub(super) fn host_changed(&mut self, console: bool, change: Change) {
        if !self.ready {
            return;
        }
        match change {
            // What it has been told already it is not told again.
            Change::Opened if !self.told_open || self.due & Notice::Closed.bit() != 0 => {
                self.due |= Notice::Opened.bit();
            }
            Change::Opened => {}
            Change::Closed => {
                self.due &= !Notice::Opened.bit();
                if self.told_open {
                    self.due |= Notice::Closed.bit();
                }
            }
            Change::Resized(_) if console => self.due |= Notice::Resize.bit(),
            Change::Resized(_) => {}
        }
    }

    /// What is to be sent next.
    pub(super) fn next_due(&self) -> Option<Notice> {
        Notice::ALL.into_iter().find(|n| self.due & n.bit() != 0)
    }

    /// That has been sent.
    pub(super) fn sent(&mut self, notice: Notice) {
        self.due &= !notice.bit();
        match notice {
            Notice::Add => self.added = true,
            Notice::Closed => self.told_open = false,
            Notice::Opened => self.told_open = true,
            Notice::ConsolePort | Notice::Resize | Notice::Name => {}
            // §5.3.6.2.1: it exists no more, and can be added.
            Notice::Remove => {
                *self = PortControl {
                    due: Notice::Add.bit(),
                    again: true,
                    ..PortControl::default()
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: PortFacts = PortFacts {
        console: true,
        named: true,
        size: Some(Size { cols: 80, rows: 25 }),
        open: true,
    };

    fn sent(control: &mut PortControl) -> Vec<Notice> {
        std::iter::from_fn(|| {
            let notice = control.next_due()?;
            control.sent(notice);
            Some(notice)
        })
        .collect()
    }

    fn ready() -> PortControl {
        let mut control = PortControl::default();
        control.device_ready();
        assert_eq!(sent(&mut control), [Notice::Add]);
        control.port_ready(true, FACTS);
        control
    }

    #[test]
    fn a_port_is_introduced_in_order() {
        let mut control = ready();
        use Notice::*;
        assert_eq!(sent(&mut control), [ConsolePort, Resize, Name, Opened]);
        control.device_ready();
        control.port_ready(true, FACTS);
        assert_eq!(sent(&mut control), [], "everything is said once");
    }

    #[test]
    fn a_port_is_removed_and_added_again() {
        use Notice::*;
        let mut control = ready();
        control.remove();
        let introduced = [ConsolePort, Resize, Name, Opened];
        assert_eq!(
            sent(&mut control),
            [&introduced[..], &[Remove, Add]].concat()
        );
        control.guest_opened(true);
        assert!(!control.takes_input(), "that was meant for the one before");
        control.remove();
        assert_eq!(sent(&mut control), [], "it is not set up");
        control.port_ready(true, FACTS);
        assert_eq!(sent(&mut control), introduced);
        control.remove();
        control.guest_opened(true);
        assert!(control.takes_input());
        assert_eq!(sent(&mut control), [], "it is in use");
        control.guest_opened(false);
        control.remove();
        assert_eq!(sent(&mut control), [Remove, Add]);
    }

    #[test]
    fn a_port_that_was_not_added_or_not_set_up_is_not_talked_about() {
        let mut control = PortControl::default();
        control.port_ready(true, FACTS);
        control.guest_opened(true);
        control.host_changed(true, Change::Opened);
        assert_eq!(control, PortControl::default());
        control.device_ready();
        sent(&mut control);
        control.port_ready(false, FACTS);
        control.host_changed(true, Change::Opened);
        assert_eq!(sent(&mut control), []);
        control.port_ready(true, FACTS);
        assert_eq!(sent(&mut control).len(), 4, "a second attempt may succeed");
    }

    #[test]
    fn a_reconnection_is_told_as_one_and_a_fleeting_one_not_at_all() {
        let mut control = ready();
        sent(&mut control);
        for _ in 0..3 {
            control.host_changed(false, Change::Closed);
            control.host_changed(false, Change::Opened);
        }
        assert_eq!(sent(&mut control), [Notice::Closed, Notice::Opened]);
        control.host_changed(false, Change::Opened);
        assert_eq!(sent(&mut control), [], "it is open");
        control.host_changed(false, Change::Closed);
        assert_eq!(sent(&mut control), [Notice::Closed]);
        control.host_changed(false, Change::Opened);
        control.host_changed(false, Change::Closed);
        assert_eq!(sent(&mut control), []);
    }

    #[test]
    fn messages_are_little_endian() {
        let message = Message {
            id: 0x0403_0201,
            event: 0x0605,
            value: 0x0807,
        };
        assert_eq!(message.encode(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Message::decode(message.encode()), message);
    }
}
