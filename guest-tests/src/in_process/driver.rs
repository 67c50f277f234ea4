//! A conforming driver of one virtio-pci function.

use std::collections::{BTreeMap, VecDeque};

use stickler_conformance::layout::{NO_VECTOR, Structure, common, status};
use stickler_conformance::protocol::net::config::MAX_VIRTQUEUE_PAIRS;
use stickler_conformance::{DeviceKind, features};

use super::rig::Rig;
use super::rings::{Buffer, Virtqueue};

/// How a driver wants to be interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupts {
    /// MSI-X: vector 0 for configuration changes, the others for queues in turn.
    Msix,
    /// INTx, with ISR status.
    Intx,
}

/// Where a structure is (§4.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Guest-physical address.
    pub address: u64,
    /// Bytes.
    pub len: u32,
    /// The BAR it lies in.
    pub bar: u8,
    /// Its offset there.
    pub offset: u32,
    /// Offset of its capability in configuration space.
    pub capability: u16,
}

/// A capability in configuration space, read as a virtio structure PCI capability (§4.1.4), which
/// it is if `id` is 0x09.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Where it stands.
    pub at: u16,
    /// `cap_vndr`.
    pub id: u8,
    /// `cap_len`.
    pub cap_len: u8,
    /// `cfg_type`.
    pub cfg_type: u8,
    /// `bar`.
    pub bar: u8,
    /// `offset`.
    pub offset: u32,
    /// `length`.
    pub length: u32,
}

impl Capability {
    /// Whether it presents `structure`.
    pub fn presents(&self, structure: Structure) -> bool {
        self.id == CAP_VENDOR && self.cfg_type == structure.cfg_type()
    }
}

/// A driver bound to the function in one slot.
pub struct Driver<'r> {
    /// The machine.
    pub rig: &'r Rig,
    /// PCI slot of the function.
    pub slot: u8,
    /// Its device type.
    pub kind: DeviceKind,
    /// The first structure of each type, by `cfg_type`.
    pub structures: BTreeMap<u8, Place>,
    /// Offset of the PCI configuration access capability.
    pub window: u16,
    /// Offset of the MSI-X capability.
    pub msix: Option<u16>,
    /// `notify_off_multiplier`.
    pub multiplier: u32,
    /// Negotiated features.
    pub features: u64,
    /// The queues set up, by index.
    pub queues: BTreeMap<u16, Virtqueue>,
    /// How it is interrupted.
    pub interrupts: Interrupts,
    /// Unused bytes that it leaves before each part of a queue.
    pub gap: u64,
    /// Buffers that were returned and not looked at yet.
    pub pending: VecDeque<(Buffer, u32)>,
}

/// Offset of `max_nr_ports` in `struct virtio_console_config` (§5.3.4).
const MAX_NR_PORTS: u32 = 4;

const CAPABILITIES_POINTER: u16 = 0x34;
const CAP_VENDOR: u8 = 0x09;
const CAP_MSIX: u8 = 0x11;
const COMMAND: u16 = 0x04;
const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_BUS_MASTER: u16 = 1 << 2;
const COMMAND_NO_INTX: u16 = 1 << 10;
const MSIX_ENABLE: u16 = 1 << 15;

impl<'r> Driver<'r> {
    /// Finds the function in `slot`, enables it and reads its capabilities; touches no register of
    /// the device yet.
    pub fn probe(rig: &'r Rig, slot: u8) -> Self {
        let mut driver = Driver {
            rig,
            slot,
            kind: DeviceKind::Entropy,
            structures: BTreeMap::new(),
            window: 0,
            msix: None,
            multiplier: 0,
            features: 0,
            queues: BTreeMap::new(),
            interrupts: Interrupts::Msix,
            gap: 0,
            pending: VecDeque::new(),
        };
        assert_eq!(driver.config_read(0, 2), 0x1af4, "§4.1.2.1");
        let id = match driver.config_read(2, 2) as u16 {
            // §4.1.2.3: a transitional device has the type in its subsystem ID.
            0x1000..0x1040 => driver.config_read(0x2e, 2) as u16,
            id => id.wrapping_sub(0x1040),
        };
        let kind = DeviceKind::ALL.into_iter().find(|kind| kind.id() == id);
        driver.kind = kind.expect("a device type we have");
        let command = driver.config_read(COMMAND, 2) as u16;
        driver.config_write(
            COMMAND,
            2,
            u32::from((command | COMMAND_MEMORY | COMMAND_BUS_MASTER) & !COMMAND_NO_INTX),
        );
        driver.find(driver.capabilities());
        driver
    }

