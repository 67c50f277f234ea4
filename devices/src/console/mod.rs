//! The console device (§5.3 of virtio 1.0).
//!
//! * [`port`]: bytes between a port's virtqueues and the host.
//! * `control`: what device and driver tell each other about ports (§5.3.6.2).
//! * `messages`: the same on the control virtqueues.
//! * `latitude`: the latitudes that the device makes use of.

#![forbid(unsafe_code)]

mod control;
mod latitude;
mod messages;
pub mod port;
#[cfg(test)]
mod tests;

use std::os::fd::RawFd;

use stickler_conformance::device::console::{CONTROL_RECEIVEQ, CONTROL_TRANSMITQ};
use stickler_conformance::event::Told;
use stickler_conformance::features::console as feature;
use stickler_conformance::{DeviceKind, Latitude, Latitudes, Witness};

use crate::memory::GuestRam;
use crate::virtio::queue::{Broken, Queue};
use crate::virtio::{Io, Progress, VirtioDevice};
use control::PortControl;
use latitude::ConsoleLatitudes;
use port::{Change, Port, PortBackend, Size, Tap};

/// The most ports a console has: with the control queues they take 64 virtqueues.
pub const MAX_PORTS: usize = 31;

/// The longest name of a port, bytes.
pub const MAX_NAME: usize = 128;

/// The size of a port's virtqueues.
const PORT_QUEUE_SIZE: u16 = 128;

/// The size of the control virtqueues.
const CONTROL_QUEUE_SIZE: u16 = 64;

/// Messages taken, and messages sent, in one call.
const MESSAGES_PER_CALL: u32 = 64;

/// Changes on the host that are looked at in one call.
const CHANGES_PER_CALL: u32 = 16;

/// Bytes of a message, behind its fixed part, that are looked at.
const REST: usize = 64;

/// The size a port 0 has that is no terminal.
const NO_TERMINAL: Size = Size { cols: 80, rows: 24 };

/// Bytes of `struct virtio_console_config` (§5.3.4), and where its fields are.
const CONFIG_LEN: usize = 12;
const COLS: usize = 0;
const ROWS: usize = 2;
const MAX_NR_PORTS: usize = 4;
const EMERG_WR: u32 = 8;

/// What a port is made of.
pub struct PortConfig {
    /// What stands behind it.
    pub backend: Box<dyn PortBackend>,
    /// The name by which the guest can find it, if it has one. At most [`MAX_NAME`] bytes.
    pub name: Option<String>,
}

/// Why a console cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPorts {
    /// More than [`MAX_PORTS`].
    TooMany,
    /// A name of no bytes, or of more than [`MAX_NAME`].
    Name,
}

/// A console device.
pub struct Console {
    ports: Vec<Port>,
    names: Vec<Option<String>>,
    /// By port: which messages were sent and received.
    control: Vec<PortControl>,
    /// The driver has sent a control message since the last reset, after which it is told of the ports.
    asked: bool,
    features: u64,
    queue_sizes: Vec<u16>,
    /// The size of port 0's terminal.
    terminal: Size,
    config: [u8; CONFIG_LEN],
    latitudes: ConsoleLatitudes,
    /// Features negotiated, and that they have been.
    negotiated: u64,
    /// Ports to be looked at, a bit each.
    attention: u32,
}

/// What a virtqueue is for (§5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConsoleQueue {
    /// The receiveq or the transmitq of a port.
    Port(usize),
    ControlReceive,
    ControlTransmit,
}

/// What the virtqueue `index` is for.
fn role(index: u16) -> ConsoleQueue {
    match index {
        0 | 1 => ConsoleQueue::Port(0),
        CONTROL_RECEIVEQ => ConsoleQueue::ControlReceive,
        CONTROL_TRANSMITQ => ConsoleQueue::ControlTransmit,
        _ => ConsoleQueue::Port(usize::from(index / 2 - 1)),
    }
}

/// The receiveq of `port`; its transmitq is the next one.
fn receiveq(port: usize) -> u16 {
    match port {
        0 => 0,
        _ => 2 * port as u16 + 2,
    }
}

