//! The transport as a driver meets it: everything goes through the bus.
//!
//! Citations are of virtio 1.0.

mod common;
mod detached;
mod discovery;
mod host;
mod interrupts;
mod judged;
mod queues;
mod random;
mod window;

use std::sync::{Arc, Mutex};

use stickler_conformance::Tallies;
use stickler_conformance::layout::{Structure, common as reg, status};
use stickler_conformance::{DeviceKind, Event, Finding, Judge, Recorder, Witness, features};

use super::{Options, VirtioPci};
use crate::memory::GuestRam;
use crate::pci::{PciBus, PciLayout};
use crate::testing::described;
use crate::virtio::{Io, Progress, Serviced, VirtioDevice, Wake};
use host::Interrupts;

const SLOT: u8 = 4;
const ECAM: u64 = 0xe000_0000;
const RAM: usize = 0x10_0000;
const READY: u8 = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;

/// What the test tells the device to do, and what the device tells the test.
#[derive(Default)]
struct Knobs {
    /// New device-specific configuration, taken over when the host is ready.
    config: Option<Vec<u8>>,
    /// The device gives up when the host is ready.
    needs_reset: bool,
    /// A feature the device cannot do without.
    demands: u64,
    /// How many more times the device says that there is more to do.
    more: u32,
    calls: Vec<String>,
}

struct TestDevice {
    knobs: Arc<Mutex<Knobs>>,
    config: Vec<u8>,
}

const CONFIG: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
/// Queue 1 does not exist.
const SIZES: [u16; 3] = [16, 0, 8];
const OFFERED: u64 =
    0b101 | features::VERSION_1 | features::RING_EVENT_IDX | features::RING_INDIRECT_DESC;

impl TestDevice {
    fn note(&self, call: String) {
        self.knobs.lock().unwrap().calls.push(call);
    }
}

impl VirtioDevice<Log> for TestDevice {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Block
    }

    fn features(&self) -> u64 {
        0b101
    }

    fn queue_sizes(&self) -> &[u16] {
        &SIZES
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn write_config(&mut self, offset: u32, data: &[u8], _io: &mut Io<'_, Log>) {
        self.note(format!("write_config {offset} {data:?}"));
        // Byte 8 alone can be written.
        for (i, byte) in data.iter().enumerate() {
            if offset as usize + i == 8 {
                self.config[8] = *byte;
            }
        }
    }

    fn accepts(&self, features: u64) -> bool {
        let demands = self.knobs.lock().unwrap().demands;
        features & demands == demands
    }

    fn negotiated(&mut self, features: u64) {
        self.note(format!("negotiated {features:#x}"));
    }

    fn activate(&mut self, io: &mut Io<'_, Log>) {
        let live: Vec<bool> = io.queues.iter().map(Option::is_some).collect();
        self.note(format!("activate {live:?}"));
    }

    fn reset(&mut self) {
        self.config = CONFIG.to_vec();
        self.note("reset".into());
    }

    fn notified(&mut self, queue: u16, io: &mut Io<'_, Log>) -> Progress {
        self.note(format!("notified {queue}"));
        let Some(ring) = io
            .queues
            .get_mut(usize::from(queue))
            .and_then(Option::as_mut)
        else {
            return Progress::Done;
        };
        loop {
            match ring.pop(io.ram, io.witness) {
                Ok(Some(chain)) => {
                    let id = chain.id;
                    ring.add_used(id, 0, io.witness);
                }
                Ok(None) => break,
                Err(_) => {
                    io.signals.needs_reset = true;
                    break;
                }
            }
        }
        if ring.publish() {
            io.signals.used(queue);
        }
        let mut knobs = self.knobs.lock().unwrap();
        if knobs.more > 0 {
            knobs.more -= 1;
            return Progress::More;
        }
        Progress::Done
    }

    fn host_fds(&self) -> Vec<i32> {
        vec![100, 101]
    }

    fn host_ready(&mut self, index: usize, io: &mut Io<'_, Log>) -> Progress {
        let live = io.queue(0).is_some();
        self.note(format!("host_ready {index} {live}"));
        let mut knobs = self.knobs.lock().unwrap();
        if let Some(config) = knobs.config.take() {
            self.config = config;
            io.signals.config_changed = true;
        }
        io.signals.needs_reset = std::mem::take(&mut knobs.needs_reset);
        Progress::Done
    }
}

/// Keeps every event as text, and shows it to a judge.
#[derive(Clone, Default)]
struct Log {
    events: Arc<Mutex<Vec<String>>>,
    judge: Arc<Mutex<Option<Judge>>>,
    findings: Findings,
}

#[derive(Clone, Default)]
struct Findings(Arc<Mutex<Vec<Finding>>>);

impl Recorder for Findings {
    fn record(&mut self, finding: Finding) {
        self.0.lock().unwrap().push(finding);
    }
}

impl Witness for Log {
    const JUDGING: bool = true;

    fn see(&mut self, event: &Event<'_>) {
        self.events.lock().unwrap().push(described(event));
        if let Some(judge) = &mut *self.judge.lock().unwrap() {
            judge.see(event);
        }
    }