    /// The virtio capabilities and MSI-X, as they stand in the list.
    pub fn capabilities(&self) -> Vec<Capability> {
        let mut found = Vec::new();
        let mut at = self.config_read(CAPABILITIES_POINTER, 1) as u16;
        while at != 0 {
            found.push(Capability {
                at,
                id: self.config_read(at, 1) as u8,
                cap_len: self.config_read(at + 2, 1) as u8,
                cfg_type: self.config_read(at + 3, 1) as u8,
                bar: self.config_read(at + 4, 1) as u8,
                offset: self.config_read(at + 8, 4),
                length: self.config_read(at + 12, 4),
            });
            at = self.config_read(at + 1, 1) as u16;
        }
        found
    }

    /// Takes the structures from a list of capabilities.
    pub fn find(&mut self, capabilities: impl IntoIterator<Item = Capability>) {
        self.structures.clear();
        for capability in capabilities {
            match capability.id {
                CAP_VENDOR => self.take(&capability),
                CAP_MSIX => self.msix = Some(capability.at),
                _ => {}
            }
        }
    }

    fn take(&mut self, capability: &Capability) {
        let Capability {
            at,
            cfg_type,
            bar,
            offset,
            length,
            ..
        } = *capability;
        if cfg_type == Structure::PciCfg.cfg_type() {
            self.window = at;
            return;
        }
        // §4.1.4.1: reserved types and BARs are ignored; the first of a type is used.
        if !(1..=4).contains(&cfg_type) || bar > 5 || self.structures.contains_key(&cfg_type) {
            return;
        }
        if cfg_type == Structure::Notify.cfg_type() {
            self.multiplier = self.config_read(at + 16, 4);
        }
        self.structures.insert(
            cfg_type,
            Place {
                address: self.bar_address(bar) + u64::from(offset),
                len: length,
                bar,
                offset,
                capability: at,
            },
        );
    }

    /// Guest-physical address of a BAR.
    pub fn bar_address(&self, bar: u8) -> u64 {
        let register = 0x10 + 4 * u16::from(bar);
        let low = self.config_read(register, 4);
        let high = if low & 0b110 == 0b100 {
            self.config_read(register + 4, 4)
        } else {
            0
        };
        u64::from(high) << 32 | u64::from(low & !0xf)
    }

    // ---- Accesses, of any width

    /// Reads configuration space by configuration mechanism #1.
    pub fn config_read(&self, offset: u16, width: usize) -> u32 {
        self.rig.config_read(self.slot, offset, width)
    }

    /// Writes configuration space by configuration mechanism #1.
    pub fn config_write(&self, offset: u16, width: usize, value: u32) {
        self.rig.config_write(self.slot, offset, width, value);
    }

    /// Where `structure` is.
    pub fn place(&self, structure: Structure) -> Place {
        self.structures[&structure.cfg_type()]
    }

    /// Reads `width` bytes at `offset` of a structure.
    pub fn read(&self, structure: Structure, offset: u32, width: usize) -> u64 {
        self.rig
            .mmio_read(self.place(structure).address + u64::from(offset), width)
    }

    /// Writes `width` bytes at `offset` of a structure.
    pub fn write(&self, structure: Structure, offset: u32, width: usize, value: u64) {
        self.rig.mmio_write(
            self.place(structure).address + u64::from(offset),
            width,
            value,
        );
    }

    /// Reads a field of the common configuration, in its own width.
    pub fn common(&self, offset: u32) -> u32 {
        self.read(Structure::Common, offset, common_width(offset)) as u32
    }

    /// Writes a field of the common configuration, in its own width.
    pub fn set_common(&self, offset: u32, value: u32) {
        self.write(
            Structure::Common,
            offset,
            common_width(offset),
            u64::from(value),
        );
    }

