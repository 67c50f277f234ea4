//! A machine without a CPU: memory, a PCI bus and real devices.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stickler_conformance::requirement::Strictness;
use stickler_conformance::tally::{Tallies, Tally};
use stickler_conformance::{DeviceId, Finding, Judge, Recorder, Version, catalogue};
use stickler_devices::interrupt::{InterruptSink, MsiMessage};
use stickler_devices::memory::GuestRam;
use stickler_devices::pci::{PciBus, PciLayout};
use stickler_devices::virtio::pci::{Options, VirtioPci};
use stickler_devices::virtio::{Progress, Serviced, VirtioDevice, Wake};
use vm_memory::{Bytes, GuestAddress};

/// Bytes of memory in a rig.
pub const RAM: usize = 32 << 20;

/// The machine.
pub struct Rig {
    /// Its memory.
    pub ram: GuestRam,
    /// Its bus.
    pub bus: PciBus,
    /// The interrupts that were sent.
    pub interrupts: Arc<InterruptLog>,
    /// What the transports of devices added from now on do.
    pub options: Options,
    /// Whether [`run`](Self::run) lets the time pass for which something of a device waits.
    pub passes_time: bool,
    /// Who stands between driver and devices, the one next to the devices first.
    pub between: RefCell<Vec<Rc<dyn Between>>>,
    devices: Vec<Arc<dyn Serviced>>,
    findings: FindingLog,
    /// By which readings drivers are judged.
    strictness: Strictness,
    /// Where the next allocation goes; the first megabyte stays free.
    heap: Cell<u64>,
}

/// Something that driver and devices do to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// The driver reads configuration space, and gets `value`.
    ConfigRead {
        /// PCI slot.
        slot: u8,
        /// Where.
        offset: u16,
        /// Bytes.
        width: usize,
        /// 0 before it is done.
        value: u32,
    },
    /// The driver writes configuration space.
    ConfigWrite {
        /// PCI slot.
        slot: u8,
        /// Where.
        offset: u16,
        /// Bytes.
        width: usize,
        /// What.
        value: u32,
    },
    /// The driver reads memory-mapped I/O, and gets `value`.
    Read {
        /// Where.
        address: u64,
        /// Bytes.
        width: usize,
        /// 0 before it is done.
        value: u64,
    },
    /// The driver writes memory-mapped I/O.
    Write {
        /// Where.
        address: u64,
        /// Bytes.
        width: usize,
        /// What.
        value: u64,
    },
    /// The devices work on what waits for them.
    Serve,
}

/// One who sees what driver and devices do to each other, and may alter it.
pub trait Between {
    /// It is about to happen.
    fn before(&self, rig: &Rig, what: &Move) {
        let _ = (rig, what);
    }

    /// It has happened; the driver is yet to see what came of it.
    fn after(&self, rig: &Rig, what: &mut Move) {
        let _ = (rig, what);
    }
}

/// Interrupts as they were sent.
#[derive(Default)]
pub struct InterruptLog {
    /// By slot and vector: the data of its message.
    routes: Mutex<BTreeMap<(u8, u16), u32>>,
    messages: Mutex<Vec<u32>>,
    lines: Mutex<[bool; 32]>,
}

impl InterruptLog {
    /// The data of the messages sent since the last call.
    pub fn take_messages(&self) -> Vec<u32> {
        std::mem::take(&mut self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The data of the messages that nobody has taken yet.
    pub fn messages(&self) -> Vec<u32> {
        let messages = self.messages.lock();
        messages.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the function in `slot` asserts INTA#.
    pub fn line(&self, slot: u8) -> bool {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)[usize::from(slot)]
    }
}

impl InterruptLog {
    /// Sends a message with this data, whoever asks for it.
    pub fn send(&self, data: u32) {
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(data);
    }
}

impl InterruptSink for InterruptLog {
    fn route(&self, device: u8, vector: u16, message: Option<MsiMessage>) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        match message {
            Some(message) => routes.insert((device, vector), message.data),
            None => routes.remove(&(device, vector)),
        };
    }

    fn signal(&self, device: u8, vector: u16) {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        self.send(routes[&(device, vector)]);
    }

    fn set_pin(&self, device: u8, asserted: bool) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)[usize::from(device)] = asserted;
    }
}

