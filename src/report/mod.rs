//! What the user gets to read of a run.
//!
//! A [`Report`] is put together once, when the guest has ended, and shown as [`text`] for people or
//! [`json`] for programs. A [`check::Check`] is the same of many runs. [`output`] brings it to where the user wants it.

pub mod check;
pub mod json;
pub mod output;
pub mod text;

use std::time::Duration;

use stickler_conformance::catalogue;
use stickler_conformance::judge::{Outcome, Tallies, Tally};
use stickler_conformance::requirement::{
    How, Level, MAX_READINGS, Reading, Requirement, Strictness,
};
use stickler_conformance::{DeviceId, Latitudes, Req};

use crate::end::GuestEnd;
use crate::journal::{Journal, Mark, Noted};

/// The version of the specification by which a run is judged.
pub const SPEC: &str = "1.0";

/// Everything there is to say about a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The devices whose drivers were judged, by slot.
    pub devices: Vec<DeviceId>,
    /// How the run ended.
    pub end: End,
    /// By which readings it was judged, where the specification can be read in several ways.
    pub strictness: Strictness,
    /// What the devices made use of that the specification leaves to them.
    pub latitudes: Latitudes,
    /// The seed from which these were drawn, if they were.
    pub seed: Option<u64>,
    /// How long it ran.
    pub duration: Duration,
    /// The steps it marked, by rising time.
    pub marks: Vec<Mark>,
    /// Every requirement the run could say something about, in catalogue order.
    pub rows: Vec<Row>,
    /// The violations, in the order they happened.
    pub findings: Vec<Noted>,
}

/// What became of one requirement.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which.
    pub req: Req,
    /// How often it was put to the test, and how that ended.
    pub tally: Tally,
    /// What that amounts to.
    pub outcome: Outcome,
    /// The counts by each of its readings, as many as it has.
    pub by_reading: [Tally; MAX_READINGS],
}

impl Row {
    /// Its row in the catalogue.
    pub fn requirement(&self) -> &'static Requirement {
        self.req.requirement()
    }

    /// The ways to read it, from the most lenient to the strictest, with their counts; none where
    /// the specification leaves no doubt.
    pub fn readings(&self) -> impl Iterator<Item = (&'static Reading, Tally)> + use<> {
        self.requirement().readings.iter().zip(self.by_reading)
    }
}

/// All outcomes, in the order in which a text report lists them.
pub const OUTCOMES: [Outcome; 4] = [
    Outcome::Violated,
    Outcome::Held,
    Outcome::NotExercised,
    Outcome::Unobservable,
];

impl Report {
    /// Puts a report together from what the judges of `devices` counted, and from the journal.
    pub fn new(end: End, devices: Vec<DeviceId>, tallies: &Tallies, journal: &Journal) -> Report {
        let rows = catalogue::iter()
            .filter_map(|(req, requirement)| {
                let tally = tallies.get(req);
                // A run says nothing about what we built and nobody counted.
                let counted =
                    !matches!(requirement.how, How::Built(_)) || tally != Tally::default();
                counted.then(|| Row {
                    req,
                    tally,
                    outcome: tallies.outcome(req),
                    by_reading: std::array::from_fn(|reading| tallies.reading(req, reading)),
                })
            })
            .collect();
        Report {
            devices,
            end,
            strictness: tallies.strictness(),
            latitudes: Latitudes::default(),
            seed: None,
            duration: journal.elapsed(),
            marks: journal.marks(),
            rows,
            findings: journal.findings(),
        }
    }

    /// The same of devices that made use of `latitudes`, drawn from `seed` if they were drawn.
    #[must_use]
    pub fn with_latitudes(self, latitudes: Latitudes, seed: Option<u64>) -> Report {
        Report {
            latitudes,
            seed,
            ..self
        }
    }

    /// How many requirements ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.rows.iter().filter(|r| r.outcome == outcome).count()
    }

    /// Whether a requirement of a level that `counts` was violated.
    pub fn violates(&self, counts: impl Fn(Level) -> bool) -> bool {
        self.rows
            .iter()
            .any(|r| r.outcome == Outcome::Violated && counts(r.requirement().level))
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest came to an end, or was brought to it.
    Guest(GuestEnd),
    /// stickler could not go on, for this reason. What was seen until then is reported all the same.
    Error(String),
}

impl End {
    /// In one word, as the JSON report spells it.
    pub fn name(&self) -> &'static str {
        match self {
            End::Guest(GuestEnd::PowerOff) => "power-off",
            End::Guest(GuestEnd::Reset) => "reset",
            End::Guest(GuestEnd::Panic(_)) => "panic",
            End::Guest(GuestEnd::TripleFault) => "triple-fault",
            End::Guest(GuestEnd::Timeout) => "timeout",
            End::Guest(GuestEnd::Violation) => "violation",
            End::Guest(GuestEnd::Interrupted) => "interrupted",
            End::Error(_) => "error",
        }
    }

    /// What more there is to say: the guest's panic message, or what failed.
    pub fn message(&self) -> Option<&str> {
        match self {
            End::Guest(GuestEnd::Panic(message)) | End::Error(message) if !message.is_empty() => {
                Some(message)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