    /// Reads several fields of the device configuration, or one that takes several reads, until
    /// config_generation is the same before and after (§2.3.1).
    pub fn consistently<T>(&self, read: impl Fn(&Self) -> T) -> T {
        loop {
            let before = self.common(common::CONFIG_GENERATION);
            let value = read(self);
            if self.common(common::CONFIG_GENERATION) == before {
                return value;
            }
        }
    }

    // ---- Initialization (§3.1.1), step by step

    /// Resets the device and waits until it is done (§4.1.4.3.2).
    pub fn reset(&mut self) {
        self.set_common(common::DEVICE_STATUS, 0);
        for _ in 0..1000 {
            if self.status() == 0 {
                self.features = 0;
                self.queues.clear();
                return;
            }
            self.rig.run();
        }
        panic!("the device does not come out of reset");
    }

    /// Reads device status.
    pub fn status(&self) -> u8 {
        self.common(common::DEVICE_STATUS) as u8
    }

    /// Adds bits to device status.
    pub fn add_status(&self, bits: u8) {
        let now = self.status();
        self.set_common(common::DEVICE_STATUS, u32::from(now | bits));
    }

    /// Reset, ACKNOWLEDGE, DRIVER.
    pub fn begin(&mut self) {
        self.reset();
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
    }

    /// The features the device offers.
    pub fn offered(&self) -> u64 {
        self.set_common(common::DEVICE_FEATURE_SELECT, 0);
        let low = self.common(common::DEVICE_FEATURE);
        self.set_common(common::DEVICE_FEATURE_SELECT, 1);
        u64::from(self.common(common::DEVICE_FEATURE)) << 32 | u64::from(low)
    }

    /// Writes the features the driver accepts.
    pub fn accept(&mut self, features: u64) {
        self.set_common(common::DRIVER_FEATURE_SELECT, 0);
        self.set_common(common::DRIVER_FEATURE, features as u32);
        self.set_common(common::DRIVER_FEATURE_SELECT, 1);
        self.set_common(common::DRIVER_FEATURE, (features >> 32) as u32);
        self.features = features;
    }

    /// Sets FEATURES_OK and gives whether the device kept it.
    pub fn features_ok(&self) -> bool {
        self.add_status(status::FEATURES_OK);
        self.status() & status::FEATURES_OK != 0
    }

    /// All up to FEATURES_OK, accepting of what is offered what is in `wanted`, and VERSION_1.
    pub fn negotiate(&mut self, wanted: u64) {
        self.begin();
        let features = self.offered() & (wanted | features::VERSION_1);
        self.accept(features);
        assert!(self.features_ok(), "the device refused {features:#x}");
    }

    /// Enables MSI-X or leaves INTx on, maps configuration changes and verifies it (§4.1.5.1.2). Where
    /// not even that can be mapped, there is INTx still (§4.1.5.1.2.2).
    pub fn set_up_interrupts(&mut self, interrupts: Interrupts) {
        self.interrupts = interrupts;
        if interrupts == Interrupts::Msix {
            self.enable_msix();
            self.set_common(common::MSIX_CONFIG, 0);
            if self.common(common::MSIX_CONFIG) == u32::from(NO_VECTOR) {
                self.disable_msix();
                self.interrupts = Interrupts::Intx;
            }
        }
    }

    /// Fills the MSI-X table (data = vector) and enables MSI-X.
    pub fn enable_msix(&self) {
        let capability = self.msix.expect("the device has MSI-X");
        let control = self.config_read(capability + 2, 2);
        let table = self.config_read(capability + 4, 4);
        let base = self.bar_address((table & 7) as u8) + u64::from(table & !7);
        for vector in 0..=u64::from(control & 0x7ff) {
            self.rig.mmio_write(base + 16 * vector, 4, 0xfee0_0000);
            self.rig.mmio_write(base + 16 * vector + 4, 4, 0);
            self.rig.mmio_write(base + 16 * vector + 8, 4, vector);
            self.rig.mmio_write(base + 16 * vector + 12, 4, 0);
        }
        self.config_write(capability + 2, 2, control | u32::from(MSIX_ENABLE));
    }

    /// Disables MSI-X, if there is any.
    pub fn disable_msix(&self) {
        if let Some(capability) = self.msix {
            let control = self.config_read(capability + 2, 2);
            self.config_write(capability + 2, 2, control & !u32::from(MSIX_ENABLE));
        }
    }

