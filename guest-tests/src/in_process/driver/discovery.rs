//! How the driver finds the function's structures (§4.1.2, §4.1.4 of virtio 1.0).

use std::collections::{BTreeMap, VecDeque};

use stickler_conformance::DeviceKind;
use stickler_conformance::layout::Structure;

use super::{Driver, Interrupts};
use crate::in_process::rig::Rig;

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

const CAPABILITIES_POINTER: u16 = 0x34;
const CAP_VENDOR: u8 = 0x09;
const CAP_MSIX: u8 = 0x11;
const COMMAND: u16 = 0x04;
const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_BUS_MASTER: u16 = 1 << 2;
const COMMAND_NO_INTX: u16 = 1 << 10;

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
}
