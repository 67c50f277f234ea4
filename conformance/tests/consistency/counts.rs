//! How many of the specification's statements are judged or built, by chapter: the table in the README.

use std::fmt::Write;

use stickler_conformance::catalogue;
use stickler_conformance::requirement::How;

use super::source::Tree;
use super::{Statement, V1_0, statements};

/// The chapters: targets of the statements, and their names in the README.
const CHAPTERS: [(&str, &str); 6] = [
    ("basic", "basic facilities, operation"),
    ("pci", "PCI transport"),
    ("net", "network device"),
    ("block", "block device"),
    ("console", "console device"),
    ("entropy", "entropy device"),
];

/// A line of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    on_drivers: usize,
    /// Of these: judged from the driver's moves, asserted or provoked.
    judged: usize,
    /// Of these: not observable by a device.
    unobservable: usize,
    on_devices: usize,
    built: usize,
}

impl Counts {
    fn of(chosen: impl Fn(&Statement) -> bool) -> Counts {
        let mut counts = Counts::default();
        for (clause, _) in statements().iter().filter(|(_, s)| chosen(s)) {
            let carriers: Vec<How> = catalogue::iter()
                .filter(|(_, row)| row.clauses(V1_0).contains(clause))
                .map(|(_, row)| row.how)
                .collect();
            let any = |of: fn(&How) -> bool| carriers.iter().any(of);
            if statements()[clause].role == "device" {
                counts.on_devices += 1;
                counts.built += usize::from(any(|how| matches!(how, How::Built { .. })));
                continue;
            }
            counts.on_drivers += 1;
            if any(|how| matches!(how, How::Asserted | How::Provoked(_))) {
                counts.judged += 1;
            } else if any(|how| matches!(how, How::Unobservable(_))) {
                counts.unobservable += 1;
            }
        }
        counts
    }

    /// From a line of the table that begins with `title`.
    fn parse(title: &str, text: &str) -> Option<Counts> {
        let start = format!("| {title} |");
        let rest = text.lines().find_map(|line| line.strip_prefix(&start))?;
        let numbers: Vec<usize> = rest
            .split('|')
            .filter_map(|cell| cell.trim().parse().ok())
            .collect();
        let [on_drivers, judged, unobservable, on_devices, built] = numbers[..] else {
            return None;
        };
        Some(Counts {
            on_drivers,
            judged,
            unobservable,
            on_devices,
            built,
        })
    }
}

fn lines() -> Vec<(&'static str, Counts)> {
    let chapter = |(target, title)| (title, Counts::of(|s| s.target == target));
    let mut lines: Vec<_> = CHAPTERS.map(chapter).into();
    lines.push(("all", Counts::of(|_| true)));
    lines
}

/// The table, in Markdown.
fn table() -> String {
    let mut text = String::from(
        "| statements of virtio 1.0 | on drivers | judged | not observable | on devices | built |\n\
         | --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for (title, c) in lines() {
        let Counts {
            on_drivers,
            judged,
            unobservable,
            on_devices,
            built,
        } = c;
        let _ = writeln!(
            text,
            "| {title} | {on_drivers} | {judged} | {unobservable} | {on_devices} | {built} |"
        );
    }
    text
}

#[test]
fn the_readme_has_the_counts_of_the_catalogue() {
    let table = table();
    println!("{table}");
    let tree = Tree::read();
    let readme = tree.file("README.md").expect("a README");
    for (title, counts) in lines() {
        let claimed = Counts::parse(title, &readme.text).unwrap_or_else(|| {
            panic!("the README has no line of counts for '{title}'; the table is\n{table}")
        });
        assert_eq!(claimed, counts, "{title}; the table is\n{table}");
        assert_eq!(
            counts.judged + counts.unobservable,
            counts.on_drivers,
            "{title}"
        );
        assert_eq!(counts.built, counts.on_devices, "{title}");
    }
}
