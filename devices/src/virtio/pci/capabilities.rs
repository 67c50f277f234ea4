//! What a driver finds in configuration space: identity and the virtio structure PCI capabilities
//! (§4.1.2, §4.1.4).

use std::io;

use stickler_conformance::DeviceKind;
use stickler_conformance::layout::Structure;

use super::layout::{Layout, Part, Region};
use crate::pci::config::{ConfigSpace, Identity, capability};
use crate::pci::msix::{Msix, Place};

/// Offsets in `struct virtio_pci_cap` and what follows it (§4.1.4), for all that is more than a
/// constant.
pub(super) mod field {
    pub(crate) const BAR: usize = 4;
    pub(crate) const OFFSET: usize = 8;
    pub(crate) const LENGTH: usize = 12;
    /// `pci_cfg_data` of `struct virtio_pci_cfg_cap` (§4.1.4.7).
    pub(crate) const PCI_CFG_DATA: usize = 16;
}

/// Bytes of `struct virtio_pci_cap`.
const CAP_LEN: usize = 16;

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
pub(super) fn identity(kind: DeviceKind) -> Identity {
    // §4.1.2.1: the vendor of virtio; the non-transitional device ID; a revision of 1 or higher and
    // a subsystem ID of 0x40 or higher, so that no legacy driver takes it.
    let device = 0x1040 + kind.id();
    Identity {
        vendor: 0x1af4,
        device,
        revision: 1,
        class: match kind {
            DeviceKind::Net => 0x02_0000,
            DeviceKind::Block => 0x01_8000,
            DeviceKind::Console => 0x07_8000,
            DeviceKind::Entropy => 0x08_8000,
        },
        subsystem_vendor: 0x1af4,
        subsystem: device,
    }
}

impl Capabilities {
    /// Puts all capabilities into `config`.
    pub(super) fn add(layout: &Layout, config: &mut ConfigSpace) -> io::Result<Self> {
        Capabilities::try_add(layout, config)
            .ok_or_else(|| io::Error::other("configuration space has no room for the capabilities"))
    }

    fn try_add(layout: &Layout, config: &mut ConfigSpace) -> Option<Self> {
        let mut msix = None;
        let place = |part| {
            layout.region(part).map(|region| Place {
                bar: region.bar,
                offset: region.offset,
            })
        };
        if let (Some(table), Some(pending)) = (place(Part::MsixTable), place(Part::MsixPending)) {
            // §4.1.5.1.2.1: Table Size tells how many vectors there are.
            let (body, writable) = Msix::capability(layout.vectors, table, pending);
            msix = Some(config.add_capability(capability::MSI_X, &body, &writable)?);
        }
        let mut virtio = Vec::new();
        // §4.1.4.3.1, §4.1.4.4.1, §4.1.4.5.1, §4.1.4.6: one of each.
        for region in &layout.regions {
            if let Part::Virtio(structure) = region.part {
                let extra = match structure {
                    Structure::Notify => Some(layout.notify_off_multiplier.to_le_bytes()),
                    _ => None,
                };
                let extra = extra.as_ref().map_or(&[][..], |bytes| &bytes[..]);
                virtio.push(add(config, structure, Some(region), extra, &[])?);
            }
        }
        // §4.1.4.7.1: and the window, of which bar, offset, length and data can be written (§4.1.4.7).
        let mut writable = [0xff; CAP_LEN + 4];
        writable[..field::BAR].fill(0);
        writable[field::BAR + 1..field::OFFSET].fill(0);
        virtio.push(add(config, Structure::PciCfg, None, &[0; 4], &writable)?);

        config.add_power_management()?;
        config.add_pci_express()?;
        Some(Capabilities { virtio, msix })
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

/// Adds a `struct virtio_pci_cap` followed by `extra`. `writable` counts from the capability's start.
fn add(
    config: &mut ConfigSpace,
    structure: Structure,
    region: Option<&Region>,
    extra: &[u8],
    writable: &[u8],
) -> Option<Capability> {
    // §4.1.4.2: cap_len includes what follows the common part.
    let len = CAP_LEN + extra.len();
    let mut cap = [0; CAP_LEN + 4];
    cap[2] = len as u8;
    cap[3] = structure.cfg_type();
    if let Some(region) = region {
        cap[field::BAR] = region.bar;
        cap[field::OFFSET..field::LENGTH].copy_from_slice(&region.offset.to_le_bytes());
        cap[field::LENGTH..CAP_LEN].copy_from_slice(&region.len.to_le_bytes());
    }
    cap[CAP_LEN..len].copy_from_slice(extra);
    let at = config.add_capability(
        capability::VENDOR_SPECIFIC,
        &cap[2..len],
        writable.get(2..).unwrap_or_default(),
    )?;
    Some(Capability {
        structure,
        at: u16::from(at),
        len: len as u16,
    })
}
