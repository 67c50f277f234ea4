//! All requirements, chapter by chapter.

use crate::requirement::{Req, Requirement};
use crate::{built, rules};

/// How many requirements there are.
pub const LEN: usize = rules::END as usize + built::LEN;

/// The chapters, in catalogue order: those on drivers before those on devices.
fn chapters() -> impl Iterator<Item = &'static [Requirement]> {
    rules::CHAPTERS.into_iter().chain(built::CHAPTERS)
}

/// Every requirement, in catalogue order.
pub fn iter() -> impl Iterator<Item = (Req, &'static Requirement)> {
    chapters()
        .flatten()
        .enumerate()
        .map(|(i, r)| (Req(i as u16), r))
}

/// The row of `requirement`.
pub fn get(requirement: Req) -> &'static Requirement {
    let mut index = requirement.index();
    for chapter in chapters() {
        match chapter.get(index) {
            Some(row) => return row,
            None => index -= chapter.len(),
        }
    }
    unreachable!("a Req is only made from a catalogue index")
}

/// The name of the chapter of rules that judge `requirement`, which is that of their file; `None` of
/// a requirement on devices.
pub fn chapter(requirement: Req) -> Option<&'static str> {
    let mut index = requirement.index();
    for (chapter, name) in rules::CHAPTERS.iter().zip(rules::CHAPTER_NAMES) {
        match index.checked_sub(chapter.len()) {
            Some(beyond) => index = beyond,
            None => return Some(name),
        }
    }
    None
}

/// The requirement called `name`.
pub fn find(name: &str) -> Option<Req> {
    iter().find(|(_, row)| row.name == name).map(|(req, _)| req)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_indices_agree() {
        let mut names = std::collections::HashSet::new();
        for (req, row) in iter() {
            assert!(names.insert(row.name), "{} stands twice", row.name);
            assert!(std::ptr::eq(get(req), row));
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
            for clause in row.clauses {
                let (section, row_number) = match clause.split_once('-') {
                    Some((section, number)) => (section, Some(number)),
                    None => (*clause, None),
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
