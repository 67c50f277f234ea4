//! Running stickler.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use stickler_guest_programs::exercise::GuestLine;

/// How much longer than the guest's time stickler itself may take.
const GRACE: Duration = Duration::from_secs(60);

/// A run of stickler that has not started yet.
pub(crate) struct Run<'a> {
    program: &'a Path,
    arguments: Vec<OsString>,
    timeout: Duration,
    report: Option<PathBuf>,
}

impl<'a> Run<'a> {
    /// `stickler run`, with a guest that may take `timeout`.
    pub(crate) fn new(program: &'a Path, timeout: Duration) -> Self {
        Self {
            program,
            arguments: vec![
                "run".into(),
                "--timeout".into(),
                format!("{}s", timeout.as_secs()).into(),
                "--confine".into(),
                "strict".into(),
            ],
            timeout,
            report: None,
        }
    }

    /// `stickler check`, whose guests may take `timeout` each, and all together `whole`.
    pub(crate) fn check(program: &'a Path, timeout: Duration, whole: Duration) -> Self {
        let mut run = Self::new(program, timeout);
        run.arguments[0] = "check".into();
        run.timeout = whole;
        run
    }

    /// `stickler merge`.
    pub(crate) fn merge(program: &'a Path) -> Self {
        Self {
            program,
            arguments: vec!["merge".into()],
            timeout: Duration::ZERO,
            report: None,
        }
    }

    /// Adds arguments.
    pub(crate) fn with<I>(mut self, arguments: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds an option with a path in its value.
    pub(crate) fn option(mut self, option: &str, before: &str, path: &Path, after: &str) -> Self {
        let mut value = OsString::from(before);
        value.push(path);
        value.push(after);
        self.arguments.extend([option.into(), value]);
        self
    }

    /// Asks for the JSON report, to be found in `path` and in the outcome.
    pub(crate) fn report_to(mut self, path: &Path) -> Self {
        self.report = Some(path.to_owned());
        self.option("--report", "json=", path, "")
    }

    /// Starts it.
    pub(crate) fn start(self) -> Result<Running> {
        if let Some(report) = &self.report {
            fs::remove_file(report).ok();
        }
        let mut child = Command::new(self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let (sender, lines) = mpsc::channel();
        if let Some(pipe) = child.stdout.take() {
            read_lines(pipe, OutputLine::Stdout, sender.clone());
        }
        if let Some(pipe) = child.stderr.take() {
            read_lines(pipe, OutputLine::Stderr, sender);
        }
        Ok(Running {
            child,
            lines,
            deadline: Instant::now() + self.timeout + GRACE,
            report: self.report,
            output: String::new(),
            errors: String::new(),
        })
    }

    /// Runs it to its end.
    pub(crate) fn finish(self) -> Result<Outcome> {
        self.start()?.finish(&mut |_| {})
    }
}

fn read_lines(
    pipe: impl Read + Send + 'static,
    line: fn(String) -> OutputLine,
    sender: mpsc::Sender<OutputLine>,
) {
    thread::spawn(move || {
        for bytes in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&bytes);
            if sender.send(line(text.trim_end().to_owned())).is_err() {
                return;
            }
        }
    });
}

enum OutputLine {
    Stdout(String),
    Stderr(String),
}

/// A run that has started.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<OutputLine>,
    deadline: Instant,
    report: Option<PathBuf>,
    output: String,
    errors: String,
}

impl Running {
    /// Waits for a line on the standard error that has `words` in it.
    pub(crate) fn wait_for_error(&mut self, words: &str) -> Result<()> {
        while !self.errors.contains(words) {
            if self.next(&mut |_| {})?.is_none() {
                bail!(
                    "{words:?} does not come\n{}",
                    both(&self.output, &self.errors)
                );
            }
        }
        Ok(())
    }

