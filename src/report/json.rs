//! The report for programs. `docs/report.md` describes it; its JSON Schema is made from these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stickler_conformance::requirement::{Level, MAX_READINGS, Role};
use stickler_conformance::{
    DeviceId, DeviceKind, Finding, Latitudes, Outcome, Tally, Version, catalogue,
};

use super::features::ReportedFeatures;
use super::guest::{ReportedComplaint, ReportedNextKernel, ReportedStanding};
use super::{EndKind, Report, ReportRow, schema};
use crate::firmware::BootReport;
use crate::journal::{Dropped, Mark, RecordedFinding};

/// What stickler says about one run of a guest. Described in docs/report.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "stickler report")]
pub struct RunReport {
    /// Version of stickler that wrote the report.
    #[schemars(regex(pattern = schema::VERSION))]
    pub stickler: String,
    /// Version of the virtio specification by which the run was judged.
    pub spec: Version,
    /// By which readings the run was judged, where the specification can be read in several ways: by the first of
    /// each requirement (lenient) or by the last (strict), and by those that were chosen one by one. The
    /// value for --reading.
    #[schemars(regex(pattern = schema::READINGS))]
    pub reading: String,
    /// The proposals that were judged as if they were adopted. Absent if there were none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = schema::REQUIREMENT)), extend("uniqueItems" = true))]
    pub proposals: Vec<String>,
    /// Which optional behaviour of devices was in use.
    pub latitude: ReportedLatitudes,
    /// How the run ended.
    pub guest: ReportedEnd,
    /// What firmware did, if the guest was firmware. Absent if it was a kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BootReport")]
    pub boot: Option<BootReport>,
    /// Where the guest stood when its time was over; absent if it ended otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ReportedStanding")]
    pub standing: Option<ReportedStanding>,
    /// What the guest's kernel complained of, in the order in which it did. Absent if it did not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub complaints: Vec<ReportedComplaint>,
    /// Kernels that came while devices were live, for which the run fails. Absent if there were none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_kernels: Vec<ReportedNextKernel>,
    /// The devices that no driver has taken: DRIVER_OK was never set. Absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untaken: Vec<ReportedDevice>,
    /// The devices, the features that they offered, and those that their drivers accepted.
    pub devices: Vec<ReportedFeatures>,
    /// The steps the guest marked with serial lines '@mark NAME', in the order of time.
    pub marks: Vec<ReportedMark>,
    /// One entry per requirement, in the order of the specification's chapters.
    pub requirements: Vec<ReportedRequirement>,
    /// The violations, in the order in which they happened. Of many violations of one requirement on
    /// one device only the first are listed; the requirement's count includes all.
    pub findings: Vec<ReportedFinding>,
    /// How many more marks and findings there were than the report lists.
    pub dropped: ReportedDropped,
}

/// Which optional behaviour of devices was in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "latitude")]
pub struct ReportedLatitudes {
    /// The value for --latitude: the same value makes the same devices.
    #[schemars(length(min = 1))]
    pub choice: String,
    /// The seed from which the choice was drawn; null if it was not drawn. Another version of stickler
    /// may draw another choice from it.
    pub seed: Option<u64>,
    /// The names of the latitudes.
    #[schemars(inner(regex(pattern = schema::WORDS)), extend("uniqueItems" = true))]
    pub names: Vec<String>,
}

impl ReportedLatitudes {
    /// `latitudes`, drawn from `seed` if they were drawn.
    pub fn new(latitudes: Latitudes, seed: Option<u64>) -> ReportedLatitudes {
        ReportedLatitudes {
            choice: latitudes.to_string(),
            seed,
            names: latitudes.iter().map(|l| l.name().to_owned()).collect(),
        }
    }
}

/// How the run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "guest")]
pub struct ReportedEnd {
    /// How the run ended, in one word.
    pub end: EndKind,
    /// The guest's panic message, why the firmware gave up, or, after an error, what failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub message: Option<String>,
}

