use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use stickler_conformance::{Latitude, Readings, Version};

use super::*;
use crate::check::exercise::ExerciseChoice;
use crate::check::guest::{GuestImage, Load};
use crate::check::plan::plan;
use crate::check::repeat::CommonOptions;
use crate::report::Deny;
use crate::report::check::CheckedKernel;

/// What stands in for stickler: finds its options, and does what `body` says.
const SCRIPT: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
    case "$1" in
    --report) report="${2#json=}" ;;
    --latitude) latitude="$2" ;;
    esac
    shift
done
report() {
    cat > "$report" <<END
{"stickler": "0", "spec": "1.0", "reading": "lenient",
 "latitude": {"choice": "none", "seed": null, "names": []}, "guest": {"end": "$1"}, "devices": [], "marks": [],
 "requirements": [{"id": "status.no-clear", "role": "driver", "level": "MUST NOT",
   "clauses": {"1.0": ["2.1.1-2"]}, "outcome": "held", "held": 3, "violated": 0}],
 "findings": [], "dropped": {"marks": 0, "findings": 0}}
END
}
"#;

fn setting(directory: &Path, body: &str) -> Setting {
    let program = directory.join("stand-in");
    fs::write(&program, format!("{SCRIPT}{body}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Setting {
        program,
        kernel: "vmlinuz".into(),
        guest: GuestImage {
            release: None,
            load: Load::System,
            initrd: "initrd".into(),
            has_modules: true,
            initrd_of_kexec: None,
        },
        common: CommonOptions::default(),
        append: String::new(),
        arguments: Vec::new(),
        disks: true,
        consoles: true,
        timeout: Duration::from_secs(60),
        stress: None,
        deny: Deny::Must,
        require_drivers: true,
        scratch: directory.to_owned(),
        keep: None,
    }
}

fn empty() -> CheckReport {
    let kernel = CheckedKernel {
        file: "vmlinuz".to_owned(),
        release: None,
    };
    CheckReport::new(Version::V1_0, &Readings::default(), Deny::Must, kernel, 1)
}

/// The plain device and some seeds.
fn check(setting: &Setting, seeds: u64, jobs: usize) -> Result<CheckReport, String> {
    let mut report = empty();
    let progress = Progress::new(1);
    let runs = plan(
        &["none".parse().unwrap()],
        1..=seeds,
        &ExerciseChoice::default(),
        false,
    );
    run_all(setting, runs, jobs, true, &mut report, &progress, &|| false)?;
    Ok(report)
}

#[test]
fn every_run_is_done_once_whatever_the_number_of_jobs() {
    let directory = tempfile::tempdir().unwrap();
    let setting = setting(directory.path(), "report power-off");
    for jobs in [1, 3, 50] {
        let report = check(&setting, 4, jobs).unwrap();
        let names: Vec<_> = report.runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(names, ["none", "seed=1", "seed=2", "seed=3", "seed=4"]);
        assert!(report.runs.iter().all(|run| run.failures.is_empty()));
        assert_eq!(report.requirements[0].held, 15);
    }
}

#[test]
fn one_that_crashes_takes_no_other_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let body = "[ $latitude = none ] && kill -SEGV $$; report power-off";
    let report = check(&setting(directory.path(), body), 2, 2).unwrap();
    assert_eq!(report.runs[0].failures[0].how, FailureKind::Stickler);
    assert!(report.runs[0].failures[0].message.contains("signal"));
    assert!(report.runs[1].failures.is_empty());
    assert_eq!(report.requirements[0].held, 6);
}

#[test]
fn a_failure_is_shrunk_to_the_latitude_that_makes_it() {
    let directory = tempfile::tempdir().unwrap();
    let seed = (1..)
        .find(|seed| {
            let drawn = Latitudes::draw(*seed);
            drawn.has(Latitude::LONG_CAPABILITIES) && drawn.count() > 3
        })
        .unwrap();
    let body = "case $latitude in
        *long-capabilities*) report panic; exit 3 ;;
        *) report power-off ;;
    esac";
    let setting = setting(directory.path(), body);
    let run = plan(&[], [seed].into_iter(), &ExerciseChoice::default(), false)
        .pop()
        .unwrap();
    let mut report = empty();
    let progress = Progress::new(1);
    run_all(
        &setting,
        vec![run],
        1,
        true,
        &mut report,
        &progress,
        &|| false,
    )
    .unwrap();
    let [run] = report.runs.as_slice() else {
        panic!("{:?}", report.runs);
    };
    assert_eq!(run.failures[0].how, FailureKind::Guest);
    let expected = format!("variation={seed},long-capabilities");
    assert_eq!(run.shrunk.as_deref(), Some(expected.as_str()));
    // What was run to find it out is not counted.
    assert_eq!(report.requirements[0].held, 3);
}

