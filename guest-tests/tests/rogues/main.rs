//! Rogues: for each requirement the smallest deviation of an otherwise conforming driver that breaks
//! it, driven through configuration space, BARs and rings against the real devices.
//!
//! The finding must carry the requirement's name, and no other MUST may be reported unless the
//! deviation truly breaks it too; then the rogue says so. A conforming driver must have no finding.

mod conforming;
mod devices;
mod initialization;
mod queue_setup;
mod registers;
mod rings;

use std::collections::BTreeSet;

use stickler_conformance::DeviceKind;
use stickler_guest_tests::in_process::{Driver, Rig};

/// A driver that breaks one requirement.
pub(crate) struct Rogue {
    /// The requirement it breaks.
    pub(crate) requirement: &'static str,
    /// The device it drives.
    pub(crate) device: DeviceKind,
    /// Further requirements that the same deviation truly breaks.
    pub(crate) also: &'static [&'static str],
    /// What it does.
    pub(crate) act: fn(&mut Driver<'_>),
}

impl Rogue {
    fn run(&self) {
        let mut rig = Rig::new();
        devices::add(&mut rig, devices::SLOT, self.device);
        let mut driver = Driver::probe(&rig, devices::SLOT);
        (self.act)(&mut driver);
        rig.run();
        let findings = rig.findings();
        let found: BTreeSet<&str> = findings.iter().map(|f| f.requirement.name()).collect();
        let all: Vec<String> = findings
            .iter()
            .map(|f| format!("{}: {}", f.requirement, f.message))
            .collect();
        assert!(
            found.contains(self.requirement),
            "not found; found were {all:#?}"
        );
        for finding in &findings {
            let name = finding.requirement.name();
            assert!(
                name == self.requirement
                    || self.also.contains(&name)
                    || !finding.requirement.requirement().level.is_absolute(),
                "{name} is not what the rogue breaks: {all:#?}"
            );
        }
        for name in self.also {
            assert!(
                found.contains(name),
                "{name} was expected too; found were {all:#?}"
            );
        }
        assert!(rig.tally(self.requirement).violated > 0);
    }
}

/// Declares rogues: a test each, named like the deviation.
macro_rules! rogues {
    ($(
        $test:ident: $device:ident breaks $requirement:literal $(and $also:literal)* by $act:expr;
    )+) => {
        $(
            #[test]
            fn $test() {
                crate::Rogue {
                    requirement: $requirement,
                    device: stickler_conformance::DeviceKind::$device,
                    also: &[$($also),*],
                    act: $act,
                }
                .run();
            }
        )+
    };
}
pub(crate) use rogues;