    fn tallies(&self) -> Option<Tallies> {
        self.judge.lock().unwrap().as_ref()?.tallies()
    }
}

/// A device on a bus, and the driver's hands.
struct Rig {
    bus: PciBus,
    function: Arc<VirtioPci<TestDevice, Log>>,
    ram: GuestRam,
    interrupts: Arc<Interrupts>,
    log: Log,
    knobs: Arc<Mutex<Knobs>>,
}

impl Rig {
    fn new() -> Self {
        Rig::with(&Options::default())
    }

    /// Memory space and bus mastering are enabled.
    fn with(options: &Options) -> Self {
        let knobs = Arc::<Mutex<Knobs>>::default();
        let interrupts = Arc::<Interrupts>::default();
        let log = Log::default();
        let ram = GuestRam::anonymous(RAM);
        let device = TestDevice {
            knobs: knobs.clone(),
            config: CONFIG.to_vec(),
        };
        let function = VirtioPci::with_options(
            device,
            SLOT,
            ram.clone(),
            interrupts.clone(),
            options,
            |id, offered| {
                assert_eq!((id.slot, id.kind), (SLOT, DeviceKind::Block));
                assert_eq!(offered, options.features.apply(id.kind, OFFERED));
                let judge = Judge::new(id, offered, Box::new(log.findings.clone()));
                *log.judge.lock().unwrap() = Some(judge);
                log.clone()
            },
        )
        .unwrap();
        let bus = PciBus::new(PciLayout {
            ecam_base: ECAM,
            mem32: 0xc000_0000..0xd000_0000,
            mem64: 0x10_0000_0000..0x11_0000_0000,
        });
        bus.add(SLOT, function.clone()).unwrap();
        let rig = Rig {
            bus,
            function,
            ram,
            interrupts,
            log,
            knobs,
        };
        rig.config_write(4, 2, 0x6);
        let told = options
            .latitudes
            .iter()
            .map(|l| format!("Latitude(InUse({l:?}))"));
        assert_eq!(rig.events(), told.collect::<Vec<_>>());
        rig
    }

    fn config_read(&self, offset: u16, width: usize) -> u32 {
        let mut data = [0; 4];
        let gpa = ECAM + (u64::from(SLOT) << 15) + u64::from(offset);
        assert!(self.bus.mmio_read(gpa, &mut data[..width]));
        u32::from_le_bytes(data)
    }

    fn config_write(&self, offset: u16, width: usize, value: u32) {
        let gpa = ECAM + (u64::from(SLOT) << 15) + u64::from(offset);
        assert!(self.bus.mmio_write(gpa, &value.to_le_bytes()[..width]));
    }

    /// Offsets of the capabilities with this id, in order.
    fn capabilities(&self, id: u8) -> Vec<u16> {
        let mut found = Vec::new();
        let mut at = self.config_read(0x34, 1) as u16;
        while at != 0 {
            assert!(at >= 0x40 && at.is_multiple_of(4));
            if self.config_read(at, 1) == u32::from(id) {
                found.push(at);
            }
            at = self.config_read(at + 1, 1) as u16;
            assert!(found.len() < 48);
        }
        found
    }

    /// Offset of the capability for this structure.
    fn capability(&self, structure: Structure) -> u16 {
        let mut caps = self.capabilities(9);
        caps.retain(|at| self.config_read(at + 3, 1) == u32::from(structure.cfg_type()));
        assert_eq!(caps.len(), 1, "{structure:?}");
        caps[0]
    }

    fn msix(&self) -> u16 {
        self.capabilities(0x11)[0]
    }

    fn bar_address(&self, bar: u32) -> u64 {
        let at = 0x10 + 4 * bar as u16;
        let low = self.config_read(at, 4);
        let high = match low & 0b110 {
            0b100 => self.config_read(at + 4, 4),
            _ => 0,
        };
        u64::from(high) << 32 | u64::from(low & !0xf)
    }

    /// Guest-physical address of a structure.
    fn address(&self, structure: Structure) -> u64 {
        let at = self.capability(structure);
        let bar = self.config_read(at + 4, 1);
        self.bar_address(bar) + u64::from(self.config_read(at + 8, 4))
    }

    fn read(&self, structure: Structure, offset: u32, width: usize) -> u64 {
        let mut data = [0; 8];
        let gpa = self.address(structure) + u64::from(offset);
        assert!(self.bus.mmio_read(gpa, &mut data[..width]));
        u64::from_le_bytes(data)
    }

    fn write(&self, structure: Structure, offset: u32, width: usize, value: u64) {
        let gpa = self.address(structure) + u64::from(offset);
        assert!(self.bus.mmio_write(gpa, &value.to_le_bytes()[..width]));
    }

    /// Reads a field of the common configuration in its own width.
    fn get(&self, offset: u32) -> u64 {
        self.read(Structure::Common, offset, width_of(offset))
    }

    fn set(&self, offset: u32, value: u64) {
        self.write(Structure::Common, offset, width_of(offset), value);
    }

