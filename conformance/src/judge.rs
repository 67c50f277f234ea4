//! Hands each event to the rules and keeps the counts.

use crate::event::{ControlEvent, DataEvent, Event, LatitudeEvent, StatusEvent};
use crate::finding::{DeviceId, Finding, Recorder};
use crate::readings::Readings;
use crate::requirement::{MAX_READINGS, Req};
use crate::rules::Chapters;
use crate::session::Session;
use crate::tally::Tallies;
use crate::version::Version;

/// Receives the events of one device. Devices are generic over it, so that judging has no cost if it is
/// disabled.
pub trait Witness: Send + 'static {
    /// Whether the events are judged; if not, a device need not collect data that only rules use.
    const JUDGING: bool;

    /// Receives an event.
    fn see(&mut self, event: &Event<'_>);

    /// The counts so far; `None` if the witness does not count.
    fn tallies(&self) -> Option<Tallies>;
}

/// A witness that ignores all events.
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

/// The maximum number of findings of one requirement on one device that are recorded; the rest is only
/// counted, so that many violations do not use more memory than a few.
pub const FINDINGS_PER_REQUIREMENT: u64 = 16;

/// The verdicts of the rules.
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

    /// The driver violated `requirement`; `message` says how.
    #[cold]
    pub fn violated(&mut self, requirement: Req, queue: Option<u16>, message: String) {
        self.broken(requirement, queue, || message);
    }

    /// As [`violated`](Self::violated); the message is formatted only if it is recorded.
    #[cold]
    #[inline(never)]
    fn broken(&mut self, requirement: Req, queue: Option<u16>, message: impl FnOnce() -> String) {
        self.tallies.add_violated(requirement);
        self.record(requirement, queue, message);
    }

    /// Records a violation that has been counted, unless enough violations of its requirement are
    /// recorded, or the version does not have the requirement.
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

    /// [`held`](Self::held) if `ok`, else [`violated`](Self::violated) with `message`.
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

    /// As [`check`](Self::check), for a `requirement` with several readings: `by` has for each reading,
    /// in their order, whether the driver satisfied it, or `None` if it had no opportunity to violate
    /// it. Returns `false` if the driver violated the reading by which it is judged.
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
        let judged = self.tallies.pick(requirement);
        let ok = judged.and_then(|reading| by[reading]).unwrap_or(true);
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

    /// Says on how many processors the driver runs. Must be called before the first event.
    #[must_use]
    pub fn on_processors(mut self, processors: u16) -> Self {
        self.session.processors = processors.max(1);
        self
    }

    /// Judges by the requirements of `version`, and by these readings. Must be
    /// called before the first event.
    #[must_use]
    pub fn by(mut self, version: Version, readings: impl Into<Readings>) -> Self {
        self.verdicts.tallies = Tallies::new(version, readings.into());
        self
    }

    /// The driver was stopped, perhaps in the middle of something, and another one comes. What has been counted
    /// stays.
    #[cold]
    fn begin_anew(&mut self) {
        let stopped = StatusEvent::RunEnded { by_guest: false };
        self.chapters.control(
            &ControlEvent::Status(stopped),
            &self.session,
            &mut self.verdicts,
        );
        self.chapters.tally(&mut self.verdicts.tallies);
        self.chapters = Chapters::new(self.session.kind);
        self.session = self.session.anew();
        for latitude in self.session.latitudes.iter() {
            let in_use = ControlEvent::Latitude(LatitudeEvent::InUse(latitude));
            self.chapters
                .control(&in_use, &self.session, &mut self.verdicts);
        }
    }
}

impl Witness for Judge {
    const JUDGING: bool = true;

    #[inline(always)]
    fn see(&mut self, event: &Event<'_>) {
        match event {
            // Decided at compile time where the caller builds the event.
            Event::Data(event) => {
                if let DataEvent::Exposed(_) = event {
                    self.session.acted = true;
                }
                self.chapters.data(event, &self.session, &mut self.verdicts);
            }
            Event::Control(event) => {
                self.chapters
                    .control(event, &self.session, &mut self.verdicts);
                self.session.apply(event);
            }
            Event::OutsideReset => self.begin_anew(),
        }
    }

    fn tallies(&self) -> Option<Tallies> {
        let mut tallies = self.verdicts.tallies.clone();
        self.chapters.tally(&mut tallies);
        Some(tallies)
    }
}
