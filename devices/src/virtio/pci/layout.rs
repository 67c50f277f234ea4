//! Where the structures are: what the transport is free to choose, and what it chose (§4.1.4 of virtio
//! 1.0).

use std::io;

use stickler_conformance::features::FeatureLimits;
use stickler_conformance::layout::{Structure, common};
use stickler_conformance::{Latitude, Latitudes};

use super::latitude::PciLatitudes;
use crate::pci::config::{BAR_COUNT, ConfigSpace};
use crate::pci::msix::Msix;

/// What the specification leaves to the device about its transport. The default is a plain device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Number of MSI-X vectors, at most 0x800 (§4.1.5.1.2.1); 0 for no MSI-X capability. `None`: one
    /// for each virtqueue and one for configuration changes.
    pub vectors: Option<u16>,
    /// `notify_off_multiplier` (§4.1.4.4.1): 0, or a power of two from 2 to 4096.
    pub notify_off_multiplier: u32,
    /// BAR of the common configuration structure.
    pub common_bar: u8,
    /// BAR of ISR status.
    pub isr_bar: u8,
    /// BAR of the device-specific configuration.
    pub device_bar: u8,
    /// BAR of the notification structure.
    pub notify_bar: u8,
    /// BAR of MSI-X table and pending bits.
    pub msix_bar: u8,
    /// Which BARs are 64 bits wide; such a one takes the next BAR register as well.
    pub wide_bars: [bool; BAR_COUNT],
    /// Which BARs are prefetchable.
    pub prefetchable_bars: [bool; BAR_COUNT],
    /// What else the device makes use of. They go before all of the above.
    pub latitudes: Latitudes,
    /// Which features the device may offer.
    pub features: FeatureLimits,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            vectors: None,
            notify_off_multiplier: 4,
            common_bar: 0,
            isr_bar: 0,
            device_bar: 0,
            notify_bar: 0,
            msix_bar: 2,
            wide_bars: [true, false, false, false, false, false],
            prefetchable_bars: [false; BAR_COUNT],
            latitudes: Latitudes::default(),
            features: FeatureLimits::default(),
        }
    }
}

/// Each part of a BAR starts on a page of its own, so that a guest can map it alone, unless a latitude
/// has it otherwise.
pub(super) const PAGE: u64 = 4096;

/// Bytes of a structure that is larger than anybody needs.
const OVERSIZE: u32 = 0x1_0000;

/// Bytes of an I/O BAR.
const IO_BAR: u64 = 128;

/// At most as many vectors as a driver has to support (§4.1.5.1.2.1).
pub(super) const MAX_VECTORS: u16 = 0x800;

/// What a part of a BAR holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A structure of §4.1.4.
    Virtio(Structure),
    /// The same once more, for who does not take the first (§4.1.4.1).
    Second(Structure),
    MsixTable,
    MsixPending,
}

/// A part of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) part: Part,
    pub(super) bar: u8,
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// Where everything is.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) regions: Vec<Region>,
    pub(super) vectors: u16,
    pub(super) notify_off_multiplier: u32,
}

