//! Whether a run failed, and how.

use stickler_conformance::catalogue;
use stickler_conformance::requirement::Level;
use stickler_exerciser::{FAILED, GIVEN_UP, PASSED, UNWRITTEN};

use super::guest::Load;
use crate::report::check::{Failure, How};
use crate::report::json::Run;

/// What the guest said on its serial port that concerns us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The steps that failed, each with what was wrong.
    pub failed: Vec<(String, String)>,
    /// Devices that were given up, where drivers may do so.
    pub given_up: Vec<String>,
    /// Everything worked.
    pub passed: bool,
    /// The first disk took no writes.
    pub unwritten: bool,
    /// The latest mark.
    pub mark: Option<String>,
}

impl Said {
    /// Takes the next line.
    pub fn hear(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(mark) = line.strip_prefix("@mark ") {
            self.mark = Some(mark.trim().to_owned());
        } else if let Some(text) = line.strip_prefix(FAILED) {
            let (step, message) = text.split_once(": ").unwrap_or(("", text));
            self.failed.push((step.to_owned(), message.to_owned()));
        } else if let Some(device) = line.strip_prefix(GIVEN_UP) {
            self.given_up.push(device.to_owned());
        } else if line == UNWRITTEN {
            self.unwritten = true;
        } else if line == PASSED {
            self.passed = true;
        }
    }
}

/// How the process of a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// The last line of its standard error.
    pub last_words: String,
}

/// In which ways a run failed; none if it passed.
///
/// `data` is what the host finds when it compares its side.
pub fn failures(
    load: Load,
    ended: &Ended,
    report: Option<&Run>,
    said: &Said,
    counts: impl Fn(Level) -> bool,
    data: impl FnOnce() -> Result<(), String>,
) -> Vec<Failure> {
    let at_mark = |how, message: String| Failure {
        how,
        step: said.mark.clone(),
        message,
    };
    let report = match (report, ended.code) {
        (Some(report), Some(0 | 1 | 3)) if report.guest.end != "error" => report,
        _ => {
            let code = match ended.code {
                Some(code) => format!("exit code {code}"),
                None => "ended by a signal".to_owned(),
            };
            let message = match ended.last_words.as_str() {
                "" => code,
                words => format!("{words} ({code})"),
            };
            return vec![at_mark(How::Stickler, message)];
        }
    };
    let mut failures = violations(report, counts);
    failures.extend(said.failed.iter().map(|(step, message)| Failure {
        how: How::Step,
        step: Some(step.clone()),
        message: message.clone(),
    }));
    match report.guest.end.as_str() {
        "interrupted" => return failures,
        "timeout" => failures.push(at_mark(
            How::Timeout,
            "the guest did not end in its time".to_owned(),
        )),
        "panic" => {
            let message = report.guest.message.as_deref().unwrap_or("no message");
            failures.push(at_mark(
                How::Guest,
                format!("its kernel panicked: {message}"),
            ));
        }
        "triple-fault" => failures.push(at_mark(How::Guest, "triple fault".to_owned())),
        _ if load == Load::System || !said.failed.is_empty() => {}
        _ if !said.passed => failures.push(at_mark(
            How::Guest,
            "it ended before it had passed".to_owned(),
        )),
        _ => {}
    }
    if load == Load::Exercise
        && failures.iter().all(|failure| failure.how == How::Violation)
        && let Err(message) = data()
    {
        failures.push(Failure {
            how: How::Data,
            step: None,
            message,
        });
    }
    failures
}

/// One failure for each requirement that was violated and counts.
fn violations(report: &Run, counts: impl Fn(Level) -> bool) -> Vec<Failure> {
    report
        .requirements
        .iter()
        .filter(|requirement| requirement.outcome == "violated")
        .filter(|requirement| {
            catalogue::find(&requirement.id).is_none_or(|req| counts(req.requirement().level))
        })
        .map(|requirement| {
            let finding = report
                .findings
                .iter()
                .find(|f| f.requirement == requirement.id);
            Failure {
                how: How::Violation,
                step: finding.and_then(|finding| finding.mark.clone()),
                message: match finding {
                    Some(finding) => format!(
                        "{} ({}): {}",
                        requirement.id, finding.device.kind, finding.message
                    ),
                    None => requirement.id.clone(),
                },
            }
        })
        .collect()
}

/// Whether `again` is a failure in one of the ways of `first`: the same requirement violated, the
/// same step failed, or else the guest ended in the same way.
pub fn is_same(first: &[Failure], again: &[Failure]) -> bool {
    fn sign(failure: &Failure) -> (How, &str) {
        let of = match failure.how {
            How::Violation => failure.message.split(' ').next(),
            How::Step => failure.step.as_deref(),
            How::Guest | How::Timeout | How::Data | How::Stickler => None,
        };
        (failure.how, of.unwrap_or_default())
    }
    first
        .iter()
        .any(|one| again.iter().any(|other| sign(one) == sign(other)))
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
