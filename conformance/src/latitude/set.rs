//! The latitudes that a device uses.

use std::fmt;

use super::{Draw, Latitude, name_hash};

/// One bit for each latitude.
const WORDS: usize = Latitude::COUNT.div_ceil(64);

/// The latitudes that a device uses, and the number from which it draws their details.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Latitudes {
    set: [u64; WORDS],
    variation: u64,
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
        self
    }

    /// These and `others`, with the variation of these.
    #[must_use]
    pub fn and(mut self, others: Latitudes) -> Self {
        for (word, other) in self.set.iter_mut().zip(others.set) {
            *word |= other;
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

/// As `--latitude` takes it: `variation=7,any-revision,one-vector`, or `none`.
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
    fn a_set_has_what_was_put_in() {
        let last = Latitude::all().last().expect("there are some");
        let set = Latitudes::default().with(last).with(Latitude::BURSTS);
        assert_eq!((set.count(), set.has(last)), (2, true));
        assert!(set.iter().eq([Latitude::BURSTS, last]));
        assert_eq!(set.without(last).count(), 1);
        assert!(set.without(last).without(Latitude::BURSTS).is_empty());
    }
}
