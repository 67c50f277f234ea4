//! One run: `stickler run` in a process of its own.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stickler_conformance::requirement::Level;
use stickler_conformance::{Latitude, Latitudes};
use stickler_exerciser::{
    GIVING_UP_PARAMETER, INIT, LATITUDES_PARAMETER, PATIENCE_PARAMETER, PORT,
};

use super::guest::{Guest, Load};
use super::host::{Answering, Disks, Left};
use super::plan::Planned;
use super::verdict::{self, Ended, Said};
use crate::report::check::{Checked, Failure, How};
use crate::report::json;

/// How much longer than its guest a run may take, to begin and to end.
const GRACE: Duration = Duration::from_secs(60);

/// How long a run that is asked to end may take.
const FAREWELL: Duration = Duration::from_secs(10);

/// How often it is looked whether a run has ended.
const TICK: Duration = Duration::from_millis(50);

/// A step that takes longer than the part of a guest's time that this many of them would share does
/// not end. One that hangs leaves the others time to show what they find.
const STEPS_IN_TIME: u32 = 3;

/// The most lines of a guest's output that are kept.
const LINES: usize = 20_000;

/// What all runs have in common.
pub struct Setting {
    /// The program to run: this one.
    pub program: PathBuf,
    /// The kernel's file.
    pub kernel: PathBuf,
    /// What the guest boots from.
    pub guest: Guest,
    /// More for the kernel's command line.
    pub append: String,
    /// Arguments that are passed on as they are.
    pub arguments: Vec<OsString>,
    /// How long a guest may run.
    pub timeout: Duration,
    /// Whether a violation of this level is a failure.
    pub counts: fn(Level) -> bool,
    /// Where each run has a directory, one for each at its time.
    pub scratch: PathBuf,
    /// Where what the guests said, and their reports, are kept.
    pub keep: Option<PathBuf>,
}

/// What became of a run.
pub enum Ran {
    /// It ran, to its end or until it was asked to end.
    Done(Box<Checked>, Option<Box<json::Run>>),
    /// stickler refuses to run it: the sentence says why.
    Refused(String),
}

/// Runs `planned`. Tells `see` of each step; ends early when `stop` says so.
pub fn run(
    setting: &Setting,
    planned: &Planned,
    see: &dyn Fn(&str),
    stop: &dyn Fn() -> bool,
) -> io::Result<Ran> {
    let begin = Instant::now();
    let directory = tempfile::tempdir_in(&setting.scratch)?;
    let disks = Disks::make(directory.path())?;
    let report_file = directory.path().join("report.json");
    let _answering = match setting.guest.load {
        Load::Exercise => ["terminal", "port"]
            .map(|name| Answering::on(directory.path().join(name)))
            .into(),
        Load::Command | Load::System => Vec::new(),
    };
    let mut child = command(setting, planned.latitudes, directory.path(), &disks).spawn()?;
    let output = child.stdout.take().map(listen);
    let errors = child.stderr.take().map(listen);
    let code = wait(
        &mut child,
        setting.timeout + GRACE,
        output.as_ref(),
        see,
        stop,
    )?;
    let (output, said) = output.map(Listening::end).unwrap_or_default();
    let (errors, _) = errors.map(Listening::end).unwrap_or_default();
    let report = fs::read_to_string(&report_file).unwrap_or_default();
    if let Some(keep) = &setting.keep {
        let name: String = planned.name.chars().take(100).collect();
        let name = format!("{}-{}", planned.number, name.replace('/', "_"));
        let lines = [output.as_slice(), &errors].concat().join("\n");
        fs::write(keep.join(format!("{name}.log")), lines)?;
        if !report.is_empty() {
            fs::write(keep.join(format!("{name}.json")), &report)?;
        }
    }
    let last_words = errors
        .iter()
        .rev()
        .find(|line| !line.is_empty())
        .cloned()
        .unwrap_or_default();
    if code == Some(2) && report.is_empty() {
        let words = last_words.strip_prefix("stickler: ").unwrap_or(&last_words);
        return Ok(Ran::Refused(words.to_owned()));
    }
    let report: Option<json::Run> = serde_json::from_str(&report).ok();
    let ended = Ended { code, last_words };
    let failures = verdict::failures(
        setting.guest.load,
        &ended,
        report.as_ref(),
        &said,
        setting.counts,
        || disks.compare(left(&said)),
    );
    let checked = Checked {
        number: planned.number,
        name: planned.name.clone(),
        latitude: json::Latitude::new(planned.latitudes, planned.seed),
        end: report
            .as_ref()
            .map_or("error".to_owned(), |report| report.guest.end.clone()),
        time_us: u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX),
        given_up: said.given_up,
        failures,
        shrunk: None,
    };
    Ok(Ran::Done(Box::new(checked), report.map(Box::new)))
}

