mod msix;

use std::sync::{Arc, Mutex};

use super::config::{ConfigSpace, Identity, capability, command, register};
use super::*;

const ECAM: u64 = 0xe000_0000;
const MEM32: u64 = 0xc000_0000;
const MEM64: u64 = 0x10_0000_0000;

fn bus() -> PciBus {
    PciBus::new(PciLayout {
        ecam_base: ECAM,
        mem32: MEM32..MEM32 + 0x100_0000,
        mem64: MEM64..MEM64 + 0x1000_0000,
    })
}

/// A function with a 4 KiB BAR 0, a 16 KiB 64-bit BAR 2 and all capabilities there are; it remembers
/// what was written to its BARs.
struct Plain {
    config: Mutex<ConfigSpace>,
    written: Mutex<Vec<(u8, u64, Vec<u8>)>>,
}

impl Plain {
    fn new() -> Arc<Self> {
        let mut config = ConfigSpace::new(Identity {
            vendor: 0x1234,
            device: 0x5678,
            revision: 3,
            class: 0xff_0102,
            subsystem_vendor: 0x9abc,
            subsystem: 0xdef0,
        });
        config.add_interrupt_pin();
        assert!(config.add_bar(0, false, 0x1000));
        assert!(config.add_bar(2, true, 0x4000));
        config.add_power_management().unwrap();
        config.add_pci_express().unwrap();
        Arc::new(Plain {
            config: Mutex::new(config),
            written: Mutex::default(),
        })
    }
}

impl PciFunction for Plain {
    fn config_read(&self, offset: u16, data: &mut [u8]) {
        assert!(matches!(data.len(), 1 | 2 | 4));
        assert_eq!(usize::from(offset) % data.len(), 0);
        self.config.lock().unwrap().read(offset, data);
    }

    fn config_write(&self, offset: u16, data: &[u8]) {
        assert!(matches!(data.len(), 1 | 2 | 4));
        assert_eq!(usize::from(offset) % data.len(), 0);
        self.config.lock().unwrap().write(offset, data);
    }

    fn decoded(&self) -> Vec<Decoded> {
        self.config.lock().unwrap().decoded()
    }

    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) {
        data.fill(0);
        data[0] = bar;
        if let [_, low, ..] = data {
            *low = offset as u8;
        }
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) {
        let mut written = self.written.lock().unwrap();
        written.push((bar, offset, data.to_vec()));
    }
}

fn ecam_read(bus: &PciBus, slot: u8, offset: u16) -> u32 {
    let mut data = [0; 4];
    let gpa = ECAM + (u64::from(slot) << 15) + u64::from(offset);
    assert!(bus.mmio_read(gpa, &mut data));
    u32::from_le_bytes(data)
}

fn ecam_write(bus: &PciBus, slot: u8, offset: u16, value: u32) {
    let gpa = ECAM + (u64::from(slot) << 15) + u64::from(offset);
    assert!(bus.mmio_write(gpa, &value.to_le_bytes()));
}

fn port_select(bus: &PciBus, slot: u8, offset: u8) {
    let address = 1 << 31 | u32::from(slot) << 11 | u32::from(offset);
    assert!(bus.pio_write(0xcf8, &address.to_le_bytes()));
}

fn port_read<const N: usize>(bus: &PciBus, port: u16) -> [u8; N] {
    let mut data = [0; N];
    assert!(bus.pio_read(port, &mut data));
    data
}

#[test]
fn host_bridge_stands_in_slot_0_and_cannot_be_changed() {
    let bus = bus();
    assert_eq!(ecam_read(&bus, 0, 0x08) >> 8, 0x06_0000);
    let before: Vec<u32> = (0..64).map(|i| ecam_read(&bus, 0, i * 4)).collect();
    for i in 0..64 {
        ecam_write(&bus, 0, i * 4, u32::MAX);
    }
    let after: Vec<u32> = (0..64).map(|i| ecam_read(&bus, 0, i * 4)).collect();
    assert_eq!(before, after);
}

