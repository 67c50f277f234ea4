//! Capabilities, the window through configuration space, read-only registers (§4.1.4 of virtio 1.0).

use stickler_conformance::DeviceKind::{Block, Entropy};
use stickler_conformance::event::PciEvent;
use stickler_conformance::layout::Structure::{self, Common};
use stickler_conformance::layout::common;

use crate::play::Play;
use crate::table::{Case, case};

pub const CASES: &[Case] = &[
    case("pci.capability.read-only", Entropy, |p| {
        write_capability(p, 1, 4);
    }),
    case("pci.window.length", Entropy, |p| {
        window(p, true, 0, 3, Some(Common));
    })
    .keep(look),
    case("pci.window.aligned", Entropy, |p| {
        window(p, false, 2, 4, Some(Common));
    })
    .keep(look),
    case("pci.window.target", Entropy, |p| {
        window(p, false, 0x8000, 4, None);
    })
    .keep(look),
    case("pci.window.whole", Entropy, |p| {
        p.see(PciEvent::WindowAccessed {
            write: true,
            bar: 4,
            offset: 0x20,
            length: 4,
            target: Some(Common),
            bytes: 2,
        });
    })
    .keep(look),
    case("common.device-feature.read-only", Entropy, |p| {
        p.write(Common, common::DEVICE_FEATURE, 4, 0);
    }),
    // A 32-bit write that means msix_config and runs into num_queues.
    case("common.num-queues.read-only", Entropy, |p| {
        p.write(Common, common::MSIX_CONFIG, 4, 0);
    }),
    case("common.config-generation.read-only", Entropy, |p| {
        p.write(Common, common::DEVICE_STATUS, 2, 0);
    }),
    case("common.queue-notify-off.read-only", Entropy, |p| {
        p.write(Common, common::QUEUE_NOTIFY_OFF, 2, 0);
    }),
    case("common.fields-only", Entropy, |p| {
        p.write(Common, common::QUEUE_USED + 4, 8, 0);
    }),
    // A 32-bit write that means writeback.
    case("config.fields-only", Block, |p| {
        p.boot();
        p.write(Structure::Device, 32, 4, 1);
    })
    .also(&["config.width.8-bit"]),
    case("isr.read-only", Entropy, |p| {
        p.write(Structure::Isr, 0, 1, 1);
    }),
    case("isr.width", Entropy, |p| p.read(Structure::Isr, 0, 8)).keep(|p| {
        p.boot();
        p.read(Structure::Isr, 0, 1);
        p.reset();
    }),
    case("isr.unused-with-msi-x", Block, |p| {
        p.boot();
        read_isr(p, 1);
        p.reset();
    }),
];

fn write_capability(p: &mut Play, cfg_type: u8, offset: u8) {
    p.see(PciEvent::CapabilityWritten {
        cfg_type,
        offset,
        width: 4,
    });
}

fn window(p: &mut Play, write: bool, offset: u32, length: u32, target: Option<Structure>) {
    p.see(PciEvent::WindowAccessed {
        write,
        bar: 4,
        offset,
        length,
        target,
        bytes: 4,
    });
}

fn look(p: &mut Play) {
    window(p, false, 0x14, 1, Some(Common));
    window(p, true, 0x14, 1, Some(Common));
    window(p, false, 0x16, 2, Some(Common));
    window(p, false, 0x20, 4, Some(Common));
}

fn read_isr(p: &mut Play, value: u8) {
    p.see(PciEvent::IsrRead {
        value,
        msix_enabled: true,
    });
}

#[test]
fn the_windows_own_fields_are_writable_and_the_rest_of_its_capability_is_not() {
    let mut p = Play::new(Entropy);
    write_capability(&mut p, 5, 4);
    assert_eq!(p.messages(), [""; 0]);
    write_capability(&mut p, 5, 0);
    assert_eq!(p.found(), ["pci.capability.read-only"]);
}

#[test]
fn reading_all_of_configuration_space_is_no_access_through_the_window() {
    let mut p = Play::new(Entropy);
    window(&mut p, false, 0, 0, None);
    assert_eq!(p.messages(), [""; 0]);
    window(&mut p, true, 0, 0, None);
    assert_eq!(p.found(), ["pci.window.length"]);
}

#[test]
fn isr_status_may_be_read_for_a_configuration_change_and_without_msi_x() {
    let mut p = Play::new(Block);
    p.boot();
    read_isr(&mut p, 2);
    p.see(PciEvent::IsrRead {
        value: 1,
        msix_enabled: false,
    });
    assert_eq!(p.messages(), [""; 0]);
}
