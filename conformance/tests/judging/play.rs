//! A driver's moves on one device, as the events that a device would report. The conforming moves are
//! here; tests deviate from them.
//!
//! Citations are of virtio 1.0.

mod passing;

use std::sync::{Arc, Mutex};

use stickler_conformance::event::{
    AvailableRead, BufferId, ChainEnd, ConsoleEvent, ConsoleMessage, DataEvent, Element,
    FeatureEvent, NetCommand, NetEvent, NetHeader, NetTransmit, NotificationEvent, PciEvent,
    QueueArea, QueueEvent, QueueSetup, RegisterEvent, StatusEvent,
};
use stickler_conformance::layout::{Field, Structure, common, status};
use stickler_conformance::{DeviceId, DeviceKind, Event, Finding, Judge, Recorder, Witness};
use stickler_conformance::{Readings, Tallies, Version, features};

use crate::parts::{
    CAPACITY, MAC, MAC_TABLES, MAX_SIZE, Part, SIZE, chain, exposed, r, register, request, setup, w,
};

/// Vectors in the MSI-X table.
pub const VECTORS: u16 = 4;

#[derive(Clone, Default)]
struct Findings(Arc<Mutex<Vec<Finding>>>);

impl Recorder for Findings {
    fn record(&mut self, finding: Finding) {
        self.0.lock().unwrap().push(finding);
    }
}

/// The features of the device, and the state of the play.
pub struct Play {
    judge: Judge,
    findings: Findings,
    pub kind: DeviceKind,
    pub offered: u64,
    pub accepted: u64,
    pub status: u8,
    /// Whether the device keeps FEATURES_OK.
    pub keeps: bool,
    enabled: u64,
    /// idx of each queue's available ring, as far as the device has taken.
    pub idx: [u16; 64],
    /// Receive queues that have been filled, a bit each: receiveq1 before DRIVER_OK.
    pub populated: u64,
}

impl Play {
    /// A fresh device that offers `offered` and the reserved bits.
    pub fn offering(kind: DeviceKind, offered: u64) -> Self {
        let offered =
            offered | features::VERSION_1 | features::RING_INDIRECT_DESC | features::RING_EVENT_IDX;
        let findings = Findings::default();
        let id = DeviceId { slot: 1, kind };
        Play {
            judge: Judge::new(id, offered, Box::new(findings.clone())),
            findings,
            kind,
            offered,
            accepted: 0,
            status: 0,
            keeps: true,
            enabled: 0,
            idx: [0; 64],
            populated: 1,
        }
    }

    /// A fresh device that offers all features of its type.
    pub fn new(kind: DeviceKind) -> Self {
        let own = match kind {
            DeviceKind::Net => {
                0x00f0_ffa7
                    | features::net::CTRL_VQ
                    | features::net::CTRL_RX
                    | features::net::CTRL_VLAN
                    | features::net::STATUS
            }
            DeviceKind::Block => 0x0e76,
            DeviceKind::Console => 0b111,
            DeviceKind::Entropy => 0,
        };
        Play::offering(kind, own)
    }

    /// Judged by these readings from the beginning.
    pub fn judged(mut self, readings: impl Into<Readings>) -> Self {
        self.judge = self.judge.by(Version::default(), readings);
        self
    }

