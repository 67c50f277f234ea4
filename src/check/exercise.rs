//! What the guest of a run does beside the quiet exercise: which drivers come and go under load, which lives
//! they have, how the guest ends, and on how many processors.

use std::str::FromStr;

use stickler_conformance::latitude::{Draw, SeedProperties};
use stickler_conformance::{DeviceKind, Latitudes};
use stickler_exerciser::{LastStep, Step};

use super::meetings::{self, UNDER_LOAD};
use super::plan::FreedMemory;

/// Stream of the numbers that are drawn here.
const STREAM: u64 = u64::from_be_bytes(*b"exercise");

/// A step of `--steps`: one of the exercise, or the way it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenStep {
    /// A step of the exercise.
    Step(Step),
    /// How the guest ends.
    Last(LastStep),
}

impl FromStr for ChosenStep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let step = text.parse().map(ChosenStep::Step);
        step.or_else(|_| text.parse().map(ChosenStep::Last))
            .map_err(|_: String| {
                let names = Step::ALL.iter().map(|step| step.name());
                let names: Vec<&str> = names
                    .chain(LastStep::ALL.iter().map(|last| last.name()))
                    .collect();
                format!("no such step; the steps are {}", names.join(", "))
            })
    }
}

/// What the user wants of all runs; what is not said is drawn for each run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExerciseChoice {
    /// `--steps`.
    pub steps: Option<Vec<ChosenStep>>,
    /// `--cpus`.
    pub processors: Option<u8>,
    /// Whether the kernel is in a form that a running kernel takes. If not, guests restart instead.
    pub no_kexec: bool,
}

impl ExerciseChoice {
    /// Whether the user chose what the kernel cannot do.
    #[must_use]
    pub fn is_impossible(&self) -> bool {
        let kexec = ChosenStep::Last(LastStep::Kexec);
        self.no_kexec
            && self
                .steps
                .as_ref()
                .is_some_and(|steps| steps.contains(&kexec))
    }
}

/// What the guest of one run does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExercisePlan {
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// How the guest ends.
    pub last: LastStep,
    /// How many processors it has.
    pub processors: u8,
}

/// Besides the quiet steps, each run has one of these.
pub const LOADS: [Step; 4] = [
    Step::Stress,
    Step::StressConsoles,
    Step::Freeze,
    Step::Processors,
];

/// The processors of a guest of several.
const SEVERAL: u8 = 2;

impl ExerciseChoice {
    /// That of the run with plain devices: all steps, each by itself, on several processors.
    #[must_use]
    pub fn plain(&self) -> ExercisePlan {
        self.or(ExercisePlan {
            steps: Step::ALL.to_vec(),
            last: LastStep::PowerOff,
            processors: SEVERAL,
        })
    }

    /// The quiet one, on one processor.
    #[must_use]
    pub fn quiet(&self) -> ExercisePlan {
        self.or(ExercisePlan {
            steps: quiet_and(Step::View),
            last: LastStep::PowerOff,
            processors: 1,
        })
    }

    /// That of a run with one device type alone: what there is to do with it, on several processors.
    #[must_use]
    pub fn alone(&self, kind: DeviceKind) -> ExercisePlan {
        let (own, load) = match kind {
            DeviceKind::Net => (Step::Network, Step::Stress),
            DeviceKind::Block => (Step::Block, Step::Stress),
            DeviceKind::Console => (Step::Console, Step::StressConsoles),
            DeviceKind::Entropy => (Step::Entropy, Step::Stress),
        };
        let others = [Step::Block, Step::Network, Step::Console, Step::Entropy];
        let mut steps = quiet_and(load);
        steps.retain(|step| *step == own || !others.contains(step));
        self.or(ExercisePlan {
            steps,
            last: LastStep::PowerOff,
            processors: SEVERAL,
        })
    }

