//! All runs, several at a time.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::thread;

use stickler_conformance::Latitudes;

use super::known::KnownRuns;
use super::plan::Planned;
use super::progress::Progress;
use super::run::{self, RunResult, Setting};
use super::shrink::shrink;
use super::verdict;
use crate::report::check::{CheckReport, CheckedRun, FailureKind};
use crate::report::json::RunReport;

/// Runs `runs`, `jobs` at a time, and adds each to `check`.
///
/// # Errors
///
/// Why stickler refuses to run the guest.
pub fn run_all(
    setting: &Setting,
    runs: Vec<Planned>,
    jobs: usize,
    shrinking: bool,
    check: &mut CheckReport,
    progress: &Progress,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<(), String> {
    let threads = jobs.min(runs.len());
    let waiting = Mutex::new(VecDeque::from(runs));
    let refused: Mutex<Option<String>> = Mutex::new(None);
    let check = Mutex::new(check);
    let known = Mutex::new(KnownRuns::new(setting.guest.load));
    let stop = || stop() || lock(&refused).is_some();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    if stop() {
                        return;
                    }
                    let Some(planned) = lock(&waiting).pop_front() else {
                        return;
                    };
                    match one(setting, &planned, shrinking, &known, progress, &stop) {
                        Ok((checked, report)) => {
                            progress.done(&checked);
                            lock(&check).add(checked, report);
                        }
                        Err(why) => *lock(&refused) = Some(why),
                    }
                }
            });
        }
    });
    match refused.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(why) => Err(why),
        None => Ok(()),
    }
}

/// One run. If it fails and `shrinking`, finds the fewest latitudes with which it still fails.
fn one(
    setting: &Setting,
    planned: &Planned,
    shrinking: bool,
    known: &Mutex<KnownRuns>,
    progress: &Progress,
    stop: &dyn Fn() -> bool,
) -> Result<(CheckedRun, Option<RunReport>), String> {
    let step = progress.begin(&planned.name);
    let ran = run::run(setting, planned, &|mark| step.mark(mark), stop);
    let (mut checked, report) = match ran {
        Ok(RunResult::Done(checked, report)) => (*checked, report.map(|report| *report)),
        Ok(RunResult::Refused(why)) => return Err(why),
        Err(error) => (run::not_run(setting, planned, &error), None),
    };
    if !checked.is_cut_short() {
        lock(known).add(planned, &checked.failures);
    }
    let failed = |checked: &CheckedRun| {
        let mut failures = checked.failures.iter();
        failures.any(|failure| failure.how != FailureKind::Stickler)
    };
    if shrinking && failed(&checked) && !planned.latitudes.is_empty() && !stop() {
        let fails = |latitudes: Latitudes| {
            if stop() {
                return None;
            }
            let again = Planned {
                name: format!("{} shrunk", planned.name),
                latitudes,
                ..planned.clone()
            };
            // Whether it fails again at all is not known.
            let is_smaller = latitudes != planned.latitudes;
            let fails = lock(known).fails(&again, &checked.failures);
            if let Some(fails) = fails.filter(|_| is_smaller) {
                return Some(fails);
            }
            let see = |mark: &str| step.mark(&format!("shrinking, {}: {mark}", latitudes.count()));
            match run::run(setting, &again, &see, stop) {
                Ok(RunResult::Done(ended, _)) if !ended.is_cut_short() => {
                    lock(known).add(&again, &ended.failures);
                    Some(verdict::is_same(&checked.failures, &ended.failures))
                }
                _ => None,
            }
        };
        let smallest = shrink(planned.latitudes, fails);
        checked.shrunk = smallest.map(|latitudes| planned.choice(latitudes));
    }
    Ok((checked, report))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "campaign_tests.rs"]
mod tests;
