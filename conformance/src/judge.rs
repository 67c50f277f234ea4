//! Hands each event to the rules and keeps the counts.

use crate::event::Event;
use crate::finding::{DeviceId, Finding, Recorder};
use crate::requirement::{MAX_READINGS, Req, Strictness};
use crate::rules::Chapters;
use crate::session::Session;
use crate::tally::Tallies;
use crate::version::Version;

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
    /// The version whose requirements are judged.
    pub fn version(&self) -> Version {
        self.tallies.version()
    }

    /// The driver had an opportunity to break `requirement` and did not.
    #[inline(always)]
    pub fn held(&mut self, requirement: Req) {
        self.tallies.add_held(requirement, 1);
    }

    /// As [`held`](Self::held), `times` over.
    #[inline(always)]
    pub fn held_times(&mut self, requirement: Req, times: u64) {
        self.tallies.add_held(requirement, times);
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
        self.tallies.add_violated(requirement);
        self.record(requirement, queue, message);
    }

    /// Records a violation that has been counted, unless there are enough of its requirement, or the
    /// version does not have it.
    fn record(&mut self, requirement: Req, queue: Option<u16>, message: impl FnOnce() -> String) {
        let Some(edition) = requirement.requirement().edition(self.version()) else {
            return;
        };
        if self.tallies.get(requirement).violated <= FINDINGS_PER_REQUIREMENT {
            self.recorder.record(Finding {
                requirement,
                level: edition.level,
                device: self.device,
                queue,
                message: message(),
            });
        }
    }

    /// [`held`](Self::held) if `ok`, else [`violated`](Self::violated) with what `message` says.
    /// Returns `ok`.
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
    /// opportunity by that one. Returns whether it did right, or could do no wrong, by the one that is
    /// judged.
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
        self.tallies.add_by(requirement, by);
        let ok = by[self.tallies.strictness().pick(N)].unwrap_or(true);
        if !ok {
            self.record(requirement, queue, message);
        }
        ok
    }
}

/// Judges the driver of one device.
pub struct Judge {
    session: Session,
    chapters: Chapters,
    verdicts: Verdicts,
}

impl Judge {
    /// A judge of the driver of `device`, which offers the feature bits `offered` (all of them,
    /// those of the transport included) and is fresh from reset. It judges by the first version and
    /// by the lenient readings, unless [`by`](Self::by) says otherwise.
    pub fn new(device: DeviceId, offered: u64, recorder: Box<dyn Recorder + Send>) -> Self {
        Judge {
            session: Session::new(device.kind, offered),
            chapters: Chapters::new(device.kind),
            verdicts: Verdicts {
                tallies: Tallies::default(),
                device,
                recorder,
            },
        }
    }

    /// Judges by the requirements of `version`, those with several readings as `strictness` says. To be
    /// called before the first event.
    #[must_use]
    pub fn by(mut self, version: Version, strictness: Strictness) -> Self {
        self.verdicts.tallies = Tallies::new(version, strictness);
        self
    }
}

impl Witness for Judge {
    const JUDGING: bool = true;

    #[inline(always)]
    fn see(&mut self, event: &Event<'_>) {
        match event {
            // Decided at compile time where the caller builds the event.
            Event::Data(event) => self.chapters.data(event, &self.session, &mut self.verdicts),
            Event::Control(event) => {
                self.chapters
                    .control(event, &self.session, &mut self.verdicts);
                self.session.apply(event);
            }
        }
    }

    fn tallies(&self) -> Option<Tallies> {
        let mut tallies = self.verdicts.tallies.clone();
        self.chapters.tally(&mut tallies);
        Some(tallies)
    }
}
