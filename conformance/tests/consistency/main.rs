//! The catalogue against the specification's clauses and against the source: every statement on
//! devices is built, every citation names a section, and what the counts are.
//!
//! Citations are of virtio 1.0.

mod built;
mod counts;
mod source;
mod tolerances;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use built::Proof;
use source::{Citation, File, Tree};
use stickler_conformance::requirement::{How, Level, Role};
use stickler_conformance::{Version, catalogue};

/// The version whose statements are in [`CLAUSES`].
const V1_0: Version = Version::V1_0;

/// Row ids of virtio 1.0 (cs04): id, target, role, level; no statements.
const CLAUSES: &str = include_str!("../../spec/clauses-1.0.tsv");

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
fn few_requirements_are_unobservable_and_each_has_a_reason() {
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
fn built_requirements_have_the_level_of_their_statement_and_name_the_choice() {
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
fn built_requirements_are_cited_in_their_code_and_have_a_test() {
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
    let tree = Tree::read();
    let mut sections = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in tree.files() {
        let head = file.version();
        for citation in file.citations() {
            count += 1;
            let verdict = check_citation(&citation, head.as_deref(), |version| {
                let known = sections
                    .entry(version.to_owned())
                    .or_insert_with(|| source::sections(version));
                known.clone()
            });
            if let Err(why) = verdict {
                let Citation { line, section, .. } = citation;
                wrong.push(format!("{}:{line}: §{section}: {why}", file.path));
            }
        }
    }
    assert!(count > 200, "only {count} found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with a citation in a file whose head names the version `head`. `sections` returns the
/// section numbers of a version, `None` where they are not known.
fn check_citation(
    citation: &Citation<'_>,
    head: Option<&str>,
    mut sections: impl FnMut(&str) -> Option<Rc<BTreeSet<String>>>,
) -> Result<(), &'static str> {
    let version = citation
        .version
        .or(head)
        .ok_or("the head of the file names no version")?;
    if version.parse::<Version>().is_err() {
        return Err("there is no such version");
    }
    match sections(version) {
        Some(sections) if sections.contains(citation.section) => Ok(()),
        Some(_) => Err("there is no such section"),
        // A citation that names its version is an exception: the sections need not be known.
        None if citation.version.is_some() => Ok(()),
        None => Err("the sections of the version that the head names are not known"),
    }
}

#[test]
fn a_citation_needs_a_version_and_a_section_of_that_version() {
    let known = Rc::new(BTreeSet::from(["2.4".to_owned()]));
    let sections = |version: &str| (version == "1.0").then(|| known.clone());
    let verdict = |section, version, head| {
        let citation = Citation {
            line: 1,
            section,
            version,
        };
        check_citation(&citation, head, sections)
    };
    assert_eq!(verdict("2.4", None, Some("1.0")), Ok(()));
    assert_eq!(verdict("2.4", Some("1.0"), None), Ok(()));
    assert_eq!(verdict("7.7", Some("1.2"), Some("1.0")), Ok(()));
    assert!(verdict("7.7", None, Some("1.0")).is_err());
    assert!(verdict("2.4", None, None).is_err());
    assert!(verdict("2.4", None, Some("1.2")).is_err());
    assert!(verdict("2.4", Some("0.9"), Some("1.0")).is_err());
}

#[test]
fn the_head_of_a_file_names_the_version() {
    let version = |path: &str, text: &str| {
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        file.version()
    };
    let some = |version: &str| Some(version.to_owned());
    assert_eq!(
        version("a.rs", "//! Rings (§2.4 of virtio\n//! 1.0)."),
        some("1.0")
    );
    assert_eq!(
        version("a.rs", "//! Citations are of virtio 1.2.\n"),
        some("1.2")
    );
    assert_eq!(
        version("a.rs", "//! A virtio queue.\n\n// virtio 1.0"),
        None
    );
    assert_eq!(version("a.md", "# Title\n\nOf virtio 1.0."), some("1.0"));
    let late = format!("{}Of virtio 1.0.", "\n".repeat(10));
    assert_eq!(version("a.md", &late), None);
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
