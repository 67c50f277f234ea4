//! Real time that a device takes for what it usually does at once.
//!
//! When something takes time, and how long, is drawn from a latitude's numbers and counts of events, as all
//! details are. Only the waiting is by the clock, which the device's worker tells
//! ([`Wake::Elapsed`](super::Wake::Elapsed)).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stickler_conformance::Latitude;
use stickler_conformance::latitude::Draw;

/// What the device may take in all, in the first life of the device; in the nth one, an nth part of it is
/// there again. So a guest that is slowed down still ends.
const TOTAL: Duration = Duration::from_secs(6);

/// No delay takes more than this part of what is left.
const PART: u32 = 4;

/// The longest delay is this, or one millisecond less.
const LONGEST_EXPONENT: u64 = 11;

/// The first delay is no shorter: who waits for less would not notice shorter ones.
const FIRST: Duration = Duration::from_millis(300);

/// What takes less time says nothing of a driver.
const NOTABLE: Duration = Duration::from_millis(100);

/// The time that a device may still take for one latitude, in microseconds. All queues of the device share
/// it.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimeBudget(Arc<AtomicU64>);

impl TimeBudget {
    /// A life of the device begins, after so many others.
    pub(crate) fn begin_life(&self, lives: u64) {
        let share = TOTAL.as_micros() as u64 / lives.saturating_add(1);
        self.0.fetch_max(share, Ordering::Relaxed);
    }

    /// Takes `wanted`, or as much of it as there is.
    fn take(&self, wanted: Duration) -> Duration {
        let left = Duration::from_micros(self.0.load(Ordering::Relaxed));
        let taken = wanted.min(left / PART);
        let micros = taken.as_micros() as u64;
        self.0.fetch_sub(micros, Ordering::Relaxed);
        Duration::from_micros(micros)
    }
}

/// A delay, from time to time.
#[derive(Clone, Debug)]
pub struct Delays {
    latitude: Latitude,
    draw: Draw,
    budget: TimeBudget,
    /// Calls from one delay to the next, on average.
    between: u64,
    /// The same at most: the delays become fewer.
    rarest: u64,
    left: u64,
    first: bool,
}

/// A delay that is used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// By which latitude.
    pub latitude: Latitude,
    /// For how long.
    pub time: Duration,
}

impl Delay {
    /// Whether a driver that has no patience would notice.
    pub fn is_notable(self) -> bool {
        self.time >= NOTABLE
    }
}

impl Delays {
    /// Delays of `latitude`, one in `between` calls, and then fewer.
    pub(crate) fn seldom(
        latitude: Latitude,
        mut draw: Draw,
        budget: TimeBudget,
        between: u64,
    ) -> Self {
        let left = 1 + draw.below(between);
        Delays {
            latitude,
            draw,
            budget,
            between,
            rarest: 4096,
            left,
            first: true,
        }
    }

    /// A delay in every call.
    pub(crate) fn always(latitude: Latitude, draw: Draw, budget: TimeBudget) -> Self {
        Delays {
            rarest: 1,
            ..Delays::seldom(latitude, draw, budget, 1)
        }
    }

    /// Counts a call. Returns how long it is delayed, if it is.
    pub fn next_delay(&mut self) -> Option<Delay> {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return None;
        }
        self.left = self.between / 2 + 1 + self.draw.below(self.between);
        self.between = (2 * self.between).min(self.rarest);
        // As many between one and two milliseconds as between one and two seconds.
        let least = 1 << self.draw.below(LONGEST_EXPONENT);
        let mut wanted = Duration::from_millis(least + self.draw.below(least));
        if std::mem::take(&mut self.first) {
            wanted = wanted.max(FIRST);
        }
        let time = self.budget.take(wanted);
        let latitude = self.latitude;
        (time >= Duration::from_millis(1)).then_some(Delay { latitude, time })
    }
}

/// For tests, and to tell an unusual behaviour from the usual one: what they are like, not what has come
/// of them.
impl PartialEq for Delays {
    fn eq(&self, other: &Self) -> bool {
        self.latitude == other.latitude && self.draw == other.draw
    }
}

impl Eq for Delays {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The delays that come of so many calls.
    fn delays(delays: &mut Delays, calls: u32) -> Vec<Duration> {
        let calls = (0..calls).filter_map(|_| delays.next_delay());
        calls.map(|delay| delay.time).collect()
    }

    fn fresh(lives: u64) -> TimeBudget {
        let budget = TimeBudget::default();
        budget.begin_life(lives);
        budget
    }

    #[test]
    fn delays_are_of_all_lengths_and_their_sum_has_an_end() {
        let (mut shortest, mut longest) = (Duration::MAX, Duration::ZERO);
        for seed in 0..50 {
            let draw = Draw::new(seed, 1);
            let mut always = Delays::always(Latitude::SLOW_CONTROL, draw, fresh(0));
            let all = delays(&mut always, 10_000);
            assert!(all[0] >= FIRST && all[0] <= TOTAL / PART);
            assert!(all.iter().sum::<Duration>() <= TOTAL);
            shortest = shortest.min(*all.iter().min().unwrap());
            longest = longest.max(*all.iter().max().unwrap());
        }
        assert!(shortest < Duration::from_millis(3), "{shortest:?}");
        assert!(longest > Duration::from_secs(1), "{longest:?}");
    }

    #[test]
    fn seldom_ones_become_fewer() {
        let draw = Draw::new(1, 1);
        let mut seldom = Delays::seldom(Latitude::SLOW_COMPLETIONS, draw, fresh(0), 16);
        let begin = delays(&mut seldom, 16).len();
        let later = delays(&mut seldom, 50_000).len();
        assert!((1..=2).contains(&begin), "{begin}");
        assert!((8..40).contains(&later), "{later}");
    }

    #[test]
    fn each_life_has_its_share_and_all_lives_together_have_an_end() {
        let draw = Draw::new(1, 1);
        let budget = TimeBudget::default();
        let mut always = Delays::always(Latitude::SLOW_CONTROL, draw, budget.clone());
        assert_eq!(always.next_delay(), None, "nothing before the first life");
        let mut sum = Duration::ZERO;
        for life in 0..20 {
            budget.begin_life(life);
            let in_life: Duration = delays(&mut always, 1000).iter().sum();
            assert!(in_life >= Duration::from_millis(100), "{life}: {in_life:?}");
            sum += in_life;
        }
        assert!(sum < TOTAL * 4, "{sum:?}");
    }
}
