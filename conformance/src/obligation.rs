//! What a driver owes, and for how long it has owed it.
//!
//! An [`Obligation`] is opened by an event, settled by what the driver has to do, and excused by what
//! makes that unnecessary. A driver may be slow, so a debt is a violation only after a [`DEADLINE`].
//! Time counts while the driver is seen to act ([`Session::acted`](crate::session::Session)): one whose
//! processor does not run is not accused. A debt is looked at
//!
//! * at each second ([`Obligation::tick`]): it is overdue after so many seconds in which the driver acted;
//! * at the end ([`Obligation::end`]), which is a reset or the end of the run: it is overdue if it is as old
//!   as the deadline, since a driver that ends its work was there all the time.
//!
//! The strict reading of every obligation has no deadline: what is owed at the end was never done.
//!
//! The requirement of an obligation is declared with `obligation READINGS` at its end, which gives it these two
//! [`READINGS`].

use std::fmt;

use crate::event::StatusEvent;
use crate::requirement::Reading;
use crate::tolerance::Tolerance;

/// A driver that has acted in so many seconds since it owed something does not do it any more.
pub(crate) const PATIENCE: Tolerance = Tolerance {
    figure: 5,
    readings: &["within-5-seconds"],
};
pub(crate) const DEADLINE: u32 = PATIENCE.figure;

/// The readings of a requirement that is an obligation.
pub(crate) const READINGS: &[Reading] = &[
    Reading {
        name: PATIENCE.readings[0],
        text: "What is due may be on its way for 5 seconds in which the driver acts.",
    },
    Reading {
        name: "by-the-end",
        text: "What has not been done by a reset, or by the end of the run, was not done.",
    },
];

/// Something that the driver owes; `T` says what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Obligation<T = ()> {
    debt: Option<Debt<T>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Debt<T> {
    subject: T,
    /// Seconds since it was opened.
    age: Age,
    /// … in which the driver has acted.
    acted: u32,
}

/// For how long something has been owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age(u32);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("less than a second"),
            1 => f.write_str("1 second"),
            seconds => write!(f, "{seconds} seconds"),
        }
    }
}

/// A debt that was not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Unsettled<T> {
    /// What is owed.
    pub(crate) subject: T,
    /// For how long.
    pub(crate) age: Age,
    /// The verdicts of the two readings of an obligation: with the deadline, and without.
    pub(crate) by: [Option<bool>; 2],
}

/// The verdicts of the two readings of an obligation that was settled.
pub(crate) const SETTLED: [Option<bool>; 2] = [Some(true); 2];

/// How a driver's time with the device has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The driver has ended it by a reset, or its guest has ended the run.
    ByDriver,
    /// The guest was stopped, perhaps in the middle of something.
    Stopped,
}

impl End {
    /// The end that `event` is, if it is one.
    pub(crate) fn of(event: StatusEvent) -> Option<Self> {
        match event {
            StatusEvent::RunEnded { by_guest: false } => Some(End::Stopped),
            StatusEvent::Written { to: 0, .. } | StatusEvent::RunEnded { by_guest: true } => {
                Some(End::ByDriver)
            }
            StatusEvent::Written { .. }
            | StatusEvent::WrittenDuringReset { .. }
            | StatusEvent::Read { .. }
            | StatusEvent::ResetDone
            | StatusEvent::NeedsReset => None,
        }
    }
}

impl<T> Default for Obligation<T> {
    fn default() -> Self {
        Obligation { debt: None }
    }
}

impl<T: Copy> Obligation<T> {
    /// The driver owes `subject` from now on. If it owes something already, that stays, and with its age.
    #[inline]
    pub(crate) fn open(&mut self, subject: T) {
        self.debt.get_or_insert(Debt {
            subject,
            age: Age(0),
            acted: 0,
        });
    }

    /// What the driver owes.
    #[inline]
    pub(crate) fn subject(&self) -> Option<T> {
        self.debt.map(|debt| debt.subject)
    }

    /// The driver has done what it owes. Returns what that was, if it did owe something.
    #[inline]
    pub(crate) fn settle(&mut self) -> Option<T> {
        self.debt.take().map(|debt| debt.subject)
    }

    /// The driver need not do any more what it owes.
    #[inline]
    pub(crate) fn excuse(&mut self) {
        self.debt = None;
    }

