//! The program as a user meets it: exit codes and messages, without a guest.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the built program.
fn stickler(arguments: &[&str]) -> Output {
    in_directory(Path::new("."), arguments)
}

fn in_directory(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stickler"))
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("the program can be started")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it speaks UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("it speaks UTF-8")
}

/// It failed as bad input does: exit code 2, nothing on standard output, one line on standard error that
/// has all of `words` in it.
#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert_eq!(stdout(output), "");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.len() < 500, "{message}");
    assert!(message.starts_with("stickler: "), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    for word in words {
        assert!(message.contains(word), "'{word}' is missing: {message}");
    }
}

#[test]
fn bad_usage_is_one_sentence_with_the_way_to_the_help() {
    for (arguments, words) in [
        (&["--bogus"][..], &["--bogus", "stickler --help"][..]),
        (&["rnu"], &["rnu", "stickler --help"]),
        (&["run"], &["--kernel", "stickler run --help"]),
        (&["run", "--kernel"], &["--kernel <FILE>"]),
        (&["run", "--kernle", "x"], &["--kernle", "'--kernel'"]),
        (&["run", "--kernel", "x", "extra"], &["extra"]),
        (
            &["run", "--kernel", "x", "--memory", "12x"],
            &["'12x'", "--memory", "512M"],
        ),
        (
            &["check", "--kernel", "x", "--runs", "-3"],
            &["'-3'", "--runs", "0 or more"],
        ),
        (
            &["check", "--kernel", "x", "--jobs", "0"],
            &["'0'", "--jobs", "1 or more"],
        ),
        (
            &["check", "--kernel", "x", "--shard", "5/4"],
            &["--shard", "no part 5 of 4"],
        ),
        (
            &["check", "--kernel", "x", "--cpus", "-1"],
            &["'-1'", "--cpus"],
        ),
        (
            &["requirements", "status.no-claer"],
            &["did you mean 'status.no-clear'?"],
        ),
        (
            &["run", "--kernel", "x", "--timeout", "60"],
            &["'60'", "--timeout", "60s"],
        ),
        (
            &["run", "--kernel", "x", "--cpus", "17"],
            &["--cpus", "1..=16"],
        ),
        (
            &["run", "--kernel", "x", "--deny", "all"],
            &["--deny", "must", "should", "none"],
        ),
        (
            &["run", "--kernel", "x", "--on-violation", "explode"],
            &["--on-violation", "report", "stop"],
        ),
        (
            &["run", "--kernel", "x", "--report", "xml"],
            &["'xml'", "json=FILE"],
        ),
        (
            &["run", "--kernel", "x", "--without", "net.mrg-rxbf"],
            &[
                "--without",
                "'net.mrg-rxbf'",
                "did you mean 'net.mrg-rxbuf'?",
            ],
        ),
        (
            &["check", "--kernel", "x", "--offer", "ring.event"],
            &["--offer", "did you mean 'ring.event-idx'?"],
        ),
        (
            &["run", "--kernel", "x", "--latitude"],
            &["a value is required for '--latitude <NAME>'"],
        ),
        (
            &["run", "--kernel", "x", "--latitude", "tiny-queue"],
            &["--latitude", "did you mean 'tiny-queues'?"],
        ),
        (&["check"], &["--kernel", "stickler check --help"]),
        (
            &["check", "--kernel", "x", "--shard", "0/4"],
            &["'0/4'", "1/4 to 4/4"],
        ),
        (
            &["check", "--kernel", "x", "--latitude", "no-such"],
            &["no-such", "stickler latitudes"],
        ),
        (
            &["check", "--kernel", "x", "--latitude", "none,no-msix"],
            &["none"],
        ),
        (&["check", "--kernel", "x", "--jobs", "0"], &["--jobs", "0"]),
        (&["merge"], &["REPORT.json", "stickler merge --help"]),
        (&["man", "nonsense"], &["nonsense", "--help"]),
        (&["completions", "tcsh"], &["tcsh", "bash"]),
        (
            &["requirements", "no.such"],
            &["no.such", "stickler requirements"],
        ),
    ] {
        refused(&stickler(arguments), words);
    }
}

#[test]
fn without_arguments_it_shows_its_help() {
    let output = stickler(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Usage: stickler"));
}

#[test]
fn help_and_version_are_no_errors() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["help", "run"],
        &["run", "--help"],
        &["check", "--help"],
        &["merge", "--help"],
        &["doctor", "--help"],
        &["requirements", "-h"],
    ] {
        let output = stickler(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(stdout(&output).contains("Usage: stickler"), "{arguments:?}");
        assert_eq!(stderr(&output), "", "{arguments:?}");
    }
    let version = stickler(&["--version"]);
    assert_eq!(
        stdout(&version),
        format!("stickler {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn what_it_prints_for_other_programs() {
    let schema = stdout(&stickler(&["report-schema"]));
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["title"], "stickler report");
    let schema = stdout(&stickler(&["report-schema", "--check"]));
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["title"], "stickler check report");
    let list = stdout(&stickler(&["requirements", "--format", "json"]));
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert!(!list.as_array().unwrap().is_empty());
    assert!(stdout(&stickler(&["man"])).contains(".TH stickler"));
    assert!(stdout(&stickler(&["man", "run"])).contains(".TH stickler-run"));
    assert!(stdout(&stickler(&["completions", "bash"])).contains("_stickler"));
}

