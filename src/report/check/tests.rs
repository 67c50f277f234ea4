use serde_json::Value;
use stickler_conformance::Latitude::{AnyRevision, OneVector};
use stickler_conformance::Latitudes;

use super::*;
use crate::report::json::{Device, Guest};
use crate::report::text;

fn kernel() -> Kernel {
    Kernel {
        file: "vmlinuz".to_owned(),
        release: Some("6.12.9".to_owned()),
    }
}

fn requirement(id: &str, held: u64, violated: u64) -> Requirement {
    let req = catalogue::find(id).unwrap();
    let row = crate::report::Row {
        req,
        tally: Tally { held, violated },
        outcome: Tally { held, violated }.outcome(req),
        by_reading: Default::default(),
    };
    Requirement::from(&row)
}

fn finding(message: &str, time_us: u64) -> Finding {
    Finding {
        run: None,
        requirement: "status.no-clear".to_owned(),
        device: Device {
            slot: 2,
            kind: "block".to_owned(),
        },
        queue: None,
        message: message.to_owned(),
        mark: Some("probe".to_owned()),
        time_us,
        rip: Some("0xffffffff81000000".to_owned()),
    }
}

fn latitude(seed: Option<u64>) -> Latitude {
    let drawn: Latitudes = [Some(AnyRevision), seed.map(|_| OneVector)]
        .into_iter()
        .flatten()
        .collect();
    let latitudes = drawn.varied(seed.unwrap_or(0));
    Latitude::new(latitudes, seed)
}

fn run(seed: Option<u64>, requirements: Vec<Requirement>, findings: Vec<Finding>) -> Run {
    Run {
        stickler: env!("CARGO_PKG_VERSION").to_owned(),
        spec: SPEC.to_owned(),
        reading: "lenient".to_owned(),
        latitude: latitude(seed),
        guest: Guest {
            end: "power-off".to_owned(),
            message: None,
        },
        marks: Vec::new(),
        requirements,
        findings,
    }
}

fn checked(number: usize, seed: Option<u64>, failures: Vec<Failure>) -> Checked {
    Checked {
        number,
        name: seed.map_or("none".to_owned(), |seed| format!("seed={seed}")),
        latitude: latitude(seed),
        end: "power-off".to_owned(),
        time_us: 4_000_000,
        given_up: Vec::new(),
        failures,
        shrunk: None,
    }
}

fn failure(how: How, step: &str, message: &str) -> Failure {
    Failure {
        how,
        step: Some(step.to_owned()),
        message: message.to_owned(),
    }
}

/// Three runs in the order in which they might end.
fn sample() -> Check {
    let mut check = Check::new("lenient", "must", kernel(), 4);
    let violation = "wrote ACKNOWLEDGE to device_status, which was ACKNOWLEDGE|DRIVER";
    let failures = vec![
        failure(How::Violation, "probe", "status.no-clear (block): as below"),
        failure(How::Step, "network", "no echo of 64 bytes by UDP"),
    ];
    let mut broken = checked(2, Some(2), failures);
    broken.given_up = vec!["console at 0000:00:03.0: no driver".to_owned()];
    broken.shrunk = Some("variation=2,one-vector".to_owned());
    check.add(
        broken,
        Some(run(
            Some(2),
            vec![requirement("status.no-clear", 3, 2)],
            vec![finding(violation, 10), finding(violation, 20)],
        )),
    );
    check.add(
        checked(0, None, Vec::new()),
        Some(run(
            None,
            vec![
                requirement("status.no-clear", 5, 0),
                requirement("queue.size.power-of-two", 0, 0),
            ],
            Vec::new(),
        )),
    );
    check.add(
        checked(
            1,
            Some(1),
            vec![failure(How::Violation, "probe", "status.no-clear")],
        ),
        Some(run(
            Some(1),
            vec![
                requirement("status.no-clear", 0, 1),
                requirement("queue.size.power-of-two", 7, 0),
            ],
            vec![finding(violation, 30)],
        )),
    );
    check
}

#[test]
fn counts_are_summed_and_runs_come_in_their_order() {
    let check = sample();
    let names: Vec<_> = check.runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["none", "seed=1", "seed=2"]);
    let of: Vec<_> = check.findings.iter().map(|f| f.run.as_deref()).collect();
    assert_eq!(of, [Some("seed=1"), Some("seed=2"), Some("seed=2")]);
    let row = |id: &str| {
        let found = check.requirements.iter().find(|row| row.id == id).unwrap();
        (found.held, found.violated, found.outcome.as_str())
    };
    assert_eq!(check.requirements.len(), 2);
    assert_eq!(row("status.no-clear"), (8, 3, "violated"));
    assert_eq!(row("queue.size.power-of-two"), (7, 0, "held"));
    assert!(check.violates(Level::is_absolute));
    assert!(check.has_failure(How::Step) && !check.has_failure(How::Data));
}

