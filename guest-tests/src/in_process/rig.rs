//! A machine without a CPU: memory, a PCI bus and real devices.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};

use stickler_conformance::judge::{Tallies, Tally};
use stickler_conformance::requirement::Strictness;
use stickler_conformance::{DeviceId, Finding, Judge, Recorder, catalogue};
use stickler_devices::interrupt::InterruptController;
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
    devices: Vec<Arc<dyn Serviced>>,
    findings: FindingLog,
    /// By which readings drivers are judged.
    strictness: Strictness,
    /// Where the next allocation goes; the first megabyte stays free.
    heap: Cell<u64>,
}

/// Interrupts as they were sent.
#[derive(Default)]
pub struct InterruptLog {
    messages: Mutex<Vec<u32>>,
    lines: Mutex<[bool; 32]>,
}

impl InterruptLog {
    /// The data of the messages sent since the last call.
    pub fn take_messages(&self) -> Vec<u32> {
        std::mem::take(&mut self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the function in `slot` asserts INTA#.
    pub fn line(&self, slot: u8) -> bool {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)[usize::from(slot)]
    }
}

impl InterruptController for InterruptLog {
    fn send_msi(&self, _address: u64, data: u32) {
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(data);
    }

    fn set_intx(&self, slot: u8, asserted: bool) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)[usize::from(slot)] = asserted;
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
            |id: DeviceId, offered| Judge::new(id, offered, recorder).reading(self.strictness),
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

    /// Gives back all that was allocated. For long runs, between resets.
    pub fn reclaim(&self) {
        self.heap.set(1 << 20);
    }

    /// Lets all devices work until there is nothing to do.
    pub fn run(&self) {
        for device in &self.devices {
            while device.service(Wake::Kick) == Progress::More {}
            for index in 0..device.host_fds().len() {
                while device.service(Wake::Host(index)) == Progress::More {}
            }
        }
    }

    /// Lets the devices look, `times` over, for what they should have been notified of.
    pub fn tick(&self, times: u32) {
        for _ in 0..times {
            for device in &self.devices {
                let _ = device.service(Wake::Tick);
            }
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
        let mut all = Tallies::new(self.strictness);
        self.devices
            .iter()
            .filter_map(|d| d.tallies())
            .for_each(|t| all.merge(&t));
        all
    }

    // ---- Accesses

    /// Reads configuration space of bus 0 by configuration mechanism #1.
    pub fn config_read(&self, slot: u8, offset: u16, width: usize) -> u32 {
        self.select(slot, offset);
        let mut data = [0; 4];
        assert!(self.bus.pio_read(0xcfc + (offset & 3), &mut data[..width]));
        u32::from_le_bytes(data)
    }

    /// Writes configuration space of bus 0 by configuration mechanism #1.
    pub fn config_write(&self, slot: u8, offset: u16, width: usize, value: u32) {
        self.select(slot, offset);
        assert!(
            self.bus
                .pio_write(0xcfc + (offset & 3), &value.to_le_bytes()[..width])
        );
    }

    fn select(&self, slot: u8, offset: u16) {
        let address = 1 << 31 | u32::from(slot) << 11 | u32::from(offset & 0xfc);
        assert!(self.bus.pio_write(0xcf8, &address.to_le_bytes()));
    }

    /// Reads `width` bytes of memory-mapped I/O.
    pub fn mmio_read(&self, address: u64, width: usize) -> u64 {
        let mut data = [0; 8];
        assert!(
            self.bus.mmio_read(address, &mut data[..width]),
            "nothing at {address:#x}"
        );
        u64::from_le_bytes(data)
    }

    /// Writes `width` bytes of memory-mapped I/O.
    pub fn mmio_write(&self, address: u64, width: usize, value: u64) {
        let data = value.to_le_bytes();
        assert!(
            self.bus.mmio_write(address, &data[..width]),
            "nothing at {address:#x}"
        );
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
