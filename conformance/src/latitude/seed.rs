//! A permitted combination of latitudes, drawn from a seed.
//!
//! Each latitude draws from a stream of its own: whether a seed has it, and its details, do not depend
//! on the other latitudes. A latitude that is added to a table appears in some seeds, and does not
//! change the draws of the others.

use super::{Draw, Latitude, Latitudes, name_hash};

/// Of so many successive seeds, one has each latitude for certain.
const ROUND: u64 = 16;

/// The same for latitudes with which a driver may give up on the device. They are rare, and always alone.
const ROUND_OF_LAST: u64 = 37;

/// In addition, one seed in so many has a latitude by chance.
const BY_CHANCE: u64 = 19;

/// Separates these streams from those of the variation.
const STREAM: u64 = 0x7365_6564;

/// Why a seed has a latitude. If two latitudes conflict, the first in this order is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Priority {
    /// The seed is one of those that have it for certain.
    Certain,
    /// By chance.
    Chance,
}

/// The priority of `latitude` in `seed`; `None` if the seed does not have it. A conflict with another
/// latitude may still exclude it.
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
    /// A permitted combination: the same for the same seed.
    ///
    /// Each of several successive seeds has a part of the latitudes for certain, unless they conflict; more are
    /// added by chance. [`covering_seeds`](super::covering_seeds) are few that have all of them.
    pub fn draw(seed: u64) -> Self {
        let mut candidates: Vec<_> = Latitude::all()
            .filter_map(|latitude| Some((priority(latitude, seed)?, latitude)))
            .collect();
        candidates.sort_unstable_by_key(|(priority, _)| *priority);
        let mut drawn = Latitudes::default().varied(seed);
        // A latitude with which a driver may give up on the device is used alone.
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
    fn what_is_drawn_is_permitted() {
        let drawn: Vec<Latitudes> = (1..=40).map(Latitudes::draw).collect();
        for latitudes in &drawn {
            assert_eq!(latitudes.conflict(), None);
            let ending = latitudes.iter().any(Latitude::may_end_use);
            assert!(!ending || latitudes.count() == 1, "{latitudes}");
        }
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
            // A candidate that is not drawn conflicts with one that is, or had to be alone.
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
