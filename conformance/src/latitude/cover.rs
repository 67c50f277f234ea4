//! Seeds that together have every latitude, and soon.
//!
//! What a seed draws never depends on the seeds that are chosen here, and they do not depend on how many are wanted:
//! of more seeds, the first ones are the same.

use super::{Latitude, Latitudes};

/// The seeds are chosen from so many.
const CANDIDATES: u64 = 4096;

/// So many are chosen; from then on, they are simply the next ones.
const CHOSEN: usize = 64;

/// A latitude that no seed has had yet is worth more than any number of those that one has had.
const WORTH_BITS: u32 = 7;

/// What is wanted so many times is worth little from then on.
const TIMES: u32 = 8;

/// What comes of a seed besides its latitudes, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeedProperties {
    /// What is wanted as often as latitudes.
    pub often: u64,
    /// What is wanted once as much as a latitude for the second time, and much less from then on.
    pub once: u128,
}

/// All properties of both kinds.
const PROPERTIES: usize = (u64::BITS + u128::BITS) as usize;

impl SeedProperties {
    /// Their places among all properties, those that are wanted often first.
    fn places(self) -> impl Iterator<Item = usize> {
        let once = self.once;
        let often = (0..u64::BITS).filter(move |bit| self.often >> bit & 1 != 0);
        let once = (0..u128::BITS).filter(move |bit| once >> bit & 1 != 0);
        often
            .chain(once.map(|bit| bit + u64::BITS))
            .map(|bit| bit as usize)
    }
}

/// How much the property or latitude at `place` is worth that the seeds have had so often.
fn worth(place: usize, had: u32) -> u64 {
    let once = place >= Latitude::COUNT + u64::BITS as usize;
    let had = match (once, had) {
        (true, 0) => 1,
        (true, had) => had + TIMES / 2,
        (false, had) => had,
    };
    1 << (WORTH_BITS * (TIMES - had.min(TIMES)))
}

/// Seeds from `first` on, each of which adds as many latitudes as one can that the ones before it have had least
/// often. There is no last one. What else comes of a seed, and is wanted too, are its `properties`.
pub fn covering_seeds(
    first: u64,
    properties: impl Fn(u64) -> SeedProperties,
) -> impl Iterator<Item = u64> {
    let candidates: Vec<(u64, Vec<usize>)> = (0..CANDIDATES)
        .map(|number| first.wrapping_add(number))
        .map(|seed| {
            let latitudes = Latitudes::draw(seed).iter().map(Latitude::index);
            let others = properties(seed).places();
            let all = latitudes.chain(others.map(|place| Latitude::COUNT + place));
            (seed, all.collect())
        })
        .collect();
    let mut chosen = Vec::new();
    let mut had = [0_u32; Latitude::COUNT + PROPERTIES];
    for _ in 0..CHOSEN {
        let worth = |all: &[usize]| -> u64 {
            let each = all.iter().map(|place| worth(*place, had[*place]));
            each.fold(0, u64::saturating_add)
        };
        let unchosen = candidates.iter().filter(|(seed, _)| !chosen.contains(seed));
        // Of several that are worth the same, the first.
        let best = unchosen.rev().max_by_key(|(_, all)| worth(all));
        let Some((seed, all)) = best else {
            break;
        };
        all.iter().for_each(|index| had[*index] += 1);
        chosen.push(*seed);
    }
    let others = chosen.clone();
    let rest = (0..).map(move |number| first.wrapping_add(number));
    let rest = rest.filter(move |seed| !others.contains(seed));
    chosen.into_iter().chain(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each latitude is in one of so many seeds.
    fn counts(first: u64, seeds: usize) -> Vec<(Latitude, usize)> {
        let drawn: Vec<_> = covering_seeds(first, |_| SeedProperties::default())
            .take(seeds)
            .map(Latitudes::draw)
            .collect();
        let count = |latitude| drawn.iter().filter(|drawn| drawn.has(latitude)).count();
        Latitude::all()
            .map(|latitude| (latitude, count(latitude)))
            .collect()
    }

    #[test]
    fn few_seeds_have_every_latitude_and_forty_have_each_twice() {
        for first in [1, 100_000] {
            let least = |seeds| {
                counts(first, seeds)
                    .into_iter()
                    .min_by_key(|(_, count)| *count)
            };
            let (latitude, count) = least(40).expect("there are some");
            assert!(
                count >= 2,
                "from {first}: {latitude} is in {count} of forty"
            );
            let (latitude, count) = least(20).expect("there are some");
            assert!(count >= 1, "from {first}: none of twenty has {latitude}");
            // With eight, one is left out only if it has to be alone, or two of them conflict.
            let missing = counts(first, 8)
                .into_iter()
                .filter(|(_, count)| *count == 0);
            let missing: Vec<_> = missing.map(|(latitude, _)| latitude).collect();
            let alone = Latitude::all().filter(|l| l.may_end_use()).count();
            assert!(missing.len() <= alone + 3, "from {first}: {missing:?}");
        }
    }

    #[test]
    fn properties_come_in_turn() {
        let place = |seed: u64| (seed / 3 % 4) as u32;
        let often = |seed| SeedProperties {
            often: 1 << (place(seed) + 60),
            once: 0,
        };
        let once = |seed| SeedProperties {
            often: 0,
            once: 1 << (place(seed) + 124),
        };
        let places = |seeds: Vec<u64>| -> Vec<u32> {
            let mut places: Vec<u32> = seeds.into_iter().map(place).collect();
            places.sort_unstable();
            places.dedup();
            places
        };
        assert_eq!(
            places(covering_seeds(1, often).take(8).collect()),
            [0, 1, 2, 3]
        );
        assert_eq!(
            places(covering_seeds(1, once).take(24).collect()),
            [0, 1, 2, 3]
        );
    }

    #[test]
    fn what_is_wanted_once_makes_room_for_the_rest() {
        let once = Latitude::COUNT + u64::BITS as usize;
        assert_eq!(worth(once, 0), worth(0, 1));
        assert!(worth(once, 1) < worth(0, 3));
        assert!(worth(once - 1, 1) == worth(0, 1) && worth(0, 1) < worth(0, 0));
        assert!(worth(once, 1000) > 0 && worth(0, 1000) > 0);
    }

    #[test]
    fn each_seed_comes_once_and_there_is_no_last_one() {
        let seeds: Vec<u64> = covering_seeds(u64::MAX - 10, |_| SeedProperties::default())
            .take(200)
            .collect();
        let mut sorted = seeds.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), seeds.len());
    }
}
