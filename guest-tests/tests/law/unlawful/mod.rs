//! Unlawful devices: what comes of a real device is tampered with on its way to the driver, so that it
//! breaks one requirement, and the law finds that out under this row.

mod devices;
mod rings;
mod transport;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use stickler_conformance::layout::{Structure, common, desc};
use stickler_guest_tests::in_process::{Between, Driver, Move, Rig, SplitLayout};
use stickler_mock_driver::descriptor_at;

use crate::court::{Court, Seen};
use crate::exam::Exam;
use crate::host::{Device, Host};
use crate::{CHAPTERS, drawn};

/// A device that breaks the law.
pub(crate) struct Unlawful {
    name: &'static str,
    device: Device,
    /// The rows it breaks.
    breaks: &'static [&'static str],
    act: fn(&Meddler, &Rig, &mut Move),
}

/// Declares unlawful devices: a table of them, and a test each.
macro_rules! unlawful {
    ($($test:ident: $device:ident breaks $($row:literal)+ by $act:expr;)+) => {
        pub(crate) static TABLE: &[crate::unlawful::Unlawful] = &[$(
            crate::unlawful::Unlawful {
                name: stringify!($test),
                device: crate::host::Device::$device,
                breaks: &[$($row),+],
                act: $act,
            },
        )+];
        $(
            #[test]
            fn $test() {
                crate::unlawful::Unlawful::is_found_out(TABLE, stringify!($test));
            }
        )+
    };
}
use unlawful;

impl Unlawful {
    fn is_found_out(table: &[Unlawful], name: &str) {
        let one = table.iter().find(|u| u.name == name).expect("it is there");
        let mut left: BTreeSet<&str> = one.breaks.iter().copied().collect();
        for seed in 0..200 {
            let found = one.examine(seed);
            left.retain(|row| !found.contains(row));
            if left.is_empty() {
                return;
            }
        }
        panic!("{name}: not found out under {left:?}");
    }

    fn examine(&self, seed: u64) -> Vec<&'static str> {
        let court = Rc::new(Court::default());
        let mut rig = Rig::new();
        let host = Rc::new(self.device.add(&mut rig));
        let act = self.act;
        let meddler = |d: &Driver<'_>| -> Option<Rc<dyn Between>> {
            Some(Rc::new(Meddler::new(d, host.clone(), act)))
        };
        let mut exam = Exam::begin(&rig, &host, &court, meddler);
        for life in drawn(seed) {
            exam.live(&life);
        }
        crate::status::reset(&mut exam);
        court.breaches().into_iter().map(|(row, _)| row).collect()
    }
}

/// Stands next to the device and alters what comes from it.
pub(crate) struct Meddler {
    pub(crate) slot: u8,
    /// Capabilities and addresses of structures.
    pub(crate) capabilities: BTreeMap<u8, u16>,
    pub(crate) window: u16,
    pub(crate) msix: u16,
    addresses: BTreeMap<u8, u64>,
    pub(crate) host: Rc<Host>,
    act: fn(&Meddler, &Rig, &mut Move),
    /// What the driver last wrote to `device_status`.
    pub(crate) status: Cell<u8>,
    /// For what has to be remembered.
    pub(crate) count: Cell<u64>,
    /// `idx` of the used rings before the move.
    used: RefCell<BTreeMap<u16, u16>>,
    /// Messages sent before the move.
    pub(crate) messages: Cell<usize>,
    /// It is before the move.
    pub(crate) early: Cell<bool>,
}

/// A virtqueue, as the device's registers have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    pub(crate) index: u16,
    pub(crate) layout: SplitLayout,
    pub(crate) vector: u16,
    /// `idx` of the used ring, before the move and now.
    pub(crate) old: u16,
    pub(crate) new: u16,
}

impl Meddler {
    fn new(d: &Driver<'_>, host: Rc<Host>, act: fn(&Meddler, &Rig, &mut Move)) -> Self {
        let places = d.structures.iter();
        Meddler {
            slot: d.slot,
            capabilities: places.clone().map(|(t, p)| (*t, p.capability)).collect(),
            window: d.window,
            msix: d.msix.unwrap_or(0),
            addresses: places.map(|(t, p)| (*t, p.address)).collect(),
            host,
            act,
            status: Cell::new(0xff),
            count: Cell::new(0),
            used: RefCell::default(),
            messages: Cell::new(0),
            early: Cell::new(false),
        }
    }

