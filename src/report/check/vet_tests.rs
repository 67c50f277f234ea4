use super::super::tests::sample;
use super::*;

/// The sample with `value` at `pointer`, as it is read.
fn read_with(pointer: &str, value: Value) -> Result<CheckReport, BadReport> {
    let mut report = serde_json::to_value(sample()).unwrap();
    *report.pointer_mut(pointer).expect(pointer) = value;
    read("a.json", &report.to_string())
}

#[track_caller]
fn refused(pointer: &str, value: impl Into<Value>, place: &str, words: &str) {
    let error = read_with(pointer, value.into()).expect_err(pointer);
    let said = error.to_string();
    assert!(said.starts_with("a.json is "), "{said}");
    assert!(said.contains(words), "{said}");
    assert!(!said.contains(char::is_control), "{said:?}");
    match error {
        BadReport::DoesNotFit { place: found, .. } => assert_eq!(found, place, "{said}"),
        _ => assert_eq!(place, "", "{said}"),
    }
}

fn position(id: &str) -> usize {
    let report = sample();
    let mut rows = report.requirements.iter();
    rows.position(|row| row.id == id).expect(id)
}

#[test]
fn what_stickler_writes_is_read() {
    let report = sample();
    assert_eq!(read("a.json", &report.to_json()), Ok(report));
}

#[test]
fn another_version_and_other_files_are_refused() {
    refused(
        "/stickler",
        "99.0.0",
        "",
        "is a report of stickler 99.0.0, and this is",
    );
    refused("/spec", "9.9", "", "is not a report of `stickler check`");
    refused(
        "/runs/0",
        Value::Null,
        "",
        "is not a report of `stickler check`",
    );
    let other = read("a\u{1b}.json", "{}").unwrap_err().to_string();
    assert!(other.starts_with("a.json is not a report"), "{other}");
}

#[test]
fn requirements_that_contradict_themselves_or_the_catalogue_are_refused() {
    let violated = position("status.no-clear");
    let at = |field: &str| format!("/requirements/{violated}/{field}");
    let place = format!("/requirements/{violated}");
    refused(
        &at("id"),
        "status.no-claer",
        &place,
        "there is no requirement 'status.no-claer'",
    );
    refused(
        &at("outcome"),
        "held",
        &place,
        "does not follow from its counts",
    );
    refused(
        &at("outcome"),
        "observed",
        &place,
        "does not follow from its counts",
    );
    refused(
        &at("violated"),
        0,
        &place,
        "does not follow from its counts",
    );
    refused(&at("level"), "MAY", &place, "role, level or clauses");
    refused(
        &at("clauses"),
        serde_json::json!({}),
        &place,
        "role, level or clauses",
    );
    let first = sample().requirements[0].clone();
    let twice = serde_json::to_value([&first, &first]).unwrap();
    refused("/requirements", twice, "/requirements/1", "is there twice");
    // Nothing is left out: the violations would be.
    let other = sample().requirements[position("queue.size.power-of-two")].clone();
    let row = serde_json::to_value([other]).unwrap();
    refused(
        "/requirements",
        row,
        "/runs/1/failures/0",
        "no violation of status.no-clear",
    );
}

#[test]
fn findings_and_failures_have_their_counts() {
    refused(
        "/findings/0/run",
        "seed=9",
        "/findings/0",
        "there is no run 'seed=9'",
    );
    refused(
        "/findings/1/requirement",
        "no.such",
        "/findings/1",
        "more findings of no.such",
    );
    let violated = format!("/requirements/{}/violated", position("status.no-clear"));
    refused(
        &violated,
        2,
        "/findings/2",
        "more findings of status.no-clear",
    );
    for (failure, field, value) in [
        ("/runs/2/failures/0", "requirement", Value::from("x.y")),
        ("/runs/2/failures/1", "not_held", vec!["x.y"].into()),
    ] {
        let pointer = format!("{failure}/{field}");
        refused(&pointer, value, failure, "no requirement 'x.y'");
    }
}

#[test]
fn runs_are_those_that_were_planned_once_each() {
    refused("/planned", 0, "/planned", "no run was planned");
    refused("/runs/2/number", 4, "/runs/2", "there is no run 4 of 4");
    refused("/runs/2/number", 0, "/runs/2", "is there twice");
    refused("/runs/2/name", "none", "/runs/2", "is there twice");
    refused("/runs/0/name", "", "/runs/0", "has no name");
    let latitude = "/runs/1/latitude/names";
    refused(
        &format!("{latitude}/0"),
        "levitates",
        &format!("{latitude}/0"),
        "no latitude 'levitates'",
    );
}

#[test]
fn control_characters_are_refused_wherever_they_are() {
    for pointer in [
        "/kernel/release",
        "/runs/0/name",
        "/runs/2/failures/0/message",
        "/runs/2/given_up/0",
        "/findings/0/message",
    ] {
        refused(
            pointer,
            "red \u{1b}[31m",
            pointer,
            "control character (U+001B)",
        );
    }
}
