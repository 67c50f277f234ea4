//! The latitudes that a device uses.

use std::fmt;

use super::{Draw, Latitude, LatitudeChoices, name_hash};
use crate::features::NamedFeature;

/// One bit for each latitude.
const WORDS: usize = Latitude::COUNT.div_ceil(64);

/// One byte for each latitude.
const BYTE_WORDS: usize = Latitude::COUNT.div_ceil(8);

/// The latitudes that a device uses, and the number from which it draws their details.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Latitudes {
    set: [u64; WORDS],
    variation: u64,
    /// For each, 0, or which of its choices is named, from 1 on.
    named: [u64; BYTE_WORDS],
}

impl Latitudes {
    /// Whether `latitude` is among them.
    #[inline]
    pub const fn has(self, latitude: Latitude) -> bool {
        let index = latitude.index();
        self.set[index / 64] & 1 << (index % 64) != 0
    }

    /// Whether the set is empty.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.set == [0; WORDS]
    }

    /// These and `latitude`.
    #[must_use]
    pub const fn with(mut self, latitude: Latitude) -> Self {
        let index = latitude.index();
        self.set[index / 64] |= 1 << (index % 64);
        self
    }

    /// These without `latitude`.
    #[must_use]
    pub const fn without(mut self, latitude: Latitude) -> Self {
        let index = latitude.index();
        self.set[index / 64] &= !(1 << (index % 64));
        self.named[index / 8] &= !(0xff << (index % 8 * 8));
        self
    }

    /// These and `latitude`, which is not drawn but the one of its choices with this number, from 0 on.
    #[must_use]
    pub fn with_choice(self, latitude: Latitude, number: u8) -> Self {
        let mut latitudes = self.without(latitude).with(latitude);
        let index = latitude.index();
        latitudes.named[index / 8] |= (u64::from(number) + 1) << (index % 8 * 8);
        latitudes
    }

    /// The number of the choice of `latitude` that is named, if one is.
    pub fn choice(self, latitude: Latitude) -> Option<usize> {
        let index = latitude.index();
        let number = self.named[index / 8] >> (index % 8 * 8) & 0xff;
        (number as usize).checked_sub(1)
    }

    /// The number that is named for `latitude`, if one is. A choice that is no number is 0.
    pub fn named_number(self, latitude: Latitude) -> Option<u64> {
        let LatitudeChoices::Of(names) = latitude.entry().choices else {
            return None;
        };
        let name = names.get(self.choice(latitude)?)?;
        Some(name.parse().unwrap_or(0))
    }

    /// The number that is named for `latitude`, or one that is drawn from its choices. A choice that is no number
    /// is 0.
    pub fn number(self, latitude: Latitude, draw: &mut Draw) -> u64 {
        let LatitudeChoices::Of(names) = latitude.entry().choices else {
            return 0;
        };
        // What is drawn after it does not depend on whether it is named.
        let drawn = draw.of(names).parse().unwrap_or(0);
        self.named_number(latitude).unwrap_or(drawn)
    }

    /// The feature that is named for `latitude`, if one is.
    pub fn named_feature(self, latitude: Latitude) -> Option<NamedFeature> {
        let number = self.choice(latitude)?;
        let is_feature = latitude.entry().choices == LatitudeChoices::Feature;
        NamedFeature::all().nth(number).filter(|_| is_feature)
    }

    /// These and `others`, with the variation of these.
    #[must_use]
    pub fn and(mut self, others: Latitudes) -> Self {
        for (word, other) in self.set.iter_mut().zip(others.set) {
            *word |= other;
        }
        for latitude in others.iter() {
            if let (None, Some(number)) = (self.choice(latitude), others.choice(latitude)) {
                self = self.with_choice(latitude, number as u8);
            }
        }
        self
    }

    /// These, with their details drawn from `variation`.
    #[must_use]
    pub const fn varied(self, variation: u64) -> Self {
        Latitudes { variation, ..self }
    }

    /// The number from which they draw their details.
    pub const fn variation(self) -> u64 {
        self.variation
    }

    /// Numbers for the details of `latitude` on the device in `slot`: the same for the same variation,
    /// whatever the other latitudes are.
    pub fn numbers(self, latitude: Latitude, slot: u8) -> Draw {
        let name = name_hash(latitude.name()) ^ u64::from(slot);
        Draw::new(self.variation, name)
    }

    /// The number of latitudes in the set.
    pub fn count(self) -> u32 {
        self.set.iter().map(|word| word.count_ones()).sum()
    }

    /// The latitudes in the set.
    pub fn iter(self) -> impl Iterator<Item = Latitude> + Clone {
        Latitude::all().filter(move |latitude| self.has(*latitude))
    }

    /// Two latitudes in the set that conflict, and why.
    pub fn conflict(self) -> Option<(Latitude, Latitude, &'static str)> {
        self.iter().find_map(|one| {
            let mut others = self.iter();
            others.find_map(|other| Some((one, other, one.excludes(other)?)))
        })
    }
}

