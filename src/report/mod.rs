//! What the user reads about a run.
//!
//! A [`Report`] is put together once, when the guest has ended, and shown as [`text`] for people or
//! [`json`] for programs. A [`CheckReport`](check::CheckReport) is the same for many runs. [`schema`]
//! describes the JSON. [`output`] writes reports to where the user wants them.

pub mod check;
pub mod features;
mod groups;
pub mod guest;
pub mod json;
pub mod output;
mod pending;
pub mod schema;
pub mod text;

use std::time::Duration;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stickler_conformance::requirement::{How, Level, MAX_READINGS, Reading, Requirement};
use stickler_conformance::{
    DeviceId, Latitudes, Outcome, Readings, Req, Tallies, Tally, Version, catalogue,
};

use features::ReportedFeatures;

use crate::end::GuestEnd;
use crate::firmware::BootReport;
use crate::journal::{Dropped, Journal, Mark, NextKernel, RecordedComplaint, RecordedFinding};
use guest::ReportedStanding;
pub use text::GuestFailure;

/// What is reported about a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The devices whose drivers were judged, by slot.
    pub devices: Vec<DeviceId>,
    /// Those of them that no driver has taken: DRIVER_OK was never set.
    pub untaken: Vec<DeviceId>,
    /// The features of the devices and their drivers, by slot.
    pub features: Vec<ReportedFeatures>,
    /// Whether the run fails if no driver took a plain device.
    pub drivers_required: bool,
    /// How the run ended.
    pub end: RunEnd,
    /// What firmware did, if the guest is firmware.
    pub boot: Option<BootReport>,
    /// Where the guest stood, if its time was over.
    pub standing: Option<ReportedStanding>,
    /// What the guest's kernel complained of.
    pub complaints: Vec<RecordedComplaint>,
    /// Kernels that came while devices were live.
    pub next_kernels: Vec<NextKernel>,
    /// By which version of the specification it was judged.
    pub version: Version,
    /// By which readings it was judged, where the specification can be read in several ways.
    pub readings: Readings,
    /// Which optional behaviour of devices was in use.
    pub latitudes: Latitudes,
    /// The seed from which the latitudes were drawn, if they were.
    pub seed: Option<u64>,
    /// How long it ran.
    pub duration: Duration,
    /// The steps it marked, by rising time.
    pub marks: Vec<Mark>,
    /// Every requirement of which the run has a result, in catalogue order.
    pub rows: Vec<ReportRow>,
    /// The violations, in the order in which they happened.
    pub findings: Vec<RecordedFinding>,
    /// How many more marks, findings and complaints there were.
    pub dropped: Dropped,
}

/// The result for one requirement.
#[derive(Clone, Copy, Debug)]
pub struct ReportRow {
    /// Which requirement.
    pub req: Req,
    /// The version of the specification by which it was judged.
    pub version: Version,
    /// How often it was tested, with which result.
    pub tally: Tally,
    /// The result as one word.
    pub outcome: Outcome,
    /// The counts by each of its readings, as many as it has.
    pub by_reading: [Tally; MAX_READINGS],
}

impl ReportRow {
    /// Its row in the catalogue.
    pub fn requirement(&self) -> &'static Requirement {
        self.req.requirement()
    }

    /// How strong it is.
    pub fn level(&self) -> Level {
        self.requirement().level(self.version)
    }

    /// The clauses that state it.
    pub fn clauses(&self) -> Vec<&'static str> {
        self.requirement().clauses(self.version)
    }

    /// Its readings, from the most lenient to the strictest, with their counts; none where the
    /// specification can be read in one way only.
    pub fn readings(&self) -> impl Iterator<Item = (&'static Reading, Tally)> + use<> {
        self.requirement().readings.iter().zip(self.by_reading)
    }
}

