//! The PCI configuration access capability (§4.1.4.7 of virtio 1.0).

use super::*;

/// Points the window at `offset` of a structure.
fn aim(rig: &Rig, structure: Structure, offset: u32, length: u32) -> u16 {
    let cap = rig.capability(structure);
    let (bar, base) = (rig.config_read(cap + 4, 1), rig.config_read(cap + 8, 4));
    let window = rig.capability(Structure::PciCfg);
    rig.config_write(window + 4, 1, bar);
    rig.config_write(window + 8, 4, base + offset);
    rig.config_write(window + 12, 4, length);
    window
}

#[test]
fn the_window_reads_and_writes_registers() {
    let rig = Rig::new();
    // It works whether or not the BARs decode.
    rig.config_write(4, 2, 0);
    let window = aim(&rig, Structure::Common, reg::QUEUE_SELECT, 2);
    // queue_size, which is behind it, would take a 4; but only two bytes are meant.
    rig.config_write(window + 16, 4, 0x0004_0002);
    aim(&rig, Structure::Common, reg::QUEUE_SIZE, 2);
    assert_eq!(rig.config_read(window + 16, 4) & 0xffff, 8);
    rig.config_write(window + 16, 2, 4);
    assert_eq!(rig.config_read(window + 16, 2), 4);
    aim(&rig, Structure::Device, 4, 4);
    assert_eq!(rig.config_read(window + 16, 4), 0x0807_0605);
    assert_eq!(rig.config_read(window + 18, 1), 0x07);
}

#[test]
fn the_window_is_told() {
    let rig = Rig::new();
    let window = aim(&rig, Structure::Common, reg::DEVICE_STATUS, 1);
    assert_eq!(
        rig.events(),
        [
            "Pci(WindowAddressed { bar: 0, offset: 0, length: 0, field: Bar })",
            "Pci(WindowAddressed { bar: 0, offset: 20, length: 0, field: Offset })",
            "Pci(WindowAddressed { bar: 0, offset: 20, length: 1, field: Length })",
        ]
    );
    rig.config_write(window + 16, 1, 1);
    assert_eq!(
        rig.events(),
        [
            "Pci(WindowAccessed { write: true, bar: 0, offset: 20, length: 1, target: Some(Common), bytes: 1 })",
            "Register(Written(Register { structure: Common, offset: 20, width: 1, value: 1 }))",
            "Status(Written { from: 0, to: 1 })",
        ]
    );
    rig.config_read(window + 16, 1);
    assert_eq!(
        rig.events(),
        [
            "Pci(WindowAccessed { write: false, bar: 0, offset: 20, length: 1, target: Some(Common), bytes: 1 })",
            "Register(Read(Register { structure: Common, offset: 20, width: 1, value: 1 }))",
            "Status(Read { value: 1 })",
        ]
    );
}

#[test]
fn all_but_four_fields_of_the_window_are_read_only() {
    let rig = Rig::new();
    let window = rig.capability(Structure::PciCfg);
    let head = rig.config_read(window, 4);
    rig.config_write(window, 4, !head);
    rig.config_write(window + 5, 1, 0xff);
    assert_eq!(
        rig.events(),
        [
            "Pci(CapabilityWritten { cfg_type: 5, offset: 0, width: 4 })",
            "Pci(CapabilityWritten { cfg_type: 5, offset: 5, width: 1 })",
        ]
    );
    rig.config_write(window + 4, 4, 0xffff_ff03);
    assert_eq!(
        rig.events(),
        ["Pci(WindowAddressed { bar: 3, offset: 0, length: 0, field: Bar })"]
    );
    assert_eq!(rig.config_read(window, 4), head);
    assert_eq!(rig.config_read(window + 4, 4), 3);
}

#[test]
fn senseless_windows_do_nothing() {
    let rig = Rig::new();
    let window = rig.capability(Structure::PciCfg);
    for (bar, offset, length) in [
        (0, 0, 0),
        (0, 0, 3),
        (0, 0, 8),
        (0, 0, u32::MAX),
        (0, 0x3fff, 2),
        (0, u32::MAX, 4),
        (1, 0, 4),
        (5, 0, 4),
        (6, 0, 4),
        (255, 0, 4),
    ] {
        rig.config_write(window + 4, 1, bar);
        rig.config_write(window + 8, 4, offset);
        rig.config_write(window + 12, 4, length);
        rig.events();
        rig.config_write(window + 16, 4, 0x1234_5678);
        assert_eq!(rig.config_read(window + 16, 4), 0x1234_5678);
        let told = rig.events();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().all(|e| e.starts_with("Pci(WindowAccessed")));
    }
    // Within a BAR, but in no structure: executed, and nothing is there.
    rig.config_write(window + 4, 1, 0);
    rig.config_write(window + 8, 4, 0x800);
    rig.config_write(window + 12, 4, 4);
    assert_eq!(rig.config_read(window + 16, 4), 0);
    assert!(rig.events().last().unwrap().contains("target: None,"));
}

#[test]
fn the_window_reaches_isr_and_notifications() {
    let rig = Rig::new();
    rig.bring_up();
    rig.offer(2, 1);
    let window = aim(&rig, Structure::Notify, 8, 2);
    rig.config_write(window + 16, 2, 2);
    rig.work();
    assert_eq!(rig.used_idx(2), 1);
    assert!(rig.pin());
    aim(&rig, Structure::Isr, 0, 1);
    assert_eq!(rig.config_read(window + 16, 1), 1);
    assert!(!rig.pin());
}