    /// Takes the next line; nothing at the end.
    fn next(&mut self, see: &mut dyn FnMut(&str)) -> Result<Option<()>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(OutputLine::Stdout(line)) => {
                see(&line);
                self.output.push_str(&line);
                self.output.push('\n');
            }
            Ok(OutputLine::Stderr(line)) => {
                self.errors.push_str(&line);
                self.errors.push('\n');
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!(
                    "stickler does not end\n{}",
                    both(&self.output, &self.errors)
                );
            }
        }
        Ok(Some(()))
    }

    /// Its process.
    pub(crate) fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Asks it to end.
    pub(crate) fn interrupt(&self) {
        rustix::process::kill_process(self.id(), Signal::TERM).ok();
    }

    /// Shows every line of output to `see` and waits for the end.
    pub(crate) fn finish(mut self, see: &mut dyn FnMut(&str)) -> Result<Outcome> {
        while self.next(see)?.is_some() {}
        let status = self.child.wait()?;
        let report = match &self.report {
            Some(path) if path.exists() => {
                let text = fs::read_to_string(path)?;
                Some(serde_json::from_str(&text).context("the report is not JSON")?)
            }
            _ => None,
        };
        Ok(Outcome {
            code: status.code(),
            output: std::mem::take(&mut self.output),
            errors: std::mem::take(&mut self.errors),
            report,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// How a run ended.
pub(crate) struct Outcome {
    /// The exit code; none when a signal ended it.
    pub(crate) code: Option<i32>,
    /// The standard output, with what the guest wrote to its serial port.
    pub(crate) output: String,
    /// The standard error.
    pub(crate) errors: String,
    /// The JSON report, if it was asked for and made.
    pub(crate) report: Option<Value>,
}

impl Outcome {
    /// Fails unless the exit code is `code`.
    pub(crate) fn expect_code(&self, code: i32) -> Result<()> {
        ensure!(
            self.code == Some(code),
            "exit code {} instead of {code}\n{}{}",
            self.code
                .map_or("of no kind (a signal)".to_owned(), |code| code.to_string()),
            self.violations(),
            self.text()
        );
        Ok(())
    }

    /// How the guest ended, if there is a report, and the ends of both outputs.
    pub(crate) fn text(&self) -> String {
        let end = self.report.as_ref().map_or(String::new(), |report| {
            format!("the guest: {}\n", report["guest"])
        });
        end + &both(&self.output, &self.errors)
    }

    /// Whether the guest said that everything worked.
    pub(crate) fn passed(&self) -> bool {
        let mut lines = self.output.lines();
        lines.any(|line| GuestLine::parse(line) == Some(GuestLine::Passed))
    }

    /// The requirements with this outcome.
    pub(crate) fn requirements(&self, outcome: &str) -> Vec<&str> {
        self.report
            .iter()
            .filter_map(|report| report["requirements"].as_array())
            .flatten()
            .filter(|requirement| requirement["outcome"] == outcome)
            .filter_map(|requirement| requirement["id"].as_str())
            .collect()
    }

    /// Fails unless the report says that these requirements, and no others, were violated.
    pub(crate) fn expect_violations(&self, expected: &[&str]) -> Result<()> {
        ensure!(self.report.is_some(), "there is no report\n{}", self.text());
        let violated = self.requirements("violated");
        ensure!(
            violated == expected,
            "violated: {violated:?} instead of {expected:?}\n{}",
            self.violations()
        );
        Ok(())
    }

    /// Fails unless the report says that no requirements but these were violated, if any.
    pub(crate) fn expect_no_violations_but(&self, known: &[&str]) -> Result<()> {
        ensure!(self.report.is_some(), "there is no report\n{}", self.text());
        let mut others = self.requirements("violated");
        others.retain(|requirement| !known.contains(requirement));
        ensure!(
            others.is_empty(),
            "violated: {others:?}\n{}",
            self.violations()
        );
        Ok(())
    }

    fn violations(&self) -> String {
        self.report
            .iter()
            .filter_map(|report| report["findings"].as_array())
            .flatten()
            .take(10)
            .map(|finding| {
                format!(
                    "{} ({}): {}\n",
                    finding["requirement"].as_str().unwrap_or_default(),
                    finding["device"]["type"].as_str().unwrap_or_default(),
                    finding["message"].as_str().unwrap_or_default()
                )
            })
            .collect()
    }
}

fn both(output: &str, errors: &str) -> String {
    let last = |text: &str, count: usize| {
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    };
    format!(
        "standard output ends:\n{}\nstandard error ends:\n{}",
        last(output, 25),
        last(errors, 15)
    )
}
