//! `stickler requirements`: the catalogue, listed and explained.

use std::fmt::Write;

use serde::Serialize;
use stickler_conformance::catalogue;
use stickler_conformance::requirement::{Built, How, Requirement, Role};

use super::args::{HowName, ListFormat, Requirements, RoleName};
use super::failure::Failure;
use crate::report::SPEC;

/// What the user asked for, as text.
pub fn show(options: &Requirements) -> Result<String, Failure> {
    let chosen = choose(options)?;
    Ok(match (options.format, chosen.as_slice()) {
        (ListFormat::Json, _) => json(&chosen),
        (ListFormat::Text, [one]) if options.name.as_deref() == Some(one.name) => explain(one),
        (ListFormat::Text, _) => list(&chosen),
    })
}

fn choose(options: &Requirements) -> Result<Vec<&'static Requirement>, Failure> {
    let named: Vec<&Requirement> = catalogue::iter()
        .map(|(_, requirement)| requirement)
        .filter(|requirement| {
            options
                .name
                .as_deref()
                .is_none_or(|name| is_under(requirement.name, name))
        })
        .collect();
    if let (Some(name), []) = (&options.name, named.as_slice()) {
        return Err(Failure::Input(format!(
            "no requirement is called '{name}' or has a name that begins so: `stickler requirements` lists all"
        )));
    }
    Ok(named
        .into_iter()
        .filter(|requirement| {
            options.role.is_none_or(|role| {
                requirement.role
                    == match role {
                        RoleName::Driver => Role::Driver,
                        RoleName::Device => Role::Device,
                    }
            })
        })
        .filter(|requirement| {
            options.how.is_none_or(|how| {
                matches!(
                    (how, requirement.how),
                    (HowName::Asserted, How::Asserted)
                        | (HowName::Provoked, How::Provoked(_))
                        | (HowName::Built, How::Built(_))
                        | (HowName::Unobservable, How::Unobservable(_))
                )
            })
        })
        .collect())
}

/// Whether `name` is `prefix`, or goes on from it with a dot.
fn is_under(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix.trim_end_matches('.'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// One line each.
fn list(chosen: &[&Requirement]) -> String {
    let width = chosen.iter().map(|r| r.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for r in chosen {
        let _ = writeln!(
            out,
            "{:width$}  {:6}  {:10}  {:12}  {}",
            r.name,
            r.role.name(),
            r.level.name(),
            r.how.name(),
            r.clauses.join(", ")
        );
    }
    out
}

/// All that is known of one.
fn explain(r: &Requirement) -> String {
    let how = match r.how {
        How::Asserted => "asserted: a rule decides it from what the driver does".to_owned(),
        How::Provoked(latitude) => {
            format!("provoked: the device uses its latitude '{latitude}', and the driver must cope")
        }
        How::Built(built) => {
            let Built {
                code,
                test_file,
                test,
                choice,
            } = built;
            let choice = choice.map(|choice| format!("\n  chosen: {choice}"));
            format!(
                "built: {code} keeps it; shown by the test {test} in {test_file}{}",
                choice.unwrap_or_default()
            )
        }
        How::Unobservable(why) => format!("unobservable: {why}"),
    };
    format!(
        "{}\n  {}\n  on the {}, {}; virtio {SPEC}: {}\n  {how}\n",
        r.name,
        r.text,
        r.role.name(),
        r.level.name(),
        r.clauses.join(", ")
    )
}

fn built(r: &Requirement) -> Option<&'static Built> {
    match r.how {
        How::Built(built) => Some(built),
        _ => None,
    }
}

#[derive(Serialize)]
struct Row {
    id: &'static str,
    role: &'static str,
    level: &'static str,
    clauses: std::collections::BTreeMap<&'static str, &'static [&'static str]>,
    how: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    latitude: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Of a device requirement: the file that keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// The test that shows it: file and function.
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<[&'static str; 2]>,
    /// What was chosen where the specification leaves a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<&'static str>,
    text: &'static str,
}

fn json(chosen: &[&'static Requirement]) -> String {
    let rows: Vec<Row> = chosen
        .iter()
        .map(|r| Row {
            id: r.name,
            role: r.role.name(),
            level: r.level.name(),
            clauses: [(SPEC, r.clauses)].into(),
            how: r.how.name(),
            latitude: match r.how {
                How::Provoked(latitude) => Some(latitude),
                _ => None,
            },
            reason: match r.how {
                How::Unobservable(why) => Some(why),
                _ => None,
            },
            code: built(r).map(|built| built.code),
            test: built(r).map(|built| [built.test_file, built.test]),
            choice: built(r).and_then(|built| built.choice),
            text: r.text,
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

    fn options(name: Option<&str>) -> Requirements {
        Requirements {
            name: name.map(str::to_owned),
            role: None,
            how: None,
            format: ListFormat::Text,
        }
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
        assert!(show(&options(Some("stat"))).is_err());
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
    fn what_is_built_is_explained_by_code_test_and_choice() {
        let text = show(&options(Some("device.notify.multiplier"))).err();
        assert!(text.is_some(), "no such name");
        let text = show(&options(Some("device.pci.notify.multiplier"))).unwrap();
        for part in [
            "devices/src/virtio/pci/layout.rs",
            "options_that_cannot_be_are_refused",
            "chosen: It is 4",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn json_has_them_all() {
        let mut all = options(None);
        all.format = ListFormat::Json;
        let rows: serde_json::Value = serde_json::from_str(&show(&all).unwrap()).unwrap();
        let rows = rows.as_array().unwrap();
        assert_eq!(rows.len(), catalogue::LEN);
        assert!(rows.iter().all(|row| row["text"].is_string()));
    }
}