#[derive(Clone, Default)]
struct FindingLog(Arc<Mutex<Vec<Finding>>>);

impl Recorder for FindingLog {
    fn record(&mut self, finding: Finding) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(finding);
    }
}

/// Lets a device work until there is nothing to do.
fn work(device: &dyn Serviced) {
    while device.service(Wake::Kick) == Progress::More {}
    for index in 0..device.host_fds().len() {
        while device.service(Wake::Host(index)) == Progress::More {}
    }
}

impl Default for Rig {
    fn default() -> Self {
        Rig::new()
    }
}

impl Rig {
    /// A machine with nothing on its bus but the host bridge.
    pub fn new() -> Self {
        Rig::judging(Strictness::Lenient)
    }

    /// As [`new`](Self::new), where drivers are judged by these readings.
    pub fn judging(strictness: Strictness) -> Self {
        Rig {
            strictness,
            ram: GuestRam::anonymous(RAM),
            bus: PciBus::new(PciLayout {
                ecam_base: 0xe000_0000,
                mem32: 0xc000_0000..0xe000_0000,
                mem64: 0x40_0000_0000..0x41_0000_0000,
            }),
            interrupts: Arc::default(),
            options: Options::default(),
            passes_time: false,
            between: RefCell::default(),
            devices: Vec::new(),
            findings: FindingLog::default(),
            heap: Cell::new(1 << 20),
        }
    }

    /// Puts a judged device into `slot`.
    pub fn add<D: VirtioDevice<Judge>>(&mut self, slot: u8, device: D) {
        let recorder = Box::new(self.findings.clone());
        let function = VirtioPci::with_options(
            device,
            slot,
            self.ram.clone(),
            self.interrupts.clone(),
            &self.options,
            |id: DeviceId, offered| {
                Judge::new(id, offered, recorder).by(Version::V1_0, self.strictness)
            },
        )
        .expect("a device can be made");
        self.bus
            .add(slot, function.clone())
            .expect("the slot is free");
        self.devices.push(function);
    }

    /// `len` bytes of memory nobody else uses, aligned to 4096, zeroed unless [`Rig::reclaim`]ed.
    pub fn allocate(&self, len: u64) -> u64 {
        let at = self.heap.get();
        let end = (at + len).next_multiple_of(4096);
        assert!(end <= RAM as u64, "the rig's memory is used up");
        self.heap.set(end);
        at
    }

    /// What has been allocated.
    pub fn allocated(&self) -> Range<u64> {
        1 << 20..self.heap.get()
    }

    /// Gives back all that was allocated. For long runs, between resets.
    pub fn reclaim(&self) {
        self.heap.set(1 << 20);
    }

    /// Lets all devices work until there is nothing to do.
    pub fn run(&self) {
        self.make(Move::Serve, |_| {
            for device in &self.devices {
                work(device.as_ref());
                while self.passes_time
                    && let Some(time) = device.alarm()
                {
                    let _ = device.service(Wake::Elapsed(time));
                    work(device.as_ref());
                }
            }
        });
    }

    /// Lets each device do one share of the work it has been notified of, and no more.
    pub fn step(&self) {
        for device in &self.devices {
            let _ = device.service(Wake::Kick);
        }
    }

    /// Lets each device do one share of all the work that waits for it, and no more.
    pub fn step_with_host(&self) {
        self.step();
        for device in &self.devices {
            for index in 0..device.host_fds().len() {
                let _ = device.service(Wake::Host(index));
            }
        }
    }

    /// So much time passes for the devices, and they do what is due by then.
    pub fn elapse(&self, time: Duration) {
        for device in &self.devices {
            if device.keeps_time() {
                let _ = device.service(Wake::Elapsed(time));
            }
        }
        self.run();
    }

    /// Lets the devices look, `times` over, for what they should have been notified of.
    pub fn tick(&self, times: u32) {
        for _ in 0..times {
            for device in &self.devices {
                let _ = device.service(Wake::Tick);
            }
        }
    }

