//! The table: for each asserted requirement, a driver that violates only it, and one that does not.

use std::collections::BTreeSet;

use stickler_conformance::judge::FINDINGS_PER_REQUIREMENT;
use stickler_conformance::requirement::{How, Level, Role};
use stickler_conformance::{DeviceKind, Outcome, Version, catalogue};

use crate::play::Play;

/// The test of one requirement.
#[derive(Clone, Copy)]
pub struct Case {
    requirement: &'static str,
    kind: DeviceKind,
    violate: fn(&mut Play),
    keep: fn(&mut Play),
    also: &'static [&'static str],
}

/// `violate` violates `requirement` on a device of type `kind`; the conforming driver is
/// [`Play::life`].
pub const fn case(requirement: &'static str, kind: DeviceKind, violate: fn(&mut Play)) -> Case {
    Case {
        requirement,
        kind,
        violate,
        keep: Play::life,
        also: &[],
    }
}

impl Case {
    /// Uses this conforming driver, because the ordinary one has no opportunity.
    pub const fn keep(mut self, keep: fn(&mut Play)) -> Self {
        self.keep = keep;
        self
    }

    /// The driver also violates these requirements.
    pub const fn also(mut self, also: &'static [&'static str]) -> Self {
        self.also = also;
        self
    }
}

/// A permission: `used` uses it, which is never a violation.
pub const fn may(requirement: &'static str, kind: DeviceKind, used: fn(&mut Play)) -> Case {
    case(requirement, kind, |_| {}).keep(used)
}

fn cases() -> impl Iterator<Item = &'static Case> {
    crate::CASES.iter().flat_map(|chapter| chapter.iter())
}

fn is_permission(case: &Case) -> bool {
    catalogue::find(case.requirement)
        .is_some_and(|r| r.requirement().level(Version::V1_0) == Level::May)
}

#[test]
fn each_violation_is_found_under_its_name_and_no_other() {
    for case in cases().filter(|c| !is_permission(c)) {
        let mut play = Play::new(case.kind);
        (case.violate)(&mut play);
        let mut expected: Vec<_> = [case.requirement]
            .into_iter()
            .chain(case.also.iter().copied())
            .collect();
        expected.sort_unstable();
        assert_eq!(
            play.found(),
            expected,
            "{}: {:#?}",
            case.requirement,
            play.messages()
        );
        let requirement = catalogue::find(case.requirement).expect("in the catalogue");
        assert_eq!(play.tallies().outcome(requirement), Outcome::Violated);
    }
}

#[test]
fn conforming_drivers_are_not_flagged_and_counted() {
    for case in cases() {
        let mut play = Play::new(case.kind);
        (case.keep)(&mut play);
        assert_eq!(play.messages(), [""; 0], "{}", case.requirement);
        let requirement = catalogue::find(case.requirement)
            .unwrap_or_else(|| panic!("{} is not in the catalogue", case.requirement));
        assert_eq!(
            play.tallies().outcome(requirement),
            Outcome::Held,
            "{}",
            case.requirement
        );
    }
}

#[test]
fn every_asserted_requirement_has_a_case() {
    let tested: BTreeSet<_> = cases().map(|c| c.requirement).collect();
    let asserted: BTreeSet<_> = catalogue::iter()
        .filter(|(_, r)| r.role == Role::Driver && r.how == How::Asserted)
        .map(|(_, r)| r.name)
        .collect();
    let missing: Vec<_> = asserted
        .difference(&tested)
        .filter(|name| !crate::readings::free_by_lenience().contains(name))
        .collect();
    assert!(missing.is_empty(), "not tested: {missing:#?}");
    let unknown: Vec<_> = tested.difference(&asserted).collect();
    assert!(unknown.is_empty(), "tested, but not asserted: {unknown:#?}");
}

#[test]
fn endless_violations_are_counted_and_not_all_recorded() {
    let mut play = Play::new(DeviceKind::Entropy);
    play.negotiate(play.offered);
    for _ in 0..1000 {
        play.notify(0);
    }
    assert_eq!(play.messages().len() as u64, FINDINGS_PER_REQUIREMENT);
    let requirement = catalogue::find("notify.after-driver-ok").expect("in the catalogue");
    assert_eq!(play.tallies().get(requirement).violated, 1000);
}
