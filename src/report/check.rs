//! The report of many runs. `docs/report.md` describes it; its JSON Schema is made from these types.
//!
//! `stickler check` adds each run when it ends; `stickler merge` joins several reports.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stickler_conformance::Readings;
use stickler_conformance::requirement::Level;
use stickler_conformance::{Outcome, Tally, Version, catalogue};

use super::features::ReportedFeatures;
use super::guest::{ReportedComplaint, ReportedNextKernel, ReportedStanding};
use super::json::{
    ReportedDevice, ReportedDropped, ReportedFinding, ReportedLatitudes, ReportedRequirement, Rip,
    RunReport, is_zero, pretty,
};
use super::{Deny, EndKind, schema};
use crate::check::plan::FreedMemory;

/// What stickler says about many runs of one kernel. Described in docs/report.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "stickler check report")]
pub struct CheckReport {
    /// Version of stickler that wrote the report.
    #[schemars(regex(pattern = schema::VERSION))]
    pub stickler: String,
    /// Version of the virtio specification by which the runs were judged.
    pub spec: Version,
    /// By which readings the runs were judged, where the specification can be read in several ways: by the first of
    /// each requirement (lenient) or by the last (strict), and by those that were chosen one by one. The
    /// value for --reading.
    #[schemars(regex(pattern = schema::READINGS))]
    pub reading: String,
    /// The proposals that were judged as if they were adopted. Absent if there were none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = schema::REQUIREMENT)), extend("uniqueItems" = true))]
    pub proposals: Vec<String>,
    /// Which violations make a run fail.
    pub deny: Deny,
    /// The kernel of the guests.
    pub kernel: CheckedKernel,
    /// The number of runs that were planned, in all shards together.
    #[schemars(range(min = 1))]
    pub planned: usize,
    /// The runs, in the order in which they were planned.
    pub runs: Vec<CheckedRun>,
    /// One entry per requirement, counted over all runs, in the order of the specification's chapters.
    pub requirements: Vec<ReportedRequirement>,
    /// The violations, by run, in the order in which they happened. Of many violations of one
    /// requirement on one device in one run only the first are listed; the requirement's count
    /// includes all.
    pub findings: Vec<CheckFinding>,
    /// How many more marks and findings there were in all runs than their reports listed.
    pub dropped: ReportedDropped,
}

/// The kernel of the guests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "kernel")]
pub struct CheckedKernel {
    /// The kernel's file.
    pub file: String,
    /// The kernel's version; null if the file does not contain it.
    pub release: Option<String>,
}

impl CheckedKernel {
    /// Its version or, where that is not known, its file.
    pub fn describe(&self) -> String {
        match &self.release {
            Some(release) => format!("Linux {release}"),
            None => self.file.clone(),
        }
    }
}

/// The result of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "run")]
pub struct CheckedRun {
    /// Its place among all planned runs, from 0.
    pub number: usize,
    /// Its name, which is also a value for --latitude: none, freed-memory-kept, seed=N, or the words given.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Which optional behaviour of devices was in use.
    pub latitude: ReportedLatitudes,
    /// The devices, the features that they offered, and those that their drivers accepted.
    pub devices: Vec<ReportedFeatures>,
    /// How the guest ended, as in the report of one run.
    pub end: EndKind,
    /// Microseconds the run took.
    pub time_us: u64,
    /// Devices on which the driver gave up, where a conforming driver may.
    #[schemars(inner(length(min = 1)))]
    pub given_up: Vec<String>,
    /// What became of memory that the guest's kernel freed.
    pub memory: FreedMemory,
    /// Where the guest stood when its time was over; absent if it ended otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ReportedStanding")]
    pub standing: Option<ReportedStanding>,
    /// What the guest's kernel complained of. Absent if it did not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub complaints: Vec<ReportedComplaint>,
    /// Kernels that came while devices were live. Absent if there were none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_kernels: Vec<ReportedNextKernel>,
    /// In which ways the run failed; empty if it passed.
    pub failures: Vec<RunFailure>,
    /// Lines of its output that were not kept: of standard output and standard error, the first 20,000 lines and 8 MiB
    /// are kept. Absent if there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lines_dropped: u64,
    /// The command that repeats the run, and no other, quoted for a shell.
    #[schemars(length(min = 1))]
    pub repeat: String,
    /// The smallest value for --latitude with which the run was seen to fail in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub shrunk: Option<String>,
}

impl CheckedRun {
    /// Whether stickler ended the run before its guest did, and no failure was seen until then.
    pub fn is_cut_short(&self) -> bool {
        self.failures.is_empty() && self.end == EndKind::Interrupted
    }
}