/// How the guest says that it has left the first disk.
fn left(said: &Said) -> Left {
    if said
        .given_up
        .iter()
        .any(|device| device.starts_with("block"))
    {
        Left::GivenUp
    } else if said.unwritten {
        Left::Untouched
    } else {
        Left::Written
    }
}

/// Whether a conforming driver may give up on a device that makes use of these.
fn may_end_use(latitudes: Latitudes) -> bool {
    latitudes.iter().any(Latitude::may_end_use)
}

fn command(setting: &Setting, latitudes: Latitudes, directory: &Path, disks: &Disks) -> Command {
    let option = |before: &str, path: &Path, after: &str| -> OsString {
        let mut value = OsString::from(before);
        value.push(path);
        value.push(after);
        value
    };
    let mut append = String::from("quiet panic=-1");
    if setting.guest.load != Load::System {
        append.push_str(&format!(" cryptomgr.notests rdinit={INIT}"));
    }
    if setting.guest.load == Load::Exercise {
        let patience = (setting.timeout / STEPS_IN_TIME).as_secs().max(1);
        append.push_str(&format!(" {PATIENCE_PARAMETER}={patience}"));
        append.push_str(&format!(" {LATITUDES_PARAMETER}={latitudes}"));
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
        .arg(&setting.guest.initrd)
        .args(["--append", append.trim()])
        .arg("--timeout")
        .arg(format!("{}ms", setting.timeout.as_millis()))
        .args(["--latitude", &latitudes.to_string()])
        .arg("--disk")
        .arg(&disks.first)
        .arg("--disk")
        .arg(option("", &disks.read_only, ",ro"))
        .arg("--report")
        .arg(option("json=", &directory.join("report.json"), ""))
        .args(&setting.arguments);
    if setting.guest.load == Load::Exercise {
        command
            .arg("--console")
            .arg(option("socket=", &directory.join("terminal"), ""))
            .arg("--console")
            .arg(option(
                "socket=",
                &directory.join("port"),
                &format!(",name={PORT}"),
            ));
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // What the user's terminal sends to us, we pass on as we see fit.
        .process_group(0);
    command
}

/// Waits for the end, which comes early when `stop` says so or the run takes far too long.
fn wait(
    child: &mut Child,
    most: Duration,
    output: Option<&Listening>,
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
        let now = output.and_then(Listening::mark);
        if now != mark {
            mark = now;
            see(mark.as_deref().unwrap_or_default());
        }
        match asked {
            None if stop() || Instant::now() > deadline => {
                // It has ended by itself, or hears this.
                let _ = kill_process(Pid::from_child(child), Signal::TERM);
                asked = Some(Instant::now());
            }
            Some(since) if since.elapsed() > FAREWELL => child.kill()?,
            _ => {}
        }
        thread::sleep(TICK);
    }
}

/// A stream that is read until its end.
struct Listening {
    heard: Arc<Mutex<Heard>>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Heard {
    lines: Vec<String>,
    said: Said,
}

fn listen(stream: impl Read + Send + 'static) -> Listening {
    let heard: Arc<Mutex<Heard>> = Arc::default();
    let shared = Arc::clone(&heard);
    let thread = thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut bytes = Vec::new();
        // A guest may never end a line.
        while let Ok(1..) = (&mut stream).take(1 << 16).read_until(b'\n', &mut bytes) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            let mut heard = shared.lock().unwrap_or_else(PoisonError::into_inner);
            heard.said.hear(&line);
            if heard.lines.len() < LINES {
                heard.lines.push(line);
            }
        }
    });
    Listening { heard, thread }
}

impl Listening {
    fn mark(&self) -> Option<String> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.said.mark.clone()
    }

    fn end(self) -> (Vec<String>, Said) {
        // It ends with the stream, and does not panic.
        let _ = self.thread.join();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        (
            std::mem::take(&mut heard.lines),
            std::mem::take(&mut heard.said),
        )
    }
}

/// What is reported of a run that could not even begin.
pub fn not_run(planned: &Planned, error: &io::Error) -> Checked {
    Checked {
        number: planned.number,
        name: planned.name.clone(),
        latitude: json::Latitude::new(planned.latitudes, planned.seed),
        end: "error".to_owned(),
        time_us: 0,
        given_up: Vec::new(),
        failures: vec![Failure {
            how: How::Stickler,
            step: None,
            message: error.to_string(),
        }],
        shrunk: None,
    }
}