#[test]
fn text_as_a_person_reads_it() {
    let text = text::render_check(&sample(), false);
    let unused = text
        .lines()
        .find(|line| line.starts_with("latitudes in no run: "));
    assert!(
        unused.is_some_and(|line| !line.contains("one-vector")),
        "{text}"
    );
    // Which there are beside those of the sample changes with time.
    let text = text.replace(unused.unwrap_or_default(), "latitudes in no run: …");
    insta::assert_snapshot!("check", text);
}

#[test]
fn guests_cannot_write_to_the_readers_terminal() {
    let mut check = sample();
    check.runs[1].failures[0].message = "\u{1b}[2J".to_owned();
    check.runs[2].given_up[0] = "\u{1b}[2J".to_owned();
    check.findings[0].message = "\u{1b}[2J".to_owned();
    check.runs[2].failures[1].step = Some("\u{7}".to_owned());
    let text = text::render_check(&check, false);
    assert!(!text.contains(['\u{1b}', '\u{7}']), "{text}");
}

#[test]
fn the_json_keeps_to_its_schema_and_is_read_back() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let check = sample();
    let good: Value = serde_json::from_str(&check.to_json()).unwrap();
    let errors: Vec<String> = schema
        .iter_errors(&good)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert_eq!(
        serde_json::from_value::<Check>(good.clone()).unwrap(),
        check
    );
    for (pointer, value) in [
        ("/planned", Value::from(0)),
        ("/deny", "all".into()),
        ("/kernel/release", Value::from(6)),
        ("/runs/0/number", Value::from(-1)),
        ("/runs/0/end", "fine".into()),
        ("/runs/1/failures/0/how", "somehow".into()),
        ("/runs/2/shrunk", "".into()),
        ("/findings/0/run", Value::Null),
        ("/requirements/0/outcome", "passed".into()),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).expect(pointer) = value;
        assert!(!schema.is_valid(&bad), "{pointer}");
    }
    let more = check.to_json().replacen('{', "{ \"x\": 1,", 1);
    assert!(serde_json::from_str::<Check>(&more).is_err());
}

#[test]
fn the_schema_for_one_run_and_this_one_agree() {
    let one: Value = serde_json::from_str(json::SCHEMA).unwrap();
    let many: Value = serde_json::from_str(SCHEMA).unwrap();
    for shared in ["name", "time", "count", "requirement", "reading"] {
        assert_eq!(one["$defs"][shared], many["$defs"][shared], "{shared}");
    }
    assert_eq!(one["properties"]["latitude"], many["$defs"]["latitude"]);
    let ends = &one["properties"]["guest"]["properties"]["end"]["enum"];
    assert_eq!(*ends, many["$defs"]["run"]["properties"]["end"]["enum"]);
}

/// The runs of a sample in two reports.
fn shards() -> Vec<(String, Check)> {
    let whole = sample();
    let part = |numbers: &[usize], requirements: Vec<Requirement>| {
        let mut check = Check::new("lenient", "must", kernel(), 4);
        for number in numbers {
            let one = &whole.runs[*number];
            let findings = whole
                .findings
                .iter()
                .filter(|finding| finding.run.as_ref() == Some(&one.name));
            check.runs.push(one.clone());
            check.findings.extend(findings.cloned());
        }
        check.requirements = requirements;
        check
    };
    let first = part(
        &[1],
        vec![
            requirement("status.no-clear", 0, 1),
            requirement("queue.size.power-of-two", 7, 0),
        ],
    );
    let second = part(
        &[0, 2],
        vec![
            requirement("status.no-clear", 8, 2),
            requirement("queue.size.power-of-two", 0, 0),
        ],
    );
    vec![("a.json".to_owned(), first), ("b.json".to_owned(), second)]
}

#[test]
fn shards_are_joined_to_the_whole() {
    assert_eq!(Check::merge(shards()), Ok(Some(sample())));
    let mut other_way = shards();
    other_way.reverse();
    assert_eq!(Check::merge(other_way), Ok(Some(sample())));
    assert_eq!(Check::merge(Vec::new()), Ok(None));
}

#[test]
fn what_does_not_fit_together_is_not_joined() {
    type Change = fn(&mut Check);
    let changes: [(Change, &str); 6] = [
        (|check| check.stickler = "0.0.1".to_owned(), "0.0.1"),
        (|check| check.reading = "strict".to_owned(), "strict"),
        (|check| check.deny = "should".to_owned(), "should"),
        (
            |check| check.kernel.release = Some("5.10.0".to_owned()),
            "5.10.0",
        ),
        (|check| check.planned = 9, "9"),
        (|check| check.runs[0].name = "seed=1".to_owned(), "seed=1"),
    ];
    for (change, word) in changes {
        let mut reports = shards();
        change(&mut reports[1].1);
        let error = Check::merge(reports).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        assert!(
            error.contains("a.json") && error.contains("b.json"),
            "{error}"
        );
    }
}
