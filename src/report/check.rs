//! The report of many runs. `docs/check.schema.json` is its schema, `docs/report.md` describes it.
//!
//! What `stickler check` found of each run is added to it as that ends; `stickler merge` joins several.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stickler_conformance::catalogue;
use stickler_conformance::judge::{Outcome, Tally};
use stickler_conformance::requirement::Level;

use super::json::{Finding, Latitude, Requirement, Run, pretty};
use super::{SPEC, json};

/// The JSON Schema (draft 2020-12) that every report of a check keeps to.
pub const SCHEMA: &str = include_str!("../../docs/check.schema.json");

/// The report of a check, or of a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/report.md describes the fields")]
pub struct Check {
    pub stickler: String,
    pub spec: String,
    pub reading: String,
    pub deny: String,
    pub kernel: Kernel,
    /// How many runs there are to be, in all shards together.
    pub planned: usize,
    pub runs: Vec<Checked>,
    pub requirements: Vec<Requirement>,
    pub findings: Vec<Finding>,
}

/// Which kernel the guests ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/report.md describes the fields")]
pub struct Kernel {
    pub file: String,
    pub release: Option<String>,
}

impl Kernel {
    /// In words.
    pub fn describe(&self) -> String {
        match &self.release {
            Some(release) => format!("Linux {release}"),
            None => self.file.clone(),
        }
    }
}

/// How one run went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/report.md describes the fields")]
pub struct Checked {
    /// Its place among all that are planned.
    pub number: usize,
    /// Its name among the runs, which `--latitude` takes.
    pub name: String,
    pub latitude: Latitude,
    /// As in the report of one run.
    pub end: String,
    pub time_us: u64,
    pub given_up: Vec<String>,
    pub failures: Vec<Failure>,
    /// Words for the fewest latitudes with which it fails in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<String>,
}

impl Checked {
    /// Whether it was ended before its guest did so, and without a failure until then.
    pub fn is_cut_short(&self) -> bool {
        self.failures.is_empty() && self.end == "interrupted"
    }
}

/// One way in which a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/report.md describes the fields")]
pub struct Failure {
    pub how: How,
    /// The exerciser's step, or the latest mark.
    pub step: Option<String>,
    pub message: String,
}

/// The ways in which a run can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// A requirement was violated of a level that `--deny` names.
    Violation,
    /// The guest says that a step failed.
    Step,
    /// The guest panicked, crashed, or ended before it had passed.
    Guest,
    /// Its time ran out.
    Timeout,
    /// What the host finds differs from what the guest should have left.
    Data,
    /// stickler failed.
    Stickler,
}

impl How {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            How::Violation => "violation",
            How::Step => "step failed",
            How::Guest => "guest failed",
            How::Timeout => "time ran out",
            How::Data => "data differ on the host",
            How::Stickler => "stickler failed",
        }
    }
}

/// Reports that cannot be joined.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// They differ in what has to be the same.
    #[error(
        "{what} is {first} in {first_name} and {other} in {other_name}: they are not of one check"
    )]
    Differ {
        /// In what.
        what: &'static str,
        /// What the first says.
        first: String,
        /// Who that is.
        first_name: String,
        /// What another says.
        other: String,
        /// Who that is.
        other_name: String,
    },
    /// Both have the same run.
    #[error("the run {run} is in both {first} and {other}: give each shard once")]
    Twice {
        /// Which run.
        run: String,
        /// One report.
        first: String,
        /// The other.
        other: String,
    },
}