    /// The run ends: the guest powers the machine off.
    pub fn power_off(&self) {
        for device in &self.devices {
            device.run_ended(true);
        }
    }

    /// The findings so far.
    pub fn findings(&self) -> Vec<Finding> {
        self.findings
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What was counted of the drivers of all devices for the requirement called `name`.
    pub fn tally(&self, name: &str) -> Tally {
        let requirement = catalogue::find(name).unwrap_or_else(|| panic!("no requirement {name}"));
        self.tallies().get(requirement)
    }

    /// What was counted of the drivers of all devices.
    pub fn tallies(&self) -> Tallies {
        let mut all = Tallies::new(Version::V1_0, self.strictness.into());
        self.devices
            .iter()
            .filter_map(|d| d.tallies())
            .for_each(|t| all.merge(&t));
        all
    }

    // ---- Accesses

    /// Does something under the eyes of those who stand [between](Self::between).
    fn make(&self, mut what: Move, act: impl FnOnce(&mut Move)) -> Move {
        for one in self.between.borrow().iter().rev() {
            one.before(self, &what);
        }
        act(&mut what);
        for one in self.between.borrow().iter() {
            one.after(self, &mut what);
        }
        what
    }

    /// Reads configuration space of bus 0 by configuration mechanism #1.
    pub fn config_read(&self, slot: u8, offset: u16, width: usize) -> u32 {
        let read = Move::ConfigRead {
            slot,
            offset,
            width,
            value: 0,
        };
        let done = self.make(read, |what| {
            self.select(slot, offset);
            let mut data = [0; 4];
            assert!(self.bus.pio_read(0xcfc + (offset & 3), &mut data[..width]));
            if let Move::ConfigRead { value, .. } = what {
                *value = u32::from_le_bytes(data);
            }
        });
        match done {
            Move::ConfigRead { value, .. } => value,
            _ => 0,
        }
    }

    /// Writes configuration space of bus 0 by configuration mechanism #1.
    pub fn config_write(&self, slot: u8, offset: u16, width: usize, value: u32) {
        let write = Move::ConfigWrite {
            slot,
            offset,
            width,
            value,
        };
        self.make(write, |_| {
            self.select(slot, offset);
            let data = value.to_le_bytes();
            assert!(self.bus.pio_write(0xcfc + (offset & 3), &data[..width]));
        });
    }

    fn select(&self, slot: u8, offset: u16) {
        let address = 1 << 31 | u32::from(slot) << 11 | u32::from(offset & 0xfc);
        assert!(self.bus.pio_write(0xcf8, &address.to_le_bytes()));
    }

    /// Reads `width` bytes of memory-mapped I/O.
    pub fn mmio_read(&self, address: u64, width: usize) -> u64 {
        let read = Move::Read {
            address,
            width,
            value: 0,
        };
        let done = self.make(read, |what| {
            let mut data = [0; 8];
            assert!(
                self.bus.mmio_read(address, &mut data[..width]),
                "nothing at {address:#x}"
            );
            if let Move::Read { value, .. } = what {
                *value = u64::from_le_bytes(data);
            }
        });
        match done {
            Move::Read { value, .. } => value,
            _ => 0,
        }
    }

    /// Writes `width` bytes of memory-mapped I/O.
    pub fn mmio_write(&self, address: u64, width: usize, value: u64) {
        let write = Move::Write {
            address,
            width,
            value,
        };
        self.make(write, |_| {
            let data = value.to_le_bytes();
            assert!(
                self.bus.mmio_write(address, &data[..width]),
                "nothing at {address:#x}"
            );
        });
    }

    /// Writes bytes into memory.
    pub fn write_bytes(&self, address: u64, bytes: &[u8]) {
        self.ram
            .inner()
            .write_slice(bytes, GuestAddress(address))
            .expect("in memory");
    }

    /// Reads bytes from memory.
    pub fn read_bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram
            .inner()
            .read_slice(&mut bytes, GuestAddress(address))
            .expect("in memory");
        bytes
    }
}
