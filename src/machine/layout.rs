//! Where everything is in the guest's physical address space.
//!
//! ```text
//! 0000_0000  low RAM (boot data, kernel, initrd), at most 3 GiB
//! 000e_0000    ACPI tables, below the first MiB
//! c000_0000  32-bit PCI window
//! e000_0000  ECAM of bus 0
//! fec0_0000  I/O APIC
//! fee0_0000  local APICs
//! fffb_c000  pages KVM needs for itself
//! 1_0000_0000  the rest of RAM
//! half of the physical address space, at most 512 GiB:
//!            64-bit PCI window
//! ```

use std::ops::Range;

use super::Error;

const GIB: u64 = 1 << 30;

/// The smallest memory a guest can have, bytes.
pub const MIN_MEMORY: u64 = 64 << 20;

/// Low RAM ends here at the latest.
pub const LOW_RAM_LIMIT: u64 = 3 * GIB;
/// RAM continues here.
pub const HIGH_RAM_START: u64 = 4 * GIB;

/// Conventional memory ends here, as on any PC.
pub const CONVENTIONAL_END: u64 = 0x9_fc00;
/// The first MiB ends here, and kernels begin.
pub const HIGH_MEMORY_START: u64 = 0x10_0000;

/// Boot data: the global descriptor table.
pub const GDT: u64 = 0x500;
/// Boot data: the PVH start info and what it refers to.
pub const PVH_START_INFO: u64 = 0x6000;
/// Boot data: Linux's boot parameters ("zero page").
pub const BOOT_PARAMS: u64 = 0x7000;
/// Boot data: top of a small stack.
pub const BOOT_STACK: u64 = 0x8ff0;
/// Boot data: page tables that map the first 4 GiB to themselves: six pages.
pub const PAGE_TABLES: u64 = 0x9000;
/// Boot data: the kernel's command line.
pub const COMMAND_LINE: u64 = 0x2_0000;

/// The RSDP, at an address where a guest finds it by searching; the other tables follow.
pub const ACPI_TABLES: u64 = 0xe_0000;
/// How much room the ACPI tables have, bytes.
pub const ACPI_TABLES_LEN: u64 = 0x1_0000;

/// The window for 32-bit BARs.
pub const PCI_MEM32: Range<u64> = 0xc000_0000..0xe000_0000;
/// The enhanced configuration access mechanism's region.
pub const ECAM: u64 = 0xe000_0000;
/// Its size: one bus.
pub const ECAM_LEN: u64 = 1 << 20;

/// The I/O APIC's registers.
pub const IO_APIC: u32 = 0xfec0_0000;
/// The local APIC's registers.
pub const LOCAL_APIC: u32 = 0xfee0_0000;

/// One page for KVM's identity map (Intel without unrestricted guest).
pub const KVM_IDENTITY_MAP: u64 = 0xfffb_c000;
/// Three pages for KVM's task state segment (likewise).
pub const KVM_TSS: usize = 0xfffb_d000;

/// How a guest's address space is used, given its memory and its CPU's physical address width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressMap {
    /// Bytes of RAM from 0.
    pub low_ram: u64,
    /// Bytes of RAM from 4 GiB.
    pub high_ram: u64,
    /// The window for 64-bit BARs.
    pub mem64: Range<u64>,
}

/// What a range of the address space is, in e820's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaKind {
    /// Usable RAM.
    Ram = 1,
    /// Not to be touched unless something else says what it is.
    Reserved = 2,
}

/// One line of the memory map the guest is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// What it is.
    pub kind: AreaKind,
}

impl AddressMap {
    /// Lays out `memory` bytes (rounded down to whole pages) where physical addresses have
    /// `physical_bits` bits.
    pub fn new(memory: u64, physical_bits: u8) -> Result<Self, Error> {
        // The 64-bit window: in the upper half, but never beyond what every CPU, every kernel's
        // direct map and AMD's reserved range just below 1 TiB leave alone.
        let half = 1u64 << (physical_bits.clamp(36, 40) - 1);
        let mem64 = half..half + (half / 2).min(64 * GIB);

        let asked = memory;
        let memory = memory & !0xfff;
        let most = half - (HIGH_RAM_START - LOW_RAM_LIMIT);
        if !(MIN_MEMORY..=most).contains(&memory) {
            return Err(Error::MemorySize {
                asked,
                least: MIN_MEMORY,
                most,
            });
        }
        let low_ram = memory.min(LOW_RAM_LIMIT);
        Ok(AddressMap {
            low_ram,
            high_ram: memory - low_ram,
            mem64,
        })
    }

