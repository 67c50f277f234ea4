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
        boot: None,
        standing: None,
        complaints: Vec::new(),
        next_kernels: Vec::new(),
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

/// With `--on-violation stop`, what the guest would have done is not known: the violation alone is the failure.
#[test]
fn a_guest_that_was_stopped_at_a_violation_has_not_failed_otherwise() {
    let stopped = RunReport {
        guest: ReportedEnd {
            end: EndKind::Violation,
            message: None,
        },
        ..violating("status.no-clear")
    };
    let found = how(&ended(1), Some(&stopped), &ALL_WELL[..1]);
    assert_eq!(found, [FailureKind::Violation]);
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
    let many = vec!["exercise: failed: block: read: lost"; 100 + 7];
    let kinds = how(&ended(0), Some(&off), &many);
    assert_eq!(kinds, [FailureKind::Step; 100 + 1]);
    for (end, expected) in [
        (EndKind::Panic, FailureKind::Guest),
        (EndKind::TripleFault, FailureKind::Guest),
        (EndKind::StrayJump, FailureKind::Guest),
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

/// The report of a run whose guest's kernel wrote this.
fn complaining(log: &str) -> RunReport {
    let journal = crate::journal::Journal::new();
    let note = crate::machine::PanicNote::default();
    crate::machine::OutputScanner::new(journal.clone(), note).feed(log.as_bytes());
    let complaints = journal.complaints();
    RunReport {
        complaints: complaints.iter().map(Into::into).collect(),
        ..report(EndKind::PowerOff)
    }
}

#[test]
fn complaints_of_the_guests_kernel_fail_a_run_that_passed_unless_they_are_somebody_elses() {
    use crate::complaints::tests::logs::{FOREIGN_WARNING, NOBODY_CARED, OOPS, REFCOUNT};
    for log in [OOPS, REFCOUNT, NOBODY_CARED] {
        let report = complaining(log);
        assert_eq!(
            how(&ended(3), Some(&report), &ALL_WELL),
            [FailureKind::Complaint]
        );
    }
    let report = complaining(FOREIGN_WARNING);
    assert_eq!(how(&ended(0), Some(&report), &ALL_WELL), []);
    let mut too_many = complaining("");
    too_many.dropped.complaints = 1;
    assert_eq!(
        how(&ended(3), Some(&too_many), &ALL_WELL),
        [FailureKind::Complaint]
    );
}

#[test]
fn a_complaint_is_the_same_whatever_its_numbers() {
    use crate::complaints::tests::logs::{OOPS, REFCOUNT};
    let of = |log: &str| {
        let log_of = log_of(&ALL_WELL);
        let report = complaining(log);
        failures(
            Load::Exercise,
            &ended(3),
            Some(&report),
            &log_of,
            Deny::Must,
            || Ok(()),
        )
    };
    let moved = OOPS.replace("address: 0000000000000008", "address: 00000000000000a0");
    assert!(is_same(&of(OOPS), &of(&moved)));
    assert!(!is_same(&of(OOPS), &of(REFCOUNT)));
}

#[test]
fn a_kernel_that_came_to_live_devices_is_a_failure_at_the_mark_before_it() {
    let next = r#"{"message": "slots 1 to 4 were live", "live": [{"slot": 1, "type": "net"}], "time_us": 7}"#;
    let marks = r#"[{"name": "kexec", "time_us": 5}, {"name": "modules", "time_us": 9}]"#;
    let report = RunReport {
        next_kernels: vec![serde_json::from_str(next).unwrap()],
        marks: serde_json::from_str(marks).unwrap(),
        ..report(EndKind::PowerOff)
    };
    let log = log_of(&ALL_WELL);
    let all = failures(
        Load::Exercise,
        &ended(3),
        Some(&report),
        &log,
        Deny::Must,
        || Ok(()),
    );
    assert_eq!(all.len(), 1);
    assert_eq!(
        (all[0].how, all[0].step.as_deref()),
        (FailureKind::Guest, Some("kexec"))
    );
}

#[test]
fn a_refused_module_names_the_symbols_that_are_missing() {
    let log = log_of(&[
        "[    1.000001] virtio_net: Unknown symbol net_failover_create (err -2)",
        "virtio_net: Unknown symbol net_failover_destroy (err -2)",
        "[    1.000002] virtio_blk: Unknown symbol x (err -2)",
        "[    1.000003] a message: Unknown symbol y",
        "exercise: failed: modules: the kernel refuses the module /.stickler/virtio_net.ko: No such file or directory (os error 2)",
    ]);
    let off = report(EndKind::PowerOff);
    let all = failures(
        Load::Exercise,
        &ended(0),
        Some(&off),
        &log,
        Deny::Must,
        || Ok(()),
    );
    let message = &all[0].message;
    assert!(
        message.contains("; virtio_net needs net_failover_create, net_failover_destroy, which"),
        "{message}"
    );
    assert!(!message.contains(" x"), "{message}");
    assert_eq!(log.unresolved.len(), 3);
}

#[test]
fn modules_are_suggested_where_a_driver_is_missing() {
    let failure = |how, message: &str| RunFailure {
        how,
        requirement: None,
        step: None,
        message: message.to_owned(),
        not_held: Vec::new(),
    };
    let mut all = [
        failure(FailureKind::Guest, "no driver took device 2 (block)"),
        failure(
            FailureKind::Step,
            "block at 0000:00:02.0: its transport has no driver",
        ),
        failure(FailureKind::Step, "no echo"),
        failure(FailureKind::Violation, "no driver took device 2 (block)"),
    ];
    suggest_modules(&mut all);
    let suggested = all.map(|failure| failure.message.contains("--modules"));
    assert_eq!(suggested, [true, true, false, false]);
}

/// What firmware did not do is in its report, which knows what it need not do.
#[test]
fn firmware_fails_as_its_own_report_says() {
    use crate::firmware::verdict::{BootFailure, BootFailureKind, BootReport, DataState};
    let failure = |how, step: Option<&str>| BootFailure {
        how,
        step: step.map(str::to_owned),
        message: "no".to_owned(),
    };
    let boot = |failures, excused| {
        let boot = BootReport {
            firmware: "u-boot".to_owned(),
            arch: "riscv64".to_owned(),
            file: "u-boot.bin".to_owned(),
            program: None,
            data: DataState::Untouched,
            failures,
            excused,
        };
        let report = RunReport {
            boot: Some(boot),
            ..report(EndKind::PowerOff)
        };
        let lines = log_of(&["exercise: failed: write: no"]);
        let compare = || panic!("the disk is not one of the exercise");
        failures_of(&report, &lines, compare)
    };
    fn failures_of(
        report: &RunReport,
        log: &ExerciseLog,
        compare: impl FnOnce() -> Result<(), String>,
    ) -> Vec<(FailureKind, Option<String>)> {
        let all = failures(
            Load::Firmware,
            &ended(3),
            Some(report),
            log,
            Deny::Must,
            compare,
        );
        all.into_iter().map(|one| (one.how, one.step)).collect()
    }
    let write = failure(BootFailureKind::Step, Some("write"));
    assert_eq!(boot(Vec::new(), vec![write.clone()]), []);
    let kinds = boot(
        vec![
            write,
            failure(BootFailureKind::Boot, None),
            failure(BootFailureKind::Data, None),
        ],
        Vec::new(),
    );
    assert_eq!(
        kinds,
        [
            (FailureKind::Step, Some("write".to_owned())),
            (FailureKind::Guest, None),
            (FailureKind::Data, None),
        ]
    );
}
