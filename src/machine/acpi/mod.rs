//! The ACPI tables: processors, interrupt controllers, the PCI host bridge, power-off and reset.

mod dsdt;

use acpi_tables::Aml;
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::Error;
use super::layout::{self, AddressMap};

const OEM: [u8; 6] = *b"STCKLR";
const OEM_TABLE: [u8; 8] = *b"STICKLER";
const OEM_REVISION: u32 = 1;

/// The first of the eight GSIs that PCI interrupt pins are wired to.
pub(super) const PCI_GSI_BASE: u32 = 16;

/// The GSI of the interrupt pin `pin` (0 is INTA#) of `slot` on bus 0. The _PRT says the same.
pub(super) const fn pci_gsi(slot: u8, pin: u8) -> u32 {
    PCI_GSI_BASE + (slot as u32 + pin as u32) % 8
}

/// I/O ports and values of the fixed hardware that the FADT describes.
pub(super) mod fixed {
    /// PM1a event block: status (2 bytes), enable (2 bytes).
    pub(in crate::machine) const PM1_EVENT: u16 = 0x600;
    /// PM1a control block (2 bytes).
    pub(in crate::machine) const PM1_CONTROL: u16 = 0x604;
    /// The value of SLP_TYP that means S5, soft off.
    pub(in crate::machine) const SLEEP_TYPE_OFF: u8 = 5;
    /// The reset register.
    pub(in crate::machine) const RESET: u16 = 0xcf9;
    /// What is written to it.
    pub(in crate::machine) const RESET_VALUE: u8 = 0x06;
    /// The system control interrupt.
    pub(in crate::machine) const SCI: u16 = 9;
}

/// Writes all tables to [`layout::ACPI_TABLES`]; the RSDP stands at their beginning. Returns its
/// address.
pub(super) fn write(memory: &GuestMemoryMmap, map: &AddressMap, cpus: u8) -> Result<u64, Error> {
    let image = image(map, cpus);
    memory
        .write_slice(&image, GuestAddress(layout::ACPI_TABLES))
        .map_err(|_| Error::GuestMemory {
            what: "the ACPI tables",
            address: layout::ACPI_TABLES,
        })?;
    Ok(layout::ACPI_TABLES)
}

/// All tables as they stand in memory from [`layout::ACPI_TABLES`] on.
fn image(map: &AddressMap, cpus: u8) -> Vec<u8> {
    let mut tables = Tables {
        // The RSDP comes last, but stands first.
        image: vec![0; Rsdp::len()],
    };
    let facs = tables.add(&FACS::new());
    let dsdt = tables.add(&dsdt::table(map, cpus));
    let listed = [
        tables.add(&fadt(facs, dsdt)),
        tables.add(&madt(cpus)),
        tables.add(&mcfg()),
    ];
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    for table in listed {
        xsdt.add_entry(table);
    }
    let xsdt = tables.add(&xsdt);
    let rsdp = bytes(&Rsdp::new(OEM, xsdt));
    tables.image[..rsdp.len()].copy_from_slice(&rsdp);
    tables.image
}

struct Tables {
    image: Vec<u8>,
}

impl Tables {
    /// Appends a table and returns its guest-physical address.
    fn add(&mut self, table: &dyn Aml) -> u64 {
        // A FACS must be aligned to 64 bytes; it harms no other table.
        self.image.resize(self.image.len().next_multiple_of(64), 0);
        let address = layout::ACPI_TABLES + self.image.len() as u64;
        table.to_aml_bytes(&mut self.image);
        address
    }
}