/// As `--latitude` takes it: `variation=7,any-revision,tiny-queues=4`, or `none`.
impl fmt::Display for Latitudes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut separator = "";
        if self.variation != 0 {
            write!(f, "variation={}", self.variation)?;
            separator = ",";
        }
        for latitude in self.iter() {
            write!(f, "{separator}{latitude}")?;
            if let Some(number) = self.choice(latitude) {
                let names = latitude.entry().choices.names();
                write!(f, "={}", names.get(number).map_or("", String::as_str))?;
            }
            separator = ",";
        }
        Ok(())
    }
}

impl FromIterator<Latitude> for Latitudes {
    fn from_iter<I: IntoIterator<Item = Latitude>>(latitudes: I) -> Self {
        latitudes
            .into_iter()
            .fold(Latitudes::default(), Latitudes::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_for_a_latitude_does_not_depend_on_the_others() {
        let one = Latitudes::default().with(Latitude::ONE_VECTOR).varied(9);
        let two = one.with(Latitude::ANY_REVISION);
        assert_eq!(
            one.numbers(Latitude::ONE_VECTOR, 3),
            two.numbers(Latitude::ONE_VECTOR, 3)
        );
        assert_ne!(
            one.numbers(Latitude::ONE_VECTOR, 3),
            one.numbers(Latitude::ONE_VECTOR, 4)
        );
    }

    #[test]
    fn a_choice_is_named_or_drawn() {
        let tiny = Latitudes::default().with(Latitude::TINY_QUEUES);
        let drawn = |latitudes: Latitudes| {
            let mut numbers = latitudes.numbers(Latitude::TINY_QUEUES, 1);
            let number = latitudes.number(Latitude::TINY_QUEUES, &mut numbers);
            (number, numbers)
        };
        for variation in 0..20 {
            let (number, rest) = drawn(tiny.varied(variation));
            assert!([1, 2, 4].contains(&number));
            let named = tiny.varied(variation).with_choice(Latitude::TINY_QUEUES, 2);
            assert_eq!(drawn(named), (4, rest));
        }
        let named = tiny.with_choice(Latitude::TINY_QUEUES, 2);
        assert_eq!(named.to_string(), "tiny-queues=4");
        assert_eq!(
            named.with(Latitude::BURSTS).choice(Latitude::TINY_QUEUES),
            Some(2)
        );
        assert_eq!(named.without(Latitude::TINY_QUEUES), Latitudes::default());
        assert_eq!(Latitudes::default().and(named), named);
        assert_eq!(
            named.with_choice(Latitude::TINY_QUEUES, 0).to_string(),
            "tiny-queues=1"
        );
    }

    #[test]
    fn choices_are_few_and_different() {
        for latitude in Latitude::all() {
            let mut names = latitude.entry().choices.names();
            let count = names.len();
            assert!(count < 255 && count != 1, "{latitude}");
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{latitude}");
        }
    }

    #[test]
    fn a_set_has_what_was_put_in() {
        let last = Latitude::all().last().expect("there are some");
        let set = Latitudes::default().with(last).with(Latitude::BURSTS);
        assert_eq!((set.count(), set.has(last)), (2, true));
        assert!(set.iter().eq([Latitude::BURSTS, last]));
        assert_eq!(set.without(last).count(), 1);
        assert!(set.without(last).without(Latitude::BURSTS).is_empty());
    }
}