/// The transmitq of `port`.
fn transmitq(port: usize) -> u16 {
    receiveq(port) + 1
}

impl Console {
    /// A console with port 0, which is the one for text, and further ports from 1 on. It offers
    /// VIRTIO_CONSOLE_F_MULTIPORT if there are further ones or port 0 has a name.
    ///
    /// # Errors
    /// If there are too many ports, or a name cannot be one.
    pub fn new(first: PortConfig, further: Vec<PortConfig>) -> Result<Self, BadPorts> {
        let multiport = !further.is_empty() || first.name.is_some();
        let mut console = Console {
            ports: Vec::new(),
            names: Vec::new(),
            control: Vec::new(),
            asked: false,
            features: feature::SIZE | feature::EMERG_WRITE,
            queue_sizes: Vec::new(),
            terminal: NO_TERMINAL,
            config: [0; CONFIG_LEN],
            latitudes: ConsoleLatitudes::default(),
            negotiated: 0,
            attention: 0,
        };
        for (id, port) in std::iter::once(first).chain(further).enumerate() {
            if id == MAX_PORTS {
                return Err(BadPorts::TooMany);
            }
            if let Some(name) = &port.name
                && !(1..=MAX_NAME).contains(&name.len())
            {
                return Err(BadPorts::Name);
            }
            console.ports.push(Port::new(port.backend));
            console.names.push(port.name);
            console.control.push(PortControl::default());
            // §5.3.2
            console.queue_sizes.extend([PORT_QUEUE_SIZE; 2]);
            if id == 0 && multiport {
                console.queue_sizes.extend([CONTROL_QUEUE_SIZE; 2]);
            }
        }
        if multiport {
            console.features |= feature::MULTIPORT;
        }
        console.terminal = console.size().unwrap_or(NO_TERMINAL);
        console.write_fields();
        Ok(console)
    }

    /// Has `tap` see what the guest outputs on port 0.
    pub fn tap(&mut self, tap: Tap) {
        if let Some(port) = self.ports.first_mut() {
            port.set_tap(tap);
        }
    }

    /// The size of the terminal behind port 0.
    fn size(&self) -> Option<Size> {
        self.ports.first().and_then(|p| p.backend.size())
    }

    /// Writes the fields of the configuration. Returns whether they have changed.
    fn write_fields(&mut self) -> bool {
        let before = self.config;
        let Size { cols, rows } = self.terminal;
        let count = self.ports.len() as u32;
        self.config[COLS..COLS + 2].copy_from_slice(&cols.to_le_bytes());
        self.config[ROWS..ROWS + 2].copy_from_slice(&rows.to_le_bytes());
        self.config[MAX_NR_PORTS..MAX_NR_PORTS + 4].copy_from_slice(&count.to_le_bytes());
        DeviceKind::Console.clear_absent_fields(&mut self.config, self.features);
        self.config != before
    }

    /// The terminal of port 0 has another size. §5.3.6: the size in the configuration is its.
    fn resize<W: Witness>(&mut self, size: Size, io: &mut Io<'_, W>) {
        self.terminal = size;
        if self.write_fields() {
            io.signals.config_changed = true;
        }
    }

    fn is_multiport(&self) -> bool {
        self.negotiated & feature::MULTIPORT != 0
    }

    /// Whether a port's virtqueues are in use.
    fn is_in_use(&self, port: usize) -> bool {
        port == 0 || self.is_multiport()
    }

    /// Whether input for a port is taken from the host. Input for a port that the driver has not opened
    /// waits on the host.
    fn takes_input(&self, port: usize) -> bool {
        !self.is_multiport() || self.is_open(port) || self.latitudes.takes_early(port)
    }

    /// Whether the driver has opened a port.
    fn is_open(&self, port: usize) -> bool {
        self.control.get(port).is_some_and(PortControl::takes_input)
    }