    fn status(&self) -> u8 {
        self.get(reg::DEVICE_STATUS) as u8
    }

    fn add_status(&self, bits: u8) {
        self.set(reg::DEVICE_STATUS, (self.status() | bits).into());
    }

    fn accept(&self, features: u64) {
        for select in 0..2 {
            self.set(reg::DRIVER_FEATURE_SELECT, select);
            self.set(reg::DRIVER_FEATURE, features >> (32 * select) & 0xffff_ffff);
        }
    }

    /// The first steps of §3.1.1, up to the queues.
    fn negotiate(&self, features: u64) {
        self.set(reg::DEVICE_STATUS, 0);
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
        self.accept(features);
        self.add_status(status::FEATURES_OK);
        assert_ne!(self.status() & status::FEATURES_OK, 0);
    }

    /// Gives queue `index` its rings in memory.
    fn enable_queue(&self, index: u16) {
        let rings = ring_addresses(index);
        self.set(reg::QUEUE_SELECT, index.into());
        self.set(reg::QUEUE_DESC, rings[0]);
        self.set(reg::QUEUE_AVAIL, rings[1]);
        self.set(reg::QUEUE_USED, rings[2]);
        self.set(reg::QUEUE_ENABLE, 1);
    }

    /// All steps of §3.1.1, with both queues, without event index.
    fn bring_up(&self) {
        self.negotiate(features::VERSION_1);
        self.enable_queue(0);
        self.enable_queue(2);
        self.add_status(status::DRIVER_OK);
        assert_eq!(self.status(), READY);
        self.work();
        self.calls();
        self.events();
    }

    fn write_memory(&self, address: u64, data: &[u8]) {
        self.ram.slice(address, data.len()).unwrap().copy_from(data);
    }

    fn read_memory_u16(&self, address: u64) -> u16 {
        let mut data = [0; 2];
        self.ram.slice(address, 2).unwrap().copy_to(&mut data);
        u16::from_le_bytes(data)
    }

    /// Makes an empty buffer available, the `count`th on this queue, without notifying.
    fn offer(&self, index: u16, count: u16) {
        let [desc, avail, _] = ring_addresses(index);
        let mut descriptor = [0; 16];
        descriptor[0..8].copy_from_slice(&0x8_0000u64.to_le_bytes());
        descriptor[8..12].copy_from_slice(&4u32.to_le_bytes());
        self.write_memory(desc, &descriptor);
        self.write_memory(avail + 2, &count.to_le_bytes());
    }

    fn used_idx(&self, index: u16) -> u16 {
        self.read_memory_u16(ring_addresses(index)[2] + 2)
    }

    fn notify(&self, queue: u16) {
        self.write(Structure::Notify, u32::from(queue) * 4, 2, queue.into());
    }

    /// The worker, until there is nothing left to do.
    fn work(&self) {
        while self.function.service(Wake::Kick) == Progress::More {}
    }

    fn host_ready(&self) {
        let _ = self.function.service(Wake::Host(1));
    }

    /// The events since last asked.
    fn events(&self) -> Vec<String> {
        std::mem::take(&mut self.log.events.lock().unwrap())
    }

    /// The names of the requirements found violated since last asked, in order.
    fn violated(&self) -> Vec<&'static str> {
        let findings = std::mem::take(&mut *self.log.findings.0.lock().unwrap());
        findings.iter().map(|f| f.requirement.name()).collect()
    }

    /// The events without the accesses themselves.
    fn meanings(&self) -> Vec<String> {
        let mut events = self.events();
        // What a notification meant to the device is a matter of the queue.
        events.retain(|e| !e.starts_with("Register") && !e.starts_with("Notification(Live"));
        events
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.knobs.lock().unwrap().calls)
    }

    fn pin(&self) -> bool {
        *self.interrupts.pin.lock().unwrap()
    }

    fn messages(&self) -> Vec<(u64, u32)> {
        std::mem::take(&mut self.interrupts.messages.lock().unwrap())
    }

    fn interrupt_status(&self) -> bool {
        self.config_read(6, 2) & 8 != 0
    }

    /// Gives vector `i` of 4 the data 0x40 + i, unmasks all and enables MSI-X.
    fn enable_msix(&self) {
        let table = self.bar_address(2);
        for i in 0..4u64 {
            let at = table + 16 * i;
            assert!(self.bus.mmio_write(at, &0xfee0_0000u64.to_le_bytes()));
            assert!(self.bus.mmio_write(at + 8, &(0x40 + i).to_le_bytes()));
        }
        self.config_write(self.msix() + 2, 2, 0x8000);
    }
}

fn width_of(offset: u32) -> usize {
    match offset {
        reg::DEVICE_STATUS | reg::CONFIG_GENERATION => 1,
        reg::MSIX_CONFIG..=reg::QUEUE_NOTIFY_OFF => 2,
        reg::QUEUE_DESC.. => 8,
        _ => 4,
    }
}

fn ring_addresses(index: u16) -> [u64; 3] {
    let base = 0x1_0000 * (u64::from(index) + 1);
    [base, base + 0x1000, base + 0x2000]
}
