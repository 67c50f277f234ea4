use std::time::Duration;

use serde_json::Value;
use stickler_conformance::event::StatusEvent;
use stickler_conformance::layout::status;
use stickler_conformance::requirement::Strictness;
use stickler_conformance::requirement::{Level, Role};
use stickler_conformance::{DeviceKind, Judge, Latitude, Witness};
use stickler_devices::virtio::DeviceFeatures;

use super::*;
use crate::journal::{FINDINGS, MARKS};

const BLOCK: DeviceId = DeviceId {
    slot: 2,
    kind: DeviceKind::Block,
};

/// What a judge and a journal make of these moves of a block driver.
fn judged(end: RunEnd, moves: &[StatusEvent]) -> Report {
    let journal = Journal::new();
    let mut judge = Judge::new(BLOCK, 1 << 32, journal.recorder());
    journal.mark("probe");
    for event in moves {
        judge.see(&(*event).into());
    }
    Report::new(end, vec![BLOCK], &judge.tallies().unwrap(), &journal)
}

fn write(from: u8, to: u8) -> StatusEvent {
    StatusEvent::Written { from, to }
}

/// A driver that starts well and then clears a status bit, twice.
pub(super) fn clears_status() -> Report {
    const A: u8 = status::ACKNOWLEDGE;
    const D: u8 = status::DRIVER;
    judged(
        RunEnd::Guest(GuestEnd::PowerOff),
        &[
            write(0, 0),
            StatusEvent::ResetDone,
            StatusEvent::Read { value: 0 },
            write(0, A),
            write(A, A | D),
            write(A | D, A),
            write(A | D, A),
        ],
    )
}

fn validator() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(&schema::of_run()).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

/// Checks the JSON of `report` against the schema and gives it.
pub(super) fn valid_json(report: &Report) -> Value {
    let value: Value = serde_json::from_str(&json::render(report)).unwrap();
    let errors: Vec<String> = validator()
        .iter_errors(&value)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    value
}

fn ends() -> Vec<RunEnd> {
    vec![
        RunEnd::Error("KVM gave up".into()),
        RunEnd::Guest(GuestEnd::PowerOff),
        RunEnd::Guest(GuestEnd::Reset),
        RunEnd::Guest(GuestEnd::Panic("Attempted to kill init!".into())),
        RunEnd::Guest(GuestEnd::Panic(String::new())),
        RunEnd::Guest(GuestEnd::TripleFault),
        RunEnd::Guest(GuestEnd::StrayJump(
            "there is no memory at 0xd0000000".into(),
        )),
        RunEnd::Guest(GuestEnd::Timeout),
        RunEnd::Guest(GuestEnd::Violation),
        RunEnd::Guest(GuestEnd::Interrupted),
    ]
}

#[test]
fn json_keeps_to_the_schema_however_the_guest_ends() {
    for end in ends() {
        let name = serde_json::to_value(end.kind()).unwrap();
        let json = valid_json(&judged(end, &[]));
        assert_eq!(json["guest"]["end"], name);
    }
    let json = valid_json(&judged(
        RunEnd::Guest(GuestEnd::Panic("no init".into())),
        &[],
    ));
    assert_eq!(json["guest"]["message"], "no init");
}

