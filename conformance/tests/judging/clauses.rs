//! The catalogue against the specification's clauses.

use std::collections::{BTreeMap, BTreeSet};

use stickler_conformance::{Version, catalogue};

/// Row ids of virtio 1.0 (cs04): id, target, role, level; no statements.
const CLAUSES: &str = include_str!("../../spec/clauses-1.0.tsv");
/// Its section numbers.
const SECTIONS: &str = include_str!("../../spec/sections-1.0.txt");

#[test]
fn every_citation_names_a_clause_that_addresses_the_role() {
    let rows: BTreeMap<&str, &str> = CLAUSES
        .lines()
        .skip(1)
        .map(|line| {
            let mut columns = line.split('\t');
            let id = columns.next().expect("an id");
            (id, columns.nth(1).expect("a role"))
        })
        .collect();
    assert_eq!(rows.len(), 253);
    let sections: BTreeSet<&str> = SECTIONS.lines().collect();
    for (_, row) in catalogue::iter() {
        assert!(
            !row.clauses(Version::V1_0).is_empty(),
            "{} cites nothing",
            row.name
        );
        for clause in row.clauses(Version::V1_0) {
            if clause.contains('-') {
                let role = rows.get(clause);
                assert_eq!(role, Some(&row.role.name()), "{}: {clause}", row.name);
            } else {
                assert!(sections.contains(clause), "{}: {clause}", row.name);
            }
        }
    }
}
