//! `stickler run --monitor qemu`, with a QEMU that this program plays itself.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use stickler_vfio_user::client::Client;
use stickler_vfio_user::wire::region;

/// What the QEMU that is played does; set in its process.
const PART: &str = "STICKLER_TEST_QEMU";

/// The name of the test that plays it.
const PLAYER: &str = "plays_qemu";

/// Runs a kernel on a QEMU that plays `part`.
fn run(part: &str, options: &[&str]) -> (Output, Option<Value>) {
    let kernel = ["--kernel", "kernel", "--net", "none"];
    run_guest(part, &[&kernel, options].concat())
}

/// Runs a guest on a QEMU that plays `part`.
fn run_guest(part: &str, options: &[&str]) -> (Output, Option<Value>) {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::write(at("kernel"), "").expect("there is room");
    let output = Command::new(env!("CARGO_BIN_EXE_stickler"))
        .args(["run", "--report", "json=report.json"])
        .arg("--monitor")
        .arg(format!("qemu={}", script(&at("qemu"), part).display()))
        .args(options)
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()
        .expect("the program can be started");
    let report = fs::read(at("report.json")).ok();
    let report = report.map(|bytes| serde_json::from_slice(&bytes).expect("it is JSON"));
    (output, report)
}

/// A program that is taken for QEMU.
fn script(path: &Path, part: &str) -> PathBuf {
    let this = env::current_exe().expect("this program");
    let text = format!(
        "#!/bin/sh\n\
         case $1 in\n\
         --version) echo QEMU emulator version 11.1.3; exit;;\n\
         -device) exit;;\n\
         -cpu) echo qemu64; exit;;\n\
         esac\n\
         {PART}={part} exec '{}' --exact {PLAYER} --nocapture -- \"$@\"\n",
        this.display()
    );
    fs::write(path, text).expect("there is room");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, mode).expect("it is ours");
    path.to_owned()
}

/// In its own process, QEMU; otherwise nothing.
#[test]
fn plays_qemu() {
    let Ok(part) = env::var(PART) else {
        return;
    };
    if part == "refuses" {
        eprintln!("qemu-system-x86_64: warning: this is of no matter");
        eprintln!("qemu-system-x86_64: could not load kernel 'kernel'");
        std::process::exit(1);
    }
    let arguments: Vec<String> = env::args().skip_while(|word| word != "--").collect();
    let value = |start: &str, end: char| {
        let text = arguments.iter().find_map(|word| word.split_once(start));
        let text = text.expect("it is told").1;
        text.split(end).next().expect("it is told").to_owned()
    };
    let listener = UnixListener::bind(value("wait=off,path=", ',')).expect("free");
    let mut client = Client::connect(Path::new(&value("\"path\":\"", '"'))).expect("it listens");
    let (mut stream, _) = listener.accept().expect("stickler comes");
    if part == "refuses-late" {
        eprintln!("qemu: invalid kernel header");
        std::process::exit(1);
    }
    let mut commands = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
    for command in ["qmp_capabilities", "cont"] {
        let line = commands.next().expect("a line").expect("a line");
        assert!(line.contains(command), "{line}");
        writeln!(stream, "{{\"return\": {{}}}}").expect("sent");
    }
    if !part.starts_with("boots") {
        println!("@mark begun");
    }
    // Stickler has read it.
    thread::sleep(Duration::from_millis(100));
    match part.as_str() {
        "violates" => {
            client.write(region::CONFIG, 4, &[6, 0]).expect("it can");
            client.write(0, 20, &[1]).expect("it can");
        }
        "crashes" => {
            eprintln!("qemu-system-x86_64: something is wrong");
            std::process::exit(1);
        }
        "panics" => println!("[    1.000000] Kernel panic - not syncing: no init"),
        "boots-nothing" => {
            print!("Hit any key to stop autoboot:  0 \r\n=> ");
            std::io::stdout().flush().expect("it is read");
            thread::sleep(Duration::from_secs(60));
        }
        "boots-and-writes-nothing" => {
            println!("\r\n@mark boot-sector\r\n\r\nexercise: passed\r");
            thread::sleep(Duration::from_millis(100));
        }
        "garbles" => client.send(&[0xff; 16], &[]).expect("sent"),
        _ => {}
    }
    if part != "hangs" {
        let reason = match part.as_str() {
            "panics" | "resets" => "guest-reset",
            _ => "guest-shutdown",
        };
        let event = format!(
            "{{\"event\": \"SHUTDOWN\", \"data\": {{\"guest\": true, \"reason\": \"{reason}\"}}}}"
        );
        writeln!(stream, "{event}").expect("sent");
    }
    // It waits to be ended.
    thread::sleep(Duration::from_secs(60));
}

fn ended(part: &str, options: &[&str]) -> (Option<i32>, Value) {
    let (output, report) = run(part, options);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (
        output.status.code(),
        report.unwrap_or_else(|| panic!("no report: {said}")),
    )
}

#[test]
fn a_guest_ends_as_on_the_machine() {
    for (part, options, code, end) in [
        ("powers-off", &[][..], 0, "power-off"),
        ("resets", &[], 0, "reset"),
        ("panics", &[], 3, "panic"),
        ("hangs", &["--timeout", "1s"], 3, "timeout"),
        ("violates", &[], 1, "power-off"),
        ("violates", &["--on-violation", "stop"], 1, "violation"),
        ("crashes", &[], 4, "error"),
        ("garbles", &[], 4, "error"),
    ] {
        let (found, report) = ended(part, options);
        assert_eq!(
            (found, report["guest"]["end"].as_str()),
            (Some(code), Some(end)),
            "{part}"
        );
        assert_eq!(report["marks"][0]["name"], "begun", "{part}");
    }
    let (_, report) = ended("panics", &[]);
    assert_eq!(report["guest"]["message"], "no init");
    let (_, report) = ended("crashes", &[]);
    let message = report["guest"]["message"].as_str().expect("it says why");
    assert!(message.ends_with("something is wrong"), "{message}");
}

