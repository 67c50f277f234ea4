//! What a violation of a requirement looks like, and how to fix the driver: for a single requirement,
//! or for a family of requirements whose names have a common beginning.

use crate::requirement::{Requirement, Role};
use crate::rules::ChapterId;

/// Advice on one requirement or on a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The requirement's name, or the common beginning of the family's names, up to a dot.
    pub on: &'static str,
    /// What a violation looks like.
    pub looks_like: &'static str,
    /// How to fix the driver.
    pub fix: &'static str,
}

/// The most specific advice on `requirement`. Every requirement that a driver can violate has one.
pub fn find(requirement: &Requirement) -> Option<&'static Advice> {
    if requirement.role == Role::Device {
        return None;
    }
    all()
        .filter(|advice| covers(advice.on, requirement.name))
        .max_by_key(|advice| advice.on.len())
}

/// Whether `name` is `on`, or continues after it with a dot.
fn covers(on: &str, name: &str) -> bool {
    name.strip_prefix(on)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Declares a chapter's advice on violations of its requirements: families before their members.
macro_rules! advice {
    ($($on:literal: $looks_like:literal; $fix:literal;)*) => {
        /// This chapter's advice on violations.
        pub(crate) static ADVICE: &[$crate::advice::Advice] = &[
            $($crate::advice::Advice { on: $on, looks_like: $looks_like, fix: $fix },)*
        ];
    };
}
pub(crate) use advice;

/// The advice of all chapters.
fn all() -> impl Iterator<Item = &'static Advice> {
    ChapterId::ALL.iter().flat_map(|chapter| chapter.advice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;
    use crate::requirement::{How, Level};

    #[test]
    fn every_requirement_that_can_be_broken_has_advice() {
        let without: Vec<_> = catalogue::iter()
            .map(|(_, row)| row)
            .filter(|row| row.role == Role::Driver)
            .filter(|row| {
                row.editions
                    .iter()
                    .any(|edition| edition.level != Level::May)
            })
            .filter(|row| !matches!(row.how, How::Unobservable(_)))
            .filter(|row| find(row).is_none())
            .map(|row| row.name)
            .collect();
        assert!(without.is_empty(), "{without:#?}");
    }

    #[test]
    fn all_advice_is_given_and_told_apart() {
        let given: std::collections::HashSet<_> = catalogue::iter()
            .filter_map(|(_, row)| find(row))
            .map(|advice| advice.on)
            .collect();
        let mut seen = std::collections::HashSet::new();
        for advice in all() {
            assert!(seen.insert(advice.on), "{} is listed twice", advice.on);
            assert!(
                given.contains(advice.on),
                "no requirement uses {}",
                advice.on
            );
        }
    }

    #[test]
    fn the_closest_advice_wins() {
        let on = |name: &str| {
            let row = catalogue::find(name)
                .expect("in the catalogue")
                .requirement();
            find(row).map(|advice| advice.on)
        };
        assert_eq!(on("status.no-clear"), Some("status.no-clear"));
        assert_eq!(on("status.undefined-bits"), Some("status"));
        assert_eq!(on("net.tx.frame"), Some("net.tx"));
    }
}