/// One way in which a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "failure")]
pub struct RunFailure {
    /// What kind of failure it is.
    pub how: FailureKind,
    /// Which requirement was violated; absent where the failure is not a violation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = schema::REQUIREMENT))]
    pub requirement: Option<String>,
    /// The step that failed, or the latest mark.
    pub step: Option<String>,
    /// For people; the wording may change.
    pub message: String,
    /// The requirements that the run's latitudes provoke and to which the failure is laid: in this run they
    /// do not count as held. Absent where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1), inner(regex(pattern = schema::REQUIREMENT)))]
    pub not_held: Vec<String>,
}

/// The ways in which a run can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "how")]
pub enum FailureKind {
    /// A requirement was violated whose level --deny names.
    Violation,
    /// The guest reported that a step failed.
    Step,
    /// The guest panicked, crashed, or ended before it had passed.
    Guest,
    /// The guest did not end within its time limit.
    Timeout,
    /// The guest's kernel complained of a judged driver, or cannot continue in a sound state.
    Complaint,
    /// A disk does not contain what the guest should have written.
    Data,
    /// stickler failed.
    Stickler,
}

impl FailureKind {
    /// The failure in the text report.
    pub fn words(self) -> &'static str {
        match self {
            FailureKind::Violation => "violation",
            FailureKind::Step => "step failed",
            FailureKind::Guest => "guest failed",
            FailureKind::Timeout => "guest timed out",
            FailureKind::Complaint => "the guest's kernel complained",
            FailureKind::Data => "wrong data on a disk",
            FailureKind::Stickler => "stickler failed",
        }
    }
}

/// A violation in one of several runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "finding")]
pub struct CheckFinding {
    /// Name of the run in which it happened.
    #[schemars(length(min = 1))]
    pub run: String,
    /// The requirement's stable name.
    #[schemars(regex(pattern = schema::REQUIREMENT))]
    pub requirement: String,
    /// The device whose driver violated it.
    pub device: ReportedDevice,
    /// The virtqueue, where the finding is about one.
    pub queue: Option<u16>,
    /// What the driver did, with the values that show why it is wrong. For people; the wording may
    /// change.
    #[schemars(length(min = 1))]
    pub message: String,
    /// The latest mark at that time.
    pub mark: Option<String>,
    /// Microseconds since the run began.
    pub time_us: u64,
    /// The guest's instruction pointer at the access, where the access trapped: hexadecimal, as text,
    /// because many readers of JSON lose the low bits of a 64-bit number.
    #[schemars(with = "Option<String>", regex(pattern = schema::RIP))]
    pub rip: Option<Rip>,
}

impl CheckFinding {
    /// `finding` of the run `run`.
    pub fn new(run: &str, finding: ReportedFinding) -> CheckFinding {
        CheckFinding {
            run: run.to_owned(),
            requirement: finding.requirement,
            device: finding.device,
            queue: finding.queue,
            message: finding.message,
            mark: finding.mark,
            time_us: finding.time_us,
            rip: finding.rip,
        }
    }

    /// The finding without its run.
    pub fn finding(&self) -> ReportedFinding {
        ReportedFinding {
            requirement: self.requirement.clone(),
            device: self.device,
            queue: self.queue,
            message: self.message.clone(),
            mark: self.mark.clone(),
            time_us: self.time_us,
            rip: self.rip,
        }
    }
}

/// Why reports cannot be joined.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// They differ in a property that must be the same.
    #[error(
        "{what} is {first} in {first_name} and {other} in {other_name}: these are not reports of the same check"
    )]
    Differ {
        /// The property.
        what: &'static str,
        /// Its value in the first report.
        first: String,
        /// The first report's name.
        first_name: String,
        /// Its value in another report.
        other: String,
        /// The other report's name.
        other_name: String,
    },
    /// Two reports contain the same run.
    #[error("the run {run} is in both {first} and {other}: give each shard only once")]
    Twice {
        /// The name of the run.
        run: String,
        /// One report.
        first: String,
        /// The other.
        other: String,
    },
}

impl CheckReport {
    /// A report without runs.
    pub fn new(
        spec: Version,
        readings: &Readings,
        deny: Deny,
        kernel: CheckedKernel,
        planned: usize,
    ) -> CheckReport {
        CheckReport {
            stickler: env!("CARGO_PKG_VERSION").to_owned(),
            spec,
            reading: readings.to_string(),
            proposals: readings.proposals().map(str::to_owned).collect(),
            deny,
            kernel,
            planned,
            runs: Vec::new(),
            requirements: Vec::new(),
            findings: Vec::new(),
            dropped: ReportedDropped::default(),
        }
    }

