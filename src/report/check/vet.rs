//! Whether a file is a report of `stickler check` that stickler can have written: what does not fit is refused, with
//! its place, and never left out. A report that is joined with others decides on an exit code.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use stickler_conformance::requirement::How;
use stickler_conformance::tally::Tally;
use stickler_conformance::{Latitude, Outcome, catalogue};

use super::{CheckReport, CheckedRun, FailureKind};
use crate::report::ReportRow;
use crate::report::json::ReportedRequirement;

/// Why a file is no report that can be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReport {
    /// Another version of stickler has written it.
    #[error(
        "{file} is a report of stickler {version}, and this is {}: use that version for it, or run the check again",
        env!("CARGO_PKG_VERSION")
    )]
    OtherVersion {
        /// The file.
        file: String,
        /// Its version.
        version: String,
    },
    /// It is something else.
    #[error(
        "{file} is not a report of `stickler check` of version {}: {why}",
        env!("CARGO_PKG_VERSION")
    )]
    NoReport {
        /// The file.
        file: String,
        /// Why not.
        why: String,
    },
    /// It contradicts itself, or names what there is not.
    #[error("{file} is not a report that stickler has written: at {place}, {problem}")]
    DoesNotFit {
        /// The file.
        file: String,
        /// Where in it: a JSON pointer.
        place: String,
        /// What is wrong there.
        problem: String,
    },
}

/// What all versions of a report have.
#[derive(Deserialize)]
struct VersionOnly {
    stickler: String,
}

/// Where something does not fit, and why.
type Misfit = (String, String);

/// Reads the report in `file`, whose content is `text`.
///
/// # Errors
/// It is none, or not one that this version of stickler can have written.
pub fn read(file: &str, text: &str) -> Result<CheckReport, BadReport> {
    let file = printable(file);
    let no_report = |why: serde_json::Error| BadReport::NoReport {
        file: file.clone(),
        why: printable(&why.to_string()),
    };
    let misfit = |(place, problem): Misfit| BadReport::DoesNotFit {
        file: file.clone(),
        place: printable(&place),
        problem: printable(&problem),
    };
    if let Ok(VersionOnly { stickler }) = serde_json::from_str(text)
        && stickler != env!("CARGO_PKG_VERSION")
    {
        return Err(BadReport::OtherVersion {
            file,
            version: printable(&stickler),
        });
    }
    let report: CheckReport = serde_json::from_str(text).map_err(no_report)?;
    let value: Value = serde_json::from_str(text).map_err(no_report)?;
    has_no_control_characters(&value, "").map_err(misfit)?;
    fits(&report).map_err(misfit)?;
    Ok(report)
}

fn printable(text: &str) -> String {
    let text = text.chars().filter(|c| !c.is_control());
    text.take(200).collect()
}

