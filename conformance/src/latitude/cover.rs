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

/// Properties of a seed besides its latitudes.
const PROPERTIES: usize = u32::BITS as usize;

/// Seeds from `first` on, each of which adds as many latitudes as one can that the ones before it have had least
/// often. There is no last one. What else comes of a seed, and is wanted as often as latitudes, are its
/// `properties`, a bit each.
pub fn covering_seeds(first: u64, properties: impl Fn(u64) -> u32) -> impl Iterator<Item = u64> {
    let candidates: Vec<(u64, Vec<usize>)> = (0..CANDIDATES)
        .map(|number| first.wrapping_add(number))
        .map(|seed| {
            let latitudes = Latitudes::draw(seed).iter().map(Latitude::index);
            let properties = properties(seed);
            let others = (0..PROPERTIES).filter(|bit| properties >> bit & 1 != 0);
            let all = latitudes.chain(others.map(|bit| Latitude::COUNT + bit));
            (seed, all.collect())
        })
        .collect();
    let mut chosen = Vec::new();
    let mut had = [0_u32; Latitude::COUNT + PROPERTIES];
    for _ in 0..CHOSEN {
        let worth = |all: &[usize]| -> u64 {
            let worth = |index: &usize| 1_u64 << (WORTH_BITS * (8 - had[*index].min(8)));
            all.iter().map(worth).sum()
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
        let drawn: Vec<_> = covering_seeds(first, |_| 0)
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
        let four = |seed: u64| 1 << (seed / 3 % 4);
        let seeds: Vec<u64> = covering_seeds(1, four).take(8).collect();
        let mut places: Vec<u32> = seeds.into_iter().map(four).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places, [1, 2, 4, 8]);
    }

    #[test]
    fn each_seed_comes_once_and_there_is_no_last_one() {
        let seeds: Vec<u64> = covering_seeds(u64::MAX - 10, |_| 0).take(200).collect();
        let mut sorted = seeds.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), seeds.len());
    }
}