    /// A second has passed, in which the driver has `acted` or has not. Returns the debt if it is overdue
    /// now, once.
    pub(crate) fn tick(&mut self, acted: bool) -> Option<Unsettled<T>> {
        let debt = self.debt.as_mut()?;
        debt.age.0 = debt.age.0.saturating_add(1);
        debt.acted = debt.acted.saturating_add(acted.into());
        // The first of these seconds is the rest of the one in which the debt was opened.
        if debt.acted <= DEADLINE {
            return None;
        }
        self.take([Some(false); 2])
    }

    /// What the driver owes now, it never does. Returns the debt.
    pub(crate) fn end(&mut self, end: End) -> Option<Unsettled<T>> {
        let late = (self.debt?.age > Age(DEADLINE)).then_some(false);
        let strict = match end {
            End::ByDriver => Some(false),
            End::Stopped => late,
        };
        self.take([late, strict])
    }

    /// As [`end`](Self::end), for what is due only of a driver that does a certain thing: those are the
    /// seconds for which [`tick`](Self::tick) was told that it has acted, and `acted` says it of the last
    /// one. A driver that has never done so owes nothing.
    pub(crate) fn end_if_acted(&mut self, acted: bool, end: End) -> Option<Unsettled<T>> {
        if !acted && self.debt?.acted == 0 {
            self.excuse();
        }
        self.end(end)
    }

    fn take(&mut self, by: [Option<bool>; 2]) -> Option<Unsettled<T>> {
        let Debt { subject, age, .. } = self.debt.take()?;
        Some(Unsettled { subject, age, by })
    }
}

/// What the driver owes for each of several things, which have numbers below 64.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Obligations {
    /// The one that is due for longest. After it comes any of the others, as if it were new.
    first: Obligation<u32>,
    /// All of them, a bit each.
    open: u64,
}

impl Obligations {
    /// It is due for `number`.
    #[inline]
    pub(crate) fn open(&mut self, number: u32) {
        let open = self.open | 1 << (number & 63);
        if open != self.open {
            self.open = open;
            self.first.open(number);
        }
    }

    /// It was done for `number`, or need not be done any more. Returns whether it was due.
    pub(crate) fn close(&mut self, number: u32) -> bool {
        let bit = 1 << (number & 63);
        let due = self.open & bit != 0;
        self.open &= !bit;
        if self.first.subject() == Some(number) {
            self.first.excuse();
            self.next();
        }
        due
    }

    /// The things for which it is due, a bit each.
    pub(crate) fn due(&self) -> u64 {
        self.open
    }

    fn next(&mut self) {
        if self.open != 0 {
            self.first.open(self.open.trailing_zeros());
        }
    }

    /// As [`Obligation::tick`].
    pub(crate) fn tick(&mut self, acted: bool) -> Option<Unsettled<u32>> {
        let unsettled = self.first.tick(acted)?;
        self.open &= !(1 << (unsettled.subject & 63));
        self.next();
        Some(unsettled)
    }

    /// As [`Obligation::end`].
    pub(crate) fn end(&mut self, end: End) -> Option<Unsettled<u32>> {
        self.open = 0;
        self.first.end(end)
    }