    /// Carries the bytes of one port.
    fn serve_port<W: Witness>(&mut self, id: usize, io: &mut Io<'_, W>) -> Progress {
        let (in_use, takes_input) = (self.is_in_use(id), self.takes_input(id));
        let early = takes_input && self.is_multiport() && !self.is_open(id);
        let Some(port) = self.ports.get_mut(id) else {
            return Progress::Done;
        };
        if !in_use {
            return Progress::Done;
        }
        let (receiveq, transmitq) = (receiveq(id), transmitq(id));
        // What has come until now is looked at here; what comes from now on is activity.
        port.backend.take_activity();
        let sent = on_queue(io, transmitq, |queue, ram, witness| {
            port.transmit(queue, ram, witness)
        });
        let inputs = port.inputs;
        let received = match takes_input {
            true => on_queue(io, receiveq, |queue, ram, witness| {
                port.receive(queue, ram, witness)
            }),
            false => Progress::Done,
        };
        if early && port.inputs != inputs {
            // The driver uses a buffer there again for what comes next, and that comes back as well. Whether it
            // notifies the device of that depends on how many buffers the device has.
            let told = Told::Buffer(receiveq);
            self.latitudes
                .tell(Latitude::EARLY_INPUT, told, None, io.witness);
        }
        // What is left to read may have been the last of a peer that has gone.
        let changed = self.look_at_host(id, io);
        // Input may have come after the last look for it, and room for output likewise.
        let activity = match self
            .ports
            .get_mut(id)
            .is_some_and(|port| port.backend.take_activity())
        {
            true => Progress::More,
            false => Progress::Done,
        };
        both(both(sent, received), both(changed, activity))
    }

    /// Takes note of what happened on the host's side of a port.
    fn look_at_host<W: Witness>(&mut self, id: usize, io: &mut Io<'_, W>) -> Progress {
        for _ in 0..CHANGES_PER_CALL {
            let (Some(port), Some(control)) = (self.ports.get_mut(id), self.control.get_mut(id))
            else {
                return Progress::Done;
            };
            let Some(change) = port.backend.change() else {
                return match self.is_multiport() {
                    true => self.send_messages(io),
                    false => Progress::Done,
                };
            };
            control.host_changed(id == 0, change);
            if change == Change::Closed {
                // What was printed for one peer is not for the next.
                port.flush();
            }
            if let (0, Change::Resized(size)) = (id, change) {
                self.resize(size, io);
            }
        }
        Progress::More
    }

    /// Serves the ports to which a message of the driver has drawn attention.
    fn attend<W: Witness>(&mut self, io: &mut Io<'_, W>) -> Progress {
        let mut progress = Progress::Done;
        for id in 0..self.ports.len() {
            if self.attention & 1 << id != 0 {
                match self.serve_port(id, io) {
                    Progress::Done => self.attention &= !(1 << id),
                    Progress::More => progress = Progress::More,
                }
            }
        }
        progress
    }

    /// Counts a call of the device, and does what is due by that.
    fn run_timers<W: Witness>(&mut self, io: &mut Io<'_, W>) {
        if let Some(size) = self.latitudes.new_size() {
            self.resize(size, io);
            // With several ports there is a message as well.
            let told = match self.is_multiport() {
                true => Told::Buffer(CONTROL_RECEIVEQ),
                false => Told::Configuration,
            };
            self.latitudes
                .tell(Latitude::SIZE_CHANGES, told, Some(transmitq(0)), io.witness);
            if let Some(control) = self.control.first_mut() {
                control.host_changed(true, Change::Resized(size));
            }
        }
        if self.latitudes.closes() {
            for (id, (control, port)) in self.control.iter_mut().zip(&self.ports).enumerate() {
                if port.backend.is_open() {
                    control.host_changed(id == 0, Change::Closed);
                    control.host_changed(id == 0, Change::Opened);
                }
            }
        }
    }
}