/// All outcomes, in the order in which a text report lists them.
pub const OUTCOMES: [Outcome; 5] = [
    Outcome::Violated,
    Outcome::Held,
    Outcome::NotExercised,
    Outcome::Observed,
    Outcome::Unobservable,
];

impl Report {
    /// Makes a report from the tallies of the judges of `devices`, and from the journal.
    pub fn new(
        end: RunEnd,
        devices: Vec<DeviceId>,
        tallies: &Tallies,
        journal: &Journal,
    ) -> Report {
        let version = tallies.version();
        let rows = catalogue::iter()
            .filter(|(_, requirement)| requirement.is_in(version))
            .filter_map(|(req, requirement)| {
                let tally = tallies.get(req);
                // A run has no result for a device requirement that it did not count.
                let counted =
                    !matches!(requirement.how, How::Built { .. }) || tally != Tally::default();
                counted.then(|| ReportRow {
                    req,
                    version,
                    tally,
                    outcome: tallies.outcome(req),
                    by_reading: std::array::from_fn(|reading| tallies.reading(req, reading)),
                })
            })
            .collect();
        Report {
            devices,
            untaken: Vec::new(),
            features: Vec::new(),
            drivers_required: false,
            boot: None,
            standing: (end == RunEnd::Guest(GuestEnd::Timeout))
                .then(|| ReportedStanding::new(&journal.positions(), journal.answers())),
            complaints: journal.complaints(),
            next_kernels: journal.next_kernels(),
            end,
            version,
            readings: tallies.readings().clone(),
            latitudes: Latitudes::default(),
            seed: None,
            duration: journal.elapsed(),
            marks: journal.marks(),
            rows,
            findings: findings(journal),
            dropped: journal.dropped(),
        }
    }

    /// The same report for devices with `latitudes`, drawn from `seed` if they were drawn.
    #[must_use]
    pub fn with_latitudes(self, latitudes: Latitudes, seed: Option<u64>) -> Report {
        Report {
            latitudes,
            seed,
            ..self
        }
    }

    /// The same report, where no driver has taken the devices `untaken`, for which the run fails if
    /// `drivers_required`.
    #[must_use]
    pub fn with_untaken(self, untaken: Vec<DeviceId>, drivers_required: bool) -> Report {
        Report {
            untaken,
            drivers_required,
            ..self
        }
    }

    /// The same report, of what firmware did.
    #[must_use]
    pub fn with_boot(self, boot: Option<BootReport>) -> Report {
        Report { boot, ..self }
    }

    /// The same report, with the features of the devices and their drivers.
    #[must_use]
    pub fn with_features(self, features: Vec<ReportedFeatures>) -> Report {
        Report { features, ..self }
    }

    /// Whether a device was taken by no driver although it should have been: it is plain, and the guest
    /// has ended by itself.
    pub fn lacks_drivers(&self) -> bool {
        self.latitudes.is_empty() && self.end.is_by_guest() && !self.untaken.is_empty()
    }

    /// How many requirements have this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.rows.iter().filter(|r| r.outcome == outcome).count()
    }

    /// Whether a requirement of a level that `counts` was violated.
    pub fn violates(&self, counts: impl Fn(Level) -> bool) -> bool {
        self.rows
            .iter()
            .any(|r| r.outcome == Outcome::Violated && counts(r.level()))
    }
}

/// The findings of a run. What the driver of a device seems to have done while the next kernel came to a live
/// device is the doing of that kernel, which does not know of the device's rings: the finding says so.
fn findings(journal: &Journal) -> Vec<RecordedFinding> {
    let mut findings = journal.findings();
    let marks = journal.marks();
    for next in journal.next_kernels() {
        // From the last mark of one kernel to the first of the other.
        let before = marks.iter().rev().find(|mark| mark.time_us <= next.time_us);
        let after = marks.iter().find(|mark| mark.time_us > next.time_us);
        let from = before.map_or(0, |mark| mark.time_us);
        let to = after.map_or(u64::MAX, |mark| mark.time_us);
        let concerned = findings.iter_mut().filter(|recorded| {
            next.live.contains(&recorded.finding.device) && (from..to).contains(&recorded.time_us)
        });
        for recorded in concerned {
            let message = &mut recorded.finding.message;
            message.push_str("; ");
            message.push_str(&next.message());
        }
    }
    findings
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// The guest ended, or was ended.
    Guest(GuestEnd),
    /// stickler could not continue, for this reason. What was seen until then is still reported.
    Error(String),
}

