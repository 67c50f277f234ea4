//! Latitudes: each has a driver that takes the plain device for the only one, and fails; and a
//! conforming driver that copes.
//!
//! The naive driver works with a plain device, without a finding: so it is the latitude that it fails
//! at. The table is complete: a latitude without an entry fails a test.

mod choices;
mod conforming;
mod naive;

use std::panic::{self, AssertUnwindSafe};

use stickler_conformance::requirement::How;
use stickler_conformance::{Finding, Latitude, Latitudes, catalogue};
use stickler_guest_tests::in_process::devices::{Device, SLOT};
use stickler_guest_tests::in_process::{Driver, Rig};

/// A latitude, who fails at it, and who copes.
pub(crate) struct Case {
    /// What it is called: what the naive driver assumes.
    pub(crate) name: &'static str,
    /// What the device makes use of.
    pub(crate) latitude: Latitude,
    /// The device.
    pub(crate) device: Device,
    /// A driver that fails.
    pub(crate) naive: fn(&mut Driver<'_>),
    /// In which way.
    pub(crate) fails: Fails,
    /// A driver that copes, without a finding, and holds what the latitude provokes.
    pub(crate) copes: fn(&mut Driver<'_>),
}

/// What no device can see, because it is in what the driver's users make of the data: `stickler check` does
/// not count it as held where the guest failed.
const SEEN_IN_DATA: [&str; 1] = ["used.len.more-written"];

/// What comes of a naive driver.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fails {
    /// It breaks the requirement of this name.
    Breaks(&'static str),
    /// It stops (panics) with a message that has these words in it: it gives up, waits in vain, or
    /// has got wrong data.
    Stops(&'static str),
    /// It works to the end, but what it did not handle shows: the requirement of this name is not held.
    Misses(&'static str),
}

impl Case {
    /// The naive driver and the conforming one, on plain devices and on those that make use of the
    /// latitude.
    pub(crate) fn run(cases: &[Case], name: &str) {
        let case = cases.iter().find(|c| c.name == name).expect("it is there");
        let plain = Latitudes::default();
        let rig = case.rig(plain);
        case.drive(&rig, case.naive)
            .unwrap_or_else(|message| panic!("on a plain device: {message}"));
        no_absolute(&rig);

        let rig = case.rig(plain.with(case.latitude));
        let stopped = case.drive(&rig, case.naive).err();
        match case.fails {
            Fails::Stops(words) => {
                let message = stopped.expect("the naive driver copes");
                assert!(message.contains(words), "it stopped because of: {message}");
            }
            Fails::Misses(requirement) => {
                assert_eq!(stopped, None);
                assert_eq!(rig.tally(requirement).held, 0, "{requirement} is held");
            }
            Fails::Breaks(requirement) => {
                let findings = rig.findings();
                let found = findings.iter().any(|f| f.requirement.name() == requirement);
                assert!(found, "{requirement} is not among {findings:#?}");
            }
        }
        // What it breaks may be one of several that are provoked, and it may keep the others.
        let breaks_one = matches!(case.fails, Fails::Breaks(name) if is_provoked(name));
        let mut held = held(&rig, case.latitude);
        held.retain(|name| !SEEN_IN_DATA.contains(name));
        assert!(breaks_one || held.is_empty(), "it holds {held:?}");

        for variation in 0..3 {
            let rig = case.rig(plain.with(case.latitude).varied(variation));
            case.drive(&rig, case.copes)
                .unwrap_or_else(|message| panic!("variation {variation}: {message}"));
            rig.power_off();
            assert_eq!(rig.findings(), Vec::<Finding>::new());
            assert_eq!(left(&rig, case.latitude), [""; 0]);
        }
    }

    fn rig(&self, latitudes: Latitudes) -> Rig {
        rig_with(latitudes, self.device)
    }

    /// Lets a driver do its work; gives the message if it stops.
    fn drive(&self, rig: &Rig, work: fn(&mut Driver<'_>)) -> Result<(), String> {
        let driven = AssertUnwindSafe(|| work(&mut Driver::probe(rig, SLOT)));
        panic::catch_unwind(driven).map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied());
            text.unwrap_or("something unsaid").to_owned()
        })
    }
}

/// A machine with a device that makes use of `latitudes`.
pub(crate) fn rig_with(latitudes: Latitudes, device: Device) -> Rig {
    let mut rig = Rig::new();
    rig.options.latitudes = latitudes;
    device.add(&mut rig);
    rig
}

/// Which of the requirements that `latitude` provokes have not been put to the test.
pub(crate) fn left(rig: &Rig, latitude: Latitude) -> Vec<&'static str> {
    catalogue::iter()
        .filter(|(_, row)| row.how == How::Provoked(latitude))
        .filter(|(requirement, _)| rig.tallies().get(*requirement).held == 0)
        .map(|(_, row)| row.name)
        .collect()
}

/// Whether the requirement of this name is provoked.
fn is_provoked(name: &str) -> bool {
    let requirement = catalogue::find(name).unwrap_or_else(|| panic!("no requirement {name}"));
    matches!(requirement.requirement().how, How::Provoked(_))
}

/// Which of the requirements that `latitude` provokes count as held.
fn held(rig: &Rig, latitude: Latitude) -> Vec<&'static str> {
    catalogue::iter()
        .filter(|(_, row)| row.how == How::Provoked(latitude))
        .filter(|(requirement, _)| {
            let tally = rig.tallies().get(*requirement);
            tally.held > 0 && tally.violated == 0
        })
        .map(|(_, row)| row.name)
        .collect()
}