    pub fn see<'e>(&mut self, event: impl Into<Event<'e>>) {
        self.judge.see(&event.into());
    }

    /// The same device and judge, with all that a driver changes as it was at first.
    pub fn anew(self) -> Self {
        Play {
            accepted: 0,
            status: 0,
            keeps: true,
            enabled: 0,
            idx: [0; 64],
            populated: 1,
            ..self
        }
    }

    /// The names of the requirements found violated, sorted.
    pub fn found(&self) -> Vec<&'static str> {
        let findings = self.findings.0.lock().unwrap();
        let mut names: Vec<_> = findings.iter().map(|f| f.requirement.name()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    pub fn messages(&self) -> Vec<String> {
        let findings = self.findings.0.lock().unwrap();
        findings
            .iter()
            .map(|f| format!("{}: {}", f.requirement, f.message))
            .collect()
    }

    pub fn tallies(&self) -> Tallies {
        self.judge.tallies().expect("a judge counts")
    }

    // ---- Device status

    pub fn write_status(&mut self, to: u8) {
        let from = self.status;
        self.see(StatusEvent::Written { from, to });
        if to == 0 {
            self.see(StatusEvent::ResetDone);
            self.status = 0;
            self.accepted = 0;
            self.enabled = 0;
            self.idx = [0; 64];
            self.populated = 1;
            return;
        }
        self.status |= to & status::DRIVERS;
        if to & !from & status::FEATURES_OK != 0 {
            let (offered, accepted, kept) = (self.offered, self.accepted, self.keeps);
            self.see(FeatureEvent::Decided {
                offered,
                accepted,
                kept,
            });
            if !kept {
                self.status &= !status::FEATURES_OK;
            }
        }
    }

    pub fn add_status(&mut self, bits: u8) {
        self.write_status(self.status | bits);
    }

    pub fn read_status(&mut self) -> u8 {
        let value = self.status;
        self.see(StatusEvent::Read { value });
        value
    }

    pub fn reset(&mut self) {
        self.write_status(0);
        self.read_status();
    }

    // ---- Features

    pub fn read_features(&mut self) {
        for select in 0..2 {
            self.see(FeatureEvent::DeviceRead { select });
        }
    }

    pub fn write_features(&mut self, accepted: u64) {
        self.accepted = accepted;
        for select in 0..2 {
            let value = (accepted >> (32 * select)) as u32;
            self.see(FeatureEvent::DriverWritten { select, value });
        }
    }

    // ---- Initialization (§3.1.1)

    /// Up to DRIVER.
    pub fn found_device(&mut self) {
        self.reset();
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
    }

    /// Up to FEATURES_OK, accepting `accepted`.
    pub fn negotiate(&mut self, accepted: u64) {
        self.found_device();
        self.read_features();
        self.write_features(accepted);
        self.add_status(status::FEATURES_OK);
        self.read_status();
    }

    /// To DRIVER_OK, accepting `accepted`.
    pub fn boot_with(&mut self, accepted: u64) {
        self.negotiate(accepted);
        self.read_config(|f| f.name != "writeback");
        self.bring_up();
    }

    /// From negotiated features to DRIVER_OK.
    pub fn bring_up(&mut self) {
        self.map_vector(None, 0);
        for queue in self.queues() {
            self.configure(queue);
        }
        for queue in self.queues() {
            self.enable(setup(queue), queue);
        }
        self.add_status(status::DRIVER_OK);
        if self.kind == DeviceKind::Net {
            self.read_ring(0, self.populated & 1 != 0);
            self.see(NetEvent::Address { mac: MAC });
            self.see(NetEvent::ReceiveQueues { queues: 0b101 });
        }
    }

    /// To DRIVER_OK, accepting all that is offered.
    pub fn boot(&mut self) {
        self.boot_with(self.offered);
    }

    // ---- Registers

    pub fn read(&mut self, structure: Structure, offset: u32, width: u8) {
        self.see(RegisterEvent::Read(register(structure, offset, width, 0)));
    }

    pub fn write(&mut self, structure: Structure, offset: u32, width: u8, value: u64) {
        let register = register(structure, offset, width, value);
        self.see(RegisterEvent::Written(register));
    }

    pub fn read_generation(&mut self) {
        self.read(Structure::Common, common::CONFIG_GENERATION, 1);
    }

    /// Reads the fields of the configuration that are offered and `wanted`, as a driver should.
    pub fn read_config(&mut self, wanted: fn(&Field) -> bool) {
        for field in self.kind.config_fields() {
            if wanted(field) && (field.feature == 0 || self.offered & field.feature != 0) {
                self.read_generation();
                self.read_field(field);
                self.read_generation();
            }
        }
    }

    pub fn read_field(&mut self, field: &Field) {
        let width = field.width.min(4);
        for part in 0..field.len() / u32::from(width) {
            let offset = field.offset + part * u32::from(width);
            self.read(Structure::Device, offset, width);
        }
    }

    /// The configuration field with the name `name`.
    pub fn field(&self, name: &str) -> &'static Field {
        let fields = self.kind.config_fields();
        fields.iter().find(|f| f.name == name).expect("a field")
    }

    // ---- Queues

    /// The queues the driver uses, given what it accepted.
    pub fn queues(&self) -> std::ops::Range<u16> {
        match self.kind {
            DeviceKind::Net if self.accepted & features::net::MQ != 0 => 0..5,
            DeviceKind::Net if self.accepted & features::net::CTRL_VQ != 0 => 0..3,
            DeviceKind::Net => 0..2,
            DeviceKind::Console if self.accepted & features::console::MULTIPORT != 0 => 0..6,
            DeviceKind::Console => 0..2,
            DeviceKind::Block | DeviceKind::Entropy => 0..1,
        }
    }

    pub fn map_vector(&mut self, queue: Option<u16>, value: u16) {
        let vectors = VECTORS;
        self.see(PciEvent::VectorWritten {
            queue,
            value,
            vectors,
            enabled: true,
        });
        self.see(PciEvent::VectorRead { queue, value });
    }

    pub fn write_size(&mut self, queue: u16, value: u16) {
        let max = MAX_SIZE;
        self.see(QueueEvent::SizeWritten { queue, value, max });
    }

    pub fn write_address(&mut self, queue: u16, area: QueueArea, address: u64) {
        for address in [address & 0xffff_ffff, address] {
            self.see(QueueEvent::AddressWritten {
                queue,
                area,
                address,
            });
        }
    }

    /// Everything but queue_enable.
    pub fn configure(&mut self, queue: u16) {
        let setup = setup(queue);
        self.see(QueueEvent::SizeRead { queue });
        self.write_size(queue, setup.size);
        self.write_address(queue, QueueArea::Descriptor, setup.descriptor);
        self.write_address(queue, QueueArea::Driver, setup.driver);
        self.write_address(queue, QueueArea::Device, setup.device);
        self.map_vector(Some(queue), 1 + queue % (VECTORS - 1));
    }

    pub fn write_enable(&mut self, queue: u16, value: u16, setup: Option<QueueSetup>) {
        self.see(QueueEvent::EnableWritten {
            queue,
            value,
            setup,
        });
    }

    pub fn enable(&mut self, setup: QueueSetup, queue: u16) {
        self.write_enable(queue, 1, Some(setup));
        self.enabled |= 1 << queue;
    }

    pub fn notify(&mut self, queue: u16) {
        self.see(NotificationEvent::Sent {
            queue: Some(queue),
            value: queue.into(),
            width: 2,
            enabled: self.enabled & 1 << queue != 0,
        });
    }

    // ---- Rings

    /// The device looks at the available ring and finds `flags` and `added` more chains.
    pub fn look(&mut self, queue: u16, flags: u16, added: u16) {
        let previous = self.idx[usize::from(queue)];
        let idx = previous.wrapping_add(added);
        self.idx[usize::from(queue)] = idx;
        self.see(DataEvent::AvailableRead(AvailableRead {
            queue,
            size: SIZE,
            flags,
            previous,
            idx,
            taken: previous,
        }));
    }

    /// The driver makes a chain available whose walk ends with `end`.
    pub fn expose(&mut self, queue: u16, elements: &[Element], end: ChainEnd) {
        self.look(queue, 0, 1);
        self.see(DataEvent::Exposed(exposed(queue, elements, &end)));
    }

    /// The driver makes a good chain available, of `buffers`, from descriptor `head` on.
    pub fn give(&mut self, queue: u16, head: u16, buffers: &[Part]) {
        self.expose(queue, &chain(head, buffers), ChainEnd::Complete);
    }

    pub fn used(&mut self, queue: u16, head: u16, len: u32) {
        self.see(DataEvent::Returned {
            queue,
            id: BufferId(head),
            len,
        });
    }

    /// A good chain, taken and returned.
    pub fn exchange(&mut self, queue: u16, buffers: &[Part]) {
        self.give(queue, 3, buffers);
        self.used(queue, 3, 0);
    }

    // ---- Device types

    /// A packet sent through transmitq1.
    pub fn send(&mut self, header: NetHeader, bytes: &[u8]) {
        self.send_through(1, header, bytes);
    }

    pub fn send_through(&mut self, queue: u16, header: NetHeader, bytes: &[u8]) {
        self.exchange(queue, &[r(12), r(bytes.len() as u32)]);
        self.see(DataEvent::NetTransmit(NetTransmit {
            queue,
            header: Some(header),
            len: bytes.len() as u64,
            writable: 0,
            bytes,
        }));
    }

    /// A buffer for packets, which waits.
    pub fn receive_buffer(&mut self, len: u32) {
        self.give(0, 3, &[w(len)]);
    }

    pub fn command(&mut self, class: u8, command: u8, data: &[u8]) {
        self.see(NetEvent::Command(NetCommand {
            class: Some(class),
            command: Some(command),
            data,
            len: data.len() as u64,
            writable: 1,
            max_virtqueue_pairs: 2,
        }));
    }

    pub fn request(&mut self, kind: u32, sector: u64, readable: u64, writable: u64) {
        let request = request(kind, sector, readable, writable);
        self.see(DataEvent::BlockRequest(request));
    }

    pub fn message(&mut self, id: u32, event: u16, value: u16) {
        self.see(ConsoleEvent::DriverMessage(ConsoleMessage {
            id: Some(id),
            event,
            value,
            rest: &[],
            max_nr_ports: 4,
        }));
    }

    pub fn message_sent(&mut self, id: u32, event: u16, value: u16) {
        self.see(ConsoleEvent::DeviceMessage { id, event, value });
    }

    // ---- All of it

    /// The moves of a driver in operation.
    pub fn work(&mut self) {
        for queue in self.queues() {
            self.notify(queue);
        }
        match self.kind {
            DeviceKind::Net => {
                self.send(NetHeader::default(), &[0; 60]);
                self.receive_buffer(1526);
                // PROMISC, NOBCAST, MAC_TABLE_SET, MAC_ADDR_SET, VLAN_ADD, ANNOUNCE_ACK,
                // VQ_PAIRS_SET, GUEST_OFFLOADS_SET
                self.command(0, 0, &[1]);
                self.command(0, 5, &[0]);
                self.command(1, 0, MAC_TABLES);
                self.command(1, 1, &[2, 0, 0, 0, 0, 1]);
                self.command(2, 0, &[1, 0]);
                self.command(3, 0, &[]);
                self.fill(2);
                self.set_pairs(2);
                self.command(5, 0, &[2, 0, 0, 0, 0, 0, 0, 0]);
                self.send_through(3, NetHeader::default(), &[0; 60]);
            }
            DeviceKind::Block => {
                self.exchange(0, &[r(16), w(512), w(512), w(1)]);
                self.request(0, 0, 0, 1024);
                self.exchange(0, &[r(16), r(512), w(1)]);
                self.request(1, CAPACITY - 1, 512, 0);
                self.exchange(0, &[r(16), w(1)]);
                self.request(4, 0, 0, 0);
                self.request(8, 0, 0, 20);
            }
            DeviceKind::Console => {
                self.exchange(0, &[w(4096)]);
                self.exchange(1, &[r(80)]);
                self.exchange(2, &[w(64)]);
                self.exchange(3, &[r(8)]);
                self.message(u32::MAX, 0, 1);
                self.message_sent(0, 1, 0);
                self.message(0, 3, 1);
                self.message_sent(0, 4, 1);
                self.message(0, 6, 1);
            }
            DeviceKind::Entropy => self.exchange(0, &[w(64)]),
        }
    }
}
