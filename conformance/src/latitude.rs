//! Latitudes: what the specification leaves to the device, and drivers tested against one device
//! come to assume. Each provoked requirement names the one that provokes it.

mod draw;
mod table;

use std::fmt;
use std::str::FromStr;

pub use draw::Draw;
pub use table::{About, Latitude};
use table::{EXCLUSIVE, GIVING_UP};

impl Latitude {
    /// Why a device cannot make use of both, if it cannot.
    pub fn excludes(self, other: Latitude) -> Option<&'static str> {
        EXCLUSIVE
            .iter()
            .find(|(one, two, _)| (*one, *two) == (self, other) || (*two, *one) == (self, other))
            .map(|(_, _, why)| *why)
    }

    /// Whether a conforming driver may answer it by giving up on the device.
    pub fn may_end_use(self) -> bool {
        GIVING_UP.contains(&self)
    }
}

impl fmt::Display for Latitude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Latitude {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Latitude::ALL
            .iter()
            .copied()
            .find(|latitude| latitude.name() == name)
            .ok_or_else(|| {
                format!("there is no latitude '{name}'; 'stickler latitudes' lists those there are")
            })
    }
}

/// One word of `--latitude`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// `none`: a plain device.
    None,
    /// `seed=N`: a lawful combination, drawn from N, with the variation N.
    Seed(u64),
    /// `variation=N`: what a latitude leaves open (a size, a moment) is drawn from N.
    Variation(u64),
    /// `NAME`: this one.
    One(Latitude),
}

impl FromStr for Word {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            digits
                .parse()
                .map_err(|_| format!("'{digits}' is not a number from 0 to {}", u64::MAX))
        };
        if word == "none" {
            Ok(Word::None)
        } else if let Some(digits) = word.strip_prefix("seed=") {
            number(digits).map(Word::Seed)
        } else if let Some(digits) = word.strip_prefix("variation=") {
            number(digits).map(Word::Variation)
        } else {
            word.parse().map(Word::One)
        }
    }
}

/// The seed among the words of `--latitude`; the last one, as with what is drawn from it.
pub fn seed(words: &[Word]) -> Option<u64> {
    words.iter().rev().find_map(|word| match word {
        Word::Seed(seed) => Some(*seed),
        _ => None,
    })
}

/// Which latitudes a device makes use of, and from what it draws that which they leave open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Latitudes {
    set: u128,
    variation: u64,
}

const _: () = assert!(Latitude::ALL.len() <= 128);

/// After so many seeds each latitude has had its turn.
const ROUND: u64 = 16;
/// … and each of those that may end the use of a device, which are so far apart.
const ROUND_OF_LAST: u64 = 37;
const LAST_APART: u64 = 5;
/// About so many come by chance besides.
const BY_CHANCE: u64 = 4;