#[test]
fn the_schema_refuses_what_is_no_report() {
    let good = valid_json(&clears_status());
    let breakages: [(&str, Value); 20] = [
        ("/stickler", "one".into()),
        ("/dropped/marks", Value::Null),
        ("/dropped/findings", Value::from(-1)),
        ("/requirements/0/level", "MIGHT".into()),
        ("/requirements/0/role", "host".into()),
        ("/findings/0/rip", "0x1".into()),
        ("/findings/0/device/slot", Value::from(32)),
        ("/spec", "0.9".into()),
        ("/latitude/seed", Value::from(-1)),
        ("/latitude/names", "none".into()),
        ("/reading", "any".into()),
        ("/requirements/1/readings/0/name", "As listed".into()),
        ("/requirements/1/readings", Value::Array(Vec::new())),
        ("/guest/end", "fine".into()),
        ("/requirements/0/outcome", "passed".into()),
        ("/requirements/0/clauses", Value::Object(Default::default())),
        ("/findings/0/rip", Value::from(7)),
        ("/findings/0/device/type", "gpu".into()),
        ("/findings/0/message", "".into()),
        ("/marks/0/time_us", Value::from(-1)),
    ];
    let schema = validator();
    for (pointer, value) in breakages {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).expect(pointer) = value;
        assert!(!schema.is_valid(&bad), "{pointer}");
    }
    // No object takes a further member, and none lacks one.
    for pointer in [
        "",
        "/latitude",
        "/guest",
        "/marks/0",
        "/requirements/0",
        "/requirements/1/readings/0",
        "/findings/0",
        "/findings/0/device",
        "/dropped",
    ] {
        let members = good.pointer(pointer).expect(pointer).as_object().unwrap();
        for name in members.keys().filter(|name| *name != "readings") {
            let mut bad = good.clone();
            let object = bad.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
            object.remove(name);
            assert!(!schema.is_valid(&bad), "{pointer} without {name}");
        }
        let mut bad = good.clone();
        bad.pointer_mut(pointer).unwrap()["run"] = "seed=1".into();
        assert!(!schema.is_valid(&bad), "{pointer} with more");
    }
    let mut contradiction = good.clone();
    let row = contradiction["requirements"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .find(|row| row["outcome"] == "violated")
        .unwrap();
    row["outcome"] = "held".into();
    assert!(!schema.is_valid(&contradiction));
}

#[test]
fn a_violation_is_in_the_json_with_all_that_is_known() {
    let json = valid_json(&clears_status());
    let findings = json["findings"].as_array().unwrap();
    let finding = findings
        .iter()
        .find(|f| f["requirement"] == "status.no-clear")
        .expect("the judge found it");
    assert_eq!(finding["device"]["slot"], 2);
    assert_eq!(finding["device"]["type"], "block");
    assert_eq!(finding["mark"], "probe");
    assert_eq!(finding["queue"], Value::Null);
    assert_eq!(finding["rip"], Value::Null);
    let row = json["requirements"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["id"] == "status.no-clear")
        .unwrap();
    assert_eq!(row["outcome"], "violated");
    assert_eq!(row["violated"], 2);
    assert!(row["held"].as_u64().unwrap() > 0);
}

#[test]
fn a_device_without_a_driver_is_named_and_counts_where_devices_are_plain() {
    let report = |end| judged(RunEnd::Guest(end), &[]).with_untaken(vec![BLOCK], false);
    let plain = report(GuestEnd::PowerOff);
    let json = valid_json(&plain);
    let expected = serde_json::json!([{ "slot": 2, "type": "block" }]);
    assert_eq!(json["untaken"], expected);
    let shown = text::render(&plain, false);
    assert!(
        shown.contains("\nno driver took device 2 (block)\n"),
        "{shown}"
    );
    assert!(plain.lacks_drivers());
    assert!(!report(GuestEnd::Timeout).lacks_drivers());
    assert!(!judged(RunEnd::Guest(GuestEnd::PowerOff), &[]).lacks_drivers());
    let latitudes = Latitudes::default().with(Latitude::REFUSED_FEATURES);
    assert!(!plain.with_latitudes(latitudes, None).lacks_drivers());
}

#[test]
fn every_driver_requirement_has_a_row_and_nothing_is_held_unexercised() {
    let report = judged(RunEnd::Guest(GuestEnd::PowerOff), &[]);
    for (req, requirement) in catalogue::iter().filter(|(_, r)| r.role == Role::Driver) {
        let row = report.rows.iter().find(|row| row.req == req);
        let row = row.unwrap_or_else(|| panic!("{} is missing", requirement.name));
        assert!(
            matches!(row.outcome, Outcome::NotExercised | Outcome::Unobservable),
            "{} is {:?} though nothing happened",
            requirement.name,
            row.outcome
        );
    }
}