    /// That of the run with this seed. Of each four seeds in a row, every one has another load and another way
    /// to end, unless more is [under way](meetings::is_under_way) with the latitudes that the seed draws: such a
    /// guest has several processors, as one or two of four others have, and ends under load.
    #[must_use]
    pub fn of_seed(&self, seed: u64) -> ExercisePlan {
        // A round of four seeds has all loads, in an order of its own.
        let mut draw = Draw::new(seed / 4, STREAM);
        let mut loads = LOADS;
        draw.shuffle(&mut loads);
        let mut lasts = LastStep::ALL;
        draw.shuffle(&mut lasts);
        let several = draw.below(4);
        let place = (seed % 4) as usize;
        let load = loads[place];
        let is_under_way = meetings::is_under_way(Latitudes::draw(seed));
        let last = if is_under_way && !UNDER_LOAD.contains(&lasts[place]) {
            let another = draw.below(UNDER_LOAD.len() as u64);
            UNDER_LOAD[another as usize]
        } else {
            lasts[place]
        };
        let is_several = is_under_way || load == Step::Processors || seed % 4 == several;
        let processors = if is_several { SEVERAL } else { 1 };
        self.or(ExercisePlan {
            steps: quiet_and(load),
            last,
            processors,
        })
    }

    /// `drawn`, where the user has not chosen.
    fn or(&self, drawn: ExercisePlan) -> ExercisePlan {
        let mut plan = drawn;
        if self.no_kexec && plan.last == LastStep::Kexec {
            plan.last = LastStep::RebootUnderLoad;
        }
        if let Some(chosen) = &self.steps {
            let has = |step: &Step| chosen.contains(&ChosenStep::Step(*step));
            plan.steps = Step::ALL.into_iter().filter(has).collect();
            plan.last = chosen
                .iter()
                .find_map(|step| match step {
                    ChosenStep::Last(last) => Some(*last),
                    ChosenStep::Step(_) => None,
                })
                .unwrap_or_default();
        }
        if let Some(processors) = self.processors {
            plan.processors = processors;
        }
        plan
    }
}

/// What of the exercise comes of `seed` where the user chooses nothing: loads, on one processor and on several, ends,
/// whether memory is checked; and what [meets](meetings) in the run.
#[must_use]
pub fn properties(seed: u64) -> SeedProperties {
    let plan = ExerciseChoice::default().of_seed(seed);
    let load = LOADS.iter().position(|load| plan.steps.contains(load));
    let last = LastStep::ALL.iter().position(|last| *last == plan.last);
    let several = usize::from(plan.processors > 1) * LOADS.len();
    let is_checked = FreedMemory::of_seed(seed) == FreedMemory::Checked;
    let often = [
        load.map(|load| load + several),
        last.map(|last| last + 2 * LOADS.len()),
        is_checked.then_some(2 * LOADS.len() + LastStep::ALL.len()),
    ];
    let once = meetings::of(Latitudes::draw(seed), &plan);
    SeedProperties {
        often: often
            .into_iter()
            .flatten()
            .fold(0, |all, bit| all | 1 << bit),
        once: once.into_iter().fold(0, |all, bit| all | 1 << bit),
    }
}

/// The quiet steps, `load`, and a look at what the guest sees of the devices.
fn quiet_and(load: Step) -> Vec<Step> {
    let done = |step: &Step| Step::QUIET.contains(step) || [load, Step::View].contains(step);
    Step::ALL.into_iter().filter(done).collect()
}

#[cfg(test)]
mod tests {
    use stickler_conformance::Latitude;
    use stickler_conformance::latitude::covering_seeds;

    use super::*;

    #[test]
    fn four_seeds_have_every_load_and_every_end_and_what_is_under_way_ends_under_load() {
        let choice = ExerciseChoice::default();
        let is_under_way = |seed| meetings::is_under_way(Latitudes::draw(seed));
        let mut lasts = std::collections::BTreeSet::new();
        for round in 0..50 {
            let seeds = 4 * round..4 * round + 4;
            let plans: Vec<_> = seeds.clone().map(|seed| choice.of_seed(seed)).collect();
            for load in LOADS {
                let with = plans.iter().filter(|plan| plan.steps.contains(&load));
                assert_eq!(with.count(), 1, "{load} in round {round}");
            }
            let (under_way, others): (Vec<_>, Vec<_>) = seeds
                .clone()
                .zip(&plans)
                .partition(|(seed, _)| is_under_way(*seed));
            for (seed, plan) in under_way {
                assert!(UNDER_LOAD.contains(&plan.last), "{seed}");
                assert_eq!(plan.processors, SEVERAL, "{seed}");
                lasts.insert(plan.last);
            }
            let several = others.iter().filter(|(_, plan)| plan.processors > 1);
            assert!(several.count() <= 2, "round {round}");
            if !seeds.clone().any(is_under_way) {
                for last in LastStep::ALL {
                    assert!(plans.iter().any(|plan| plan.last == last), "{last}");
                }
            }
        }
        assert_eq!(lasts.len(), UNDER_LOAD.len());
        // The loads do not always come with the same end.
        let pairs: std::collections::BTreeSet<_> = (0..200)
            .map(|seed| choice.of_seed(seed))
            .map(|plan| (plan.steps, plan.last))
            .collect();
        assert_eq!(pairs.len(), 16);
    }