#[test]
fn mechanism_1_reads_bytes_words_and_double_words() {
    let bus = bus();
    bus.add(5, Plain::new()).unwrap();
    port_select(&bus, 5, 0);
    assert_eq!(port_read(&bus, 0xcfc), 0x5678_1234u32.to_le_bytes());
    assert_eq!(port_read(&bus, 0xcfe), 0x5678u16.to_le_bytes());
    assert_eq!(port_read(&bus, 0xcff), [0x56]);
    // Unaligned within the double word.
    assert_eq!(port_read(&bus, 0xcfd), [0x12, 0x78]);
    // What goes beyond the port is nobody's.
    assert_eq!(port_read(&bus, 0xcfe), [0x78, 0x56, 0xff, 0xff]);
    assert_eq!(port_read(&bus, 0xcf8), 0x8000_2800u32.to_le_bytes());
}

#[test]
fn mechanism_1_writes_bytes_words_and_double_words() {
    let bus = bus();
    bus.add(5, Plain::new()).unwrap();
    port_select(&bus, 5, 0x3c);
    assert!(bus.pio_write(0xcfc, &[9]));
    assert_eq!(ecam_read(&bus, 5, 0x3c), 0x0000_0109);
    port_select(&bus, 5, 0x10);
    assert!(bus.pio_write(0xcfe, &0xd001u16.to_le_bytes()));
    assert_eq!(ecam_read(&bus, 5, 0x10) >> 16, 0xd001);
    assert!(bus.pio_write(0xcfc, &0xd123_4567u32.to_le_bytes()));
    assert_eq!(ecam_read(&bus, 5, 0x10), 0xd123_4000);
}

#[test]
fn config_address_takes_double_words_only() {
    let bus = bus();
    port_select(&bus, 5, 0x40);
    assert!(!bus.pio_write(0xcf9, &[6]));
    assert!(!bus.pio_write(0xcf8, &[6]));
    assert!(!bus.pio_read(0xcf9, &mut [0]));
    assert_eq!(port_read(&bus, 0xcf8), 0x8000_2840u32.to_le_bytes());
    // Reserved bits stay 0.
    assert!(bus.pio_write(0xcf8, &u32::MAX.to_le_bytes()));
    assert_eq!(port_read(&bus, 0xcf8), 0x80ff_fffcu32.to_le_bytes());
}

#[test]
fn nobody_answers_with_all_ones() {
    let bus = bus();
    bus.add(5, Plain::new()).unwrap();
    // Not enabled, other bus, other function, empty slot.
    for address in [
        5 << 11,
        1 << 31 | 1 << 16 | 5 << 11,
        1 << 31 | 5 << 11 | 1 << 8,
        1u32 << 31 | 6 << 11,
    ] {
        assert!(bus.pio_write(0xcf8, &address.to_le_bytes()));
        assert_eq!(port_read(&bus, 0xcfc), [0xff; 4], "{address:#x}");
        assert!(bus.pio_write(0xcfc, &[0; 4]));
    }
    assert_eq!(ecam_read(&bus, 6, 0), u32::MAX);
    assert_eq!(ecam_read(&bus, 5, 0x1000), u32::MAX, "function 1");
    assert!(!bus.mmio_read(ECAM + ECAM_LEN, &mut [0; 4]));
    assert!(!bus.mmio_read(ECAM - 1, &mut [0; 4]));
    assert!(!bus.pio_read(0xd00, &mut [0; 4]));
    assert!(!bus.pio_read(0xcf7, &mut [0; 4]));
}

