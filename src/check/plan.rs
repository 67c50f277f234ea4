//! Which runs there are, and which of them are in this shard.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stickler_conformance::latitude::{self, Word};
use stickler_conformance::{DeviceKind, Latitude, Latitudes};

use super::exercise::{ExerciseChoice, ExercisePlan};

/// A planned run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its place among all runs.
    pub number: usize,
    /// Its name: `none`, `seed=7`, or the words that were given.
    pub name: String,
    /// The latitudes of its devices.
    pub latitudes: Latitudes,
    /// The seed from which the latitudes were drawn, if they were.
    pub seed: Option<u64>,
    /// The only device type that the guest has; `None` if it has all.
    pub alone: Option<DeviceKind>,
    /// What becomes of memory that the guest's kernel frees.
    pub freed: FreedMemory,
    /// What the guest does.
    pub exercise: ExercisePlan,
}

impl Planned {
    /// The value of `--latitude` with which this run has `latitudes` instead of its own, and the same devices and
    /// memory.
    #[must_use]
    pub fn choice(&self, latitudes: Latitudes) -> String {
        let mut choice = latitudes.to_string();
        if let Some(kind) = self.alone {
            choice.push_str(&format!(",{ALONE}{}", kind.facts().name));
        }
        if self.freed != FreedMemory::Zeroed {
            choice.push_str(&format!(",{}", self.freed.word()));
        }
        choice
    }
}

/// What becomes of memory that the guest's kernel frees, where the kernel can do so (Linux 5.3 and newer).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "freed-memory")]
pub enum FreedMemory {
    /// It is zeroed at once: a ring that is freed while its device is live shows.
    #[default]
    Zeroed,
    /// It keeps its contents until it is used again: what the driver forgets to write shows.
    Kept,
    /// Pages are zeroed at once, and SLUB fills its objects with a pattern and checks it: what writes to memory
    /// after it was freed, or beyond its end, shows.
    Checked,
}

/// One of so many seeds has its guest check the memory that it frees, which takes time.
const CHECKED_SEEDS: u64 = 4;

impl FreedMemory {
    /// Those that a report lists: all but the usual one.
    pub const LISTED: [FreedMemory; 2] = [FreedMemory::Kept, FreedMemory::Checked];

    /// What becomes of memory in the run of a seed.
    pub fn of_seed(seed: u64) -> FreedMemory {
        // Not in step with the loads, of which every four seeds have each.
        if (seed ^ seed >> 2 ^ seed >> 5) % CHECKED_SEEDS == CHECKED_SEEDS - 1 {
            FreedMemory::Checked
        } else {
            FreedMemory::Zeroed
        }
    }

    /// The parameters of the guest's kernel.
    pub fn parameters(self) -> &'static str {
        match self {
            FreedMemory::Zeroed => "init_on_free=1",
            FreedMemory::Kept => "init_on_alloc=0 init_on_free=0",
            FreedMemory::Checked => "slub_debug=FZPU init_on_free=1",
        }
    }

    /// The word for it in a choice of latitudes.
    pub const fn word(self) -> &'static str {
        match self {
            FreedMemory::Zeroed => "freed-memory-zeroed",
            FreedMemory::Kept => "freed-memory-kept",
            FreedMemory::Checked => "freed-memory-checked",
        }
    }

    /// The one with this word.
    fn of_word(word: &str) -> Option<FreedMemory> {
        let all = [FreedMemory::Zeroed, FreedMemory::Kept, FreedMemory::Checked];
        all.into_iter().find(|freed| freed.word() == word)
    }

    /// In the text report.
    pub fn words(self) -> String {
        let what = match self {
            FreedMemory::Zeroed => "freed memory is zeroed",
            FreedMemory::Kept => "freed memory keeps its contents",
            FreedMemory::Checked => "freed memory is checked",
        };
        format!("{what} ({})", self.parameters())
    }
}

/// The name of the run with plain devices in which freed memory is kept.
const KEPT: &str = FreedMemory::Kept.word();

