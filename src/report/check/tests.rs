mod complaints;

use serde_json::Value;
use stickler_conformance::requirement::How;
use stickler_conformance::{DeviceKind, Latitude, Latitudes};

use super::*;
use crate::report::json::ReportedEnd;
use crate::report::text;

fn kernel() -> CheckedKernel {
    CheckedKernel {
        file: "vmlinuz".to_owned(),
        release: Some("6.12.9".to_owned()),
    }
}

fn requirement(id: &str, held: u64, violated: u64) -> ReportedRequirement {
    let req = catalogue::find(id).unwrap();
    let row = crate::report::ReportRow {
        req,
        version: Version::V1_0,
        tally: Tally { held, violated },
        outcome: Tally { held, violated }.outcome(req),
        by_reading: Default::default(),
    };
    ReportedRequirement::from(&row)
}

fn finding(message: &str, time_us: u64) -> ReportedFinding {
    ReportedFinding {
        requirement: "status.no-clear".to_owned(),
        device: ReportedDevice {
            slot: 2,
            kind: DeviceKind::Block,
        },
        queue: None,
        message: message.to_owned(),
        mark: Some("probe".to_owned()),
        time_us,
        rip: Some(Rip(0xffff_ffff_8100_0000)),
    }
}

fn latitude(seed: Option<u64>) -> ReportedLatitudes {
    let drawn: Latitudes = [
        Some(Latitude::ANY_REVISION),
        seed.map(|_| Latitude::ONE_VECTOR),
    ]
    .into_iter()
    .flatten()
    .collect();
    let latitudes = drawn.varied(seed.unwrap_or(0));
    ReportedLatitudes::new(latitudes, seed)
}

fn run(
    seed: Option<u64>,
    requirements: Vec<ReportedRequirement>,
    findings: Vec<ReportedFinding>,
) -> RunReport {
    RunReport {
        stickler: env!("CARGO_PKG_VERSION").to_owned(),
        spec: Version::V1_0,
        reading: "lenient".to_owned(),
        proposals: Vec::new(),
        latitude: latitude(seed),
        guest: ReportedEnd {
            end: EndKind::PowerOff,
            message: None,
        },
        boot: None,
        standing: None,
        complaints: Vec::new(),
        next_kernels: Vec::new(),
        untaken: Vec::new(),
        devices: Vec::new(),
        marks: Vec::new(),
        requirements,
        findings,
        dropped: ReportedDropped {
            marks: 1,
            findings: seed.unwrap_or(0),
            complaints: 0,
        },
    }
}

fn checked(number: usize, seed: Option<u64>, failures: Vec<RunFailure>) -> CheckedRun {
    CheckedRun {
        number,
        name: seed.map_or("none".to_owned(), |seed| format!("seed={seed}")),
        latitude: latitude(seed),
        devices: vec![ReportedFeatures::of_disk(seed != Some(1))],
        end: EndKind::PowerOff,
        time_us: 4_000_000,
        given_up: Vec::new(),
        memory: FreedMemory::of_seed(seed.unwrap_or(0) + 1),
        standing: None,
        complaints: Vec::new(),
        next_kernels: Vec::new(),
        failures,
        lines_dropped: 0,
        repeat: format!(
            "stickler check --kernel 'my vmlinuz' --latitude {} --cpus 2 --steps block,power-off",
            latitude(seed).choice
        ),
        shrunk: None,
    }
}

fn failure(how: FailureKind, step: &str, message: &str) -> RunFailure {
    let requirement = (how == FailureKind::Violation).then(|| "status.no-clear".to_owned());
    RunFailure {
        how,
        requirement,
        step: Some(step.to_owned()),
        message: message.to_owned(),
        not_held: Vec::new(),
    }
}

