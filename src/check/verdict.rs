//! Whether a run failed, and how.

use stickler_conformance::Outcome;
use stickler_exerciser::{GuestLine, Kind};

use super::guest::Load;
use crate::report::check::{FailureKind, RunFailure};
use crate::report::json::RunReport;
use crate::report::{Deny, EndKind};

/// What the guest wrote to its serial port for us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExerciseLog {
    /// The steps that failed.
    pub failed: Vec<FailedStep>,
    /// Devices whose drivers gave up, where drivers may do so.
    pub given_up: Vec<GivenUpDevice>,
    /// Whether everything worked.
    pub passed: bool,
    /// Whether the first disk took no writes.
    pub unwritten: bool,
    /// The latest mark.
    pub mark: Option<String>,
}

/// A step of the guest that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedStep {
    /// The name of the step.
    pub step: String,
    /// What was wrong, for people.
    pub message: String,
}

/// A device whose driver gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUpDevice {
    /// The device type.
    pub kind: Kind,
    /// Where the device is and what state it is in, for people.
    pub state: String,
}

impl ExerciseLog {
    /// Adds the next line.
    pub fn add(&mut self, line: &str) {
        match GuestLine::parse(line) {
            Some(GuestLine::Mark(name)) => self.mark = Some(name),
            Some(GuestLine::Failed { step, message }) => {
                self.failed.push(FailedStep { step, message });
            }
            Some(GuestLine::GivenUp { kind, state }) => {
                self.given_up.push(GivenUpDevice { kind, state });
            }
            Some(GuestLine::Unwritten) => self.unwritten = true,
            Some(GuestLine::Passed) => self.passed = true,
            None => {}
        }
    }
}

/// How the process of a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEnd {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The last line of its standard error.
    pub last_error: String,
}

/// In which ways a run failed; none if it passed.
///
/// `compare` compares the disks with what the guest should have written.
pub fn failures(
    load: Load,
    end: &ProcessEnd,
    report: Option<&RunReport>,
    log: &ExerciseLog,
    deny: Deny,
    compare: impl FnOnce() -> Result<(), String>,
) -> Vec<RunFailure> {
    let at_mark = |how, message: String| RunFailure {
        how,
        requirement: None,
        step: log.mark.clone(),
        message,
        not_held: Vec::new(),
    };
    let report = match (report, end.code) {
        (Some(report), Some(0 | 1 | 3)) if report.guest.end != EndKind::Error => report,
        _ => {
            let code = match end.code {
                Some(code) => format!("exit code {code}"),
                None => "ended by a signal".to_owned(),
            };
            let message = match end.last_error.as_str() {
                "" => code,
                error => format!("{error} ({code})"),
            };
            return vec![at_mark(FailureKind::Stickler, message)];
        }
    };
    let mut failures = violations(report, deny);
    failures.extend(log.failed.iter().map(|failed| RunFailure {
        how: FailureKind::Step,
        requirement: None,
        step: Some(failed.step.clone()),
        message: failed.message.clone(),
        not_held: Vec::new(),
    }));
    match report.guest.end {
        EndKind::Interrupted => return failures,
        EndKind::Timeout => failures.push(at_mark(
            FailureKind::Timeout,
            "the guest did not end within its time limit".to_owned(),
        )),
        EndKind::Panic => {
            let message = report.guest.message.as_deref().unwrap_or("no message");
            failures.push(at_mark(
                FailureKind::Guest,
                format!("its kernel panicked: {message}"),
            ));
        }
        EndKind::TripleFault => {
            failures.push(at_mark(FailureKind::Guest, "triple fault".to_owned()));
        }
        EndKind::PowerOff
        | EndKind::Reset
        | EndKind::Disconnected
        | EndKind::Violation
        | EndKind::Error => {
            if load != Load::System && log.failed.is_empty() && !log.passed {
                failures.push(at_mark(
                    FailureKind::Guest,
                    "it ended before it had passed".to_owned(),
                ));
            }
        }
    }
    if load == Load::Exercise
        && failures
            .iter()
            .all(|failure| failure.how == FailureKind::Violation)
        && let Err(message) = compare()
    {
        failures.push(RunFailure {
            how: FailureKind::Data,
            requirement: None,
            step: None,
            message,
            not_held: Vec::new(),
        });
    }
    failures
}

/// One failure for each plain device that no driver took.
pub fn missing_drivers(report: &RunReport) -> impl Iterator<Item = RunFailure> {
    let by_guest = matches!(report.guest.end, EndKind::PowerOff | EndKind::Reset);
    let should = by_guest && report.latitude.names.is_empty();
    let missing = report.untaken.iter().filter(move |_| should);
    missing.map(|device| RunFailure {
        how: FailureKind::Guest,
        requirement: None,
        step: None,
        message: format!(
            "no driver took device {} ({})",
            device.slot,
            device.kind.name()
        ),
        not_held: Vec::new(),
    })
}

/// One failure for each violated requirement whose level `deny` names.
fn violations(report: &RunReport, deny: Deny) -> Vec<RunFailure> {
    report
        .requirements
        .iter()
        .filter(|requirement| requirement.outcome == Outcome::Violated)
        .filter(|requirement| deny.counts(requirement.level))
        .map(|requirement| {
            let id = &requirement.id;
            let finding = report.findings.iter().find(|f| f.requirement == *id);
            RunFailure {
                how: FailureKind::Violation,
                requirement: Some(id.clone()),
                step: finding.and_then(|finding| finding.mark.clone()),
                message: match finding {
                    Some(finding) => {
                        format!("{id} ({}): {}", finding.device.kind.name(), finding.message)
                    }
                    None => id.clone(),
                },
                not_held: Vec::new(),
            }
        })
        .collect()
}

/// Whether `again` contains a failure of the same kind as one of `first`: the same requirement
/// violated, the same step failed, or else the guest ended in the same way.
pub fn is_same(first: &[RunFailure], again: &[RunFailure]) -> bool {
    fn signature(failure: &RunFailure) -> (FailureKind, Option<&str>) {
        let subject = match failure.how {
            FailureKind::Violation => failure.requirement.as_deref(),
            FailureKind::Step => failure.step.as_deref(),
            FailureKind::Guest
            | FailureKind::Timeout
            | FailureKind::Data
            | FailureKind::Stickler => None,
        };
        (failure.how, subject)
    }
    first
        .iter()
        .any(|one| again.iter().any(|other| signature(one) == signature(other)))
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
