//! What a driver finds in configuration space: identity and the virtio structure PCI capabilities
//! (§4.1.2, §4.1.4 of virtio 1.0).

use std::io;

use stickler_conformance::layout::Structure;
use stickler_conformance::{DeviceKind, Latitude, Latitudes};

use super::latitude::PciLatitudes;
use super::layout::{Layout, Part, Region};
use crate::pci::config::{ConfigSpace, Identity, capability, register};
use crate::pci::msix::{Msix, Place};

/// Offsets in `struct virtio_pci_cap` and what follows it (§4.1.4), for all that is more than a
/// constant.
pub(super) mod field {
    pub(crate) const CFG_TYPE: usize = 3;
    pub(crate) const BAR: usize = 4;
    pub(crate) const OFFSET: usize = 8;
    pub(crate) const LENGTH: usize = 12;
    /// `pci_cfg_data` of `struct virtio_pci_cfg_cap` (§4.1.4.7).
    pub(crate) const PCI_CFG_DATA: usize = 16;
}

/// Bytes of `struct virtio_pci_cap`.
const CAP_LEN: usize = 16;

/// Bytes that a capability may have at its end for nothing.
const SPARE: usize = 4;

/// A `cfg_type` and a `bar` that mean nothing (§4.1.4).
const RESERVED_CFG_TYPE: u8 = 0xfe;
const RESERVED_BAR: u8 = 6;

/// A capability id that PCI has given to nothing.
const UNKNOWN_ID: u8 = 0x7f;

/// A virtio structure PCI capability in configuration space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capability {
    pub(super) structure: Structure,
    /// Where it stands.
    pub(super) at: u16,
    /// `cap_len`.
    pub(super) len: u16,
}

/// The capabilities of one device.
#[derive(Clone, Debug)]
pub(super) struct Capabilities {
    /// Those of virtio.
    pub(super) virtio: Vec<Capability>,
    /// Where MSI-X stands, if there is MSI-X.
    pub(super) msix: Option<u8>,
}

/// §4.1.2: what the device says it is.
pub(super) fn identity(kind: DeviceKind, latitudes: Latitudes) -> Identity {
    // §4.1.2.1: the vendor of virtio; the non-transitional device ID; a revision of 1 or higher and
    // a subsystem ID of 0x40 or higher, so that no legacy driver takes it.
    let mut device = 0x1040 + kind.id();
    let (mut revision, mut subsystem_vendor, mut subsystem) = (1, 0x1af4, device);
    if latitudes.has(Latitude::TRANSITIONAL_ID) {
        // The type stands in the subsystem ID then, as it does in a transitional device (§4.1.2.3).
        subsystem = kind.id();
        device = kind.facts().transitional_id;
    } else if latitudes.has(Latitude::ANY_SUBSYSTEM) {
        (subsystem_vendor, subsystem) = (0xfffe, 0x5a5a);
    }
    if latitudes.has(Latitude::ANY_REVISION) {
        revision = 0x5a;
    }
    Identity {
        vendor: 0x1af4,
        device,
        revision,
        class: kind.facts().pci_class,
        subsystem_vendor,
        subsystem,
    }
}

/// A capability before it is placed.
struct Entry {
    id: u8,
    /// Which structure of virtio it presents, if any, and whether for the second time.
    structure: Option<(Structure, bool)>,
    /// What follows id and next pointer, and the bits of it that can be written.
    body: Vec<u8>,
    writable: Vec<u8>,
}

impl Capabilities {
    /// Puts all capabilities into `config`.
    pub(super) fn add(
        layout: &Layout,
        latitudes: &PciLatitudes,
        config: &mut ConfigSpace,
    ) -> io::Result<Self> {
        Capabilities::try_add(layout, latitudes, config)
            .ok_or_else(|| io::Error::other("configuration space has no room for the capabilities"))
    }

    fn try_add(
        layout: &Layout,
        latitudes: &PciLatitudes,
        config: &mut ConfigSpace,
    ) -> Option<Self> {
        let entries = entries(layout, latitudes);
        let lens: Vec<usize> = entries.iter().map(|entry| 2 + entry.body.len()).collect();
        let (start, end) = (register::CAPABILITIES, register::END);
        let places = latitudes.place_capabilities(&lens, start, end - start);
        let mut capabilities = Capabilities {
            virtio: Vec::new(),
            msix: None,
        };
        for (entry, at) in entries.into_iter().zip(places) {
            let at = config.add_capability_at(at, entry.id, &entry.body, &entry.writable)?;
            if entry.id == capability::MSI_X {
                capabilities.msix = Some(at);
            }
            if let Some((structure, _)) = entry.structure {
                capabilities.virtio.push(Capability {
                    structure,
                    at: u16::from(at),
                    len: 2 + entry.body.len() as u16,
                });
            }
        }
        // Where the capabilities above may take the room, this is a function of conventional PCI.
        if latitudes.is_plain() {
            config.add_power_management()?;
            config.add_pci_express()?;
        }
        Some(capabilities)
    }

    /// The virtio capability in which `offset` of configuration space lies, and the offset in it.
    pub(super) fn at(&self, offset: u16) -> Option<(Capability, u16)> {
        self.virtio.iter().find_map(|cap| {
            let within = offset.checked_sub(cap.at)?;
            (within < cap.len).then_some((*cap, within))
        })
    }

