//! One run: `stickler run` in a separate process.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stickler_conformance::{DeviceKind, Latitude, Latitudes};
use stickler_exerciser::{
    DEVICES_PARAMETER, GIVING_UP_PARAMETER, INIT, Kind, LAST_PARAMETER, LATITUDES_PARAMETER,
    PATIENCE_PARAMETER, PORT, STEPS_PARAMETER, STRESS_PARAMETER,
};

use super::exercise::ExercisePlan;
use super::guest::{GuestImage, Load};
use super::host::{ConsolePeer, DiskState, Disks};
use super::plan::Planned;
use super::repeat::CommonOptions;
use super::stream::StreamReader;
use super::verdict::{self, ExerciseLog, ProcessEnd};
use super::view;
use crate::children;
use crate::paths;
use crate::report::check::{CheckedRun, FailureKind, RunFailure};
use crate::report::features::without_configurations;
use crate::report::json::{ReportedLatitudes, RunReport};
use crate::report::{Deny, EndKind};

/// How much longer than its guest a run may take, for its start and its end.
const GRACE: Duration = Duration::from_secs(60);

/// How long a run may continue after it was asked to end.
const END_GRACE: Duration = Duration::from_secs(10);

/// How often a run is asked whether it has ended.
const TICK: Duration = Duration::from_millis(50);

/// A step may take the guest's time divided by this; after that it counts as hanging. The other steps
/// still have time then.
const STEPS_IN_TIME: u32 = 3;

/// Which messages of its own a guest's kernel shows: warnings and worse, as its complaints are.
const LOG: &str = "quiet loglevel=5";

/// What all runs have in common.
pub struct Setting {
    /// The program to run: this one.
    pub program: PathBuf,
    /// The kernel's file.
    pub kernel: PathBuf,
    /// What the guest boots.
    pub guest: GuestImage,
    /// The options that a command needs to repeat a run.
    pub common: CommonOptions,
    /// More for the kernel's command line.
    pub append: String,
    /// Arguments that are passed on as they are.
    pub arguments: Vec<OsString>,
    /// Whether the guests have stickler's own disks: `arguments` may have others.
    pub disks: bool,
    /// The same of the ports of the console.
    pub consoles: bool,
    /// How long a guest may run.
    pub timeout: Duration,
    /// How long drivers come and go under load; the exercise has a time of its own.
    pub stress: Option<Duration>,
    /// Which violations are failures.
    pub deny: Deny,
    /// Whether a run fails in which a plain device was taken by no driver.
    pub require_drivers: bool,
    /// In which each run has a directory while it lasts.
    pub scratch: PathBuf,
    /// Where the guests' output and their reports are kept.
    pub keep: Option<PathBuf>,
}

/// The result of a run.
pub enum RunResult {
    /// It ran until its end or until it was asked to end.
    Done(Box<CheckedRun>, Option<Box<RunReport>>),
    /// stickler refused to run it, for this reason.
    Refused(String),
}

