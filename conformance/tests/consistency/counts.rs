//! How the specification's statements are established, by chapter: the table in the README.

use std::fmt::Write;

use stickler_conformance::catalogue;
use stickler_conformance::requirement::How;

use super::{Statement, statements};

/// The chapters: targets of the statements, and what the README calls them.
const CHAPTERS: [(&str, &str); 6] = [
    ("basic", "basic facilities, initialization, operation"),
    ("pci", "PCI transport"),
    ("net", "network"),
    ("block", "block"),
    ("console", "console"),
    ("entropy", "entropy"),
];

/// How a statement is established, strongest first.
const WAYS: [&str; 4] = ["asserted", "provoked", "built", "unobservable"];

/// How `clause` is established: by the strongest of the requirements that carry it.
fn way(clause: &str) -> Option<usize> {
    catalogue::iter()
        .filter(|(_, row)| row.clauses.contains(&clause))
        .filter_map(|(_, row)| {
            WAYS.iter().position(|way| {
                *way == match row.how {
                    How::Built(_) => "built",
                    how => how.name(),
                }
            })
        })
        .min()
}

/// The table, in Markdown.
fn table() -> String {
    let statements = statements();
    let mut text = String::from(
        "| chapter | on drivers | asserted | provoked | not observable | on devices | built |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let mut line = |title: &str, of: &dyn Fn(&Statement) -> bool| {
        let count = |role: &str, way_wanted: Option<&str>| {
            statements
                .iter()
                .filter(|(_, statement)| statement.role == role && of(statement))
                .filter(|(clause, _)| {
                    way_wanted.is_none_or(|wanted| way(clause).map(|way| WAYS[way]) == Some(wanted))
                })
                .count()
        };
        let _ = writeln!(
            text,
            "| {title} | {} | {} | {} | {} | {} | {} |",
            count("driver", None),
            count("driver", Some("asserted")),
            count("driver", Some("provoked")),
            count("driver", Some("unobservable")),
            count("device", None),
            count("device", Some("built")),
        );
    };
    for (target, title) in CHAPTERS {
        line(title, &|statement| statement.target == target);
    }
    line("all", &|_| true);
    text
}

#[test]
fn the_table_of_counts() {
    let table = table();
    println!("{table}");
    assert!(table.contains("| all | 127 |"), "{table}");
    assert!(table.ends_with("| 126 | 126 |\n"), "{table}");
}