    /// Number of MSI-X vectors.
    pub fn vectors(&self) -> u16 {
        self.msix
            .map_or(0, |at| (self.config_read(at + 2, 2) as u16 & 0x7ff) + 1)
    }

    /// Number of queues.
    pub fn num_queues(&self) -> u16 {
        self.common(common::NUM_QUEUES) as u16
    }

    /// Selects a queue and gives its size, 0 if it does not exist.
    pub fn select_queue(&self, index: u16) -> u16 {
        self.set_common(common::QUEUE_SELECT, u32::from(index));
        self.common(common::QUEUE_SIZE) as u16
    }

    /// Lays out queue `index` with at most `size` descriptors and tells the device where it is; does
    /// not enable it. Gives `false` if there is no such queue.
    pub fn configure_queue(&mut self, index: u16, size: u16) -> bool {
        let max = self.select_queue(index);
        if max == 0 {
            return false;
        }
        let size = size.min(max);
        let base = self.rig.allocate(Virtqueue::bytes(self.gap, size));
        let event_idx = self.features & features::RING_EVENT_IDX != 0;
        let queue = Virtqueue::lay_out(&self.rig.ram, base, self.gap, size, event_idx);
        self.set_common(common::QUEUE_SIZE, u32::from(size));
        self.set_queue_address(common::QUEUE_DESC, queue.desc);
        self.set_queue_address(common::QUEUE_AVAIL, queue.avail);
        self.set_queue_address(common::QUEUE_USED, queue.used);
        if self.interrupts == Interrupts::Msix {
            let vector = 1 + u32::from(index) % u32::from(self.vectors().max(2) - 1);
            let vector = vector.min(u32::from(self.vectors()) - 1);
            self.map_queue(vector);
        }
        self.queues.insert(index, queue);
        true
    }

    /// Maps the selected queue to `vector`, or, if the device refuses that, to one that others use
    /// already (§4.1.5.1.2.2): the first that can be had.
    fn map_queue(&self, vector: u32) {
        let low = 0..u32::from(self.vectors().min(64));
        for vector in [vector].into_iter().chain(low) {
            self.set_common(common::QUEUE_MSIX_VECTOR, vector);
            let mapped = self.common(common::QUEUE_MSIX_VECTOR);
            if mapped == vector {
                return;
            }
            assert_eq!(mapped, u32::from(NO_VECTOR), "§4.1.5.1.2.1");
        }
        panic!("the device refuses every vector");
    }

    /// Writes a 64-bit queue address in two halves (§4.1.3.1).
    pub fn set_queue_address(&self, field: u32, address: u64) {
        self.write(Structure::Common, field, 4, address & 0xffff_ffff);
        self.write(Structure::Common, field + 4, 4, address >> 32);
    }

    /// Enables the selected queue.
    pub fn enable_queue(&self) {
        self.set_common(common::QUEUE_ENABLE, 1);
    }

    /// The queues that exist with the negotiated features (§5.1.2, §5.2.2, §5.3.2, §5.4.2), of those
    /// the device has.
    pub fn usable_queues(&self) -> Vec<u16> {
        let has = |bit| self.features & bit != 0;
        match self.kind {
            DeviceKind::Net => {
                let pairs = if has(features::net::MQ) {
                    self.read(Structure::Device, MAX_VIRTQUEUE_PAIRS, 2) as u16
                } else {
                    1
                };
                let mut queues: Vec<u16> = (0..2 * pairs).collect();
                if has(features::net::CTRL_VQ) {
                    queues.push(2 * pairs);
                }
                queues
            }
            DeviceKind::Console if has(features::console::MULTIPORT) => {
                let ports = self.read(Structure::Device, MAX_NR_PORTS, 4) as u16;
                (0..2 * (ports + 1)).collect()
            }
            DeviceKind::Console => vec![0, 1],
            DeviceKind::Block | DeviceKind::Entropy => vec![0],
        }
    }

    /// Configures and enables all queues that exist.
    pub fn set_up_queues(&mut self, size: u16) {
        for index in self.usable_queues() {
            if self.configure_queue(index, size) {
                self.enable_queue();
            }
        }
    }

