//! Tests with guests in QEMU's emulation, for all processors: firmware boots from stickler's devices, and Linux is judged
//! as on KVM. They need neither KVM nor the lab, and run on the host, several at a time.

mod firmware;
mod linux;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::Value;

/// Tests of stickler with guests in emulation
#[derive(Parser)]
struct Arguments {
    /// The program to test
    #[arg(long)]
    stickler: PathBuf,
    /// The directory with QEMU's programs
    #[arg(long)]
    qemu: PathBuf,
    /// An empty directory for reports and for what the guests said
    #[arg(long)]
    directory: PathBuf,
    /// The directory of the end-to-end tests, with kernels and with a report of a run on KVM
    #[arg(long)]
    end_to_end: Option<PathBuf>,
    /// How many guests run at the same time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Only tests with one of these words in their names
    only: Vec<String>,
}

/// What a test does.
type Body = dyn Fn(&Host) -> Result<()> + Send + Sync;

/// A test.
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) run: Box<Body>,
}

/// What a test has at hand.
pub(crate) struct Host {
    stickler: PathBuf,
    qemu: PathBuf,
    directory: PathBuf,
    end_to_end: Option<PathBuf>,
}

impl Host {
    /// Runs `stickler check` with these arguments, and returns its exit code and its report. What the guests say is
    /// kept under `name`.
    pub(crate) fn check(&self, name: &str, arguments: &[&str]) -> Result<(Option<i32>, Value)> {
        let kept = self.directory.join(name);
        let file = self.directory.join(format!("{name}.json"));
        let mut report = std::ffi::OsString::from("json=");
        report.push(&file);
        let mut monitor = std::ffi::OsString::from("qemu=");
        monitor.push(&self.qemu);
        let output = Command::new(&self.stickler)
            .args(["check", "--jobs", "1"])
            .args(arguments)
            .arg("--monitor")
            .arg(monitor)
            .arg("--keep")
            .arg(&kept)
            .arg("--report")
            .arg(report)
            .stdin(Stdio::null())
            .output()
            .context("cannot start stickler")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(file.exists(), "there is no report: {}", said.trim());
        let report = fs::read(&file).context("cannot read the report")?;
        let report = serde_json::from_slice(&report).context("the report is no JSON")?;
        Ok((output.status.code(), report))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let host = Host {
        stickler: arguments.stickler,
        qemu: arguments.qemu,
        directory: arguments.directory,
        end_to_end: arguments.end_to_end,
    };
    let chosen: Vec<Test> = linux::all(&host)
        .into_iter()
        .chain(firmware::all())
        .filter(|test| {
            let only = &arguments.only;
            only.is_empty() || only.iter().any(|word| test.name.contains(word))
        })
        .collect();
    println!("running {} tests in emulation", chosen.len());
    match run(&chosen, &host, arguments.jobs) {
        Ok(0) if !chosen.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the tests, and returns how many failed.
fn run(tests: &[Test], host: &Host, jobs: usize) -> Result<usize> {
    empty(&host.directory)?;
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let since = Instant::now();
                    let result = (test.run)(host);
                    let seconds = since.elapsed().as_secs();
                    match result {
                        Ok(()) => println!("test {} ... ok ({seconds} s)", test.name),
                        Err(error) => {
                            println!("test {} ... FAILED ({seconds} s)\n    {error:#}", test.name);
                            if let Ok(mut failed) = failed.lock() {
                                failed.push(test.name.clone());
                            }
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    for name in &failed {
        println!("failed: {name}");
    }
    println!(
        "{} passed, {} failed",
        tests.len() - failed.len(),
        failed.len()
    );
    Ok(failed.len())
}

/// Makes the directory, or empties it.
fn empty(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).context("cannot empty the directory")?;
    }
    fs::create_dir_all(directory).context("cannot make the directory")
}
