//! The function for a host that has the bus itself.

use std::time::Duration;

use stickler_conformance::{Latitude, Latitudes};

use super::*;
use crate::pci::{DetachedFunction, PciFunction};

const COMMAND: u16 = 4;

#[test]
fn a_reset_from_outside_leaves_a_fresh_function_and_accuses_nobody() {
    let rig = Rig::new();
    let mut fresh = [0; 4096];
    Rig::new().function.config_shown(0, &mut fresh);
    rig.enable_msix();
    rig.bring_up();
    rig.offer(0, 1);
    rig.notify(0);
    rig.violated();
    rig.function.outside_reset();
    // The worker comes too late.
    rig.work();
    assert_eq!(rig.used_idx(0), 0);
    let told = rig.events();
    assert_eq!(told.iter().filter(|e| *e == "OutsideReset").count(), 1);
    assert!(!told.iter().any(|e| e.starts_with("Status")), "{told:?}");

    let mut shown = [0; 4096];
    rig.function.config_shown(0, &mut shown);
    for at in 0x10..0x28 {
        // The BARs of the other one have been given addresses; whatever can be written is 0 here.
        fresh[at] &= 0xf;
        assert_eq!(shown[at] & !0xf, 0);
    }
    fresh[usize::from(COMMAND)] = 0;
    assert_eq!(shown, fresh);
    assert_eq!(rig.violated(), [""; 0]);
}

#[test]
fn another_driver_may_begin_after_a_reset_from_outside() {
    let rig = Rig::new();
    rig.bring_up();
    let of_the_first = rig.violated();
    rig.function.outside_reset();
    assert!(rig.function.was_taken());
    // Whoever has the bus gives addresses again.
    rig.config_write(0x10, 4, 0xc000_0000);
    rig.config_write(0x14, 4, 0);
    rig.config_write(COMMAND, 2, 0x6);
    assert_eq!(rig.status(), 0);
    rig.bring_up();
    // The rings are as the first driver left them.
    rig.write_memory(ring_addresses(0)[2], &[0; 4]);
    rig.offer(0, 1);
    rig.notify(0);
    rig.work();
    assert_eq!(rig.used_idx(0), 1);
    assert_eq!(rig.violated(), of_the_first, "the same driver again");
}

#[test]
fn the_pin_is_deasserted_by_a_reset_from_outside() {
    let rig = Rig::new();
    rig.bring_up();
    rig.offer(0, 1);
    rig.notify(0);
    rig.work();
    assert!(rig.pin());
    rig.function.outside_reset();
    assert!(!rig.pin());
}

#[test]
fn a_device_that_is_live_at_arrival_is_so_after_each_reset_from_outside() {
    let latitudes = Latitudes::default().with(Latitude::LIVE_AT_ARRIVAL);
    let rig = Rig::with(&Options {
        latitudes,
        ..Options::default()
    });
    rig.function.outside_reset();
    let mut status = [0];
    let base = rig.function.bar_len(0);
    assert!(base >= 4096);
    rig.function
        .bar_read(0, reg::DEVICE_STATUS.into(), &mut status);
    assert_eq!(status, [READY]);
}

#[test]
fn what_the_host_looks_at_is_seen_by_nobody() {
    let rig = Rig::new();
    // The driver has addressed the window, and would read through it at any access.
    let at = rig.capability(Structure::PciCfg);
    rig.config_write(at + 12, 4, 4);
    rig.events();
    let mut shown = [0; 4096];
    rig.function.config_shown(0, &mut shown);
    assert_eq!(rig.events(), [""; 0]);
    assert_eq!(shown[..2], [0xf4, 0x1a]);
    assert_eq!(shown[256..], [0; 4096 - 256]);
}

#[test]
fn bars_and_vectors_are_as_a_driver_finds_them() {
    let rig = Rig::new();
    let function = &rig.function;
    let lens: Vec<u64> = (0..7).map(|bar| function.bar_len(bar)).collect();
    for (bar, len) in (0..6).zip(&lens).filter(|(_, len)| **len != 0) {
        rig.config_write(0x10 + 4 * bar, 4, u32::MAX);
        let mask = rig.config_read(0x10 + 4 * bar, 4) & !0xf;
        assert_eq!(u64::from(mask.wrapping_neg()), *len, "BAR {bar}");
    }
    assert_eq!(lens.iter().filter(|len| **len != 0).count(), 2);
    let table = function.msix_table().expect("it has MSI-X");
    let msix = rig.msix();
    assert_eq!(rig.config_read(msix + 2, 2) + 1, u32::from(table.vectors));
    let place = rig.config_read(msix + 4, 4);
    assert_eq!(place, table.place.offset | u32::from(table.place.bar));
    let without = Rig::with(&Options {
        vectors: Some(0),
        ..Options::default()
    });
    assert_eq!(without.function.msix_table(), None);
}

#[test]
fn a_device_whose_lock_is_held_does_not_answer() {
    let rig = Rig::new();
    let function = &rig.function;
    assert!(function.answers_within(Duration::ZERO));
    assert!(!function.access(|_| function.answers_within(Duration::from_millis(1))));
    assert!(function.answers_within(Duration::ZERO));
}