    /// Adds a run, with its report if there is one.
    pub fn add(&mut self, mut run: CheckedRun, report: Option<RunReport>) {
        if let Some(mut report) = report {
            blame::lay(&mut run, &mut report.requirements);
            self.add_requirements(&report.requirements);
            self.dropped.add(report.dropped);
            let findings = report.findings.into_iter();
            self.findings
                .extend(findings.map(|finding| CheckFinding::new(&run.name, finding)));
        }
        self.runs.push(run);
        self.sort();
    }

    fn add_requirements(&mut self, more: &[ReportedRequirement]) {
        for theirs in more {
            match self.requirements.iter_mut().find(|own| own.id == theirs.id) {
                Some(own) => add(own, theirs),
                None => self.requirements.push(theirs.clone()),
            }
        }
        self.requirements
            .sort_by_key(|own| catalogue::find(&own.id).map(|req| req.index()));
    }

    /// Puts the runs and their findings into the order in which the runs were planned. The order in
    /// which they end varies.
    fn sort(&mut self) {
        self.runs.sort_by_key(|run| run.number);
        let order: BTreeMap<&str, usize> = self
            .runs
            .iter()
            .map(|run| (run.name.as_str(), run.number))
            .collect();
        self.findings
            .sort_by_key(|finding| order.get(finding.run.as_str()).copied());
    }

    /// Joins reports, each with a name for messages. `None` if there are no reports.
    ///
    /// # Errors
    ///
    /// Why the reports cannot be joined.
    pub fn merge(reports: Vec<(String, CheckReport)>) -> Result<Option<CheckReport>, MergeError> {
        let mut reports = reports.into_iter();
        let Some((first_name, mut whole)) = reports.next() else {
            return Ok(None);
        };
        let mut owner: BTreeMap<String, String> = BTreeMap::new();
        let mut owner_of_number: BTreeMap<usize, String> = BTreeMap::new();
        for run in &whole.runs {
            owner.insert(run.name.clone(), first_name.clone());
            owner_of_number.insert(run.number, first_name.clone());
        }
        for (name, part) in reports {
            for (what, first, other) in whole
                .common()
                .into_iter()
                .zip(part.common())
                .map(|((what, first), (_, other))| (what, first, other))
            {
                if first != other {
                    return Err(MergeError::Differ {
                        what,
                        first,
                        first_name,
                        other,
                        other_name: name,
                    });
                }
            }
            for run in &part.runs {
                let by_name = owner.insert(run.name.clone(), name.clone());
                let by_number = owner_of_number.insert(run.number, name.clone());
                if let Some(first) = by_name.or(by_number) {
                    return Err(MergeError::Twice {
                        run: run.name.clone(),
                        first,
                        other: name,
                    });
                }
            }
            whole.add_requirements(&part.requirements);
            whole.dropped.add(part.dropped);
            whole.runs.extend(part.runs);
            whole.findings.extend(part.findings);
        }
        whole.sort();
        Ok(Some(whole))
    }

    /// The properties that are the same in all parts of one check.
    fn common(&self) -> [(&'static str, String); 7] {
        [
            ("the version of stickler", self.stickler.clone()),
            ("the specification", self.spec.to_string()),
            ("--reading", self.reading.clone()),
            ("--propose", self.proposals.join(",")),
            ("--deny", self.deny.name().to_owned()),
            ("the kernel", self.kernel.describe()),
            ("the number of runs planned", self.planned.to_string()),
        ]
    }

    /// Whether a requirement of a level that `counts` was violated.
    pub fn violates(&self, counts: impl Fn(Level) -> bool) -> bool {
        self.requirements
            .iter()
            .any(|row| row.outcome == Outcome::Violated && counts(row.level))
    }

    /// Whether a run failed in this way.
    pub fn has_failure(&self, kind: FailureKind) -> bool {
        let mut failures = self.runs.iter().flat_map(|run| &run.failures);
        failures.any(|failure| failure.how == kind)
    }

    /// As JSON, indented, with a newline at the end.
    pub fn to_json(&self) -> String {
        pretty(self)
    }
}

/// Adds the counts of the same requirement in another run.
fn add(own: &mut ReportedRequirement, theirs: &ReportedRequirement) {
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
        let observed = [own.outcome, theirs.outcome].contains(&Outcome::Observed);
        own.outcome = if observed {
            Outcome::Observed
        } else {
            tally.outcome(req)
        };
    }
}

mod blame;
#[cfg(test)]
mod tests;
pub mod vet;