/// Has `work` done on a queue, if it is there, and lets the driver know of what was returned.
fn on_queue<W: Witness>(
    io: &mut Io<'_, W>,
    index: u16,
    work: impl FnOnce(&mut Queue, &GuestRam, &mut W) -> Result<Progress, Broken>,
) -> Progress {
    let Some(Some(queue)) = io.queues.get_mut(usize::from(index)) else {
        return Progress::Done;
    };
    let result = work(queue, io.ram, io.witness);
    if queue.publish() {
        io.signals.used(index);
    }
    result.unwrap_or_else(|Broken| {
        io.signals.needs_reset = true;
        Progress::Done
    })
}

fn both(a: Progress, b: Progress) -> Progress {
    match (a, b) {
        (Progress::Done, Progress::Done) => Progress::Done,
        _ => Progress::More,
    }
}

impl<W: Witness> VirtioDevice<W> for Console {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Console
    }

    fn set_latitudes(&mut self, latitudes: Latitudes, slot: u8) {
        self.latitudes = ConsoleLatitudes::new(latitudes, slot);
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn offer(&mut self, offered: u64) {
        self.features &= offered;
        // §5.3.2: without MULTIPORT the other queues do not exist.
        if self.features & feature::MULTIPORT == 0 {
            self.queue_sizes.truncate(2);
        }
        self.write_fields();
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn write_config(&mut self, offset: u32, data: &[u8], _io: &mut Io<'_, W>) {
        // §5.3.5.1: emerg_wr can be written at any time; its lower byte is output.
        let index = EMERG_WR.checked_sub(offset).map(|i| i as usize);
        if let Some(&byte) = index.and_then(|i| data.get(i))
            && let Some(port) = self.ports.first_mut()
        {
            port.emergency_write(byte);
        }
    }

    fn negotiated(&mut self, features: u64) {
        self.negotiated = features;
    }

    fn may_reorder(&self, queue: u16) -> bool {
        // Input comes in the order of the receive queue, and so do messages.
        queue % 2 == 1
    }

    fn waits_for_host(&self, queue: u16) -> bool {
        queue.is_multiple_of(2)
    }

    fn may_write_beyond_len(&self, queue: u16) -> bool {
        queue == 0
    }

    fn activate(&mut self, _io: &mut Io<'_, W>) {}

    fn tick(&mut self, io: &mut Io<'_, W>) {
        self.run_timers(io);
        if self.is_multiport() {
            let _ = self.send_messages(io);
        }
    }

    fn reset(&mut self) {
        // Every field is named, so that a new one is not forgotten.
        let Console {
            ports,
            names: _,
            control,
            asked,
            features: _,
            queue_sizes: _,
            // The host's terminal has the size that it has.
            terminal: _,
            config: _,
            latitudes: _,
            negotiated,
            attention,
        } = self;
        *negotiated = 0;
        *attention = 0;
        *asked = false;
        control.fill(PortControl::default());
        ports.iter_mut().for_each(Port::reset);
    }

    fn notified(&mut self, queue: u16, io: &mut Io<'_, W>) -> Progress {
        self.run_timers(io);
        match role(queue) {
            ConsoleQueue::Port(id) => self.serve_port(id, io),
            // §5.3.2: the control queues exist with MULTIPORT only.
            _ if !self.is_multiport() => Progress::Done,
            ConsoleQueue::ControlReceive => self.send_messages(io),
            ConsoleQueue::ControlTransmit => {
                let taken = self.take_messages(io);
                let sent = self.send_messages(io);
                both(both(taken, sent), self.attend(io))
            }
        }
    }

    fn host_fds(&self) -> Vec<RawFd> {
        self.ports.iter().filter_map(|p| p.backend.fd()).collect()
    }

    fn host_ready(&mut self, index: usize, io: &mut Io<'_, W>) -> Progress {
        let with_fd = |(_, port): &(usize, &Port)| port.backend.fd().is_some();
        let Some((id, _)) = self.ports.iter().enumerate().filter(with_fd).nth(index) else {
            return Progress::Done;
        };
        let changed = self.look_at_host(id, io);
        if let Some(port) = self.ports.get_mut(id) {
            port.flush();
        }
        both(changed, self.serve_port(id, io))
    }
}
