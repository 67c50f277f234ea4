//! All requirements, chapter by chapter.

use crate::requirement::{Req, Requirement};
use crate::rules::ChapterId;

/// The number of requirements.
pub const LEN: usize = ChapterId::end();

/// Every requirement, in catalogue order: chapter by chapter, those on drivers before those on devices.
pub fn iter() -> impl Iterator<Item = (Req, &'static Requirement)> {
    ChapterId::ALL.iter().flat_map(|chapter| {
        let rows = chapter.requirements().iter();
        (0..)
            .zip(rows)
            .map(|(row, requirement)| (Req::new(*chapter, row), requirement))
    })
}

/// The requirement with this name.
pub fn find(name: &str) -> Option<Req> {
    iter().find(|(_, row)| row.name == name).map(|(req, _)| req)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Version;

    #[test]
    fn names_are_unique_and_indices_agree() {
        let mut names = std::collections::HashSet::new();
        for (index, (req, row)) in iter().enumerate() {
            assert!(names.insert(row.name), "{} is listed twice", row.name);
            assert_eq!(req.index(), index, "{}", row.name);
            assert!(std::ptr::eq(req.requirement(), row));
            assert_eq!(find(row.name), Some(req));
        }
        assert_eq!(names.len(), LEN);
    }

    #[test]
    fn readings_are_told_apart() {
        use crate::requirement::{MAX_READINGS, Strictness};
        let ambiguous = iter().filter(|(_, row)| !row.readings.is_empty());
        for (_, Requirement { name, readings, .. }) in ambiguous {
            assert!((2..=MAX_READINGS).contains(&readings.len()), "{name}");
            let names: std::collections::HashSet<_> = readings.iter().map(|r| r.name).collect();
            assert_eq!(names.len(), readings.len(), "{name}");
            let spelled = |n: &str| {
                n.chars()
                    .all(|c| c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit())
            };
            assert!(names.into_iter().all(spelled), "{name}");
            assert_eq!(Strictness::Lenient.pick(readings.len()), 0);
            assert_eq!(Strictness::Strict.pick(readings.len()), readings.len() - 1);
        }
    }

    #[test]
    fn editions_rise_and_stay_within_the_requirement() {
        for (_, row) in iter() {
            assert!(!row.editions.is_empty(), "{}", row.name);
            let since = |edition: &crate::requirement::Edition| edition.since;
            assert!(
                row.editions.is_sorted_by(|a, b| since(a) < since(b)),
                "{}",
                row.name
            );
            let last = row.editions.last().map(since);
            assert!(
                row.until.is_none_or(|until| last < Some(until)),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn names_and_clauses_are_well_formed() {
        for (_, row) in iter() {
            assert!(
                row.name.split('.').count() >= 2
                    && row
                        .name
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c)),
                "{}",
                row.name
            );
            for version in Version::ALL {
                for clause in row.clauses(version) {
                    let (section, row_number) = match clause.split_once('-') {
                        Some((section, number)) => (section, Some(number)),
                        None => (clause, None),
                    };
                    assert!(
                        section.split('.').all(|n| n.parse::<u32>().is_ok()),
                        "{clause}"
                    );
                    assert!(
                        row_number.is_none_or(|n| n.parse::<u32>().is_ok()),
                        "{clause}"
                    );
                }
            }
        }
    }
}