impl Layout {
    /// Places the structures of a device with `queues` virtqueues, the last of which is notified at
    /// `last_notify_off`, and `config_len` bytes of device-specific configuration, and gives `config`
    /// the BARs for them.
    pub(super) fn place(
        options: &Options,
        latitudes: &PciLatitudes,
        (queues, last_notify_off): (u16, u16),
        config_len: usize,
        config: &mut ConfigSpace,
    ) -> io::Result<Self> {
        let vectors = options.vectors.unwrap_or((queues + 1).max(2));
        if vectors > MAX_VECTORS {
            return Err(io::Error::other(format!(
                "{vectors} MSI-X vectors are more than the {MAX_VECTORS} a driver supports"
            )));
        }
        // §4.1.4.4.1
        let multiplier = options.notify_off_multiplier;
        if multiplier != 0
            && !(multiplier.is_power_of_two() && (2..=PAGE as u32).contains(&multiplier))
        {
            return Err(io::Error::other(format!(
                "a notify_off_multiplier of {multiplier} is neither 0 nor a power of two from 2 to {PAGE}"
            )));
        }
        // §4.1.4.4.1: room for each queue's address. There is one even without queues.
        let notify_len = ((u32::from(last_notify_off) + 1) * multiplier).max(2);

        use Structure::{Common, Device, Isr, Notify};
        let mut parts = vec![
            // §4.1.4.3.1, §4.1.4.5.1, §4.1.4.6.1, §4.1.4.4.1: all aligned to pages.
            (Part::Virtio(Common), options.common_bar, common::LEN),
            (Part::Virtio(Isr), options.isr_bar, 1),
            (Part::Virtio(Device), options.device_bar, config_len as u32),
            (Part::Virtio(Notify), options.notify_bar, notify_len),
        ];
        if latitudes.has(Latitude::OVERSIZED_STRUCTURES) {
            // §4.1.4.1: lengths may be larger than what is defined takes. What is not there stays so.
            for (_, _, len) in parts.iter_mut().filter(|(_, _, len)| *len != 0) {
                *len = (*len).max(OVERSIZE);
            }
        }
        if latitudes.has(Latitude::SECOND_INSTANCES) {
            for index in [0, 2] {
                if let (Part::Virtio(structure), _, len) = parts[index] {
                    parts.push((Part::Second(structure), options.msix_bar, len));
                }
            }
        }
        if vectors > 0 {
            let bar = options.msix_bar;
            parts.push((Part::MsixTable, bar, Msix::table_len(vectors) as u32));
            parts.push((Part::MsixPending, bar, Msix::pending_len(vectors) as u32));
        }
        // §4.1.4.2: none is longer than it has to be.
        let mut ends = [0u64; BAR_COUNT];
        let mut regions = Vec::new();
        // §4.1.4.6: a device type without device-specific configuration has no structure for it.
        parts.retain(|(_, _, len)| *len != 0);
        let mut spacing = latitudes.spacing();
        spacing.order(&mut parts);
        for (part, bar, len) in parts {
            let end = ends
                .get_mut(usize::from(bar))
                .ok_or_else(|| io::Error::other(format!("there is no BAR {bar}")))?;
            let offset = spacing.start(part, *end);
            regions.push(Region {
                part,
                bar,
                offset: offset as u32,
                len,
            });
            *end = offset + u64::from(len);
        }
        for (index, end) in ends.into_iter().enumerate().filter(|(_, end)| *end != 0) {
            let wide = options.wide_bars[index];
            let len = end.next_power_of_two().max(PAGE);
            if !config.add_bar(index, wide, len) {
                return Err(io::Error::other(format!(
                    "BAR {index} cannot be used: it is the upper half of another or has none itself"
                )));
            }
            if options.prefetchable_bars[index] {
                config.make_prefetchable(index);
            }
        }
        if latitudes.has(Latitude::IO_INSTANCES) {
            // Common configuration and ISR status; there is no room for what is longer.
            let bar = config
                .add_io_bar(IO_BAR)
                .ok_or_else(|| io::Error::other("there is no BAR register left for an I/O BAR"))?
                as u8;
            for (structure, offset, len) in [(Common, 0, common::LEN), (Isr, 0x60, 1)] {
                regions.push(Region {
                    part: Part::Second(structure),
                    bar,
                    offset,
                    len,
                });
            }
        }
        // §4.1.4.1: the first one of a type is the one to use.
        regions.sort_by_key(|region| matches!(region.part, Part::Second(_)));
        Ok(Layout {
            regions,
            vectors,
            notify_off_multiplier: multiplier,
        })
    }

    /// The part of BAR `bar` in which `offset` lies, and the offset in it.
    pub(super) fn at(&self, bar: u8, offset: u64) -> Option<(Part, u32)> {
        self.regions
            .iter()
            .filter(|r| r.bar == bar)
            .find_map(|region| {
                let within = offset.checked_sub(u64::from(region.offset))?;
                (within < u64::from(region.len)).then_some((region.part, within as u32))
            })
    }

    /// The structure in which all of these bytes lie.
    pub(super) fn structure_of(&self, bar: u8, offset: u32, len: u32) -> Option<Structure> {
        self.regions.iter().find_map(|region| {
            let Part::Virtio(structure) = region.part else {
                return None;
            };
            let within = offset.checked_sub(region.offset)?;
            let inside = within.checked_add(len).is_some_and(|end| end <= region.len);
            (region.bar == bar && inside).then_some(structure)
        })
    }

    pub(super) fn region(&self, part: Part) -> Option<Region> {
        self.regions.iter().find(|r| r.part == part).copied()
    }
}
