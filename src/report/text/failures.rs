//! What failed, before all else, and what the guest's kernel complained of.

use std::fmt::{self, Write};

use super::{BAD, FAINT, Text, WEAK, printable, seconds, times};
use crate::check::plan::FreedMemory;
use crate::end::GuestEnd;
use crate::report::check::{CheckReport, CheckedRun, FailureKind};
use crate::report::guest::{ReportedComplaint, ReportedNextKernel, ReportedStanding};
use crate::report::{Report, RunEnd};

impl Text {
    /// All that failed in a run, but for violations, which follow.
    pub(super) fn failures(&mut self, report: &Report) -> fmt::Result {
        for failure in report.failures() {
            self.failed(&failure.message)?;
            if let Some(complaint) = &failure.complaint {
                self.complaint(complaint)?;
            }
            if let Some(standing) = &failure.standing {
                self.standing(standing)?;
            }
        }
        Ok(())
    }

    fn failed(&mut self, message: &str) -> fmt::Result {
        let word = self.paint(BAD, "FAILED");
        writeln!(self.out, "{word} {}", printable(message))
    }

    /// Complaints for which the run does not fail.
    pub(super) fn other_complaints(&mut self, report: &Report) -> fmt::Result {
        let complaints: Vec<ReportedComplaint> = report
            .complaints
            .iter()
            .map(ReportedComplaint::from)
            .collect();
        for complaint in complaints.iter().filter(|complaint| !complaint.fails) {
            writeln!(self.out)?;
            self.noted(complaint, None)?;
            self.complaint(complaint)?;
        }
        Ok(())
    }

    /// One line of a complaint for which nothing fails.
    fn noted(&mut self, complaint: &ReportedComplaint, run: Option<&str>) -> fmt::Result {
        let mut line = String::new();
        if let Some(run) = run {
            write!(line, "{run}: ")?;
        }
        line.push_str(&complaint_line(complaint));
        writeln!(self.out, "{}", self.paint(WEAK, &printable(&line)))
    }

    /// Whom it concerns, and all of it.
    fn complaint(&mut self, complaint: &ReportedComplaint) -> fmt::Result {
        writeln!(self.out, "  {}", printable(&complaint.circumstances()))?;
        self.quote(&complaint.lines)
    }

    fn quote(&mut self, lines: &[String]) -> fmt::Result {
        for line in lines {
            let line = format!("  | {}", printable(line));
            writeln!(self.out, "{}", self.paint(FAINT, line.trim_end()))?;
        }
        Ok(())
    }

    fn standing(&mut self, standing: &ReportedStanding) -> fmt::Result {
        for processor in &standing.processors {
            writeln!(
                self.out,
                "  processor {} stood at rip {:#018x}{}",
                processor.number,
                processor.rip.0,
                if processor.halted {
                    " and waited for an interrupt"
                } else {
                    ""
                }
            )?;
        }
        if let Some(why) = standing.why_no_trace() {
            writeln!(self.out, "  {why}")?;
        }
        self.quote(&standing.answer)
    }

    /// The failures of all runs of a check.
    pub(super) fn check_failures(&mut self, check: &CheckReport) -> fmt::Result {
        let mut quoted: Vec<(&str, &ReportedComplaint)> = Vec::new();
        for run in check.runs.iter().filter(|run| !run.failures.is_empty()) {
            self.run_failures(run, &mut quoted)?;
        }
        Ok(())
    }

    fn run_failures<'a>(
        &mut self,
        run: &'a CheckedRun,
        quoted: &mut Vec<(&'a str, &'a ReportedComplaint)>,
    ) -> fmt::Result {
        let mut complaints = run.complaints.iter().filter(|complaint| complaint.fails);
        for failure in &run.failures {
            let word = self.paint(BAD, "FAILED");
            write!(self.out, "{word} {}: {}", run.name, failure.how.words())?;
            if let Some(step) = &failure.step {
                write!(self.out, " at {}", printable(step))?;
            }
            writeln!(self.out, ": {}", printable(&failure.message))?;
            if let Some(laid_to) = failure.laid_to() {
                writeln!(self.out, "  {laid_to}")?;
            }
            match failure.how {
                FailureKind::Complaint => {
                    if let Some(complaint) = complaints.next() {
                        self.quoted_once(&run.name, complaint, quoted)?;
                    }
                }
                FailureKind::Timeout => {
                    if let Some(standing) = &run.standing {
                        self.standing(standing)?;
                    }
                }
                FailureKind::Violation
                | FailureKind::Step
                | FailureKind::Guest
                | FailureKind::Data
                | FailureKind::Stickler => {}
            }
        }
        if FreedMemory::LISTED.contains(&run.memory) {
            writeln!(self.out, "  {}", run.memory.words())?;
        }
        writeln!(self.out, "  repeat with: {}", printable(&run.repeat))?;
        if let Some(shrunk) = &run.shrunk {
            writeln!(
                self.out,
                "  also fails with fewer latitudes: --latitude {}",
                printable(shrunk)
            )?;
        }
        Ok(())
    }

    /// A complaint whole, if none of another run was the same.
    fn quoted_once<'a>(
        &mut self,
        run: &'a str,
        complaint: &'a ReportedComplaint,
        quoted: &mut Vec<(&'a str, &'a ReportedComplaint)>,
    ) -> fmt::Result {
        let known = quoted
            .iter()
            .find(|(_, known)| known.says_the_same_as(complaint));
        if let Some((first, _)) = known {
            writeln!(self.out, "  {}", printable(&complaint.circumstances()))?;
            return writeln!(self.out, "  the same as in {first}");
        }
        quoted.push((run, complaint));
        self.complaint(complaint)
    }

    /// In which runs the guest's kernel was told what to do with memory that it frees.
    pub(super) fn memory(&mut self, check: &CheckReport) -> fmt::Result {
        for memory in FreedMemory::LISTED {
            let runs = check.runs.iter().filter(|run| run.memory == memory);
            let names: Vec<&str> = runs.map(|run| run.name.as_str()).collect();
            if !names.is_empty() {
                let line = format!("{}: {}", memory.words(), names.join(", "));
                writeln!(self.out, "{}", self.paint(FAINT, &line))?;
            }
        }
        Ok(())
    }

    /// Complaints for which no run of a check fails; each is quoted once.
    pub(super) fn other_check_complaints(&mut self, check: &CheckReport) -> fmt::Result {
        let mut quoted = Vec::new();
        for run in &check.runs {
            for complaint in run.complaints.iter().filter(|complaint| !complaint.fails) {
                self.noted(complaint, Some(&run.name))?;
                self.quoted_once(&run.name, complaint, &mut quoted)?;
            }
        }
        Ok(())
    }
}