/// A step that the guest marked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "mark")]
pub struct ReportedMark {
    /// The guest's name for the step.
    pub name: String,
    /// Microseconds since the run began.
    pub time_us: u64,
}

/// The result for one requirement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "requirement", extend("allOf" = schema::outcome_and_counts()))]
pub struct ReportedRequirement {
    /// The requirement's stable name.
    #[schemars(regex(pattern = schema::REQUIREMENT))]
    pub id: String,
    /// The side to which a requirement applies.
    pub role: Role,
    /// The specification's key word.
    pub level: Level,
    /// Where each version of the specification states the requirement. An item is the number of a
    /// section, a dash, and the number of the normative statement within that section; the number of
    /// a section alone cites descriptive text.
    #[schemars(extend(
        "minProperties" = 1,
        "propertyNames" = { "pattern": schema::SPEC_VERSION },
        "additionalProperties" = schema::clauses(),
    ))]
    pub clauses: BTreeMap<String, Vec<String>>,
    /// Whether the drivers kept to the requirement.
    pub outcome: Outcome,
    /// Opportunities to violate the requirement at which the driver did not.
    pub held: u64,
    /// Opportunities at which the driver did.
    pub violated: u64,
    /// Where the specification can be read in several ways: each reading, from the most lenient to
    /// the strictest, and how often it was satisfied, whichever one judged. Absent where there is only
    /// one reading.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 2))]
    pub readings: Vec<ReportedReading>,
}

/// How often a reading was satisfied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "reading")]
pub struct ReportedReading {
    /// The reading's stable name, unique within the requirement.
    #[schemars(regex(pattern = schema::WORDS))]
    pub name: String,
    /// Opportunities to act against this reading at which the driver did not.
    pub satisfied: u64,
    /// Opportunities at which the driver did.
    pub not_satisfied: u64,
}

/// A violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "finding")]
pub struct ReportedFinding {
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

/// A device of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "device")]
pub struct ReportedDevice {
    /// PCI device number on bus 0.
    #[schemars(range(max = 31))]
    pub slot: u8,
    /// The device type.
    #[serde(rename = "type")]
    pub kind: DeviceKind,
}

/// How many more marks and findings there were than the report lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "dropped")]
pub struct ReportedDropped {
    /// Marks; a run's report lists the first 10,000.
    pub marks: u64,
    /// Findings; a run's report lists the first 20,000. They are included in the requirements' counts.
    pub findings: u64,
    /// Complaints of the guest's kernel; a run's report lists at most 64. A run fails in which there are more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub complaints: u64,
}

pub(super) fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl ReportedDropped {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: ReportedDropped) {
        self.marks = self.marks.saturating_add(other.marks);
        self.findings = self.findings.saturating_add(other.findings);
        self.complaints = self.complaints.saturating_add(other.complaints);
    }
}

impl From<&DeviceId> for ReportedDevice {
    fn from(device: &DeviceId) -> ReportedDevice {
        ReportedDevice {
            slot: device.slot,
            kind: device.kind,
        }
    }
}

impl From<Dropped> for ReportedDropped {
    fn from(dropped: Dropped) -> ReportedDropped {
        ReportedDropped {
            marks: dropped.marks,
            findings: dropped.findings,
            complaints: dropped.complaints,
        }
    }
}

/// A guest's instruction pointer; in JSON `0x` and 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Rip(pub u64);

impl From<Rip> for String {
    fn from(rip: Rip) -> String {
        format!("{:#018x}", rip.0)
    }
}

impl TryFrom<String> for Rip {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Rip, &'static str> {
        const FORM: &str = "an instruction pointer is 0x and 16 hexadecimal digits";
        let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 16);
        let value = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        value.map(Rip).ok_or(FORM)
    }
}