#[test]
fn a_reader_who_leaves_early_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stickler"))
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_missing_kernel_or_initrd_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| in_directory(directory.path(), arguments);
    refused(&run(&["run", "--kernel", "none"]), &["kernel", "none"]);
    fs::write(directory.path().join("k"), "not a kernel").unwrap();
    refused(
        &run(&["run", "--kernel", "k", "--initrd", "gone"]),
        &["initrd", "gone"],
    );
}

#[test]
fn a_report_that_could_not_be_written_is_found_before_the_boot() {
    let directory = tempfile::tempdir().unwrap();
    let run = |report: &[&str]| {
        let arguments = [&["run", "--kernel", "none"][..], report].concat();
        in_directory(directory.path(), &arguments)
    };
    refused(
        &run(&["--report", "json=no/such/r.json"]),
        &["no/such/r.json", "create"],
    );
    refused(&run(&["--report", "json=."]), &["is a directory"]);
    refused(
        &run(&["--report", "json=a", "--report", "text=a"]),
        &["two reports"],
    );
}

#[test]
fn nothing_is_lost_to_bad_input() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("r.json");
    fs::write(&report, "precious").unwrap();
    let output = in_directory(
        directory.path(),
        &["run", "--kernel", "none", "--report", "json=r.json"],
    );
    refused(&output, &["none"]);
    assert_eq!(fs::read_to_string(&report).unwrap(), "precious");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn back_ends_that_cannot_be_had_are_named() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("k"), "not a kernel").unwrap();
    let run = |more: &[&str]| {
        let arguments = [&["run", "--kernel", "k"][..], more].concat();
        in_directory(directory.path(), &arguments)
    };
    refused(&run(&["--disk", "gone.img"]), &["gone.img"]);
    refused(&run(&["--net", "tap=no-such-tap"]), &["no-such-tap"]);
    refused(&run(&["--net", "bridge=br0"]), &["bridge=br0", "tap=NAME"]);
    refused(
        &run(&["--net", "none", "--net", "user"]),
        &["--net none", "leave one"],
    );
    refused(&run(&["--console", "pty"]), &["'pty'", "socket=PATH"]);
    refused(
        &run(&["--without", "net.mac", "--offer", "net.mac"]),
        &["'net.mac'", "--without", "--offer"],
    );
    refused(
        &run(&["--offer", "net.guest-tso4"]),
        &["requires 'net.guest-csum'"],
    );
    let many = ["--net", "user"].repeat(31);
    refused(&run(&many), &["33 devices", "31 slots"]);
}

#[test]
fn a_check_that_cannot_begin_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let check = |more: &[&str]| {
        let arguments = [&["check", "--kernel", "k"][..], more].concat();
        in_directory(directory.path(), &arguments)
    };
    refused(&check(&[]), &["kernel", "k"]);
    fs::write(directory.path().join("k"), "not a kernel").unwrap();
    fs::create_dir(directory.path().join("empty")).unwrap();
    refused(
        &check(&["--modules", "empty"]),
        &["no kernel modules in empty"],
    );
    refused(&check(&["--module", "gone.ko"]), &["gone.ko"]);
    refused(&check(&["--module", "k"]), &["k is no kernel module"]);
    refused(&check(&["--modules", "gone"]), &["gone"]);
    refused(&check(&["--initrd", "gone"]), &["initrd gone"]);
    refused(&check(&["--", "gone"]), &["command gone"]);
    refused(
        &check(&["--initrd", "k", "--modules", "empty"]),
        &["--modules", "--initrd"],
    );
    refused(&check(&["--report", "json=no/r.json"]), &["no/r.json"]);
    refused(&check(&["--without", "block.ro"]), &["'block.ro'"]);
    refused(
        &check(&["--disk", "d"]),
        &["--disk", "guest of your own", "--initrd"],
    );
}

/// The report of a shard that ran this one run.
fn shard(run: &str, number: u32, violated: u32, planned: u32) -> String {
    let failures = if violated > 0 {
        r#"[{ "how": "violation", "step": null, "message": "status.no-clear" }]"#
    } else {
        "[]"
    };
    let outcome = if violated > 0 { "violated" } else { "held" };
    let version = env!("CARGO_PKG_VERSION");
    format!(
        r#"{{ "stickler": "{version}", "spec": "1.0", "reading": "lenient", "deny": "must",
        "kernel": {{ "file": "k", "release": "6.1.0" }}, "planned": {planned},
        "runs": [{{ "number": {number}, "name": "{run}",
            "latitude": {{ "choice": "none", "seed": null, "names": [] }}, "devices": [],
            "end": "power-off",
            "time_us": 7, "given_up": [], "memory": "zeroed", "failures": {failures},
            "repeat": "stickler check --kernel k" }}],
        "requirements": [{{ "id": "status.no-clear", "role": "driver", "level": "MUST NOT",
            "clauses": {{ "1.0": ["2.1.1-2"] }}, "outcome": "{outcome}", "held": 4,
            "violated": {violated} }}],
        "findings": [], "dropped": {{ "marks": 0, "findings": 0 }} }}"#
    )
}

