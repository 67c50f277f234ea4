//! The report for people: what failed first, then violations, a line per requirement, and the totals.
//!
//! Citations are of virtio 1.0.

mod failures;
mod runs;

use std::fmt::{self, Write};

use anstyle::{AnsiColor, Style};
use stickler_conformance::requirement::How;
use stickler_conformance::{Outcome, Tally};

pub use failures::GuestFailure;

use super::check::CheckReport;
use super::features::{self, ReportedFeatures};
use super::groups::{FindingInRun, groups};
use super::json::ReportedDropped;
use super::{OUTCOMES, Report, ReportRow, RunEnd};
use crate::end::GuestEnd;
use crate::journal::RecordedFinding;

/// The report as text, with colours (ANSI escape sequences) if `colour`.
pub fn render(report: &Report, colour: bool) -> String {
    let mut text = Text {
        out: String::new(),
        colour,
        columns: Columns::of(&report.rows),
    };
    // Writing to a String cannot fail.
    let _ = text.report(report);
    text.out
}

/// The report of a check as text.
pub fn render_check(check: &CheckReport, colour: bool) -> String {
    let rows: Vec<ReportRow> = check
        .requirements
        .iter()
        .filter_map(|r| r.row(check.spec))
        .collect();
    let mut text = Text {
        out: String::new(),
        colour,
        columns: Columns::of(&rows),
    };
    // As above.
    let _ = text.check(check, &rows);
    text.out
}

struct Text {
    out: String,
    colour: bool,
    columns: Columns,
}

/// How wide the columns of the requirements' lines are.
#[derive(Default)]
struct Columns {
    name: usize,
    level: usize,
    clauses: usize,
}

impl Columns {
    fn of(rows: &[ReportRow]) -> Columns {
        let mut columns = Columns::default();
        for row in rows {
            columns.name = columns.name.max(row.requirement().name.len());
            columns.level = columns.level.max(row.level().name().len());
            columns.clauses = columns.clauses.max(sections(row).chars().count());
        }
        columns
    }
}

const BAD: Style = AnsiColor::Red.on_default().bold();
const WEAK: Style = AnsiColor::Yellow.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const FAINT: Style = Style::new().dimmed();
const STRONG: Style = Style::new().bold();

/// Width of the outcome's column.
const OUTCOME: usize = "not observable".len();

impl Text {
    fn report(&mut self, report: &Report) -> fmt::Result {
        self.head(report)?;
        self.failures(report)?;
        let findings: Vec<FindingInRun<'_>> = report
            .findings
            .iter()
            .map(|recorded| FindingInRun {
                recorded,
                run: None,
            })
            .collect();
        self.rows(&report.rows, &findings)?;
        self.readings(&report.rows, &report.readings.to_string())?;
        self.features(report.features.iter())?;
        self.other_complaints(report)?;
        self.foot(report)
    }

