//! The rogues against the catalogue, and what conforming drivers put to the test.

use std::collections::BTreeSet;

use stickler_conformance::Tallies;
use stickler_conformance::requirement::{How, Level, Req, Requirement, Role};
use stickler_conformance::{Version, catalogue};

use crate::{Rogue, conforming};

/// All rogues, file by file.
const ROGUES: &[&[Rogue]] = &[
    crate::initialization::ROGUES,
    crate::queue_setup::ROGUES,
    crate::registers::ROGUES,
    crate::rings::ROGUES,
    crate::waiting::ROGUES,
    crate::net::ROGUES,
    crate::net_control::ROGUES,
    crate::block::ROGUES,
    crate::console::ROGUES,
];

/// What no driver can do rightly with the devices there are: they do not offer fragmentation of UDP.
const NO_OPPORTUNITY: [&str; 2] = [
    "net.features.dependency.guest-ufo",
    "net.features.dependency.host-ufo",
];

fn rogues() -> impl Iterator<Item = &'static Rogue> {
    ROGUES.iter().flat_map(|file| file.iter())
}

/// Requirements on drivers that a rule decides from events alone.
fn asserted() -> impl Iterator<Item = (Req, &'static Requirement)> {
    catalogue::iter().filter(|(_, r)| r.role == Role::Driver && r.how == How::Asserted)
}

#[test]
fn every_requirement_has_a_rogue() {
    let by_strict_readings_only = crate::readings::DRIVERS.iter().map(|d| d.requirement);
    let broken: BTreeSet<_> = rogues()
        .map(|r| r.requirement)
        .chain(by_strict_readings_only)
        .collect();
    let unbroken: Vec<_> = asserted()
        .filter(|(_, r)| r.level(Version::V1_0) != Level::May && !broken.contains(r.name))
        .map(|(_, r)| r.name)
        .collect();
    assert!(unbroken.is_empty(), "nobody breaks {unbroken:#?}");
}

#[test]
fn every_rogue_breaks_a_requirement_that_can_be_broken() {
    let breakable: BTreeSet<_> = asserted()
        .filter(|(_, r)| r.level(Version::V1_0) != Level::May)
        .map(|(_, r)| r.name)
        .collect();
    let mut names = BTreeSet::new();
    for rogue in rogues() {
        for requirement in [&[rogue.requirement], rogue.also].concat() {
            assert!(
                breakable.contains(requirement),
                "{} breaks {requirement}, of which the catalogue knows nothing",
                rogue.name
            );
        }
        assert!(
            names.insert((rogue.requirement, rogue.name)),
            "{} stands twice",
            rogue.name
        );
    }
}

#[test]
fn conforming_drivers_put_every_requirement_to_the_test() {
    let mut tallies = Tallies::default();
    for scenario in conforming::SCENARIOS {
        tallies.merge(&scenario.run());
    }
    for (requirement, row) in asserted() {
        let held = tallies.get(requirement).held;
        assert_eq!(
            held == 0,
            NO_OPPORTUNITY.contains(&row.name),
            "{} held {held} times",
            row.name
        );
    }
}
