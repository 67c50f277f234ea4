//! `cargo xtask demo`: Debian's stock kernel with all four devices, and stickler's report on its drivers.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::guest;
use crate::lab::{self, Output};
use crate::lines::Lines;
use crate::progress::Progress;
use crate::workspace::{Programs, Workspace};

/// The most time the demo's guest may take.
const TIMEOUT: Duration = Duration::from_secs(420);

/// Boot Debian's stock kernel with a network, a block, a console and an entropy device, exercise
/// all of them, and report on its drivers.
///
/// Runs directly where KVM is usable, else in the lab. The report is also in
/// target/demo/report.json.
#[derive(clap::Args)]
pub(crate) struct DemoArguments {
    /// The Debian suite whose cloud kernel is the guest's
    #[arg(long, value_name = "DEBIAN-SUITE", default_value = lab::DEFAULT_SUITE)]
    kernel: String,
}

pub(crate) fn command(arguments: &DemoArguments, workspace: &Workspace) -> Result<ExitCode> {
    let progress = Progress::new();
    let equipment = lab::equip(lab::DEFAULT_SUITE, &arguments.kernel, workspace, &progress)?;
    let dir = workspace.target().join("demo");
    fs::create_dir_all(&dir)?;
    for old in ["report.json", "report.txt", "console.log"] {
        fs::remove_file(dir.join(old)).ok();
    }
    fs::copy(&equipment.guest_kernel.image, dir.join("vmlinuz"))?;
    guest::write_exerciser(
        &dir.join("exerciser"),
        &equipment.guest_kernel,
        &equipment.busybox,
        &equipment.programs,
    )?;

    let code = if kvm_is_usable(&equipment.programs) {
        progress.line("this host's KVM is usable: the demo runs directly");
        run_here(&equipment.programs, &dir, &progress)?
    } else {
        progress.line(
            "this host's KVM is not usable (`stickler doctor` says why): the demo runs in the lab",
        );
        match run_in_lab(&equipment, &dir, workspace, &progress) {
            Err(error) if lab::is_lost(&error) => {
                progress.line(&format!(
                    "{error:#}\nthe lab itself is lost; the demo runs once more"
                ));
                run_in_lab(&equipment, &dir, workspace, &progress)
            }
            result => result,
        }?
    };
    progress.finish();

    match fs::read_to_string(dir.join("report.txt")) {
        Ok(report) => println!("{report}"),
        Err(_) if code == 0 => anyhow::bail!("there is no report"),
        Err(_) => {}
    }
    let console = dir.join("console.log");
    if code == 0 {
        println!(
            "guest: Linux of Debian's {}; all four devices worked, data compared on both sides",
            arguments.kernel
        );
    } else if console.exists() {
        eprintln!("the guest's console: {}", console.display());
    }
    println!("report: {}", dir.join("report.json").display());
    Ok(ExitCode::from(code))
}

/// Whether stickler can run stock kernels on this host's own KVM, found out by trying.
pub(crate) fn kvm_is_usable(programs: &Programs) -> bool {
    Path::new("/dev/kvm").exists()
        && Command::new(programs.path("stickler"))
            .arg("doctor")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}

fn run_here(programs: &Programs, dir: &Path, progress: &Progress) -> Result<u8> {
    let mut demo = Command::new(programs.path("e2e"))
        .arg("--stickler")
        .arg(programs.path("stickler"))
        .args(["demo", "."])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the demo")?;
    if let Some(stdout) = demo.stdout.take() {
        for line in std::io::BufRead::lines(std::io::BufReader::new(stdout)) {
            show(&line?, progress);
        }
    }
    let status = demo.wait()?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

fn run_in_lab(
    equipment: &lab::Equipment,
    dir: &Path,
    workspace: &Workspace,
    progress: &Progress,
) -> Result<u8> {
    let mut lab = lab::boot(
        equipment,
        Some(dir.to_owned()),
        lab::DEFAULT_PROCESSORS,
        TIMEOUT,
        workspace,
        progress,
    )?;
    progress.step("the guest boots");
    let words = ["e2e", "--emulated", "demo", "."].map(OsString::from);
    let mut lines = Lines::default();
    let run = lab.run(
        &words,
        Output::See(&mut |bytes| lines.take(bytes, |line| show(line, progress))),
    );
    progress.step("bringing the files back");
    let collected = lab.finish();
    let code = run?;
    collected?;
    Ok(code)
}

/// Shows a line of the demo; a mark of the guest is the step that begins.
fn show(line: &str, progress: &Progress) {
    match line.strip_prefix("@mark ") {
        Some(mark) => progress.step(&format!("the guest: {mark}")),
        None => progress.line(line),
    }
}
