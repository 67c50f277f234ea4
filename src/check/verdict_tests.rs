use std::cell::Cell;

use stickler_conformance::{DeviceKind, Version};

use super::*;
use crate::report::json::{ReportedDevice, ReportedDropped, ReportedEnd, ReportedLatitudes};

fn report(end: EndKind) -> RunReport {
    RunReport {
        stickler: String::new(),
        spec: Version::V1_0,
        reading: "lenient".to_owned(),
        proposals: Vec::new(),
        latitude: ReportedLatitudes {
            choice: "none".to_owned(),
            seed: None,
            names: Vec::new(),
        },
        guest: ReportedEnd { end, message: None },
        untaken: Vec::new(),
        devices: Vec::new(),
        marks: Vec::new(),
        requirements: Vec::new(),
        findings: Vec::new(),
        dropped: ReportedDropped::default(),
    }
}

fn violating(id: &str) -> RunReport {
    let json = format!(
        r#"{{"id": "{id}", "role": "driver", "level": "MUST", "clauses": {{}},
            "outcome": "violated", "held": 0, "violated": 1}}"#
    );
    RunReport {
        requirements: vec![serde_json::from_str(&json).unwrap()],
        ..report(EndKind::PowerOff)
    }
}

fn ended(code: i32) -> ProcessEnd {
    ProcessEnd {
        code: Some(code),
        last_error: String::new(),
    }
}

fn log_of(lines: &[&str]) -> ExerciseLog {
    let mut log = ExerciseLog::default();
    for line in lines {
        log.add(line);
    }
    log
}

const ALL_WELL: [&str; 2] = ["@mark block", "exercise: passed"];

/// How the exercise's run failed.
fn how(ended: &ProcessEnd, report: Option<&RunReport>, lines: &[&str]) -> Vec<FailureKind> {
    let all = failures(
        Load::Exercise,
        ended,
        report,
        &log_of(lines),
        Deny::Must,
        || Ok(()),
    );
    all.into_iter().map(|failure| failure.how).collect()
}

#[test]
fn a_guest_that_passed_did() {
    let report = report(EndKind::PowerOff);
    assert_eq!(how(&ended(0), Some(&report), &ALL_WELL), []);
}

#[test]
fn each_way_to_fail_is_told_apart() {
    let off = report(EndKind::PowerOff);
    assert_eq!(
        how(&ended(0), Some(&off), &["@mark x"]),
        [FailureKind::Guest]
    );
    let failed = [
        "exercise: failed: block: read: lost",
        "exercise: failed: net: x",
    ];
    assert_eq!(
        how(&ended(0), Some(&off), &failed),
        [FailureKind::Step, FailureKind::Step]
    );
    for (end, expected) in [
        (EndKind::Panic, FailureKind::Guest),
        (EndKind::TripleFault, FailureKind::Guest),
        (EndKind::Timeout, FailureKind::Timeout),
    ] {
        let report = report(end);
        assert_eq!(how(&ended(3), Some(&report), &["@mark x"]), [expected]);
    }
    assert_eq!(how(&ended(3), Some(&report(EndKind::Interrupted)), &[]), []);
    let violating = violating("status.no-clear");
    assert_eq!(
        how(&ended(1), Some(&violating), &ALL_WELL),
        [FailureKind::Violation]
    );
    assert_eq!(
        how(&ended(1), Some(&violating), &["exercise: failed: net: x"]),
        [FailureKind::Violation, FailureKind::Step]
    );
}

#[test]
fn stickler_itself_can_fail() {
    let off = report(EndKind::PowerOff);
    assert_eq!(
        how(&ended(4), Some(&off), &ALL_WELL),
        [FailureKind::Stickler]
    );
    assert_eq!(how(&ended(101), None, &[]), [FailureKind::Stickler]);
    assert_eq!(how(&ended(0), None, &ALL_WELL), [FailureKind::Stickler]);
    let error = report(EndKind::Error);
    assert_eq!(
        how(&ended(1), Some(&error), &ALL_WELL),
        [FailureKind::Stickler]
    );
    let signal = ProcessEnd {
        code: None,
        last_error: "stickler: oh".to_owned(),
    };
    let all = failures(
        Load::System,
        &signal,
        Some(&off),
        &ExerciseLog::default(),
        Deny::Should,
        || Ok(()),
    );
    assert_eq!(all[0].message, "stickler: oh (ended by a signal)");
}

