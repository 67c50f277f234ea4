//! `stickler latitudes`: the optional behaviour of devices, listed and explained.

use std::fmt::Write;
use std::str::FromStr;

use serde::Serialize;
use stickler_conformance::latitude::{LatitudeChoices, LatitudeTable, Word};
use stickler_conformance::requirement::{How, Requirement};
use stickler_conformance::{Latitude, Latitudes, Version, catalogue};

use super::args::{LatitudesOptions, ListFormat};
use super::requirements::{sections, wrapped};

/// The version whose clauses grant the latitudes.
const GRANTED_BY: Version = Version::V1_0;

/// The list or the explanation that the user asked for.
pub fn show(options: &LatitudesOptions) -> String {
    match (options.format, options.name) {
        (ListFormat::Json, None) => json(&Latitude::all().collect::<Vec<_>>()),
        (ListFormat::Json, Some(Shown::One(one))) => json(&[one]),
        (ListFormat::Json, Some(Shown::Drawn(seed))) => {
            json(&Latitudes::draw(seed).iter().collect::<Vec<_>>())
        }
        (ListFormat::Text, None) => list(|_| true),
        (ListFormat::Text, Some(Shown::One(one))) => explain(one),
        (ListFormat::Text, Some(Shown::Drawn(seed))) => {
            let drawn = Latitudes::draw(seed);
            format!(
                "--latitude {drawn}\n\n{}",
                list(|latitude| drawn.has(latitude))
            )
        }
    }
}

/// What is shown, as the user names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// This latitude.
    One(Latitude),
    /// Those that are drawn from this seed.
    Drawn(u64),
}

impl FromStr for Shown {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            Word::One(latitude) | Word::Chosen(latitude, _) => Ok(Shown::One(latitude)),
            Word::Seed(seed) => Ok(Shown::Drawn(seed)),
            Word::None | Word::Variation(_) => {
                Err("name a latitude, or a seed as seed=7".to_owned())
            }
        }
    }
}

/// Which requirements a latitude provokes.
fn provoked(latitude: Latitude) -> impl Iterator<Item = &'static Requirement> {
    catalogue::iter()
        .map(|(_, requirement)| requirement)
        .filter(move |requirement| requirement.how == How::Provoked(latitude))
}

/// Which latitudes conflict with `latitude`, and why.
fn excluded(latitude: Latitude) -> impl Iterator<Item = (Latitude, &'static str)> {
    Latitude::all().filter_map(move |other| Some((other, latitude.excludes(other)?)))
}

/// One line for each that is `wanted`, grouped by subject.
fn list(wanted: impl Fn(Latitude) -> bool) -> String {
    let all: Vec<Latitude> = Latitude::all()
        .filter(|latitude| wanted(*latitude))
        .collect();
    let width = all.iter().map(|latitude| latitude.name().len()).max();
    let width = width.unwrap_or(0);
    let mut out = String::new();
    for table in LatitudeTable::ALL {
        let mut listed = all
            .iter()
            .filter(|latitude| latitude.table() == *table)
            .peekable();
        if listed.peek().is_none() {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "{}:", table.name());
        for latitude in listed {
            let _ = writeln!(
                out,
                "  {:width$}  {}",
                latitude.name(),
                latitude.entry().does
            );
        }
    }
    out
}

/// All about one latitude.
fn explain(latitude: Latitude) -> String {
    let mut out = format!("{latitude}\n");
    let mut say = |what: &str, text: &str| {
        let _ = write!(out, "\n{what}:\n{}", wrapped(text));
    };
    say("What the device does", &sentence(latitude.entry().does));
    let (pci, virtio): (Vec<&str>, Vec<&str>) = latitude
        .entry()
        .clauses
        .iter()
        .partition(|clause| clause.starts_with("PCI"));
    if !virtio.is_empty() {
        let rows = virtio.join(", ");
        say(
            &format!("Clauses of virtio {GRANTED_BY} that grant it"),
            &format!("{rows} ({})", sections(&virtio)),
        );
    }
    if !pci.is_empty() {
        say(
            "Clauses of PCI Local Bus 3.0 that grant it",
            &pci.join(", "),
        );
    }
    for (other, why) in excluded(latitude) {
        say(
            &format!("Conflicts with '{other}'"),
            &sentence(&format!("because {why}")),
        );
    }
    let choices = latitude.entry().choices;
    if choices != LatitudeChoices::Unnamed {
        let names = choices.names().join(", ");
        say(
            &format!("Choices, of which one is drawn or named with '{latitude}=CHOICE'"),
            &names,
        );
    }
    if latitude.may_end_use() {
        say(
            "Giving up",
            "A conforming driver may answer it by giving up on the device.",
        );
    }
    let requirements: Vec<_> = provoked(latitude).collect();
    if requirements.is_empty() {
        say(
            "Requirements it provokes",
            "None of its own: all other requirements hold with it as they do without it.",
        );
    }
    for requirement in requirements {
        let level = requirement.level(GRANTED_BY).name();
        say(
            &format!("Provokes {} ({level})", requirement.name),
            requirement.text,
        );
    }
    say("How a driver fails", latitude.entry().fails);
    out
}

