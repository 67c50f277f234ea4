use std::cell::Cell;

use super::*;
use crate::report::json::{Guest, Latitude};

fn report(end: &str) -> Run {
    Run {
        stickler: String::new(),
        spec: String::new(),
        reading: String::new(),
        latitude: Latitude {
            choice: "none".to_owned(),
            seed: None,
            names: Vec::new(),
        },
        guest: Guest {
            end: end.to_owned(),
            message: None,
        },
        marks: Vec::new(),
        requirements: Vec::new(),
        findings: Vec::new(),
    }
}

fn violating(id: &str) -> Run {
    let json = format!(
        r#"{{"id": "{id}", "role": "driver", "level": "MUST", "clauses": {{}},
            "outcome": "violated", "held": 0, "violated": 1}}"#
    );
    Run {
        requirements: vec![serde_json::from_str(&json).unwrap()],
        ..report("power-off")
    }
}

fn ended(code: i32) -> Ended {
    Ended {
        code: Some(code),
        last_words: String::new(),
    }
}

fn said(lines: &[&str]) -> Said {
    let mut said = Said::default();
    for line in lines {
        said.hear(line);
    }
    said
}

const ALL_WELL: [&str; 2] = ["@mark block", "exercise: passed"];

/// How the exercise's run failed.
fn how(ended: &Ended, report: Option<&Run>, lines: &[&str]) -> Vec<How> {
    let all = failures(
        Load::Exercise,
        ended,
        report,
        &said(lines),
        Level::is_absolute,
        || Ok(()),
    );
    all.into_iter().map(|failure| failure.how).collect()
}

#[test]
fn a_guest_that_passed_did() {
    let report = report("power-off");
    assert_eq!(how(&ended(0), Some(&report), &ALL_WELL), []);
}

#[test]
fn each_way_to_fail_is_told_apart() {
    let off = report("power-off");
    assert_eq!(how(&ended(0), Some(&off), &["@mark x"]), [How::Guest]);
    let failed = [
        "exercise: failed: block: read: lost",
        "exercise: failed: net: x",
    ];
    assert_eq!(how(&ended(0), Some(&off), &failed), [How::Step, How::Step]);
    for (end, expected) in [
        ("panic", How::Guest),
        ("triple-fault", How::Guest),
        ("timeout", How::Timeout),
    ] {
        let report = report(end);
        assert_eq!(how(&ended(3), Some(&report), &["@mark x"]), [expected]);
    }
    assert_eq!(how(&ended(3), Some(&report("interrupted")), &[]), []);
    let violating = violating("status.no-clear");
    assert_eq!(
        how(&ended(1), Some(&violating), &ALL_WELL),
        [How::Violation]
    );
    assert_eq!(
        how(&ended(1), Some(&violating), &["exercise: failed: net: x"]),
        [How::Violation, How::Step]
    );
}

#[test]
fn stickler_itself_can_fail() {
    let off = report("power-off");
    assert_eq!(how(&ended(4), Some(&off), &ALL_WELL), [How::Stickler]);
    assert_eq!(how(&ended(101), None, &[]), [How::Stickler]);
    assert_eq!(how(&ended(0), None, &ALL_WELL), [How::Stickler]);
    let error = report("error");
    assert_eq!(how(&ended(1), Some(&error), &ALL_WELL), [How::Stickler]);
    let signal = Ended {
        code: None,
        last_words: "stickler: oh".to_owned(),
    };
    let all = failures(
        Load::System,
        &signal,
        Some(&off),
        &Said::default(),
        |_| true,
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
    let heard = said(&lines);
    assert_eq!(heard.mark.as_deref(), Some("b"));
    assert_eq!(
        heard.failed,
        [("net".to_owned(), "no echo: lost".to_owned())]
    );
    let all = failures(
        Load::Exercise,
        &ended(3),
        Some(&report("timeout")),
        &said(&lines[..2]),
        |_| true,
        || Ok(()),
    );
    assert_eq!(all[0].step.as_deref(), Some("b"));
}

#[test]
fn data_are_compared_only_where_the_exercise_left_some() {
    let compared = Cell::new(0);
    let verdict = |load, report: &Run, lines: &[&str]| {
        let data = || {
            compared.set(compared.get() + 1);
            Err("byte 7".to_owned())
        };
        failures(load, &ended(0), Some(report), &said(lines), |_| true, data)
    };
    let off = report("power-off");
    let all = verdict(Load::Exercise, &off, &ALL_WELL);
    assert_eq!((all[0].how, all[0].message.as_str()), (How::Data, "byte 7"));
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
        &Said::default(),
        |_| false,
        || Ok(()),
    );
    assert_eq!(none, []);
}

#[test]
fn failures_are_the_same_by_requirement_step_or_end() {
    let of = |how, step: &str, message: &str| {
        vec![Failure {
            how,
            step: Some(step.to_owned()),
            message: message.to_owned(),
        }]
    };
    let a = of(How::Violation, "x", "status.no-clear (block): twice");
    let b = of(How::Violation, "y", "status.no-clear (net): once");
    let c = of(How::Violation, "x", "queue.size (block): twice");
    assert!(is_same(&a, &b));
    assert!(!is_same(&a, &c));
    assert!(is_same(&of(How::Step, "x", "1"), &of(How::Step, "x", "2")));
    assert!(!is_same(&of(How::Step, "x", "1"), &of(How::Step, "y", "1")));
    assert!(is_same(
        &of(How::Guest, "x", "1"),
        &of(How::Guest, "y", "2")
    ));
    assert!(!is_same(
        &of(How::Guest, "x", "1"),
        &of(How::Timeout, "x", "1")
    ));
    assert!(!is_same(&a, &[]));
}
