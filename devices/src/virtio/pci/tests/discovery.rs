//! Identity, capabilities and BARs (§4.1.2, §4.1.4 of virtio 1.0).

use super::*;
use crate::pci::config::BAR_COUNT;
use stickler_conformance::Latitudes;

#[test]
fn identity_is_non_transitional() {
    let rig = Rig::new();
    assert_eq!(rig.config_read(0, 4), 0x1042_1af4);
    assert_eq!(rig.config_read(8, 4), 0x0180_0001);
    assert_eq!(rig.config_read(0x2c, 2), 0x1af4);
    assert!(rig.config_read(0x2e, 2) >= 0x40);
    // Type 0, one function; INTA#.
    assert_eq!(rig.config_read(0x0e, 1), 0);
    assert_eq!(rig.config_read(0x3d, 1), 1);
}

#[test]
fn every_device_type_has_its_identity() {
    let types = [
        (DeviceKind::Net, 0x1041),
        (DeviceKind::Block, 0x1042),
        (DeviceKind::Console, 0x1043),
        (DeviceKind::Entropy, 0x1044),
    ];
    for (kind, device) in types {
        let identity = super::super::capabilities::identity(kind, Latitudes::default());
        assert_eq!((identity.vendor, identity.device), (0x1af4, device));
        assert_eq!(
            (identity.subsystem_vendor, identity.subsystem),
            (0x1af4, device)
        );
        assert_eq!(identity.revision, 1);
    }
    // And it is what the driver reads.
    let rig = Rig::new();
    assert_eq!(rig.config_read(0, 4), 0x1042_1af4);
    assert_eq!(rig.config_read(8, 1), 1);
    assert_eq!(rig.config_read(0x2c, 4), 0x1042_1af4);
}

#[test]
fn every_queue_has_its_place_in_the_notification_structure() {
    for notify_off_multiplier in [0, 2, 4, 4096] {
        let rig = Rig::with(&Options {
            notify_off_multiplier,
            ..Options::default()
        });
        let at = rig.capability(Structure::Notify);
        assert_eq!(rig.config_read(at + 8, 4) % 2, 0);
        let length = rig.config_read(at + 12, 4);
        assert!(length >= 2);
        assert_eq!(rig.config_read(at + 16, 4), notify_off_multiplier);
        for queue in 0..rig.get(reg::NUM_QUEUES) {
            rig.set(reg::QUEUE_SELECT, queue);
            let offset = rig.get(reg::QUEUE_NOTIFY_OFF) as u32;
            assert!(
                offset * notify_off_multiplier + 2 <= length,
                "queue {queue}"
            );
        }
    }
}

#[test]
fn vectors_are_as_many_as_are_of_use_and_the_table_says_so() {
    let table_size = |rig: &Rig| rig.config_read(rig.msix() + 2, 2) & 0x7ff;
    // Three queues and configuration changes.
    assert_eq!(table_size(&Rig::new()), 4 - 1);
    for vectors in [2_u16, 5, 0x800] {
        let rig = Rig::with(&Options {
            vectors: Some(vectors),
            ..Options::default()
        });
        assert_eq!(table_size(&rig), u32::from(vectors) - 1);
        // The last can be mapped, and the one behind it cannot.
        rig.set(reg::MSIX_CONFIG, u64::from(vectors) - 1);
        assert_eq!(rig.get(reg::MSIX_CONFIG), u64::from(vectors) - 1);
        rig.set(reg::MSIX_CONFIG, vectors.into());
        assert_eq!(rig.get(reg::MSIX_CONFIG), 0xffff);
    }
}

#[test]
fn all_structures_lie_in_bars_and_apart() {
    use Structure::{Common, Device, Isr, Notify};
    let rig = Rig::new();
    let mut places = Vec::new();
    for (structure, cap_len, len, alignment) in [
        (Common, 16, 56, 4),
        (Notify, 20, 12, 2),
        (Isr, 16, 1, 1),
        (Device, 16, 12, 4),
    ] {
        let at = rig.capability(structure);
        assert_eq!(rig.config_read(at + 2, 1), cap_len);
        let bar = rig.config_read(at + 4, 1);
        let offset = rig.config_read(at + 8, 4);
        assert!((bar as usize) < BAR_COUNT);
        assert_eq!(offset % alignment, 0);
        assert_eq!(rig.config_read(at + 12, 4), len, "{structure:?}");
        places.push((bar, offset, offset + len));
    }
    places.sort_unstable();
    assert!(
        places
            .windows(2)
            .all(|w| w[0].0 < w[1].0 || w[0].2 <= w[1].1)
    );
    let notify = rig.capability(Notify);
    assert_eq!(rig.config_read(notify + 16, 4), 4);
    let window = rig.capability(Structure::PciCfg);
    assert_eq!(rig.config_read(window + 2, 1), 20);
    assert_eq!(rig.config_read(rig.msix() + 2, 2), 3, "4 vectors");
    // A root complex integrated endpoint, and power management.
    assert_eq!(rig.config_read(rig.capabilities(0x10)[0] + 2, 2), 0x92);
    assert_eq!(rig.capabilities(1).len(), 1);
}

