//! Tests with guests in QEMU's emulation, which run on the host: firmware of Debian's packages.

use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context, Result};

use crate::emulators;
use crate::progress::Progress;
use crate::workspace::{Programs, Workspace};

/// The names of these tests begin so.
const GROUP: &str = "emulated";

/// Get QEMU and firmware for all processors, and print the directory for `stickler --monitor qemu=DIRECTORY`
#[derive(clap::Args)]
pub(crate) struct EmulatorsArguments {}

/// `cargo xtask emulators`.
pub(crate) fn command(_: &EmulatorsArguments, workspace: &Workspace) -> Result<ExitCode> {
    let progress = Progress::new();
    let directory = emulators::set_up(workspace, &progress)?;
    progress.finish();
    println!("{}", directory.display());
    Ok(ExitCode::SUCCESS)
}

/// Whether only these tests are meant.
pub(crate) fn alone(names: &[OsString]) -> bool {
    !names.is_empty() && names.iter().all(is_of_group)
}

/// Whether this word means tests of this group, and no others.
pub(crate) fn is_of_group(name: &OsString) -> bool {
    name.to_string_lossy().starts_with(GROUP)
}

/// Runs the tests that have one of these words in their names, or all, and returns whether they passed.
pub(crate) fn test(
    names: &[OsString],
    programs: &Programs,
    workspace: &Workspace,
    progress: &Progress,
) -> Result<bool> {
    let of_group: Vec<&OsString> = names.iter().filter(|name| is_of_group(name)).collect();
    if !names.is_empty() && of_group.is_empty() {
        return Ok(true);
    }
    let qemu = emulators::set_up(workspace, progress)?;
    progress.finish();
    eprintln!("== firmware in emulation");
    // Without the end-to-end tests there may be no report of a run on KVM.
    let end_to_end = workspace.target().join("e2e");
    let report = end_to_end.join("outcomes/kvm.json");
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let mut command = Command::new(programs.path(GROUP));
    if names.is_empty() || report.exists() {
        command.arg("--end-to-end").arg(end_to_end);
    }
    let status = command
        .arg("--stickler")
        .arg(programs.path("stickler"))
        .arg("--qemu")
        .arg(qemu)
        .arg("--directory")
        .arg(workspace.target().join(GROUP))
        .args(["--jobs", &jobs.to_string()])
        .args(of_group)
        .stdin(Stdio::null())
        .status()
        .context("cannot start the tests in emulation")?;
    Ok(status.success())
}
