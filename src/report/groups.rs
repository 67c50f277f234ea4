//! Findings that say the same are shown once.

use super::ReportRow;
use crate::journal::RecordedFinding;

/// A finding and the run in which it was made.
#[derive(Clone, Copy)]
pub(super) struct FindingInRun<'a> {
    pub(super) recorded: &'a RecordedFinding,
    /// `None` in the report of one run.
    pub(super) run: Option<&'a str>,
}

/// Findings of one requirement that differ only in time and place.
pub(super) struct FindingGroup<'a> {
    pub(super) first: FindingInRun<'a>,
    /// When the last one was made, in microseconds since its run began.
    pub(super) last_us: u64,
    last_run: Option<&'a str>,
    /// How many findings they are.
    pub(super) count: u64,
    /// In how many runs they were made.
    pub(super) runs: u64,
}

/// The findings of `row`'s requirement, in groups. The findings of a run stand together in
/// `findings`.
pub(super) fn groups<'a>(row: &ReportRow, findings: &[FindingInRun<'a>]) -> Vec<FindingGroup<'a>> {
    let mut groups: Vec<FindingGroup<'a>> = Vec::new();
    for finding in findings
        .iter()
        .filter(|finding| finding.recorded.finding.requirement == row.req)
    {
        match groups
            .iter_mut()
            .find(|group| group.first.recorded.finding == finding.recorded.finding)
        {
            Some(group) => {
                group.count += 1;
                group.last_us = finding.recorded.time_us;
                if group.last_run != finding.run {
                    group.last_run = finding.run;
                    group.runs += 1;
                }
            }
            None => groups.push(FindingGroup {
                first: *finding,
                last_us: finding.recorded.time_us,
                last_run: finding.run,
                count: 1,
                runs: 1,
            }),
        }
    }
    groups
}