/// There is no finding on a MUST or MUST NOT.
fn no_absolute(rig: &Rig) {
    for finding in rig.findings() {
        let level = finding.level;
        assert!(!level.is_absolute(), "on a plain device: {finding:?}");
    }
}

/// Declares cases: a table of them, and a test each. Without `copes with`, the conforming driver is
/// [`conforming::works`].
macro_rules! cases {
    (@copes) => { crate::conforming::works };
    (@copes $copes:expr) => { $copes };
    ($(
        $test:ident: $latitude:ident on $device:ident, $naive:expr, $fails:ident $what:literal
            $(, copes with $copes:expr)?;
    )+) => {
        pub(crate) static CASES: &[crate::Case] = &[$(
            crate::Case {
                name: stringify!($test),
                latitude: stickler_conformance::Latitude::$latitude,
                device: stickler_guest_tests::in_process::devices::Device::$device,
                naive: $naive,
                fails: crate::Fails::$fails($what),
                copes: crate::cases!(@copes $($copes)?),
            },
        )+];
        $(
            #[test]
            fn $test() {
                crate::Case::run(CASES, stringify!($test));
            }
        )+
    };
}
pub(crate) use cases;

/// The requirements on which a driver may rely or not: to keep them is as good as not to.
const HINTS: [&str; 1] = ["net.rx.hdr-len.hint"];

#[test]
fn every_provoked_requirement_is_missed_by_a_naive_driver() {
    let missed = |name: &str, latitude| {
        naive::cases().any(|case| {
            case.latitude == latitude
                && match case.fails {
                    Fails::Breaks(other) => other == name || !is_provoked(other),
                    Fails::Misses(other) => other == name,
                    Fails::Stops(_) => true,
                }
        })
    };
    let never: Vec<_> = catalogue::iter()
        .filter_map(|(_, row)| match row.how {
            How::Provoked(latitude) => (!missed(row.name, latitude)).then_some(row.name),
            How::Asserted | How::Built { .. } | How::Unobservable(_) | How::Proposed(_) => None,
        })
        .filter(|name| !HINTS.contains(name))
        .collect();
    assert!(never.is_empty(), "held by any driver: {never:#?}");
}

#[test]
fn every_latitude_has_its_case() {
    let missing: Vec<_> = Latitude::all()
        .filter(|latitude| !naive::cases().any(|case| case.latitude == *latitude))
        .map(|latitude| latitude.name())
        .collect();
    assert!(missing.is_empty(), "nobody fails at {missing:#?}");
}