/// Fixed hardware: power-off through PM1a, a reset register, and what of a PC there is not.
fn fadt(facs: u64, dsdt: u64) -> impl Aml {
    /// There are devices on the ISA bus: the serial port.
    const LEGACY_DEVICES: u16 = 1;
    const NO_VGA: u16 = 1 << 2;
    const NO_CMOS_RTC: u16 = 1 << 5;
    // Bit 1 would say that there is a keyboard controller. There is only its reset line.

    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .firmware_ctrl_32(facs as u32)
        .dsdt_64(dsdt)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless);
    fadt.dsdt = (dsdt as u32).into();
    fadt.sci_int = fixed::SCI.into();
    fadt.pm1a_evt_blk = u32::from(fixed::PM1_EVENT).into();
    fadt.pm1_evt_len = 4;
    fadt.x_pm1a_evt_blk = port(fixed::PM1_EVENT, 4, AccessSize::WordAccess);
    fadt.pm1a_cnt_blk = u32::from(fixed::PM1_CONTROL).into();
    fadt.pm1_cnt_len = 2;
    fadt.x_pm1a_cnt_blk = port(fixed::PM1_CONTROL, 2, AccessSize::WordAccess);
    // C2 and C3 are not supported: latencies above the specified limits say so.
    fadt.p_lvl2_lat = 101.into();
    fadt.p_lvl3_lat = 1001.into();
    fadt.iapc_boot_arch = (LEGACY_DEVICES | NO_VGA | NO_CMOS_RTC).into();
    fadt.reset_reg = port(fixed::RESET, 1, AccessSize::ByteAccess);
    fadt.reset_value = fixed::RESET_VALUE;
    fadt.finalize()
}

fn port(address: u16, bytes: u8, access: AccessSize) -> GAS {
    GAS::new(
        AddressSpace::SystemIo,
        bytes * 8,
        0,
        access,
        u64::from(address),
    )
}

/// Processors and interrupt controllers.
fn madt(cpus: u8) -> impl Aml {
    const REVISION: u8 = 5;
    /// Flags: there are two 8259s besides.
    const PCAT_COMPAT: u32 = 1;
    let mut madt = header(*b"APIC", REVISION);
    madt.append_slice(&layout::LOCAL_APIC.to_le_bytes());
    madt.append_slice(&PCAT_COMPAT.to_le_bytes());
    for cpu in 0..cpus {
        let processor = ProcessorLocalApic::new(cpu, cpu, EnabledStatus::Enabled);
        madt.append_slice(&bytes(&processor));
    }
    madt.append_slice(&bytes(&IoApic::new(0, layout::IO_APIC, 0)));
    madt.append_slice(&level_high_override(fixed::SCI));
    madt.append_slice(&local_apic_nmi(1));
    madt
}

/// Interrupt source override: the ISA interrupt is level-triggered and active-high, on the GSI of
/// the same number.
fn level_high_override(interrupt: u16) -> [u8; 10] {
    const KIND: u8 = 2;
    const ISA: u8 = 0;
    const ACTIVE_HIGH: u8 = 1;
    const LEVEL: u8 = 3 << 2;
    let [low, high] = interrupt.to_le_bytes();
    [KIND, 10, ISA, low, low, high, 0, 0, ACTIVE_HIGH | LEVEL, 0]
}

/// Local APIC NMI: this pin of all processors' local APICs is NMI.
fn local_apic_nmi(pin: u8) -> [u8; 6] {
    const KIND: u8 = 4;
    const ALL: u8 = 0xff;
    [KIND, 6, ALL, 0, 0, pin]
}

/// Where PCI configuration space is in memory.
fn mcfg() -> impl Aml {
    let mut mcfg = MCFG::new(OEM, OEM_TABLE, OEM_REVISION);
    mcfg.add_ecam(layout::ECAM, 0, 0, 0);
    mcfg
}

/// A table that has nothing but its header yet.
fn header(signature: [u8; 4], revision: u8) -> Sdt {
    const LEN: u32 = 36;
    Sdt::new(signature, LEN, revision, OEM, OEM_TABLE, OEM_REVISION)
}