#[test]
fn the_guest_says_what_it_says_on_standard_output() {
    let (output, _) = run("powers-off", &[]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("@mark begun\n"));
}

#[test]
fn a_guest_that_qemu_cannot_run_is_bad_input() {
    let (output, report) = run("refuses", &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(
        said,
        "stickler: QEMU cannot run this guest: could not load kernel 'kernel'\n"
    );
    assert_eq!(report, None);
    let (output, _) = run("refuses-late", &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.ends_with("this guest: invalid kernel header\n"),
        "{said}"
    );
}

#[test]
fn a_qemu_that_is_not_there_is_bad_input() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("kernel"), "").expect("there is room");
    for (command, monitor, words) in [
        ("run", "qemu=missing", "there is no such program"),
        ("check", "qemu=missing", "there is no such program"),
        ("run", "qemu=/bin/true", "is no QEMU"),
        ("run", "xen", "qemu=PATH"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_stickler"))
            .args([command, "--kernel", "kernel", "--monitor", monitor])
            .current_dir(directory.path())
            .output()
            .expect("the program can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words) && said.lines().count() == 1, "{said}");
    }
}

/// The verdict on firmware: whether it booted, and what became of the disk.
#[test]
fn firmware_has_to_boot_and_to_do_right_by_the_disk() {
    let firmware = ["--firmware", "./kernel", "--net", "none", "--no-rng"];
    let (output, report) = run_guest("boots-nothing", &firmware);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let report = report.expect("a report");
    assert_eq!(report["guest"]["end"], "gave-up");
    assert_eq!(report["boot"]["program"], Value::Null);
    assert_eq!(report["boot"]["data"], "untouched");
    assert!(said.contains("U-Boot stopped at its prompt"), "{said}");
    // With a device that a driver may give up, it need not boot.
    let lenient = [&firmware[..], &["--latitude", "refused-features"]].concat();
    let (output, report) = run_guest("boots-nothing", &lenient);
    assert_eq!(output.status.code(), Some(0));
    let report = report.expect("a report");
    assert_eq!(report["boot"]["failures"], Value::Array(Vec::new()));
    assert_eq!(report["boot"]["excused"][0]["how"], "boot");

    let (output, report) = run_guest("boots-and-writes-nothing", &firmware);
    assert_eq!(output.status.code(), Some(3));
    let report = report.expect("a report");
    assert_eq!(report["guest"]["end"], "power-off");
    assert_eq!(report["boot"]["program"], "boot-sector");
    assert_eq!(report["boot"]["failures"][0]["how"], "data");
}

#[test]
fn firmware_that_cannot_be_judged_is_bad_input() {
    for (arguments, words) in [
        (&["run"][..], "--kernel"),
        (&["run", "--firmware", "uboot"], "u-boot"),
        (&["run", "--firmware", "ovmf", "--arch", "sparc"], "riscv64"),
        (&["run", "--firmware", "ovmf", "--kernel", "k"], "--kernel"),
        (&["run", "--firmware", "ovmf", "--append", "x"], "--append"),
        (
            &["run", "--firmware", "ovmf", "--monitor", "kvm"],
            "--monitor qemu",
        ),
        (
            &[
                "run",
                "--kernel",
                "k",
                "--arch",
                "aarch64",
                "--monitor",
                "kvm",
            ],
            "--monitor qemu",
        ),
        (
            &["check", "--kernel", "k", "--arch", "riscv64"],
            "--initrd, without a command",
        ),
        (
            &["check", "--firmware", "ovmf", "--steps", "block"],
            "--steps is for kernels",
        ),
        (
            &["check", "--firmware", "ovmf", "--", "/bin/true"],
            "a command is for kernels",
        ),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("k"), "").expect("there is room");
        let output = Command::new(env!("CARGO_BIN_EXE_stickler"))
            .args(arguments)
            .current_dir(directory.path())
            .output()
            .expect("the program can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words) && said.lines().count() == 1, "{said}");
    }
    // With a QEMU: there is no such firmware for these guests, or no such file.
    let directory = tempfile::tempdir().expect("a directory");
    let qemu = script(&directory.path().join("qemu"), "hangs");
    let monitor = format!("qemu={}", qemu.display());
    fs::write(directory.path().join("k"), "").expect("there is room");
    for (options, words) in [
        (&["--firmware", "./missing"][..], "cannot read the firmware"),
        (
            &["--firmware", "ovmf", "--arch", "aarch64"],
            "no QEMU for aarch64",
        ),
        (
            &["--firmware", "./k", "--latitude", "seed=1,alone=net"],
            "firmware has all its devices",
        ),
    ] {
        let command = if options.contains(&"--latitude") {
            "check"
        } else {
            "run"
        };
        let output = Command::new(env!("CARGO_BIN_EXE_stickler"))
            .args([command, "--monitor", &monitor])
            .args(options)
            .current_dir(directory.path())
            .output()
            .expect("the program can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
        assert!(said.contains(words) && said.lines().count() == 1, "{said}");
    }
}
