//! The report for programs. `docs/report.schema.json` is its schema, `docs/report.md` describes it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Report, SPEC};

/// The JSON Schema (draft 2020-12) that every report keeps to.
pub const SCHEMA: &str = include_str!("../../docs/report.schema.json");

#[derive(Serialize)]
struct Root<'a> {
    stickler: &'static str,
    spec: &'static str,
    reading: &'static str,
    latitude: Latitude,
    guest: Guest<'a>,
    marks: Vec<Mark<'a>>,
    requirements: Vec<Requirement>,
    findings: Vec<Finding<'a>>,
}

#[derive(Serialize)]
struct Latitude {
    choice: String,
    seed: Option<u64>,
    names: Vec<&'static str>,
}

#[derive(Serialize)]
struct Guest<'a> {
    end: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

#[derive(Serialize)]
struct Mark<'a> {
    name: &'a str,
    time_us: u64,
}

#[derive(Serialize)]
struct Requirement {
    id: &'static str,
    role: &'static str,
    level: &'static str,
    clauses: BTreeMap<&'static str, &'static [&'static str]>,
    outcome: &'static str,
    held: u64,
    violated: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    readings: Vec<Reading>,
}

#[derive(Serialize)]
struct Reading {
    name: &'static str,
    satisfied: u64,
    not_satisfied: u64,
}

#[derive(Serialize)]
struct Finding<'a> {
    requirement: &'static str,
    device: Device,
    queue: Option<u16>,
    message: &'a str,
    mark: Option<&'a str>,
    time_us: u64,
    /// As text: a JSON number loses the low bits of a kernel address in many readers.
    rip: Option<String>,
}

#[derive(Serialize)]
struct Device {
    slot: u8,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// The report as JSON, indented, with a newline at the end.
pub fn render(report: &Report) -> String {
    let root = Root {
        stickler: env!("CARGO_PKG_VERSION"),
        spec: SPEC,
        reading: report.strictness.name(),
        latitude: Latitude {
            choice: report.latitudes.to_string(),
            seed: report.seed,
            names: report.latitudes.iter().map(|l| l.name()).collect(),
        },
        guest: Guest {
            end: report.end.name(),
            message: report.end.message(),
        },
        marks: report
            .marks
            .iter()
            .map(|mark| Mark {
                name: &mark.name,
                time_us: mark.time_us,
            })
            .collect(),
        requirements: report
            .rows
            .iter()
            .map(|row| {
                let requirement = row.requirement();
                Requirement {
                    id: requirement.name,
                    role: requirement.role.name(),
                    level: requirement.level.name(),
                    clauses: BTreeMap::from([(SPEC, requirement.clauses)]),
                    outcome: row.outcome.name(),
                    held: row.tally.held,
                    violated: row.tally.violated,
                    readings: row
                        .readings()
                        .map(|(reading, tally)| Reading {
                            name: reading.name,
                            satisfied: tally.held,
                            not_satisfied: tally.violated,
                        })
                        .collect(),
                }
            })
            .collect(),
        findings: report
            .findings
            .iter()
            .map(|noted| Finding {
                requirement: noted.finding.requirement.name(),
                device: Device {
                    slot: noted.finding.device.slot,
                    kind: noted.finding.device.kind.name(),
                },
                queue: noted.finding.queue,
                message: &noted.finding.message,
                mark: noted.mark.as_deref(),
                time_us: noted.time_us,
                rip: noted.rip.map(|rip| format!("{rip:#018x}")),
            })
            .collect(),
    };
    let mut text = serde_json::to_string_pretty(&root)
        .expect("a report has only string keys, and no value of it can fail to be written");
    text.push('\n');
    text
}