impl From<&Report> for RunReport {
    fn from(report: &Report) -> RunReport {
        RunReport {
            stickler: env!("CARGO_PKG_VERSION").to_owned(),
            spec: report.version,
            reading: report.readings.to_string(),
            proposals: report.readings.proposals().map(str::to_owned).collect(),
            latitude: ReportedLatitudes::new(report.latitudes, report.seed),
            guest: ReportedEnd {
                end: report.end.kind(),
                message: report.end.message().map(str::to_owned),
            },
            boot: report.boot.clone(),
            standing: report.standing.clone(),
            complaints: report
                .complaints
                .iter()
                .map(ReportedComplaint::from)
                .collect(),
            next_kernels: report
                .next_kernels
                .iter()
                .map(ReportedNextKernel::from)
                .collect(),
            untaken: report.untaken.iter().map(ReportedDevice::from).collect(),
            devices: report.features.clone(),
            marks: report.marks.iter().map(ReportedMark::from).collect(),
            requirements: report.rows.iter().map(ReportedRequirement::from).collect(),
            findings: report.findings.iter().map(ReportedFinding::from).collect(),
            dropped: report.dropped.into(),
        }
    }
}

impl From<&Mark> for ReportedMark {
    fn from(mark: &Mark) -> ReportedMark {
        ReportedMark {
            name: mark.name.clone(),
            time_us: mark.time_us,
        }
    }
}

impl From<&ReportRow> for ReportedRequirement {
    fn from(row: &ReportRow) -> ReportedRequirement {
        let requirement = row.requirement();
        let clauses = row.clauses().into_iter().map(str::to_owned);
        ReportedRequirement {
            id: requirement.name.to_owned(),
            role: requirement.role,
            level: row.level(),
            clauses: BTreeMap::from([(row.version.to_string(), clauses.collect())]),
            outcome: row.outcome,
            held: row.tally.held,
            violated: row.tally.violated,
            readings: row
                .readings()
                .map(|(reading, tally)| ReportedReading {
                    name: reading.name.to_owned(),
                    satisfied: tally.held,
                    not_satisfied: tally.violated,
                })
                .collect(),
        }
    }
}

impl ReportedRequirement {
    /// The row of the text report, judged by `version`; `None` if this version of stickler has no such
    /// requirement.
    pub fn row(&self, version: Version) -> Option<ReportRow> {
        let mut by_reading = [Tally::default(); MAX_READINGS];
        for (tally, reading) in by_reading.iter_mut().zip(&self.readings) {
            tally.held = reading.satisfied;
            tally.violated = reading.not_satisfied;
        }
        Some(ReportRow {
            req: catalogue::find(&self.id)?,
            version,
            tally: Tally {
                held: self.held,
                violated: self.violated,
            },
            outcome: self.outcome,
            by_reading,
        })
    }
}

impl From<&RecordedFinding> for ReportedFinding {
    fn from(recorded: &RecordedFinding) -> ReportedFinding {
        let finding = &recorded.finding;
        ReportedFinding {
            requirement: finding.requirement.name().to_owned(),
            device: (&finding.device).into(),
            queue: finding.queue,
            message: finding.message.clone(),
            mark: recorded.mark.as_deref().map(str::to_owned),
            time_us: recorded.time_us,
            rip: recorded.rip.map(Rip),
        }
    }
}

impl ReportedFinding {
    /// The finding of the text report, judged by `version`; `None` if this version of stickler has no
    /// such requirement.
    pub fn recorded(&self, version: Version) -> Option<RecordedFinding> {
        let requirement = catalogue::find(&self.requirement)?;
        Some(RecordedFinding {
            finding: Finding {
                requirement,
                level: requirement.requirement().level(version),
                device: DeviceId {
                    slot: self.device.slot,
                    kind: self.device.kind,
                },
                queue: self.queue,
                message: self.message.clone(),
            },
            time_us: self.time_us,
            mark: self.mark.as_deref().map(Into::into),
            rip: self.rip.map(|rip| rip.0),
        })
    }
}

/// The report as JSON, indented, with a newline at the end.
pub fn render(report: &Report) -> String {
    pretty(&RunReport::from(report))
}

/// `value` as JSON, indented, with a newline at the end.
pub(super) fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value)
        .expect("a report has only string keys, and no value of it can fail to be written");
    text.push('\n');
    text
}
