//! How often each requirement held and was violated, and the outcome.

use serde::{Deserialize, Serialize};

use crate::catalogue;
use crate::readings::Readings;
use crate::requirement::{How, MAX_READINGS, Req, Strictness};
use crate::version::Version;

/// How often a requirement held and how often it was violated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Opportunities at which the driver satisfied the requirement.
    pub held: u64,
    /// Opportunities at which it violated the requirement.
    pub violated: u64,
}

/// The outcome of a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The driver had opportunities to violate it, and satisfied it every time.
    Held,
    /// The driver violated it at least once.
    Violated,
    /// The driver had no opportunity to violate it.
    NotExercised,
    /// No device can observe it.
    Unobservable,
    /// It is proposed, not required: what the driver did is counted, and not judged.
    Observed,
}

impl Outcome {
    /// The outcome as reports spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Held => "held",
            Outcome::Violated => "violated",
            Outcome::NotExercised => "not-exercised",
            Outcome::Unobservable => "unobservable",
            Outcome::Observed => "observed",
        }
    }
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.held += other.held;
        self.violated += other.violated;
    }

    fn count(&mut self, ok: bool) {
        if ok {
            self.held += 1;
        } else {
            self.violated += 1;
        }
    }

    /// The outcome of `requirement` with these counts.
    pub fn outcome(self, requirement: Req) -> Outcome {
        match (requirement.requirement().how, self) {
            (How::Unobservable(_), _) => Outcome::Unobservable,
            (_, Tally { violated: 1.., .. }) => Outcome::Violated,
            (_, Tally { held: 1.., .. }) => Outcome::Held,
            _ => Outcome::NotExercised,
        }
    }
}

/// One [`Tally`] for each requirement, and one for each of its readings if there are several.
#[derive(Clone, Debug)]
pub struct Tallies {
    version: Version,
    readings: Readings,
    /// [`Readings::pick`] of each, by catalogue index.
    picks: Box<[Option<u8>; catalogue::LEN]>,
    /// The counts that apply to every reading, by catalogue index.
    common: Box<[Tally; catalogue::LEN]>,
    /// The additional counts of each reading.
    by_reading: Box<[[Tally; MAX_READINGS]; catalogue::LEN]>,
}

impl Default for Tallies {
    fn default() -> Self {
        Tallies::new(Version::default(), Strictness::default().into())
    }
}

impl Tallies {
    /// Empty counts. The requirements are those of `version`; those with several readings are judged as
    /// `readings` say.
    pub fn new(version: Version, readings: Readings) -> Self {
        let mut picks = Box::new([None; catalogue::LEN]);
        for (pick, (req, _)) in picks.iter_mut().zip(catalogue::iter()) {
            *pick = readings.pick(req).and_then(|index| index.try_into().ok());
        }
        Tallies {
            version,
            readings,
            picks,
            common: Box::new([Tally::default(); catalogue::LEN]),
            by_reading: Box::new([[Tally::default(); MAX_READINGS]; catalogue::LEN]),
        }
    }

    /// The version whose requirements are judged.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The readings by which requirements with several readings are judged.
    pub fn readings(&self) -> &Readings {
        &self.readings
    }

    /// The index of the reading by which `requirement` is judged; `None` if it is not judged.
    #[inline(always)]
    pub(crate) fn pick(&self, requirement: Req) -> Option<usize> {
        self.picks[requirement.index()].map(usize::from)
    }

    /// The tally of one requirement, by the reading by which it is judged; empty, if it is not.
    pub fn get(&self, requirement: Req) -> Tally {
        let pick = self.pick(requirement);
        pick.map_or(Tally::default(), |reading| {
            self.reading(requirement, reading)
        })
    }

    /// The tally of one requirement, by its reading with this index.
    pub fn reading(&self, requirement: Req, reading: usize) -> Tally {
        let mut tally = self.common[requirement.index()];
        if let Some(own) = self.by_reading[requirement.index()].get(reading) {
            tally.add(*own);
        }
        tally
    }

    /// The outcome of one requirement.
    pub fn outcome(&self, requirement: Req) -> Outcome {
        let counted = |reading| self.reading(requirement, reading) != Tally::default();
        if self.pick(requirement).is_none() && (0..MAX_READINGS).any(counted) {
            return Outcome::Observed;
        }
        self.get(requirement).outcome(requirement)
    }

    /// Adds `times` opportunities at which the driver satisfied every reading of the requirement.
    #[inline(always)]
    pub fn add_held(&mut self, requirement: Req, times: u64) {
        self.common[requirement.index()].held += times;
    }

    /// What counted as held does not count any longer.
    pub(crate) fn forfeit(&mut self, requirement: Req) {
        self.common[requirement.index()].held = 0;
        for tally in &mut self.by_reading[requirement.index()] {
            tally.held = 0;
        }
    }

    /// Adds an opportunity at which the driver violated every reading of the requirement.
    pub(crate) fn add_violated(&mut self, requirement: Req) {
        self.common[requirement.index()].violated += 1;
    }

    /// Adds an opportunity for each of the first readings: whether the driver satisfied it, or `None`
    /// if it had no opportunity to violate it.
    #[inline(always)]
    pub(crate) fn add_by<const N: usize>(&mut self, requirement: Req, by: [Option<bool>; N]) {
        let tallies = self.by_reading[requirement.index()].iter_mut();
        for (tally, ok) in tallies.zip(by) {
            if let Some(ok) = ok {
                tally.count(ok);
            }
        }
    }

    /// Adds another device's counts to these.
    pub fn merge(&mut self, other: &Tallies) {
        let mine = self.common.iter_mut();
        mine.zip(other.common.iter())
            .for_each(|(mine, theirs)| mine.add(*theirs));
        let mine = self.by_reading.as_flattened_mut().iter_mut();
        mine.zip(other.by_reading.as_flattened())
            .for_each(|(mine, theirs)| mine.add(*theirs));
    }

    /// Every requirement of the version with its tally, in catalogue order.
    pub fn iter(&self) -> impl Iterator<Item = (Req, Tally)> + '_ {
        catalogue::iter()
            .filter(|(_, row)| row.is_in(self.version))
            .map(|(req, _)| (req, self.get(req)))
    }
}
