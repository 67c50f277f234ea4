//! A lawful combination of latitudes, drawn from a seed.
//!
//! Each latitude draws from a stream of its own: whether a seed has it, and what it leaves open, does
//! not depend on which others there are. A latitude that is added to a table joins some seeds and
//! changes none of the draws of the others.

use super::{Draw, Latitude, Latitudes, name_hash};

/// Of so many seeds that follow one another, one has each latitude for certain.
const ROUND: u64 = 16;

/// The same of latitudes that may end the use of the device. They come seldom, and alone.
const ROUND_OF_LAST: u64 = 37;

/// One seed in so many has a latitude by chance besides.
const BY_CHANCE: u64 = 19;

/// Separates these streams from those of the variation.
const STREAM: u64 = 0x7365_6564;

/// Why a seed has a latitude; of two that conflict the first in this order is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Priority {
    /// The seed is one of those that have it for certain.
    Certain,
    /// By chance.
    Chance,
}

/// Whether `seed` has `latitude` unless another excludes it, with its priority.
fn priority(latitude: Latitude, seed: u64) -> Option<(Priority, u64)> {
    let name = name_hash(latitude.name()) ^ STREAM;
    let round = if latitude.may_end_use() {
        ROUND_OF_LAST
    } else {
        ROUND
    };
    let mut draw = Draw::new(seed, name);
    let order = draw.bits();
    if seed % round == Draw::new(name, 0).below(round) {
        Some((Priority::Certain, order))
    } else if !latitude.may_end_use() && draw.one_in(BY_CHANCE) {
        Some((Priority::Chance, order))
    } else {
        None
    }
}

impl Latitudes {
    /// A lawful combination: the same for the same seed.
    ///
    /// Of seeds that follow one another, each has its share of the latitudes for certain, so that a
    /// few tens of them have every one; some more come by chance.
    pub fn draw(seed: u64) -> Self {
        let mut candidates: Vec<_> = Latitude::all()
            .filter_map(|latitude| Some((priority(latitude, seed)?, latitude)))
            .collect();
        candidates.sort_unstable_by_key(|(priority, _)| *priority);
        let mut drawn = Latitudes::default().varied(seed);
        // What may end the use of the device comes with nothing beside it.
        if let Some((_, last)) = candidates
            .iter()
            .find(|(_, latitude)| latitude.may_end_use())
        {
            return drawn.with(*last);
        }
        for (_, latitude) in candidates {
            if drawn.iter().all(|other| other.excludes(latitude).is_none()) {
                drawn = drawn.with(latitude);
            }
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latitude_is_drawn_by_one_of_forty_seeds() {
        let drawn: Vec<Latitudes> = (1..=40).map(Latitudes::draw).collect();
        for latitudes in &drawn {
            assert_eq!(latitudes.conflict(), None);
            let ending = latitudes.iter().any(Latitude::may_end_use);
            assert!(!ending || latitudes.count() == 1, "{latitudes}");
        }
        let missing: Vec<_> = Latitude::all()
            .filter(|latitude| !drawn.iter().any(|latitudes| latitudes.has(*latitude)))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
        let sum: u32 = drawn.iter().map(|latitudes| latitudes.count()).sum();
        assert!((5 * 40..12 * 40).contains(&sum), "{sum}");
    }

    #[test]
    fn what_a_seed_has_depends_on_each_latitude_alone() {
        for seed in 0..200 {
            let drawn = Latitudes::draw(seed);
            for latitude in drawn.iter() {
                assert!(priority(latitude, seed).is_some());
            }
            // What is a candidate and not drawn conflicts with what is drawn, or is not alone.
            let ends = drawn.iter().any(Latitude::may_end_use);
            for latitude in Latitude::all().filter(|l| priority(*l, seed).is_some()) {
                let conflicts = drawn.iter().any(|l| l.excludes(latitude).is_some());
                assert!(
                    drawn.has(latitude) || conflicts || ends,
                    "{seed}: {latitude}"
                );
            }
        }
    }
}
