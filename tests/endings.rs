//! How the program ends: whatever happens to it, its report is written and nothing is left behind.

use std::fs::{self, File};
use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// The program in a directory of its own, serving an entropy device.
struct Serving {
    directory: TempDir,
    program: Child,
}

impl Serving {
    fn start(options: &[&str], stdout: Stdio, stderr: Stdio) -> Serving {
        let directory = tempfile::tempdir().expect("a directory");
        let program = Command::new(env!("CARGO_BIN_EXE_stickler"))
            .args(["serve", "--socket", "device.sock", "--rng"])
            .args(["--report", "json=report.json"])
            .args(options)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("the program can be started");
        Serving { directory, program }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.program), signal).expect("it runs");
    }

    fn end(&mut self) -> ExitStatus {
        let mut ended = None;
        until(|| {
            ended = self.program.try_wait().expect("it is ours");
            ended.is_some()
        });
        ended.expect("it has ended")
    }

    fn report(&self) -> Value {
        let report = fs::read(self.path("report.json")).expect("it is written");
        serde_json::from_slice(&report).expect("it is JSON")
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

/// A pipe without room.
fn full_pipe() -> (PipeReader, OwnedFd) {
    let (reader, writer) = io::pipe().expect("a pipe");
    let writer = OwnedFd::from(writer);
    let flags = fcntl_getfl(&writer).expect("it has flags");
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("it can");
    while rustix::io::write(&writer, &[b'x'; 512]).is_ok() {}
    fcntl_setfl(&writer, flags).expect("it can");
    (reader, writer)
}

/// A pipe without a reader.
fn closed_pipe() -> OwnedFd {
    let (_, writer) = io::pipe().expect("a pipe");
    writer.into()
}

/// Reads until the end, on a thread of its own.
fn drain(mut reader: PipeReader) {
    thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
}

fn is_caught(program: &Child, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", program.id()));
    let caught = status.ok().and_then(|status| {
        let mask = status.lines().find_map(|l| l.strip_prefix("SigCgt:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    caught.is_some_and(|mask| mask & 1 << (signal.as_raw() - 1) != 0)
}

#[test]
fn a_signal_before_the_run_has_begun_does_not_lose_the_report() {
    // What it says before it serves finds no room.
    let (reader, stderr) = full_pipe();
    let mut serving = Serving::start(&[], Stdio::null(), stderr.into());
    until(|| serving.path("device.sock").exists());
    serving.signal(Signal::TERM);
    drain(reader);
    assert_eq!(serving.end().code(), Some(0));
    assert_eq!(serving.report()["guest"]["end"], "interrupted");
}

#[test]
fn signals_while_reports_are_written_do_not_lose_them() {
    // The first report finds no room.
    let (reader, stdout) = full_pipe();
    let options = ["--report", "text", "--report", "json=second.json"];
    let mut serving = Serving::start(&options, stdout.into(), Stdio::null());
    until(|| is_caught(&serving.program, Signal::TERM) && serving.path("device.sock").exists());
    serving.signal(Signal::TERM);
    until(|| serving.path("report.json").exists() && !serving.path("device.sock").exists());
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        serving.signal(signal);
    }
    drain(reader);
    assert_eq!(serving.end().code(), Some(0));
    assert!(serving.path("second.json").exists());
}

#[test]
fn a_killed_run_leaves_no_half_of_a_report() {
    let mut serving = Serving::start(&[], Stdio::null(), Stdio::null());
    until(|| serving.path("device.sock").exists());
    serving.signal(Signal::KILL);
    assert_eq!(serving.end().signal(), Some(Signal::KILL.as_raw()));
    let names = fs::read_dir(serving.directory.path()).expect("it is there");
    let names: Vec<_> = names
        .map(|entry| entry.expect("it can be read").file_name())
        .collect();
    assert_eq!(names, ["device.sock"]);
}

/// Whether the process has ended: a zombie has, where nobody waits for it.
fn has_ended(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    state.is_empty() || state.starts_with(['Z', 'X'])
}

#[test]
fn a_killed_check_leaves_neither_processes_nor_directories() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("tmp")).expect("there is room");
    fs::write(at("kernel"), "").expect("there is room");
    // A QEMU that does nothing.
    let script = "#!/bin/sh\ncase $1 in\n--version) echo QEMU emulator version 11.1.3; exit;;\n-device) exit;;\n\
                  -cpu) echo qemu64; exit;;\nesac\ncd $TMPDIR; echo $PPID >run.new; mv run.new run; echo $$ >qemu.new; mv qemu.new qemu; \
                  exec sleep 600\n";
    fs::write(at("emulator"), script).expect("there is room");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(at("emulator"), mode).expect("it is ours");
    let mut check = Command::new(env!("CARGO_BIN_EXE_stickler"))
        .args(["check", "--kernel", "kernel", "--latitude", "none"])
        .arg("--monitor")
        .arg(format!("qemu={}", at("emulator").display()))
        .env("TMPDIR", at("tmp"))
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it can be started");
    until(|| at("tmp/qemu").exists());
    let pids =
        ["tmp/run", "tmp/qemu"].map(|name| fs::read_to_string(at(name)).expect("it is there"));
    assert!(pids.iter().all(|pid| !has_ended(pid.trim())));
    let there = || {
        let names = fs::read_dir(at("tmp")).expect("it is there").flatten();
        let names = names.map(|entry| entry.file_name().into_encoded_bytes());
        names.filter(|name| name.starts_with(b"stickler-")).count()
    };
    assert!(there() >= 2);
    check.kill().expect("it runs");
    check.wait().expect("it has ended");
    until(|| pids.iter().all(|pid| has_ended(pid.trim())));
    until(|| there() == 0);
}

#[test]
fn a_signal_ends_the_wait_for_the_reader_of_a_report() {
    let directory = tempfile::tempdir().expect("a directory");
    let fifo = directory.path().join("fifo");
    let mkfifo = Command::new("mkfifo").arg(&fifo).status();
    assert!(mkfifo.expect("it can be started").success());
    let report = format!("json={}", fifo.display());
    let mut serving = Serving::start(&["--report", &report], Stdio::null(), Stdio::null());
    until(|| is_caught(&serving.program, Signal::TERM));
    serving.signal(Signal::TERM);
    assert_eq!(serving.end().code(), Some(2));
    // With a reader it goes on.
    let mut serving = Serving::start(&["--report", &report], Stdio::null(), Stdio::null());
    let mut read = String::new();
    let mut reader = File::open(&fifo).expect("it can be read");
    until(|| serving.path("device.sock").exists());
    serving.signal(Signal::TERM);
    reader.read_to_string(&mut read).expect("it is text");
    assert_eq!(serving.end().code(), Some(0));
    assert!(read.contains("interrupted"), "{read}");
}

#[test]
fn closed_streams_end_nothing() {
    let options = ["--report", "text"];
    let mut serving = Serving::start(&options, closed_pipe().into(), closed_pipe().into());
    until(|| serving.path("device.sock").exists());
    serving.signal(Signal::TERM);
    assert_eq!(serving.end().code(), Some(0));
    assert_eq!(serving.report()["guest"]["end"], "interrupted");
}

/// Runs the program where no file may have more than `blocks` of 512 bytes, with a file as standard output.
fn limited(directory: &Path, blocks: u32, arguments: &str) -> (ExitStatus, String) {
    let script = format!("ulimit -f {blocks}; exec \"$0\" {arguments} >out");
    let output = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_stickler")])
        .current_dir(directory)
        .output()
        .expect("it can be started");
    let said = String::from_utf8(output.stderr).expect("it is text");
    (output.status, said)
}

#[test]
fn a_limit_of_the_size_of_files_is_an_error_of_the_write() {
    let directory = tempfile::tempdir().expect("a directory");
    let (status, said) = limited(directory.path(), 1, "requirements");
    assert_eq!(status.signal(), None);
    assert_eq!(status.code(), Some(4), "{said}");
    assert!(
        said.contains("cannot write to standard output: File too large"),
        "{said}"
    );
    // The report is not lost: it goes to standard error.
    let serve = "serve --socket s --rng --timeout 100ms --report json=report.json";
    let (status, said) = limited(directory.path(), 0, serve);
    assert_eq!(status.code(), Some(4), "{said}");
    assert!(said.contains("File too large"), "{said}");
    assert!(said.contains("guest timed out"), "{said}");
}
