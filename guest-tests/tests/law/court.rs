//! What was found of a device, row by row of the specification.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use stickler_conformance::requirement::{Level, Role};
use stickler_conformance::{DeviceKind, Latitude, Latitudes, Version, catalogue};

/// How a requirement on devices is looked at by a driver.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen {
    /// In this way.
    By(&'static str),
    /// It permits something, and a permission cannot be broken.
    Permits,
    /// A driver cannot see it, because of this.
    Not(&'static str),
}

/// A row of the specification, or a section where it is the descriptive text that says it.
pub(crate) type Row = (&'static str, Seen);

/// For recommendations that a latitude may leave aside; it need not say so where the clauses that it
/// cites are those of the row.
const LEFT_ASIDE: &[(&str, &[Latitude])] = &[
    ("5.2.5.2-1", &[Latitude::FEATURE_SUBSET]),
    ("2.4.7.2-2", INTERRUPTS),
    ("2.4.7.2-6", INTERRUPTS),
];
const INTERRUPTS: &[Latitude] = &[
    Latitude::SPURIOUS_INTERRUPTS,
    Latitude::INTERRUPT_STORM,
    Latitude::SHARED_INTERRUPTS,
];

/// The level of each row that binds devices.
pub(crate) static LEVELS: LazyLock<BTreeMap<&str, Level>> = LazyLock::new(|| {
    let rows = catalogue::iter().filter(|(_, row)| row.role == Role::Device);
    let version = Version::V1_0;
    rows.flat_map(|(_, row)| {
        let clauses = row.clauses(version).into_iter();
        clauses.map(|clause| (clause, row.level(version)))
    })
    .collect()
});

/// Keeps the count of one device, or of several.
#[derive(Default)]
pub(crate) struct Court {
    latitudes: Latitudes,
    held: RefCell<BTreeMap<&'static str, u64>>,
    breaches: RefCell<Vec<(&'static str, String)>>,
}

impl Court {
    /// A court for devices that make use of `latitudes`.
    pub(crate) fn new(latitudes: Latitudes) -> Self {
        Court {
            latitudes,
            ..Court::default()
        }
    }

    /// The device did right by `row`, or it did not, and then `what` says what it did.
    pub(crate) fn rule(&self, row: &'static str, right: bool, what: impl FnOnce() -> String) {
        if right {
            *self.held.borrow_mut().entry(row).or_default() += 1;
        } else if !self.is_left_aside(row) {
            self.breach(row, what());
        }
    }

    /// As [`rule`](Self::rule), of that part of a row that is more than a recommendation.
    pub(crate) fn strictly(&self, row: &'static str, right: bool, what: impl FnOnce() -> String) {
        if right {
            *self.held.borrow_mut().entry(row).or_default() += 1;
        } else {
            self.breach(row, what());
        }
    }

    fn breach(&self, row: &'static str, what: String) {
        let mut breaches = self.breaches.borrow_mut();
        // The first ones say it all.
        if breaches.iter().filter(|(known, _)| *known == row).count() < 4 {
            breaches.push((row, what));
        }
    }

    /// Whether `row` recommends what a latitude in use leaves aside.
    fn is_left_aside(&self, row: &str) -> bool {
        let level = LEVELS.get(row);
        let recommended = matches!(level, Some(Level::Should | Level::ShouldNot));
        let section = row.split_once('-').map_or(row, |(section, _)| section);
        recommended
            && self.latitudes.iter().any(|latitude| {
                latitude.entry().clauses.contains(&section)
                    || latitude.entry().clauses.contains(&row)
                    || LEFT_ASIDE
                        .iter()
                        .any(|(name, latitudes)| *name == row && latitudes.contains(&latitude))
            })
    }

    /// Whether the device makes use of a latitude.
    pub(crate) fn has(&self, latitude: Latitude) -> bool {
        self.latitudes.has(latitude)
    }

    /// Whether the device makes use of a latitude that is about devices of this type.
    pub(crate) fn has_about(&self, kind: DeviceKind) -> bool {
        let mut latitudes = self.latitudes.iter();
        latitudes.any(|latitude| latitude.kind() == Some(kind))
    }

    /// How often the device was found to do right by `row`.
    pub(crate) fn held(&self, row: &str) -> u64 {
        self.held.borrow().get(row).copied().unwrap_or(0)
    }

    /// The rows looked at.
    pub(crate) fn rows(&self) -> Vec<&'static str> {
        self.held.borrow().keys().copied().collect()
    }

    /// What the device did wrong.
    pub(crate) fn breaches(&self) -> Vec<(&'static str, String)> {
        self.breaches.borrow().clone()
    }

    /// Takes over the counts of another court.
    pub(crate) fn join(&self, other: &Court) {
        for (row, count) in other.held.borrow().iter() {
            *self.held.borrow_mut().entry(row).or_default() += count;
        }
    }
}