/// Runs `planned`. Calls `see` with the name of each step; ends early when `stop` returns true.
pub fn run(
    setting: &Setting,
    planned: &Planned,
    see: &dyn Fn(&str),
    stop: &dyn Fn() -> bool,
) -> io::Result<RunResult> {
    let begin = Instant::now();
    let directory = tempfile::tempdir_in(&setting.scratch)?;
    let disks = match setting.guest.load {
        // Firmware has a disk of its own.
        Load::Firmware => Disks::none(),
        _ => Disks::create(directory.path())?,
    };
    let report_file = directory.path().join("report.json");
    let sockets: &[&str] = match setting.guest.load {
        Load::Exercise => &["terminal", "port"],
        Load::Command | Load::System if setting.consoles => &["port"],
        Load::Command | Load::System | Load::Firmware => &[],
    };
    // Input that is early needs somebody who types before the guest's terminal is open.
    let greeting: &[u8] = match planned.latitudes.has(Latitude::EARLY_INPUT) {
        true if setting.guest.load == Load::Exercise => b"early",
        _ => b"",
    };
    let peers = sockets.iter().map(|name| {
        let greeting = if *name == "terminal" { greeting } else { b"" };
        ConsolePeer::on(directory.path().join(name), greeting)
    });
    let _peers: Vec<ConsolePeer> = peers.collect();
    let command = match setting.guest.load {
        Load::Firmware => command_of_firmware(setting, planned, directory.path()),
        _ => command(setting, planned, directory.path(), &disks),
    };
    let mut child = as_a_run(command).spawn()?;
    let output = child.stdout.take().map(StreamReader::start);
    let errors = child.stderr.take().map(StreamReader::start);
    let code = wait(
        &mut child,
        setting.timeout + GRACE,
        output.as_ref(),
        see,
        stop,
    )?;
    let output = output.map(StreamReader::end).unwrap_or_default();
    let errors = errors.map(StreamReader::end).unwrap_or_default();
    let log = &output.log;
    let report = fs::read_to_string(&report_file).unwrap_or_default();
    if let Some(keep) = &setting.keep {
        let name: String = planned.name.chars().take(100).collect();
        let name = format!("{}-{}", planned.number, name.replace('/', "_"));
        let lines = [output.text(), errors.text()].concat();
        paths::write(&keep.join(format!("{name}.log")), lines)?;
        if !report.is_empty() {
            paths::write(&keep.join(format!("{name}.json")), &report)?;
        }
    }
    let last_error = errors.last.clone();
    if code == Some(2) && report.is_empty() {
        let reason = last_error.strip_prefix("stickler: ").unwrap_or(&last_error);
        return Ok(RunResult::Refused(reason.to_owned()));
    }
    let report: Option<RunReport> = serde_json::from_str(&report).ok();
    let end = ProcessEnd { code, last_error };
    let mut failures = verdict::failures(
        setting.guest.load,
        &end,
        report.as_ref(),
        log,
        setting.deny,
        || disks.compare(disk_state(log, planned)),
    );
    if let Some(report) = &report {
        failures.extend(view::differences(&report.devices, &log.views));
    }
    if setting.require_drivers {
        failures.extend(report.iter().flat_map(verdict::missing_drivers));
    }
    if !setting.guest.has_modules {
        verdict::suggest_modules(&mut failures);
    }
    let checked = CheckedRun {
        number: planned.number,
        name: planned.name.clone(),
        latitude: ReportedLatitudes::new(planned.latitudes, planned.seed),
        devices: report
            .as_ref()
            .map_or(Vec::new(), |report| without_configurations(&report.devices)),
        end: report
            .as_ref()
            .map_or(EndKind::Error, |report| report.guest.end),
        time_us: u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX),
        given_up: given_up(log, report.as_ref()),
        memory: planned.freed,
        standing: report.as_ref().and_then(|report| report.standing.clone()),
        complaints: report
            .as_ref()
            .map_or(Vec::new(), |report| report.complaints.clone()),
        next_kernels: report
            .as_ref()
            .map_or(Vec::new(), |report| report.next_kernels.clone()),
        failures,
        lines_dropped: output.dropped.saturating_add(errors.dropped),
        repeat: setting.common.repeat(planned, setting.guest.load),
        shrunk: None,
    };
    Ok(RunResult::Done(Box::new(checked), report.map(Box::new)))
}

/// What drivers gave up, where they may.
fn given_up(log: &ExerciseLog, report: Option<&RunReport>) -> Vec<String> {
    let devices = log.given_up.iter();
    let devices = devices.map(|device| format!("{} {}", device.kind, device.state));
    let boot = report.and_then(|report| report.boot.as_ref());
    let excused = boot.into_iter().flat_map(|boot| &boot.excused);
    let excused = excused.map(|failure| failure.describe());
    devices.chain(excused).collect()
}

/// What the first disk should contain after the run.
fn disk_state(log: &ExerciseLog, planned: &Planned) -> DiskState {
    let absent = planned.alone.is_some_and(|kind| kind != DeviceKind::Block);
    if absent {
        DiskState::Untouched
    } else if log.given_up.iter().any(|device| device.kind == Kind::Block) {
        DiskState::GivenUp
    } else if log.unwritten {
        DiskState::Untouched
    } else {
        DiskState::Written
    }
}

/// Whether a conforming driver may give up on a device with these latitudes.
fn may_end_use(latitudes: Latitudes) -> bool {
    latitudes.iter().any(Latitude::may_end_use)
}

/// What the exercise calls a device type.
fn exercised(kind: DeviceKind) -> Kind {
    match kind {
        DeviceKind::Net => Kind::Net,
        DeviceKind::Block => Kind::Block,
        DeviceKind::Console => Kind::Console,
        DeviceKind::Entropy => Kind::Entropy,
    }
}