#[test]
fn the_json_says_of_each_reading_how_often_it_was_satisfied() {
    const BOTH: u8 = status::ACKNOWLEDGE | status::DRIVER;
    let moves = [write(0, 0), StatusEvent::ResetDone, write(0, BOTH)];
    let journal = Journal::new();
    for (strictness, name, outcome) in [
        (Strictness::Lenient, "lenient", "held"),
        (Strictness::Strict, "strict", "violated"),
    ] {
        let judge = Judge::new(BLOCK, 1 << 32, journal.recorder());
        let mut judge = judge.by(Version::V1_0, strictness);
        moves.iter().for_each(|event| judge.see(&(*event).into()));
        let tallies = judge.tallies().unwrap();
        let end = RunEnd::Guest(GuestEnd::PowerOff);
        let json = valid_json(&Report::new(end, vec![BLOCK], &tallies, &journal));
        assert_eq!(json["reading"], name);
        let rows = json["requirements"].as_array().unwrap();
        let row = |id: &str| rows.iter().find(|row| row["id"] == id).unwrap();
        let acknowledge = row("status.sequence.acknowledge");
        assert_eq!(acknowledge["outcome"], outcome);
        let expected = serde_json::json!([
            { "name": "together", "satisfied": 1, "not_satisfied": 0 },
            { "name": "separate", "satisfied": 0, "not_satisfied": 1 },
        ]);
        assert_eq!(acknowledge["readings"], expected);
        assert_eq!(row("status.no-clear").get("readings"), None);
    }
}

#[test]
fn the_latitudes_of_the_devices_are_in_the_report() {
    let plain = judged(RunEnd::Guest(GuestEnd::PowerOff), &[]);
    let none = serde_json::json!({ "choice": "none", "seed": null, "names": [] });
    assert_eq!(valid_json(&plain)["latitude"], none);
    assert!(!text::render(&plain, false).contains("--latitude"));
    let latitudes = Latitudes::draw(3);
    let drawn = plain.with_latitudes(latitudes, Some(3));
    let json = valid_json(&drawn);
    assert_eq!(json["latitude"]["choice"], latitudes.to_string());
    assert_eq!(json["latitude"]["seed"], 3);
    let names: Vec<_> = latitudes.iter().map(Latitude::name).collect();
    assert_eq!(json["latitude"]["names"], serde_json::json!(names));
    let line = format!("--latitude {latitudes} (seed=3)");
    let text = text::render(&drawn, false);
    assert_eq!(text.lines().nth(1), Some(line.as_str()));
}

#[test]
fn what_the_journal_did_not_keep_is_reported() {
    let end = || RunEnd::Guest(GuestEnd::PowerOff);
    let complete = judged(end(), &[]);
    let none = serde_json::json!({ "marks": 0, "findings": 0 });
    assert_eq!(valid_json(&complete)["dropped"], none);
    assert!(!text::render(&complete, false).contains("not listed"));

    let journal = Journal::new();
    for _ in 0..MARKS + 2 {
        journal.mark("again");
    }
    let mut recorder = journal.recorder();
    let finding = stickler_conformance::Finding {
        requirement: catalogue::find("status.no-clear").unwrap(),
        level: Level::MustNot,
        device: BLOCK,
        queue: None,
        message: "wrote 1 over 3".into(),
    };
    for _ in 0..FINDINGS + 1 {
        recorder.record(finding.clone());
    }
    let judge = Judge::new(BLOCK, 1 << 32, journal.recorder());
    let tallies = judge.tallies().unwrap();
    let report = Report::new(end(), vec![BLOCK], &tallies, &journal);
    let json: Value = serde_json::from_str(&json::render(&report)).unwrap();
    let counts = serde_json::json!({ "marks": 2, "findings": 1 });
    assert_eq!(json["dropped"], counts);
    let text = text::render(&report, false);
    let line = "not listed, because there were too many: 2 marks, 1 finding";
    assert!(text.lines().any(|found| found == line), "{text}");
}

#[test]
fn only_levels_that_count_make_a_violation() {
    let report = clears_status();
    assert!(report.violates(Level::is_absolute));
    assert!(!report.violates(|_| false));
    assert!(!judged(RunEnd::Guest(GuestEnd::PowerOff), &[]).violates(|_| true));
}

