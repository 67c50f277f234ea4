//! Whether a run failed, and how.

use stickler_conformance::Outcome;
use stickler_exerciser::{GuestLine, GuestView, Kind};

use super::guest::Load;
use crate::complaints::KernelLine;
use crate::firmware::verdict::{BootFailure, BootFailureKind};
use crate::report::check::{FailureKind, RunFailure};
use crate::report::json::RunReport;
use crate::report::{Deny, EndKind};

/// The most symbols that were not found that are kept.
const UNRESOLVED: usize = 20;

/// The most steps that failed or were left out that are kept.
const FAILED: usize = 100;

/// The most devices that are kept on which drivers gave up.
const GIVEN_UP: usize = 100;

/// The most views of a guest that are kept.
const VIEWS: usize = 1000;

/// What the guest wrote to its serial port for us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExerciseLog {
    /// The steps that failed, the first [`FAILED`] of them.
    pub failed: Vec<FailedStep>,
    /// How many more failed.
    pub more_failed: usize,
    /// Devices whose drivers gave up, where drivers may do so.
    pub given_up: Vec<GivenUpDevice>,
    /// Whether everything worked.
    pub passed: bool,
    /// Whether the first disk took no writes.
    pub unwritten: bool,
    /// The latest mark.
    pub mark: Option<String>,
    /// Symbols that the guest's kernel did not find when it loaded a module, each with the module.
    pub unresolved: Vec<UnresolvedSymbol>,
    /// Steps that this guest cannot do, each with the reason.
    pub skipped: Vec<(String, String)>,
    /// What the guest's kernel shows of the devices.
    pub views: Vec<GuestView>,
}

/// A step of the guest that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedStep {
    /// The name of the step.
    pub step: String,
    /// What was wrong, for people.
    pub message: String,
}

/// A symbol that a module needs and the kernel does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnresolvedSymbol {
    /// The module's name.
    pub module: String,
    /// The symbol.
    pub symbol: String,
}

