//! What the runs of a check have shown: shrinking does not run it again.

use super::exercise::ExercisePlan;
use super::guest::Load;
use super::plan::Planned;
use super::verdict;
use crate::report::check::{FailureKind, RunFailure};

/// Runs that have ended, and how they failed.
pub struct KnownRuns {
    load: Load,
    runs: Vec<(Planned, Vec<RunFailure>)>,
}

impl KnownRuns {
    /// None yet of guests that run `load`.
    pub fn new(load: Load) -> Self {
        KnownRuns {
            load,
            runs: Vec::new(),
        }
    }

    /// `run` ended by itself, with these failures.
    pub fn add(&mut self, run: &Planned, failures: &[RunFailure]) {
        // Where stickler failed, nothing is known of the guest.
        if failures
            .iter()
            .all(|failure| failure.how != FailureKind::Stickler)
        {
            self.runs.push((run.clone(), failures.to_vec()));
        }
    }

    /// Whether `run` fails as one that had `failures` did; `None` if it has to be run to find that out.
    pub fn fails(&self, run: &Planned, failures: &[RunFailure]) -> Option<bool> {
        let of_same_devices = self.runs.iter().filter(|(known, _)| {
            let plain = known.latitudes.is_empty() && run.latitudes.is_empty();
            (plain || known.latitudes == run.latitudes)
                && known.alone == run.alone
                && known.freed == run.freed
        });
        of_same_devices
            .filter_map(|(known, theirs)| {
                let same = self.does(&known.exercise) == self.does(&run.exercise);
                let passed = theirs.is_empty() && self.covers(&known.exercise, &run.exercise);
                (same || passed).then(|| verdict::is_same(failures, theirs))
            })
            .next()
    }

    /// What a guest does: a program of the user's knows no steps.
    fn does(&self, plan: &ExercisePlan) -> ExercisePlan {
        let mut plan = plan.clone();
        if self.load != Load::Exercise {
            plan.steps.clear();
            plan.last = Default::default();
        }
        plan
    }

    /// Whether a guest that does `more` does all of `less`, too.
    fn covers(&self, more: &ExercisePlan, less: &ExercisePlan) -> bool {
        let (more, less) = (self.does(more), self.does(less));
        less.steps.iter().all(|step| more.steps.contains(step))
            && more.last == less.last
            && more.processors >= less.processors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::exercise::ExerciseChoice;
    use crate::check::plan::plan;

    fn failure(how: FailureKind) -> RunFailure {
        RunFailure {
            how,
            requirement: None,
            step: None,
            message: String::new(),
            not_held: Vec::new(),
        }
    }

    #[test]
    fn only_what_was_run_so_is_known() {
        let runs = plan(&[], 1..=16, &ExerciseChoice::default(), false);
        let [none, seeds @ ..] = runs.as_slice() else {
            panic!("no runs");
        };
        let timeout = [failure(FailureKind::Timeout)];
        let plain = |run: &Planned| Planned {
            latitudes: none.latitudes.varied(9),
            ..run.clone()
        };
        let mut known = KnownRuns::new(Load::Exercise);
        known.add(none, &[]);
        // The plain run has all steps: it answers for the guests that end as its own does, and only for them.
        let answers = |known: &KnownRuns| -> Vec<Option<bool>> {
            let seeds = seeds.iter().filter(|run| run.freed == none.freed);
            seeds
                .map(|run| known.fails(&plain(run), &timeout))
                .collect()
        };
        let answered = answers(&known);
        assert!(answered.contains(&Some(false)) && answered.contains(&None));
        assert!(!answered.contains(&Some(true)));
        for run in seeds.iter().filter(|run| !run.latitudes.is_empty()) {
            assert_eq!(known.fails(run, &timeout), None);
        }

        // If it failed, guests that do less may not.
        let mut known = KnownRuns::new(Load::Exercise);
        known.add(none, &timeout);
        assert!(answers(&known).iter().all(Option::is_none));
        assert_eq!(known.fails(none, &timeout), Some(true));
        let other = [failure(FailureKind::Data)];
        assert_eq!(known.fails(none, &other), Some(false));

        let mut known = KnownRuns::new(Load::Exercise);
        known.add(none, &[failure(FailureKind::Stickler)]);
        assert_eq!(known.fails(none, &timeout), None);
    }

    #[test]
    fn a_program_of_the_users_does_the_same_in_all_runs_with_as_many_processors() {
        let choice = ExerciseChoice {
            processors: Some(2),
            ..ExerciseChoice::default()
        };
        let runs = plan(&[], 1..=8, &choice, false);
        let mut known = KnownRuns::new(Load::Command);
        let timeout = [failure(FailureKind::Timeout)];
        known.add(&runs[0], &timeout);
        for run in runs.iter().filter(|run| run.freed == runs[0].freed) {
            let plain = Planned {
                latitudes: runs[0].latitudes,
                ..run.clone()
            };
            assert_eq!(known.fails(&plain, &timeout), Some(true));
        }
    }
}