#[test]
fn shards_are_merged() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("a.json", &shard("none", 0, 0, 3));
    write("b.json", &shard("seed=1", 1, 0, 3));
    write("c.json", &shard("seed=2", 2, 5, 3));
    let merge = |files: &[&str]| in_directory(directory.path(), &[&["merge"], files].concat());

    let good = merge(&["b.json", "a.json"]);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    let text = stdout(&good);
    assert!(
        text.contains("2 runs: 2 passed, 0 failed, 1 more planned"),
        "{text}"
    );
    assert!(text.contains("8 times"), "{text}");

    let bad = merge(&["c.json", "b.json", "a.json", "--report", "json"]);
    assert_eq!(bad.status.code(), Some(1), "{}", stderr(&bad));
    let whole: serde_json::Value = serde_json::from_str(&stdout(&bad)).unwrap();
    assert_eq!(whole["requirements"][0]["held"], 12);
    assert_eq!(whole["requirements"][0]["violated"], 5);
    let names: Vec<_> = whole["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["name"])
        .collect();
    assert_eq!(names, ["none", "seed=1", "seed=2"]);
}

/// A full disk costs no report: the text is on standard error, and JSON in another file, which is named.
#[test]
fn a_report_that_cannot_be_written_at_the_end_is_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("a.json"), shard("none", 0, 2, 1)).unwrap();
    fs::create_dir(path("tmp")).unwrap();
    let merge = |reports: &[&str]| {
        let reports = reports.iter().flat_map(|report| ["--report", report]);
        Command::new(env!("CARGO_BIN_EXE_stickler"))
            .args(["merge", "a.json"])
            .args(reports)
            .current_dir(directory.path())
            .env("TMPDIR", path("tmp"))
            .output()
            .unwrap()
    };
    let lost = merge(&["text=/dev/full"]);
    assert_eq!(lost.status.code(), Some(4));
    let message = stderr(&lost);
    assert!(message.contains("1 run: 0 passed, 1 failed"), "{message}");
    assert!(message.contains("report to /dev/full: "), "{message}");
    assert_eq!(stdout(&lost), "");

    // What was written is not written again.
    let seen = merge(&["text", "json=/dev/full"]);
    assert_eq!(seen.status.code(), Some(4));
    assert!(stdout(&seen).contains("1 run: 0 passed, 1 failed"));
    let message = stderr(&seen);
    assert!(!message.contains("1 run: 0 passed"), "{message}");
    let kept = message.split(" is in ").nth(1).unwrap();
    let kept = kept.split(" instead").next().unwrap();
    assert!(Path::new(kept).starts_with(path("tmp")), "{kept}");
    let json: serde_json::Value = serde_json::from_slice(&fs::read(kept).unwrap()).unwrap();
    assert_eq!(json["requirements"][0]["violated"], 2);

    // Standard output, too, may be a full disk.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let lost = Command::new(env!("CARGO_BIN_EXE_stickler"))
        .args(["merge", "a.json"])
        .current_dir(directory.path())
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(lost.status.code(), Some(4));
    assert!(stderr(&lost).contains("1 run: 0 passed, 1 failed"));
}

#[test]
fn what_cannot_be_merged_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("a.json", &shard("none", 0, 0, 3));
    write("same.json", &shard("none", 0, 0, 3));
    write("other.json", &shard("seed=1", 1, 0, 9));
    write("run.json", r#"{ "stickler": "0.1.0", "spec": "1.0" }"#);
    let merge = |files: &[&str]| in_directory(directory.path(), &[&["merge"], files].concat());
    refused(&merge(&["a.json", "gone.json"]), &["gone.json"]);
    refused(
        &merge(&["a.json", "same.json"]),
        &["none", "a.json", "same.json"],
    );
    refused(&merge(&["a.json", "other.json"]), &["planned", "3", "9"]);
    refused(
        &merge(&["a.json", "run.json"]),
        &["run.json", "not a report"],
    );
    // What is not known is not left out: it would end with exit code 0.
    let unknown = shard("seed=1", 1, 7, 3).replace("status.no-clear", "status.no-such");
    write("unknown.json", &unknown);
    let words = ["unknown.json", "/requirements/0", "status.no-such"];
    refused(&merge(&["unknown.json"]), &words);
    write("number.json", &shard("seed=1", 0, 0, 3));
    let words = ["seed=1", "a.json", "number.json"];
    refused(&merge(&["a.json", "number.json"]), &words);
    let old = shard("seed=1", 1, 7, 3).replace(env!("CARGO_PKG_VERSION"), "0.0.1");
    write("old.json", &old);
    let words = ["old.json", "stickler 0.0.1", "run the check again"];
    refused(&merge(&["old.json"]), &words);
}