impl RunEnd {
    /// Whether the guest has ended the run itself, as it wanted.
    pub fn is_by_guest(&self) -> bool {
        matches!(self, RunEnd::Guest(GuestEnd::PowerOff | GuestEnd::Reset))
    }
}

/// How a run ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "end")]
pub enum EndKind {
    /// The guest powered itself off.
    PowerOff,
    /// The guest reset itself.
    Reset,
    /// The guest's kernel panicked.
    Panic,
    /// A vCPU of the guest shut down (triple fault).
    TripleFault,
    /// The guest continued where it has no memory.
    StrayJump,
    /// The guest did not end within its time limit.
    Timeout,
    /// stickler stopped the guest at a violation, as the user asked.
    Violation,
    /// The firmware said that it has nothing to boot.
    GaveUp,
    /// The monitor that had the guest has gone away (`stickler serve`).
    Disconnected,
    /// The user or a signal ended the run.
    Interrupted,
    /// stickler could not continue.
    Error,
}

/// Which violations make a run fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "deny")]
pub enum Deny {
    /// Violations of MUST and MUST NOT
    Must,
    /// Also violations of SHOULD and SHOULD NOT
    Should,
    /// No violations
    None,
}

impl Deny {
    /// The value of `--deny`, and how reports spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Deny::Must => "must",
            Deny::Should => "should",
            Deny::None => "none",
        }
    }

    /// Whether a violated requirement of this level makes the run fail.
    pub fn counts(self, level: Level) -> bool {
        match self {
            Deny::Must => level.is_absolute(),
            Deny::Should => level != Level::May,
            Deny::None => false,
        }
    }

    /// Whether `--on-violation stop` ends the guest at a violation of this level.
    pub fn stops(self, level: Level) -> bool {
        match self {
            Deny::None => Deny::Should.counts(level),
            deny => deny.counts(level),
        }
    }
}

impl RunEnd {
    /// The end without its message.
    pub fn kind(&self) -> EndKind {
        match self {
            RunEnd::Guest(GuestEnd::PowerOff) => EndKind::PowerOff,
            RunEnd::Guest(GuestEnd::Reset) => EndKind::Reset,
            RunEnd::Guest(GuestEnd::Panic(_)) => EndKind::Panic,
            RunEnd::Guest(GuestEnd::TripleFault) => EndKind::TripleFault,
            RunEnd::Guest(GuestEnd::StrayJump(_)) => EndKind::StrayJump,
            RunEnd::Guest(GuestEnd::Timeout) => EndKind::Timeout,
            RunEnd::Guest(GuestEnd::Violation) => EndKind::Violation,
            RunEnd::Guest(GuestEnd::GaveUp(_)) => EndKind::GaveUp,
            RunEnd::Guest(GuestEnd::Disconnected) => EndKind::Disconnected,
            RunEnd::Guest(GuestEnd::Interrupted) => EndKind::Interrupted,
            RunEnd::Error(_) => EndKind::Error,
        }
    }

    /// The guest's panic message, where it crashed, why the firmware gave up, or what failed.
    pub fn message(&self) -> Option<&str> {
        match self {
            RunEnd::Guest(
                GuestEnd::Panic(message) | GuestEnd::StrayJump(message) | GuestEnd::GaveUp(message),
            )
            | RunEnd::Error(message)
                if !message.is_empty() =>
            {
                Some(message)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod guest_tests;
#[cfg(test)]
mod tests;
