//! What has to meet in one run of a check, because drivers fail at both together and at neither alone.
//!
//! These are rules on kinds of behaviour: whatever keeps buffers, or the news of them, under way meets each way in
//! which a life of the drivers ends while they are in use, on several processors.

use stickler_conformance::{Latitude, Latitudes};
use stickler_exerciser::{LastStep, Step};

use super::exercise::{ExercisePlan, LOADS};

/// With these, buffers stay with the device for a while, or the driver does not know yet that they are its own again:
/// when something ends, more is under way than usually.
pub const UNDER_WAY: [Latitude; 6] = [
    Latitude::BURSTS,
    Latitude::WHOLE_QUEUE,
    Latitude::SLOW_COMPLETIONS,
    Latitude::DELAYED_DOORBELL,
    Latitude::LATE_INTERRUPTS,
    Latitude::SLOW_INTERRUPTS,
];

/// The last steps that end all drivers while their devices are in use.
pub const UNDER_LOAD: [LastStep; 3] = [
    LastStep::PowerOffUnderLoad,
    LastStep::RebootUnderLoad,
    LastStep::Kexec,
];

/// Latitudes of which the second shows what the first does, or makes more of it.
const PAIRS: [(Latitude, Latitude); 6] = [
    // Without MSI-X a handler has to say which interrupts were its own: these come when it does not expect them.
    (Latitude::NO_MSIX, Latitude::SPURIOUS_INTERRUPTS),
    (Latitude::NO_MSIX, Latitude::LATE_INTERRUPTS),
    (Latitude::NO_MSIX, Latitude::SLOW_INTERRUPTS),
    (Latitude::NO_MSIX, Latitude::INTERRUPT_STORM),
    // How a request is returned that fails shows where some fail.
    (Latitude::UNKNOWN_LEN, Latitude::FAILING_SECTORS),
    (Latitude::UNKNOWN_LEN, Latitude::REFUSED_ID),
];

/// Whether more is under way than usually when the run ends.
pub fn is_under_way(latitudes: Latitudes) -> bool {
    UNDER_WAY.iter().any(|latitude| latitudes.has(*latitude))
}

/// How many meetings there are.
const COUNT: usize = UNDER_WAY.len() * (UNDER_LOAD.len() + LOADS.len()) + PAIRS.len();

const _: () = assert!(COUNT <= u128::BITS as usize);

/// The meetings of a run, each by its place among all.
pub fn of(latitudes: Latitudes, plan: &ExercisePlan) -> Vec<usize> {
    // Where consoles go under load, many a kernel of today does not come to its end (finding 013).
    let comes_to_its_end = !plan.steps.contains(&Step::StressConsoles);
    let ends = |last: LastStep| comes_to_its_end && plan.last == last && plan.processors > 1;
    let loads = |load: Step| plan.steps.contains(&load);
    let of_steps = UNDER_LOAD
        .iter()
        .map(|last| ends(*last))
        .chain(LOADS.iter().map(|load| loads(*load)));
    let of_steps: Vec<bool> = of_steps.collect();
    let steps = UNDER_WAY.iter().flat_map(|latitude| {
        let has = latitudes.has(*latitude);
        of_steps.iter().map(move |meets| has && *meets)
    });
    let pairs = PAIRS
        .iter()
        .map(|(one, other)| latitudes.has(*one) && latitudes.has(*other));
    let all = steps.chain(pairs).enumerate();
    all.filter_map(|(place, meets)| meets.then_some(place))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use stickler_conformance::latitude::covering_seeds;

    use super::super::exercise::{ExerciseChoice, properties};
    use super::*;

    /// What a check with forty seeds does.
    fn forty() -> Vec<(Latitudes, ExercisePlan)> {
        let seeds = covering_seeds(1, properties).take(40);
        let of = |seed| {
            (
                Latitudes::draw(seed),
                ExerciseChoice::default().of_seed(seed),
            )
        };
        seeds.map(of).collect()
    }

    #[test]
    fn whatever_is_under_way_meets_every_end_under_load_on_several_processors_within_forty_seeds() {
        let runs = forty();
        for latitude in UNDER_WAY {
            for last in UNDER_LOAD {
                let with = runs.iter().filter(|(latitudes, plan)| {
                    let ends = plan.last == last && !plan.steps.contains(&Step::StressConsoles);
                    latitudes.has(latitude) && ends && plan.processors > 1
                });
                assert!(with.count() >= 1, "{latitude} and {last}");
            }
            for load in LOADS {
                let mut runs = runs.iter();
                let met = runs
                    .any(|(latitudes, plan)| latitudes.has(latitude) && plan.steps.contains(&load));
                assert!(met, "{latitude} and {load}");
            }
        }
        for (one, other) in PAIRS {
            let met = runs.iter().any(|(latitudes, plan)| {
                latitudes.has(one) && latitudes.has(other) && plan.steps.contains(&Step::View)
            });
            assert!(met, "{one} and {other}");
        }
    }

    #[test]
    fn each_meeting_has_a_place_of_its_own() {
        let mut places = BTreeSet::new();
        for (latitudes, plan) in forty() {
            let met = of(latitudes, &plan);
            assert!(met.iter().all(|place| *place < COUNT));
            places.extend(met);
        }
        assert_eq!(places.len(), COUNT);
        let plain = ExerciseChoice::default().plain();
        assert!(of(Latitudes::default(), &plain).is_empty());
    }
}
