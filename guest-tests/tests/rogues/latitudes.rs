//! A conforming driver copes with every latitude, on every device.

use stickler_conformance::features::{RING_EVENT_IDX, VERSION_1, net};
use stickler_conformance::layout::{Structure, status};
use stickler_conformance::requirement::How;
use stickler_conformance::{Finding, Latitude, catalogue};
use stickler_guest_tests::in_process::{Driver, Interrupts, Rig};

use crate::devices::{self, Device};

fn rig_with(latitudes: &[Latitude]) -> Rig {
    let mut rig = Rig::new();
    rig.options.latitudes = latitudes.iter().copied().collect();
    rig
}

/// Which of the requirements that `latitude` provokes have not been put to the test.
fn left(rig: &Rig, latitude: Latitude) -> Vec<&'static str> {
    catalogue::iter()
        .filter(|(_, row)| row.how == How::Provoked(latitude.name()))
        .filter(|(requirement, _)| rig.tallies().get(*requirement).held == 0)
        .map(|(_, row)| row.name)
        .collect()
}

/// A driver brings the device to life and works with it for a while.
fn lives(rig: &mut Rig, device: Device, interrupts: Interrupts) {
    device.add(rig);
    let mut driver = Driver::probe(rig, devices::SLOT);
    driver.initialize(device.plain_features() | RING_EVENT_IDX, interrupts);
    let times = if device == Device::Entropy { 40 } else { 1 };
    for _ in 0..times {
        driver.exercise();
        if interrupts == Interrupts::Intx {
            driver.read(Structure::Isr, 0, 1);
        }
    }
    driver.reset();
}

#[test]
fn each_alone() {
    for latitude in Latitude::ALL {
        let interrupts = match latitude {
            Latitude::RefusedFeatures | Latitude::Announce => continue,
            Latitude::SharedInterrupts => Interrupts::Intx,
            _ => Interrupts::Msix,
        };
        for device in [Device::Net, Device::Block, Device::Console, Device::Entropy] {
            let mut rig = rig_with(&[*latitude]);
            lives(&mut rig, device, interrupts);
            assert_eq!(rig.findings(), Vec::<Finding>::new());
            let now_and_then = matches!(
                latitude,
                Latitude::SpuriousInterrupts | Latitude::SharedInterrupts
            );
            if device == Device::Entropy || !now_and_then {
                assert_eq!(left(&rig, *latitude), [""; 0], "{device:?}");
            }
        }
    }
}

#[test]
fn all_that_go_together() {
    let mut latitudes = Latitude::ALL.to_vec();
    latitudes.retain(|latitude| {
        !matches!(
            latitude,
            Latitude::RefusedFeatures | Latitude::OneVector | Latitude::SharedInterrupts
        )
    });
    for device in [Device::Net, Device::Block, Device::Console, Device::Entropy] {
        let mut rig = rig_with(&latitudes);
        lives(&mut rig, device, Interrupts::Msix);
        assert_eq!(rig.findings(), Vec::<Finding>::new());
    }
}

#[test]
fn features_are_refused() {
    let mut rig = rig_with(&[Latitude::RefusedFeatures]);
    Device::Entropy.add(&mut rig);
    let mut driver = Driver::probe(&rig, devices::SLOT);
    driver.begin();
    driver.offered();
    driver.accept(VERSION_1);
    assert!(!driver.features_ok());
    driver.add_status(status::FAILED);
    driver.reset();
    assert_eq!(rig.findings(), Vec::<Finding>::new());
    assert_eq!(left(&rig, Latitude::RefusedFeatures), [""; 0]);
}

#[test]
fn an_announcement_is_asked_for() {
    let mut rig = rig_with(&[Latitude::Announce]);
    devices::add_net(&mut rig).announce();
    let mut driver = Driver::probe(&rig, devices::SLOT);
    let features = net::MAC | net::STATUS | net::CTRL_VQ | net::GUEST_ANNOUNCE;
    driver.initialize(features, Interrupts::Msix);
    rig.run();
    let status = driver.consistently(|d| d.read(Structure::Device, 6, 2));
    assert_eq!(status, 3);
    assert_eq!(driver.command(3, 0, &[]), 0);
    assert_eq!(rig.findings(), Vec::<Finding>::new());
    assert_eq!(left(&rig, Latitude::Announce), [""; 0]);
}

#[test]
fn the_second_instance_is_not_to_be_used() {
    let mut rig = rig_with(&[Latitude::SecondInstances]);
    Device::Entropy.add(&mut rig);
    let driver = Driver::probe(&rig, devices::SLOT);
    // It stands behind the MSI-X table's neighbours: each part has pages of its own.
    let first = driver.place(Structure::Common).address;
    let pages = (1..8).map(|page| first + 4096 * page);
    for page in pages {
        let _ = rig.bus.mmio_read(page, &mut [0; 1]);
    }
    let names: Vec<_> = rig
        .findings()
        .iter()
        .map(|f| f.requirement.name())
        .collect();
    assert!(
        names.contains(&"pci.capability.first-instance"),
        "{names:?}"
    );
}
