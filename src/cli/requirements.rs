//! `stickler requirements`: the catalogue, listed and explained.
//!
//! Citations are of virtio 1.0.

mod find;

use std::fmt::Write;

use serde::Serialize;
use stickler_conformance::requirement::{How, Level, Requirement, Role};
use stickler_conformance::{Req, Version, advice, catalogue};

use super::args::{HowName, ListFormat, RequirementsOptions, RoleName, SpecName};
use super::failure::Failure;
use find::find;

/// A requirement and its place in the catalogue.
type CatalogueEntry = (Req, &'static Requirement);

/// The version whose clauses and levels are shown.
const SPEC: Version = Version::V1_0;

/// What the user asked for, as text.
pub fn show(options: &RequirementsOptions) -> Result<String, Failure> {
    let chosen = choose(options)?;
    Ok(match (options.format, chosen.as_slice()) {
        (ListFormat::Json, _) => json(&chosen),
        (ListFormat::Text, [one]) if options.name.as_deref() == Some(one.1.name) => explain(one.1),
        (ListFormat::Text, _) => list(&chosen),
    })
}

fn choose(options: &RequirementsOptions) -> Result<Vec<CatalogueEntry>, Failure> {
    let found = match options.name.as_deref() {
        None => catalogue::iter().collect(),
        Some(wanted) => find(wanted)?,
    };
    Ok(found
        .into_iter()
        .filter(|(_, requirement)| is_wanted(requirement, options))
        .collect())
}

fn is_wanted(requirement: &Requirement, options: &RequirementsOptions) -> bool {
    let spec = options.spec.is_none_or(|spec| match spec {
        SpecName::V1_0 => requirement.is_in(Version::V1_0),
    });
    let role = options.role.is_none_or(|role| {
        requirement.role
            == match role {
                RoleName::Driver => Role::Driver,
                RoleName::Device => Role::Device,
            }
    });
    let how = options.how.is_none_or(|how| {
        matches!(
            (how, requirement.how),
            (HowName::Asserted, How::Asserted)
                | (HowName::Provoked, How::Provoked(_))
                | (HowName::Built, How::Built { .. })
                | (HowName::Unobservable, How::Unobservable(_))
                | (HowName::Proposed, How::Proposed(_))
        )
    });
    spec && role && how
}

/// One line each.
fn list(chosen: &[CatalogueEntry]) -> String {
    let width = chosen.iter().map(|(_, r)| r.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (_, r) in chosen {
        let _ = writeln!(
            out,
            "{:width$}  {:6}  {:10}  {:12}  {}",
            r.name,
            r.role.name(),
            r.level(SPEC).name(),
            r.how.name(),
            r.clauses(SPEC).join(", ")
        );
    }
    out
}

/// All about one requirement.
fn explain(r: &Requirement) -> String {
    let mut out = format!("{}\n", r.name);
    let mut say = |what: &str, text: &str| {
        let _ = write!(out, "\n{what}:\n{}", wrapped(text));
    };
    say("Requirement", r.text);
    let sections = sections(&r.clauses(SPEC));
    let proposed = matches!(r.how, How::Proposed(_));
    say(
        if proposed {
            "Level, if adopted"
        } else {
            "Level"
        },
        &format!("{}, on the {}", r.level(SPEC).name(), r.role.name()),
    );
    say(
        &format!("Clauses of virtio {SPEC}"),
        &format!("{} ({sections})", r.clauses(SPEC).join(", ")),
    );
    say("How it is established", &how(r));
    if let Some(choice) = choice(r) {
        say("Chosen", choice);
    }
    for (i, reading) in r.readings.iter().enumerate() {
        let place = match i {
            _ if proposed && i + 1 == r.readings.len() => ", which judges with --propose",
            _ if proposed => ", which is only counted",
            0 => ", the lenient one, which judges by default",
            _ if i + 1 == r.readings.len() => {
                ", the strict one, which judges with --reading strict"
            }
            _ => ", which is only counted",
        };
        say(&format!("Reading '{}'{place}", reading.name), reading.text);
    }
    if r.role == Role::Driver && r.level(SPEC) == Level::May {
        say(
            "Violations",
            "None: it is a permission, and stickler only counts its use.",
        );
    } else if let Some(advice) = advice::find(r) {
        say("What a violation looks like", advice.looks_like);
        say("How to fix a driver", advice.fix);
    }
    out
}

/// How it is established, and by what.
fn how(r: &Requirement) -> String {
    match r.how {
        How::Asserted => "asserted: rules decide it from what the driver does.".to_owned(),
        How::Provoked(latitude) => format!(
            "provoked: the device uses its latitude '{latitude}', and rules check whether the driver copes."
        ),
        How::Built { .. } => {
            "built: stickler's devices keep it, and a test of stickler shows it.".to_owned()
        }
        How::Unobservable(why) => format!("unobservable: {why}."),
        How::Proposed(place) => format!(
            "proposed: {place} proposes it. It is no requirement of the specification: what drivers do is counted, and judged only with --propose {}.",
            r.name
        ),
    }
}

/// stickler's choice, if the specification leaves one to the device.
fn choice(r: &Requirement) -> Option<&'static str> {
    match r.how {
        How::Built { choice } => choice,
        How::Asserted | How::Provoked(_) | How::Unobservable(_) | How::Proposed(_) => None,
    }
}

/// The sections of clauses, each once: `§2.1.1, §3.1.1`.
pub(super) fn sections(clauses: &[&str]) -> String {
    let mut sections: Vec<String> = clauses
        .iter()
        .map(|clause| format!("§{}", clause.split('-').next().unwrap_or(clause)))
        .collect();
    let mut seen = std::collections::HashSet::new();
    sections.retain(|section| seen.insert(section.clone()));
    sections.join(", ")
}

/// An indented paragraph, broken into lines.
pub(super) fn wrapped(text: &str) -> String {
    const WIDTH: usize = 78;
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + word.chars().count() + 3 > WIDTH {
            let _ = writeln!(out, "  {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "  {line}");
    out
}

#[derive(Serialize)]
struct RequirementRow {
    id: &'static str,
    role: &'static str,
    level: &'static str,
    how: &'static str,
    clauses: std::collections::BTreeMap<&'static str, Vec<&'static str>>,
    text: &'static str,
    readings: Vec<ReadingRow>,
    latitudes: Vec<&'static str>,
    /// Why no device can observe it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// stickler's choice, if the specification leaves one.
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    looks_like: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'static str>,
}

#[derive(Serialize)]
struct ReadingRow {
    name: &'static str,
    text: &'static str,
}

fn json(chosen: &[CatalogueEntry]) -> String {
    let rows: Vec<RequirementRow> = chosen.iter().map(|(_, r)| row(r)).collect();
    let mut text =
        serde_json::to_string_pretty(&rows).expect("a list of texts can always be written");
    text.push('\n');
    text
}

fn row(r: &'static Requirement) -> RequirementRow {
    let advice = advice::find(r).filter(|_| r.level(SPEC) != Level::May);
    RequirementRow {
        id: r.name,
        role: r.role.name(),
        level: r.level(SPEC).name(),
        how: r.how.name(),
        clauses: [(SPEC.name(), r.clauses(SPEC))].into(),
        text: r.text,
        readings: r
            .readings
            .iter()
            .map(|reading| ReadingRow {
                name: reading.name,
                text: reading.text,
            })
            .collect(),
        latitudes: match r.how {
            How::Provoked(latitude) => vec![latitude.name()],
            _ => Vec::new(),
        },
        reason: match r.how {
            How::Unobservable(why) => Some(why),
            _ => None,
        },
        choice: choice(r),
        looks_like: advice.map(|a| a.looks_like),
        fix: advice.map(|a| a.fix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(name: Option<&str>) -> RequirementsOptions {
        RequirementsOptions {
            name: name.map(str::to_owned),
            spec: None,
            role: None,
            how: None,
            format: ListFormat::Text,
        }
    }

    #[test]
    fn a_proposal_is_not_explained_as_if_it_were_law() {
        let requirement = catalogue::find("features.configuration-read").unwrap();
        let text = explain(requirement.requirement());
        assert!(text.contains("Level, if adopted:"), "{text}");
        assert!(text.contains("which judges with --propose"), "{text}");
        assert!(!text.contains("judges by default"), "{text}");
        let requirement = catalogue::find("status.sequence.driver").unwrap();
        let text = explain(requirement.requirement());
        assert!(text.contains("\nLevel:"), "{text}");
        assert!(text.contains("judges by default"), "{text}");
    }

    #[test]
    fn all_have_their_line() {
        let text = show(&options(None)).unwrap();
        assert_eq!(text.lines().count(), catalogue::LEN);
        for (_, requirement) in catalogue::iter() {
            assert!(text.lines().any(|l| l.starts_with(requirement.name)));
        }
    }

    #[test]
    fn a_name_is_explained_and_a_prefix_listed() {
        let text = show(&options(Some("status.no-clear"))).unwrap();
        assert!(
            text.contains("MUST NOT") && text.contains("2.1.1"),
            "{text}"
        );
        let text = show(&options(Some("status"))).unwrap();
        assert!(text.lines().all(|l| l.starts_with("status.")), "{text}");
        assert!(show(&options(Some("no.such"))).is_err());
    }

    #[test]
    fn filters_filter() {
        let mut device = options(None);
        device.role = Some(RoleName::Device);
        let mut asserted = options(None);
        asserted.how = Some(HowName::Asserted);
        let count =
            |pick: fn(&Requirement) -> bool| catalogue::iter().filter(|(_, r)| pick(r)).count();
        assert_eq!(
            show(&device).unwrap().lines().count(),
            count(|r| r.role == Role::Device)
        );
        assert_eq!(
            show(&asserted).unwrap().lines().count(),
            count(|r| r.how == How::Asserted)
        );
    }

    #[test]
    fn what_is_built_is_explained_with_the_choice() {
        let text = show(&options(Some("device.pci.notify.multiplier"))).unwrap();
        for part in ["built: ", "Chosen:\n  It is 4"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn no_explanation_names_a_source_file() {
        let mut json = options(None);
        json.format = ListFormat::Json;
        let mut all = show(&json).unwrap();
        for (_, requirement) in catalogue::iter() {
            all.push_str(&show(&options(Some(requirement.name))).unwrap());
        }
        assert!(!all.contains(".rs"));
        assert!(!all.contains("/src/"));
    }

    #[test]
    fn json_has_them_all() {
        let mut all = options(None);
        all.format = ListFormat::Json;
        let rows: serde_json::Value = serde_json::from_str(&show(&all).unwrap()).unwrap();
        let rows = rows.as_array().unwrap();
        assert_eq!(rows.len(), catalogue::LEN);
        for row in rows {
            assert!(row["text"].is_string());
            assert!(!row["clauses"]["1.0"].as_array().unwrap().is_empty());
            assert!(row["latitudes"].is_array());
            let how = row["how"].as_str().unwrap();
            assert_eq!(row.get("reason").is_some(), how == "unobservable", "{row}");
        }
        let row = |id: &str| rows.iter().find(|row| row["id"] == id).unwrap();
        let readings = row("queue.enable.not-zero")["readings"].as_array().unwrap();
        let names: Vec<_> = readings
            .iter()
            .map(|r| r["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["disabling", "any-zero"]);
        assert_eq!(row("status.no-clear")["readings"], serde_json::json!([]));
        assert!(row("status.no-clear")["fix"].is_string());
        assert_eq!(row("config.early-read").get("fix"), None);
    }

    #[test]
    fn an_explanation_has_all_its_parts() {
        let text = show(&options(Some("status.sequence.acknowledge"))).unwrap();
        for part in [
            "Requirement:\n",
            "MUST, on the driver",
            "2.1.1-1",
            "asserted: rules decide it",
            "Reading 'together', the lenient one",
            "Reading 'separate', the strict one",
            "What a violation looks like:\n",
            "How to fix a driver:\n",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        for (_, requirement) in catalogue::iter() {
            let text = show(&options(Some(requirement.name))).unwrap();
            assert!(
                text.lines().all(|line| line.chars().count() <= 100),
                "{text}"
            );
        }
        let text = show(&options(Some("config.early-read"))).unwrap();
        assert!(
            text.contains("a permission") && !text.contains("fix a driver"),
            "{text}"
        );
    }
}
