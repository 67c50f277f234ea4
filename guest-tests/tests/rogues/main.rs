//! Rogues: for each requirement the smallest deviation of an otherwise conforming driver that breaks
//! it, driven through configuration space, BARs and rings against the real devices.
//!
//! The finding must carry the requirement's name, and no other MUST may be reported unless the
//! deviation truly breaks it too; then the rogue says so. After every rogue the device must still be
//! there for a conforming driver, which must have no finding.

mod block;
mod conforming;
mod console;
mod initialization;
mod lives;
mod net;
mod net_control;
mod queue_setup;
mod random;
mod readings;
mod registers;
mod rings;
mod table;
mod waiting;

use std::collections::BTreeSet;

use devices::Device;
use stickler_conformance::Finding;
pub(crate) use stickler_guest_tests::in_process::devices;
use stickler_guest_tests::in_process::{Driver, Interrupts, Rig};

/// A driver that breaks one requirement.
pub(crate) struct Rogue {
    /// What it is called: the deviation.
    pub(crate) name: &'static str,
    /// The requirement it breaks.
    pub(crate) requirement: &'static str,
    /// The device it drives.
    pub(crate) device: Device,
    /// Further requirements that the same deviation truly breaks.
    pub(crate) also: &'static [&'static str],
    /// What it does.
    pub(crate) act: fn(&mut Driver<'_>),
}

impl Rogue {
    /// Lets the rogue of `rogues` that is called `name` do its deed, and then a conforming driver
    /// its work.
    pub(crate) fn run(rogues: &[Rogue], name: &str) {
        let rogue = rogues.iter().find(|r| r.name == name).expect("it is there");
        let mut rig = Rig::new();
        rogue.device.add(&mut rig);
        (rogue.act)(&mut Driver::probe(&rig, devices::SLOT));
        rig.run();
        rogue.judge(&rig.findings());
        assert!(rig.tally(rogue.requirement).violated > 0);

        let mut driver = Driver::probe(&rig, devices::SLOT);
        driver.initialize(rogue.device.plain_features(), Interrupts::Msix);
        driver.exercise();
        driver.reset();
        // What the rogue did is what there is still to say.
        rogue.judge(&rig.findings());
    }

    fn judge(&self, findings: &[Finding]) {
        let found: BTreeSet<&str> = findings.iter().map(|f| f.requirement.name()).collect();
        let all: Vec<String> = findings
            .iter()
            .map(|f| format!("{}: {}", f.requirement, f.message))
            .collect();
        for name in [&[self.requirement], self.also].concat() {
            assert!(
                found.contains(name),
                "{name} not found; found were {all:#?}"
            );
        }
        for finding in findings {
            let name = finding.requirement.name();
            assert!(
                name == self.requirement
                    || self.also.contains(&name)
                    || !finding.level.is_absolute(),
                "{name} is not what the rogue breaks: {all:#?}"
            );
        }
    }
}

/// Declares rogues: a table of them, and a test each, named like the deviation.
macro_rules! rogues {
    ($(
        $test:ident: $device:ident breaks $requirement:literal $(and $also:literal)* by $act:expr;
    )+) => {
        pub(crate) static ROGUES: &[crate::Rogue] = &[$(
            crate::Rogue {
                name: stringify!($test),
                requirement: $requirement,
                device: crate::devices::Device::$device,
                also: &[$($also),*],
                act: $act,
            },
        )+];
        $(
            #[test]
            fn $test() {
                crate::Rogue::run(ROGUES, stringify!($test));
            }
        )+
    };
}
pub(crate) use rogues;