    /// The ranges that are RAM: start and length.
    pub fn ram(&self) -> Vec<(u64, u64)> {
        let mut ranges = vec![(0, self.low_ram)];
        if self.high_ram > 0 {
            ranges.push((HIGH_RAM_START, self.high_ram));
        }
        ranges
    }

    /// The memory map for the guest, in ascending order.
    pub fn areas(&self) -> Vec<Area> {
        let area = |range: Range<u64>, kind| Area {
            start: range.start,
            len: range.end - range.start,
            kind,
        };
        let mut areas = vec![
            area(0..CONVENTIONAL_END, AreaKind::Ram),
            area(CONVENTIONAL_END..0xa_0000, AreaKind::Reserved),
            area(ACPI_TABLES..HIGH_MEMORY_START, AreaKind::Reserved),
            area(HIGH_MEMORY_START..self.low_ram, AreaKind::Ram),
            area(ECAM..ECAM + ECAM_LEN, AreaKind::Reserved),
            area(KVM_IDENTITY_MAP..HIGH_RAM_START, AreaKind::Reserved),
        ];
        if self.high_ram > 0 {
            areas.push(area(
                HIGH_RAM_START..HIGH_RAM_START + self.high_ram,
                AreaKind::Ram,
            ));
        }
        areas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_memory_is_all_low() {
        let map = AddressMap::new(64 << 20, 40).unwrap();
        assert_eq!(map.ram(), [(0, 64 << 20)]);
    }

    #[test]
    fn memory_goes_on_above_the_hole() {
        let map = AddressMap::new(3 * GIB, 40).unwrap();
        assert_eq!(map.ram(), [(0, 3 * GIB)]);
        let map = AddressMap::new(3 * GIB + 4096, 40).unwrap();
        assert_eq!(map.ram(), [(0, 3 * GIB), (4 * GIB, 4096)]);
    }

    #[test]
    fn memory_is_bounded_both_ways() {
        let least = AddressMap::new((64 << 20) - 1, 40).unwrap_err();
        assert!(least.to_string().contains("from 64 to"), "{least}");
        assert!(least.is_users());
        let most = (512 - 1) * GIB;
        assert!(AddressMap::new(most, 46).is_ok());
        assert!(AddressMap::new(most + 4096, 46).is_err());
        assert!(AddressMap::new(u64::MAX, 52).is_err());
        assert!(AddressMap::new(0, 0).is_err());
    }

    #[test]
    fn areas_ascend_without_overlap_and_hold_all_ram() {
        for memory in [64 << 20, 3 * GIB, 8 * GIB] {
            let map = AddressMap::new(memory, 39).unwrap();
            let areas = map.areas();
            for pair in areas.windows(2) {
                assert!(pair[0].start + pair[0].len <= pair[1].start, "{pair:x?}");
            }
            let ram: u64 = areas
                .iter()
                .filter(|a| a.kind == AreaKind::Ram)
                .map(|a| a.len)
                .sum();
            assert_eq!(ram, memory - (HIGH_MEMORY_START - CONVENTIONAL_END));
        }
    }

    #[test]
    fn windows_keep_off_ram_and_within_the_address_width() {
        for bits in [36, 39, 40, 46, 52] {
            let most = (1u64 << (bits.min(40) - 1)) - GIB;
            let map = AddressMap::new(most, bits).unwrap();
            assert!(HIGH_RAM_START + map.high_ram <= map.mem64.start);
            assert!(map.mem64.end <= 1 << bits);
            assert!(map.mem64.start < map.mem64.end);
        }
    }
}