fn command(setting: &Setting, planned: &Planned, directory: &Path, disks: &Disks) -> Command {
    let latitudes = planned.latitudes;
    let option = |before: &str, path: &Path, after: &str| -> OsString {
        let mut value = OsString::from(before);
        value.push(path);
        value.push(after);
        value
    };
    let mut append = format!(
        "{LOG} sysrq_always_enabled panic=-1 {}",
        planned.freed.parameters()
    );
    if setting.guest.load != Load::System {
        append.push_str(&format!(" cryptomgr.notests rdinit={INIT}"));
    }
    if setting.guest.load == Load::Exercise {
        let patience = (setting.timeout / STEPS_IN_TIME).as_secs().max(1);
        append.push_str(&format!(" {PATIENCE_PARAMETER}={patience}"));
        let names: Vec<_> = latitudes.iter().map(Latitude::name).collect();
        append.push_str(&format!(" {LATITUDES_PARAMETER}={}", names.join(",")));
        // After an Oops nothing that the guest does says anything, and it may stand still until its time is over.
        append.push_str(" oops=panic");
        append.push_str(&steps(&planned.exercise));
        if let Some(stress) = setting.stress {
            append.push_str(&format!(" {STRESS_PARAMETER}={}", stress.as_secs()));
        }
        if let Some(kind) = planned.alone {
            append.push_str(&format!(" {DEVICES_PARAMETER}={}", exercised(kind)));
        }
        if may_end_use(latitudes) {
            append.push_str(&format!(" {GIVING_UP_PARAMETER}=yes"));
        }
    }
    append.push(' ');
    append.push_str(&setting.append);

    let mut command = Command::new(&setting.program);
    command
        .arg("run")
        .arg("--kernel")
        .arg(&setting.kernel)
        .arg("--initrd")
        .arg(setting.guest.initrd_to_end_with(planned.exercise.last))
        .args(["--append", append.trim()])
        .arg("--timeout")
        .arg(format!("{}ms", setting.timeout.as_millis()))
        .args(["--cpus", &planned.exercise.processors.to_string()])
        .args(["--latitude", &latitudes.to_string()])
        .arg("--report")
        .arg(option("json=", &directory.join("report.json"), ""))
        .args(&setting.arguments);
    let has = |kind| planned.alone.is_none_or(|alone| alone == kind);
    if has(DeviceKind::Block) && setting.disks {
        command
            .arg("--disk")
            .arg(&disks.first)
            .arg("--disk")
            .arg(option("", &disks.read_only, ",ro"));
    }
    if !has(DeviceKind::Net) {
        command.args(["--net", "none"]);
    }
    if !has(DeviceKind::Entropy) {
        command.arg("--no-rng");
    }
    if !has(DeviceKind::Console) {
        command.arg("--no-console");
    } else if setting.consoles {
        // What a guest of the user's prints is read as the serial port's output is.
        let terminal = match setting.guest.load {
            Load::Exercise => option("socket=", &directory.join("terminal"), ""),
            Load::Command | Load::System | Load::Firmware => "stdio".into(),
        };
        // With one port there is no VIRTIO_CONSOLE_F_MULTIPORT.
        command
            .arg("--console")
            .arg(terminal)
            .arg("--console")
            .arg(option(
                "socket=",
                &directory.join("port"),
                &format!(",name={PORT}"),
            ));
    }
    command
}

/// The command for firmware, which has devices of its own.
fn command_of_firmware(setting: &Setting, planned: &Planned, directory: &Path) -> Command {
    let mut report = OsString::from("json=");
    report.push(directory.join("report.json"));
    let mut command = Command::new(&setting.program);
    command
        .arg("run")
        .arg("--timeout")
        .arg(format!("{}ms", setting.timeout.as_millis()))
        .args(["--cpus", &planned.exercise.processors.to_string()])
        .args(["--latitude", &planned.latitudes.to_string()])
        .arg("--report")
        .arg(report)
        .args(&setting.arguments);
    command
}

/// With pipes for what it says, and in a process group of its own.
fn as_a_run(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A signal of the user's terminal reaches us only; we ask the run to end.
        .process_group(0);
    children::end_with_us(&mut command);
    command
}

/// The parameters that tell the guest what to do.
fn steps(exercise: &ExercisePlan) -> String {
    let names: Vec<&str> = exercise.steps.iter().map(|step| step.name()).collect();
    let (steps, last) = (names.join(","), exercise.last);
    format!(" {STEPS_PARAMETER}={steps} {LAST_PARAMETER}={last}")
}

/// Waits for the end of the run. Asks the run to end when `stop` returns true or `most` has passed.
/// Returns the exit code; `None` if a signal ended it.
fn wait(
    child: &mut Child,
    most: Duration,
    output: Option<&StreamReader>,
    see: &dyn Fn(&str),
    stop: &dyn Fn() -> bool,
) -> io::Result<Option<i32>> {
    let deadline = Instant::now() + most;
    let mut asked: Option<Instant> = None;
    let mut mark = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        let now = output.and_then(StreamReader::mark);
        if now != mark {
            mark = now;
            see(mark.as_deref().unwrap_or_default());
        }
        match asked {
            None if stop() || Instant::now() > deadline => {
                // Fails only if it has just ended by itself.
                let _ = kill_process(Pid::from_child(child), Signal::TERM);
                asked = Some(Instant::now());
            }
            Some(since) if since.elapsed() > END_GRACE => child.kill()?,
            _ => {}
        }
        thread::sleep(TICK);
    }
}

/// What is reported of a run that could not begin.
pub fn not_run(setting: &Setting, planned: &Planned, error: &io::Error) -> CheckedRun {
    CheckedRun {
        number: planned.number,
        name: planned.name.clone(),
        latitude: ReportedLatitudes::new(planned.latitudes, planned.seed),
        devices: Vec::new(),
        end: EndKind::Error,
        time_us: 0,
        given_up: Vec::new(),
        memory: planned.freed,
        standing: None,
        complaints: Vec::new(),
        next_kernels: Vec::new(),
        failures: vec![RunFailure {
            how: FailureKind::Stickler,
            requirement: None,
            step: None,
            message: error.to_string(),
            not_held: Vec::new(),
        }],
        lines_dropped: 0,
        repeat: setting.common.repeat(planned, setting.guest.load),
        shrunk: None,
    }
}