#[test]
fn steps_and_marks_say_where() {
    let lines = [
        "@mark a",
        "@mark b ",
        "exercise: failed: net: no echo: lost",
    ];
    let log = log_of(&lines);
    assert_eq!(log.mark.as_deref(), Some("b"));
    assert_eq!(
        log.failed,
        [FailedStep {
            step: "net".to_owned(),
            message: "no echo: lost".to_owned(),
        }]
    );
    let all = failures(
        Load::Exercise,
        &ended(3),
        Some(&report(EndKind::Timeout)),
        &log_of(&lines[..2]),
        Deny::Should,
        || Ok(()),
    );
    assert_eq!(all[0].step.as_deref(), Some("b"));
}

#[test]
fn data_are_compared_only_where_the_exercise_left_some() {
    let compared = Cell::new(0);
    let verdict = |load, report: &RunReport, lines: &[&str]| {
        let data = || {
            compared.set(compared.get() + 1);
            Err("byte 7".to_owned())
        };
        failures(
            load,
            &ended(0),
            Some(report),
            &log_of(lines),
            Deny::Should,
            data,
        )
    };
    let off = report(EndKind::PowerOff);
    let all = verdict(Load::Exercise, &off, &ALL_WELL);
    assert_eq!(
        (all[0].how, all[0].message.as_str()),
        (FailureKind::Data, "byte 7")
    );
    verdict(Load::Exercise, &off, &["@mark x"]);
    verdict(Load::System, &off, &[]);
    assert_eq!(verdict(Load::Command, &off, &ALL_WELL), []);
    assert_eq!(compared.get(), 1);
    // A violation does not keep it from being looked at.
    let all = verdict(Load::Exercise, &violating("status.no-clear"), &ALL_WELL);
    assert_eq!(all.len(), 2);
}

#[test]
fn only_levels_that_count_fail_a_run() {
    let report = violating("status.no-clear");
    let none = failures(
        Load::System,
        &ended(0),
        Some(&report),
        &ExerciseLog::default(),
        Deny::None,
        || Ok(()),
    );
    assert_eq!(none, []);
}

#[test]
fn failures_are_the_same_by_requirement_step_or_end() {
    let of = |how, step: &str, message: &str| {
        vec![RunFailure {
            how,
            requirement: None,
            step: Some(step.to_owned()),
            message: message.to_owned(),
            not_held: Vec::new(),
        }]
    };
    let violation = |requirement: &str, step: &str| {
        let mut all = of(FailureKind::Violation, step, "the same message");
        all[0].requirement = Some(requirement.to_owned());
        all
    };
    let a = violation("status.no-clear", "x");
    let b = violation("status.no-clear", "y");
    let c = violation("queue.size", "x");
    assert!(is_same(&a, &b));
    assert!(!is_same(&a, &c));
    assert!(is_same(
        &of(FailureKind::Step, "x", "1"),
        &of(FailureKind::Step, "x", "2")
    ));
    assert!(!is_same(
        &of(FailureKind::Step, "x", "1"),
        &of(FailureKind::Step, "y", "1")
    ));
    assert!(is_same(
        &of(FailureKind::Guest, "x", "1"),
        &of(FailureKind::Guest, "y", "2")
    ));
    assert!(!is_same(
        &of(FailureKind::Guest, "x", "1"),
        &of(FailureKind::Timeout, "x", "1")
    ));
    assert!(!is_same(&a, &[]));
}

#[test]
fn a_plain_device_without_a_driver_is_a_failure() {
    let without = |end, names: &[&str]| {
        let mut report = report(end);
        report.untaken = vec![ReportedDevice {
            slot: 4,
            kind: DeviceKind::Entropy,
        }];
        report.latitude.names = names.iter().map(|&name| name.to_owned()).collect();
        let messages: Vec<String> = missing_drivers(&report).map(|f| f.message).collect();
        messages
    };
    let named = ["no driver took device 4 (entropy)"];
    assert_eq!(without(EndKind::PowerOff, &[]), named);
    assert_eq!(without(EndKind::Reset, &[]), named);
    assert_eq!(without(EndKind::Timeout, &[]), [""; 0]);
    assert_eq!(without(EndKind::PowerOff, &["one-bar"]), [""; 0]);
}