#[test]
fn extended_configuration_space_is_empty() {
    let bus = bus();
    bus.add(5, Plain::new()).unwrap();
    for offset in (0x100..0x1000).step_by(4) {
        ecam_write(&bus, 5, offset, u32::MAX);
        assert_eq!(ecam_read(&bus, 5, offset), 0);
    }
    // An access that runs over its end finds nothing there.
    let mut data = [0; 8];
    assert!(bus.mmio_read(ECAM + (5 << 15) + 0xffc, &mut data));
    assert_eq!(data, [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
}

#[test]
fn header_bits_are_writable_where_they_should_be() {
    let bus = bus();
    bus.add(5, Plain::new()).unwrap();
    let writable = |offset: u16| {
        let before = ecam_read(&bus, 5, offset);
        ecam_write(&bus, 5, offset, u32::MAX);
        let ones = ecam_read(&bus, 5, offset);
        ecam_write(&bus, 5, offset, 0);
        let zeros = ecam_read(&bus, 5, offset);
        ecam_write(&bus, 5, offset, before);
        ones & !zeros
    };
    let command = command::MEMORY_SPACE
        | command::BUS_MASTER
        | command::PARITY_ERROR_RESPONSE
        | command::SERR_ENABLE
        | command::INTERRUPT_DISABLE;
    let expected = [
        (0x00, 0),
        (0x04, u32::from(command)),
        (0x08, 0),
        (0x0c, 0xff),
        (0x10, 0xffff_f000),
        (0x14, 0),
        (0x18, 0xffff_c000),
        (0x1c, 0xffff_ffff),
        (0x20, 0),
        (0x24, 0),
        (0x28, 0),
        (0x2c, 0),
        (0x30, 0),
        (0x34, 0),
        (0x38, 0),
        (0x3c, 0xff),
    ];
    for (offset, mask) in expected {
        assert_eq!(writable(offset), mask, "{offset:#x}");
    }
}

#[test]
fn bars_get_addresses_without_firmware() {
    let bus = bus();
    bus.add(5, Plain::new()).unwrap();
    bus.add(6, Plain::new()).unwrap();
    assert_eq!(ecam_read(&bus, 5, 0x10), MEM32 as u32);
    assert_eq!(ecam_read(&bus, 6, 0x10), MEM32 as u32 + 0x1000);
    assert_eq!(ecam_read(&bus, 5, 0x18), MEM64 as u32 | 0b100);
    assert_eq!(ecam_read(&bus, 5, 0x1c), (MEM64 >> 32) as u32);
    assert_eq!(ecam_read(&bus, 6, 0x18), MEM64 as u32 | 0x4000 | 0b100);
}

#[test]
fn adding_fails_where_there_is_no_place() {
    let bus = bus();
    assert!(bus.add(0, Plain::new()).is_err());
    assert!(bus.add(32, Plain::new()).is_err());
    bus.add(5, Plain::new()).unwrap();
    assert!(bus.add(5, Plain::new()).is_err());
    let narrow = PciBus::new(PciLayout {
        ecam_base: ECAM,
        mem32: MEM32..MEM32 + 0x800,
        mem64: 0..0,
    });
    assert!(narrow.add(5, Plain::new()).is_err());
}

#[test]
fn bars_decode_only_with_memory_space_enabled() {
    let bus = bus();
    let function = Plain::new();
    bus.add(5, function.clone()).unwrap();
    assert!(!bus.mmio_read(MEM32, &mut [0; 4]));
    ecam_write(&bus, 5, 4, u32::from(command::MEMORY_SPACE));
    let mut data = [0; 2];
    assert!(bus.mmio_read(MEM32 + 0x10, &mut data));
    assert_eq!(data, [0, 0x10]);
    assert!(bus.mmio_read(MEM64 + 0x20, &mut data));
    assert_eq!(data, [2, 0x20]);
    assert!(bus.mmio_write(MEM64 + 0x3ffc, &[1, 2, 3, 4]));
    assert_eq!(
        *function.written.lock().unwrap(),
        [(2, 0x3ffc, vec![1, 2, 3, 4])]
    );
    // Over the end, or too wide.
    assert!(!bus.mmio_write(MEM64 + 0x3ffe, &[1, 2, 3, 4]));
    assert!(!bus.mmio_write(MEM64, &[0; 16]));
    assert!(!bus.mmio_read(MEM64, &mut []));
    ecam_write(&bus, 5, 4, 0);
    assert!(!bus.mmio_read(MEM32, &mut data));
}

#[test]
fn bars_move_where_the_guest_puts_them() {
    let bus = bus();
    bus.add(5, Plain::new()).unwrap();
    ecam_write(&bus, 5, 4, u32::from(command::MEMORY_SPACE));
    ecam_write(&bus, 5, 0x10, 0xd000_0000);
    assert!(bus.mmio_read(0xd000_0ff0, &mut [0; 4]));
    assert!(!bus.mmio_read(MEM32, &mut [0; 4]));
    ecam_write(&bus, 5, 0x1c, 0x77);
    assert!(!bus.mmio_read(MEM64, &mut [0; 4]));
    ecam_write(&bus, 5, 0x18, 0x8000_0000);
    assert!(bus.mmio_read(0x77_8000_0000, &mut [0; 4]));
    // Sizing with decoding on does no harm.
    ecam_write(&bus, 5, 0x10, u32::MAX);
    assert_eq!(ecam_read(&bus, 5, 0x10), 0xffff_f000);
    ecam_write(&bus, 5, 0x10, 0);
    assert!(
        !bus.mmio_read(0, &mut [0; 4]),
        "a BAR of 0 is not programmed"
    );
}

#[test]
fn overlapping_bars_hide_nobody_else() {
    let bus = bus();
    bus.add(5, Plain::new()).unwrap();
    bus.add(6, Plain::new()).unwrap();
    for slot in [5, 6] {
        ecam_write(&bus, slot, 4, u32::from(command::MEMORY_SPACE));
    }
    // Slot 6's small BAR into the midst of slot 5's large one.
    ecam_write(&bus, 5, 0x1c, 0);
    ecam_write(&bus, 5, 0x18, 0xd000_0000);
    ecam_write(&bus, 6, 0x10, 0xd000_1000);
    let mut data = [0; 1];
    assert!(bus.mmio_read(0xd000_1000, &mut data));
    assert_eq!(data, [0]);
    assert!(bus.mmio_read(0xd000_3000, &mut data));
    assert_eq!(data, [2]);
}

#[test]
fn capability_list_leads_to_every_capability() {
    let bus = bus();
    bus.add(5, Plain::new()).unwrap();
    assert_eq!(ecam_read(&bus, 5, 4) >> 16, 1 << 4);
    let first = ecam_read(&bus, 5, 0x34) as u16;
    let head = ecam_read(&bus, 5, first);
    assert_eq!(head & 0xff, u32::from(capability::POWER_MANAGEMENT));
    let head = ecam_read(&bus, 5, (head >> 8 & 0xff) as u16);
    assert_eq!(head & 0xff, u32::from(capability::PCI_EXPRESS));
    assert_eq!(head >> 8 & 0xff, 0);
    // Version 2, root complex integrated endpoint.
    assert_eq!(head >> 16, 0x92);
}

#[test]
fn a_function_in_d3_does_not_decode() {
    let bus = bus();
    bus.add(5, Plain::new()).unwrap();
    ecam_write(&bus, 5, 4, u32::from(command::MEMORY_SPACE));
    let pmcsr = ecam_read(&bus, 5, 0x34) as u16 + 4;
    ecam_write(&bus, 5, pmcsr, 1);
    assert_eq!(ecam_read(&bus, 5, pmcsr) & 3, 0, "there is no D1");
    ecam_write(&bus, 5, pmcsr, 3);
    assert_eq!(ecam_read(&bus, 5, pmcsr) & 3, 3);
    assert!(!bus.mmio_read(MEM32, &mut [0; 4]));
    ecam_write(&bus, 5, pmcsr, 0);
    assert!(bus.mmio_read(MEM32, &mut [0; 4]));
}

#[test]
fn bars_that_cannot_be_are_refused() {
    let mut space = Plain::new().config.lock().unwrap().clone();
    assert!(!space.add_bar(0, false, 0x1000), "taken");
    assert!(!space.add_bar(3, false, 0x1000), "upper half of BAR 2");
    assert!(!space.add_bar(1, true, 0x1000), "BAR 2 is taken");
    assert!(!space.add_bar(5, true, 0x1000), "there is no BAR 6");
    assert!(!space.add_bar(4, false, 0x1001));
    assert!(!space.add_bar(4, false, 8));
    assert!(!space.add_bar(4, false, 1 << 32));
    assert!(space.add_bar(4, true, 1 << 33));
    let mut data = [0; 4];
    space.write(register::BARS as u16 + 16, &[0xff; 8]);
    space.read(register::BARS as u16 + 16, &mut data);
    assert_eq!(u32::from_le_bytes(data), 0b100);
    space.read(register::BARS as u16 + 20, &mut data);
    assert_eq!(u32::from_le_bytes(data), 0xffff_fffe);
}
