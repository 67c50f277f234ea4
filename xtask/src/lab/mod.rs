//! The lab: an emulated PC with AMD's virtualization extension, running Debian's cloud kernel and
//! its KVM, for hosts without a usable one of their own.

mod emulator;
mod files;
mod image;
mod machine;
mod share;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use emulator::Emulator;
use machine::{Boot, Lab};

pub(crate) use machine::Output;
pub(crate) use share::share;

use crate::host;
use crate::kernel::Kernel;
use crate::progress::Progress;
use crate::workspace::{Programs, Workspace};

/// The suite whose kernel the lab runs unless told otherwise.
pub(crate) const DEFAULT_SUITE: &str = "trixie";

/// How many processors the lab has unless told otherwise.
pub(crate) const DEFAULT_PROCESSORS: u8 = 2;

/// Run a command in the lab: an emulated PC whose KVM stickler can use.
///
/// The command finds stickler on its path, a shell and the usual small tools, Debian's kernel as
/// /boot/vmlinuz, and the shared directory as /files, its working directory.
#[derive(clap::Args)]
pub(crate) struct LabArguments {
    /// A directory to share with the command as /files; what it changes there comes back when it
    /// has ended
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,

    /// The kernel that the lab runs, in the form of --guest-kernel
    ///
    /// That of trixie runs guests most reliably in the emulator.
    #[arg(long, value_name = "SUITE|PACKAGE", default_value = DEFAULT_SUITE)]
    kernel: String,

    /// The kernel that is /boot/vmlinuz, for guests [default: the one the lab runs]
    ///
    /// The cloud kernel of a Debian suite: bullseye (5.10), bookworm (6.1), trixie (6.12), sid
    /// (7.x), …; or that of a package of Debian's: linux-image-6.12.107+deb13-cloud-amd64, …
    #[arg(long, value_name = "SUITE|PACKAGE")]
    guest_kernel: Option<String>,

    /// How many processors the lab has, 1 to 8
    ///
    /// With one, the emulator runs a single thread: it is slower, and crashes less.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PROCESSORS,
          value_parser = clap::value_parser!(u8).range(1..=8))]
    processors: u8,

    /// The most time the command may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,

    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// `cargo xtask lab`
pub(crate) fn command(arguments: LabArguments, workspace: &Workspace) -> Result<ExitCode> {
    if let Some(files) = &arguments.files {
        ensure!(
            files.is_dir(),
            "{} is no directory: --files wants one to share",
            files.display()
        );
    }
    let progress = Progress::new();
    let guest_suite = arguments.guest_kernel.as_ref().unwrap_or(&arguments.kernel);
    let equipment = equip(&arguments.kernel, guest_suite, workspace, &progress)?;
    let timeout = Duration::from_secs(arguments.timeout);
    let mut lab = boot(
        &equipment,
        arguments.files,
        arguments.processors,
        timeout,
        workspace,
        &progress,
    )?;
    progress.finish();
    let run = lab.run(&arguments.command, Output::Pass);
    // Changed files come back even if the command failed.
    let collected = lab.finish();
    let code = run?;
    collected?;
    Ok(ExitCode::from(code))
}

/// What is needed to boot the lab and guests.
pub(crate) struct Equipment {
    /// The lab's own kernel.
    kernel: Kernel,
    pub(crate) guest_kernel: Kernel,
    pub(crate) busybox: PathBuf,
    pub(crate) programs: Programs,
}

/// Gets what is needed to boot the lab and guests: packages, kernels, our own programs.
pub(crate) fn equip(
    suite: &str,
    guest_suite: &str,
    workspace: &Workspace,
    progress: &Progress,
) -> Result<Equipment> {
    progress.step("checking the tools of the host");
    progress.suspended(host::set_up_tools)?;
    progress.step("getting Debian's kernel and busybox");
    let kernel = Kernel::named(suite, workspace)?;
    let guest_kernel = Kernel::named(guest_suite, workspace)?;
    let busybox = host::busybox(workspace)?;
    progress.step("building stickler");
    let programs = workspace.build_programs()?;
    Ok(Equipment {
        kernel,
        guest_kernel,
        busybox,
        programs,
    })
}

/// Whether the lab's machine ended by itself, or hangs. An emulated processor can corrupt the kernel that runs
/// the guests (that of Debian 12 within minutes, that of Debian 13 rarely); then another lab may work.
pub(crate) fn is_lost(error: &anyhow::Error) -> bool {
    error.is::<machine::Lost>()
}

/// Boots the lab.
pub(crate) fn boot(
    equipment: &Equipment,
    files: Option<PathBuf>,
    processors: u8,
    timeout: Duration,
    workspace: &Workspace,
    progress: &Progress,
) -> Result<Lab> {
    let emulator = emulator(workspace, progress)?;
    progress.step(&format!(
        "booting the lab (Linux {})",
        equipment.kernel.release
    ));
    boot_with(&emulator, equipment, files, processors, timeout, workspace)
}

/// Gets the emulator that is the lab's machine.
pub(crate) fn emulator(workspace: &Workspace, progress: &Progress) -> Result<Emulator> {
    progress.step("getting the lab's emulator");
    Emulator::set_up(workspace)
}

/// Boots the lab, silently.
pub(crate) fn boot_with(
    emulator: &Emulator,
    equipment: &Equipment,
    files: Option<PathBuf>,
    processors: u8,
    timeout: Duration,
    workspace: &Workspace,
) -> Result<Lab> {
    Lab::boot(Boot {
        emulator,
        equipment,
        files,
        processors,
        timeout,
        workspace,
    })
    .context("the lab does not start")
}