    fn address(&self, structure: Structure) -> u64 {
        let address = self.addresses.get(&structure.cfg_type());
        address.copied().unwrap_or(u64::MAX / 2)
    }

    /// The value that is read from `offset` of `structure`, if that is what happens.
    pub(crate) fn read<'m>(
        &self,
        structure: Structure,
        offset: u32,
        what: &'m mut Move,
    ) -> Option<&'m mut u64> {
        let wanted = self.address(structure) + u64::from(offset);
        match what {
            Move::Read { address, value, .. } if *address == wanted && !self.early.get() => {
                Some(value)
            }
            _ => None,
        }
    }

    /// The value that is written to `offset` of `structure`, if that is what happened.
    pub(crate) fn written(&self, structure: Structure, offset: u32, what: &Move) -> Option<u64> {
        let wanted = self.address(structure) + u64::from(offset);
        match what {
            Move::Write { address, value, .. } if *address == wanted && !self.early.get() => {
                Some(*value)
            }
            _ => None,
        }
    }

    /// The value that is read from `offset` of configuration space.
    pub(crate) fn config<'m>(&self, at: u16, what: &'m mut Move) -> Option<&'m mut u32> {
        match what {
            Move::ConfigRead { offset, value, .. } if *offset == at && !self.early.get() => {
                Some(value)
            }
            _ => None,
        }
    }

    /// The devices have been served, or the driver has written what may do as well.
    pub(crate) fn acted(&self, what: &Move) -> bool {
        matches!(what, Move::Serve | Move::Write { .. }) && !self.early.get()
    }

    /// How often this has been asked, counting from 0.
    pub(crate) fn nth(&self) -> u64 {
        self.count.replace(self.count.get() + 1)
    }

    /// A register of the common configuration, past everyone; 0 while none is decoded.
    pub(crate) fn common(&self, rig: &Rig, offset: u32, width: usize) -> u64 {
        let mut data = [0; 8];
        let address = self.address(Structure::Common) + u64::from(offset);
        let _ = rig.bus.mmio_read(address, &mut data[..width]);
        u64::from_le_bytes(data)
    }

    /// Writes one.
    pub(crate) fn set_common(&self, rig: &Rig, offset: u32, width: usize, value: u64) {
        let address = self.address(Structure::Common) + u64::from(offset);
        let _ = rig.bus.mmio_write(address, &value.to_le_bytes()[..width]);
    }

    /// The queues that are live.
    pub(crate) fn rings(&self, rig: &Rig) -> Vec<Ring> {
        let live = self.common(rig, common::DEVICE_STATUS, 1) & 4 != 0;
        let select = self.common(rig, common::QUEUE_SELECT, 2);
        let count = self.common(rig, common::NUM_QUEUES, 2) as u16;
        let mut rings = Vec::new();
        for index in (0..count).filter(|_| live) {
            self.set_common(rig, common::QUEUE_SELECT, 2, index.into());
            let get = |offset, width| self.common(rig, offset, width);
            if get(common::QUEUE_ENABLE, 2) == 0 {
                continue;
            }
            let layout = SplitLayout {
                size: get(common::QUEUE_SIZE, 2) as u16,
                desc: get(common::QUEUE_DESC, 8),
                avail: get(common::QUEUE_AVAIL, 8),
                used: get(common::QUEUE_USED, 8),
            };
            let new = half(rig, layout.used_idx());
            rings.push(Ring {
                index,
                layout,
                vector: get(common::QUEUE_MSIX_VECTOR, 2) as u16,
                old: self.used.borrow().get(&index).copied().unwrap_or(new),
                new,
            });
        }
        self.set_common(rig, common::QUEUE_SELECT, 2, select);
        rings
    }

    /// The queues on which the device has just returned something.
    pub(crate) fn returned(&self, rig: &Rig, what: &Move) -> Vec<Ring> {
        if !self.acted(what) {
            return Vec::new();
        }
        let mut rings = self.rings(rig);
        rings.retain(|ring| ring.old != ring.new);
        rings
    }
}