    /// The seeds of a check have latitudes, loads and ends soon.
    #[test]
    fn the_chosen_seeds_have_every_load_and_every_end() {
        let choice = ExerciseChoice::default();
        let seeds: Vec<u64> = covering_seeds(1, properties).take(40).collect();
        let plans: Vec<_> = seeds.iter().map(|seed| choice.of_seed(*seed)).collect();
        for (runs, times) in [(8, 1), (40, 4)] {
            for load in LOADS {
                let with = plans[..runs]
                    .iter()
                    .filter(|plan| plan.steps.contains(&load));
                let several = with.clone().filter(|plan| plan.processors > 1);
                assert!(with.count() >= times, "{load} in {runs}");
                assert!(several.count() >= times, "{load} in {runs}");
            }
            let checked = seeds[..runs].iter().zip(&plans);
            let checked = checked
                .filter(|(seed, _)| FreedMemory::of_seed(**seed) == FreedMemory::Checked)
                .map(|(_, plan)| plan);
            assert!(checked.count() >= times, "in {runs}");
            // The run with plain devices ends when all is quiet.
            let lasts = UNDER_LOAD.as_slice();
            for last in if runs > 8 { &LastStep::ALL } else { lasts } {
                let with = plans[..runs].iter().filter(|plan| plan.last == *last);
                assert!(with.count() >= times, "{last} in {runs}");
            }
            let several = plans[..runs].iter().filter(|plan| plan.processors > 1);
            let several = several.count();
            assert!(
                (runs / 2..=runs - times).contains(&several),
                "{several} of {runs}"
            );
        }
        let drawn: Vec<_> = seeds.into_iter().map(Latitudes::draw).collect();
        for latitude in Latitude::all() {
            let count = |runs: usize| drawn[..runs].iter().filter(|l| l.has(latitude)).count();
            assert!(count(24) >= 1, "{latitude}");
            assert!(count(40) >= 2, "{latitude}");
        }
    }

    #[test]
    fn a_kernel_that_cannot_be_started_again_is_restarted() {
        let mut choice = ExerciseChoice {
            no_kexec: true,
            ..ExerciseChoice::default()
        };
        assert!((0..16).all(|seed| choice.of_seed(seed).last != LastStep::Kexec));
        assert!(!choice.is_impossible());
        choice.steps = Some(vec!["kexec".parse().unwrap()]);
        assert!(choice.is_impossible());
    }

    #[test]
    fn a_device_type_alone_is_used_and_no_other() {
        let plan = ExerciseChoice::default().alone(DeviceKind::Console);
        assert!(plan.steps.contains(&Step::StressConsoles));
        assert!(plan.steps.contains(&Step::Console));
        assert!(plan.steps.contains(&Step::RebindDrivers));
        for other in [Step::Block, Step::Network, Step::Entropy, Step::Stress] {
            assert!(!plan.steps.contains(&other), "{other}");
        }
    }

    #[test]
    fn what_the_user_chooses_is_done_in_every_run() {
        let steps = ["freeze", "block", "kexec"].map(|name| name.parse().unwrap());
        let choice = ExerciseChoice {
            steps: Some(steps.to_vec()),
            processors: Some(3),
            no_kexec: false,
        };
        for plan in [choice.plain(), choice.quiet(), choice.of_seed(7)] {
            assert_eq!(plan.steps, [Step::Block, Step::Freeze]);
            assert_eq!(plan.last, LastStep::Kexec);
            assert_eq!(plan.processors, 3);
        }
        assert!(!choice.is_impossible());
        let error = "blok".parse::<ChosenStep>().unwrap_err();
        assert!(
            error.contains("block, network") && error.ends_with("kexec"),
            "{error}"
        );
    }
}
