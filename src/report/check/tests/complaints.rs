//! Complaints of the guests' kernels in the report of many runs.

use super::*;

/// A run whose guest's kernel complained so.
fn complaining(number: usize, seed: Option<u64>, log: &str) -> CheckedRun {
    let journal = crate::journal::Journal::new();
    let note = crate::machine::PanicNote::default();
    crate::machine::OutputScanner::new(journal.clone(), note).feed(log.as_bytes());
    let complaints: Vec<ReportedComplaint> = journal
        .complaints()
        .iter()
        .map(ReportedComplaint::from)
        .map(|complaint| ReportedComplaint {
            time_us: 3_000_000,
            ..complaint
        })
        .collect();
    let failing = complaints.iter().filter(|complaint| complaint.fails);
    let failures = failing
        .map(|complaint| failure(FailureKind::Complaint, "stress", &complaint.message))
        .collect();
    CheckedRun {
        complaints,
        ..checked(number, seed, failures)
    }
}

#[test]
fn a_complaint_is_quoted_once_and_the_runs_that_have_it_are_named() {
    use crate::complaints::tests::logs::{FOREIGN_WARNING, OOPS};
    let mut check = CheckReport::new(Version::V1_0, &Readings::default(), Deny::Must, kernel(), 4);
    check.add(complaining(0, None, OOPS), None);
    check.add(complaining(1, Some(1), &OOPS.replace("71", "72")), None);
    check.add(complaining(2, Some(2), FOREIGN_WARNING), None);
    check.add(complaining(3, Some(3), FOREIGN_WARNING), None);
    let text = text::render_check(&check, false);
    let (text, _) = without_unused(&text);
    insta::assert_snapshot!(text);
    let schema: Value = serde_json::from_str(&schema::of_check()).unwrap();
    let json: Value = serde_json::from_str(&check.to_json()).unwrap();
    let errors: Vec<String> = jsonschema::validator_for(&schema)
        .unwrap()
        .iter_errors(&json)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert_eq!(json["runs"][1]["complaints"][0]["process"], "init (72)");
    assert_eq!(json["runs"][1]["memory"], "zeroed");
    assert_eq!(json["runs"][3]["failures"].as_array().unwrap().len(), 0);
}
