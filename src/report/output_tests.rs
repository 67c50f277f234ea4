use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::report::tests::clears_status;

fn to(format: Format, file: impl Into<PathBuf>) -> ReportSpec {
    ReportSpec {
        format,
        file: Some(file.into()),
    }
}

#[test]
fn specs_of_reports() {
    let stdout = |format| ReportSpec { format, file: None };
    let parse = |text: &str| ReportSpec::try_from(OsString::from(text));
    assert_eq!(parse("text"), Ok(stdout(Format::Text)));
    assert_eq!(parse("json"), Ok(stdout(Format::Json)));
    assert_eq!(parse("json=-"), Ok(stdout(Format::Json)));
    assert_eq!(parse("json=a=b"), Ok(to(Format::Json, "a=b")));
    assert_eq!(parse("text=r"), Ok(to(Format::Text, "r")));
    for bad in ["", "xml", "json=", "JSON", "=f"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_report_file_changes_only_when_the_report_is_complete() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.json");
    fs::write(&path, "old").unwrap();
    let outputs = Outputs::open(&[to(Format::Json, &path)]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert!(outputs.write(&clears_status()).errors.is_empty());
    let value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(value["spec"], "1.0");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}

#[test]
fn a_run_that_never_ends_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.json");
    drop(Outputs::open(&[to(Format::Json, &path)]).unwrap());
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}

#[test]
fn a_link_to_a_report_stays_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let link = directory.path().join("link");
    fs::write(&file, "old").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let outputs = Outputs::open(&[to(Format::Text, &link)]).unwrap();
    assert!(outputs.write(&clears_status()).errors.is_empty());
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&file).unwrap().starts_with("stickler"));
}

#[test]
fn what_cannot_be_written_is_found_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let inside = |name: &str| directory.path().join(name);
    let fails = |specs: &[ReportSpec]| Outputs::open(specs).unwrap_err().to_string();
    let missing = fails(&[to(Format::Json, inside("no/such/report.json"))]);
    assert!(missing.contains("there is no directory"), "{missing}");
    let taken = fails(&[to(Format::Json, directory.path())]);
    assert!(taken.contains("is a directory"), "{taken}");
    let slash = fails(&[to(Format::Json, inside("new/"))]);
    assert!(slash.contains("directory"), "{slash}");
    let twice = fails(&[
        to(Format::Json, inside("r")),
        to(Format::Text, inside("./r")),
    ]);
    assert!(twice.contains("two reports"), "{twice}");
    let stdout = ReportSpec {
        format: Format::Json,
        file: None,
    };
    assert!(fails(&[stdout.clone(), stdout]).contains("standard output"));
}

#[test]
fn a_device_is_written_and_not_replaced() {
    let outputs = Outputs::open(&[to(Format::Text, "/dev/full")]).unwrap();
    let errors = outputs.write(&clears_status()).errors;
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().contains("/dev/full"), "{}", errors[0]);
    let outputs = Outputs::open(&[to(Format::Text, "/dev/null")]).unwrap();
    assert!(outputs.write(&clears_status()).errors.is_empty());
}
