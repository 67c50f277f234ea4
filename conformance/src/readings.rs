//! By which readings a run is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::catalogue;
use crate::requirement::{How, Req, Strictness};

/// By which reading each requirement is judged that can be read in several ways, and which proposals are
/// judged.
///
/// As text: `lenient` or `strict`, and then the readings that are chosen one by one, all separated by
/// commas: `strict,status.sequence.driver=together`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    strictness: Strictness,
    /// The index of the reading chosen.
    chosen: BTreeMap<Req, usize>,
    proposals: BTreeSet<Req>,
}

/// What readings cannot be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadingError {
    /// An item of the list is none.
    #[error("'{0}' is not 'lenient', 'strict' or NAME=READING")]
    Item(String),
    /// `lenient` and `strict` together, or one of them twice.
    #[error("'lenient' or 'strict' may be given once")]
    Twice,
    /// No requirement is called so.
    #[error("there is no requirement '{0}': see 'stickler requirements'")]
    Unknown(String),
    /// It can be read in one way only.
    #[error("'{0}' can be read in one way only")]
    Unambiguous(&'static str),
    /// It has no such reading.
    #[error("'{0}' has no reading '{1}'; its readings are {2}")]
    NoReading(&'static str, String, String),
    /// It is what the specification says.
    #[error("'{0}' is not a proposal: 'stickler requirements --how proposed' lists them")]
    NoProposal(&'static str),
}

impl From<Strictness> for Readings {
    fn from(strictness: Strictness) -> Readings {
        Readings {
            strictness,
            ..Readings::default()
        }
    }
}

impl Readings {
    /// Judges the proposal `name` as if it were adopted: by the reading chosen for it, else by its last.
    ///
    /// # Errors
    /// There is no such requirement, or it is no proposal.
    pub fn propose(mut self, name: &str) -> Result<Readings, ReadingError> {
        let req = find(name)?;
        let How::Proposed(_) = req.requirement().how else {
            return Err(ReadingError::NoProposal(req.name()));
        };
        self.proposals.insert(req);
        Ok(self)
    }

    /// The reading by which requirements are judged for which none is chosen.
    pub fn strictness(&self) -> Strictness {
        self.strictness
    }

    /// The names of the proposals that are judged.
    pub fn proposals(&self) -> impl Iterator<Item = &'static str> {
        self.proposals.iter().map(|req| req.name())
    }

    /// Whether readings are chosen one by one.
    pub fn has_choices(&self) -> bool {
        !self.chosen.is_empty()
    }

    /// The index of the reading by which `req` is judged; `None` if it is not judged, as a proposal that
    /// nobody asked for.
    pub fn pick(&self, req: Req) -> Option<usize> {
        let row = req.requirement();
        let chosen = self.chosen.get(&req).copied();
        if let How::Proposed(_) = row.how {
            let asked = self.proposals.contains(&req);
            return asked.then(|| chosen.unwrap_or(Strictness::Strict.pick(row.readings.len())));
        }
        Some(chosen.unwrap_or(self.strictness.pick(row.readings.len())))
    }
}

fn find(name: &str) -> Result<Req, ReadingError> {
    catalogue::find(name).ok_or_else(|| ReadingError::Unknown(name.to_owned()))
}

impl FromStr for Readings {
    type Err = ReadingError;

    fn from_str(text: &str) -> Result<Readings, ReadingError> {
        let mut strictness = None;
        let mut chosen = BTreeMap::new();
        for item in text.split(',') {
            if let Some(named) = Strictness::ALL.iter().find(|s| s.name() == item) {
                if strictness.replace(*named).is_some() {
                    return Err(ReadingError::Twice);
                }
                continue;
            }
            let (name, reading) = item
                .split_once('=')
                .ok_or_else(|| ReadingError::Item(item.to_owned()))?;
            let req = find(name)?;
            let readings = req.requirement().readings;
            if readings.is_empty() {
                return Err(ReadingError::Unambiguous(req.name()));
            }
            let index = readings.iter().position(|r| r.name == reading);
            let index = index.ok_or_else(|| {
                let names: Vec<_> = readings.iter().map(|r| r.name).collect();
                ReadingError::NoReading(req.name(), reading.to_owned(), names.join(", "))
            })?;
            chosen.insert(req, index);
        }
        Ok(Readings {
            strictness: strictness.unwrap_or_default(),
            chosen,
            proposals: BTreeSet::new(),
        })
    }
}

impl fmt::Display for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.strictness.name())?;
        for (req, index) in &self.chosen {
            let reading = req.requirement().readings.get(*index);
            write!(f, ",{req}={}", reading.map_or("", |reading| reading.name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Readings, ReadingError> {
        text.parse()
    }

    #[test]
    fn readings_are_chosen_one_by_one() {
        let driver = find("status.sequence.driver").unwrap();
        let other = find("status.sequence.acknowledge").unwrap();
        for (text, picks) in [
            ("lenient", [0, 0]),
            ("strict", [1, 1]),
            ("strict,status.sequence.driver=together", [0, 1]),
            ("lenient,status.sequence.driver=separate", [1, 0]),
        ] {
            let readings = parsed(text).unwrap();
            assert_eq!(
                [driver, other].map(|req| readings.pick(req).unwrap()),
                picks
            );
            assert_eq!(readings.to_string(), text);
        }
        let short = parsed("status.sequence.driver=separate").unwrap();
        assert_eq!(short.to_string(), "lenient,status.sequence.driver=separate");
    }

    #[test]
    fn proposals_are_judged_only_if_asked_for() {
        let name = "features.configuration-read";
        let req = find(name).unwrap();
        let strict = parsed("strict").unwrap();
        assert_eq!(strict.pick(req), None);
        assert_eq!(strict.propose(name).unwrap().pick(req), Some(2));
        let chosen = parsed("features.configuration-read=features-first").unwrap();
        assert_eq!(chosen.pick(req), None);
        assert_eq!(chosen.propose(name).unwrap().pick(req), Some(1));
    }

    #[test]
    fn what_cannot_be_chosen_is_refused_by_name() {
        for (text, says) in [
            ("", "'' is not 'lenient', 'strict' or NAME=READING"),
            (
                "Strict",
                "'Strict' is not 'lenient', 'strict' or NAME=READING",
            ),
            ("lenient,strict", "'lenient' or 'strict' may be given once"),
            (
                "a.b=c",
                "there is no requirement 'a.b': see 'stickler requirements'",
            ),
            (
                "status.no-clear=x",
                "'status.no-clear' can be read in one way only",
            ),
            (
                "status.sequence.driver=x",
                "'status.sequence.driver' has no reading 'x'; its readings are together, separate",
            ),
        ] {
            assert_eq!(parsed(text).unwrap_err().to_string(), says);
        }
        let error = Readings::default().propose("status.no-clear").unwrap_err();
        assert!(error.to_string().contains("is not a proposal"));
    }
}