/// A report with rows and findings of every sort, all of whose text the test controls but for the
/// catalogue's.
fn sample() -> Report {
    let journal = Journal::new();
    let named = |name| catalogue::find(name).unwrap_or_else(|| panic!("there is no {name}"));
    let must = named("status.no-clear");
    journal.mark("boot");
    let mut recorder = journal.recorder();
    for queue in [None, None, Some(1)] {
        recorder.record(stickler_conformance::Finding {
            requirement: must,
            level: Level::MustNot,
            device: BLOCK,
            queue,
            message: "wrote device_status ACKNOWLEDGE over ACKNOWLEDGE|DRIVER".into(),
        });
    }
    let mut findings = journal.findings();
    for (i, finding) in findings.iter_mut().enumerate() {
        finding.time_us = 1_203_456 + 1_000_000 * i as u64;
    }
    findings[2].rip = Some(0xffff_ffff_8123_4567);
    findings[2].mark = Some("evil \u{1b}[2J".into());
    let tally = |held, violated| Tally { held, violated };
    let row = |req, tally, outcome| ReportRow {
        req,
        version: Version::V1_0,
        tally,
        outcome,
        by_reading: Default::default(),
    };
    let mut ambiguous = row(
        named("status.sequence.acknowledge"),
        tally(3, 0),
        Outcome::Held,
    );
    ambiguous.by_reading = [tally(3, 0), tally(1, 2), tally(0, 0)];
    Report {
        devices: vec![
            DeviceId {
                slot: 1,
                kind: DeviceKind::Net,
            },
            BLOCK,
        ],
        untaken: Vec::new(),
        features: vec![ReportedFeatures::new(
            BLOCK,
            DeviceFeatures {
                offered: 1 << 9 | 1 << 29 | 1 << 32,
                accepted: Some(1 << 9 | 1 << 32),
            },
        )],
        drivers_required: false,
        boot: None,
        standing: None,
        complaints: Vec::new(),
        next_kernels: Vec::new(),
        end: RunEnd::Guest(GuestEnd::Panic("Attempted to kill init!".into())),
        version: Version::V1_0,
        readings: Readings::default(),
        latitudes: Latitudes::default()
            .with(Latitude::ANY_REVISION)
            .with(Latitude::ONE_VECTOR)
            .varied(7),
        seed: Some(7),
        duration: Duration::from_micros(12_345_678),
        marks: journal.marks(),
        rows: vec![
            row(named("status.sequence.reset"), tally(3, 0), Outcome::Held),
            ambiguous,
            row(must, tally(40, 20), Outcome::Violated),
            row(
                named("status.undefined-bits"),
                tally(0, 1),
                Outcome::Violated,
            ),
            row(
                named("pci.window.length"),
                tally(0, 0),
                Outcome::NotExercised,
            ),
            row(named("notify.barrier"), tally(0, 0), Outcome::Unobservable),
            row(named("queue.in-memory"), tally(1, 0), Outcome::Held),
        ],
        findings,
        dropped: Dropped {
            marks: 1,
            findings: 2,
            complaints: 0,
        },
    }
}

#[test]
fn text_as_a_person_reads_it() {
    insta::assert_snapshot!(text::render(&sample(), false));
}

#[test]
fn colours_change_nothing_but_colours() {
    let plain = text::render(&sample(), false);
    let coloured = text::render(&sample(), true);
    assert!(coloured.contains("\u{1b}["));
    assert!(!plain.contains('\u{1b}'));
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain);
}

#[test]
fn text_has_one_line_a_requirement_violations_first() {
    let report = clears_status();
    let text = text::render(&report, false);
    for row in &report.rows {
        let lines = text
            .lines()
            .filter(|l| !l.starts_with(' ') && !l.starts_with("violated: "))
            .filter(|l| l.split_whitespace().any(|w| w == row.requirement().name))
            .count();
        assert_eq!(lines, 1, "{}", row.requirement().name);
    }
    let first = text.lines().skip(1).find(|line| !line.is_empty()).unwrap();
    assert!(first.starts_with("VIOLATED"), "{first}");
}

#[test]
fn text_shows_every_end() {
    let feet: std::collections::BTreeSet<String> = ends()
        .into_iter()
        .map(|end| {
            let text = text::render(&judged(end, &[]), false);
            let foot = text.lines().rev().nth(1).unwrap();
            assert!(foot.contains(" after "), "{foot}");
            // All but the time.
            foot.split_whitespace()
                .filter(|w| !w.contains('.'))
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(feet.len(), ends().len());
}
