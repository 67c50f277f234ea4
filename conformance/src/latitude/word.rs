//! The words of `--latitude`.

use std::str::FromStr;

use super::{Latitude, LatitudeChoices, Latitudes};
use crate::features::NamedFeature;

/// One word of `--latitude`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// `none`: a plain device.
    None,
    /// `seed=N`: a permitted combination, drawn from N, with the variation N.
    Seed(u64),
    /// `variation=N`: the details of latitudes (such as a size or a time) are drawn from N.
    Variation(u64),
    /// `NAME`: this latitude.
    One(Latitude),
    /// `NAME=CHOICE`: this latitude, and the one of its choices with this number, from 0 on.
    Chosen(Latitude, u8),
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
        } else if let Some((name, choice)) = word.split_once('=') {
            chosen(name.parse()?, choice)
        } else {
            word.parse().map(Word::One)
        }
    }
}

/// `latitude`, with the choice of this name.
fn chosen(latitude: Latitude, choice: &str) -> Result<Word, String> {
    let choices = latitude.entry().choices;
    // A feature has more than one name.
    let number = match choices {
        LatitudeChoices::Feature => {
            let feature: NamedFeature = choice.parse()?;
            NamedFeature::all().position(|other| other == feature)
        }
        LatitudeChoices::Of(_) | LatitudeChoices::Unnamed => {
            choices.names().iter().position(|name| name == choice)
        }
    };
    match number.and_then(|number| u8::try_from(number).ok()) {
        Some(number) => Ok(Word::Chosen(latitude, number)),
        None if choices == LatitudeChoices::Unnamed => Err(format!(
            "'{latitude}' has no choices to name: leave '={choice}' out"
        )),
        None => Err(format!(
            "'{latitude}' has no choice '{choice}'; its choices are {}",
            choices.names().join(", ")
        )),
    }
}

/// The seed among the words of `--latitude`; the last one, if there are several.
pub fn seed(words: &[Word]) -> Option<u64> {
    words.iter().rev().find_map(|word| match word {
        Word::Seed(seed) => Some(*seed),
        Word::None | Word::Variation(_) | Word::One(_) | Word::Chosen(..) => None,
    })
}

impl Latitudes {
    /// The set that the words of `--latitude` select together.
    ///
    /// # Errors
    /// A sentence for the user if they contradict each other.
    pub fn from_words(words: &[Word]) -> Result<Self, String> {
        let mut latitudes = Latitudes::default();
        for word in words {
            latitudes = match *word {
                Word::None if words.len() > 1 => {
                    return Err("'none' conflicts with other latitudes: leave it out".into());
                }
                Word::None => latitudes,
                Word::Seed(seed) => latitudes.and(Latitudes::draw(seed)).varied(seed),
                Word::Variation(variation) => latitudes.varied(variation),
                Word::One(latitude) => latitudes.with(latitude),
                Word::Chosen(latitude, number) => {
                    let other = latitudes
                        .choice(latitude)
                        .filter(|n| *n != usize::from(number));
                    if other.is_some() {
                        return Err(format!(
                            "two choices of '{latitude}' are named: leave one of them out"
                        ));
                    }
                    latitudes.with_choice(latitude, number)
                }
            };
        }
        match latitudes.conflict() {
            None => Ok(latitudes),
            Some((one, two, why)) => Err(format!(
                "'{one}' conflicts with '{two}', because {why}: leave one of them out"
            )),
        }
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
            "tiny-queues=3",
            "tiny-queues=",
            "tiny-queues=1,tiny-queues=4",
            "bursts=1",
            "no-such=1",
            "picky-features=net.no",
        ] {
            assert!(choice(wrong).is_err(), "{wrong}");
        }
        for named in [
            "tiny-queues=4",
            "variation=3,picky-features=net.mrg-rxbuf",
            "distant-notify-addresses=64,some-vectors=few",
        ] {
            assert_eq!(choice(named).unwrap().to_string(), named);
        }
        let both = choice("tiny-queues,tiny-queues=1").unwrap();
        assert_eq!(both.to_string(), "tiny-queues=1");
        let error = choice("tiny-queues=3").unwrap_err();
        assert!(error.contains("its choices are 1, 2, 4"), "{error}");
    }
}