/// Control characters could act on the terminal of who reads the joined report.
fn has_no_control_characters(value: &Value, place: &str) -> Result<(), Misfit> {
    let clean = |text: &str| {
        let control = text.chars().find(|c| c.is_control());
        control.map_or(Ok(()), |c| {
            let problem = format!("there is a control character (U+{:04X})", u32::from(c));
            Err((place.to_owned(), problem))
        })
    };
    match value {
        Value::String(text) => clean(text),
        Value::Array(items) => (0..).zip(items).try_for_each(|(index, item): (usize, _)| {
            has_no_control_characters(item, &format!("{place}/{index}"))
        }),
        Value::Object(fields) => fields.iter().try_for_each(|(name, item)| {
            clean(name)?;
            has_no_control_characters(item, &format!("{place}/{name}"))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn fits(report: &CheckReport) -> Result<(), Misfit> {
    if report.planned == 0 {
        return misfit("/planned", "no run was planned");
    }
    let violated = requirements_fit(report)?;
    runs_fit(report, &violated)?;
    let names: BTreeSet<&str> = report.runs.iter().map(|run| run.name.as_str()).collect();
    let mut listed: BTreeMap<&str, u64> = BTreeMap::new();
    for (index, finding) in report.findings.iter().enumerate() {
        let place = format!("/findings/{index}");
        if !names.contains(finding.run.as_str()) {
            return misfit(&place, &format!("there is no run '{}'", finding.run));
        }
        let count = listed.entry(&finding.requirement).or_default();
        *count += 1;
        let counted = violated.get(finding.requirement.as_str());
        if counted.is_none_or(|counted| counted < count) {
            let id = &finding.requirement;
            return misfit(
                &place,
                &format!("there are more findings of {id} than violations were counted"),
            );
        }
    }
    Ok(())
}

/// Returns how often each requirement was violated.
fn requirements_fit(report: &CheckReport) -> Result<BTreeMap<&str, u64>, Misfit> {
    let mut violated = BTreeMap::new();
    for (index, row) in report.requirements.iter().enumerate() {
        let place = format!("/requirements/{index}");
        let Some(req) = catalogue::find(&row.id) else {
            return misfit(&place, &format!("there is no requirement '{}'", row.id));
        };
        if violated.insert(row.id.as_str(), row.violated).is_some() {
            return misfit(&place, &format!("{} is there twice", row.id));
        }
        let tally = Tally {
            held: row.held,
            violated: row.violated,
        };
        let known = ReportedRequirement::from(&ReportRow {
            req,
            version: report.spec,
            tally,
            outcome: row.outcome,
            by_reading: Default::default(),
        });
        if (known.role, known.level, &known.clauses) != (row.role, row.level, &row.clauses) {
            let problem = format!("role, level or clauses of {} are others", row.id);
            return misfit(&place, &problem);
        }
        let is_proposed = matches!(req.requirement().how, How::Proposed(_));
        let is_observed = row.outcome == Outcome::Observed && is_proposed;
        if row.outcome != tally.outcome(req) && !is_observed {
            return misfit(
                &place,
                &format!(
                    "{} is {}, and that does not follow from its counts",
                    row.id,
                    row.outcome.name()
                ),
            );
        }
        let names = |row: &ReportedRequirement| -> Vec<String> {
            row.readings
                .iter()
                .map(|reading| reading.name.clone())
                .collect()
        };
        if names(row) != names(&known) {
            return misfit(&place, &format!("the readings of {} are others", row.id));
        }
    }
    Ok(violated)
}

fn runs_fit(report: &CheckReport, violated: &BTreeMap<&str, u64>) -> Result<(), Misfit> {
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (index, run) in report.runs.iter().enumerate() {
        let place = format!("/runs/{index}");
        if run.name.is_empty() {
            return misfit(&place, "the run has no name");
        }
        if run.number >= report.planned {
            let problem = format!("there is no run {} of {}", run.number, report.planned);
            return misfit(&place, &problem);
        }
        if !names.insert(&run.name) || !numbers.insert(run.number) {
            let problem = format!("the run {} ({}) is there twice", run.number, run.name);
            return misfit(&place, &problem);
        }
        run_fits(run, violated).map_err(|(part, problem)| (place + &part, problem))?;
    }
    Ok(())
}

fn run_fits(run: &CheckedRun, violated: &BTreeMap<&str, u64>) -> Result<(), Misfit> {
    for (index, name) in run.latitude.names.iter().enumerate() {
        // A latitude may be named with what it draws: `tiny-queues=4`.
        let base = name.split('=').next().unwrap_or_default();
        if base.parse::<Latitude>().is_err() {
            let place = format!("/latitude/names/{index}");
            return misfit(&place, &format!("there is no latitude '{name}'"));
        }
    }
    for (index, failure) in run.failures.iter().enumerate() {
        let place = format!("/failures/{index}");
        let unknown = |id: &&String| catalogue::find(id).is_none();
        let ids = failure.requirement.iter().chain(&failure.not_held);
        if let Some(id) = ids.into_iter().find(unknown) {
            return misfit(&place, &format!("there is no requirement '{id}'"));
        }
        if let (FailureKind::Violation, Some(id)) = (failure.how, &failure.requirement)
            && violated.get(id.as_str()).is_none_or(|count| *count == 0)
        {
            return misfit(&place, &format!("no violation of {id} was counted"));
        }
    }
    Ok(())
}

fn misfit<T>(place: &str, problem: &str) -> Result<T, Misfit> {
    Err((place.to_owned(), problem.to_owned()))
}

#[cfg(test)]
#[path = "vet_tests.rs"]
mod tests;
