//! A driver in plain memory against a judged entropy device: it finds the device on the PCI bus,
//! initializes it, has it fill a buffer, and then does something that a driver must not do.
//! Citations are of virtio 1.0.
//!
//!     cargo run -p stickler-devices --example entropy

use std::io;
use std::sync::{Arc, Mutex};

use stickler_conformance::layout::{Structure, common, desc, status};
use stickler_conformance::{Finding, Judge, Outcome, Recorder, catalogue, features};
use stickler_devices::entropy::{Entropy, Source};
use stickler_devices::interrupt::{InterruptSink, MsiMessage};
use stickler_devices::memory::GuestRam;
use stickler_devices::pci::{PciBus, PciLayout};
use stickler_devices::virtio::pci::{Options, VirtioPci};
use stickler_devices::virtio::{Progress, Serviced, Wake};

const SLOT: u8 = 1;
const ECAM: u64 = 0xe000_0000;

/// Where the driver puts things in guest memory.
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const BUFFER: u64 = 0x4000;
const BUFFER_LEN: usize = 32;

/// A source that anyone can predict.
struct Constant;

impl Source for Constant {
    fn fill(&mut self, into: &mut [u8]) -> io::Result<()> {
        into.fill(0x5a);
        Ok(())
    }
}

/// An interrupt controller for a driver that polls.
struct NoInterrupts;

impl InterruptSink for NoInterrupts {
    fn route(&self, _device: u8, _vector: u16, _message: Option<MsiMessage>) {}
    fn signal(&self, _device: u8, _vector: u16) {}
    fn set_pin(&self, _device: u8, _asserted: bool) {}
}

/// Keeps the findings. The judge has one clone, and `main` another.
#[derive(Clone, Default)]
struct Findings(Arc<Mutex<Vec<Finding>>>);

impl Recorder for Findings {
    fn record(&mut self, finding: Finding) {
        println!("{}: {}", finding.requirement.name(), finding.message);
        self.0.lock().expect("no other thread").push(finding);
    }
}

impl Findings {
    fn names(&self) -> Vec<&'static str> {
        let findings = self.0.lock().expect("no other thread");
        findings.iter().map(|f| f.requirement.name()).collect()
    }
}

/// The bus and the guest's memory, as the driver reaches them.
struct Guest {
    bus: PciBus,
    ram: GuestRam,
}

impl Guest {
    fn config_read(&self, offset: u16, width: usize) -> u32 {
        let mut data = [0; 4];
        let address = ECAM + (u64::from(SLOT) << 15) + u64::from(offset);
        assert!(self.bus.mmio_read(address, &mut data[..width]));
        u32::from_le_bytes(data)
    }

    fn config_write(&self, offset: u16, value: u16) {
        let address = ECAM + (u64::from(SLOT) << 15) + u64::from(offset);
        assert!(self.bus.mmio_write(address, &value.to_le_bytes()));
    }

    /// The guest-physical address of a structure, found through its capability (§4.1.4).
    fn structure(&self, structure: Structure) -> u64 {
        let mut at = self.config_read(0x34, 1) as u16;
        while at != 0 {
            let is_vendor_specific = self.config_read(at, 1) == 9;
            if is_vendor_specific && self.config_read(at + 3, 1) as u8 == structure.cfg_type() {
                let bar = 0x10 + 4 * self.config_read(at + 4, 1) as u16;
                let low = self.config_read(bar, 4);
                let high = match low & 0b110 {
                    0b100 => self.config_read(bar + 4, 4),
                    _ => 0,
                };
                let base = u64::from(high) << 32 | u64::from(low & !0xf);
                return base + u64::from(self.config_read(at + 8, 4));
            }
            at = self.config_read(at + 1, 1) as u16;
        }
        panic!("the device has no {}", structure.name());
    }

    fn read(&self, address: u64, width: usize) -> u64 {
        let mut data = [0; 8];
        assert!(self.bus.mmio_read(address, &mut data[..width]));
        u64::from_le_bytes(data)
    }

    fn write(&self, address: u64, width: usize, value: u64) {
        assert!(self.bus.mmio_write(address, &value.to_le_bytes()[..width]));
    }

    fn memory(&self, address: u64, data: &[u8]) {
        let slice = self.ram.slice(address, data.len()).expect("in memory");
        slice.copy_from(data);
    }

