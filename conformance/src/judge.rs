//! Hands each event to the rules and keeps the counts.

use serde::{Deserialize, Serialize};

use crate::catalogue;
use crate::event::Event;
use crate::finding::{DeviceId, Finding, Recorder};
use crate::requirement::{How, MAX_READINGS, Req, Strictness};
use crate::rules::Rules;
use crate::session::Session;

/// Sees what a driver does with one device. Devices are generic over it, so that judging compiles
/// away where nobody judges.
pub trait Witness: Send + 'static {
    /// Whether anything is made of the events; where not, a device need not gather what only rules
    /// look at.
    const JUDGING: bool;

    /// The driver, or the device, did this.
    fn see(&mut self, event: &Event<'_>);

    /// The counts so far, where counts are kept.
    fn tallies(&self) -> Option<Tallies>;
}

/// A witness that sees nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unjudged;

impl Witness for Unjudged {
    const JUDGING: bool = false;

    #[inline(always)]
    fn see(&mut self, _event: &Event<'_>) {}

    fn tallies(&self) -> Option<Tallies> {
        None
    }
}

/// How often a requirement was put to the test, and how that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Opportunities at which the driver did right.
    pub held: u64,
    /// Opportunities at which it did not.
    pub violated: u64,
}

/// How a requirement came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Outcome {
    /// Put to the test, and the driver did right every time.
    Held,
    /// The driver did not do right at least once.
    Violated,
    /// Never put to the test.
    NotExercised,
    /// No device can see it.
    Unobservable,
}

impl Outcome {
    /// The outcome as reports spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Held => "held",
            Outcome::Violated => "violated",
            Outcome::NotExercised => "not-exercised",
            Outcome::Unobservable => "unobservable",
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

    /// What these counts say of `requirement`.
    pub fn outcome(self, requirement: Req) -> Outcome {
        match (requirement.requirement().how, self) {
            (How::Unobservable(_), _) => Outcome::Unobservable,
            (_, Tally { violated: 1.., .. }) => Outcome::Violated,
            (_, Tally { held: 1.., .. }) => Outcome::Held,
            _ => Outcome::NotExercised,
        }
    }
}

/// One [`Tally`] a requirement, and one for each way to read it where there are several.
#[derive(Clone, Debug)]
pub struct Tallies {
    strictness: Strictness,
    /// What counts whichever way a requirement is read, by catalogue index.
    common: Box<[Tally; catalogue::LEN]>,
    /// What counts besides when it is read in this way.
    by_reading: Box<[[Tally; MAX_READINGS]; catalogue::LEN]>,
}

impl Default for Tallies {
    fn default() -> Self {
        Tallies::new(Strictness::default())
    }
}

impl Tallies {
    /// No counts yet. Requirements with several readings are judged as `strictness` says.
    pub fn new(strictness: Strictness) -> Self {
        Tallies {
            strictness,
            common: Box::new([Tally::default(); catalogue::LEN]),
            by_reading: Box::new([[Tally::default(); MAX_READINGS]; catalogue::LEN]),
        }
    }

    /// By which reading requirements with several are judged.
    pub fn strictness(&self) -> Strictness {
        self.strictness
    }

    /// The tally of one requirement, by the reading by which it is judged.
    pub fn get(&self, requirement: Req) -> Tally {
        let readings = requirement.requirement().readings.len();
        self.reading(requirement, self.strictness.pick(readings))
    }

    /// The tally of one requirement, read in its `reading`th way.
    pub fn reading(&self, requirement: Req, reading: usize) -> Tally {
        let mut tally = self.common[requirement.index()];
        if let Some(own) = self.by_reading[requirement.index()].get(reading) {
            tally.add(*own);
        }
        tally
    }

    /// How one requirement came out.
    pub fn outcome(&self, requirement: Req) -> Outcome {
        self.get(requirement).outcome(requirement)
    }

    /// Adds `times` opportunities at which the driver did right, however the requirement is read.
    pub fn add_held(&mut self, requirement: Req, times: u64) {
        self.common[requirement.index()].held += times;
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

    /// Every requirement with its tally, in catalogue order.
    pub fn iter(&self) -> impl Iterator<Item = (Req, Tally)> + '_ {
        catalogue::iter().map(|(req, _)| (req, self.get(req)))
    }
}

/// At most so many findings of one requirement on one device are recorded in full; the rest is only
/// counted, so that a driver that errs a million times costs no more memory than one that errs twice.
pub const FINDINGS_PER_REQUIREMENT: u64 = 16;

