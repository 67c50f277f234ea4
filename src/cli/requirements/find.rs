//! Which requirements a user means: by name, by clause, by words.
//!
//! Citations are of virtio 1.0.

use std::collections::BTreeSet;

use stickler_conformance::requirement::Requirement;
use stickler_conformance::{catalogue, nearest};

use super::{CatalogueEntry, Failure, SPEC};

/// The requirements with this name or the beginning of one, or else of this clause, or else with these words.
pub(super) fn find(wanted: &str) -> Result<Vec<CatalogueEntry>, Failure> {
    let those = |fits: &dyn Fn(&Requirement) -> bool| -> Vec<CatalogueEntry> {
        let all = catalogue::iter();
        all.filter(|(_, requirement)| fits(requirement)).collect()
    };
    let named = those(&|requirement| is_under(requirement.name, wanted));
    if !named.is_empty() {
        return Ok(named);
    }
    let hint = "`stickler requirements` lists all";
    if let Some(clause) = clause(wanted) {
        let stated = |requirement: &Requirement| {
            let clauses = requirement.clauses(SPEC);
            clauses.iter().any(|one| is_in(one, clause))
        };
        return match those(&stated) {
            found if !found.is_empty() => Ok(found),
            _ => Err(Failure::Input(format!(
                "no requirement is stated in §{clause} of virtio {SPEC}: {hint}"
            ))),
        };
    }
    let with_words = those(&|requirement| has_words(requirement, wanted));
    if !with_words.is_empty() {
        return Ok(with_words);
    }
    let hint = match nearest(wanted, beginnings()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => hint.to_owned(),
    };
    Err(Failure::Input(format!(
        "no requirement has the name '{wanted}', a name that begins with it, or this word: {hint}"
    )))
}

/// All names of requirements, and what several of them begin with.
fn beginnings() -> BTreeSet<&'static str> {
    let names = catalogue::iter().map(|(_, requirement)| requirement.name);
    names
        .flat_map(|name| {
            let dots = name.match_indices('.').map(|(at, _)| &name[..at]);
            dots.chain([name])
        })
        .collect()
}

/// The number of a section or of a clause, if `wanted` is one: `3.1.1`, `§3.1.1`, `2.4.7.1-1`.
fn clause(wanted: &str) -> Option<&str> {
    let number = wanted.trim().trim_start_matches('§').trim();
    let (section, statement) = number.split_once('-').unwrap_or((number, "1"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (section.split('.').all(is_number) && is_number(statement)).then_some(number)
}

/// Whether the clause `one` is `wanted`, or in the section `wanted`.
fn is_in(one: &str, wanted: &str) -> bool {
    one.strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
}

/// Whether each of `words` begins a word of the requirement's name or text, in capitals or not.
fn has_words(requirement: &Requirement, words: &str) -> bool {
    let text = format!("{} {}", requirement.name, requirement.text).to_lowercase();
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let theirs: Vec<&str> = text.split(|c| !is_part(c)).collect();
    let wanted = words.to_lowercase();
    let mut wanted = wanted.split_whitespace().peekable();
    wanted.peek().is_some() && wanted.all(|word| theirs.iter().any(|their| their.starts_with(word)))
}

/// Whether `name` is `prefix`, or `prefix` followed by a dot and more.
fn is_under(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix.trim_end_matches('.'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(wanted: &str) -> Vec<&'static str> {
        let found = find(wanted).unwrap_or_default();
        found.into_iter().map(|(_, r)| r.name).collect()
    }

    #[test]
    fn a_clause_finds_what_it_states_and_a_section_what_is_in_it() {
        let one = found("2.1.1-2");
        assert!(one.contains(&"status.no-clear"), "{one:?}");
        let section = found("§2.1.1");
        assert_eq!(section, found("2.1.1"));
        assert_eq!(section, found("§ 2.1.1"));
        assert!(one.iter().all(|name| section.contains(name)));
        assert!(section.len() > one.len());
        let chapter = found("2.1");
        assert!(section.iter().all(|name| chapter.contains(name)));
        // A number is not the beginning of another.
        let of_chapter_4 = |wanted| -> bool {
            let found = find(wanted).unwrap_or_default();
            let mut clauses = found.iter().flat_map(|(_, r)| r.clauses(SPEC));
            clauses.any(|clause| clause == "4.1.4.3.2-2")
        };
        assert!(of_chapter_4("4.1") && of_chapter_4("4.1.4.3.2"));
        assert!(is_in("4.1.4.3.2-2", "4.1.4") && is_in("4.1.4.3.2-2", "4.1.4.3.2-2"));
        assert!(!is_in("4.1.4.3.2-2", "4.1.4.3.2-22") && !is_in("4.10.1-1", "4.1"));
        assert!(!is_in("2.1.1-12", "2.1.1-1"));
        let error = find("9.9").unwrap_err().to_string();
        assert!(error.contains("9.9 of virtio 1.0"), "{error}");
    }

    #[test]
    fn words_find_what_has_them_all() {
        let with = found("ACKNOWLEDGE");
        assert!(with.contains(&"status.sequence.acknowledge"), "{with:?}");
        assert_eq!(with, found("acknowledge"));
        let fewer = found("acknowledge driver");
        assert!(!fewer.is_empty() && fewer.iter().all(|name| with.contains(name)));
        // A name goes first: these are not all that say 'status'.
        assert!(
            found("status")
                .iter()
                .all(|name| name.starts_with("status."))
        );
        assert!(found(" ").is_empty() && found("").is_empty());
    }

    #[test]
    fn a_slip_is_answered_with_the_name_that_is_nearest() {
        for (slip, name) in [
            ("status.no-claer", "status.no-clear"),
            ("status_no_clear", "status.no-clear"),
            ("statsu", "status"),
        ] {
            let error = find(slip).unwrap_err().to_string();
            assert!(
                error.contains(&format!("did you mean '{name}'?")),
                "{error}"
            );
        }
        let error = find("no.such").unwrap_err().to_string();
        assert!(error.contains("lists all"), "{error}");
    }
}