/// What the plain run has shown is not run again for each seed that is shrunk.
#[test]
fn shrinking_does_not_run_what_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let runs = directory.path().join("runs");
    let body = format!(
        "echo \"$latitude\" >> {}
        case $latitude in
        *one-vector*) report panic; exit 3 ;;
        *) report power-off ;;
        esac",
        runs.display()
    );
    let setting = setting(directory.path(), &body);
    let choice = ExerciseChoice {
        processors: Some(1),
        ..ExerciseChoice::default()
    };
    let choices = ["none", "one-vector", "one-vector,bursts"].map(|words| words.parse().unwrap());
    let planned = plan(&choices, 0..0, &choice, false);
    let mut report = empty();
    let progress = Progress::new(3);
    run_all(&setting, planned, 1, true, &mut report, &progress, &|| {
        false
    })
    .unwrap();
    let shrunk: Vec<_> = report.runs.iter().map(|run| run.shrunk.clone()).collect();
    let least = Some("one-vector".to_owned());
    assert_eq!(shrunk, [None, least.clone(), least]);
    let ran = fs::read_to_string(&runs).unwrap();
    let count = |what: &str| ran.lines().filter(|latitude| *latitude == what).count();
    assert_eq!(count("none"), 1, "{ran}");
    // That it fails is seen once more; what follows for the next run is known.
    assert_eq!(count("one-vector"), 2, "{ran}");
}

#[test]
fn what_stickler_refuses_ends_it_all_with_its_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let body = "echo 'stickler: this is no kernel' >&2; exit 2";
    let refused = check(&setting(directory.path(), body), 3, 1);
    assert_eq!(refused, Err("this is no kernel".to_owned()));
}

#[test]
fn interrupting_keeps_what_was_found() {
    let directory = tempfile::tempdir().unwrap();
    let begun = directory.path().join("begun");
    let body = format!(
        "[ $latitude = none ] && {{ report power-off; exit; }}
        trap 'report interrupted; exit 3' TERM
        touch {}
        while :; do sleep 0.05; done",
        begun.display()
    );
    let setting = setting(directory.path(), &body);
    let mut report = empty();
    let progress = Progress::new(1);
    let stop = || begun.exists();
    let since = Instant::now();
    run_all(
        &setting,
        plan(
            &["none".parse().unwrap()],
            1..=9,
            &ExerciseChoice::default(),
            false,
        ),
        1,
        true,
        &mut report,
        &progress,
        &stop,
    )
    .unwrap();
    assert!(since.elapsed() < setting.timeout);
    let [passed, cut_short] = report.runs.as_slice() else {
        panic!("{:?}", report.runs);
    };
    assert!(passed.failures.is_empty() && !passed.is_cut_short());
    assert!(cut_short.is_cut_short());
    // What that had seen counts as well.
    assert_eq!(report.requirements[0].held, 6);
}

/// A stand-in whose guests pass, and that writes its arguments into a file.
fn recording(directory: &Path, arguments: &Path) -> Setting {
    let body = "report power-off";
    let setting = setting(directory, body);
    let recorded = format!(
        "#!/bin/sh\necho \"$@\" > {}\n{}{body}\n",
        arguments.display(),
        SCRIPT.trim_start_matches("#!/bin/sh\n")
    );
    fs::write(&setting.program, recorded).unwrap();
    setting
}

#[test]
fn a_device_type_is_alone() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = directory.path().join("arguments");
    let mut setting = recording(directory.path(), &arguments);
    setting.guest.load = Load::Exercise;
    for (choice, there, absent) in [
        (
            "alone=net",
            &["--no-console", "--no-rng", "exercise.devices=network"][..],
            &["--disk", "--console", "--net"][..],
        ),
        (
            "alone=block,bursts",
            &["--net none", "--no-console", "--no-rng", "--disk"],
            &["--console"],
        ),
        (
            "none",
            &["--disk", "--console"],
            &["--net", "--no-rng", "exercise.devices"],
        ),
    ] {
        let choices = [choice.parse().unwrap()];
        let runs = plan(&choices, 0..0, &ExerciseChoice::default(), true);
        let mut report = empty();
        let progress = Progress::new(1);
        run_all(&setting, runs, 1, false, &mut report, &progress, &|| false).unwrap();
        let words = fs::read_to_string(&arguments).unwrap();
        assert!(there.iter().all(|word| words.contains(word)), "{words}");
        assert!(!absent.iter().any(|word| words.contains(word)), "{words}");
    }
}

#[test]
fn a_guest_of_the_users_has_two_ports_or_its_own_devices() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = directory.path().join("arguments");
    let mut setting = recording(directory.path(), &arguments);
    setting.guest.load = Load::Command;
    let words = |setting: &Setting| {
        let runs = plan(
            &["none".parse().unwrap()],
            0..0,
            &ExerciseChoice::default(),
            true,
        );
        let (mut report, progress) = (empty(), Progress::new(1));
        run_all(setting, runs, 1, false, &mut report, &progress, &|| false).unwrap();
        fs::read_to_string(&arguments).unwrap()
    };
    let usual = words(&setting);
    assert!(
        usual.contains("--console stdio --console socket="),
        "{usual}"
    );
    assert_eq!(usual.matches("--disk").count(), 2, "{usual}");
    (setting.disks, setting.consoles) = (false, false);
    setting.arguments = vec!["--disk".into(), "theirs.img".into(), "--no-console".into()];
    let own = words(&setting);
    assert!(own.contains("--disk theirs.img --no-console"), "{own}");
    assert!(!own.contains("--console"), "{own}");
    assert_eq!(own.matches("--disk").count(), 1, "{own}");
}