/// One `--latitude`, in the form of `stickler run`, checked; and perhaps `alone=TYPE`, and what becomes of freed
/// memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    name: String,
    latitudes: Latitudes,
    seed: Option<u64>,
    alone: Option<DeviceKind>,
    freed: FreedMemory,
}

/// The beginning of the word that leaves all device types out but one.
const ALONE: &str = "alone=";

/// A driver that fails at these may keep its guest from using other devices: the first seed of a check that has
/// one of them is also run with each device type alone.
const HIDING: [Latitude; 2] = [Latitude::SMALL_QUEUES, Latitude::TINY_QUEUES];

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut alone = None;
        let mut freed = None;
        let mut words: Vec<Word> = Vec::new();
        for word in text.split(',').map(str::trim) {
            if let Some(named) = FreedMemory::of_word(word) {
                if freed.replace(named).is_some() {
                    return Err("'freed-memory' is there twice: leave one of them out".to_owned());
                }
                continue;
            }
            match word.strip_prefix(ALONE) {
                None => words.push(word.parse()?),
                Some(name) if alone.is_none() => alone = Some(device_type(name)?),
                Some(_) => return Err("'alone' is there twice: leave one of them out".to_owned()),
            }
        }
        Ok(Choice {
            name: text.to_owned(),
            latitudes: Latitudes::from_words(&words)?,
            seed: latitude::seed(&words),
            alone,
            // A seed does the same wherever it is given.
            freed: freed.unwrap_or_else(|| {
                latitude::seed(&words).map_or(FreedMemory::Zeroed, FreedMemory::of_seed)
            }),
        })
    }
}

/// The device type of this name.
fn device_type(name: &str) -> Result<DeviceKind, String> {
    let named = |kind: &DeviceKind| kind.facts().name == name;
    DeviceKind::ALL.into_iter().find(named).ok_or_else(|| {
        let names = DeviceKind::ALL.map(|kind| kind.facts().name).join(", ");
        format!("there is no device type '{name}'; the device types are {names}")
    })
}

/// The runs of `seed` with each device type alone.
fn each_alone(seed: u64) -> impl Iterator<Item = Choice> {
    DeviceKind::ALL.into_iter().map(move |kind| Choice {
        name: format!("seed={seed},{ALONE}{}", kind.facts().name),
        latitudes: Latitudes::draw(seed),
        seed: Some(seed),
        alone: Some(kind),
        freed: FreedMemory::of_seed(seed),
    })
}

/// The seeds that are also run with each device type alone: the first with each latitude of [`HIDING`], or else
/// the first of all.
fn hiding(seeds: &[u64]) -> Vec<u64> {
    let first = |latitude| {
        let mut seeds = seeds.iter().copied();
        seeds.find(|seed| Latitudes::draw(*seed).has(latitude))
    };
    let mut hiding: Vec<u64> = HIDING.into_iter().filter_map(first).collect();
    if hiding.is_empty() {
        hiding.extend(seeds.first());
    }
    hiding
}

/// All runs: those of `choices`, then those of `seeds`. Without choices, two runs with plain devices come
/// first, the second in memory that is not zeroed; and last, if the guests are to be so, runs with each device type
/// `alone`. Runs of the same name are run once.
pub fn plan(
    choices: &[Choice],
    seeds: impl Iterator<Item = u64>,
    exercise: &ExerciseChoice,
    alone: bool,
) -> Vec<Planned> {
    let plain = [("none", FreedMemory::Zeroed), (KEPT, FreedMemory::Kept)];
    let plain = plain.map(|(name, freed)| Choice {
        name: name.to_owned(),
        latitudes: Latitudes::default(),
        seed: None,
        alone: None,
        freed,
    });
    let plain = plain.into_iter().filter(|_| choices.is_empty());
    let seeds: Vec<u64> = seeds.collect();
    let alone = alone && choices.is_empty();
    let alone = if alone { hiding(&seeds) } else { Vec::new() };
    let alone = alone.into_iter().flat_map(each_alone);
    let seeds = seeds.into_iter().map(|seed| Choice {
        name: format!("seed={seed}"),
        latitudes: Latitudes::draw(seed),
        seed: Some(seed),
        alone: None,
        freed: FreedMemory::of_seed(seed),
    });
    let mut planned: Vec<Planned> = Vec::new();
    for choice in plain
        .chain(choices.iter().cloned())
        .chain(seeds)
        .chain(alone)
    {
        if planned.iter().all(|other| other.name != choice.name) {
            planned.push(Planned {
                number: planned.len(),
                exercise: match (choice.alone, choice.seed) {
                    (Some(kind), _) => exercise.alone(kind),
                    (None, Some(seed)) => exercise.of_seed(seed),
                    (None, None) if choice.freed == FreedMemory::Zeroed => exercise.plain(),
                    (None, None) => exercise.quiet(),
                },
                name: choice.name,
                latitudes: choice.latitudes,
                seed: choice.seed,
                alone: choice.alone,
                freed: choice.freed,
            });
        }
    }
    planned
}

