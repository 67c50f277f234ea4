//! The DSDT: devices that no bus can enumerate, and how to power off.

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Arg, CreateDWordField, Device, EISAName, Else, Equal,
    IO, If, Interrupt, Memory32Fixed, Method, Name, NotEqual, ONE, Or, Package, PackageBuilder,
    Path, ResourceTemplate, Return, Scope, Uuid, ZERO,
};
use acpi_tables::sdt::Sdt;

use super::{fixed, header, pci_gsi};
use crate::machine::layout::{self, AddressMap};
use crate::machine::serial;

/// The table for `cpus` processors.
pub(super) fn table(map: &AddressMap, cpus: u8) -> Sdt {
    /// From revision 2 on, integers have 64 bits.
    const REVISION: u8 = 2;
    let mut aml = Vec::new();
    processors(cpus, &mut aml);
    host_bridge(map, &mut aml);
    motherboard(&mut aml);
    serial_port(&mut aml);
    power_off(&mut aml);

    let mut table = header(*b"DSDT", REVISION);
    table.append_slice(&aml);
    table
}

/// One ACPI0007 device for each processor; the MADT knows them by the same _UID.
fn processors(cpus: u8, aml: &mut Vec<u8>) {
    let mut devices = Vec::new();
    for cpu in 0..cpus {
        Device::new(
            Path::new(&format!("C{cpu:03X}")),
            vec![
                &Name::new("_HID".into(), &"ACPI0007"),
                &Name::new("_UID".into(), &cpu),
            ],
        )
        .to_aml_bytes(&mut devices);
    }
    aml.extend(Scope::raw("_SB_".into(), devices));
}

/// The PCI host bridge: its windows, and where its interrupt pins go.
fn host_bridge(map: &AddressMap, aml: &mut Vec<u8>) {
    let mut routing = PackageBuilder::new();
    for slot in 0..32u8 {
        for pin in 0..4u8 {
            // Any function of the slot; a source of 0 means the GSI itself.
            let address = u32::from(slot) << 16 | 0xffff;
            routing.add_element(&Package::new(vec![
                &address,
                &pin,
                &ZERO,
                &pci_gsi(slot, pin),
            ]));
        }
    }
    let mem32 = &layout::PCI_MEM32;
    let memory32 = AddressSpace::<u32>::new_memory(
        AddressSpaceCacheable::NotCacheable,
        true,
        mem32.start as u32,
        (mem32.end - 1) as u32,
        None,
    );
    let memory64 = AddressSpace::<u64>::new_memory(
        AddressSpaceCacheable::NotCacheable,
        true,
        map.mem64.start,
        map.mem64.end - 1,
        None,
    );
    let busses = AddressSpace::<u16>::new_bus_number(0, 0);
    let configuration = IO::new(0xcf8, 0xcf8, 1, 8);
    let io_below = AddressSpace::<u16>::new_io(0x0000, 0x0cf7, None);
    let io_above = AddressSpace::<u16>::new_io(0x0d00, 0xffff, None);
    let windows = ResourceTemplate::new(vec![
        &busses,
        &configuration,
        &io_below,
        &io_above,
        &memory32,
        &memory64,
    ]);
    Scope::new(
        "_SB_".into(),
        vec![&Device::new(
            "PCI0".into(),
            vec![
                &Name::new("_HID".into(), &EISAName::new("PNP0A08")),
                &Name::new("_CID".into(), &EISAName::new("PNP0A03")),
                &Name::new("_UID".into(), &ZERO),
                &Name::new("_SEG".into(), &ZERO),
                &Name::new("_BBN".into(), &ZERO),
                &Name::new("_CCA".into(), &ONE),
                &Name::new("_CRS".into(), &windows),
                &Name::new("_PRT".into(), &routing),
                &OperatingSystemCapabilities,
            ],
        )],
    )
    .to_aml_bytes(aml);
}

/// `_OSC` of a PCI Express host bridge: no firmware of ours wants control of anything, so the
/// operating system may have all it asks for.
struct OperatingSystemCapabilities;

impl Aml for OperatingSystemCapabilities {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        const UNRECOGNIZED_UUID: u8 = 1 << 2;
        const UNRECOGNIZED_REVISION: u8 = 1 << 3;
        let (uuid, revision, _count, capabilities) = (Arg(0), Arg(1), Arg(2), Arg(3));
        let status = Path::new("STAT");
        Method::new(
            "_OSC".into(),
            4,
            true,
            vec![
                &CreateDWordField::new(&status, &capabilities, &ZERO),
                // What was an answer before is a question now.
                &And::new(&status, &status, &1u8),
                &If::new(
                    &Equal::new(&uuid, &Uuid::new("33DB4D5B-1FF7-401C-9657-7441C03DD766")),
                    vec![&If::new(
                        &NotEqual::new(&revision, &ONE),
                        vec![&Or::new(&status, &status, &UNRECOGNIZED_REVISION)],
                    )],
                ),
                &Else::new(vec![&Or::new(&status, &status, &UNRECOGNIZED_UUID)]),
                &Return::new(&capabilities),
            ],
        )
        .to_aml_bytes(sink);
    }
}

/// What the board itself occupies, so that the system does not assign it to a device.
fn motherboard(aml: &mut Vec<u8>) {
    Scope::new(
        "_SB_".into(),
        vec![&Device::new(
            "MBRD".into(),
            vec![
                &Name::new("_HID".into(), &EISAName::new("PNP0C02")),
                &Name::new("_UID".into(), &ZERO),
                &Name::new(
                    "_CRS".into(),
                    &ResourceTemplate::new(vec![
                        &Memory32Fixed::new(true, layout::ECAM as u32, layout::ECAM_LEN as u32),
                        &IO::new(fixed::PM1_EVENT, fixed::PM1_EVENT, 1, 6),
                    ]),
                ),
            ],
        )],
    )
    .to_aml_bytes(aml);
}

/// COM1, a 16550A.
fn serial_port(aml: &mut Vec<u8>) {
    Scope::new(
        "_SB_".into(),
        vec![&Device::new(
            "COM1".into(),
            vec![
                &Name::new("_HID".into(), &EISAName::new("PNP0501")),
                &Name::new("_UID".into(), &ZERO),
                &Name::new(
                    "_CRS".into(),
                    &ResourceTemplate::new(vec![
                        &IO::new(serial::PORT, serial::PORT, 1, 8),
                        &Interrupt::new(true, true, false, false, serial::IRQ),
                    ]),
                ),
            ],
        )],
    )
    .to_aml_bytes(aml);
}

/// `\_S5`: the sleep type that means soft off.
fn power_off(aml: &mut Vec<u8>) {
    Name::new(
        "_S5_".into(),
        &Package::new(vec![&fixed::SLEEP_TYPE_OFF, &ZERO, &ZERO, &ZERO]),
    )
    .to_aml_bytes(aml);
}