/// Of the name, as the place among the others changes with time.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Latitudes {
    /// What the words of `--latitude` ask for together. Fails with a sentence for the user where
    /// they contradict each other.
    pub fn from_words(words: &[Word]) -> Result<Self, String> {
        let mut latitudes = Latitudes::default();
        for word in words {
            latitudes = match *word {
                Word::None if words.len() > 1 => {
                    return Err("'none' does not go with other latitudes: leave it out".into());
                }
                Word::None => latitudes,
                Word::Seed(seed) => Latitudes {
                    set: latitudes.set | Latitudes::draw(seed).set,
                    variation: seed,
                },
                Word::Variation(variation) => latitudes.varied(variation),
                Word::One(latitude) => latitudes.with(latitude),
            };
        }
        match latitudes.contradiction() {
            None => Ok(latitudes),
            Some((one, two, why)) => Err(format!(
                "'{one}' and '{two}' do not go together, for {why}: leave one of them out"
            )),
        }
    }

    /// A lawful combination: the same for the same seed.
    ///
    /// Of seeds that follow one another, each has its share of the latitudes for certain, so that a
    /// few tens of them have every one; some more come by chance.
    pub fn draw(seed: u64) -> Self {
        let mut ranked = Latitude::ALL.to_vec();
        ranked.sort_by_key(|latitude| Draw::new(name_hash(latitude.name()), 0).bits());
        let giving_up: Vec<_> = ranked
            .extract_if(.., |latitude| latitude.may_end_use())
            .collect();
        let mut drawn = Latitudes::default().varied(seed);
        // What may end the use of the device comes seldom, and with little beside it.
        for (rank, latitude) in (0..).zip(giving_up) {
            if seed % ROUND_OF_LAST == LAST_APART * rank {
                return drawn.with(latitude);
            }
        }
        let mut draw = Draw::new(seed, 0);
        let mut share: Vec<_> = (0..)
            .zip(&ranked)
            .filter(|(rank, _)| rank % ROUND == seed % ROUND)
            .map(|(_, latitude)| *latitude)
            .collect();
        // Whoever had to stand back once goes first the next time.
        if seed / ROUND % 2 == 1 {
            share.reverse();
        }
        draw.shuffle(&mut ranked);
        let chance = ranked
            .iter()
            .copied()
            .filter(|_| draw.below(Latitude::ALL.len() as u64) < BY_CHANCE);
        for latitude in share.into_iter().chain(chance) {
            if drawn.iter().all(|other| other.excludes(latitude).is_none()) {
                drawn = drawn.with(latitude);
            }
        }
        drawn
    }

    /// Whether `latitude` is among them.
    #[inline]
    pub const fn has(self, latitude: Latitude) -> bool {
        self.set & 1 << latitude as u32 != 0
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.set == 0
    }

    /// These and `latitude`.
    #[must_use]
    pub const fn with(self, latitude: Latitude) -> Self {
        Latitudes {
            set: self.set | 1 << latitude as u32,
            ..self
        }
    }

    /// These without `latitude`.
    #[must_use]
    pub const fn without(self, latitude: Latitude) -> Self {
        Latitudes {
            set: self.set & !(1 << latitude as u32),
            ..self
        }
    }

    /// These, with what they leave open drawn from `variation`.
    #[must_use]
    pub const fn varied(self, variation: u64) -> Self {
        Latitudes { variation, ..self }
    }

    /// From what is drawn that which they leave open.
    pub const fn variation(self) -> u64 {
        self.variation
    }

    /// Numbers for what `latitude` leaves open on the device in `slot`: the same for the same
    /// variation, whichever other latitudes there are.
    pub fn numbers(self, latitude: Latitude, slot: u8) -> Draw {
        let name = name_hash(latitude.name()) ^ u64::from(slot);
        Draw::new(self.variation, name)
    }

    /// How many they are.
    pub const fn count(self) -> u32 {
        self.set.count_ones()
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Latitude> + Clone {
        Latitude::ALL
            .iter()
            .copied()
            .filter(move |latitude| self.has(*latitude))
    }

    /// Two that do not go together, and why.
    pub fn contradiction(self) -> Option<(Latitude, Latitude, &'static str)> {
        EXCLUSIVE
            .iter()
            .find(|(one, two, _)| self.has(*one) && self.has(*two))
            .copied()
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
    fn words_make_a_choice_and_a_choice_makes_words() {
        let choice = |text: &str| {
            let words: Result<Vec<Word>, _> = text.split(',').map(str::parse).collect();
            words.and_then(|words| Latitudes::from_words(&words))
        };
        assert_eq!(choice("none"), Ok(Latitudes::default()));
        let some = choice("any-revision,variation=7").unwrap();
        assert_eq!(some.to_string(), "variation=7,any-revision");
        assert_eq!(choice(&some.to_string()), Ok(some));
        let drawn = Latitudes::draw(5);
        assert_eq!(choice("seed=5"), Ok(drawn));
        assert_eq!(choice(&drawn.to_string()), Ok(drawn));
        for wrong in [
            "none,any-revision",
            "one-vector,most-vectors",
            "seed=x",
            "no-such",
        ] {
            assert!(choice(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_latitude_is_drawn_by_one_of_forty_seeds() {
        let drawn = (1..=40).map(Latitudes::draw);
        let set = drawn.fold(0, |set, latitudes| {
            assert_eq!(latitudes.contradiction(), None);
            set | latitudes.set
        });
        for latitude in Latitude::ALL {
            assert!(set & 1 << *latitude as u32 != 0, "{latitude}");
        }
    }

    #[test]
    fn what_is_drawn_for_a_latitude_does_not_depend_on_the_others() {
        let one = Latitudes::default().with(Latitude::OneVector).varied(9);
        let two = one.with(Latitude::AnyRevision);
        assert_eq!(
            one.numbers(Latitude::OneVector, 3),
            two.numbers(Latitude::OneVector, 3)
        );
        assert_ne!(
            one.numbers(Latitude::OneVector, 3),
            one.numbers(Latitude::OneVector, 4)
        );
    }
}