/// Where rules put their verdicts.
pub struct Verdicts {
    tallies: Tallies,
    device: DeviceId,
    recorder: Box<dyn Recorder + Send>,
}

impl Verdicts {
    /// The driver had an opportunity to break `requirement` and did not.
    #[inline(always)]
    pub fn held(&mut self, requirement: Req) {
        self.tallies.common[requirement.index()].held += 1;
    }

    /// As [`held`](Self::held), `times` over.
    #[inline(always)]
    pub fn held_times(&mut self, requirement: Req, times: u64) {
        self.tallies.common[requirement.index()].held += times;
    }

    /// The driver broke `requirement`; `message` says by what.
    #[cold]
    pub fn violated(&mut self, requirement: Req, queue: Option<u16>, message: String) {
        self.broken(requirement, queue, || message);
    }

    /// As [`violated`](Self::violated); the message is made only if it is recorded.
    #[cold]
    #[inline(never)]
    fn broken(&mut self, requirement: Req, queue: Option<u16>, message: impl FnOnce() -> String) {
        self.tallies.common[requirement.index()].violated += 1;
        self.record(requirement, queue, message);
    }

    /// Records a violation that has been counted, unless there are enough of its requirement.
    fn record(&mut self, requirement: Req, queue: Option<u16>, message: impl FnOnce() -> String) {
        if self.tallies.get(requirement).violated <= FINDINGS_PER_REQUIREMENT {
            self.recorder.record(Finding {
                requirement,
                device: self.device,
                queue,
                message: message(),
            });
        }
    }

    /// [`held`](Self::held) if `ok`, else [`violated`](Self::violated) with what `message` says.
    /// Gives `ok` back.
    #[inline(always)]
    pub fn check(
        &mut self,
        requirement: Req,
        ok: bool,
        queue: Option<u16>,
        message: impl FnOnce() -> String,
    ) -> bool {
        if ok {
            self.held(requirement);
        } else {
            self.broken(requirement, queue, message);
        }
        ok
    }

    /// As [`check`](Self::check), where `requirement` can be read in several ways: `by` has whether
    /// the driver did right by each of its readings, in their order, and `None` where there is no
    /// opportunity by that one. Gives back whether it did right, or could do no wrong, by the one
    /// that is judged.
    pub fn check_by<const N: usize>(
        &mut self,
        requirement: Req,
        by: [impl Into<Option<bool>>; N],
        queue: Option<u16>,
        message: impl FnOnce() -> String,
    ) -> bool {
        const { assert!(N > 1 && N <= MAX_READINGS) };
        debug_assert_eq!(N, requirement.requirement().readings.len(), "{requirement}");
        let by = by.map(Into::into);
        for (tally, ok) in self.tallies.by_reading[requirement.index()]
            .iter_mut()
            .zip(by)
        {
            if let Some(ok) = ok {
                tally.count(ok);
            }
        }
        let ok = by[self.tallies.strictness.pick(N)].unwrap_or(true);
        if !ok {
            self.record(requirement, queue, message);
        }
        ok
    }
}

/// Judges the driver of one device.
pub struct Judge {
    session: Session,
    rules: Rules,
    verdicts: Verdicts,
}

impl Judge {
    /// A judge of the driver of `device`, which offers the feature bits `offered` (all of them,
    /// those of the transport included) and is fresh from reset.
    pub fn new(device: DeviceId, offered: u64, recorder: Box<dyn Recorder + Send>) -> Self {
        Judge {
            session: Session::new(device.kind, offered),
            rules: Rules::new(device.kind),
            verdicts: Verdicts {
                tallies: Tallies::default(),
                device,
                recorder,
            },
        }
    }

    /// Judges requirements with several readings as `strictness` says, from the first event on; else
    /// it is by the lenient ones.
    pub fn reading(mut self, strictness: Strictness) -> Self {
        self.verdicts.tallies.strictness = strictness;
        self
    }

    /// The state the events so far amount to.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl Witness for Judge {
    const JUDGING: bool = true;

    #[inline(always)]
    fn see(&mut self, event: &Event<'_>) {
        // The frequent events change no session state and concern few chapters; the match is decided
        // at compile time where the caller builds the event.
        if event.is_frequent() {
            self.rules
                .see_frequent(event, &self.session, &mut self.verdicts);
        } else {
            self.rules.see(event, &self.session, &mut self.verdicts);
            self.session.apply(event);
        }
    }

    fn tallies(&self) -> Option<Tallies> {
        let mut tallies = self.verdicts.tallies.clone();
        self.rules.tally(&mut tallies);
        Some(tallies)
    }
}