/// What the kernel said, and when.
fn complaint_line(complaint: &ReportedComplaint) -> String {
    let mut line = format!(
        "the guest's kernel complained ({}) at {}",
        complaint.kind.words(),
        seconds(complaint.time_us)
    );
    if let Some(mark) = &complaint.mark {
        line.push_str(&format!(", mark {mark}"));
    }
    format!("{line}: {}", complaint.message)
}

/// One thing that failed in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFailure {
    /// What happened, in one line.
    pub message: String,
    /// The complaint, if it is one.
    pub complaint: Option<ReportedComplaint>,
    /// Where the guest stood, if its time was over.
    pub standing: Option<ReportedStanding>,
}

impl Report {
    /// What failed in the guest, apart from violations: each makes the exit code 3.
    pub fn failures(&self) -> Vec<GuestFailure> {
        let plain = |message: String| GuestFailure {
            message,
            complaint: None,
            standing: None,
        };
        let mut failures: Vec<GuestFailure> = Vec::new();
        let micros = u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX);
        let mut when = format!("after {}", seconds(micros));
        if let Some(mark) = self.marks.last() {
            when.push_str(&format!(", mark {}", mark.name));
        }
        match &self.end {
            RunEnd::Guest(GuestEnd::Panic(message)) if message.is_empty() => {
                failures.push(plain(format!("guest panicked {when}")));
            }
            RunEnd::Guest(GuestEnd::Panic(message)) => {
                failures.push(plain(format!("guest panicked {when}: {message}")));
            }
            RunEnd::Guest(GuestEnd::TripleFault) => {
                failures.push(plain(format!("guest crashed (triple fault) {when}")));
            }
            RunEnd::Guest(GuestEnd::StrayJump(place)) => {
                failures.push(plain(format!("guest crashed {when}: {place}")));
            }
            RunEnd::Guest(GuestEnd::Timeout) => failures.push(GuestFailure {
                standing: self.standing.clone(),
                ..plain(format!("guest timed out {when}"))
            }),
            RunEnd::Guest(GuestEnd::Interrupted) => {
                failures.push(plain(format!("guest was interrupted {when}")));
            }
            // What firmware did not do follows.
            RunEnd::Guest(
                GuestEnd::PowerOff
                | GuestEnd::Reset
                | GuestEnd::GaveUp(_)
                | GuestEnd::Disconnected
                | GuestEnd::Violation,
            )
            | RunEnd::Error(_) => {}
        }
        if let Some(boot) = &self.boot {
            let messages = boot.failures.iter().map(|failure| failure.describe());
            failures.extend(messages.map(plain));
        }
        if self.drivers_required && self.lacks_drivers() {
            failures.extend(self.untaken.iter().map(|device| {
                let kind = device.kind.name();
                plain(format!("no driver took device {} ({kind})", device.slot))
            }));
        }
        failures.extend(self.next_kernels.iter().map(|next| {
            let next = ReportedNextKernel::from(next);
            plain(format!("at {}: {}", seconds(next.time_us), next.message))
        }));
        let complaints = self.complaints.iter().map(ReportedComplaint::from);
        failures.extend(
            complaints
                .filter(|complaint| complaint.fails)
                .map(|complaint| GuestFailure {
                    complaint: Some(complaint.clone()),
                    ..plain(complaint_line(&complaint))
                }),
        );
        if self.dropped.complaints > 0 {
            failures.push(plain(format!(
                "the guest's kernel complained too often: not listed: {}",
                times(self.dropped.complaints)
            )));
        }
        failures
    }
}