    /// What the devices offered and the drivers accepted.
    fn features<'r>(&mut self, devices: impl Iterator<Item = &'r ReportedFeatures>) -> fmt::Result {
        match features::lines(devices) {
            lines if lines.is_empty() => Ok(()),
            lines => write!(self.out, "\n{lines}"),
        }
    }

    /// The result for each requirement.
    fn rows(&mut self, rows: &[ReportRow], findings: &[FindingInRun<'_>]) -> fmt::Result {
        for outcome in OUTCOMES {
            let mut rows: Vec<&ReportRow> =
                rows.iter().filter(|row| row.outcome == outcome).collect();
            if rows.is_empty() {
                continue;
            }
            // Absolute requirements before recommendations, otherwise in the order of the catalogue.
            rows.sort_by_key(|row| !row.level().is_absolute());
            writeln!(self.out)?;
            for row in rows {
                self.row(row)?;
                if outcome == Outcome::Violated {
                    self.violations(row, findings)?;
                }
            }
        }
        Ok(())
    }

    fn head(&mut self, report: &Report) -> fmt::Result {
        let devices = match report.devices.as_slice() {
            [] => "no devices".to_owned(),
            devices => devices
                .iter()
                .map(|d| format!("{} (slot {})", d.kind.name(), d.slot))
                .collect::<Vec<_>>()
                .join(", "),
        };
        let title = format!("stickler {}", env!("CARGO_PKG_VERSION"));
        let title = self.paint(STRONG, &title);
        writeln!(
            self.out,
            "{title}: virtio {}, judged on {devices}",
            report.version
        )?;
        // Where the run fails for it, it is said with the other failures.
        let fails = report.drivers_required && report.lacks_drivers();
        for device in report.untaken.iter().filter(|_| !fails) {
            let line = format!(
                "no driver took device {} ({})",
                device.slot,
                device.kind.name()
            );
            writeln!(self.out, "{}", self.paint(WEAK, &line))?;
        }
        if let Some(boot) = &report.boot {
            writeln!(self.out, "{}", printable(&boot.describe()))?;
            for excused in &boot.excused {
                let line = format!("need not work: {}", excused.describe());
                writeln!(self.out, "{}", self.paint(WEAK, &printable(&line)))?;
            }
        }
        if report.latitudes.is_empty() {
            return Ok(());
        }
        // With this option the reader gets the same devices again.
        write!(self.out, "--latitude {}", report.latitudes)?;
        match report.seed {
            Some(seed) => writeln!(self.out, " (seed={seed})"),
            None => writeln!(self.out),
        }
    }

    /// One line a requirement.
    fn row(&mut self, row: &ReportRow) -> fmt::Result {
        let requirement = row.requirement();
        let (word, style) = match row.outcome {
            Outcome::Violated if row.level().is_absolute() => ("VIOLATED", BAD),
            Outcome::Violated => ("violated", WEAK),
            Outcome::Held => ("held", GOOD),
            Outcome::NotExercised => ("not exercised", FAINT),
            Outcome::Observed => ("proposed", FAINT),
            Outcome::Unobservable => ("not observable", FAINT),
        };
        let word = self.paint(style, &format!("{word:OUTCOME$}"));
        let count = match (row.outcome, requirement.how) {
            (Outcome::Violated, _) => format!(
                "{} of {}",
                row.tally.violated,
                times(row.tally.violated.saturating_add(row.tally.held))
            ),
            (Outcome::Held, _) => times(row.tally.held),
            (Outcome::Observed, How::Proposed(place)) => {
                format!("observed, not judged: {place}")
            }
            (_, How::Unobservable(why)) => why.to_owned(),
            _ => String::new(),
        };
        let line = format!(
            "{:name$}  {:level$}  {:clauses$}  {count}",
            requirement.name,
            row.level().name(),
            sections(row),
            name = self.columns.name,
            level = self.columns.level,
            clauses = self.columns.clauses,
        );
        writeln!(self.out, "{word}  {}", line.trim_end())
    }

    /// The requirement, and what the driver did instead, on which device and when.
    fn violations(&mut self, row: &ReportRow, findings: &[FindingInRun<'_>]) -> fmt::Result {
        let requirement = row.requirement();
        writeln!(self.out, "  {}", self.paint(FAINT, requirement.text))?;
        let mut shown = 0u64;
        for group in groups(row, findings) {
            let FindingInRun {
                recorded: first,
                run,
            } = group.first;
            write!(
                self.out,
                "  - {}, slot {}",
                first.finding.device.kind.name(),
                first.finding.device.slot
            )?;
            if let Some(queue) = first.finding.queue {
                write!(self.out, ", queue {queue}")?;
            }
            writeln!(self.out, ": {}", printable(&first.finding.message))?;
            let mut place = format!("at {}", seconds(first.time_us));
            if let Some(run) = run {
                write!(place, " of {run}")?;
            }
            if let Some(mark) = &first.mark {
                write!(place, ", mark {}", printable(mark))?;
            }
            if let Some(rip) = first.rip {
                write!(place, ", rip {rip:#018x}")?;
            }
            if group.runs > 1 {
                let (count, runs) = (times(group.count), group.runs);
                write!(place, "; {count} in all, in {runs} runs")?;
            } else if group.count > 1 {
                write!(
                    place,
                    "; {} in all, the last at {}",
                    times(group.count),
                    seconds(group.last_us)
                )?;
            }
            writeln!(self.out, "    {}", self.paint(FAINT, &place))?;
            shown += group.count;
        }
        if let Some(more @ 1..) = row.tally.violated.checked_sub(shown) {
            writeln!(self.out, "  - not listed: {more} more")?;
        }
        Ok(())
    }

    /// How often each reading of an ambiguous requirement was satisfied. This is no verdict.
    fn readings(&mut self, rows: &[ReportRow], judged_by: &str) -> fmt::Result {
        let tested = |row: &ReportRow| row.readings().any(|(_, tally)| tally != Tally::default());
        let rows: Vec<&ReportRow> = rows.iter().filter(|row| tested(row)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        writeln!(
            self.out,
            "\nRequirements that can be read in several ways, judged by --reading {judged_by}; how often each reading was satisfied:"
        )?;
        for row in rows {
            let counts: Vec<String> = row
                .readings()
                .map(|(reading, tally)| {
                    let all = tally.held.saturating_add(tally.violated);
                    let count = format!("{} {}/{all}", reading.name, tally.held);
                    match tally.violated {
                        0 => count,
                        _ => self.paint(STRONG, &count),
                    }
                })
                .collect();
            let name = row.requirement().name;
            let width = self.columns.name;
            writeln!(self.out, "  {name:width$}  {}", counts.join(", "))?;
        }
        Ok(())
    }

    fn foot(&mut self, report: &Report) -> fmt::Result {
        let end = match &report.end {
            RunEnd::Guest(GuestEnd::PowerOff) => "guest powered off",
            RunEnd::Guest(GuestEnd::Reset) => "guest reset itself",
            RunEnd::Guest(GuestEnd::Panic(_)) => "guest panicked",
            RunEnd::Guest(GuestEnd::TripleFault) => "guest crashed (triple fault)",
            RunEnd::Guest(GuestEnd::StrayJump(_)) => "guest crashed (no memory where it continued)",
            RunEnd::Guest(GuestEnd::Timeout) => "guest timed out",
            RunEnd::Guest(GuestEnd::Violation) => "guest was stopped at a violation",
            RunEnd::Guest(GuestEnd::GaveUp(_)) => "firmware gave up",
            RunEnd::Guest(GuestEnd::Disconnected) => "monitor disconnected",
            RunEnd::Guest(GuestEnd::Interrupted) => "guest was interrupted",
            RunEnd::Error(_) => "stickler failed",
        };
        let micros = u64::try_from(report.duration.as_micros()).unwrap_or(u64::MAX);
        write!(self.out, "\n{end} after {}", seconds(micros))?;
        match report.end.message() {
            Some(message) => writeln!(self.out, ": {}", printable(message))?,
            None => writeln!(self.out)?,
        }
        self.dropped(report.dropped.into())?;
        self.sum(&report.rows)
    }

    /// The runs that failed, then the table of requirements over all runs.
    fn check(&mut self, check: &CheckReport, rows: &[ReportRow]) -> fmt::Result {
        let title = format!("stickler {}", check.stickler);
        let title = self.paint(STRONG, &title);
        writeln!(
            self.out,
            "{title}: virtio {}, {} of {}",
            check.spec,
            runs(check.runs.len()),
            printable(&check.kernel.describe())
        )?;
        self.check_failures(check)?;
        let recorded: Vec<(&str, RecordedFinding)> = check
            .findings
            .iter()
            .filter_map(|one| Some((one.run.as_str(), one.finding().recorded(check.spec)?)))
            .collect();
        let findings: Vec<FindingInRun<'_>> = recorded
            .iter()
            .map(|(run, recorded)| FindingInRun {
                recorded,
                run: Some(run),
            })
            .collect();
        self.rows(rows, &findings)?;
        self.readings(rows, &check.reading)?;
        self.features(check.runs.iter().flat_map(|run| &run.devices))?;
        self.runs(check)?;
        self.dropped(check.dropped)?;
        self.sum(rows)
    }

    /// How much the report does not list.
    fn dropped(&mut self, dropped: ReportedDropped) -> fmt::Result {
        let ReportedDropped {
            marks,
            findings,
            complaints,
        } = dropped;
        let more = [
            (marks, "mark"),
            (findings, "finding"),
            (complaints, "complaint"),
        ];
        let more: Vec<String> = more
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| match count {
                1 => format!("1 {what}"),
                count => format!("{count} {what}s"),
            })
            .collect();
        if more.is_empty() {
            return Ok(());
        }
        let line = format!(
            "not listed, because there were too many: {}",
            more.join(", ")
        );
        writeln!(self.out, "{}", self.paint(WEAK, &line))
    }

    /// How many requirements have which outcome, and which were violated.
    fn sum(&mut self, rows: &[ReportRow]) -> fmt::Result {
        let sum: Vec<String> = OUTCOMES
            .into_iter()
            .filter_map(|outcome| {
                let count = rows.iter().filter(|row| row.outcome == outcome).count();
                Some(match outcome {
                    Outcome::Observed if count == 0 => return None,
                    Outcome::Violated if count > 0 => self.paint(BAD, &format!("{count} violated")),
                    Outcome::Violated => "0 violated".to_owned(),
                    Outcome::Held => format!("{count} held"),
                    Outcome::NotExercised => format!("{count} not exercised"),
                    Outcome::Observed => format!("{count} observed"),
                    Outcome::Unobservable => format!("{count} not observable"),
                })
            })
            .collect();
        writeln!(self.out, "requirements: {}", sum.join(", "))?;
        // Again at the end, which the reader of a long report sees first.
        for row in rows {
            if row.outcome == Outcome::Violated {
                let name = self.paint(BAD, row.requirement().name);
                writeln!(self.out, "violated: {name}")?;
            }
        }
        Ok(())
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

/// The sections that state the requirement, each once: `§2.1.1, §3.1.1`.
fn sections(row: &ReportRow) -> String {
    let mut sections: Vec<&str> = Vec::new();
    for clause in row.clauses() {
        let section = clause.split('-').next().unwrap_or(clause);
        if !sections.contains(&section) {
            sections.push(section);
        }
    }
    sections
        .iter()
        .map(|section| format!("§{section}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn runs(count: usize) -> String {
    match count {
        1 => "1 run".to_owned(),
        count => format!("{count} runs"),
    }
}

fn times(count: u64) -> String {
    match count {
        1 => "1 time".to_owned(),
        count => format!("{count} times"),
    }
}

fn seconds(micros: u64) -> String {
    format!("{}.{:03} s", micros / 1_000_000, micros / 1000 % 1000)
}

/// Text of the guest (panics, marks, port names) without control characters, which could change the
/// reader's terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