    /// Where the PCI configuration access capability stands.
    pub(super) fn window(&self) -> Option<usize> {
        let cap = self
            .virtio
            .iter()
            .find(|cap| cap.structure == Structure::PciCfg)?;
        Some(usize::from(cap.at))
    }
}

/// The capabilities in the order of the list.
fn entries(layout: &Layout, latitudes: &PciLatitudes) -> Vec<Entry> {
    let has = |latitude| latitudes.has(latitude);
    let mut list = Vec::new();
    if has(Latitude::FOREIGN_CAPABILITIES) {
        list.push(Entry {
            id: UNKNOWN_ID,
            structure: None,
            body: vec![0x5a, 0x5a],
            writable: Vec::new(),
        });
    }
    // §4.1.4.1: what a driver ignores.
    if has(Latitude::RESERVED_CFG_TYPE) {
        list.push(ignored(RESERVED_CFG_TYPE, 0));
    }
    if has(Latitude::RESERVED_BAR) {
        list.push(ignored(Structure::Common.cfg_type(), RESERVED_BAR));
    }
    let mut middle = known(layout, has(Latitude::LONG_CAPABILITIES));
    if has(Latitude::FOREIGN_CAPABILITIES) {
        // Its length ends where bar would be.
        middle.insert(
            1,
            Entry {
                id: capability::VENDOR_SPECIFIC,
                structure: None,
                body: vec![4, RESERVED_CFG_TYPE],
                writable: Vec::new(),
            },
        );
    }
    latitudes.order_capabilities(&mut middle);
    // §4.1.4.2: the optimal one first.
    middle.sort_by_key(|entry| matches!(entry.structure, Some((_, true))));
    list.extend(middle);
    if has(Latitude::RESERVED_LAST) {
        list.push(ignored(RESERVED_CFG_TYPE, 0));
        list.push(ignored(Structure::Common.cfg_type(), RESERVED_BAR));
    }
    list
}

/// MSI-X and what virtio has.
fn known(layout: &Layout, long: bool) -> Vec<Entry> {
    let mut known = Vec::new();
    let place = |part| {
        layout.region(part).map(|region| Place {
            bar: region.bar,
            offset: region.offset,
        })
    };
    if let (Some(table), Some(pending)) = (place(Part::MsixTable), place(Part::MsixPending)) {
        // §4.1.5.1.2.1: Table Size tells how many vectors there are.
        let (body, writable) = Msix::capability(layout.vectors, table, pending);
        known.push(Entry {
            id: capability::MSI_X,
            structure: None,
            body: body.to_vec(),
            writable: writable.to_vec(),
        });
    }
    let spare = if long { SPARE } else { 0 };
    // §4.1.4.3.1, §4.1.4.4.1, §4.1.4.5.1, §4.1.4.6: one of each.
    for region in &layout.regions {
        if let Part::Virtio(structure) | Part::Second(structure) = region.part {
            let extra = match structure {
                Structure::Notify => &layout.notify_off_multiplier.to_le_bytes()[..],
                _ => &[],
            };
            let second = matches!(region.part, Part::Second(_));
            let body = body(structure, Some(region), extra, spare);
            known.push(Entry {
                id: capability::VENDOR_SPECIFIC,
                structure: Some((structure, second)),
                body,
                writable: Vec::new(),
            });
        }
    }
    // §4.1.4.7.1: and the window, of which bar, offset, length and data can be written (§4.1.4.7).
    let mut writable = [0xff; CAP_LEN + 4];
    writable[..field::BAR].fill(0);
    writable[field::BAR + 1..field::OFFSET].fill(0);
    known.push(Entry {
        id: capability::VENDOR_SPECIFIC,
        structure: Some((Structure::PciCfg, false)),
        body: body(Structure::PciCfg, None, &[0; 4], spare),
        writable: writable[2..].to_vec(),
    });
    known
}

/// A `struct virtio_pci_cap` that means nothing to a driver.
fn ignored(cfg_type: u8, bar: u8) -> Entry {
    let mut cap = [0; CAP_LEN];
    cap[2] = CAP_LEN as u8;
    cap[3] = cfg_type;
    cap[field::BAR] = bar;
    cap[field::LENGTH..].copy_from_slice(&4096_u32.to_le_bytes());
    Entry {
        id: capability::VENDOR_SPECIFIC,
        structure: None,
        body: cap[2..].to_vec(),
        writable: Vec::new(),
    }
}

/// A `struct virtio_pci_cap` followed by `extra`, without its first two bytes.
fn body(structure: Structure, region: Option<&Region>, extra: &[u8], spare: usize) -> Vec<u8> {
    // §4.1.4.2: cap_len includes what follows the common part.
    let used = CAP_LEN + extra.len();
    let mut cap = vec![0; used + spare];
    cap[2] = cap.len() as u8;
    cap[3] = structure.cfg_type();
    if let Some(region) = region {
        cap[field::BAR] = region.bar;
        cap[field::OFFSET..field::LENGTH].copy_from_slice(&region.offset.to_le_bytes());
        cap[field::LENGTH..CAP_LEN].copy_from_slice(&region.len.to_le_bytes());
    }
    cap[CAP_LEN..used].copy_from_slice(extra);
    cap.split_off(2)
}