/// All runs of firmware: those of `choices`, then those of `seeds`, and without choices first one with plain devices.
///
/// # Errors
/// A choice is about something that firmware does not have.
pub fn plan_of_firmware(
    choices: &[Choice],
    seeds: impl Iterator<Item = u64>,
    processors: Option<u8>,
) -> Result<Vec<Planned>, String> {
    let of_kernels = choices.iter().find(|choice| {
        choice.alone.is_some() || (choice.seed.is_none() && choice.freed != FreedMemory::Zeroed)
    });
    if let Some(choice) = of_kernels {
        return Err(format!(
            "--latitude {}: firmware has all its devices and does not look after freed memory; leave out {ALONE}… and \
             freed-memory-…",
            choice.name
        ));
    }
    let exercise = ExerciseChoice {
        steps: Some(Vec::new()),
        processors: Some(processors.unwrap_or(1)),
        no_kexec: true,
    };
    let mut runs = plan(choices, seeds, &exercise, false);
    runs.retain(|run| run.name != KEPT);
    for (number, run) in runs.iter_mut().enumerate() {
        run.number = number;
        run.freed = FreedMemory::Zeroed;
    }
    Ok(runs)
}

/// One part of the runs: `1/4` is the first of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    of: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Shard { index: 1, of: 1 }
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/');
        let numbers = parts.and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((_, 0)) => Err("there is at least one part: 1/1 is all runs".to_owned()),
            Some((index, of)) if (1..=of).contains(&index) => Ok(Shard { index, of }),
            Some((index, of)) => Err(format!(
                "there is no part {index} of {of}: the parts are 1/{of} to {of}/{of}"
            )),
            None => Err("a shard is I/M, part I of M parts of the runs: 1/4 to 4/4".to_owned()),
        }
    }
}