/// The phrase as a sentence.
fn sentence(phrase: &str) -> String {
    let mut letters = phrase.chars();
    let first = letters.next().map(char::to_uppercase);
    let mut out: String = first.into_iter().flatten().chain(letters).collect();
    out.push('.');
    out
}

#[derive(Serialize)]
struct LatitudeRow {
    name: &'static str,
    about: &'static str,
    clauses: &'static [&'static str],
    text: &'static str,
    excludes: Vec<ExcludedLatitude>,
    may_end_use: bool,
    choices: Vec<String>,
    provokes: Vec<&'static str>,
    fails: &'static str,
}

#[derive(Serialize)]
struct ExcludedLatitude {
    name: &'static str,
    why: &'static str,
}

fn json(latitudes: &[Latitude]) -> String {
    let rows: Vec<LatitudeRow> = latitudes
        .iter()
        .map(|latitude| LatitudeRow {
            name: latitude.name(),
            about: latitude.table().name(),
            clauses: latitude.entry().clauses,
            text: latitude.entry().does,
            excludes: excluded(*latitude)
                .map(|(other, why)| ExcludedLatitude {
                    name: other.name(),
                    why,
                })
                .collect(),
            may_end_use: latitude.may_end_use(),
            choices: latitude.entry().choices.names(),
            provokes: provoked(*latitude).map(|r| r.name).collect(),
            fails: latitude.entry().fails,
        })
        .collect();
    let mut text =
        serde_json::to_string_pretty(&rows).expect("a list of texts can always be written");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: Option<Latitude>, format: ListFormat) -> String {
        let name = name.map(Shown::One);
        show(&LatitudesOptions { name, format })
    }

    #[test]
    fn what_a_seed_draws_is_listed() {
        let name: Option<Shown> = Some("seed=7".parse().unwrap());
        let drawn = Latitudes::draw(7);
        let format = ListFormat::Text;
        let text = show(&LatitudesOptions { name, format });
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(format!("--latitude {drawn}").as_str()));
        for latitude in Latitude::all() {
            let line = format!("  {latitude} ");
            assert_eq!(
                text.contains(&line),
                drawn.has(latitude),
                "{latitude}: {text}"
            );
        }
        let format = ListFormat::Json;
        let rows: serde_json::Value =
            serde_json::from_str(&show(&LatitudesOptions { name, format })).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), drawn.count() as usize);
        for wrong in ["none", "variation=1", "seed=x", "bursts=2", "burst"] {
            assert!(wrong.parse::<Shown>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_have_their_line_under_their_heading() {
        let text = shown(None, ListFormat::Text);
        let mut heading = "";
        let mut listed = Vec::new();
        for line in text.lines() {
            match line.strip_suffix(':').filter(|l| !l.starts_with(' ')) {
                Some(name) => heading = name,
                None => listed.extend(line.split_whitespace().next().map(|name| (heading, name))),
            }
        }
        for latitude in Latitude::all() {
            assert!(listed.contains(&(latitude.table().name(), latitude.name())));
        }
        assert_eq!(listed.len(), Latitude::COUNT);
    }

    #[test]
    fn an_explanation_has_all_its_parts() {
        let text = shown(Some(Latitude::ONE_VECTOR), ListFormat::Text);
        for part in [
            "What the device does:\n  The MSI-X table has one entry.\n",
            "Clauses of virtio 1.0 that grant it:\n  4.1.5.1.2.1",
            "Conflicts with 'most-vectors':\n  Because there is one MSI-X table.\n",
            "Provokes msix.table-size.smallest (MUST):\n",
            "How a driver fails:\n",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        let text = shown(Some(Latitude::TINY_QUEUES), ListFormat::Text);
        assert!(
            text.contains("'tiny-queues=CHOICE':\n  1, 2, 4\n"),
            "{text}"
        );
        let text = shown(Some(Latitude::REFUSED_FEATURES), ListFormat::Text);
        assert!(text.contains("giving up on the device"), "{text}");
        for latitude in Latitude::all() {
            let text = shown(Some(latitude), ListFormat::Text);
            assert!(
                text.lines().all(|line| line.chars().count() <= 100),
                "{text}"
            );
        }
    }

    #[test]
    fn json_has_them_all_or_one() {
        let parsed = |name| -> serde_json::Value {
            serde_json::from_str(&shown(name, ListFormat::Json)).unwrap()
        };
        let rows = parsed(None);
        let rows = rows.as_array().unwrap();
        assert_eq!(rows.len(), Latitude::COUNT);
        for (row, latitude) in rows.iter().zip(Latitude::all()) {
            assert_eq!(row["name"], latitude.name());
            assert!(!row["clauses"].as_array().unwrap().is_empty());
        }
        let one = parsed(Some(Latitude::SHARED_INTERRUPTS));
        assert_eq!(one.as_array().unwrap().len(), 1);
        assert_eq!(one[0]["about"], "transport");
        assert_eq!(one[0]["provokes"], serde_json::json!(["interrupt.shared"]));
        assert_eq!(one[0]["excludes"][0]["name"], "one-vector");
    }
}