/// 16 bits of memory.
pub(crate) fn half(rig: &Rig, at: u64) -> u16 {
    let bytes = rig.read_bytes(at, 2);
    u16::from_le_bytes([bytes[0], bytes[1]])
}

/// 32 bits of memory.
pub(crate) fn word(rig: &Rig, at: u64) -> u32 {
    u32::from(half(rig, at)) | u32::from(half(rig, at + 2)) << 16
}

impl Ring {
    /// Where the used ring's entry for a position is.
    pub(crate) fn entry(&self, position: u16) -> u64 {
        self.layout.used_entry(position)
    }

    /// The device-writable or device-readable bytes of the chain that was returned last, each by its
    /// address.
    pub(crate) fn bytes(&self, rig: &Rig, writable: bool) -> Vec<u64> {
        let head = word(rig, self.entry(self.new.wrapping_sub(1))) as u16;
        self.chain_bytes(rig, head, writable)
    }

    /// Those of the chain at `head`.
    pub(crate) fn chain_bytes(&self, rig: &Rig, head: u16, writable: bool) -> Vec<u64> {
        let (mut table, mut index) = (self.layout.desc, head);
        let mut bytes = Vec::new();
        loop {
            let at = descriptor_at(table, index);
            let addr = u64::from(word(rig, at));
            let flags = half(rig, at + 12);
            if flags & desc::INDIRECT != 0 {
                (table, index) = (addr, 0);
                continue;
            }
            if (flags & desc::WRITE != 0) == writable {
                bytes.extend(addr..addr + u64::from(word(rig, at + 8)));
            }
            if flags & desc::NEXT == 0 {
                return bytes;
            }
            index = half(rig, at + 14);
        }
    }

    /// Alters byte `index` of what was written into the chain that was returned last.
    pub(crate) fn alter(&self, rig: &Rig, index: usize, to: impl Fn(u8) -> u8) {
        if let Some(at) = self.bytes(rig, true).get(index) {
            let byte = rig.read_bytes(*at, 1)[0];
            rig.write_bytes(*at, &[to(byte)]);
        }
    }

    /// Sets `len` of the entry that was filled last.
    pub(crate) fn set_len(&self, rig: &Rig, len: u32) {
        let at = self.entry(self.new.wrapping_sub(1)) + 4;
        rig.write_bytes(at, &len.to_le_bytes());
    }

    /// Sets `idx` of the used ring.
    pub(crate) fn set_used(&self, rig: &Rig, idx: u16) {
        rig.write_bytes(self.layout.used_idx(), &idx.to_le_bytes());
    }
}

impl Between for Meddler {
    fn before(&self, rig: &Rig, what: &Move) {
        self.messages.set(rig.interrupts.messages().len());
        if let Move::Serve | Move::Write { .. } = what {
            let rings = self.rings(rig);
            let now = rings.iter().map(|ring| (ring.index, ring.new));
            *self.used.borrow_mut() = now.collect();
        }
        self.early.set(true);
        (self.act)(self, rig, &mut what.clone());
        self.early.set(false);
    }

    fn after(&self, rig: &Rig, what: &mut Move) {
        if let Some(value) = self.written(Structure::Common, common::DEVICE_STATUS, what) {
            self.status.set(value as u8);
        }
        (self.act)(self, rig, what);
    }
}

/// A law that nothing can break may be none: for each row that is seen there is a device that breaks it.
#[test]
fn every_row_can_be_broken() {
    let tables = [transport::TABLE, rings::TABLE, devices::TABLE].concat_rows();
    let left: Vec<&str> = CHAPTERS
        .iter()
        .copied()
        .flatten()
        .filter(|(row, seen)| matches!(seen, Seen::By(_)) && !tables.contains(row))
        .map(|(row, _)| *row)
        .collect();
    assert_eq!(left, [""; 0]);
}

trait ConcatRows {
    fn concat_rows(&self) -> BTreeSet<&'static str>;
}

impl<const N: usize> ConcatRows for [&'static [Unlawful]; N] {
    fn concat_rows(&self) -> BTreeSet<&'static str> {
        let all = self.iter().copied().flatten();
        all.flat_map(|one| one.breaks.iter().copied()).collect()
    }
}