impl Shard {
    /// The runs of this shard: of M shards, each takes every M-th run.
    pub fn of(self, runs: Vec<Planned>) -> Vec<Planned> {
        runs.into_iter()
            .filter(|run| run.number % self.of == self.index - 1)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(runs: &[Planned]) -> Vec<&str> {
        runs.iter().map(|run| run.name.as_str()).collect()
    }

    #[test]
    fn the_plain_device_and_then_seeds_unless_latitudes_are_named() {
        let runs = plan(&[], 1..=3, &ExerciseChoice::default(), false);
        assert_eq!(names(&runs), ["none", KEPT, "seed=1", "seed=2", "seed=3"]);
        assert_eq!(runs[3].latitudes, Latitudes::draw(2));
        assert_eq!(runs[3].seed, Some(2));
        let kept = runs.iter().map(|run| run.freed == FreedMemory::Kept);
        assert_eq!(kept.collect::<Vec<_>>(), [false, true, false, false, false]);
        assert_eq!(runs[4].freed, FreedMemory::Checked);
        assert_eq!(runs[3].freed, FreedMemory::Zeroed);
        let choices = ["one-vector", "seed=2"].map(|text| text.parse().unwrap());
        let runs = plan(&choices, 1..=2, &ExerciseChoice::default(), false);
        assert_eq!(names(&runs), ["one-vector", "seed=2", "seed=1"]);
        let numbers: Vec<_> = runs.iter().map(|run| run.number).collect();
        assert_eq!(numbers, [0, 1, 2]);
    }

    #[test]
    fn each_device_type_is_alone_where_one_may_hide_the_others() {
        let choice = ExerciseChoice::default();
        let runs = plan(&[], 1..=2, &choice, true);
        let alone = |seed| {
            ["net", "block", "console", "entropy"].map(|kind| format!("seed={seed},alone={kind}"))
        };
        let without = runs.len() - 4;
        assert_eq!(names(&runs[without..]), alone(1));
        assert_eq!(runs[without].alone, Some(DeviceKind::Net));
        assert_eq!(runs[without].latitudes, Latitudes::draw(1));
        assert_eq!(runs[without].exercise, choice.alone(DeviceKind::Net));
        // Its name is what repeats it.
        let again: Choice = runs[without].name.parse().unwrap();
        let again = plan(&[again], 0..0, &choice, true);
        assert_eq!(again.len(), 1);
        assert_eq!(
            (again[0].alone, again[0].seed),
            (Some(DeviceKind::Net), Some(1))
        );
        assert_eq!(again[0].freed, runs[without].freed);
        let kept: Choice = KEPT.parse().unwrap();
        let kept = plan(&[kept], 0..0, &choice, true);
        assert_eq!(kept[0].freed, FreedMemory::Kept);
        assert_eq!(kept[0].exercise, runs[1].exercise);
        let small = (1..100).find(|seed| Latitudes::draw(*seed).has(Latitude::SMALL_QUEUES));
        let tiny = (1..100).find(|seed| Latitudes::draw(*seed).has(Latitude::TINY_QUEUES));
        let runs = plan(&[], 1..=99, &choice, true);
        let expected = [small, tiny].map(|seed| alone(seed.unwrap()));
        assert_eq!(names(&runs[101..]), expected.concat());
        assert_eq!(plan(&[], 0..0, &choice, true).len(), 2);
    }

    #[test]
    fn firmware_has_one_run_with_plain_devices_and_no_choice_of_memory() {
        let runs = plan_of_firmware(&[], 1..=40, None).unwrap();
        assert_eq!(names(&runs)[..3], ["none", "seed=1", "seed=2"]);
        assert_eq!(runs.len(), 41);
        for (number, run) in runs.iter().enumerate() {
            assert_eq!((run.number, run.exercise.processors), (number, 1));
            assert_eq!(run.choice(run.latitudes), run.latitudes.to_string());
        }
        for choice in ["seed=1,alone=net", "freed-memory-kept"] {
            let error = plan_of_firmware(&[choice.parse().unwrap()], 0..0, None).unwrap_err();
            assert!(error.contains(choice), "{error}");
        }
    }

    #[test]
    fn what_is_no_choice_is_refused() {
        for text in [
            "alone=disk",
            "alone=net,alone=block",
            "freed-memory-kept,freed-memory-checked",
            "freed-memory-lost",
            "",
            "no-such",
            "one-vector,most-vectors",
            "seed=x",
            "one-vector,",
        ] {
            assert!(text.parse::<Choice>().is_err(), "{text}");
        }
    }

    #[test]
    fn shards_are_all_runs_and_each_once() {
        for of in 1..=7 {
            let mut seen: Vec<usize> = (1..=of)
                .flat_map(|index| {
                    Shard { index, of }.of(plan(&[], 1..=5, &ExerciseChoice::default(), false))
                })
                .map(|run| run.number)
                .collect();
            seen.sort_unstable();
            assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6], "of {of}");
        }
        assert_eq!("2/3".parse(), Ok(Shard { index: 2, of: 3 }));
        for text in ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        let error = "5/4".parse::<Shard>().unwrap_err();
        assert!(error.contains("no part 5 of 4"), "{error}");
    }
}
