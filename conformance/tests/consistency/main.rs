//! The catalogue against the specification's clauses and against the source: every statement on
//! devices is built, every citation names something, and what the counts are.

mod built;
mod counts;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use built::Proof;
use source::{File, Tree};
use stickler_conformance::requirement::{How, Level, Role};
use stickler_conformance::{Version, catalogue};

/// The version whose statements are in [`CLAUSES`].
const V1_0: Version = Version::V1_0;

/// Row ids of virtio 1.0 (cs04): id, target, role, level; no statements.
const CLAUSES: &str = include_str!("../../spec/clauses-1.0.tsv");
/// Its section numbers.
const SECTIONS: &str = include_str!("../../spec/sections-1.0.txt");

/// A normative statement of the specification.
#[derive(Clone, Copy, Debug)]
struct Statement {
    /// basic, pci, net, block, console or entropy.
    target: &'static str,
    role: &'static str,
    level: &'static str,
}

fn statements() -> BTreeMap<&'static str, Statement> {
    let rows = CLAUSES.lines().skip(1).map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [id, target, role, level] = columns[..] else {
            panic!("four columns: {line}");
        };
        let statement = Statement {
            target,
            role,
            level,
        };
        (id, statement)
    });
    rows.collect()
}

fn section(clause: &str) -> &str {
    clause
        .split_once('-')
        .map_or(clause, |(section, _)| section)
}

#[test]
fn every_statement_on_devices_is_built() {
    let mut left: BTreeMap<_, _> = statements();
    left.retain(|_, statement| statement.role == Role::Device.name());
    assert_eq!(left.len(), 126);
    for (_, row) in catalogue::iter().filter(|(_, row)| row.role == Role::Device) {
        assert!(
            matches!(row.how, How::Built { .. }),
            "{} is on devices and not built",
            row.name
        );
        for clause in row.clauses(V1_0) {
            left.remove(clause);
        }
    }
    assert!(left.is_empty(), "not in the catalogue: {left:?}");
}

#[test]
fn every_statement_on_drivers_is_carried() {
    let mut left: BTreeMap<_, _> = statements();
    left.retain(|_, statement| statement.role == Role::Driver.name());
    assert_eq!(left.len(), 127);
    for (_, row) in catalogue::iter().filter(|(_, row)| row.role == Role::Driver) {
        for clause in row.clauses(V1_0) {
            left.remove(clause);
        }
    }
    assert!(left.is_empty(), "not in the catalogue: {left:?}");
}

#[test]
fn little_is_said_to_be_unobservable_and_why() {
    let unobservable: Vec<_> = catalogue::iter()
        .filter_map(|(_, row)| match row.how {
            How::Unobservable(reason) => Some((row.name, reason)),
            _ => None,
        })
        .collect();
    assert!(unobservable.len() <= 25, "{unobservable:#?}");
    for (name, reason) in unobservable {
        assert!(
            reason.split(' ').count() > 5,
            "{name}: {reason:?} is no reason"
        );
    }
}

/// Statements that begin with a SHOULD or SHOULD NOT and go on with a MUST.
const STRONGER_IN_THE_END: [&str; 3] = ["2.2.1-2", "5.1.6.2.1-6", "5.3.6.2.2-2"];

#[test]
fn nothing_is_demanded_of_drivers_more_strongly_than_by_its_statements() {
    let statements = statements();
    for (_, row) in catalogue::iter().filter(|(_, row)| row.role == Role::Driver) {
        let mut levels = row
            .clauses(V1_0)
            .into_iter()
            .filter(|clause| !STRONGER_IN_THE_END.contains(clause))
            .filter_map(|clause| Some(statements.get(clause)?.level))
            .peekable();
        // Descriptive text has no level.
        if levels.peek().is_some() && levels.all(|level| level.starts_with("SHOULD")) {
            assert!(!row.level(V1_0).is_absolute(), "{}", row.name);
        }
    }
}

#[test]
fn what_is_built_has_the_level_of_its_statement_and_says_what_was_chosen() {
    let statements = statements();
    for (_, row) in catalogue::iter() {
        let How::Built { choice } = row.how else {
            continue;
        };
        assert_eq!(row.role, Role::Device, "{}", row.name);
        for statement in row
            .clauses(V1_0)
            .into_iter()
            .filter_map(|clause| statements.get(clause))
        {
            assert_eq!(row.level(V1_0).name(), statement.level, "{}", row.name);
        }
        if row.level(V1_0) == Level::May {
            assert!(choice.is_some(), "{} leaves a choice", row.name);
        }
    }
}

#[test]
fn what_is_built_is_cited_where_it_is_and_has_its_test() {
    let tree = Tree::read();
    let mut wrong = Vec::new();
    let mut left: BTreeSet<&str> = catalogue::iter()
        .filter(|(_, row)| matches!(row.how, How::Built { .. }))
        .map(|(_, row)| row.name)
        .collect();
    for Proof {
        requirement,
        code,
        test_file,
        test,
    } in built::proofs()
    {
        if !left.remove(requirement) {
            wrong.push(format!("{requirement}: not on devices, or proven twice"));
            continue;
        }
        let row = catalogue::find(requirement).expect("it was left");
        match tree.file(code) {
            None => wrong.push(format!("{requirement}: there is no {code}")),
            Some(file) => {
                let cited: BTreeSet<&str> = file.citations().map(|c| c.section).collect();
                for clause in row.requirement().clauses(V1_0) {
                    let section = section(clause);
                    if !cited.contains(section) {
                        wrong.push(format!("{requirement}: {code} lacks §{section}"));
                    }
                }
            }
        }
        if !tree.file(test_file).is_some_and(|file| file.has_test(test)) {
            wrong.push(format!(
                "{requirement}: there is no test {test} in {test_file}"
            ));
        }
    }
    wrong.extend(left.iter().map(|name| format!("{name}: no proof")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_citation_in_the_source_names_a_section() {
    let sections: BTreeSet<&str> = SECTIONS.lines().collect();
    let tree = Tree::read();
    let citations: Vec<_> = tree
        .files()
        .flat_map(|file| file.citations().map(|citation| (&file.path, citation)))
        .collect();
    assert!(citations.len() > 200, "only {} found", citations.len());
    let wrong: Vec<String> = citations
        .iter()
        .filter(|(_, citation)| match citation.version {
            None => !sections.contains(citation.section),
            Some(version) => !["1.1", "1.2", "1.3"].contains(&version),
        })
        .map(|(path, citation)| format!("{path}:{}: §{}", citation.line, citation.section))
        .collect();
    assert!(wrong.is_empty(), "no such section:\n{}", wrong.join("\n"));
}

#[test]
fn citations_are_read_as_they_are_written() {
    let file = File {
        path: String::new(),
        text: "// §2.4.7.2: so. §2.8 (1.1), §3 (see below)\n// §4.1.4.\nlet s = '§';".to_owned(),
    };
    let read: Vec<_> = file
        .citations()
        .map(|c| (c.line, c.section, c.version))
        .collect();
    assert_eq!(
        read,
        [
            (1, "2.4.7.2", None),
            (1, "2.8", Some("1.1")),
            (1, "3", None),
            (2, "4.1.4", None),
        ]
    );
}
