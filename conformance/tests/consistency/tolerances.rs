//! Figures of stickler's own: each is the lenient reading of some requirements, has a strict one beside it,
//! and is documented.

use std::collections::BTreeSet;

use stickler_conformance::catalogue;
use stickler_conformance::tolerance::ALL;

use super::source::Tree;

/// Numbers in rules that tolerate nothing, and what they are.
const NOT_TOLERATED: &[(&str, &str)] = &[
    ("AWAITED", "room: segments whose acknowledgement is awaited"),
    ("COMPLETED", "room: bytes of a packet that is completed"),
    ("CONFIG", "a place: that of msix_config among queues"),
    (
        "CONTINUED",
        "when a driver has coped with a latitude; accuses nobody",
    ),
    ("DISORDERED", "a bit"),
    (
        "ENOUGH",
        "when a driver has coped with a latitude; accuses nobody",
    ),
    ("FEW_BYTES", "chain.not-excessive, see docs/readings.md"),
    (
        "FILLING",
        "of the reading within-5-seconds: buffers in a second that does not count",
    ),
    ("FLOWS", "room: connections that are followed"),
    ("INDIRECT", "a bit"),
    ("INDIRECT_LINKED", "a bit"),
    ("LINKED", "a bit"),
    ("MANY", "chain.not-excessive, see docs/readings.md"),
    ("MAX_PAIRS", "room: pairs of queues"),
    ("MAX_PORTS", "room: ports of a console"),
    ("MAX_TOTAL", "of the specification: bytes of a chain"),
    (
        "NOT_TAKEN",
        "of the reading 3-in-a-row: deliveries of each segment",
    ),
    ("QUEUES", "room: virtqueues"),
    ("READABLE", "a bit"),
    ("SECTOR", "of the specification: bytes of a sector"),
    ("WATCHED", "room: packets whose sources are looked at"),
    (
        "WINDOW_FIELDS",
        "of the specification: fields of a capability",
    ),
    ("WRITABLE", "a bit"),
];

/// The name and the type of the constant that `line` declares, and its value.
fn constant(line: &str) -> Option<(&str, &str, &str)> {
    let line = line.trim();
    let line = line.strip_prefix("pub(crate) ").unwrap_or(line);
    let line = line.strip_prefix("pub(super) ").unwrap_or(line);
    let (name, rest) = line.strip_prefix("const ")?.split_once(": ")?;
    let (kind, value) = rest.split_once(" = ")?;
    Some((name, kind, value))
}

#[test]
fn each_figure_in_a_rule_is_a_tolerance_or_is_known_to_be_none() {
    let tree = Tree::read();
    let rules = tree.files().filter(|file| {
        file.path.starts_with("conformance/src/rules/")
            || file.path == "conformance/src/obligation.rs"
    });
    let (mut tolerances, mut unknown) = (0, Vec::new());
    for file in rules {
        for (name, kind, value) in file.text.lines().filter_map(constant) {
            if kind == "Tolerance" {
                tolerances += 1;
            }
            let number = matches!(kind, "u8" | "u16" | "u32" | "u64" | "usize")
                && value.starts_with(|c: char| c.is_ascii_digit());
            if number && !NOT_TOLERATED.iter().any(|(known, _)| *known == name) {
                unknown.push((&file.path, name));
            }
        }
    }
    assert!(unknown.is_empty(), "make it a Tolerance: {unknown:?}");
    assert_eq!(tolerances, ALL.len(), "list it in tolerance::ALL");
}

#[test]
fn each_tolerance_is_a_lenient_reading_with_its_figure() {
    let tree = Tree::read();
    let readings = &tree.file("docs/readings.md").expect("it is there").text;
    let sections: Vec<(&str, &str)> = readings
        .split("\n### ")
        .filter_map(|section| section.split_once('\n'))
        .collect();
    let mut seen = BTreeSet::new();
    for tolerance in ALL {
        let figure = tolerance.figure.to_string();
        for name in tolerance.readings {
            let mut requirements = catalogue::iter()
                .map(|(_, row)| row)
                .filter(|row| row.readings.iter().any(|reading| reading.name == *name))
                .peekable();
            assert!(requirements.peek().is_some(), "{name} is no reading");
            assert!(seen.insert(name), "{name} has two figures");
            for row in requirements {
                let (first, last) = (&row.readings[0], &row.readings[row.readings.len() - 1]);
                assert_eq!(first.name, *name, "{} is not lenient", row.name);
                assert!(first.text.contains(&figure), "{}: {}", row.name, first.text);
                assert!(!last.text.contains(&figure), "{}: {}", row.name, last.text);
                let (_, section) = sections
                    .iter()
                    .find(|(title, _)| title.split(", ").any(|title| title == row.name))
                    .expect("a section");
                let item = section.split(&format!("- `{name}`")).nth(1);
                let item = item.and_then(|item| item.split("\n- `").next());
                assert!(
                    item.is_some_and(|item| item.contains(&figure)),
                    "{}: docs/readings.md does not state {figure} with {name}",
                    row.name
                );
            }
        }
    }
}
