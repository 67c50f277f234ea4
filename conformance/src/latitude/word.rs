//! The words of `--latitude`.

use std::str::FromStr;

use super::{Latitude, Latitudes};

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

/// The seed among the words of `--latitude`; the last one, if there are several.
pub fn seed(words: &[Word]) -> Option<u64> {
    words.iter().rev().find_map(|word| match word {
        Word::Seed(seed) => Some(*seed),
        Word::None | Word::Variation(_) | Word::One(_) => None,
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
        ] {
            assert!(choice(wrong).is_err(), "{wrong}");
        }
    }
}