impl UnresolvedSymbol {
    /// Reads `virtio_net: Unknown symbol net_failover_create (err -2)`.
    fn parse(line: &str) -> Option<Self> {
        let (module, rest) = KernelLine::read(line)
            .text
            .split_once(": Unknown symbol ")?;
        let is_word = |word: &str| !word.is_empty() && !word.contains(char::is_whitespace);
        let symbol = rest.split(' ').next().filter(|symbol| is_word(symbol))?;
        is_word(module).then(|| UnresolvedSymbol {
            module: module.to_owned(),
            symbol: symbol.to_owned(),
        })
    }
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
                if self.failed.len() < FAILED {
                    self.failed.push(FailedStep { step, message });
                } else {
                    self.more_failed += 1;
                }
            }
            Some(GuestLine::GivenUp { kind, state }) => {
                if self.given_up.len() < GIVEN_UP {
                    self.given_up.push(GivenUpDevice { kind, state });
                }
            }
            Some(GuestLine::Unwritten) => self.unwritten = true,
            Some(GuestLine::Passed) => self.passed = true,
            Some(GuestLine::Skipped { step, why }) => {
                if self.skipped.len() < FAILED {
                    self.skipped.push((step, why));
                }
            }
            Some(GuestLine::View(view)) if self.views.len() < VIEWS => self.views.push(view),
            Some(GuestLine::View(_)) => {}
            None => {
                if self.unresolved.len() < UNRESOLVED {
                    self.unresolved.extend(UnresolvedSymbol::parse(line));
                }
            }
        }
    }

    /// What the failed step says, with the symbols that were missing if it is about a module.
    fn message_of(&self, failed: &FailedStep) -> String {
        let named: Vec<&UnresolvedSymbol> = self
            .unresolved
            .iter()
            .filter(|unresolved| {
                failed
                    .message
                    .contains(&format!("/{}.ko", unresolved.module))
            })
            .collect();
        let Some(first) = named.first() else {
            return failed.message.clone();
        };
        let symbols: Vec<&str> = named.iter().map(|one| one.symbol.as_str()).collect();
        format!(
            "{}; {} needs {}, which the kernel and the modules before it do not have: a module is missing among \
             those of --modules, or does not fit",
            failed.message,
            first.module,
            symbols.join(", ")
        )
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
    if let Some(boot) = &report.boot {
        failures.extend(boot.failures.iter().map(|failure| of_boot(failure, log)));
        return failures;
    }
    failures.extend(log.failed.iter().map(|failed| RunFailure {
        how: FailureKind::Step,
        requirement: None,
        step: Some(failed.step.clone()),
        message: log.message_of(failed),
        not_held: Vec::new(),
    }));
    if log.more_failed > 0 {
        let message = format!("{} more steps failed", log.more_failed);
        failures.push(at_mark(FailureKind::Step, message));
    }
    failures.extend(complaints(report));
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
        EndKind::StrayJump => {
            let place = report.guest.message.as_deref().unwrap_or("it crashed");
            failures.push(at_mark(FailureKind::Guest, place.to_owned()));
        }
        // What the guest would have done after that is not known.
        EndKind::Violation => return failures,
        EndKind::PowerOff
        | EndKind::Reset
        | EndKind::GaveUp
        | EndKind::Disconnected
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
            .all(|failure| matches!(failure.how, FailureKind::Violation | FailureKind::Complaint))
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

/// What firmware, or the program that it booted, did not do.
fn of_boot(failure: &BootFailure, log: &ExerciseLog) -> RunFailure {
    RunFailure {
        how: match failure.how {
            BootFailureKind::Boot => FailureKind::Guest,
            BootFailureKind::Step => FailureKind::Step,
            BootFailureKind::Data => FailureKind::Data,
        },
        requirement: None,
        step: failure.step.clone().or_else(|| log.mark.clone()),
        message: failure.message.clone(),
        not_held: Vec::new(),
    }
}

/// One failure for each complaint of the guest's kernel that makes the run fail, and for each kernel that came
/// while devices were live.
fn complaints(report: &RunReport) -> Vec<RunFailure> {
    let failure = |how, step: Option<String>, message: String| RunFailure {
        how,
        requirement: None,
        step,
        message,
        not_held: Vec::new(),
    };
    let failing = report.complaints.iter().filter(|complaint| complaint.fails);
    let mut failures: Vec<RunFailure> = failing
        .map(|complaint| {
            let (step, message) = (complaint.mark.clone(), complaint.message.clone());
            failure(FailureKind::Complaint, step, message)
        })
        .collect();
    if report.dropped.complaints > 0 {
        let message = format!(
            "{} complaints more are not listed",
            report.dropped.complaints
        );
        failures.push(failure(FailureKind::Complaint, None, message));
    }
    failures.extend(report.next_kernels.iter().map(|next| {
        let marks = report.marks.iter().rev();
        let step = marks.clone().find(|mark| mark.time_us <= next.time_us);
        let step = step.map(|mark| mark.name.clone());
        failure(FailureKind::Guest, step, next.message.clone())
    }));
    failures
}

/// Says in those of `failures` that are about a device without a driver that modules can be given.
pub fn suggest_modules(failures: &mut [RunFailure]) {
    const SIGNS: [&str; 2] = ["no driver took device", "its transport has no driver"];
    for failure in failures {
        let about = matches!(failure.how, FailureKind::Guest | FailureKind::Step)
            && SIGNS.iter().any(|sign| failure.message.contains(sign));
        if about {
            failure.message.push_str(
                "; no modules were given: if this kernel's virtio drivers are modules, give their directory with --modules",
            );
        }
    }
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
    fn signature(failure: &RunFailure) -> (FailureKind, Option<String>) {
        let subject = match failure.how {
            FailureKind::Violation => failure.requirement.clone(),
            FailureKind::Step => failure.step.clone(),
            // Addresses and numbers of processes differ from run to run.
            FailureKind::Complaint => {
                let letters = failure.message.chars().filter(|c| !c.is_ascii_hexdigit());
                Some(letters.collect())
            }
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