    /// As [`Obligation::end_if_acted`].
    pub(crate) fn end_if_acted(&mut self, acted: bool, end: End) -> Option<Unsettled<u32>> {
        self.open = 0;
        self.first.end_if_acted(acted, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERDUE: [Option<bool>; 2] = [Some(false); 2];

    /// An obligation that has been open for so many seconds, in which the driver acted.
    fn open_for(seconds: u32) -> Obligation<u16> {
        let mut obligation = Obligation::default();
        obligation.open(7);
        for _ in 0..seconds {
            assert_eq!(obligation.tick(true), None);
        }
        obligation
    }

    #[test]
    fn a_debt_is_overdue_once() {
        let mut obligation = open_for(DEADLINE);
        let overdue = obligation.tick(true).expect("it is overdue");
        assert_eq!((overdue.subject, overdue.by), (7, OVERDUE));
        assert_eq!(overdue.age.to_string(), "6 seconds");
        assert_eq!(obligation.tick(true), None);
        assert_eq!(obligation.end(End::ByDriver), None);
    }

    #[test]
    fn a_debt_that_is_settled_or_excused_is_none() {
        let mut obligation = open_for(DEADLINE);
        assert_eq!(obligation.settle(), Some(7));
        assert_eq!(obligation.settle(), None);
        obligation.open(8);
        obligation.excuse();
        assert_eq!(obligation.subject(), None);
        assert_eq!(obligation.tick(true), None);
        assert_eq!(obligation.end(End::ByDriver), None);
    }

    #[test]
    fn the_age_is_that_of_the_first_event() {
        let mut obligation = open_for(DEADLINE);
        obligation.open(8);
        assert_eq!(
            obligation.tick(true).map(|overdue| overdue.subject),
            Some(7)
        );
    }

    #[test]
    fn a_driver_that_does_not_act_is_not_accused_until_it_does() {
        let mut obligation = open_for(0);
        for _ in 0..100 {
            assert_eq!(obligation.tick(false), None);
        }
        for _ in 0..DEADLINE {
            assert_eq!(obligation.tick(true), None);
        }
        let overdue = obligation.tick(true).expect("it is overdue");
        assert_eq!(overdue.age.to_string(), "106 seconds");
    }

    #[test]
    fn a_debt_is_looked_at_when_the_driver_ends() {
        // It was there all the time.
        let mut obligation = open_for(0);
        for _ in 0..=DEADLINE {
            assert_eq!(obligation.tick(false), None);
        }
        let unsettled = obligation.end(End::ByDriver).expect("it is owed");
        assert_eq!(unsettled.by, OVERDUE);
        // A younger one was perhaps about to be settled.
        let unsettled = open_for(0).end(End::ByDriver).expect("it is owed");
        assert_eq!(unsettled.by, [None, Some(false)]);
        assert_eq!(unsettled.age.to_string(), "less than a second");
        let unsettled = open_for(DEADLINE).end(End::ByDriver).expect("it is owed");
        assert_eq!(unsettled.by, [None, Some(false)]);
        assert_eq!(open_for(1).end(End::ByDriver).map(|u| u.age), Some(Age(1)));
    }

    #[test]
    fn what_depends_on_the_use_of_something_is_not_owed_by_a_driver_that_never_used_it() {
        let mut unused = open_for(0);
        for _ in 0..100 {
            assert_eq!(unused.tick(false), None);
        }
        let mut used = unused;
        let mut used_at_last = unused;
        assert_eq!(unused.end_if_acted(false, End::ByDriver), None);
        assert_eq!(used.tick(true), None);
        for unsettled in [
            used.end_if_acted(false, End::ByDriver),
            used_at_last.end_if_acted(true, End::ByDriver),
        ] {
            assert_eq!(unsettled.map(|unsettled| unsettled.by), Some(OVERDUE));
        }
    }

    #[test]
    fn a_driver_that_was_stopped_may_have_been_about_to_settle() {
        let unsettled = open_for(DEADLINE).end(End::Stopped).expect("it is owed");
        assert_eq!(unsettled.by, [None; 2]);
        let mut obligation = open_for(DEADLINE);
        assert_eq!(obligation.tick(false), None);
        let unsettled = obligation.end(End::Stopped).expect("it is owed");
        assert_eq!(unsettled.by, OVERDUE);
    }

    #[test]
    fn of_several_things_each_gets_its_time() {
        let mut all = Obligations::default();
        for number in [3, 1, 63] {
            all.open(number);
        }
        assert_eq!(all.due(), 1 << 63 | 0b1010);
        let mut overdue = || {
            (0..=DEADLINE)
                .find_map(|_| all.tick(true))
                .map(|unsettled| unsettled.subject)
        };
        assert_eq!([overdue(), overdue()], [Some(3), Some(1)]);
        assert!(all.close(63));
        assert!(!all.close(63));
        assert_eq!(all.due(), 0);
        assert_eq!(all.end(End::ByDriver), None);
    }

    #[test]
    fn an_end_is_a_reset_or_that_of_the_run() {
        let reset = StatusEvent::Written { from: 15, to: 0 };
        assert_eq!(End::of(reset), Some(End::ByDriver));
        let ended = |by_guest| End::of(StatusEvent::RunEnded { by_guest });
        assert_eq!(
            [ended(true), ended(false)],
            [Some(End::ByDriver), Some(End::Stopped)]
        );
        assert_eq!(End::of(StatusEvent::ResetDone), None);
        assert_eq!(End::of(StatusEvent::Written { from: 0, to: 1 }), None);
    }
}