    /// Sets bits of `device_status` and returns what the device then presents.
    fn add_status(&self, bits: u8) -> u8 {
        let at = self.structure(Structure::Common) + u64::from(common::DEVICE_STATUS);
        let status = self.read(at, 1) as u8;
        self.write(at, 1, (status | bits).into());
        self.read(at, 1) as u8
    }

    /// The steps of §3.1.1, without MSI-X.
    fn initialize(&self) {
        let common = self.structure(Structure::Common);
        let register = |offset: u32| common + u64::from(offset);
        self.write(register(common::DEVICE_STATUS), 1, 0);
        while self.read(register(common::DEVICE_STATUS), 1) != 0 {}
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
        for select in 0..2 {
            self.write(register(common::DEVICE_FEATURE_SELECT), 4, select);
            let offered = self.read(register(common::DEVICE_FEATURE), 4);
            let wanted = features::VERSION_1 >> (32 * select);
            self.write(register(common::DRIVER_FEATURE_SELECT), 4, select);
            self.write(register(common::DRIVER_FEATURE), 4, offered & wanted);
        }
        let kept = self.add_status(status::FEATURES_OK);
        assert_ne!(kept & status::FEATURES_OK, 0);

        self.write(register(common::QUEUE_SELECT), 2, 0);
        assert_ne!(self.read(register(common::QUEUE_SIZE), 2), 0);
        self.write(register(common::QUEUE_SIZE), 2, 4);
        for (offset, address) in [
            (common::QUEUE_DESC, DESCRIPTORS),
            (common::QUEUE_AVAIL, AVAILABLE),
            (common::QUEUE_USED, USED),
        ] {
            // §4.1.3.1: 64-bit fields are written in two halves.
            self.write(register(offset), 4, address & 0xffff_ffff);
            self.write(register(offset) + 4, 4, address >> 32);
        }
        self.write(register(common::QUEUE_ENABLE), 2, 1);
        self.add_status(status::DRIVER_OK);
    }

    /// Makes one buffer available and notifies the device (§2.4.9).
    fn expose(&self) {
        let mut descriptor = Vec::new();
        descriptor.extend(BUFFER.to_le_bytes());
        descriptor.extend((BUFFER_LEN as u32).to_le_bytes());
        descriptor.extend(desc::WRITE.to_le_bytes());
        descriptor.extend(0u16.to_le_bytes());
        self.memory(DESCRIPTORS, &descriptor);
        self.memory(AVAILABLE + 4, &0u16.to_le_bytes());
        self.memory(AVAILABLE + 2, &1u16.to_le_bytes());
        self.write(self.structure(Structure::Notify), 2, 0);
    }
}

fn main() {
    let ram = GuestRam::anonymous(0x1_0000);
    let findings = Findings::default();
    let function = VirtioPci::with_options(
        Entropy::new(Constant),
        SLOT,
        ram.clone(),
        Arc::new(NoInterrupts),
        &Options::default(),
        |device, offered| Judge::new(device, offered, Box::new(findings.clone())),
    )
    .expect("a file descriptor is left");
    let bus = PciBus::new(PciLayout {
        ecam_base: ECAM,
        mem32: 0xc000_0000..0xd000_0000,
        mem64: 0x10_0000_0000..0x11_0000_0000,
    });
    bus.add(SLOT, function.clone()).expect("the slot is free");
    let guest = Guest { bus, ram };

    // Memory space and bus master.
    guest.config_write(4, 0b110);
    guest.initialize();
    guest.expose();
    // A host has a thread that waits for the device's file descriptors and calls this.
    while function.service(Wake::Kick) == Progress::More {}
    let mut filled = [0u8; BUFFER_LEN];
    let slice = guest.ram.slice(BUFFER, BUFFER_LEN).expect("in memory");
    slice.copy_to(&mut filled);
    assert_eq!(filled, [0x5a; BUFFER_LEN]);

    let tallies = function.tallies().expect("a judge counts");
    let held = catalogue::iter().filter(|(r, _)| tallies.outcome(*r) == Outcome::Held);
    println!("the buffer is filled; {} requirements held", held.count());
    assert_eq!(findings.names(), [""; 0]);

    // §2.1.1: the driver must not clear a bit of the device status.
    let at = guest.structure(Structure::Common) + u64::from(common::DEVICE_STATUS);
    let without_driver_ok = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
    guest.write(at, 1, without_driver_ok.into());
    assert_eq!(findings.names(), ["status.no-clear"]);
}

#[test]
fn it_runs() {
    main();
}