/// Three runs in the order in which they might end.
pub(super) fn sample() -> CheckReport {
    let mut check = CheckReport::new(Version::V1_0, &Readings::default(), Deny::Must, kernel(), 4);
    let violation = "wrote ACKNOWLEDGE to device_status, which was ACKNOWLEDGE|DRIVER";
    let failures = vec![
        failure(
            FailureKind::Violation,
            "probe",
            "status.no-clear (block): as below",
        ),
        failure(FailureKind::Step, "network", "no echo of 64 bytes by UDP"),
    ];
    let mut broken = checked(2, Some(2), failures);
    broken.given_up = vec!["console at 0000:00:03.0: no driver".to_owned()];
    broken.shrunk = Some("variation=2,one-vector".to_owned());
    broken.lines_dropped = 7;
    check.add(
        broken,
        Some(run(
            Some(2),
            vec![
                requirement("status.no-clear", 3, 2),
                requirement("pci.match.any-revision", 1, 0),
                requirement("msix.table-size.smallest", 2, 0),
            ],
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
            vec![failure(FailureKind::Violation, "probe", "status.no-clear")],
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

/// The report without the latitudes that no run had, and these lines: which there are changes with time.
fn without_unused(text: &str) -> (String, &str) {
    let from = text.find("latitudes that no run had: ").unwrap();
    let to = text.rfind(" runs: ").unwrap();
    let to = text[..to].rfind('\n').unwrap();
    let (unused, rest) = (&text[from..to], &text[to..]);
    (
        format!("{}latitudes that no run had: …{rest}", &text[..from]),
        unused,
    )
}

#[test]
fn counts_are_summed_and_runs_come_in_their_order() {
    let check = sample();
    let names: Vec<_> = check.runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["none", "seed=1", "seed=2"]);
    let of: Vec<_> = check.findings.iter().map(|f| f.run.as_str()).collect();
    assert_eq!(of, ["seed=1", "seed=2", "seed=2"]);
    let row = |id: &str| {
        let found = check.requirements.iter().find(|row| row.id == id).unwrap();
        (found.held, found.violated, found.outcome)
    };
    assert_eq!(check.requirements.len(), 4);
    assert_eq!(row("status.no-clear"), (8, 3, Outcome::Violated));
    assert_eq!(row("queue.size.power-of-two"), (7, 0, Outcome::Held));
    let dropped = ReportedDropped {
        marks: 3,
        findings: 3,
        complaints: 0,
    };
    assert_eq!(check.dropped, dropped);
    assert!(check.violates(Level::is_absolute));
    assert!(check.has_failure(FailureKind::Step) && !check.has_failure(FailureKind::Data));
}

/// What comes of a run in which `failure` happens, with these latitudes and what they provoke.
fn failed(failure: RunFailure, latitudes: &[Latitude], shrunk: Option<&str>) -> CheckReport {
    let mut check = CheckReport::new(Version::V1_0, &Readings::default(), Deny::Must, kernel(), 2);
    let latitudes: Latitudes = latitudes.iter().copied().collect();
    let mut checked = checked(0, None, vec![failure]);
    checked.latitude = ReportedLatitudes::new(latitudes, None);
    checked.shrunk = shrunk.map(str::to_owned);
    let rows = catalogue::iter().filter_map(|(_, row)| match row.how {
        How::Provoked(latitude) if latitudes.has(latitude) => Some(requirement(row.name, 1, 0)),
        _ => None,
    });
    check.add(checked, Some(run(None, rows.collect(), Vec::new())));
    check
}

/// The text about it, and what is still held.
fn laid(check: &CheckReport) -> (Option<String>, Vec<&str>) {
    let held = check.requirements.iter().filter(|row| row.held > 0);
    let held = held.map(|row| row.id.as_str()).collect();
    (check.runs[0].failures[0].laid_to(), held)
}

#[test]
fn a_failed_step_is_laid_to_what_latitudes_provoke() {
    let step = || failure(FailureKind::Step, "block", "EROFS");
    let one = failed(step(), &[Latitude::READ_ONLY], None);
    assert_eq!(
        laid(&one),
        (
            Some("with read-only: block.read-only not held".to_owned()),
            vec![]
        )
    );
    let row = &one.requirements[0];
    assert_eq!((row.held, row.outcome), (0, Outcome::NotExercised));

    // Latitudes of other devices are no reason, and nor are those without which it fails too.
    let several = [Latitude::READ_ONLY, Latitude::ONE_BYTE, Latitude::BURSTS];
    let (text, held) = (
        "with bursts: used.bursts not held; with read-only: block.read-only not held",
        vec!["entropy.used.one-byte"],
    );
    let check = failed(step(), &several, None);
    assert_eq!(laid(&check), (Some(text.to_owned()), held));
    let check = failed(step(), &several, Some("bursts"));
    assert_eq!(
        laid(&check).0.as_deref(),
        Some("with bursts: used.bursts not held")
    );
    assert_eq!(laid(&check).1.len(), 2);
    let check = failed(step(), &several, Some("none"));
    assert_eq!((laid(&check).0, laid(&check).1.len()), (None, 3));

    // In a run that hangs or crashes, it may be any of them; and many are not all named.
    let all: Vec<Latitude> = Latitude::all().take(6).collect();
    let check = failed(failure(FailureKind::Timeout, "entropy", "…"), &all, None);
    let (text, held) = laid(&check);
    assert!(text.is_some_and(|text| text.ends_with("; and what 2 more latitudes provoke")));
    assert_eq!(held, [""; 0]);
}

#[test]
fn violations_and_failures_of_stickler_are_laid_to_nothing() {
    for how in [FailureKind::Violation, FailureKind::Stickler] {
        let check = failed(failure(how, "block", "…"), &[Latitude::READ_ONLY], None);
        assert_eq!(laid(&check), (None, vec!["block.read-only"]));
    }
}

#[test]
fn text_as_a_person_reads_it() {
    let text = text::render_check(&sample(), false);
    let (text, unused) = without_unused(&text);
    assert!(unused.lines().count() > 2, "{unused}");
    assert!(!unused.contains("one-vector"), "{unused}");
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
    let schema: Value = serde_json::from_str(&schema::of_check()).unwrap();
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
        serde_json::from_value::<CheckReport>(good.clone()).unwrap(),
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
        ("/findings/0/run", "".into()),
        ("/findings/0/device/type", "gpu".into()),
        ("/findings/0/rip", "ffffffff81000000".into()),
        ("/runs/1/failures/0/requirement", "status".into()),
        ("/runs/2/failures/1/not_held/0", "status".into()),
        ("/runs/2/failures/1/not_held", Vec::<Value>::new().into()),
        ("/runs/0/latitude/choice", "".into()),
        ("/dropped/findings", Value::from(-1)),
        ("/requirements/0/outcome", "passed".into()),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).expect(pointer) = value;
        assert!(!schema.is_valid(&bad), "{pointer}");
    }
    let more = check.to_json().replacen('{', "{ \"x\": 1,", 1);
    assert!(serde_json::from_str::<CheckReport>(&more).is_err());
}

#[test]
fn the_schema_demands_every_member_and_takes_no_other() {
    let schema: Value = serde_json::from_str(&schema::of_check()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let good: Value = serde_json::from_str(&sample().to_json()).unwrap();
    assert!(schema.is_valid(&good));
    for pointer in [
        "",
        "/kernel",
        "/runs/2",
        "/runs/2/failures/0",
        "/findings/0",
        "/dropped",
    ] {
        let members = good.pointer(pointer).expect(pointer).as_object().unwrap();
        let optional = ["shrunk", "requirement", "not_held", "lines_dropped"];
        for name in members.keys() {
            let mut bad = good.clone();
            let object = bad.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
            object.remove(name);
            let is_optional = pointer.starts_with("/runs/") && optional.contains(&name.as_str());
            assert_eq!(
                schema.is_valid(&bad),
                is_optional,
                "{pointer} without {name}"
            );
        }
        let mut bad = good.clone();
        bad.pointer_mut(pointer).unwrap()["more"] = 1.into();
        assert!(!schema.is_valid(&bad), "{pointer} with more");
    }
}

/// The runs of a sample in two reports.
fn shards() -> Vec<(String, CheckReport)> {
    let whole = sample();
    let part = |numbers: &[usize], requirements: Vec<ReportedRequirement>| {
        let mut check =
            CheckReport::new(Version::V1_0, &Readings::default(), Deny::Must, kernel(), 4);
        for number in numbers {
            let one = &whole.runs[*number];
            let findings = whole
                .findings
                .iter()
                .filter(|finding| finding.run == one.name);
            check.runs.push(one.clone());
            check.dropped.add(ReportedDropped {
                marks: 1,
                findings: *number as u64,
                complaints: 0,
            });
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
            requirement("pci.match.any-revision", 1, 0),
            requirement("msix.table-size.smallest", 0, 0),
        ],
    );
    vec![("a.json".to_owned(), first), ("b.json".to_owned(), second)]
}

#[test]
fn shards_are_joined_to_the_whole() {
    assert_eq!(CheckReport::merge(shards()), Ok(Some(sample())));
    let mut other_way = shards();
    other_way.reverse();
    assert_eq!(CheckReport::merge(other_way), Ok(Some(sample())));
    assert_eq!(CheckReport::merge(Vec::new()), Ok(None));
}

#[test]
fn what_does_not_fit_together_is_not_joined() {
    type Change = fn(&mut CheckReport);
    let changes: [(Change, &str); 7] = [
        (|check| check.stickler = "0.0.1".to_owned(), "0.0.1"),
        (|check| check.reading = "strict".to_owned(), "strict"),
        (|check| check.proposals.push("a.b".to_owned()), "a.b"),
        (|check| check.deny = Deny::Should, "should"),
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
        let error = CheckReport::merge(reports).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        assert!(
            error.contains("a.json") && error.contains("b.json"),
            "{error}"
        );
    }
}
