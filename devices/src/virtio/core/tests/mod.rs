//! The core on a transport that is nothing but calls: what needs no PCI is tested without it.
//!
//! Citations are of virtio 1.0.

mod clock;
mod life;
mod memory;

use stickler_conformance::DeviceKind;
use stickler_conformance::event::QueueArea;

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::testing::VecWitness;
use crate::virtio::{Io, Progress, Wake};

/// Guest memory: a region for each queue's rings, and one for buffers. Start and length.
const REGIONS: [(u64, usize); 3] = [
    (0x1_0000, 0x1_0000),
    (0x2_0000, 0x1_0000),
    (BUFFERS, 0x1_0000),
];
const BUFFERS: u64 = 0x8_0000;
const QUEUE_SIZE: u16 = 8;
const DRIVER_OK: u8 =
    status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;

/// A device with two queues that returns every buffer as it is.
#[derive(Default)]
struct Echo {
    config: [u8; 4],
    resets: u32,
    /// The host does not let go of buffers.
    hangs: bool,
}

impl VirtioDevice<VecWitness> for Echo {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Entropy
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE; 2]
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn activate(&mut self, _io: &mut Io<'_, VecWitness>) {}

    fn reset(&mut self) {
        self.resets += 1;
    }

    fn is_resetting(&mut self) -> bool {
        self.hangs
    }

    fn notified(&mut self, index: u16, io: &mut Io<'_, VecWitness>) -> Progress {
        let Some(Some(queue)) = io.queues.get_mut(usize::from(index)) else {
            return Progress::Done;
        };
        loop {
            match queue.pop(io.ram, io.witness) {
                Ok(Some(chain)) => {
                    let id = chain.id;
                    queue.add_used(id, 0, io.witness);
                }
                Ok(None) => break,
                Err(_) => {
                    io.signals.needs_reset = true;
                    break;
                }
            }
        }
        if queue.publish() {
            io.signals.used(index);
        }
        Progress::Done
    }

    fn host_fds(&self) -> Vec<RawFd> {
        vec![0]
    }

    fn host_ready(&mut self, _index: usize, io: &mut Io<'_, VecWitness>) -> Progress {
        self.config[0] = self.config[0].wrapping_add(1);
        io.signals.config_changed = true;
        Progress::Done
    }
}

/// Calls, as they came.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    Interrupt(Interrupt),
    Reset,
}

/// A transport that is nothing but calls.
struct Bare {
    may_access_memory: bool,
    calls: Vec<Call>,
}

impl Transport for Bare {
    fn interrupt(&mut self, cause: Interrupt) {
        self.calls.push(Call::Interrupt(cause));
    }

    fn may_access_memory(&self) -> bool {
        self.may_access_memory
    }

    fn reset(&mut self) {
        self.calls.push(Call::Reset);
    }
}

/// A device, and a driver that reaches it by calls.
struct Rig {
    core: Core<Echo, VecWitness>,
    transport: Bare,
    ram: GuestRam,
}

impl Rig {
    fn new() -> Self {
        Rig::with(Latitudes::default())
    }

    fn with(latitudes: Latitudes) -> Self {
        let regions = REGIONS.map(|(start, len)| (GuestAddress(start), len));
        let memory = GuestMemoryMmap::from_ranges(&regions).expect("small");
        let ram = GuestRam::new(memory);
        let id = DeviceId {
            slot: 1,
            kind: DeviceKind::Entropy,
        };
        let core = Core::new(
            Echo::default(),
            id,
            ram.clone(),
            latitudes,
            FeatureLimits::default(),
            |_, _| VecWitness::default(),
        );
        Rig {
            core: core.expect("a few queues"),
            transport: Bare {
                may_access_memory: true,
                calls: Vec::new(),
            },
            ram,
        }
    }

    fn read(&mut self, register: CoreRegister) -> u64 {
        self.core.before_read(register);
        let value = self.core.value(register);
        self.core.after_read(register);
        value
    }

    fn write(&mut self, register: CoreRegister, value: u64) {
        self.core.write(register, value, &mut self.transport);
    }

    fn status(&mut self) -> u8 {
        self.read(CoreRegister::Status) as u8
    }

    fn set_status(&mut self, value: u8) {
        self.write(CoreRegister::Status, value.into());
    }

    fn enable_queue(&mut self, index: u16) {
        let [desc, avail, used] = rings(index);
        self.write(CoreRegister::QueueSelect, index.into());
        for (part, address) in [
            (QueueArea::Descriptor, desc),
            (QueueArea::Driver, avail),
            (QueueArea::Device, used),
        ] {
            self.write(CoreRegister::QueueAddress(part), address);
        }
        self.write(CoreRegister::QueueEnable, 1);
    }

    /// All steps of §3.1.1, with both queues.
    fn bring_up(&mut self) {
        self.set_status(0);
        self.write(CoreRegister::DriverFeaturesSelect, 1);
        self.write(CoreRegister::DriverFeatures, features::VERSION_1 >> 32);
        self.set_status(DRIVER_OK & !status::DRIVER_OK);
        self.enable_queue(0);
        self.enable_queue(1);
        self.set_status(DRIVER_OK);
        assert_eq!(self.status(), DRIVER_OK);
        self.work();
        self.transport.calls.clear();
    }

    /// Makes a buffer available, the `count`th on this queue, and notifies.
    fn send(&mut self, queue: u16, count: u16) {
        let [desc, avail, _] = rings(queue);
        self.put(desc, &BUFFERS.to_le_bytes());
        self.put(desc + 8, &64_u32.to_le_bytes());
        self.put(avail + 2, &count.to_le_bytes());
        self.core.notify(Some(queue.into()), 0, 2, &self.transport);
    }

    fn used_idx(&self, queue: u16) -> u16 {
        let mut idx = [0; 2];
        let at = rings(queue)[2] + 2;
        self.ram.slice(at, 2).expect("in memory").copy_to(&mut idx);
        u16::from_le_bytes(idx)
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        let slice = self.ram.slice(at, bytes.len()).expect("in memory");
        slice.copy_from(bytes);
    }

    /// The worker, until there is nothing left to do.
    fn work(&mut self) {
        self.core.take_kick();
        while self.core.service(Wake::Kick, &mut self.transport) == Progress::More {}
    }
}

/// Where a queue's parts are.
fn rings(queue: u16) -> [u64; 3] {
    let base = 0x1_0000 * (u64::from(queue) + 1);
    [base, base + 0x1000, base + 0x2000]
}
