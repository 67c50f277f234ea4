//! The fewest latitudes with which a run still fails: delta debugging over their set.

use stickler_conformance::{Latitude, Latitudes};

/// Removes latitudes from `all` as long as `fails` returns true for the rest. Their details stay drawn
/// from the same number. Returns `None` if `all` itself does not fail again.
///
/// `fails` returns `None` if it could not find out; the result is then the smallest set so far.
pub fn shrink(
    all: Latitudes,
    mut fails: impl FnMut(Latitudes) -> Option<bool>,
) -> Option<Latitudes> {
    if !fails(all)? {
        return None;
    }
    let mut smallest = all;
    if all.count() > 0 {
        let none = all.iter().fold(all, Latitudes::without);
        match fails(none) {
            Some(true) => return Some(none),
            Some(false) => {}
            None => return Some(smallest),
        }
    }
    // Halves first, then smaller and smaller parts. No set is tried twice.
    let mut parts = 2;
    while smallest.count() > 1 {
        let members: Vec<Latitude> = smallest.iter().collect();
        parts = parts.min(members.len());
        let size = members.len().div_ceil(parts);
        let mut smaller = None;
        for part in members.chunks(size) {
            let left = part.iter().copied().fold(smallest, Latitudes::without);
            match fails(left) {
                Some(true) => {
                    smaller = Some(left);
                    break;
                }
                Some(false) => {}
                None => return Some(smallest),
            }
        }
        match smaller {
            Some(left) => {
                smallest = left;
                parts = (parts - 1).max(2);
            }
            None if size == 1 => break,
            None => parts *= 2,
        }
    }
    Some(smallest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails while all of `needed` are there; counts how often it was asked.
    fn shrunk(all: Latitudes, needed: Latitudes) -> (Option<Latitudes>, usize) {
        let mut asked = 0;
        let result = shrink(all, |latitudes| {
            asked += 1;
            assert_eq!(latitudes.variation(), all.variation());
            Some(needed.iter().all(|latitude| latitudes.has(latitude)))
        });
        (result, asked)
    }

    #[test]
    fn what_is_needed_is_left() {
        let all: Latitudes = Latitude::all().collect();
        let all = all.varied(9);
        for needed in 0..64u64 {
            let needed: Latitudes = Latitudes::draw(needed)
                .iter()
                .filter(|latitude| all.has(*latitude))
                .take(3)
                .collect();
            let needed = needed.varied(9);
            let (result, asked) = shrunk(all, needed);
            assert_eq!(result, Some(needed));
            let most = 12 * Latitude::COUNT;
            assert!(asked <= most, "{asked} runs for {needed}");
        }
    }

    #[test]
    fn a_single_culprit_is_found_in_few_runs() {
        let all: Latitudes = Latitude::all().collect();
        for culprit in all.iter() {
            let needed: Latitudes = [culprit].into_iter().collect();
            let (result, asked) = shrunk(all, needed);
            assert_eq!(result, Some(needed));
            assert!(asked <= 40, "{asked} runs for {culprit}");
            // By itself: with it, and without.
            assert_eq!(shrunk(needed, needed), (Some(needed), 2));
        }
    }

    #[test]
    fn what_does_not_fail_again_is_not_shrunk() {
        let all: Latitudes = Latitude::all().collect();
        assert_eq!(shrink(all, |_| Some(false)), None);
        assert_eq!(shrink(all, |_| None), None);
    }

    #[test]
    fn when_it_is_interrupted_the_smallest_so_far_is_the_answer() {
        let all: Latitudes = Latitude::all().collect();
        let mut left = 5;
        let result = shrink(all, |latitudes| {
            left -= 1;
            (left > 0).then(|| latitudes.has(Latitude::ANY_REVISION))
        });
        let smallest = result.unwrap();
        assert!(smallest.has(Latitude::ANY_REVISION) && smallest.count() < all.count());
    }
}
