//! The report for programs. `docs/report.schema.json` is its schema, `docs/report.md` describes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stickler_conformance::judge::{Outcome, Tally};
use stickler_conformance::requirement::MAX_READINGS;
use stickler_conformance::{DeviceId, DeviceKind, Latitudes, catalogue};

use super::{OUTCOMES, Report, Row, SPEC};
use crate::journal::{self, Noted};

/// The JSON Schema (draft 2020-12) that every report keeps to.
pub const SCHEMA: &str = include_str!("../../docs/report.schema.json");

/// The report of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/report.md describes the fields")]
pub struct Run {
    pub stickler: String,
    pub spec: String,
    pub reading: String,
    pub latitude: Latitude,
    pub guest: Guest,
    pub marks: Vec<Mark>,
    pub requirements: Vec<Requirement>,
    pub findings: Vec<Finding>,
}

/// What the devices made use of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/report.md describes the fields")]
pub struct Latitude {
    pub choice: String,
    pub seed: Option<u64>,
    pub names: Vec<String>,
}

impl Latitude {
    /// As they stand in a report.
    pub fn new(latitudes: Latitudes, seed: Option<u64>) -> Latitude {
        Latitude {
            choice: latitudes.to_string(),
            seed,
            names: latitudes.iter().map(|l| l.name().to_owned()).collect(),
        }
    }
}

/// How the guest ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/report.md describes the fields")]
pub struct Guest {
    pub end: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A step the guest marked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/report.md describes the fields")]
pub struct Mark {
    pub name: String,
    pub time_us: u64,
}

/// What became of a requirement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/report.md describes the fields")]
pub struct Requirement {
    pub id: String,
    pub role: String,
    pub level: String,
    pub clauses: BTreeMap<String, Vec<String>>,
    pub outcome: String,
    pub held: u64,
    pub violated: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readings: Vec<Reading>,
}

/// How often a reading was satisfied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/report.md describes the fields")]
pub struct Reading {
    pub name: String,
    pub satisfied: u64,
    pub not_satisfied: u64,
}

/// A violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/report.md describes the fields")]
pub struct Finding {
    /// In which of several runs; the report of one has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    pub requirement: String,
    pub device: Device,
    pub queue: Option<u16>,
    pub message: String,
    pub mark: Option<String>,
    pub time_us: u64,
    /// As text: a JSON number loses the low bits of a kernel address in many readers.
    pub rip: Option<String>,
}

/// Of which device a finding is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/report.md describes the fields")]
pub struct Device {
    pub slot: u8,
    #[serde(rename = "type")]
    pub kind: String,
}

impl From<&Report> for Run {
    fn from(report: &Report) -> Run {
        Run {
            stickler: env!("CARGO_PKG_VERSION").to_owned(),
            spec: SPEC.to_owned(),
            reading: report.strictness.name().to_owned(),
            latitude: Latitude::new(report.latitudes, report.seed),
            guest: Guest {
                end: report.end.name().to_owned(),
                message: report.end.message().map(str::to_owned),
            },
            marks: report.marks.iter().map(Mark::from).collect(),
            requirements: report.rows.iter().map(Requirement::from).collect(),
            findings: report.findings.iter().map(Finding::from).collect(),
        }
    }
}

impl From<&journal::Mark> for Mark {
    fn from(mark: &journal::Mark) -> Mark {
        Mark {
            name: mark.name.clone(),
            time_us: mark.time_us,
        }
    }
}

impl From<&Row> for Requirement {
    fn from(row: &Row) -> Requirement {
        let requirement = row.requirement();
        let clauses = requirement.clauses.iter().map(|c| (*c).to_owned());
        Requirement {
            id: requirement.name.to_owned(),
            role: requirement.role.name().to_owned(),
            level: requirement.level.name().to_owned(),
            clauses: BTreeMap::from([(SPEC.to_owned(), clauses.collect())]),
            outcome: row.outcome.name().to_owned(),
            held: row.tally.held,
            violated: row.tally.violated,
            readings: row
                .readings()
                .map(|(reading, tally)| Reading {
                    name: reading.name.to_owned(),
                    satisfied: tally.held,
                    not_satisfied: tally.violated,
                })
                .collect(),
        }
    }
}

impl Requirement {
    /// Back from what was read; none if this version of stickler has no such requirement.
    pub fn row(&self) -> Option<Row> {
        let mut by_reading = [Tally::default(); MAX_READINGS];
        for (tally, reading) in by_reading.iter_mut().zip(&self.readings) {
            tally.held = reading.satisfied;
            tally.violated = reading.not_satisfied;
        }
        Some(Row {
            req: catalogue::find(&self.id)?,
            tally: Tally {
                held: self.held,
                violated: self.violated,
            },
            outcome: outcome(&self.outcome)?,
            by_reading,
        })
    }
}

fn outcome(name: &str) -> Option<Outcome> {
    OUTCOMES.into_iter().find(|outcome| outcome.name() == name)
}

impl From<&Noted> for Finding {
    fn from(noted: &Noted) -> Finding {
        Finding {
            run: None,
            requirement: noted.finding.requirement.name().to_owned(),
            device: Device {
                slot: noted.finding.device.slot,
                kind: noted.finding.device.kind.name().to_owned(),
            },
            queue: noted.finding.queue,
            message: noted.finding.message.clone(),
            mark: noted.mark.as_deref().map(str::to_owned),
            time_us: noted.time_us,
            rip: noted.rip.map(|rip| format!("{rip:#018x}")),
        }
    }
}

impl Finding {
    /// Back from what was read; none if it is of a requirement or a device that this version of
    /// stickler does not have.
    pub fn noted(&self) -> Option<Noted> {
        let kind = DeviceKind::ALL
            .into_iter()
            .find(|kind| kind.name() == self.device.kind)?;
        let rip = match &self.rip {
            Some(text) => Some(u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()?),
            None => None,
        };
        Some(Noted {
            finding: stickler_conformance::Finding {
                requirement: catalogue::find(&self.requirement)?,
                device: DeviceId {
                    slot: self.device.slot,
                    kind,
                },
                queue: self.queue,
                message: self.message.clone(),
            },
            time_us: self.time_us,
            mark: self.mark.as_deref().map(Into::into),
            rip,
        })
    }
}

/// The report as JSON, indented, with a newline at the end.
pub fn render(report: &Report) -> String {
    pretty(&Run::from(report))
}

/// `value` as JSON, indented, with a newline at the end.
pub(super) fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value)
        .expect("a report has only string keys, and no value of it can fail to be written");
    text.push('\n');
    text
}