    /// Sets DRIVER_OK; the device is live.
    pub fn go(&self) {
        self.add_status(status::DRIVER_OK);
        self.rig.run();
    }

    /// The whole initialization.
    pub fn initialize(&mut self, wanted: u64, interrupts: Interrupts) {
        self.negotiate(wanted);
        self.set_up_interrupts(interrupts);
        self.set_up_queues(64);
        self.go();
    }

    // ---- Operation (§3.2)

    /// A set-up queue.
    pub fn queue(&mut self, index: u16) -> &mut Virtqueue {
        self.queues.get_mut(&index).expect("the queue was set up")
    }

    /// Exposes `buffers` as one chain on a queue, notifies if the device wants it, and lets the
    /// device work. Gives the head.
    pub fn submit(&mut self, index: u16, buffers: &[Buffer]) -> u16 {
        let queue = self.queue(index);
        let head = queue.chain(buffers);
        self.submit_head(index, head);
        head
    }

    /// Exposes a chain that is in the table, notifies if the device wants it, and lets it work.
    pub fn submit_head(&mut self, index: u16, head: u16) {
        let queue = self.queue(index);
        queue.expose(head);
        if queue.notification_wanted() {
            self.notify(index);
        }
        self.rig.run();
    }

    /// Notifies the device of queue `index` (§4.1.5.2).
    pub fn notify(&self, index: u16) {
        let address = self.notify_address(index);
        self.rig.mmio_write(address, 2, u64::from(index));
    }

    /// Where queue `index` is notified (§4.1.4.4).
    pub fn notify_address(&self, index: u16) -> u64 {
        self.set_common(common::QUEUE_SELECT, u32::from(index));
        let off = u64::from(self.common(common::QUEUE_NOTIFY_OFF));
        self.place(Structure::Notify).address + off * u64::from(self.multiplier)
    }

    /// Lets the device work until something is returned on queue `index`, and takes it.
    pub fn wait_used(&mut self, index: u16) -> Vec<(u16, u32)> {
        self.wait_for(index, Virtqueue::take_used)
    }

    /// As [`Driver::wait_used`], with the first buffer of each chain in place of its head.
    pub fn wait_buffers(&mut self, index: u16) -> Vec<(Buffer, u32)> {
        self.wait_for(index, Virtqueue::take_buffers)
    }

    fn wait_for<T>(&mut self, index: u16, take: impl Fn(&mut Virtqueue) -> Vec<T>) -> Vec<T> {
        for _ in 0..2000 {
            self.rig.run();
            let used = take(self.queue(index));
            if !used.is_empty() {
                return used;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("queue {index}: the device returns nothing");
    }

    /// Does once what the device is for; it is live and its queues are idle.
    pub fn exercise(&mut self) {
        match self.kind {
            DeviceKind::Net => self.resolve_gateway(),
            DeviceKind::Block if self.features & features::block::RO != 0 => self.read_sector(7),
            DeviceKind::Block => self.write_and_read_back(7, 0x5a),
            DeviceKind::Console => {
                for port in self.open_ports().into_keys() {
                    self.print_and_read_back(port, b"hello");
                }
            }
            DeviceKind::Entropy => {
                let room = self.rig.allocate(64);
                self.submit(0, &[Buffer::writable(room, 64)]);
                let len = self.wait_used(0)[0].1;
                assert!((1..=64).contains(&len), "§5.4.6.2: {len} bytes");
            }
        }
    }
}

/// Of the features `wanted` those that a driver may accept together: what it should not do without is
/// among them, and nothing without what that needs (§2.2.1).
pub fn legal_subset(kind: DeviceKind, wanted: u64) -> u64 {
    let needed = match kind {
        DeviceKind::Net => features::net::MAC,
        DeviceKind::Block => features::block::RO,
        DeviceKind::Console | DeviceKind::Entropy => 0,
    };
    let mut legal = wanted | needed;
    while features::unmet(kind, legal) != 0 {
        legal &= !features::unmet(kind, legal);
    }
    legal
}

fn common_width(offset: u32) -> usize {
    stickler_conformance::layout::COMMON
        .iter()
        .find(|field| field.offset == offset)
        .map_or(4, |field| usize::from(field.width.min(4)))
}