impl Check {
    /// A report without runs.
    pub fn new(reading: &str, deny: &str, kernel: Kernel, planned: usize) -> Check {
        Check {
            stickler: env!("CARGO_PKG_VERSION").to_owned(),
            spec: SPEC.to_owned(),
            reading: reading.to_owned(),
            deny: deny.to_owned(),
            kernel,
            planned,
            runs: Vec::new(),
            requirements: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// Adds a run, with its report if there is one.
    pub fn add(&mut self, checked: Checked, report: Option<Run>) {
        if let Some(report) = report {
            self.add_requirements(&report.requirements);
            self.findings
                .extend(report.findings.into_iter().map(|finding| Finding {
                    run: Some(checked.name.clone()),
                    ..finding
                }));
        }
        self.runs.push(checked);
        self.sort();
    }

    fn add_requirements(&mut self, more: &[Requirement]) {
        for theirs in more {
            match self.requirements.iter_mut().find(|own| own.id == theirs.id) {
                Some(own) => add(own, theirs),
                None => self.requirements.push(theirs.clone()),
            }
        }
        self.requirements
            .sort_by_key(|own| catalogue::find(&own.id).map(|req| req.index()));
    }

    /// Puts the runs, and what was found in them, into the order in which they were planned: the
    /// one in which they end is another each time.
    fn sort(&mut self) {
        self.runs.sort_by_key(|run| run.number);
        let order: BTreeMap<&str, usize> = self
            .runs
            .iter()
            .map(|run| (run.name.as_str(), run.number))
            .collect();
        self.findings.sort_by_key(|finding| {
            let run = finding.run.as_deref().unwrap_or_default();
            order.get(run).copied()
        });
    }

    /// Joins reports, each with a name for messages, of which there is at least one.
    ///
    /// # Errors
    ///
    /// Why they do not fit together.
    pub fn merge(reports: Vec<(String, Check)>) -> Result<Option<Check>, Mismatch> {
        let mut reports = reports.into_iter();
        let Some((first_name, mut whole)) = reports.next() else {
            return Ok(None);
        };
        let mut owner: BTreeMap<String, String> = BTreeMap::new();
        for run in &whole.runs {
            owner.insert(run.name.clone(), first_name.clone());
        }
        for (name, part) in reports {
            for (what, first, other) in whole
                .common()
                .into_iter()
                .zip(part.common())
                .map(|((what, first), (_, other))| (what, first, other))
            {
                if first != other {
                    return Err(Mismatch::Differ {
                        what,
                        first,
                        first_name,
                        other,
                        other_name: name,
                    });
                }
            }
            for run in &part.runs {
                if let Some(first) = owner.insert(run.name.clone(), name.clone()) {
                    return Err(Mismatch::Twice {
                        run: run.name.clone(),
                        first,
                        other: name,
                    });
                }
            }
            whole.add_requirements(&part.requirements);
            whole.runs.extend(part.runs);
            whole.findings.extend(part.findings);
        }
        whole.sort();
        Ok(Some(whole))
    }

    /// What the parts of one check have in common.
    fn common(&self) -> [(&'static str, String); 6] {
        [
            ("the version of stickler", self.stickler.clone()),
            ("the specification", self.spec.clone()),
            ("--reading", self.reading.clone()),
            ("--deny", self.deny.clone()),
            ("the kernel", self.kernel.describe()),
            ("the number of runs planned", self.planned.to_string()),
        ]
    }

    /// Whether a requirement of a level that `counts` was violated.
    pub fn violates(&self, counts: impl Fn(Level) -> bool) -> bool {
        self.requirements
            .iter()
            .filter_map(json::Requirement::row)
            .any(|row| row.outcome == Outcome::Violated && counts(row.requirement().level))
    }

    /// Whether a run failed in this way.
    pub fn has_failure(&self, how: How) -> bool {
        let mut failures = self.runs.iter().flat_map(|run| &run.failures);
        failures.any(|failure| failure.how == how)
    }

    /// As JSON, indented, with a newline at the end.
    pub fn to_json(&self) -> String {
        pretty(self)
    }
}

/// Adds the counts of the same requirement in another run.
fn add(own: &mut Requirement, theirs: &Requirement) {
    own.held = own.held.saturating_add(theirs.held);
    own.violated = own.violated.saturating_add(theirs.violated);
    for (own, theirs) in own.readings.iter_mut().zip(&theirs.readings) {
        own.satisfied = own.satisfied.saturating_add(theirs.satisfied);
        own.not_satisfied = own.not_satisfied.saturating_add(theirs.not_satisfied);
    }
    if let Some(req) = catalogue::find(&own.id) {
        let tally = Tally {
            held: own.held,
            violated: own.violated,
        };
        own.outcome = tally.outcome(req).name().to_owned();
    }
}

#[cfg(test)]
mod tests;