#[test]
fn structures_follow_a_bar_that_moves() {
    let rig = Rig::new();
    let old = rig.address(Structure::Common);
    rig.config_write(0x14, 4, 0x55);
    rig.config_write(0x10, 4, 0x4000_0000);
    assert_eq!(rig.address(Structure::Common), 0x55_4000_0000);
    assert_eq!(rig.get(reg::NUM_QUEUES), 3);
    assert!(!rig.bus.mmio_read(old, &mut [0; 4]));
}

#[test]
fn options_move_everything() {
    let options = Options {
        vectors: Some(2),
        notify_off_multiplier: 4096,
        common_bar: 1,
        isr_bar: 2,
        device_bar: 0,
        notify_bar: 4,
        msix_bar: 1,
        wide_bars: [false, false, true, false, true, false],
        ..Options::default()
    };
    let rig = Rig::with(&options);
    for structure in [Structure::Common, Structure::Isr, Structure::Device] {
        rig.read(structure, 0, 1);
    }
    assert_eq!(rig.config_read(rig.msix() + 2, 2), 1);
    assert_eq!(rig.config_read(rig.msix() + 4, 4) & 7, 1);
    rig.bring_up();
    rig.offer(2, 1);
    rig.write(Structure::Notify, 2 * 4096, 2, 2);
    rig.work();
    assert_eq!(rig.used_idx(2), 1);
}

#[test]
fn options_that_cannot_be_are_refused() {
    let make = |options: Options| {
        VirtioPci::with_options(
            TestDevice {
                knobs: Arc::default(),
                config: CONFIG.to_vec(),
            },
            SLOT,
            GuestRam::anonymous(4096),
            Arc::<Interrupts>::default(),
            &options,
            |_, _| Log::default(),
        )
    };
    let plain = Options::default;
    assert!(make(plain()).is_ok());
    for bad in [
        Options {
            vectors: Some(0x801),
            ..plain()
        },
        Options {
            notify_off_multiplier: 1,
            ..plain()
        },
        Options {
            notify_off_multiplier: 6,
            ..plain()
        },
        Options {
            notify_off_multiplier: 8192,
            ..plain()
        },
        Options {
            isr_bar: 6,
            ..plain()
        },
        Options {
            isr_bar: 1,
            ..plain()
        },
        Options {
            msix_bar: 5,
            wide_bars: [true, false, false, false, false, true],
            ..plain()
        },
    ] {
        assert!(make(bad.clone()).is_err(), "{bad:?}");
    }
}

#[test]
fn without_msix_there_is_no_capability_and_no_vector() {
    let rig = Rig::with(&Options {
        vectors: Some(0),
        ..Options::default()
    });
    assert_eq!(rig.capabilities(0x11), [0u16; 0]);
    rig.set(reg::MSIX_CONFIG, 0);
    assert_eq!(rig.get(reg::MSIX_CONFIG), 0xffff);
    assert!(rig.events().contains(
        &"Pci(VectorWritten { queue: None, value: 0, vectors: 0, enabled: false })".into()
    ));
}

#[test]
fn what_lies_between_structures_is_nothing() {
    let rig = Rig::new();
    let common = rig.address(Structure::Common);
    let mut data = [0xaa; 4];
    assert!(rig.bus.mmio_read(common + 0x800, &mut data));
    assert_eq!(data, [0; 4]);
    assert!(rig.bus.mmio_write(common + 0x800, &data));
    assert_eq!(rig.events(), [""; 0]);
}

#[test]
fn writes_to_capabilities_change_nothing_and_are_told() {
    let rig = Rig::new();
    let at = rig.capability(Structure::Notify);
    for offset in (0..20).step_by(4) {
        let before = rig.config_read(at + offset, 4);
        rig.config_write(at + offset, 4, !before);
        assert_eq!(rig.config_read(at + offset, 4), before);
    }
    rig.config_write(at + 5, 1, 0);
    let events = rig.events();
    assert_eq!(events.len(), 6);
    assert_eq!(
        events[4],
        "Pci(CapabilityWritten { cfg_type: 2, offset: 16, width: 4 })"
    );
    assert_eq!(
        events[5],
        "Pci(CapabilityWritten { cfg_type: 2, offset: 5, width: 1 })"
    );
}

#[test]
fn a_driver_that_reads_cfg_type_is_told_of_at_the_end() {
    let told = |offset: u16| {
        let rig = Rig::new();
        let at = rig.capability(Structure::Isr);
        // The rig has followed the list to find it.
        let fresh = Rig::new();
        fresh.config_read(at + offset, 1);
        fresh.function.run_ended(true);
        fresh.meanings()
    };
    let ended = "Status(RunEnded { by_guest: true })";
    // Id, next, and length: the bus driver's.
    for offset in 0..3 {
        assert_eq!(told(offset), [ended]);
    }
    assert_eq!(told(3), ["Pci(CapabilityRead)", ended]);
}
