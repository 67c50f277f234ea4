//! `stickler serve` as a user and a monitor meet it.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stickler_vfio_user::client::Client;
use stickler_vfio_user::wire::region;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// The program, serving an entropy device.
struct Serving {
    directory: TempDir,
    program: Child,
}

impl Serving {
    fn start(options: &[&str]) -> Serving {
        let directory = tempfile::tempdir().expect("a directory");
        let program = Command::new(env!("CARGO_BIN_EXE_stickler"))
            .args(["serve", "--socket", "device.sock", "--rng"])
            .args(["--report", "json=report.json"])
            .args(options)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let serving = Serving { directory, program };
        until(|| serving.socket().exists());
        serving
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("device.sock")
    }

    /// A client, as soon as the program listens: the socket is there a moment before.
    fn client(&self) -> Client {
        let mut client = None;
        until(|| {
            client = UnixStream::connect(self.socket()).ok();
            client.is_some()
        });
        let stream = client.expect("it listens");
        let mut client = Client::on(stream).expect("a client");
        client.agree(0, 1, b"").expect("it is served");
        client
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.program);
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits for its end. Returns its exit code, the JSON report, and standard error.
    fn end(mut self) -> (Option<i32>, Value, String) {
        let mut ended: Option<ExitStatus> = None;
        until(|| {
            ended = self.program.try_wait().expect("it is ours");
            ended.is_some()
        });
        assert!(!self.socket().exists(), "the socket is removed");
        let report = fs::read(self.directory.path().join("report.json")).expect("it is written");
        let report = serde_json::from_slice(&report).expect("it is JSON");
        let mut said = String::new();
        let mut errors = self.program.stderr.take().expect("it is a pipe");
        errors.read_to_string(&mut said).expect("it speaks UTF-8");
        (ended.and_then(|status| status.code()), report, said)
    }
}

/// Nothing is left of a test that fails.
impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it takes too long");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn it_ends_with_the_report_when_the_monitor_has_gone() {
    let serving = Serving::start(&[]);
    let mut client = serving.client();
    let identity = client.config(0, 4).expect("it is there");
    assert_eq!(identity, 0x1044_1af4);
    drop(client);
    let (code, report, said) = serving.end();
    assert_eq!(code, Some(0));
    assert_eq!(report["guest"]["end"], "disconnected");
    assert!(
        said.contains("-device '{\"driver\":\"vfio-user-pci\""),
        "{said}"
    );
    assert!(said.contains("--user-device socket=/"), "{said}");
}

#[test]
fn it_ends_with_the_report_at_a_signal_also_while_a_monitor_is_there() {
    for signal in [Signal::TERM, Signal::INT] {
        let serving = Serving::start(&["--keep"]);
        drop(serving.client());
        let _client = serving.client();
        serving.signal(signal);
        let (code, report, _) = serving.end();
        assert_eq!(code, Some(0));
        assert_eq!(report["guest"]["end"], "interrupted");
    }
}

#[test]
fn a_violation_is_in_the_report_and_in_the_exit_code() {
    let serving = Serving::start(&[]);
    let mut client = serving.client();
    // The driver begins without a reset. The common configuration is the first thing in BAR 0.
    client.write(region::CONFIG, 4, &[6, 0]).expect("it can");
    client.write(0, 20, &[1]).expect("it can");
    drop(client);
    let (code, report, _) = serving.end();
    assert_eq!(code, Some(1));
    let text = report.to_string();
    assert!(text.contains("\"status.sequence.reset\""), "{text}");
}

#[test]
fn a_monitor_that_breaks_the_protocol_is_an_error_of_its_own() {
    let serving = Serving::start(&[]);
    let mut client = serving.client();
    client.send(&[0xff; 16], &[]).expect("sent");
    let (code, report, said) = serving.end();
    assert_eq!(code, Some(3));
    assert!(
        said.contains("client of device.sock: it sent a message of"),
        "{said}"
    );
    assert_eq!(
        report["findings"].as_array().map(Vec::len),
        Some(0),
        "{report}"
    );
}

/// The monitor has the guest's serial port, and writes its output to a file for us.
#[test]
fn marks_come_from_the_monitors_serial_port() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("serial");
    fs::write(&path, "hello\r\n@mark loader\r\n").expect("there is room");
    let serving = Serving::start(&["--marks", path.to_str().expect("UTF-8")]);
    // They have been read when the device is there, or soon after.
    thread::sleep(Duration::from_secs(1));
    let mut client = serving.client();
    client.write(region::CONFIG, 4, &[6, 0]).expect("it can");
    client.write(0, 20, &[1]).expect("it can");
    drop(client);
    let (_, report, _) = serving.end();
    assert_eq!(report["marks"][0]["name"], "loader");
    assert_eq!(report["findings"][0]["mark"], "loader");
}

#[test]
fn the_time_limit_ends_it() {
    let (code, report, _) = Serving::start(&["--timeout", "1s"]).end();
    assert_eq!(code, Some(3));
    assert_eq!(report["guest"]["end"], "timeout");
}

#[test]
fn bad_input_is_one_sentence() {
    let directory = tempfile::tempdir().expect("a directory");
    let _listener =
        std::os::unix::net::UnixListener::bind(directory.path().join("taken")).expect("free");
    let long = "x".repeat(120);
    for (arguments, words) in [
        (&["--socket", "s"][..], "there is no device to serve"),
        (&["--socket", "s", "--net", "none"], "--net none"),
        (&["--rng"], "--socket"),
        (&["--socket", "taken", "--rng"], "another process listens"),
        (
            &["--socket", "missing/s", "--rng"],
            "there is no directory missing",
        ),
        (&["--socket", &long, "--rng"], "too long"),
        (&["--socket", "s", "--disk", "missing.img"], "missing.img"),
        (
            &["--socket", "s", "--rng", "--marks", "missing"],
            "make a named pipe",
        ),
        (
            &["--socket", "s", "--console", "stdio", "--marks", "-"],
            "both read standard input",
        ),
        (
            &["--socket", "s", "--rng", "--latitude", "nonsense"],
            "nonsense",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_stickler"))
            .arg("serve")
            .args(arguments)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .output()
            .expect("the program can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.starts_with("stickler: ") && said.contains(words),
            "{said}"
        );
        assert!(
            !Path::exists(&directory.path().join("s")),
            "nothing is left"
        );
    }
}