fn bytes(part: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    part.to_aml_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Vec<u8> {
        image(&AddressMap::new(128 << 20, 40).unwrap(), 3)
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    /// The table at a guest-physical address.
    fn table(image: &[u8], address: u64) -> &[u8] {
        let at = (address - layout::ACPI_TABLES) as usize;
        &image[at..at + u32_at(image, at + 4) as usize]
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, b| sum.wrapping_add(*b))
    }

    /// The tables the XSDT lists, by signature.
    fn listed(image: &[u8]) -> Vec<(String, &[u8])> {
        let xsdt = table(image, u64_at(image, 24));
        assert_eq!(&xsdt[..4], b"XSDT");
        xsdt[36..]
            .chunks(8)
            .map(|entry| {
                let table = table(image, u64_at(entry, 0));
                (String::from_utf8_lossy(&table[..4]).into_owned(), table)
            })
            .collect()
    }

    fn find<'a>(image: &'a [u8], signature: &str) -> &'a [u8] {
        listed(image)
            .into_iter()
            .find(|(s, _)| s == signature)
            .unwrap()
            .1
    }

    #[test]
    fn every_checksum_is_right() {
        let image = tables();
        assert!(image.len() as u64 <= layout::ACPI_TABLES_LEN);
        assert_eq!(&image[..8], b"RSD PTR ");
        assert_eq!(sum(&image[..20]), 0);
        assert_eq!(sum(&image[..36]), 0);
        assert_eq!(sum(table(&image, u64_at(&image, 24))), 0);
        let names: Vec<String> = listed(&image)
            .into_iter()
            .map(|(name, table)| {
                assert_eq!(sum(table), 0, "{name}");
                name
            })
            .collect();
        assert_eq!(names, ["FACP", "APIC", "MCFG"]);
        let dsdt = table(&image, u64_at(find(&image, "FACP"), 140));
        assert_eq!(&dsdt[..4], b"DSDT");
        assert_eq!(sum(dsdt), 0);
    }

    #[test]
    fn fadt_describes_power_off_and_reset() {
        let image = tables();
        let fadt = find(&image, "FACP");
        assert_eq!(u32_at(fadt, 56), 0x600);
        assert_eq!(u32_at(fadt, 64), 0x604);
        assert_eq!((fadt[88], fadt[89]), (4, 2));
        // Generic address of the reset register: I/O space, 8 bits, port 0xcf9.
        assert_eq!(&fadt[116..120], [1, 8, 0, 1]);
        assert_eq!(u64_at(fadt, 120), 0xcf9);
        assert_eq!(fadt[128], 6);
        assert_eq!(u32_at(fadt, 112) >> 10 & 1, 1, "reset register supported");
        assert_eq!(u32_at(fadt, 112) >> 20 & 1, 0, "not hardware-reduced");
        let facs = u64::from(u32_at(fadt, 36));
        assert_eq!(&table(&image, facs)[..4], b"FACS");
        assert_eq!(facs % 64, 0);
    }

    #[test]
    fn madt_lists_each_processor_once() {
        let image = tables();
        let madt = find(&image, "APIC");
        let mut rest = &madt[44..];
        let mut ids = Vec::new();
        let mut kinds = Vec::new();
        while let [kind, len, ..] = *rest {
            kinds.push(kind);
            if kind == 0 {
                ids.push(rest[3]);
                assert_eq!(u32_at(rest, 4), 1, "enabled");
            }
            rest = &rest[usize::from(len)..];
        }
        assert_eq!(ids, [0, 1, 2]);
        assert_eq!(kinds, [0, 0, 0, 1, 2, 4]);
    }

    #[test]
    fn mcfg_points_to_the_ecam() {
        let image = tables();
        let mcfg = find(&image, "MCFG");
        assert_eq!(u64_at(mcfg, 44), layout::ECAM);
        assert_eq!((mcfg[54], mcfg[55]), (0, 0));
    }

    #[test]
    fn pins_are_spread_over_the_upper_gsis() {
        assert_eq!(pci_gsi(0, 0), 16);
        assert_eq!(pci_gsi(7, 0), 23);
        assert_eq!(pci_gsi(8, 0), 16);
        assert_eq!(pci_gsi(31, 3), 18);
    }
}
